//! The products with AVX2.
//!
//! Sixteen lanes are two registers. Unsigned codes meet signed bytes of activations in `maddubs`, which adds pairs into
//! sixteen bits; as many of those are added as a format's codes allow before they go to 32 bits. Signed codes are
//! widened to sixteen bits and meet whole activations in `madd`, which is exact for both roundings.
//!
//! With one row the codes are unpacked in registers, and memory is what limits. With more, a stripe of weights is
//! unpacked once to the first-level cache and all rows go by it.
#![expect(unsafe_op_in_unsafe_fn, reason = "every line is an instruction or a load within slices, by one promise")]
#![expect(clippy::needless_range_loop, reason = "loops over registers, which an iterator would take the address of")]

use std::arch::x86_64::*;
use std::array;
use std::ops::Range;

use super::{PART, Sums};
use crate::formats::avx2::{Avx2Format, Pair};
use crate::packed::{LANES, Layout, PackedMatrix};
use crate::rows::{GROUP, HALF, Row, Rows};

/// Inputs of a stripe.
const STRIPE: usize = 256;
/// Bytes ahead of the codes being read that are asked for, so that they are there in time.
const AHEAD: usize = 4096;

/// The sums of some rows for a tile of a block format.
///
/// # Safety
/// The processor has AVX2, FMA and F16C; the tile holds whole records for the rows' width, which is a multiple of a
/// record's inputs; there is a place in `sums` for each row.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe fn blocks<F: Avx2Format>(tile: &[u8], rows: &Rows, range: Range<usize>, sums: &mut [Sums]) {
    match (range.len(), rows.is_wide()) {
        (1, true) if !F::SIGNED => single::<F, 2>(tile, rows, range.start, &mut sums[0]),
        (1, _) => single::<F, 1>(tile, rows, range.start, &mut sums[0]),
        (_, true) if !F::SIGNED => many::<F, 2>(tile, rows, range, sums),
        _ => many::<F, 1>(tile, rows, range, sums),
    }
}

/// One row. `PLANES` is the number of bytes that an activation has apart.
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn single<F: Avx2Format, const PLANES: usize>(tile: &[u8], rows: &Rows, row: usize, sums: &mut Sums) {
    let row = rows.rounded(row);
    let mut totals = [_mm256_setzero_ps(); 2];
    for (index, record) in tile.chunks_exact(F::BYTES).take(rows.width() / F::INPUTS).enumerate() {
        let record = record.as_ptr();
        for step in 0..F::INPUTS / F::STEP {
            let start = index * F::INPUTS + step * F::STEP;
            let products = if F::SIGNED {
                signed_step::<F>(record, step, row.whole.as_ptr().add(start))
            } else {
                let mut planes = [row.high.as_ptr().add(start); PLANES];
                planes[PLANES - 1] = plane_of(&row, PLANES - 1).add(start);
                unsigned_step::<F, PLANES>(record, step, planes)
            };
            let minima = if F::HAS_MINIMUM { F::minima(record, step) } else { [_mm256_setzero_ps(); 2] };
            totals = finish_step::<F>(totals, products, F::scales(record, step), minima, &row, start);
        }
    }
    store(sums, totals);
}

