//! What was measured, as lines for people and for programs.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use weighbridge_kernels::{Cpu, Limits, Tier};

/// What a piece of work takes at least.
#[derive(Clone, Copy, Default)]
pub(crate) struct Floor {
    /// Bytes that come from memory; none where all is in a cache.
    pub(crate) bytes: usize,
    /// Products of bytes.
    pub(crate) int8: usize,
    /// Products of float32.
    pub(crate) f32: usize,
    /// Numbers that are gone over, where neither bounds the work.
    pub(crate) numbers: usize,
}

/// The lines so far.
pub(crate) struct Report {
    tier: Tier,
    threads: usize,
    limits: Limits,
    lines: String,
}

impl Report {
    /// Says what the machine can do.
    pub(crate) fn new(cpu: &Cpu, limits: Limits) -> Self {
        let (tier, threads) = (cpu.tier(), cpu.pool().threads());
        let Limits { memory_bytes_per_s, int8_products_per_s, f32_products_per_s, .. } = limits;
        println!(
            "{}, {threads} threads, {tier}: memory {:.1} GB/s, int8 {:.0} G products/s, f32 {:.0} G products/s",
            processor(),
            memory_bytes_per_s / 1e9,
            int8_products_per_s / 1e9,
            f32_products_per_s / 1e9
        );
        let mut lines = String::new();
        // Writing to a string cannot fail.
        let _ = writeln!(
            lines,
            "{{\"kernel\": \"limits\", \"memory_bytes_per_s\": {memory_bytes_per_s:.0}, \
             \"int8_products_per_s\": {int8_products_per_s:.0}, \"f32_products_per_s\": {f32_products_per_s:.0}, \
             \"threads\": {threads}, \"tier\": \"{tier}\"}}"
        );
        Self { tier, threads, limits, lines }
    }

    /// Prints a line and keeps it.
    pub(crate) fn add(&mut self, name: &str, floor: Floor, seconds: f64) {
        let Limits { memory_bytes_per_s, int8_products_per_s, f32_products_per_s, .. } = self.limits;
        let bounds = [
            ("memory", floor.bytes, memory_bytes_per_s),
            ("int8", floor.int8, int8_products_per_s),
            ("f32", floor.f32, f32_products_per_s),
        ];
        // A tier without such instructions has no limit for them.
        let bounds = bounds.into_iter().filter(|(_, amount, rate)| *amount > 0 && *rate > 0.0);
        let bounds = bounds.map(|(limit, amount, rate)| (limit, amount as f64, amount as f64 / rate));
        let slowest = bounds.max_by(|a, b| a.2.total_cmp(&b.2));
        let micros = 1e6 * seconds;
        let _ = match slowest {
            Some((limit, amount, floor_s)) => {
                let (rate, share) = (amount / seconds / 1e9, floor_s / seconds);
                println!("{name:36} {micros:12.1} µs {rate:9.2} G/s {:4.0} % of {limit}", 100.0 * share);
                writeln!(
                    self.lines,
                    "{{\"kernel\": \"{name}\", \"seconds\": {seconds:e}, \"per_s\": {:.0}, \"share\": {share:.3}, \
                     \"limit\": \"{limit}\"}}",
                    amount / seconds
                )
            }
            None => {
                let rate = floor.numbers as f64 / seconds;
                println!("{name:36} {micros:12.1} µs {:9.2} G numbers/s", rate / 1e9);
                writeln!(self.lines, "{{\"kernel\": \"{name}\", \"seconds\": {seconds:e}, \"per_s\": {rate:.0}}}")
            }
        };
    }

    /// Writes the lines to a file of the folder.
    pub(crate) fn record(&self, folder: &Path) -> io::Result<()> {
        let processor: Vec<String> = processor()
            .split(|letter: char| !letter.is_ascii_alphanumeric())
            .filter(|word| !word.is_empty())
            .map(str::to_ascii_lowercase)
            .collect();
        let Self { tier, threads, .. } = self;
        let name = format!("{}-{}-kernels-{tier}-{threads}.jsonl", today(), processor.join("-"));
        fs::create_dir_all(folder)?;
        fs::write(folder.join(name), &self.lines)
    }
}

fn processor() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    model.map_or_else(|| std::env::consts::ARCH.to_owned(), |(_, name)| name.trim().to_owned())
}

/// The day in UTC as `2026-01-31`, by the algorithm `civil_from_days` of Howard Hinnant
/// (<https://howardhinnant.github.io/date_algorithms.html>).
fn today() -> String {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let days = seconds / 86_400 + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = year + 400 * era + u64::from(month <= 2);
    format!("{year}-{month:02}-{day:02}")
}
