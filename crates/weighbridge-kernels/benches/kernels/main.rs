//! Times every kernel and sets it beside what the machine can do at most.
//!
//!     cargo bench -p weighbridge-kernels --bench kernels -- [PART OF A NAME…] [--tier TIER] [--record FOLDER]
//!
//! Prints a line for each, the share being of the limit that bounds it: memory where its bytes take longest, else the
//! products. With `--record` a file of lines in JSON goes to the folder, named by day and processor.

mod attention;
mod products;
mod report;
mod vectors;

use std::error::Error;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use weighbridge_kernels::{Cpu, Limits, Tier, threads};

use crate::report::{Floor, Report};

/// Time that a kernel is repeated for. The best of its runs counts: others run on this machine too.
const AT_LEAST: Duration = Duration::from_millis(150);
const RUNS_MIN: u32 = 3;

/// Who measures.
struct Bench {
    cpu: Cpu,
    report: Report,
    /// Only kernels whose names have one of these in them, unless there are none.
    wanted: Vec<String>,
}

impl Bench {
    fn wants(&self, name: &str) -> bool {
        self.wanted.is_empty() || self.wanted.iter().any(|part| name.contains(part.as_str()))
    }

    /// Times a piece of work that takes at least what `floor` says.
    fn time(&mut self, name: &str, floor: Floor, mut work: impl FnMut(&Cpu)) {
        // Once for memory to be there and threads awake.
        work(&self.cpu);
        let (start, mut best, mut runs) = (Instant::now(), Duration::MAX, 0);
        while runs < RUNS_MIN || start.elapsed() < AT_LEAST {
            let run = Instant::now();
            work(&self.cpu);
            best = best.min(run.elapsed());
            runs += 1;
        }
        self.report.add(name, floor, best.as_secs_f64());
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut wanted = Vec::new();
    let mut tier: Option<Tier> = None;
    let mut folder: Option<PathBuf> = None;
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            // What cargo adds.
            "--bench" => {}
            "--tier" => tier = arguments.next().map(|tier| tier.parse()).transpose()?,
            "--record" => folder = arguments.next().map(PathBuf::from),
            _ => wanted.push(argument),
        }
    }
    let cpu = Cpu::new(threads::count(), tier)?;
    let limits = Limits::measure(&cpu);
    let report = Report::new(&cpu, limits);
    let mut bench = Bench { cpu, report, wanted };
    products::all(&mut bench)?;
    attention::all(&mut bench);
    vectors::all(&mut bench);
    if let Some(folder) = folder {
        bench.report.record(&folder)?;
    }
    Ok(())
}

/// Numbers that look random and are the same each time (Marsaglia's xorshift).
struct Random(u64);

impl Random {
    fn new() -> Self {
        Self(0x9e37_79b9_7f4a_7c15)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 >> 16
    }

    /// Numbers between −1 and 1.
    fn numbers(&mut self, count: usize) -> Vec<f32> {
        (0..count).map(|_| (self.next() % 20_001) as f32 / 10_000.0 - 1.0).collect()
    }
}
