//! Products with tiles of floats: sixteen outputs are a register.
#![expect(unsafe_op_in_unsafe_fn, reason = "every line is an instruction or a load within slices, by one promise")]
#![expect(clippy::needless_range_loop, reason = "loops over registers, which an iterator would take the address of")]

use std::array;
use std::ops::Range;

use super::arch::*;
use crate::packed::{Layout, PackedMatrix};
use crate::product::{PART, Sums};
use crate::rows::Rows;

/// Bytes ahead of the weights being read that are asked for, so that they are there in time.
const AHEAD: usize = 2048;

/// The sums of some rows for tiles of floats: four tiles with one or two rows, so that there are sums enough to wait
/// for, one tile with more. Gives how many tiles.
///
/// # Safety
/// The processor has the tier's instructions; rows are as wide as the matrix; there is a place for each row and tile,
/// eight at least.
pub(crate) unsafe fn floats(
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

for_avx512! {
    unsafe fn floats_of<const LAYOUT: u8>(
        matrix: &PackedMatrix,
        tiles: Range<usize>,
        rows: &Rows,
        range: Range<usize>,
        sums: &mut [Sums],
    ) -> usize {
        let (inputs, count) = (rows.width(), range.len());
        if count <= 2 && tiles.len() >= 4 {
            let tiles: [*const u8; 4] = array::from_fn(|tile| matrix.tile(tiles.start + tile).as_ptr());
            match count {
                1 => pass::<LAYOUT, 1, 4>(tiles, inputs, starts(rows, range.start), sums),
                _ => pass::<LAYOUT, 2, 4>(tiles, inputs, starts(rows, range.start), sums),
            }
            return 4;
        }
        let tile = [matrix.tile(tiles.start).as_ptr()];
        let mut done = 0;
        while done + 12 <= count {
            pass::<LAYOUT, 12, 1>(tile, inputs, starts(rows, range.start + done), &mut sums[done..]);
            done += 12;
        }
        while done + 4 <= count {
            pass::<LAYOUT, 4, 1>(tile, inputs, starts(rows, range.start + done), &mut sums[done..]);
            done += 4;
        }
        while done < count {
            pass::<LAYOUT, 1, 1>(tile, inputs, starts(rows, range.start + done), &mut sums[done..]);
            done += 1;
        }
        1
    }
}

/// Where `ROWS` rows from `first` on start.
fn starts<const ROWS: usize>(rows: &Rows, first: usize) -> [*const f32; ROWS] {
    array::from_fn(|row| rows.plain(first + row).as_ptr())
}

/// A few rows by a few tiles; the sums of a tile stand together.
#[inline(always)]
unsafe fn pass<const LAYOUT: u8, const ROWS: usize, const TILES: usize>(
    tiles: [*const u8; TILES],
    inputs: usize,
    rows: [*const f32; ROWS],
    sums: &mut [Sums],
) {
    // Two inputs at a time are what bfloat16 comes in.
    let stride = if LAYOUT == Layout::Bf16 as u8 { 2 } else { 1 };
    let bytes = if LAYOUT == Layout::F16 as u8 { 32 } else { 64 };
    let mut totals = [[_mm512_setzero_ps(); TILES]; ROWS];
    for first in (0..inputs).step_by(PART) {
        let mut part = [[_mm512_setzero_ps(); TILES]; ROWS];
        for input in (first..inputs.min(first + PART)).step_by(stride) {
            let mut weights = [[_mm512_setzero_ps(); 2]; TILES];
            for tile in 0..TILES {
                let place = tiles[tile].add(input / stride * bytes);
                if ROWS <= 2 {
                    _mm_prefetch::<_MM_HINT_T0>(place.wrapping_add(AHEAD).cast());
                }
                weights[tile] = sixteen::<LAYOUT>(place);
            }
            for next in 0..stride {
                for row in 0..ROWS {
                    let x = _mm512_set1_ps(*rows[row].add(input + next));
                    for tile in 0..TILES {
                        part[row][tile] = _mm512_fmadd_ps(weights[tile][next], x, part[row][tile]);
                    }
                }
            }
        }
        for row in 0..ROWS {
            for tile in 0..TILES {
                totals[row][tile] = _mm512_add_ps(totals[row][tile], part[row][tile]);
            }
        }
    }
    for tile in 0..TILES {
        for row in 0..ROWS {
            _mm512_storeu_ps(sums[tile * ROWS + row].as_mut_ptr(), totals[row][tile]);
        }
    }
}

/// Sixteen weights of an input; of bfloat16 those of the next one too.
#[inline(always)]
unsafe fn sixteen<const LAYOUT: u8>(place: *const u8) -> [__m512; 2] {
    if LAYOUT == Layout::F32 as u8 {
        [_mm512_loadu_ps(place.cast()), _mm512_setzero_ps()]
    } else if LAYOUT == Layout::F16 as u8 {
        [_mm512_cvtph_ps(_mm256_loadu_si256(place.cast())), _mm512_setzero_ps()]
    } else {
        let pairs = _mm512_loadu_si512(place.cast());
        let odd = _mm512_and_si512(pairs, _mm512_set1_epi32(0xffff_0000_u32 as i32));
        [_mm512_castsi512_ps(_mm512_slli_epi32::<16>(pairs)), _mm512_castsi512_ps(odd)]
    }
}
