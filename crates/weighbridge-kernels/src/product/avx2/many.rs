//! Some rows by tiles of a block format: stripes of a few tiles are unpacked once to the first-level cache, and all rows
//! go by them.
#![expect(unsafe_op_in_unsafe_fn, reason = "every line is an instruction or a load within slices, by one promise")]
#![expect(clippy::needless_range_loop, reason = "loops over registers, which an iterator would take the address of")]

use std::arch::asm;
use std::arch::x86_64::*;
use std::mem::MaybeUninit;
use std::ops::Range;

use super::{
    AHEAD, PAIRS, Pair, STRIPE, Sums, Whole, add_signed, finish_record, float_multipliers_of, four_bytes, lifts_of,
    load, multipliers_of, offsets_of, store, together, two_words, with_sums,
};
use crate::formats::avx2::Avx2Format;
use crate::packed::{LANES, PackedMatrix};
use crate::product::MOST_TILES;
use crate::rows::{GROUP, HALF, RowPointers};

/// Weights of a tile over some inputs, unpacked: codes by fours of inputs, or, widened to sixteen bits, by twos. Only
/// what a format has is ever written, and read.
#[repr(align(64))]
struct Stripe {
    codes: [u8; 2 * LANES * STRIPE],
    /// Of each step.
    multipliers: [Whole; STRIPE / HALF],
    /// The same as floats, for signed codes.
    float_multipliers: [Pair; STRIPE / GROUP],
    /// Of each pair of steps: what the sums of activations are multiplied by for offsets or minima.
    factors: [Whole; PAIRS],
    /// Of each record.
    scales: [Pair; STRIPE / GROUP],
    minima: [Pair; STRIPE / GROUP],
}

/// Some rows by a few tiles.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe fn many<F: Avx2Format, const PLANES: usize>(
    matrix: &PackedMatrix,
    tiles: Range<usize>,
    rows: RowPointers,
    count: usize,
    sums: &mut [Sums],
) {
    let mut stripes = [const { MaybeUninit::<Stripe>::uninit() }; MOST_TILES];
    sums[..count * tiles.len()].fill([0.0; LANES]);
    let records = rows.width / F::INPUTS;
    let at_once = STRIPE / F::INPUTS;
    for first in (0..records).step_by(at_once) {
        // The next stripe is the next of each tile, or the first of tiles that come after these. A single tile is read in
        // order.
        let to_next = match first + at_once < records {
            _ if tiles.len() == 1 => AHEAD,
            true => at_once * F::BYTES,
            false => tiles.len() * matrix.tile(tiles.start).len() - first * F::BYTES,
        };
        let records = at_once.min(records - first);
        for (tile, stripe) in tiles.clone().zip(&mut stripes) {
            let tile = &matrix.tile(tile)[first * F::BYTES..(first + records) * F::BYTES];
            for (index, record) in tile.chunks_exact(F::BYTES).enumerate() {
                let ahead = record.as_ptr().wrapping_add(to_next);
                unpack::<F>(record.as_ptr(), ahead, index, stripe.as_mut_ptr());
            }
        }
        let stripes = &stripes[..tiles.len()];
        let mut row = 0;
        while row < count {
            let at = Place { records, first, rows: rows.later(row) };
            // Twelve sums fit the registers beside weights and activations, unless a short step has to put them away often.
            let done = match (PLANES, count - row) {
                (1, 6..) if F::STEP > HALF => 6,
                (1, 4..) => 4,
                (2, 3 | 5..) if F::STEP > HALF => 3,
                (_, 2..) => 2,
                _ => 1,
            };
            if row + done < count {
                ask_for_rows::<PLANES>(rows.later(row + done), done.min(count - row - done), at.first * F::INPUTS);
            }
            for (tile, stripe) in stripes.iter().enumerate() {
                let stripe = stripe.as_ptr();
                let sums = &mut sums[tile * count + row..][..done];
                match done {
                    6 if PLANES == 1 && F::STEP > HALF => pass::<F, 6, PLANES>(stripe, at, sums),
                    4 if PLANES == 1 => pass::<F, 4, PLANES>(stripe, at, sums),
                    3 if PLANES == 2 && F::STEP > HALF => pass::<F, 3, PLANES>(stripe, at, sums),
                    2 => pass::<F, 2, PLANES>(stripe, at, sums),
                    _ => pass::<F, 1, PLANES>(stripe, at, sums),
                }
            }
            row += done;
        }
    }
}

