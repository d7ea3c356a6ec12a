//! One row by tiles of a block format: codes are unpacked in registers, and memory is what limits.
#![expect(unsafe_op_in_unsafe_fn, reason = "every line is an instruction or a load within slices, by one promise")]
#![expect(clippy::needless_range_loop, reason = "loops over registers, which an iterator would take the address of")]

use std::arch::x86_64::*;

use super::{
    AHEAD, Pair, Sums, Whole, add_signed, finish_record, float_multipliers_of, four_bytes, lifts_of, multipliers_of,
    offsets_of, store, together, with_sums,
};
use crate::formats::avx2::Avx2Format;
use crate::rows::{GROUP, RowPointers};

/// One row. `PLANES` is the number of bytes that an activation has apart.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe fn single<F: Avx2Format, const PLANES: usize>(tile: &[u8], row: RowPointers, sums: &mut Sums) {
    let mut totals = [_mm256_setzero_ps(); 2];
    for (index, record) in tile.chunks_exact(F::BYTES).take(row.width / F::INPUTS).enumerate() {
        let record = record.as_ptr();
        let products = if F::SIGNED {
            signed_record::<F>(record, row.whole.add(index * F::INPUTS))
        } else {
            together(unsigned_record::<F, PLANES>(record, index, row))
        };
        let minima = if F::HAS_MINIMUM { F::minima(record) } else { [_mm256_setzero_ps(); 2] };
        let mut lifts = [_mm256_setzero_ps(); 2];
        if F::HAS_MINIMUM && F::INPUTS != GROUP {
            lifts = together(with_sums::<F, PLANES>(&lifts_of::<F>(record), index, row));
        }
        totals = finish_record::<F>(totals, products, lifts, F::scales(record), minima, row, index);
    }
    store(sums, totals);
}

/// The integer products of a record with each plane of a row, codes unpacked in registers.
#[inline(always)]
unsafe fn unsigned_record<F: Avx2Format, const PLANES: usize>(
    record: *const u8,
    index: usize,
    row: RowPointers,
) -> [Whole; PLANES] {
    let mut wide = [[_mm256_setzero_si256(); 2]; PLANES];
    for step in 0..F::INPUTS / F::STEP {
        let start = index * F::INPUTS + step * F::STEP;
        let multipliers = multipliers_of::<F>(record, step);
        let mut narrow = [[_mm256_setzero_si256(); 2]; PLANES];
        for eighth in 0..F::STEP / 8 {
            ask_ahead::<F>(record, step * F::STEP / 8 + eighth);
            let codes = F::codes(record, step, eighth);
            for four in 0..2 {
                for plane in 0..PLANES {
                    let x = four_bytes(row.planes[plane].add(start + 8 * eighth + 4 * four));
                    for half in 0..2 {
                        let products = _mm256_maddubs_epi16(codes[2 * four + half], x);
                        narrow[plane][half] = _mm256_add_epi16(narrow[plane][half], products);
                    }
                }
                if (2 * eighth + four + 1) % F::FITS == 0 {
                    for plane in 0..PLANES {
                        for half in 0..2 {
                            let products = _mm256_madd_epi16(narrow[plane][half], multipliers[half]);
                            wide[plane][half] = _mm256_add_epi32(wide[plane][half], products);
                            narrow[plane][half] = _mm256_setzero_si256();
                        }
                    }
                }
            }
        }
    }
    if F::OFFSET != 0 {
        let offsets = offsets_of::<F>(record);
        let off = with_sums::<F, PLANES>(&offsets, index, row);
        for plane in 0..PLANES {
            for half in 0..2 {
                wide[plane][half] = _mm256_sub_epi32(wide[plane][half], off[plane][half]);
            }
        }
    }
    wide
}

/// Asks for the lines that stand behind those of the same eight inputs.
#[inline(always)]
unsafe fn ask_ahead<F: Avx2Format>(record: *const u8, eighth: usize) {
    let bytes = F::BYTES / (F::INPUTS / 8);
    let ahead = record.wrapping_add(AHEAD + bytes * eighth);
    _mm_prefetch::<_MM_HINT_T0>(ahead.cast());
    if bytes > 64 {
        _mm_prefetch::<_MM_HINT_T0>(ahead.wrapping_add(64).cast());
    }
}

/// The products of a record of signed codes with whole activations: four inputs of four lanes at a time, whose pairs are
/// put together in the end. Steps are exact in integers and added up as floats.
#[inline(always)]
unsafe fn signed_record<F: Avx2Format>(record: *const u8, x: *const i16) -> Pair {
    let mut totals = [_mm256_setzero_ps(); 2];
    for step in 0..F::INPUTS / F::STEP {
        let mut sums = [[_mm256_setzero_si256(); 2]; 2];
        for eighth in 0..F::STEP / 8 {
            ask_ahead::<F>(record, step * F::STEP / 8 + eighth);
            let codes = F::codes(record, step, eighth);
            for four in 0..2 {
                let x = x.add(step * F::STEP + 8 * eighth + 4 * four);
                let x = _mm256_set1_epi64x(x.cast::<i64>().read_unaligned());
                for half in 0..2 {
                    let codes = codes[2 * four + half];
                    let low = _mm256_cvtepi8_epi16(_mm256_castsi256_si128(codes));
                    let high = _mm256_cvtepi8_epi16(_mm256_extracti128_si256::<1>(codes));
                    sums[half][0] = _mm256_add_epi32(sums[half][0], _mm256_madd_epi16(low, x));
                    sums[half][1] = _mm256_add_epi32(sums[half][1], _mm256_madd_epi16(high, x));
                }
            }
        }
        let sums = [added_neighbours(sums[0]), added_neighbours(sums[1])];
        totals = add_signed::<F>(totals, sums, float_multipliers_of::<F>(record, step));
    }
    totals
}

/// The sums of neighbours: those of the first register, then those of the second.
#[inline(always)]
unsafe fn added_neighbours(sums: [__m256i; 2]) -> __m256i {
    _mm256_permute4x64_epi64::<0xd8>(_mm256_hadd_epi32(sums[0], sums[1]))
}
