//! The products, plain as their formulas: what the other tiers are held against.

use std::ops::Range;

use half::f16;

use super::{PART, Sums};
use crate::formats::Format;
use crate::packed::{LANES, Layout};
use crate::rows::{GROUP, HALF, Row, Rows};

/// The sums of some rows for a tile of a block format.
pub(crate) fn blocks<F: Format>(tile: &[u8], rows: &Rows, range: Range<usize>, sums: &mut [Sums]) {
    for (row, sums) in range.zip(sums) {
        let row = rows.rounded(row, F::INPUTS);
        *sums = [0.0; LANES];
        for (index, record) in tile.chunks_exact(F::BYTES).take(row.scales.len()).enumerate() {
            for (lane, total) in sums.iter_mut().enumerate() {
                add_record::<F>(record, index, lane, &row, total);
            }
        }
    }
}

/// Adds the products of a lane of a record to its total: in integers, of high and low bytes apart, then once as floats.
fn add_record<F: Format>(record: &[u8], index: usize, lane: usize, row: &Row<'_>, total: &mut f32) {
    let scale = row.scales[index];
    let mut products = [0_i32; 2];
    let mut signed = 0.0_f32;
    let mut lifts = [0_i32; 2];
    for step in 0..F::INPUTS / F::STEP {
        let inputs = index * F::INPUTS + step * F::STEP..index * F::INPUTS + (step + 1) * F::STEP;
        let multiplier = F::multiplier(record, step, lane);
        if F::SIGNED {
            // Steps are exact in integers, but several of them are more than 32 bits hold.
            let x = &row.whole[inputs];
            let sum: i32 = (0..).zip(x).map(|(input, &x)| F::code(record, step, input, lane) * i32::from(x)).sum();
            signed = (sum as f32).mul_add(multiplier as f32, signed);
            continue;
        }
        for (plane, bytes) in [row.high, row.low].into_iter().enumerate() {
            let x = bytes.get(inputs.clone()).unwrap_or_default();
            let sum: i32 = (0..).zip(x).map(|(input, &x)| F::code(record, step, input, lane) * i32::from(x)).sum();
            let of_16 = row.sums_of_16[plane][inputs.start / HALF..inputs.end / HALF].iter();
            let sum_of_x: i32 = of_16.map(|&sum| i32::from(sum)).sum();
            products[plane] += multiplier * (sum - F::OFFSET * sum_of_x);
            lifts[plane] += F::lift(record, step, lane) * sum_of_x;
        }
    }
    let products = if F::SIGNED { signed } else { together(products, row) };
    *total = products.mul_add(F::scale(record, lane) * scale, *total);
    if F::HAS_MINIMUM && F::INPUTS == GROUP {
        *total = (-F::minimum(record, lane)).mul_add(row.scaled_sums[index], *total);
    } else if F::HAS_MINIMUM {
        *total = (-together(lifts, row)).mul_add(F::minimum(record, lane) * scale, *total);
    }
}

/// The sum over high bytes and the sum over low ones, together; all is in the first where a row is not wide.
fn together([high, low]: [i32; 2], row: &Row<'_>) -> f32 {
    if row.low.is_empty() { high as f32 } else { (high as f32).mul_add(256.0, low as f32) }
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
            let scale = F::scale(record, lane) * F::multiplier(record, step, lane) as f32;
            let minimum = F::minimum(record, lane) * F::lift(record, step, lane) as f32;
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