/// Asks for the bytes of a stripe of the rows that come next.
#[inline(always)]
unsafe fn ask_for_rows<const PLANES: usize>(rows: RowPointers, count: usize, start: usize) {
    for row in 0..count {
        for plane in 0..PLANES {
            let x = rows.planes[plane].wrapping_add(row * rows.width + start);
            for line in 0..STRIPE / 64 {
                _mm_prefetch::<_MM_HINT_T0>(x.wrapping_add(64 * line).cast());
            }
        }
    }
}

/// Asks for the lines that eight inputs of a record take, for the second-level cache: the first is full of what is
/// computed now.
#[inline(always)]
unsafe fn ask_for_eighth<F: Avx2Format>(record: *const u8, eighth: usize) {
    let bytes = F::BYTES / (F::INPUTS / 8);
    let place = record.wrapping_add(bytes * eighth);
    _mm_prefetch::<_MM_HINT_T1>(place.cast());
    if bytes > 64 {
        _mm_prefetch::<_MM_HINT_T1>(place.wrapping_add(64).cast());
    }
}

/// Where a pass is: so many records, of which this is the first, and its rows.
#[derive(Clone, Copy)]
struct Place {
    records: usize,
    first: usize,
    rows: RowPointers,
}

/// Unpacks a record, and asks for the one at `ahead` meanwhile.
#[inline(always)]
unsafe fn unpack<F: Avx2Format>(record: *const u8, ahead: *const u8, index: usize, stripe: *mut Stripe) {
    (*stripe).scales[index] = F::scales(record);
    if F::HAS_MINIMUM {
        (*stripe).minima[index] = F::minima(record);
    }
    if F::INPUTS != F::STEP {
        if F::HAS_MINIMUM {
            (*stripe).factors = lifts_of::<F>(record);
        } else if F::OFFSET != 0 {
            (*stripe).factors = offsets_of::<F>(record);
        }
    }
    for step in 0..F::INPUTS / F::STEP {
        if F::SIGNED {
            (*stripe).float_multipliers[step] = float_multipliers_of::<F>(record, step);
        } else {
            (*stripe).multipliers[step] = multipliers_of::<F>(record, step);
        }
        for eighth in 0..F::STEP / 8 {
            ask_for_eighth::<F>(ahead, step * F::STEP / 8 + eighth);
            let codes = F::codes(record, step, eighth);
            let eight = index * F::INPUTS / 8 + step * F::STEP / 8 + eighth;
            if F::SIGNED {
                let to = (&raw mut (*stripe).codes).cast::<u8>().add(256 * eight);
                for four in 0..2 {
                    for half in 0..2 {
                        let [first, second] = widened(codes[2 * four + half]);
                        let to = to.add(128 * four + 32 * half);
                        _mm256_store_si256(to.cast(), first);
                        _mm256_store_si256(to.add(64).cast(), second);
                    }
                }
            } else {
                let to = (&raw mut (*stripe).codes).cast::<u8>().add(128 * eight);
                for (quarter, codes) in codes.into_iter().enumerate() {
                    _mm256_store_si256(to.add(32 * quarter).cast(), codes);
                }
            }
        }
    }
}

