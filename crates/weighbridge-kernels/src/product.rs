//! Products of rows of activations with packed matrices.
//!
//! A number of the result is a sum over the inputs that is always taken in the same order: for block formats, record by
//! record, the integer products of a record exactly and then `sum += products · (scale · scale of the activations)`,
//! and likewise the minima; for floats input by input, in parts of [`PART`] that are added up. Neither the rows beside
//! it, nor the tier, nor the number of threads changes a bit of it.

#[cfg(target_arch = "x86_64")]
mod avx2;
pub(crate) mod scalar;

use std::cell::Cell;
use std::ops::Range;

#[cfg(target_arch = "x86_64")]
use crate::avx512;
use crate::cpu::Cpu;
use crate::formats::{Iq4Nl, Iq4Xs, Mxfp4, Q4_0, Q4_1, Q4K, Q5_0, Q5_1, Q5K, Q6K, Q8_0};
use crate::lists::emptied;
use crate::packed::{LANES, Layout, PackedMatrix, Shared};
use crate::rows::Rows;
use crate::tier::Tier;

/// Inputs whose products with floats are summed before they are added to the others, which keeps rounding small.
pub(crate) const PART: usize = 256;
/// Rows that go through a few tiles at once: they and their sums fit the second-level cache.
const ROWS_AT_ONCE: usize = 64;
/// Rows whose sums take next to no memory.
const FEW_ROWS: usize = 4;
/// Tiles that are computed side by side at most.
pub(crate) const MOST_TILES: usize = 4;
/// Bytes of weights that are worth a task.
const TASK_BYTES: usize = 48 << 10;
/// Bytes of weights, times the rows that go by them, that take less time than waking the other threads and waiting for
/// them.
const ALONE_BYTES: usize = 24 << 10;

/// The sums of a row for the outputs of a tile.
pub(crate) type Sums = [f32; LANES];

/// One matrix that rows are multiplied with, and where the result goes.
#[derive(Debug)]
pub struct Product<'a> {
    /// The matrix.
    pub matrix: &'a PackedMatrix,
    /// Added to each row.
    pub bias: Option<&'a [f32]>,
    /// `[rows, outputs]`.
    pub to: &'a mut [f32],
    /// What is done with the result.
    pub then: Then,
}

/// A product of some rows among others.
#[derive(Debug)]
pub struct Part<'a> {
    /// The rows.
    pub rows: &'a Rows,
    /// Which of them.
    pub range: Range<usize>,
    /// What they are multiplied with: its result is `[range, outputs]`.
    pub product: Product<'a>,
}

/// What is done with the result of a product.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Then {
    /// It is stored.
    Store,
    /// It is multiplied by this and added to what is there.
    Add(f32),
}

impl Then {
    #[inline(always)]
    fn finish(self, place: &mut [f32], sums: &[f32]) {
        match self {
            Self::Store => place.copy_from_slice(sums),
            Self::Add(scale) => place.iter_mut().zip(sums).for_each(|(place, sum)| *place += scale * sum),
        }
    }
}

impl<'a> Product<'a> {
    /// One without a bias, to be stored.
    pub fn new(matrix: &'a PackedMatrix, to: &'a mut [f32]) -> Self {
        Self { matrix, bias: None, to, then: Then::Store }
    }
}

impl Cpu {
    /// Multiplies all rows with each matrix.
    ///
    /// # Panics
    /// Where a matrix, its bias or its result has not the size that the rows ask for, and where rows are not rounded
    /// that meet a block format.
    pub fn product(&self, rows: &Rows, products: &mut [Product<'_>]) {
        self.products(products.iter_mut().map(|product| {
            let Product { matrix, bias, ref mut to, then } = *product;
            Part { rows, range: 0..rows.count(), product: Product { matrix, bias, to, then } }
        }));
    }

    /// Computes products of runs of rows, each with a matrix of its own, as one piece of work: where each is small, as with
    /// the experts of a mixture, threads wait for each other once and not for each of them.
    ///
    /// # Panics
    /// As [`Self::product`], and where there are no such rows.
    pub fn products<'a>(&self, parts: impl IntoIterator<Item = Part<'a>>) {
        let mut works: Vec<Work<'_>> = emptied(WORKS.take());
        let mut tiles = 0;
        for part in parts {
            let work = Work::new(part, tiles);
            tiles = work.tiles.end;
            works.push(work);
        }
        self.run(&works, tiles);
        WORKS.set(emptied(works));
    }

