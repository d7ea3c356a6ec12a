//! The products with AVX2.
//!
//! Sixteen lanes are two registers. Unsigned codes meet signed bytes of activations in `maddubs`, which adds pairs into
//! sixteen bits; as many of those are added as a format's codes allow before they go to 32 bits. Signed codes are
//! widened to sixteen bits and meet whole activations in `madd`, which is exact for both roundings.
//!
//! With one row the codes are unpacked in registers, and memory is what limits. With more, stripes of a few tiles are
//! unpacked once to the first-level cache and all rows go by them.
#![expect(unsafe_op_in_unsafe_fn, reason = "every line is an instruction or a load within slices, by one promise")]
#![expect(clippy::needless_range_loop, reason = "loops over registers, which an iterator would take the address of")]

mod floats;
mod many;
mod single;

use std::arch::x86_64::*;
use std::ops::Range;

pub(super) use self::floats::floats;
use self::many::many;
use self::single::single;
use super::{MOST_TILES, Sums};
use crate::formats::avx2::{Avx2Format, Pair};
use crate::packed::PackedMatrix;
use crate::rows::{GROUP, HALF, RowPointers, Rows};

/// Inputs of a stripe.
const STRIPE: usize = 256;
/// Bytes ahead of the weights being read that are asked for, so that they are there in time.
const AHEAD: usize = 4096;

/// Rows that are done with weights before memory brings the next, so that it is best read in order, tile by tile.
const IN_ORDER: usize = 8;

/// Sixteen lanes of whole numbers.
type Whole = [__m256i; 2];

/// The sums of some rows for a few tiles of a block format. The sums of a tile stand together, one for each row.
///
/// # Safety
/// The processor has AVX2, FMA and F16C; the rows are as wide as the matrix, and rounded for it; `tiles` are of it and
/// [`MOST_TILES`] at most; there is a place in `sums` for each row and tile.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe fn blocks<F: Avx2Format>(
    matrix: &PackedMatrix,
    tiles: Range<usize>,
    rows: &Rows,
    range: Range<usize>,
    sums: &mut [Sums],
) {
    let is_wide = rows.is_wide(F::INPUTS) && !F::SIGNED;
    let count = range.len();
    let rows = rows.pointers(range.start, F::INPUTS);
    if count == 1 {
        for (tile, sums) in tiles.zip(sums) {
            match is_wide {
                true => single::<F, 2>(matrix.tile(tile), rows, sums),
                false => single::<F, 1>(matrix.tile(tile), rows, sums),
            }
        }
        return;
    }
    // Signed codes take twice the room.
    let at_once = match count {
        ..=IN_ORDER => 1,
        _ if F::SIGNED => MOST_TILES / 2,
        _ => MOST_TILES,
    };
    for (first, sums) in tiles.clone().step_by(at_once).zip(sums.chunks_mut(at_once * count)) {
        let tiles = first..tiles.end.min(first + at_once);
        match is_wide {
            true => many::<F, 2>(matrix, tiles, rows, count, sums),
            false => many::<F, 1>(matrix, tiles, rows, count, sums),
        }
    }
}

/// Adds the integer sums of a step, times its multipliers.
#[inline(always)]
unsafe fn add_signed<F: Avx2Format>(totals: Pair, sums: Whole, multipliers: Pair) -> Pair {
    if F::INPUTS == F::STEP {
        return floats_of_whole(sums);
    }
    [
        _mm256_fmadd_ps(_mm256_cvtepi32_ps(sums[0]), multipliers[0], totals[0]),
        _mm256_fmadd_ps(_mm256_cvtepi32_ps(sums[1]), multipliers[1], totals[1]),
    ]
}

/// Pairs of steps of a record at most.
const PAIRS: usize = STRIPE / HALF / 2;

/// Sums of activations that meet a record, two and two.
const fn pairs_of<F: Avx2Format>() -> usize {
    if F::INPUTS == GROUP { 1 } else { F::INPUTS / F::STEP / 2 }
}

/// The multipliers of a step, each twice, since products come in pairs.
#[inline(always)]
unsafe fn multipliers_of<F: Avx2Format>(record: *const u8, step: usize) -> Whole {
    if F::INPUTS == F::STEP {
        return [_mm256_set1_epi16(1); 2];
    }
    let bytes = F::multipliers(record, step);
    [neighbours::<0>(bytes, bytes), neighbours::<8>(bytes, bytes)]
}

/// The multipliers of a step as floats.
#[inline(always)]
unsafe fn float_multipliers_of<F: Avx2Format>(record: *const u8, step: usize) -> Pair {
    let bytes = F::multipliers(record, step);
    floats_of_whole([_mm256_cvtepi8_epi32(bytes), _mm256_cvtepi8_epi32(_mm_unpackhi_epi64(bytes, bytes))])
}

