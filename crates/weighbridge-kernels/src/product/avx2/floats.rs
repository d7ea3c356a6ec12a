//! Rows by tiles of floats.
#![expect(unsafe_op_in_unsafe_fn, reason = "every line is an instruction or a load within slices, by one promise")]

use std::arch::asm;
use std::arch::x86_64::*;
use std::array;
use std::ops::Range;

use super::{AHEAD, Pair, load, store};
use crate::packed::{LANES, Layout, PackedMatrix};
use crate::product::{FEW_ROWS, PART, Sums};
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
    let count = range.len();
    sums[..tiles.len() * count].fill([0.0; LANES]);
    if count == 1 && tiles.len() == 4 {
        let tiles: [*const u8; 4] = array::from_fn(|tile| matrix.tile(tiles.start + tile).as_ptr());
        add::<LAYOUT, 1, 4>(tiles, rows.plain(range.start).as_ptr(), rows.width(), sums);
        return;
    }
    for (tile, mut sums) in tiles.zip(sums.chunks_exact_mut(count)) {
        let tile = [matrix.tile(tile).as_ptr()];
        let mut first = range.start;
        while !sums.is_empty() {
            let row = rows.plain(first).as_ptr();
            let at_once = match sums.len() {
                6.. => 6,
                4.. => 4,
                2.. => 2,
                _ => 1,
            };
            let (now, later) = std::mem::take(&mut sums).split_at_mut(at_once);
            match at_once {
                6 => add::<LAYOUT, 6, 1>(tile, row, rows.width(), now),
                4 => add::<LAYOUT, 4, 1>(tile, row, rows.width(), now),
                2 => add::<LAYOUT, 2, 1>(tile, row, rows.width(), now),
                _ => add::<LAYOUT, 1, 1>(tile, row, rows.width(), now),
            }
            (first, sums) = (first + at_once, later);
        }
    }
}

/// Adds a few rows to their sums for a few tiles, those of a tile one for each row.
#[inline(always)]
unsafe fn add<const LAYOUT: u8, const ROWS: usize, const TILES: usize>(
    tiles: [*const u8; TILES],
    row: *const f32,
    width: usize,
    sums: &mut [Sums],
) {
    let rows: [*const f32; ROWS] = array::from_fn(|index| row.wrapping_add(index * width));
    for first in (0..width).step_by(PART) {
        let mut part = [[[_mm256_setzero_ps(); 2]; TILES]; ROWS];
        for input in (first..width.min(first + PART)).step_by(stride::<LAYOUT>()) {
            for next in 0..stride::<LAYOUT>() {
                let mut weights = [[_mm256_setzero_ps(); 2]; TILES];
                for tile in 0..TILES {
                    let place = weights_at::<LAYOUT>(tiles[tile], input);
                    // With more rows the weights are read too slowly for memory to be late.
                    if ROWS <= FEW_ROWS && next == 0 {
                        _mm_prefetch::<_MM_HINT_T0>(place.wrapping_add(AHEAD / 2).cast());
                    }
                    weights[tile] = float_weights::<LAYOUT>(anew(place), next);
                }
                for row in 0..ROWS {
                    let x = _mm256_broadcast_ss(&*rows[row].add(input + next));
                    for tile in 0..TILES {
                        for half in 0..2 {
                            part[row][tile][half] = _mm256_fmadd_ps(weights[tile][half], x, part[row][tile][half]);
                        }
                    }
                }
            }
        }
        for row in 0..ROWS {
            for tile in 0..TILES {
                let sums = &mut sums[tile * ROWS + row];
                let (totals, [first, second]) = (load(sums), part[row][tile]);
                store(sums, [_mm256_add_ps(totals[0], first), _mm256_add_ps(totals[1], second)]);
            }
        }
    }
}

/// Inputs whose weights stand together: two of bfloat16.
const fn stride<const LAYOUT: u8>() -> usize {
    if LAYOUT == Layout::Bf16 as u8 { 2 } else { 1 }
}

/// Where the weights of an input stand, one that its layout's stride divides.
#[inline(always)]
fn weights_at<const LAYOUT: u8>(tile: *const u8, input: usize) -> *const u8 {
    let bytes = if LAYOUT == Layout::F16 as u8 { 32 } else { 64 };
    tile.wrapping_add(input / stride::<LAYOUT>() * bytes)
}

/// Keeps the compiler from holding what it has read there in registers that sums need.
#[inline(always)]
fn anew(mut place: *const u8) -> *const u8 {
    // SAFETY: there are no instructions.
    unsafe { asm!("/* {0} */", inout(reg) place, options(pure, readonly, nostack, preserves_flags)) };
    place
}

/// Sixteen weights: of the input that stands there, or of one of the next that stand together with it.
#[inline(always)]
unsafe fn float_weights<const LAYOUT: u8>(place: *const u8, next: usize) -> Pair {
    if LAYOUT == Layout::F32 as u8 {
        [_mm256_loadu_ps(place.cast()), _mm256_loadu_ps(place.add(32).cast())]
    } else if LAYOUT == Layout::F16 as u8 {
        let (a, b) = (_mm_loadu_si128(place.cast()), _mm_loadu_si128(place.add(16).cast()));
        [_mm256_cvtph_ps(a), _mm256_cvtph_ps(b)]
    } else {
        let (a, b) = (_mm256_loadu_si256(place.cast()), _mm256_loadu_si256(place.add(32).cast()));
        let widened = if next == 0 {
            [_mm256_slli_epi32::<16>(a), _mm256_slli_epi32::<16>(b)]
        } else {
            let upper = _mm256_set1_epi32(0xffff_0000_u32 as i32);
            [_mm256_and_si256(a, upper), _mm256_and_si256(b, upper)]
        };
        [_mm256_castsi256_ps(widened[0]), _mm256_castsi256_ps(widened[1])]
    }
}
