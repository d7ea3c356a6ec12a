//! Packed matrices hold what their blocks say, and products are the same to the last bit on every tier, beside any
//! neighbours and on any number of threads.

use half::f16;
use weighbridge_kernels::{Cpu, Layout, Needs, PackedMatrix, Product, Rounding, Rows, Then, Tier};

const LAYOUTS: [Layout; 14] = [
    Layout::F32,
    Layout::F16,
    Layout::Bf16,
    Layout::Q4_0,
    Layout::Q4_1,
    Layout::Q5_0,
    Layout::Q5_1,
    Layout::Q8_0,
    Layout::Q4K,
    Layout::Q5K,
    Layout::Q6K,
    Layout::Mxfp4,
    Layout::Iq4Nl,
    Layout::Iq4Xs,
];

/// Numbers that look random and are the same each time (Marsaglia's xorshift).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 >> 16
    }

    fn number(&mut self) -> f32 {
        (self.next() % 20_001) as f32 / 10_000.0 - 1.0
    }
}

/// Blocks of random codes with scales that are numbers.
fn blocks(layout: Layout, count: usize, random: &mut Random) -> Vec<u8> {
    let mut bytes: Vec<u8> = (0..count * layout.block_bytes()).map(|_| random.next() as u8).collect();
    let halves: &[usize] = match layout {
        Layout::F32 | Layout::F16 | Layout::Bf16 | Layout::Mxfp4 => &[],
        Layout::Q4_1 | Layout::Q5_1 | Layout::Q4K | Layout::Q5K => &[0, 2],
        Layout::Q6K => &[208],
        _ => &[0],
    };
    for block in bytes.chunks_exact_mut(layout.block_bytes()) {
        match layout {
            Layout::F32 => block.copy_from_slice(&random.number().to_le_bytes()),
            Layout::F16 => block.copy_from_slice(&f16::from_f32(random.number()).to_le_bytes()),
            Layout::Bf16 => {
                for two in block.chunks_exact_mut(2) {
                    two.copy_from_slice(&random.number().to_bits().to_le_bytes()[2..]);
                }
            }
            // Powers of two around one; now and then those that are subnormal.
            Layout::Mxfp4 => block[0] = if block[0] < 8 { block[0] % 3 } else { 120 + block[0] % 12 },
            _ => {}
        }
        for &at in halves {
            block[at..at + 2].copy_from_slice(&f16::from_f32(random.number() * 0.1).to_le_bytes());
        }
    }
    bytes
}

fn product(cpu: &Cpu, matrix: &PackedMatrix, x: &[f32], count: usize, rounding: Rounding) -> Vec<f32> {
    let mut rows = Rows::new();
    rows.prepare(count, matrix.inputs()).copy_from_slice(x);
    rows.round(Needs::new(rounding, matrix.layout()), cpu);
    let mut to = vec![f32::NAN; count * matrix.outputs()];
    cpu.product(&rows, &mut [Product::new(matrix, &mut to)]);
    to
}

fn bits(numbers: &[f32]) -> Vec<u32> {
    numbers.iter().map(|number| number.to_bits()).collect()
}

fn check(layout: Layout, outputs: usize, inputs: usize, count: usize) {
    let what = format!("{layout:?} [{outputs}, {inputs}] with {count} rows");
    let mut random = Random(0x9e37_79b9_7f4a_7c15 ^ (outputs * 31 + inputs * 7 + count) as u64);
    let bytes = blocks(layout, outputs * inputs / layout.block(), &mut random);
    let x: Vec<f32> = (0..count * inputs).map(|_| random.number()).collect();
    let cpu = Cpu::new(2, None).expect("the best tier is available");
    let matrix = PackedMatrix::pack(layout, outputs, inputs, &bytes, &cpu).expect("sizes fit");
    let mut numbers = vec![0.0; outputs * inputs];
    for (output, row) in numbers.chunks_exact_mut(inputs).enumerate() {
        matrix.row(output, row);
    }

    let roundings: &[_] = match layout {
        Layout::Bf16 => &[Rounding::None, Rounding::Bf16],
        _ if layout.is_float() => &[Rounding::None],
        _ => &[Rounding::Bits16, Rounding::Bits8],
    };
    for &rounding in roundings {
        let found = product(&cpu, &matrix, &x, count, rounding);
        for (x, found) in x.chunks_exact(inputs).zip(found.chunks_exact(outputs)) {
            let largest = x.iter().fold(0.0_f32, |largest, x| largest.max(x.abs()));
            for (row, found) in numbers.chunks_exact(inputs).zip(found) {
                let wanted: f64 = row.iter().zip(x).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
                let size: f64 = row.iter().map(|a| f64::from(a.abs() * largest)).sum();
                let off = match rounding {
                    Rounding::None => 2e-7 * (inputs as f64).sqrt(),
                    Rounding::Bits16 => 2e-5,
                    Rounding::Bits8 | Rounding::Bf16 => 4.1e-3,
                };
                let error = (f64::from(*found) - wanted).abs();
                assert!(error <= off * size + 1e-30, "{what}, {rounding:?}: {found}, not {wanted}");
            }
        }
        // Alone, each row gives the same.
        for (x, found) in x.chunks_exact(inputs).zip(found.chunks_exact(outputs)) {
            assert_eq!(bits(&product(&cpu, &matrix, x, 1, rounding)), bits(found), "{what} alone, {rounding:?}");
        }
        // bfloat16 is for those that multiply it; others take activations as they are.
        if rounding == Rounding::Bf16 && cpu.tier().has_bf16() {
            continue;
        }
        for tier in Tier::ALL.into_iter().filter(|tier| tier.is_available()) {
            let other = Cpu::new(1, Some(tier)).expect("it is available");
            assert_eq!(
                bits(&product(&other, &matrix, &x, count, rounding)),
                bits(&found),
                "{what} {tier}, {rounding:?}"
            );
        }
    }
}