/// What the offset of codes comes to in each pair of steps, for each unit of the activations.
#[inline(always)]
unsafe fn offsets_of<F: Avx2Format>(record: *const u8) -> [Whole; PAIRS] {
    let offset = _mm256_set1_epi16(F::OFFSET as i16);
    let mut offsets = [[offset; 2]; PAIRS];
    if F::INPUTS != F::STEP {
        for pair in 0..pairs_of::<F>() {
            let (first, second) = (F::multipliers(record, 2 * pair), F::multipliers(record, 2 * pair + 1));
            offsets[pair] = [
                _mm256_mullo_epi16(neighbours::<0>(first, second), offset),
                _mm256_mullo_epi16(neighbours::<8>(first, second), offset),
            ];
        }
    }
    offsets
}

/// What minima are multiplied by in each pair of steps.
#[inline(always)]
unsafe fn lifts_of<F: Avx2Format>(record: *const u8) -> [Whole; PAIRS] {
    let mut lifts = [[_mm256_setzero_si256(); 2]; PAIRS];
    for pair in 0..pairs_of::<F>() {
        let (first, second) = (F::lifts(record, 2 * pair), F::lifts(record, 2 * pair + 1));
        lifts[pair] = [neighbours::<0>(first, second), neighbours::<8>(first, second)];
    }
    lifts
}

/// Eight bytes of each, from the one at `FROM` on, as words: one of `first`, one of `second`.
#[inline(always)]
unsafe fn neighbours<const FROM: i32>(first: __m128i, second: __m128i) -> __m256i {
    let even = _mm256_cvtepi8_epi32(_mm_bsrli_si128::<FROM>(first));
    let odd = _mm256_cvtepi8_epi32(_mm_bsrli_si128::<FROM>(second));
    _mm256_blend_epi16::<0b1010_1010>(even, _mm256_slli_epi32::<16>(odd))
}

/// Factors of pairs of steps times the sums of the activations there, for each plane of a row.
#[inline(always)]
unsafe fn with_sums<F: Avx2Format, const PLANES: usize>(
    factors: &[Whole; PAIRS],
    index: usize,
    row: RowPointers,
) -> [Whole; PLANES] {
    let mut sums = [[_mm256_setzero_si256(); 2]; PLANES];
    for plane in 0..PLANES {
        // Two steps of sixteen each, also where a record is one step of 32.
        let of_16 = F::STEP == HALF || F::INPUTS == GROUP;
        let x = if of_16 { row.sums_of_16[plane] } else { row.sums_of_32[plane] };
        let x = x.add(2 * pairs_of::<F>() * index);
        for pair in 0..pairs_of::<F>() {
            let x = two_words(x.add(2 * pair));
            for half in 0..2 {
                let products = _mm256_madd_epi16(factors[pair][half], x);
                sums[plane][half] = _mm256_add_epi32(sums[plane][half], products);
            }
        }
    }
    sums
}

/// Adds the products of a record to the totals of a row.
#[inline(always)]
unsafe fn finish_record<F: Avx2Format>(
    mut totals: Pair,
    products: Pair,
    lifts: Pair,
    scales: Pair,
    minima: Pair,
    row: RowPointers,
    index: usize,
) -> Pair {
    let scale = _mm256_broadcast_ss(&*row.scales.add(index));
    for half in 0..2 {
        totals[half] = _mm256_fmadd_ps(products[half], _mm256_mul_ps(scales[half], scale), totals[half]);
    }
    if F::HAS_MINIMUM && F::INPUTS == GROUP {
        let sum = _mm256_broadcast_ss(&*row.scaled_sums.add(index));
        for half in 0..2 {
            totals[half] = _mm256_fnmadd_ps(minima[half], sum, totals[half]);
        }
    } else if F::HAS_MINIMUM {
        for half in 0..2 {
            totals[half] = _mm256_fnmadd_ps(lifts[half], _mm256_mul_ps(minima[half], scale), totals[half]);
        }
    }
    totals
}

/// The sums over high and over low bytes, together, as floats.
#[inline(always)]
unsafe fn together<const PLANES: usize>(planes: [Whole; PLANES]) -> Pair {
    let high = floats_of_whole(planes[0]);
    if PLANES == 1 {
        return high;
    }
    let low = floats_of_whole(planes[PLANES - 1]);
    let by = _mm256_set1_ps(256.0);
    [_mm256_fmadd_ps(high[0], by, low[0]), _mm256_fmadd_ps(high[1], by, low[1])]
}

#[inline(always)]
unsafe fn floats_of_whole(numbers: Whole) -> Pair {
    [_mm256_cvtepi32_ps(numbers[0]), _mm256_cvtepi32_ps(numbers[1])]
}

#[inline(always)]
unsafe fn four_bytes(x: *const i8) -> __m256i {
    _mm256_set1_epi32(x.cast::<i32>().read_unaligned())
}

#[inline(always)]
unsafe fn two_words(x: *const i16) -> __m256i {
    _mm256_set1_epi32(x.cast::<i32>().read_unaligned())
}

#[inline(always)]
unsafe fn load(sums: &Sums) -> Pair {
    [_mm256_loadu_ps(sums.as_ptr()), _mm256_loadu_ps(sums.as_ptr().add(8))]
}

#[inline(always)]
unsafe fn store(sums: &mut Sums, totals: Pair) {
    _mm256_storeu_ps(sums.as_mut_ptr(), totals[0]);
    _mm256_storeu_ps(sums.as_mut_ptr().add(8), totals[1]);
}
