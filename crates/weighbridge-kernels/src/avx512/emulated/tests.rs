//! The kernels are what their scalar twins are, to the last bit.

use std::ops::Range;

use half::{bf16, f16};

use super::arch::Register;
use super::formats::Avx512Format;
use super::{blocks, floats};
use crate::cpu::Cpu;
use crate::formats;
use crate::packed::{LANES, Layout, PackedMatrix};
use crate::product::{MOST_TILES, Sums, scalar};
use crate::rows::{Needs, Rounding, Rows};
use crate::tier::Tier;

/// Numbers that look random and are the same each time (Marsaglia's xorshift).
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(name: &str) -> Self {
        Self(name.bytes().fold(0x9e37_79b9_7f4a_7c15, |seed, byte| (seed ^ u64::from(byte)).wrapping_mul(0x100_0193)))
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 >> 16
    }

    fn number(&mut self) -> f32 {
        (self.next() % 20_001) as f32 / 10_000.0 - 1.0
    }

    fn numbers(&mut self, count: usize) -> Vec<f32> {
        (0..count).map(|_| self.number()).collect()
    }

    /// Bits for even rounds, floats for odd ones.
    pub(super) fn register<const N: usize>(&mut self, round: usize) -> Register<N> {
        if round.is_multiple_of(2) { Register::of(|_| self.next() as u8) } else { Register::of(|_| self.number()) }
    }
}

fn bits(numbers: &[f32]) -> Vec<u32> {
    numbers.iter().map(|number| number.to_bits()).collect()
}

/// What a kernel makes of some rows by a whole matrix, a few tiles at a time: `[tiles][rows]`.
fn all_tiles(matrix: &PackedMatrix, rows: Range<usize>, kernel: impl Fn(Range<usize>, &mut [Sums])) -> Vec<Sums> {
    let mut results = Vec::new();
    for first in (0..matrix.tiles()).step_by(MOST_TILES) {
        let tiles = first..matrix.tiles().min(first + MOST_TILES);
        let mut sums = vec![[f32::NAN; LANES]; tiles.len() * rows.len()];
        kernel(tiles, &mut sums);
        results.extend(sums);
    }
    results
}

/// The same of a kernel that takes a tile.
fn by_tiles(matrix: &PackedMatrix, rows: Range<usize>, kernel: impl Fn(&[u8], &mut [Sums])) -> Vec<Sums> {
    let count = rows.len();
    all_tiles(matrix, rows, |tiles, sums| {
        tiles.zip(sums.chunks_exact_mut(count)).for_each(|(tile, sums)| kernel(matrix.tile(tile), sums));
    })
}

/// A matrix of random floats.
fn matrix_of(layout: Layout, outputs: usize, inputs: usize, random: &mut Random, cpu: &Cpu) -> PackedMatrix {
    let numbers = random.numbers(outputs * inputs);
    let bytes: Vec<u8> = match layout {
        Layout::F32 => numbers.iter().flat_map(|x| x.to_le_bytes()).collect(),
        Layout::F16 => numbers.iter().flat_map(|&x| f16::from_f32(x).to_le_bytes()).collect(),
        _ => numbers.iter().flat_map(|&x| bf16::from_f32(x).to_le_bytes()).collect(),
    };
    PackedMatrix::pack(layout, outputs, inputs, &bytes, cpu).expect("sizes fit")
}

fn rows_of(count: usize, inputs: usize, random: &mut Random) -> Rows {
    let mut rows = Rows::new();
    rows.prepare(count, inputs).copy_from_slice(&random.numbers(count * inputs));
    rows
}

const FLOAT_SHAPES: [(usize, usize, usize); 9] = [
    (1, 2, 1),
    (15, 34, 2),
    (16, 68, 3),
    (40, 34, 1),
    (33, 66, 2),
    (70, 300, 1),
    (80, 40, 2),
    (33, 514, 31),
    (16, 40, 200),
];

#[test]
fn products_with_floats_are_those_of_the_scalar_twin() {
    let cpu = Cpu::new(1, Some(Tier::Scalar)).expect("every machine has it");
    let mut random = Random::new("floats");
    for layout in [Layout::F32, Layout::F16, Layout::Bf16] {
        for (outputs, inputs, count) in FLOAT_SHAPES {
            let matrix = matrix_of(layout, outputs, inputs, &mut random, &cpu);
            let rows = rows_of(count, inputs, &mut random);
            let found = all_tiles(&matrix, 0..count, |tiles, sums| {
                // SAFETY: emulated instructions ask for nothing; rows are as wide as the matrix.
                unsafe { floats::floats(&matrix, tiles, &rows, 0..count, sums) }
            });
            let wanted = by_tiles(&matrix, 0..count, |tile, sums| scalar::floats(layout, tile, &rows, 0..count, sums));
            assert_eq!(
                bits(found.as_flattened()),
                bits(wanted.as_flattened()),
                "{layout:?} [{outputs}, {inputs}] with {count} rows"
            );
        }
    }
}

