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
        let start = index * F::INPUTS + step * F::STEP;
        let mut sums = [_mm512_setzero_si512(); PLANES];
        for plane in 0..PLANES {
            sums[plane] = start_of_step::<F>(row, plane, index, step);
        }
        for eighth in 0..F::STEP / 8 {
            ask_ahead::<F>(record, step * F::STEP / 8 + eighth);
            let codes = F::codes(record, step, eighth);
            for four in 0..2 {
                for plane in 0..PLANES {
                    let x = four_bytes(row.planes[plane].add(start + 8 * eighth + 4 * four));
                    sums[plane] = _mm512_dpbusd_epi32(sums[plane], codes[four], x);
                }
            }
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

/// Asks for the lines that stand behind those of the same eight inputs.
#[inline(always)]
unsafe fn ask_ahead<F: Avx512Format>(record: *const u8, eighth: usize) {
    let bytes = F::BYTES / (F::INPUTS / 8);
    let ahead = record.wrapping_add(AHEAD + bytes * eighth);
    _mm_prefetch::<_MM_HINT_T0>(ahead.cast());
    if bytes > 64 {
        _mm_prefetch::<_MM_HINT_T0>(ahead.wrapping_add(64).cast());
    }
}