    fn run(&self, works: &[Work<'_>], tiles: usize) {
        let load: usize = works.iter().map(|work| work.matrix.bytes() * work.range.len()).sum();
        let at_once = if load <= ALONE_BYTES {
            tiles
        } else {
            let task_bytes = TASK_BYTES.min(load / (4 * self.pool().threads()) + 1);
            // With many rows a few tiles are work enough.
            let is_single = works.iter().all(|work| work.range.len() == 1);
            let side_by_side = if is_single { 1 } else { MOST_TILES.min(tiles.div_ceil(4 * self.pool().threads())) };
            (task_bytes * tiles).div_ceil(load).max(side_by_side).max(tiles.div_ceil(60_000))
        };
        self.pool().run(tiles.div_ceil(at_once.max(1)), |task| {
            let mut range = task * at_once..tiles.min((task + 1) * at_once);
            let first = works.partition_point(|work| work.tiles.end <= range.start);
            for work in &works[first..] {
                let end = range.end.min(work.tiles.end);
                work.compute(self.tier(), range.start - work.tiles.start..end - work.tiles.start);
                range.start = end;
                if range.is_empty() {
                    return;
                }
            }
        });
    }
}

thread_local! {
    /// The list of a thread that brings products, kept for its memory.
    static WORKS: Cell<Vec<Work<'static>>> = const { Cell::new(Vec::new()) };
}

/// A product as its tasks see it.
struct Work<'a> {
    rows: &'a Rows,
    range: Range<usize>,
    matrix: &'a PackedMatrix,
    bias: Option<&'a [f32]>,
    to: Shared<f32>,
    then: Then,
    /// Its tiles among those of all works.
    tiles: Range<usize>,
}

impl<'a> Work<'a> {
    fn new(part: Part<'a>, first_tile: usize) -> Self {
        let Part { rows, range, product: Product { matrix, bias, to, then } } = part;
        assert!(range.start <= range.end && range.end <= rows.count(), "the rows are there");
        assert_eq!(rows.width(), matrix.inputs(), "rows are as wide as the matrix has inputs");
        assert_eq!(to.len(), range.len() * matrix.outputs(), "there is a place for each number");
        assert!(bias.is_none_or(|bias| bias.len() == matrix.outputs()), "a bias has a number for each output");
        let layout = matrix.layout();
        assert!(layout.is_float() || rows.is_rounded_for(layout), "rows that meet a block format are rounded for it");
        let tiles = first_tile..first_tile + if range.is_empty() { 0 } else { matrix.tiles() };
        Self { rows, range, matrix, bias, to: Shared::new(to), then, tiles }
    }

    fn compute(&self, tier: Tier, tiles: Range<usize>) {
        if self.range.len() <= FEW_ROWS {
            self.compute_by::<FEW_ROWS, { FEW_ROWS * MOST_TILES }>(tier, tiles);
        } else {
            self.compute_by::<ROWS_AT_ONCE, { ROWS_AT_ONCE * MOST_TILES }>(tier, tiles);
        }
    }

    /// A few tiles at a time, and so many rows, so that neither leaves the cache before it was used.
    fn compute_by<const ROWS: usize, const SUMS: usize>(&self, tier: Tier, tiles: Range<usize>) {
        let mut sums = [[0.0; LANES]; SUMS];
        for first_tile in tiles.clone().step_by(MOST_TILES) {
            let tiles = first_tile..tiles.end.min(first_tile + MOST_TILES);
            for first in self.range.clone().step_by(ROWS) {
                let range = first..self.range.end.min(first + ROWS);
                let sums = &mut sums[..tiles.len() * range.len()];
                tiles_of_rows(tier, self.matrix, tiles.clone(), self.rows, range.clone(), sums);
                for (tile, sums) in tiles.clone().zip(sums.chunks_exact(range.len())) {
                    self.finish(tile, range.clone(), sums);
                }
            }
        }
    }

    fn finish(&self, tile: usize, rows: Range<usize>, sums: &[Sums]) {
        let outputs = self.matrix.outputs();
        let lanes = tile * LANES..outputs.min((tile + 1) * LANES);
        let bias = self.bias.map(|bias| &bias[lanes.clone()]);
        for (row, sums) in rows.zip(sums) {
            let row = row - self.range.start;
            let place = row * outputs + lanes.start..row * outputs + lanes.end;
            // SAFETY: the result is borrowed for as long as this value lives, and each of its tiles has one task.
            let place = unsafe { self.to.part(place) };
            let mut sums = *sums;
            if let Some(bias) = bias {
                sums.iter_mut().zip(bias).for_each(|(sum, bias)| *sum += bias);
            }
            match <&mut Sums>::try_from(&mut *place) {
                // Of a known length, these are a few instructions and no call.
                Ok(place) => self.then.finish(place, &sums),
                Err(_) => self.then.finish(place, &sums[..place.len()]),
            }
        }
    }
}