/// The integer products of a step, codes unpacked in registers.
#[inline(always)]
unsafe fn unsigned_step<F: Avx2Format, const PLANES: usize>(
    record: *const u8,
    step: usize,
    planes: [*const i8; PLANES],
) -> [__m256i; 2] {
    let ones = _mm256_set1_epi16(1);
    let mut wide = [[_mm256_setzero_si256(); 2]; PLANES];
    let mut narrow = [[_mm256_setzero_si256(); 2]; PLANES];
    for eighth in 0..F::STEP / 8 {
        ask_ahead::<F>(record, step * F::STEP / 8 + eighth);
        let codes = F::codes(record, step, eighth);
        for four in 0..2 {
            for plane in 0..PLANES {
                let x = four_bytes(planes[plane].add(8 * eighth + 4 * four));
                for half in 0..2 {
                    let products = _mm256_maddubs_epi16(codes[2 * four + half], x);
                    narrow[plane][half] = _mm256_add_epi16(narrow[plane][half], products);
                }
            }
            if (2 * eighth + four + 1) % F::FITS == 0 {
                for plane in 0..PLANES {
                    for half in 0..2 {
                        let pairs = _mm256_madd_epi16(narrow[plane][half], ones);
                        wide[plane][half] = _mm256_add_epi32(wide[plane][half], pairs);
                        narrow[plane][half] = _mm256_setzero_si256();
                    }
                }
            }
        }
    }
    together(wide)
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

/// The same for signed codes and whole activations: four inputs of four lanes at a time, whose pairs are put together in
/// the end.
#[inline(always)]
unsafe fn signed_step<F: Avx2Format>(record: *const u8, step: usize, x: *const i16) -> [__m256i; 2] {
    let mut sums = [[_mm256_setzero_si256(); 2]; 2];
    for eighth in 0..F::STEP / 8 {
        ask_ahead::<F>(record, step * F::STEP / 8 + eighth);
        let codes = F::codes(record, step, eighth);
        for four in 0..2 {
            let x = _mm256_set1_epi64x(x.add(8 * eighth + 4 * four).cast::<i64>().read_unaligned());
            for half in 0..2 {
                let codes = codes[2 * four + half];
                let low = _mm256_cvtepi8_epi16(_mm256_castsi256_si128(codes));
                let high = _mm256_cvtepi8_epi16(_mm256_extracti128_si256::<1>(codes));
                sums[half][0] = _mm256_add_epi32(sums[half][0], _mm256_madd_epi16(low, x));
                sums[half][1] = _mm256_add_epi32(sums[half][1], _mm256_madd_epi16(high, x));
            }
        }
    }
    [pairs_of(sums[0]), pairs_of(sums[1])]
}

/// The sums of neighbours: those of the first register, then those of the second.
#[inline(always)]
unsafe fn pairs_of(sums: [__m256i; 2]) -> __m256i {
    _mm256_permute4x64_epi64::<0xd8>(_mm256_hadd_epi32(sums[0], sums[1]))
}

/// Weights of a tile over some inputs, unpacked: codes by fours of inputs, or, widened to sixteen bits, by twos.
#[repr(align(64))]
struct Stripe {
    codes: [u8; 2 * LANES * STRIPE],
    scales: [Pair; STRIPE / HALF],
    minima: [Pair; STRIPE / HALF],
}

/// Some rows.
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn many<F: Avx2Format, const PLANES: usize>(tile: &[u8], rows: &Rows, range: Range<usize>, sums: &mut [Sums]) {
    let mut stripe = Stripe {
        codes: [0; 2 * LANES * STRIPE],
        scales: [[_mm256_setzero_ps(); 2]; STRIPE / HALF],
        minima: [[_mm256_setzero_ps(); 2]; STRIPE / HALF],
    };
    let count = range.len();
    sums[..count].fill([0.0; LANES]);
    let records = rows.width() / F::INPUTS;
    let at_once = STRIPE / F::INPUTS;
    for first in (0..records).step_by(at_once) {
        let records = at_once.min(records - first);
        for index in 0..records {
            unpack::<F>(tile[(first + index) * F::BYTES..][..F::BYTES].as_ptr(), index, &mut stripe);
        }
        let steps = records * F::INPUTS / F::STEP;
        let start = first * F::INPUTS;
        let mut row = 0;
        if PLANES == 1 {
            while row + 4 <= count {
                pass::<F, 4, PLANES>(&stripe, steps, start, rows, range.start + row, &mut sums[row..row + 4]);
                row += 4;
            }
        }
        while row + 2 <= count {
            pass::<F, 2, PLANES>(&stripe, steps, start, rows, range.start + row, &mut sums[row..row + 2]);
            row += 2;
        }
        if row < count {
            pass::<F, 1, PLANES>(&stripe, steps, start, rows, range.start + row, &mut sums[row..=row]);
        }
    }
}

#[inline(always)]
unsafe fn unpack<F: Avx2Format>(record: *const u8, index: usize, stripe: &mut Stripe) {
    for step in 0..F::INPUTS / F::STEP {
        let place = index * F::INPUTS / F::STEP + step;
        stripe.scales[place] = F::scales(record, step);
        if F::HAS_MINIMUM {
            stripe.minima[place] = F::minima(record, step);
        }
        for eighth in 0..F::STEP / 8 {
            let codes = F::codes(record, step, eighth);
            let eight = place * F::STEP / 8 + eighth;
            if F::SIGNED {
                let to = stripe.codes.as_mut_ptr().add(256 * eight);
                for four in 0..2 {
                    for half in 0..2 {
                        let [first, second] = widened(codes[2 * four + half]);
                        let to = to.add(128 * four + 32 * half);
                        _mm256_store_si256(to.cast(), first);
                        _mm256_store_si256(to.add(64).cast(), second);
                    }
                }
            } else {
                let to = stripe.codes.as_mut_ptr().add(128 * eight);
                for (quarter, codes) in codes.into_iter().enumerate() {
                    _mm256_store_si256(to.add(32 * quarter).cast(), codes);
                }
            }
        }
    }
}

/// A few rows by one stripe.
#[inline(always)]
unsafe fn pass<F: Avx2Format, const ROWS: usize, const PLANES: usize>(
    stripe: &Stripe,
    steps: usize,
    start: usize,
    rows: &Rows,
    first: usize,
    sums: &mut [Sums],
) {
    let rows: [Row<'_>; ROWS] = array::from_fn(|row| rows.rounded(first + row));
    let mut totals = [[_mm256_setzero_ps(); 2]; ROWS];
    for row in 0..ROWS {
        totals[row] = load(&sums[row]);
    }
    for step in 0..steps {
        let start = start + step * F::STEP;
        let products = if F::SIGNED {
            let mut whole = [rows[0].whole.as_ptr(); ROWS];
            for row in 0..ROWS {
                whole[row] = rows[row].whole.as_ptr().add(start);
            }
            signed_pass::<F, ROWS>(stripe.codes.as_ptr().add(2 * LANES * F::STEP * step), whole)
        } else {
            let mut planes = [[rows[0].high.as_ptr(); PLANES]; ROWS];
            for row in 0..ROWS {
                for plane in 0..PLANES {
                    planes[row][plane] = plane_of(&rows[row], plane).add(start);
                }
            }
            unsigned_pass::<F, ROWS, PLANES>(stripe.codes.as_ptr().add(LANES * F::STEP * step), planes)
        };
        for row in 0..ROWS {
            let (scales, minima) = (stripe.scales[step], stripe.minima[step]);
            totals[row] = finish_step::<F>(totals[row], products[row], scales, minima, &rows[row], start);
        }
    }
    for row in 0..ROWS {
        store(&mut sums[row], totals[row]);
    }
}

#[inline(always)]
unsafe fn unsigned_pass<F: Avx2Format, const ROWS: usize, const PLANES: usize>(
    codes: *const u8,
    x: [[*const i8; PLANES]; ROWS],
) -> [[__m256i; 2]; ROWS] {
    let ones = _mm256_set1_epi16(1);
    let mut wide = [[[_mm256_setzero_si256(); 2]; PLANES]; ROWS];
    for run in 0..F::STEP / 4 / F::FITS {
        let mut narrow = [[[_mm256_setzero_si256(); 2]; PLANES]; ROWS];
        for four in run * F::FITS..(run + 1) * F::FITS {
            let weights =
                [_mm256_load_si256(codes.add(64 * four).cast()), _mm256_load_si256(codes.add(64 * four + 32).cast())];
            for row in 0..ROWS {
                for plane in 0..PLANES {
                    let x = four_bytes(x[row][plane].add(4 * four));
                    for half in 0..2 {
                        let products = _mm256_maddubs_epi16(weights[half], x);
                        narrow[row][plane][half] = _mm256_add_epi16(narrow[row][plane][half], products);
                    }
                }
            }
        }
        for row in 0..ROWS {
            for plane in 0..PLANES {
                for half in 0..2 {
                    let pairs = _mm256_madd_epi16(narrow[row][plane][half], ones);
                    wide[row][plane][half] = _mm256_add_epi32(wide[row][plane][half], pairs);
                }
            }
        }
    }
    let mut sums = [[_mm256_setzero_si256(); 2]; ROWS];
    for row in 0..ROWS {
        sums[row] = together(wide[row]);
    }
    sums
}

#[inline(always)]
unsafe fn signed_pass<F: Avx2Format, const ROWS: usize>(
    codes: *const u8,
    x: [*const i16; ROWS],
) -> [[__m256i; 2]; ROWS] {
    let mut sums = [[_mm256_setzero_si256(); 2]; ROWS];
    for two in 0..F::STEP / 2 {
        let weights =
            [_mm256_load_si256(codes.add(64 * two).cast()), _mm256_load_si256(codes.add(64 * two + 32).cast())];
        for row in 0..ROWS {
            let x = two_words(x[row].add(2 * two));
            for half in 0..2 {
                sums[row][half] = _mm256_add_epi32(sums[row][half], _mm256_madd_epi16(weights[half], x));
            }
        }
    }
    sums
}

/// Adds the products of a step to the totals of a row.
#[inline(always)]
unsafe fn finish_step<F: Avx2Format>(
    mut totals: Pair,
    products: [__m256i; 2],
    scales: Pair,
    minima: Pair,
    row: &Row<'_>,
    start: usize,
) -> Pair {
    let scale = _mm256_broadcast_ss(row.scales.get_unchecked(start / GROUP));
    let mut products = products;
    if F::OFFSET != 0 {
        let mut sum = *row.sums.get_unchecked(start / HALF);
        if F::STEP != HALF {
            sum += *row.sums.get_unchecked(start / HALF + 1);
        }
        let offset = _mm256_set1_epi32(F::OFFSET.wrapping_mul(sum));
        products = [_mm256_sub_epi32(products[0], offset), _mm256_sub_epi32(products[1], offset)];
    }
    for half in 0..2 {
        let scales = _mm256_mul_ps(scales[half], scale);
        totals[half] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(products[half]), scales, totals[half]);
    }
    if F::HAS_MINIMUM {
        let lift = _mm256_broadcast_ss(row.lifts.get_unchecked(start / GROUP));
        for half in 0..2 {
            totals[half] = _mm256_fnmadd_ps(minima[half], lift, totals[half]);
        }
    }
    totals
}

/// High and low bytes put together.
#[inline(always)]
unsafe fn together<const PLANES: usize>(planes: [[__m256i; 2]; PLANES]) -> [__m256i; 2] {
    if PLANES == 1 {
        return planes[0];
    }
    let [high, low] = [planes[0], planes[PLANES - 1]];
    [
        _mm256_add_epi32(_mm256_slli_epi32::<8>(high[0]), low[0]),
        _mm256_add_epi32(_mm256_slli_epi32::<8>(high[1]), low[1]),
    ]
}

#[inline(always)]
fn plane_of(row: &Row<'_>, plane: usize) -> *const i8 {
    if plane == 0 { row.high.as_ptr() } else { row.low.as_ptr() }
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

/// The sums of some rows for tiles of floats: four tiles with one row, so that there are sums enough to wait for, one
/// tile with more rows. Gives how many tiles.
///
/// # Safety
/// The processor has AVX2, FMA and F16C; rows are as wide as the matrix; there is a place for each row and tile, four
/// at least.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe fn floats(
    matrix: &PackedMatrix,
    tiles: Range<usize>,
    rows: &Rows,
    range: Range<usize>,
    sums: &mut [Sums],
) -> usize {
    match matrix.layout() {
        Layout::F16 => floats_of::<{ Layout::F16 as u8 }>(matrix, tiles, rows, range, sums),
        Layout::Bf16 => floats_of::<{ Layout::Bf16 as u8 }>(matrix, tiles, rows, range, sums),
        _ => floats_of::<{ Layout::F32 as u8 }>(matrix, tiles, rows, range, sums),
    }
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn floats_of<const LAYOUT: u8>(
    matrix: &PackedMatrix,
    tiles: Range<usize>,
    rows: &Rows,
    range: Range<usize>,
    sums: &mut [Sums],
) -> usize {
    let (inputs, count) = (rows.width(), range.len());
    let row = |index: usize| rows.plain(range.start + index).as_ptr();
    if count == 1 && tiles.len() >= 4 {
        let tiles: [*const u8; 4] = array::from_fn(|tile| matrix.tile(tiles.start + tile).as_ptr());
        float_pass::<LAYOUT, 1, 4>(tiles, inputs, [row(0)], &mut sums[..4]);
        return 4;
    }
    let tile = [matrix.tile(tiles.start).as_ptr()];
    let mut done = 0;
    while done + 6 <= count {
        float_pass::<LAYOUT, 6, 1>(tile, inputs, array::from_fn(|at| row(done + at)), &mut sums[done..done + 6]);
        done += 6;
    }
    while done + 2 <= count {
        float_pass::<LAYOUT, 2, 1>(tile, inputs, array::from_fn(|at| row(done + at)), &mut sums[done..done + 2]);
        done += 2;
    }
    if done < count {
        float_pass::<LAYOUT, 1, 1>(tile, inputs, [row(done)], &mut sums[done..=done]);
    }
    1
}

#[inline(always)]
unsafe fn float_pass<const LAYOUT: u8, const ROWS: usize, const TILES: usize>(
    tiles: [*const u8; TILES],
    inputs: usize,
    rows: [*const f32; ROWS],
    sums: &mut [Sums],
) {
    // Two inputs at a time are what bfloat16 comes in.
    let stride = if LAYOUT == Layout::Bf16 as u8 { 2 } else { 1 };
    let bytes = if LAYOUT == Layout::F16 as u8 { 32 } else { 64 };
    let mut totals = [[[_mm256_setzero_ps(); 2]; TILES]; ROWS];
    for first in (0..inputs).step_by(PART) {
        let mut part = [[[_mm256_setzero_ps(); 2]; TILES]; ROWS];
        for input in (first..inputs.min(first + PART)).step_by(stride) {
            let mut weights = [[[_mm256_setzero_ps(); 2]; 2]; TILES];
            for tile in 0..TILES {
                let place = tiles[tile].add(input / stride * bytes);
                if ROWS == 1 {
                    _mm_prefetch::<_MM_HINT_T0>(place.wrapping_add(AHEAD / 2).cast());
                }
                weights[tile] = float_weights::<LAYOUT>(place);
            }
            for next in 0..stride {
                for row in 0..ROWS {
                    let x = _mm256_broadcast_ss(&*rows[row].add(input + next));
                    for tile in 0..TILES {
                        for half in 0..2 {
                            let weight = weights[tile][next][half];
                            part[row][tile][half] = _mm256_fmadd_ps(weight, x, part[row][tile][half]);
                        }
                    }
                }
            }
        }
        for row in 0..ROWS {
            for tile in 0..TILES {
                for half in 0..2 {
                    totals[row][tile][half] = _mm256_add_ps(totals[row][tile][half], part[row][tile][half]);
                }
            }
        }
    }
    for tile in 0..TILES {
        for row in 0..ROWS {
            store(&mut sums[tile * ROWS + row], totals[row][tile]);
        }
    }
}

/// Sixteen weights of an input; of bfloat16 those of the next one too.
#[inline(always)]
unsafe fn float_weights<const LAYOUT: u8>(place: *const u8) -> [Pair; 2] {
    let none = [_mm256_setzero_ps(); 2];
    if LAYOUT == Layout::F32 as u8 {
        [[_mm256_loadu_ps(place.cast()), _mm256_loadu_ps(place.add(32).cast())], none]
    } else if LAYOUT == Layout::F16 as u8 {
        let (a, b) = (_mm_loadu_si128(place.cast()), _mm_loadu_si128(place.add(16).cast()));
        [[_mm256_cvtph_ps(a), _mm256_cvtph_ps(b)], none]
    } else {
        let (a, b) = (_mm256_loadu_si256(place.cast()), _mm256_loadu_si256(place.add(32).cast()));
        let upper = _mm256_set1_epi32(0xffff_0000_u32 as i32);
        let even = [_mm256_slli_epi32::<16>(a), _mm256_slli_epi32::<16>(b)];
        let odd = [_mm256_and_si256(a, upper), _mm256_and_si256(b, upper)];
        [
            [_mm256_castsi256_ps(even[0]), _mm256_castsi256_ps(even[1])],
            [_mm256_castsi256_ps(odd[0]), _mm256_castsi256_ps(odd[1])],
        ]
    }
}
