//! What this machine can do at most: the yardsticks that every measurement is held against.

use std::hint::black_box;
use std::time::Instant;

use crate::cpu::Cpu;
use crate::packed::Shared;
use crate::tier::Tier;

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
}

impl Limits {
    /// Measures them, in about two seconds and with a gigabyte of memory.
    pub fn measure(cpu: &Cpu) -> Self {
        Self {
            memory_bytes_per_s: memory(cpu),
            int8_products_per_s: arithmetic(cpu, int8_lanes(cpu.tier()), int8),
            f32_products_per_s: arithmetic(cpu, f32_lanes(cpu.tier()), f32_fused),
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

/// Products a second of a kernel with so many lanes.
fn arithmetic(cpu: &Cpu, lanes: u64, kernel: fn()) -> f64 {
    if lanes == 0 {
        return 0.0;
    }
    let threads = cpu.pool().threads();
    let products = lanes * REPETITIONS * REGISTERS as u64 * threads as u64;
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

fn int8_lanes(tier: Tier) -> u64 {
    if tier == Tier::Avx2 { 32 } else { 0 }
}

fn f32_lanes(tier: Tier) -> u64 {
    if tier == Tier::Avx2 { 8 } else { 0 }
}

#[cfg(target_arch = "x86_64")]
fn int8() {
    // SAFETY: called for the tier that has these instructions alone.
    unsafe { avx2::int8() }
}

#[cfg(target_arch = "x86_64")]
fn f32_fused() {
    // SAFETY: as above.
    unsafe { avx2::f32_fused() }
}

#[cfg(not(target_arch = "x86_64"))]
fn int8() {}

#[cfg(not(target_arch = "x86_64"))]
fn f32_fused() {}

#[cfg(target_arch = "x86_64")]
mod avx2 {
    use std::arch::x86_64::*;
    use std::hint::black_box;

    use super::{REGISTERS, REPETITIONS};

    /// # Safety
    /// The processor has AVX2.
    #[target_feature(enable = "avx2")]
    pub(super) unsafe fn int8() {
        let by = black_box(_mm256_set1_epi8(3));
        let mut registers = black_box([_mm256_set1_epi8(5); REGISTERS]);
        for _ in 0..REPETITIONS {
            for register in &mut registers {
                *register = _mm256_maddubs_epi16(*register, by);
            }
        }
        black_box(registers);
    }

    /// # Safety
    /// The processor has AVX2 and FMA.
    #[target_feature(enable = "avx2,fma")]
    pub(super) unsafe fn f32_fused() {
        let by = black_box(_mm256_set1_ps(0.5));
        let mut registers = black_box([_mm256_set1_ps(1.0); REGISTERS]);
        for _ in 0..REPETITIONS {
            for register in &mut registers {
                *register = _mm256_fmadd_ps(*register, by, by);
            }
        }
        black_box(registers);
    }
}