/// Computes the sums of some rows for a few tiles, [`MOST_TILES`] at most. The sums of a tile stand together, one for each
/// row.
fn tiles_of_rows(
    tier: Tier,
    matrix: &PackedMatrix,
    tiles: Range<usize>,
    rows: &Rows,
    range: Range<usize>,
    sums: &mut [Sums],
) {
    let plain = |sums: &mut [Sums], compute: &dyn Fn(&[u8], &mut [Sums])| {
        for (tile, sums) in tiles.clone().zip(sums.chunks_exact_mut(range.len())) {
            compute(matrix.tile(tile), sums);
        }
    };
    macro_rules! blocks {
        ($format:ty) => {
            match tier {
                // SAFETY: a `Cpu` has a tier that its processor has.
                #[cfg(target_arch = "x86_64")]
                Tier::Avx2 => unsafe { avx2::blocks::<$format>(matrix, tiles, rows, range, sums) },
                // SAFETY: as above.
                #[cfg(target_arch = "x86_64")]
                Tier::Avx512 => unsafe { avx512::blocks::blocks::<$format>(matrix, tiles, rows, range, sums) },
                _ => plain(sums, &|tile, sums| scalar::blocks::<$format>(tile, rows, range.clone(), sums)),
            }
        };
    }
    match matrix.layout() {
        Layout::F32 | Layout::F16 | Layout::Bf16 => {
            match tier {
                #[cfg(target_arch = "x86_64")]
                // SAFETY: as above.
                Tier::Avx2 => unsafe { avx2::floats(matrix, tiles, rows, range, sums) },
                #[cfg(target_arch = "x86_64")]
                // SAFETY: as above.
                Tier::Avx512 if matrix.layout() == Layout::Bf16 && rows.has_pairs() => unsafe {
                    avx512::floats::bf16_pairs(matrix, tiles, rows, range, sums)
                },
                #[cfg(target_arch = "x86_64")]
                // SAFETY: as above.
                Tier::Avx512 => unsafe { avx512::floats::floats(matrix, tiles, rows, range, sums) },
                _ => plain(sums, &|tile, sums| scalar::floats(matrix.layout(), tile, rows, range.clone(), sums)),
            }
        }
        Layout::Q4_0 => blocks!(Q4_0),
        Layout::Q4_1 => blocks!(Q4_1),
        Layout::Q5_0 => blocks!(Q5_0),
        Layout::Q5_1 => blocks!(Q5_1),
        Layout::Q8_0 => blocks!(Q8_0),
        Layout::Q4K => blocks!(Q4K),
        Layout::Q5K => blocks!(Q5K),
        Layout::Q6K => blocks!(Q6K),
        Layout::Mxfp4 => blocks!(Mxfp4),
        Layout::Iq4Nl => blocks!(Iq4Nl),
        Layout::Iq4Xs => blocks!(Iq4Xs),
    }
}

/// The numbers of one lane of a tile.
pub(crate) fn expand_lane(layout: Layout, tile: &[u8], lane: usize, to: &mut [f32]) {
    match layout {
        Layout::F32 | Layout::F16 | Layout::Bf16 => {
            to.iter_mut().enumerate().for_each(|(input, to)| *to = scalar::float(layout, tile, input, lane));
        }
        Layout::Q4_0 => scalar::expand::<Q4_0>(tile, lane, to),
        Layout::Q4_1 => scalar::expand::<Q4_1>(tile, lane, to),
        Layout::Q5_0 => scalar::expand::<Q5_0>(tile, lane, to),
        Layout::Q5_1 => scalar::expand::<Q5_1>(tile, lane, to),
        Layout::Q8_0 => scalar::expand::<Q8_0>(tile, lane, to),
        Layout::Q4K => scalar::expand::<Q4K>(tile, lane, to),
        Layout::Q5K => scalar::expand::<Q5K>(tile, lane, to),
        Layout::Q6K => scalar::expand::<Q6K>(tile, lane, to),
        Layout::Mxfp4 => scalar::expand::<Mxfp4>(tile, lane, to),
        Layout::Iq4Nl => scalar::expand::<Iq4Nl>(tile, lane, to),
        Layout::Iq4Xs => scalar::expand::<Iq4Xs>(tile, lane, to),
    }
}