#[test]
fn products_are_right_and_the_same_however_they_are_computed() {
    for layout in LAYOUTS {
        let block = layout.block();
        let inputs = |blocks: usize| if layout.is_float() { 34 * blocks } else { block * blocks };
        for (outputs, blocks, count) in [(1, 1, 1), (15, 1, 2), (16, 2, 3), (17, 3, 5), (70, 2, 9), (33, 9, 7)] {
            // A few hundred inputs say as much of large blocks as thousands do.
            check(layout, outputs, inputs(if block == 256 { blocks.min(3) } else { blocks }), count);
        }
    }
}

#[test]
fn more_rows_than_go_by_a_tile_at_once_come_out_the_same() {
    check(Layout::Q4K, 16, 256, 300);
    check(Layout::F32, 16, 40, 300);
}

#[test]
fn the_largest_codes_and_activations_overflow_nothing() {
    for layout in LAYOUTS.into_iter().filter(|layout| !layout.is_float()) {
        for byte in [0xff, 0x7f, 0x80] {
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
            let plain = Cpu::new(1, Some(Tier::Scalar)).expect("it is available");
            let cpu = Cpu::new(1, None).expect("the best tier is available");
            let matrix = PackedMatrix::pack(layout, 16, inputs, &bytes, &cpu).expect("sizes fit");
            let x: Vec<f32> = (0..5 * inputs).map(|at| [1.0, -1.0, 0.999][at / inputs % 3]).collect();
            for rounding in [Rounding::Bits16, Rounding::Bits8] {
                // The plain twin panics where a number of 32 bits overflows.
                let wanted = bits(&product(&plain, &matrix, &x, 5, rounding));
                assert_eq!(bits(&product(&cpu, &matrix, &x, 5, rounding)), wanted, "{layout:?}, {rounding:?}");
                let alone = product(&cpu, &matrix, &x[..inputs], 1, rounding);
                assert_eq!(bits(&alone), wanted[..16], "{layout:?} alone, {rounding:?}");
            }
        }
    }
}

#[test]
fn results_are_added_scaled_and_get_their_bias() {
    let cpu = Cpu::new(2, None).expect("the best tier is available");
    let bytes: Vec<u8> = (0..20 * 3).flat_map(|at| (at as f32).to_le_bytes()).collect();
    let matrix = PackedMatrix::pack(Layout::F32, 20, 3, &bytes, &cpu).expect("sizes fit");
    let mut rows = Rows::new();
    rows.prepare(1, 3).copy_from_slice(&[1.0, 10.0, 100.0]);
    let bias: Vec<f32> = (0..20).map(|at| at as f32 * 0.5).collect();
    let mut to = vec![7.0; 20];
    let mut twice = vec![1.0; 20];
    let with_bias = Product { matrix: &matrix, bias: Some(&bias), to: &mut to, then: Then::Add(2.0) };
    cpu.product(&rows, &mut [with_bias, Product::new(&matrix, &mut twice)]);
    for output in 0..20 {
        let first = 3.0 * output as f32;
        let product = first + 10.0 * (first + 1.0) + 100.0 * (first + 2.0);
        assert_eq!((to[output], twice[output]), (7.0 + 2.0 * (product + 0.5 * output as f32), product));
    }
}

#[test]
fn a_matrix_takes_the_bits_that_its_file_has() {
    let cpu = Cpu::new(1, None).expect("the best tier is available");
    for layout in LAYOUTS {
        let (outputs, inputs) = (64, 512);
        let bytes = vec![0; outputs * inputs / layout.block() * layout.block_bytes()];
        let matrix = PackedMatrix::pack(layout, outputs, inputs, &bytes, &cpu).expect("sizes fit");
        assert_eq!(matrix.bytes(), bytes.len(), "{layout:?}");
    }
}

#[test]
fn bytes_that_do_not_fit_the_shape_are_refused() {
    let cpu = Cpu::new(1, None).expect("the best tier is available");
    assert!(PackedMatrix::pack(Layout::Q4K, 1, 128, &[0; 72], &cpu).is_err());
    assert!(PackedMatrix::pack(Layout::Q8_0, 2, 32, &[0; 34], &cpu).is_err());
}