/// A few rows by one stripe.
#[inline(never)]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn pass<F: Avx2Format, const ROWS: usize, const PLANES: usize>(
    stripe: *const Stripe,
    at: Place,
    sums: &mut [Sums],
) {
    let mut rows = [at.rows; ROWS];
    for row in 1..ROWS {
        rows[row] = at.rows.later(row);
    }
    let mut totals = [[_mm256_setzero_ps(); 2]; ROWS];
    for row in 0..ROWS {
        totals[row] = load(&sums[row]);
    }
    for record in 0..at.records {
        let index = at.first + record;
        let start = index * F::INPUTS;
        let mut products = [[_mm256_setzero_ps(); 2]; ROWS];
        let mut lifts = [[_mm256_setzero_ps(); 2]; ROWS];
        if F::SIGNED {
            let mut whole = [rows[0].whole; ROWS];
            for row in 0..ROWS {
                whole[row] = rows[row].whole.add(start);
            }
            products = signed_pass::<F, ROWS>(stripe, record, whole);
        } else {
            let mut planes = [[rows[0].planes[0]; PLANES]; ROWS];
            for row in 0..ROWS {
                for plane in 0..PLANES {
                    planes[row][plane] = rows[row].planes[plane].add(start);
                }
            }
            let wide = unsigned_pass::<F, ROWS, PLANES>(stripe, record, planes);
            for row in 0..ROWS {
                let mut wide = wide[row];
                if F::OFFSET != 0 {
                    let constant = [[_mm256_set1_epi16(F::OFFSET as i16); 2]; PAIRS];
                    let factors = if F::INPUTS == F::STEP { constant } else { (*stripe).factors };
                    let off = with_sums::<F, PLANES>(&factors, index, rows[row]);
                    for plane in 0..PLANES {
                        for half in 0..2 {
                            wide[plane][half] = _mm256_sub_epi32(wide[plane][half], off[plane][half]);
                        }
                    }
                }
                products[row] = together(wide);
                if F::HAS_MINIMUM && F::INPUTS != GROUP {
                    lifts[row] = together(with_sums::<F, PLANES>(&(*stripe).factors, index, rows[row]));
                }
            }
        }
        let scales = (*stripe).scales[record];
        let minima = if F::HAS_MINIMUM { (*stripe).minima[record] } else { [_mm256_setzero_ps(); 2] };
        for row in 0..ROWS {
            totals[row] = finish_record::<F>(totals[row], products[row], lifts[row], scales, minima, rows[row], index);
        }
    }
    for row in 0..ROWS {
        store(&mut sums[row], totals[row]);
    }
}

/// The integer products of a record of a stripe with each plane of each row.
#[inline(always)]
unsafe fn unsigned_pass<F: Avx2Format, const ROWS: usize, const PLANES: usize>(
    stripe: *const Stripe,
    record: usize,
    x: [[*const i8; PLANES]; ROWS],
) -> [[Whole; PLANES]; ROWS] {
    let mut wide = [[[_mm256_setzero_si256(); 2]; PLANES]; ROWS];
    for step in 0..F::INPUTS / F::STEP {
        let codes = (&raw const (*stripe).codes).cast::<u8>().add(LANES * (record * F::INPUTS + step * F::STEP));
        let multipliers = (*stripe).multipliers[step];
        for run in 0..F::STEP / 4 / F::FITS {
            let mut narrow = [[[_mm256_setzero_si256(); 2]; PLANES]; ROWS];
            let (codes, at) = (codes.add(64 * run * F::FITS), step * F::STEP + 4 * run * F::FITS);
            // Written out, since the compiler leaves loops around what is kept in order as they are.
            add_fours::<ROWS, PLANES, true>(&mut narrow, codes, x, at);
            if F::FITS > 2 {
                add_fours::<ROWS, PLANES, false>(&mut narrow, codes.add(128), x, at + 8);
            }
            if F::FITS > 4 {
                add_fours::<ROWS, PLANES, false>(&mut narrow, codes.add(256), x, at + 16);
                add_fours::<ROWS, PLANES, false>(&mut narrow, codes.add(384), x, at + 24);
            }
            for row in 0..ROWS {
                for plane in 0..PLANES {
                    for half in 0..2 {
                        let products = _mm256_madd_epi16(narrow[row][plane][half], multipliers[half]);
                        wide[row][plane][half] = _mm256_add_epi32(wide[row][plane][half], products);
                    }
                }
            }
        }
    }
    wide
}

