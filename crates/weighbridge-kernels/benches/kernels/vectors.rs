//! What is done with rows between products: numbers that are in a cache.

use std::hint::black_box;

use weighbridge_kernels::{Cpu, vector};

use crate::report::Floor;
use crate::{Bench, Random};

const WIDTH: usize = 1024;
const ROWS: usize = 64;

pub(crate) fn all(bench: &mut Bench) {
    let numbers = Random::new().numbers(ROWS * WIDTH);
    let weight = Random::new().numbers(WIDTH);
    // A turn that keeps lengths, so that numbers stay what they are however often it is taken.
    let (cos, sin) = ([0.6; WIDTH / 2], [0.8; WIDTH / 2]);
    each(bench, "rms_norm", &numbers, |cpu, from, to| vector::rms_norm(cpu, from, Some(&weight), 1e-6, to));
    each(bench, "layer_norm", &numbers, |cpu, from, to| vector::layer_norm(cpu, from, Some(&weight), None, 1e-6, to));
    each(bench, "rope", &numbers, |cpu, _, to| vector::rope(cpu, to, &cos, &sin));
    each(bench, "rope_interleaved", &numbers, |cpu, _, to| vector::rope_interleaved(cpu, to, &cos, &sin));
    each(bench, "silu_times", &numbers, |cpu, from, to| vector::silu_times(cpu, from, &weight, to));
    each(bench, "gelu_tanh_times", &numbers, |cpu, from, to| vector::gelu_tanh_times(cpu, from, &weight, to));
    each(bench, "sigmoid", &numbers, |cpu, _, to| vector::sigmoid(cpu, to));
    each(bench, "soft_cap", &numbers, |cpu, _, to| vector::soft_cap(cpu, to, 30.0));
}

/// Row after row on all threads.
fn each(bench: &mut Bench, name: &str, from: &[f32], work: impl Fn(&Cpu, &[f32], &mut [f32]) + Sync) {
    let name = format!("{name} {ROWS} of {WIDTH}");
    if !bench.wants(&name) {
        return;
    }
    let mut to = from.to_vec();
    let floor = Floor { numbers: from.len(), ..Floor::default() };
    bench.time(&name, floor, |cpu| {
        cpu.each_row(&mut to, WIDTH, |row, to| work(cpu, &from[row * WIDTH..][..WIDTH], to));
    });
    black_box(&to);
}
