//! Rows by tiles of floats.
#![expect(unsafe_op_in_unsafe_fn, reason = "every line is an instruction or a load within slices, by one promise")]
#![expect(clippy::needless_range_loop, reason = "loops over registers, which an iterator would take the address of")]

use std::arch::x86_64::*;
use std::array;
use std::ops::Range;

use super::{AHEAD, Pair, store};
use crate::packed::{Layout, PackedMatrix};
use crate::product::{PART, Sums};
use crate::rows::Rows;

/// The sums of some rows for a few tiles of floats: four tiles side by side with one row, so that there are sums enough to
/// wait for, one tile with more rows.
///
/// # Safety
/// The processor has AVX2, FMA and F16C; rows are as wide as the matrix; there is a place for each row and tile.
#[target_feature(enable = "avx2,fma,f16c")]
pub(in crate::product) unsafe fn floats(
    matrix: &PackedMatrix,
    tiles: Range<usize>,
    rows: &Rows,
    range: Range<usize>,
    sums: &mut [Sums],
) {
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
) {
    let (inputs, count) = (rows.width(), range.len());
    let row = |index: usize| rows.plain(range.start + index).as_ptr();
    if count == 1 && tiles.len() == 4 {
        let tiles: [*const u8; 4] = array::from_fn(|tile| matrix.tile(tiles.start + tile).as_ptr());
        float_pass::<LAYOUT, 1, 4>(tiles, inputs, [row(0)], sums);
        return;
    }
    for (tile, sums) in tiles.zip(sums.chunks_exact_mut(count)) {
        let tile = [matrix.tile(tile).as_ptr()];
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
    }
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
