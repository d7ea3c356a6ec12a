//! Products with tiles of a block format.
//!
//! `vpdpbusd` adds the products of four unsigned codes and four signed bytes of activations to a lane of 32 bits. What
//! is taken off codes, the format's offset or what signed codes were raised by, is taken off in advance: a step's sums
//! start at so many times less the sum of the activations there. Multipliers and lifts come in whole numbers too, and
//! floats once a record.
//!
//! With one row the codes are unpacked in registers, and memory is what limits. With more, stripes of two tiles are
//! unpacked once to the first-level cache and all rows go by them.
#![expect(unsafe_op_in_unsafe_fn, reason = "every line is an instruction or a load within slices, by one promise")]
#![expect(clippy::needless_range_loop, reason = "loops over registers, which an iterator would take the address of")]

use std::ops::Range;

use super::arch::*;
use super::formats::{Avx512Format, RAISED};
use super::many::many;
use super::single::single;
use crate::packed::PackedMatrix;
use crate::product::Sums;
use crate::rows::{GROUP, HALF, RowPointers, Rows};

/// Pairs of steps of a record, or pairs of lifts.
const PAIRS: usize = 4;

/// The sums of some rows for a few tiles of a block format. The sums of a tile stand together, one for each row.
///
/// # Safety
/// The processor has the tier's instructions; the rows are as wide as the matrix, and rounded for it; `tiles` are of it;
/// there is a place in `sums` for each row and tile.
pub(crate) unsafe fn blocks<F: Avx512Format>(
    matrix: &PackedMatrix,
    tiles: Range<usize>,
    rows: &Rows,
    range: Range<usize>,
    sums: &mut [Sums],
) {
    let is_wide = rows.is_wide(F::INPUTS);
    let count = range.len();
    let rows = rows.pointers(range.start, F::INPUTS);
    match (count, is_wide) {
        (1, true) => tiles.zip(sums).for_each(|(tile, sums)| single::<F, 2>(matrix.tile(tile), rows, sums)),
        (1, false) => tiles.zip(sums).for_each(|(tile, sums)| single::<F, 1>(matrix.tile(tile), rows, sums)),
        (_, true) => many::<F, 2>(matrix, tiles, rows, count, sums),
        (_, false) => many::<F, 1>(matrix, tiles, rows, count, sums),
    }
}

/// Where the sums of a step start: at what is taken off its codes, times the activations there.
#[inline(always)]
pub(super) unsafe fn start_of_step<F: Avx512Format>(
    row: RowPointers,
    plane: usize,
    index: usize,
    step: usize,
) -> __m512i {
    let taken = if F::SIGNED { RAISED } else { F::OFFSET };
    if taken == 0 {
        return _mm512_setzero_si512();
    }
    // Sums of sixteen come by twos: both are of a step of 32, one of a step of sixteen.
    let first = (index * F::INPUTS + step * F::STEP) / GROUP * (GROUP / HALF);
    let factor = i32::from(-taken as i16 as u16);
    let factors = match step % 2 {
        _ if F::STEP == GROUP => factor | factor << 16,
        0 => factor,
        _ => factor << 16,
    };
    let x = two_words(row.sums_of_16[plane].add(first));
    _mm512_dpwssd_epi32(_mm512_setzero_si512(), _mm512_set1_epi32(factors), x)
}

/// Adds the products of a step of signed codes, of high and low bytes, to those of the steps before: exact in integers,
/// times the multipliers as floats.
#[inline(always)]
pub(super) unsafe fn add_signed<F: Avx512Format, const PLANES: usize>(
    totals: __m512,
    planes: [__m512i; PLANES],
    multipliers: __m512,
) -> __m512 {
    let mut whole = planes[0];
    if PLANES == 2 {
        whole = _mm512_add_epi32(_mm512_slli_epi32::<8>(whole), planes[PLANES - 1]);
    }
    let products = _mm512_cvtepi32_ps(whole);
    if F::INPUTS == F::STEP { products } else { _mm512_fmadd_ps(products, multipliers, totals) }
}

/// Whether minima come with lifts.
pub(super) const fn has_lifts<F: Avx512Format>() -> bool {
    F::HAS_MINIMUM && F::INPUTS != GROUP
}

/// The lifts of each pair of steps as words, one of the first, one of the second.
#[inline(always)]
pub(super) unsafe fn lifts_of<F: Avx512Format>(record: *const u8) -> [__m512i; PAIRS] {
    let mut lifts = [_mm512_setzero_si512(); PAIRS];
    for pair in 0..PAIRS {
        let second = _mm512_slli_epi32::<16>(F::lifts(record, 2 * pair + 1));
        lifts[pair] = _mm512_or_si512(F::lifts(record, 2 * pair), second);
    }
    lifts
}

/// Lifts times the sums of the activations there.
#[inline(always)]
pub(super) unsafe fn lifted<const PLANES: usize>(lifts: [__m512i; PAIRS], index: usize, row: RowPointers) -> __m512 {
    let mut sums = [_mm512_setzero_si512(); PLANES];
    for plane in 0..PLANES {
        for pair in 0..PAIRS {
            let x = two_words(row.sums_of_32[plane].add(2 * (PAIRS * index + pair)));
            sums[plane] = _mm512_dpwssd_epi32(sums[plane], lifts[pair], x);
        }
    }
    together(sums)
}

/// Adds the products of a record to the total of a row.
#[inline(always)]
pub(super) unsafe fn finish_record<F: Avx512Format>(
    total: __m512,
    products: __m512,
    lifts: __m512,
    scales: __m512,
    minima: __m512,
    row: RowPointers,
    index: usize,
) -> __m512 {
    let scale = _mm512_set1_ps(*row.scales.add(index));
    let total = _mm512_fmadd_ps(products, _mm512_mul_ps(scales, scale), total);
    if has_lifts::<F>() {
        _mm512_fnmadd_ps(lifts, _mm512_mul_ps(minima, scale), total)
    } else if F::HAS_MINIMUM {
        _mm512_fnmadd_ps(minima, _mm512_set1_ps(*row.scaled_sums.add(index)), total)
    } else {
        total
    }
}

/// The sums over high and over low bytes, together, as floats.
#[inline(always)]
pub(super) unsafe fn together<const PLANES: usize>(planes: [__m512i; PLANES]) -> __m512 {
    let high = _mm512_cvtepi32_ps(planes[0]);
    if PLANES == 1 {
        return high;
    }
    _mm512_fmadd_ps(high, _mm512_set1_ps(256.0), _mm512_cvtepi32_ps(planes[PLANES - 1]))
}

/// Four bytes in each lane.
#[inline(always)]
pub(super) unsafe fn four_bytes(x: *const i8) -> __m512i {
    _mm512_set1_epi32(x.cast::<i32>().read_unaligned())
}

/// Two words in each lane.
#[inline(always)]
unsafe fn two_words(x: *const i16) -> __m512i {
    _mm512_set1_epi32(x.cast::<i32>().read_unaligned())
}
