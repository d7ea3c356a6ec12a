//! One row by a tile of a block format: codes are unpacked in registers, and memory is what limits.
#![expect(unsafe_op_in_unsafe_fn, reason = "every line is an instruction or a load within slices, by one promise")]
#![expect(clippy::needless_range_loop, reason = "loops over registers, which an iterator would take the address of")]

use super::arch::*;
use super::blocks::{add_signed, finish_record, four_bytes, has_lifts, lifted, lifts_of, start_of_step, together};
use super::formats::Avx512Format;
use crate::product::Sums;
use crate::rows::RowPointers;

/// Bytes ahead of the weights being read that are asked for, so that they are there in time.
const AHEAD: usize = 4096;

for_avx512! {
    /// One row. `PLANES` is the number of bytes that an activation has apart.
    ///
    /// # Safety
    /// The processor has the tier's instructions; the tile holds whole records for the row's width.
    pub(super) unsafe fn single<F: Avx512Format, const PLANES: usize>(tile: &[u8], row: RowPointers, sums: &mut Sums) {
        let mut total = _mm512_setzero_ps();
        for (index, record) in tile.chunks_exact(F::BYTES).take(row.width / F::INPUTS).enumerate() {
            let record = record.as_ptr();
            let products = products_of::<F, PLANES>(record, index, row);
            let mut lifts = _mm512_setzero_ps();
            if has_lifts::<F>() {
                lifts = lifted::<PLANES>(lifts_of::<F>(record), index, row);
            }
            total = finish_record::<F>(total, products, lifts, F::scales(record), F::minima(record), row, index);
        }
        _mm512_storeu_ps(sums.as_mut_ptr(), total);
    }
}

/// The products of a record, as floats.
#[inline(always)]
unsafe fn products_of<F: Avx512Format, const PLANES: usize>(
    record: *const u8,
    index: usize,
    row: RowPointers,
) -> __m512 {
    let mut signed = _mm512_setzero_ps();
    let mut totals = [_mm512_setzero_si512(); PLANES];
    for step in 0..F::INPUTS / F::STEP {
        ask_ahead::<F>(record, step);
        let start = index * F::INPUTS + step * F::STEP;
        // Two sums, so that the products of one need not wait for those of the other.
        let mut halves = [[_mm512_setzero_si512(); 2]; PLANES];
        for plane in 0..PLANES {
            halves[plane][0] = start_of_step::<F>(row, plane, index, step);
        }
        for eighth in 0..F::STEP / 8 {
            let codes = F::codes(record, step, eighth);
            for four in 0..2 {
                for plane in 0..PLANES {
                    let x = four_bytes(row.planes[plane].add(start + 8 * eighth + 4 * four));
                    halves[plane][four] = _mm512_dpbusd_epi32(halves[plane][four], codes[four], x);
                }
            }
        }
        let mut sums = [_mm512_setzero_si512(); PLANES];
        for plane in 0..PLANES {
            sums[plane] = _mm512_add_epi32(halves[plane][0], halves[plane][1]);
        }
        if F::SIGNED {
            signed = add_signed::<F, PLANES>(signed, sums, _mm512_cvtepi32_ps(F::multipliers(record, step)));
        } else if F::INPUTS == F::STEP {
            totals = sums;
        } else {
            let multipliers = F::multipliers(record, step);
            for plane in 0..PLANES {
                totals[plane] = _mm512_add_epi32(totals[plane], _mm512_mullo_epi32(sums[plane], multipliers));
            }
        }
    }
    if F::SIGNED { signed } else { together(totals) }
}

/// Asks for the lines that stand behind those of a step.
#[inline(always)]
unsafe fn ask_ahead<F: Avx512Format>(record: *const u8, step: usize) {
    let bytes = F::BYTES * F::STEP / F::INPUTS;
    for line in 0..bytes.div_ceil(64) {
        _mm_prefetch::<_MM_HINT_T0>(record.wrapping_add(AHEAD + step * bytes + 64 * line).cast());
    }
}