#[test]
fn products_of_bfloat16_are_near_and_the_same_beside_any_neighbours() {
    let cpu = Cpu::new(1, Some(Tier::Scalar)).expect("every machine has it");
    let mut random = Random::new("pairs");
    for (outputs, inputs, count) in FLOAT_SHAPES {
        let what = format!("[{outputs}, {inputs}] with {count} rows");
        let matrix = matrix_of(Layout::Bf16, outputs, inputs, &mut random, &cpu);
        let mut rows = rows_of(count, inputs, &mut random);
        rows.pair(&cpu);
        let sums_of = |range: Range<usize>| {
            all_tiles(&matrix, range.clone(), |tiles, sums| {
                // SAFETY: emulated instructions ask for nothing; rows are as wide as the matrix.
                unsafe { floats::bf16_pairs(&matrix, tiles, &rows, range.clone(), sums) }
            })
        };
        let together = sums_of(0..count);
        let mut weights = vec![0.0; inputs];
        for row in 0..count {
            for (tile, alone) in sums_of(row..row + 1).iter().enumerate() {
                assert_eq!(bits(alone), bits(&together[tile * count + row]), "{what}: row {row} alone");
                for (lane, found) in alone.iter().enumerate().take(outputs - (tile * LANES).min(outputs)) {
                    matrix.row(tile * LANES + lane, &mut weights);
                    let products = || weights.iter().zip(rows.plain(row)).map(|(a, b)| f64::from(*a) * f64::from(*b));
                    let (wanted, size): (f64, f64) = (products().sum(), products().map(f64::abs).sum());
                    // Half a unit of eight bits, and the order of sums.
                    assert!((f64::from(*found) - wanted).abs() <= size / 250.0, "{what}: {found}, not {wanted}");
                }
            }
        }
    }
}

/// Blocks of random codes with scales that are numbers.
fn random_blocks(layout: Layout, count: usize, random: &mut Random) -> Vec<u8> {
    let mut bytes: Vec<u8> = (0..count * layout.block_bytes()).map(|_| random.next() as u8).collect();
    let halves: &[usize] = match layout {
        Layout::Mxfp4 => &[],
        Layout::Q4_1 | Layout::Q5_1 | Layout::Q4K | Layout::Q5K => &[0, 2],
        Layout::Q6K => &[208],
        _ => &[0],
    };
    for block in bytes.chunks_exact_mut(layout.block_bytes()) {
        if layout == Layout::Mxfp4 {
            // Powers of two around one; now and then those that are subnormal.
            block[0] = if block[0] < 8 { block[0] % 3 } else { 120 + block[0] % 12 };
        }
        for &at in halves {
            block[at..at + 2].copy_from_slice(&f16::from_f32(random.number() * 0.1).to_le_bytes());
        }
    }
    bytes
}

/// Holds the products of a format against the scalar twin, with both roundings.
fn check_blocks<F: Avx512Format>(layout: Layout, outputs: usize, inputs: usize, bytes: &[u8], x: &[f32]) {
    let cpu = Cpu::new(1, Some(Tier::Scalar)).expect("every machine has it");
    let matrix = PackedMatrix::pack(layout, outputs, inputs, bytes, &cpu).expect("sizes fit");
    let count = x.len() / inputs;
    for rounding in [Rounding::Bits16, Rounding::Bits8] {
        let mut rows = Rows::new();
        rows.prepare(count, inputs).copy_from_slice(x);
        rows.round(Needs::new(rounding, layout), &cpu);
        let found = all_tiles(&matrix, 0..count, |tiles, sums| {
            // SAFETY: emulated instructions ask for nothing; rows are as wide as the matrix and rounded for it.
            unsafe { blocks::blocks::<F>(&matrix, tiles, &rows, 0..count, sums) }
        });
        let wanted = by_tiles(&matrix, 0..count, |tile, sums| scalar::blocks::<F>(tile, &rows, 0..count, sums));
        let what = format!("{layout:?} [{outputs}, {inputs}] with {count} rows, {rounding:?}");
        assert_eq!(bits(found.as_flattened()), bits(wanted.as_flattened()), "{what}");
    }
}

/// Calls `check_blocks` for every block format.
macro_rules! for_formats {
    (|$layout:ident| $arguments:expr) => {
        for_formats!(@ |$layout| $arguments; Q4_0 Q4_1 Q5_0 Q5_1 Q8_0 Q4K Q5K Q6K Mxfp4 Iq4Nl Iq4Xs)
    };
    (@ |$layout:ident| $arguments:expr; $($format:ident)*) => { $({
        let $layout = Layout::$format;
        let (outputs, inputs, bytes, x) = $arguments;
        check_blocks::<formats::$format>($layout, outputs, inputs, &bytes, &x);
    })* };
}

#[test]
fn products_with_blocks_are_those_of_the_scalar_twin() {
    let mut random = Random::new("blocks");
    for (outputs, blocks, count) in
        [(1, 1, 1), (15, 1, 2), (16, 2, 3), (17, 3, 5), (70, 2, 9), (33, 9, 7), (40, 11, 17), (32, 2, 64)]
    {
        for_formats!(|layout| {
            // A few hundred inputs say as much of large blocks as thousands do.
            let inputs = layout.block() * if layout.block() == 256 { blocks.min(3) } else { blocks };
            let bytes = random_blocks(layout, outputs * inputs / layout.block(), &mut random);
            (outputs, inputs, bytes, random.numbers(count * inputs))
        });
    }
}

#[test]
fn the_largest_codes_and_activations_overflow_nothing() {
    for byte in [0xff, 0x7f, 0x80] {
        for_formats!(|layout| {
            let inputs = 512;
            let mut bytes = vec![byte; 16 * inputs / layout.block() * layout.block_bytes()];
            for block in bytes.chunks_exact_mut(layout.block_bytes()) {
                let scale = f16::from_f32(0.5).to_le_bytes();
                match layout {
                    Layout::Mxfp4 => block[0] = 127,
                    Layout::Q6K => block[208..].copy_from_slice(&scale),
                    Layout::Q4_1 | Layout::Q5_1 | Layout::Q4K | Layout::Q5K => {
                        block[..2].copy_from_slice(&scale);
                        block[2..4].copy_from_slice(&scale);
                    }
                    _ => block[..2].copy_from_slice(&scale),
                }
            }
            let x: Vec<f32> = (0..5 * inputs).map(|at| [1.0, -1.0, 0.999][at / inputs % 3]).collect();
            (16, inputs, bytes, x)
        });
    }
}
