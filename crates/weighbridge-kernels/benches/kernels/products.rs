//! Packing, rounding, and products of few and of many rows with each layout.

use std::error::Error;
use std::hint::black_box;

use weighbridge_kernels::{Cpu, Layout, Needs, PackedMatrix, Product, Rounding, Rows};

use crate::report::Floor;
use crate::{Bench, Random};

const OUTPUTS: usize = 2048;
const INPUTS: usize = 2048;
/// Matrices of a layout take turns, so that no cache keeps what the next product reads.
const MATRICES_BYTES: usize = 96 << 20;
/// Rows that go together. With the last, weights are read once for many.
const ROWS: [usize; 5] = [1, 4, 8, 16, 512];

pub(crate) fn all(bench: &mut Bench) -> Result<(), Box<dyn Error>> {
    for layout in Layout::ALL {
        if bench.wants(&format!("pack {layout:?}")) || bench.wants(&format!("product {layout:?}")) {
            of_layout(bench, layout)?;
        }
    }
    for rounding in [Rounding::Bits8, Rounding::Bits16] {
        let name = format!("round {rounding:?} 512");
        if bench.wants(&name) {
            let mut rows = rows(512);
            let floor = Floor { numbers: 512 * INPUTS, ..Floor::default() };
            let needs = Needs::new(rounding, Layout::Q4K);
            bench.time(&name, floor, |cpu| rows.fill(cpu, (512, INPUTS), needs, |_, _| ()));
        }
    }
    Ok(())
}

fn of_layout(bench: &mut Bench, layout: Layout) -> Result<(), Box<dyn Error>> {
    let blocks = OUTPUTS * INPUTS / layout.block();
    let bytes: Vec<u8> = std::iter::repeat_with(|| block(layout)).take(blocks).flatten().collect();
    let floor = Floor { bytes: 2 * bytes.len(), ..Floor::default() };
    let name = format!("pack {layout:?}");
    if bench.wants(&name) {
        bench.time(&name, floor, |cpu| {
            black_box(PackedMatrix::pack(layout, OUTPUTS, INPUTS, &bytes, cpu).ok());
        });
    }
    let pack = |cpu: &Cpu| PackedMatrix::pack(layout, OUTPUTS, INPUTS, &bytes, cpu);
    let count = MATRICES_BYTES.div_ceil(bytes.len());
    let matrices = (0..count).map(|_| pack(&bench.cpu)).collect::<Result<Vec<_>, _>>()?;
    let roundings: &[_] = if layout.is_float() { &[Rounding::None] } else { &[Rounding::Bits8, Rounding::Bits16] };
    for &rounding in roundings {
        for count in ROWS {
            let name = format!("product {layout:?} {rounding:?} {count}");
            if bench.wants(&name) {
                product(bench, &name, &matrices, rounding, count);
            }
        }
    }
    Ok(())
}

fn product(bench: &mut Bench, name: &str, matrices: &[PackedMatrix], rounding: Rounding, count: usize) {
    let mut rows = rows(count);
    rows.round(Needs::new(rounding, matrices[0].layout()), &bench.cpu);
    let mut to = vec![0.0; count * OUTPUTS];
    let products = count * INPUTS * OUTPUTS;
    let (int8, f32) = match rounding {
        Rounding::None | Rounding::Bf16 => (0, products),
        Rounding::Bits8 => (products, 0),
        Rounding::Bits16 => (2 * products, 0),
    };
    let mut turn = matrices.iter().cycle();
    let floor = Floor { bytes: matrices[0].bytes(), int8, f32, numbers: 0 };
    bench.time(name, floor, |cpu| {
        if let Some(matrix) = turn.next() {
            cpu.product(&rows, &mut [Product::new(matrix, &mut to)]);
        }
    });
    black_box(&to);
}

fn rows(count: usize) -> Rows {
    let mut rows = Rows::new();
    rows.prepare(count, INPUTS).copy_from_slice(&Random::new().numbers(count * INPUTS));
    rows
}

/// A block whose scales are small numbers: no kernel is as fast with what is none.
fn block(layout: Layout) -> Vec<u8> {
    // As halves 0.0009, as bfloat16 and float32 a small number, and as a power of two 2⁻⁶⁸.
    let mut block = vec![0x3b; layout.block_bytes()];
    for half in block.chunks_exact_mut(2) {
        half[1] = 0x13;
    }
    block
}
