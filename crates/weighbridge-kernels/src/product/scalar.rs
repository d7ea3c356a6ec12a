//! The products, plain as their formulas: what the other tiers are held against.

use std::ops::Range;

use half::f16;

use super::{PART, Sums};
use crate::formats::Format;
use crate::packed::{LANES, Layout};
use crate::rows::{GROUP, HALF, Rows};

/// The sums of some rows for a tile of a block format.
pub(super) fn blocks<F: Format>(tile: &[u8], rows: &Rows, range: Range<usize>, sums: &mut [Sums]) {
    for (row, sums) in range.zip(sums) {
        let row = rows.rounded(row);
        *sums = [0.0; LANES];
        for (record, start) in tile.chunks_exact(F::BYTES).zip((0..rows.width()).step_by(F::INPUTS)) {
            for step in 0..F::INPUTS / F::STEP {
                let inputs = start + step * F::STEP..start + (step + 1) * F::STEP;
                let x = &row.whole[inputs.clone()];
                let scale = row.scales[inputs.start / GROUP];
                let sum: i32 = row.sums[inputs.start / HALF..inputs.end / HALF].iter().sum();
                for (lane, total) in sums.iter_mut().enumerate() {
                    let code = |input| F::code(record, step, input, lane);
                    let products: i32 = x.iter().enumerate().map(|(input, &x)| code(input) * i32::from(x)).sum();
                    let whole = (products - F::OFFSET * sum) as f32;
                    *total = whole.mul_add(F::scale(record, step, lane) * scale, *total);
                    if F::HAS_MINIMUM {
                        let lift = row.lifts[inputs.start / GROUP];
                        *total = (-F::minimum(record, step, lane)).mul_add(lift, *total);
                    }
                }
            }
        }
    }
}

/// The sums of some rows for a tile of floats.
pub(crate) fn floats(layout: Layout, tile: &[u8], rows: &Rows, range: Range<usize>, sums: &mut [Sums]) {
    for (row, sums) in range.zip(sums) {
        let x = rows.plain(row);
        for (lane, total) in sums.iter_mut().enumerate() {
            *total = 0.0;
            for (part, x) in x.chunks(PART).enumerate() {
                let mut sum = 0.0_f32;
                for (input, x) in x.iter().enumerate() {
                    sum = float(layout, tile, part * PART + input, lane).mul_add(*x, sum);
                }
                *total += sum;
            }
        }
    }
}

/// The numbers of a lane of a block format.
pub(super) fn expand<F: Format>(tile: &[u8], lane: usize, to: &mut [f32]) {
    for (record, to) in tile.chunks_exact(F::BYTES).zip(to.chunks_exact_mut(F::INPUTS)) {
        for (step, to) in to.chunks_exact_mut(F::STEP).enumerate() {
            let (scale, minimum) = (F::scale(record, step, lane), F::minimum(record, step, lane));
            for (input, to) in to.iter_mut().enumerate() {
                *to = scale * (F::code(record, step, input, lane) - F::OFFSET) as f32 - minimum;
            }
        }
    }
}

/// A number of a tile of floats.
pub(super) fn float(layout: Layout, tile: &[u8], input: usize, lane: usize) -> f32 {
    match layout {
        Layout::F16 => {
            let at = 2 * (LANES * input + lane);
            f16::from_le_bytes([tile[at], tile[at + 1]]).to_f32()
        }
        Layout::Bf16 => {
            let at = 4 * (LANES * (input / 2) + lane) + 2 * (input % 2);
            f32::from_bits(u32::from(u16::from_le_bytes([tile[at], tile[at + 1]])) << 16)
        }
        _ => {
            let at = 4 * (LANES * input + lane);
            f32::from_le_bytes([tile[at], tile[at + 1], tile[at + 2], tile[at + 3]])
        }
    }
}
