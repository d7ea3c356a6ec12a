//! Products with tiles of floats: sixteen outputs are a register.
#![expect(unsafe_op_in_unsafe_fn, reason = "every line is an instruction or a load within slices, by one promise")]

use std::array;
use std::ops::Range;

use super::arch::*;
use super::weights::{Bf16, Bf16Pairs, F16, F32, Weights};
use crate::packed::{Layout, PackedMatrix};
use crate::product::{PART, Sums};
use crate::rows::Rows;

/// Bytes ahead of the weights being read that are asked for, so that they are there in time.
const AHEAD: usize = 2048;

/// The sums of some rows for tiles of floats: up to four tiles with one or two rows, so that there are sums enough to
/// wait for, one tile with more. The sums of a tile stand together, one for each row.
///
/// # Safety
/// The processor has the tier's instructions; rows are as wide as the matrix; `tiles` are of it and four at most;
/// there is a place in `sums` for each row and tile.
pub(crate) unsafe fn floats(
    matrix: &PackedMatrix,
    tiles: Range<usize>,
    rows: &Rows,
    range: Range<usize>,
    sums: &mut [Sums],
) {
    match matrix.layout() {
        Layout::F16 => floats_of::<F16>(matrix, tiles, rows, range, sums),
        Layout::Bf16 => floats_of::<Bf16>(matrix, tiles, rows, range, sums),
        _ => floats_of::<F32>(matrix, tiles, rows, range, sums),
    }
}

for_avx512! {
    unsafe fn floats_of<W: Weights>(
        matrix: &PackedMatrix,
        tiles: Range<usize>,
        rows: &Rows,
        range: Range<usize>,
        sums: &mut [Sums],
    ) {
        passes::<W>(matrix, tiles, rows, range, sums)
    }
}

for_avx512_bf16! {
    /// The same for a matrix of bfloat16 and rows that are rounded to it.
    ///
    /// # Safety
    /// As of [`floats`], and the processor has AVX512_BF16.
    pub(crate) unsafe fn bf16_pairs(
        matrix: &PackedMatrix,
        tiles: Range<usize>,
        rows: &Rows,
        range: Range<usize>,
        sums: &mut [Sums],
    ) {
        passes::<Bf16Pairs>(matrix, tiles, rows, range, sums)
    }
}

#[inline(always)]
unsafe fn passes<W: Weights>(
    matrix: &PackedMatrix,
    tiles: Range<usize>,
    rows: &Rows,
    range: Range<usize>,
    sums: &mut [Sums],
) {
    let (inputs, count) = (rows.width(), range.len());
    if count <= 2 {
        let mut done = 0;
        while done < tiles.len() {
            let (first, sums) = (tiles.start + done, &mut sums[done * count..]);
            done += match tiles.len() - done {
                4.. => few_rows::<W, 4>(matrix, first, rows, range.clone(), sums),
                2.. => few_rows::<W, 2>(matrix, first, rows, range.clone(), sums),
                _ => few_rows::<W, 1>(matrix, first, rows, range.clone(), sums),
            };
        }
        return;
    }
    for (tile, sums) in tiles.zip(sums.chunks_exact_mut(count)) {
        let tile = [matrix.tile(tile).as_ptr()];
        let mut done = 0;
        while done + 12 <= count {
            pass::<W, 12, 1>(tile, inputs, starts::<W, 12>(rows, range.start + done), &mut sums[done..]);
            done += 12;
        }
        while done + 4 <= count {
            pass::<W, 4, 1>(tile, inputs, starts::<W, 4>(rows, range.start + done), &mut sums[done..]);
            done += 4;
        }
        while done < count {
            pass::<W, 1, 1>(tile, inputs, starts::<W, 1>(rows, range.start + done), &mut sums[done..]);
            done += 1;
        }
    }
}

/// One or two rows by a few tiles; gives how many.
#[inline(always)]
unsafe fn few_rows<W: Weights, const TILES: usize>(
    matrix: &PackedMatrix,
    first: usize,
    rows: &Rows,
    range: Range<usize>,
    sums: &mut [Sums],
) -> usize {
    let tiles: [*const u8; TILES] = array::from_fn(|tile| matrix.tile(first + tile).as_ptr());
    match range.len() {
        1 => pass::<W, 1, TILES>(tiles, rows.width(), starts::<W, 1>(rows, range.start), sums),
        _ => pass::<W, 2, TILES>(tiles, rows.width(), starts::<W, 2>(rows, range.start), sums),
    }
    TILES
}

/// Where `ROWS` rows from `first` on start.
fn starts<W: Weights, const ROWS: usize>(rows: &Rows, first: usize) -> [*const W::Activation; ROWS] {
    array::from_fn(|row| W::row(rows, first + row).as_ptr())
}

/// A few rows by a few tiles; the sums of a tile stand together.
#[inline(always)]
unsafe fn pass<W: Weights, const ROWS: usize, const TILES: usize>(
    tiles: [*const u8; TILES],
    inputs: usize,
    rows: [*const W::Activation; ROWS],
    sums: &mut [Sums],
) {
    let mut totals = [[_mm512_setzero_ps(); TILES]; ROWS];
    for first in (0..inputs).step_by(PART) {
        let mut part = [[_mm512_setzero_ps(); TILES]; ROWS];
        for record in first / W::INPUTS..inputs.min(first + PART) / W::INPUTS {
            let mut weights = [W::load(tiles[0].add(record * W::BYTES)); TILES];
            for tile in 0..TILES {
                let place = tiles[tile].add(record * W::BYTES);
                if ROWS <= 2 {
                    _mm_prefetch::<_MM_HINT_T0>(place.wrapping_add(AHEAD).cast());
                }
                weights[tile] = W::load(place);
            }
            for row in 0..ROWS {
                let x = W::spread(rows[row], record);
                for tile in 0..TILES {
                    part[row][tile] = weights[tile].add_to(part[row][tile], x);
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
