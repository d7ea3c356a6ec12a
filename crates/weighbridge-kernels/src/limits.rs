//! What this machine can do at most: the yardsticks that every measurement is held against.

#[cfg(target_arch = "x86_64")]
mod x86;

use std::hint::black_box;
use std::time::Instant;

#[cfg(not(target_arch = "x86_64"))]
use none::{bf16, f32_fused, int8};
#[cfg(target_arch = "x86_64")]
use x86::{bf16, f32_fused, int8};

use crate::cpu::Cpu;
use crate::packed::Shared;

/// Rounds of each measurement, of which the best counts: others run on this machine too.
const ROUNDS: usize = 5;
/// Memory that is read in one round: far more than any cache holds.
const MEMORY_BYTES: usize = 1 << 30;
/// Repetitions of the arithmetic of one task.
const REPETITIONS: u64 = 4_000_000;
/// Registers that are computed in turn, so that none waits for itself.
const REGISTERS: usize = 10;

/// The limits of a machine with the threads and the tier of a `Cpu`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// Bytes a second, read in order by all threads.
    pub memory_bytes_per_s: f64,
    /// Products of bytes a second, of which an addition goes along with each; 0 on a tier without such instructions.
    pub int8_products_per_s: f64,
    /// Fused products of float32 a second; 0 on a tier without such instructions.
    pub f32_products_per_s: f64,
    /// Products of bfloat16 a second, added in float32; 0 on a tier without such instructions.
    pub bf16_products_per_s: f64,
}

impl Limits {
    /// Measures them, in about two seconds and with a gigabyte of memory.
    pub fn measure(cpu: &Cpu) -> Self {
        Self {
            memory_bytes_per_s: memory(cpu),
            int8_products_per_s: arithmetic(cpu, int8(cpu.tier())),
            f32_products_per_s: arithmetic(cpu, f32_fused(cpu.tier())),
            bf16_products_per_s: arithmetic(cpu, bf16(cpu.tier())),
        }
    }
}

fn memory(cpu: &Cpu) -> f64 {
    let mut buffer = vec![0_u64; MEMORY_BYTES / 8];
    let threads = cpu.pool().threads();
    let part = buffer.len().div_ceil(threads);
    let length = buffer.len();
    let of = move |thread: usize| thread * part..length.min((thread + 1) * part);
    let shared = Shared::new(&mut buffer);
    // Each thread touches its part first, so that the memory is its own where that matters.
    cpu.pool().run(threads, |thread| {
        // SAFETY: parts of different threads do not overlap, and the buffer outlives the call.
        unsafe { shared.part(of(thread)) }.fill(1);
    });
    best(MEMORY_BYTES as f64, || {
        cpu.pool().run(threads, |thread| {
            // SAFETY: as above.
            black_box(sum(unsafe { shared.part(of(thread)) }));
        });
    })
}

/// The sum of numbers, in as many lanes as it takes to wait for memory alone.
fn sum(numbers: &[u64]) -> u64 {
    let mut lanes = [0_u64; 32];
    for chunk in numbers.as_chunks::<32>().0 {
        lanes.iter_mut().zip(chunk).for_each(|(lane, number)| *lane = lane.wrapping_add(*number));
    }
    lanes.iter().fold(0, |sum, lane| sum.wrapping_add(*lane))
}

/// An instruction that is repeated [`REPETITIONS`] times on each of [`REGISTERS`].
#[derive(Clone, Copy)]
struct Repeated {
    /// Products that it makes.
    products: u64,
    kernel: fn(),
}

/// Products a second of an instruction, if there is one.
fn arithmetic(cpu: &Cpu, repeated: Option<Repeated>) -> f64 {
    let Some(Repeated { products, kernel }) = repeated else { return 0.0 };
    let threads = cpu.pool().threads();
    let products = products * REPETITIONS * REGISTERS as u64 * threads as u64;
    best(products as f64, || cpu.pool().run(threads, |_| kernel()))
}

fn best(amount: f64, work: impl Fn()) -> f64 {
    let time = || {
        let start = Instant::now();
        work();
        start.elapsed().as_secs_f64()
    };
    amount / (0..ROUNDS).map(|_| time()).fold(f64::INFINITY, f64::min)
}
#[cfg(not(target_arch = "x86_64"))]
mod none {
    use super::Repeated;
    use crate::tier::Tier;

    pub(super) fn int8(_tier: Tier) -> Option<Repeated> {
        None
    }

    pub(super) use int8 as f32_fused;
    pub(super) use int8 as bf16;
}