/// Adds the products of eight inputs, which are at `at` of each row; the first are not added to anything.
#[inline(always)]
unsafe fn add_fours<const ROWS: usize, const PLANES: usize, const FIRST: bool>(
    narrow: &mut [[Whole; PLANES]; ROWS],
    codes: *const u8,
    x: [[*const i8; PLANES]; ROWS],
    at: usize,
) {
    for four in 0..2 {
        let codes = codes.add(64 * four);
        let weights = [_mm256_load_si256(codes.cast()), _mm256_load_si256(codes.add(32).cast())];
        for row in 0..ROWS {
            for plane in 0..PLANES {
                let x = four_bytes(x[row][plane].add(at + 4 * four));
                for half in 0..2 {
                    let products = _mm256_maddubs_epi16(weights[half], x);
                    let sum = &mut narrow[row][plane][half];
                    *sum = in_order(if FIRST && four == 0 { products } else { _mm256_add_epi16(*sum, products) });
                }
            }
        }
    }
}

/// Keeps sums in the order in which they are written here: the compiler would rather add up the rows one after the other
/// as trees, for which there are far too few registers.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn in_order(sum: __m256i) -> __m256i {
    let kept;
    asm!("/* {0} */", inlateout(ymm_reg) sum => kept, options(nomem, nostack, preserves_flags));
    kept
}

/// The products of a record of signed codes of a stripe with each row.
#[inline(always)]
unsafe fn signed_pass<F: Avx2Format, const ROWS: usize>(
    stripe: *const Stripe,
    record: usize,
    x: [*const i16; ROWS],
) -> [Pair; ROWS] {
    let mut totals = [[_mm256_setzero_ps(); 2]; ROWS];
    for step in 0..F::INPUTS / F::STEP {
        let codes = (&raw const (*stripe).codes).cast::<u8>().add(2 * LANES * (record * F::INPUTS + step * F::STEP));
        let mut sums = [[_mm256_setzero_si256(); 2]; ROWS];
        for two in 0..F::STEP / 2 {
            let weights =
                [_mm256_load_si256(codes.add(64 * two).cast()), _mm256_load_si256(codes.add(64 * two + 32).cast())];
            for row in 0..ROWS {
                let x = two_words(x[row].add(step * F::STEP + 2 * two));
                for half in 0..2 {
                    let products = _mm256_madd_epi16(weights[half], x);
                    sums[row][half] = in_order(_mm256_add_epi32(sums[row][half], products));
                }
            }
        }
        for row in 0..ROWS {
            totals[row] = add_signed::<F>(totals[row], sums[row], (*stripe).float_multipliers[step]);
        }
    }
    totals
}

/// Signed bytes by fours as words: the first two of each four, and the other two.
#[inline(always)]
unsafe fn widened(bytes: __m256i) -> [__m256i; 2] {
    // Each byte goes to the upper half of a word, and the shift brings its sign along.
    let first = _mm256_set1_epi64x(0x0580_0480_0180_0080_u64 as i64);
    let other = _mm256_set1_epi64x(0x0780_0680_0380_0280_u64 as i64);
    let lanes = _mm256_set_epi64x(0x0808_0808_0808_0808, 0, 0x0808_0808_0808_0808, 0);
    let (first, other) = (_mm256_add_epi8(first, lanes), _mm256_add_epi8(other, lanes));
    [
        _mm256_srai_epi16::<8>(_mm256_shuffle_epi8(bytes, first)),
        _mm256_srai_epi16::<8>(_mm256_shuffle_epi8(bytes, other)),
    ]
}
