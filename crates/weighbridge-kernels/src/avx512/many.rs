//! Some rows by tiles of a block format: stripes of two tiles are unpacked once to the first-level cache, and all rows go
//! by them, six at a time.
#![expect(unsafe_op_in_unsafe_fn, reason = "every line is an instruction or a load within slices, by one promise")]
#![expect(clippy::needless_range_loop, reason = "loops over registers, which an iterator would take the address of")]

use std::mem::MaybeUninit;
use std::ops::Range;

use super::arch::*;
use super::blocks::{add_signed, finish_record, four_bytes, has_lifts, lifted, lifts_of, start_of_step, together};
use super::formats::Avx512Format;
use crate::packed::{LANES, PackedMatrix};
use crate::product::Sums;
use crate::rows::{GROUP, HALF, RowPointers};

/// Inputs of a stripe.
const STRIPE: usize = 256;
/// Tiles that rows go by at once.
const TILES: usize = 2;

/// Weights of a tile over some inputs, unpacked. Only what a format has is ever written, and read.
#[repr(C, align(64))]
pub(super) struct Stripe {
    codes: [u8; LANES * STRIPE],
    /// Of each step.
    multipliers: [__m512i; STRIPE / HALF],
    /// The same as floats, for signed codes.
    float_multipliers: [__m512; STRIPE / GROUP],
    lifts: [__m512i; 4],
    /// Of each record.
    scales: [__m512; STRIPE / GROUP],
    minima: [__m512; STRIPE / GROUP],
}

/// Bytes ahead of the weights being unpacked that are asked for, so that they are there in time.
const AHEAD: usize = 4096;

/// Where a pass is: so many records, of which this is the first, and its rows of `count` in all.
#[derive(Clone, Copy)]
pub(super) struct Place {
    records: usize,
    first: usize,
    rows: RowPointers,
    count: usize,
}

for_avx512! {
    /// Some rows by a few tiles.
    ///
    /// # Safety
    /// The processor has the tier's instructions; the rows are as wide as the matrix and rounded for it, and there are
    /// `count`; `tiles` are of it; there is a place in `sums` for each row and tile.
    pub(super) unsafe fn many<F: Avx512Format, const PLANES: usize>(
        matrix: &PackedMatrix,
        tiles: Range<usize>,
        rows: RowPointers,
        count: usize,
        sums: &mut [Sums],
    ) {
        let mut stripes = [const { MaybeUninit::<Stripe>::uninit() }; TILES];
        sums.fill([0.0; LANES]);
        let at_once = STRIPE / F::INPUTS;
        for (first_tile, sums) in tiles.clone().step_by(TILES).zip(sums.chunks_mut(TILES * count)) {
            let tiles = first_tile..tiles.end.min(first_tile + TILES);
            for first in (0..rows.width / F::INPUTS).step_by(at_once) {
                let records = at_once.min(rows.width / F::INPUTS - first);
                for (tile, stripe) in tiles.clone().zip(&mut stripes) {
                    let tile = &matrix.tile(tile)[first * F::BYTES..(first + records) * F::BYTES];
                    for (index, record) in tile.chunks_exact(F::BYTES).enumerate() {
                        for line in (0..F::BYTES).step_by(64) {
                            _mm_prefetch::<_MM_HINT_T1>(record.as_ptr().wrapping_add(AHEAD + line).cast());
                        }
                        unpack::<F>(record.as_ptr(), index, stripe.as_mut_ptr());
                    }
                }
                let at = Place { records, first, rows, count };
                match tiles.len() {
                    TILES => passes::<F, PLANES, TILES>(stripes.as_ptr().cast(), at, sums),
                    _ => passes::<F, PLANES, 1>(stripes.as_ptr().cast(), at, sums),
                }
            }
        }
    }

    /// A few rows by the stripes of some tiles; the sums of a tile stand `count` apart.
    #[inline(never)]
    unsafe fn pass<F: Avx512Format, const ROWS: usize, const PLANES: usize, const TILES: usize>(
        stripes: *const Stripe,
        at: Place,
        sums: *mut Sums,
    ) {
        let mut rows = [at.rows; ROWS];
        for row in 1..ROWS {
            rows[row] = at.rows.later(row);
        }
        // Of records as long as a stripe there is one: their totals would only take registers meanwhile.
        let is_short = F::INPUTS != STRIPE;
        let mut totals = [[_mm512_setzero_ps(); TILES]; ROWS];
        if is_short {
            totals = load(sums, at.count);
        }
        for record in 0..at.records {
            let index = at.first + record;
            let products = products_of::<F, ROWS, PLANES, TILES>(stripes, record, index, &rows);
            if !is_short {
                totals = load(sums, at.count);
            }
            for tile in 0..TILES {
                let stripe = stripes.add(tile);
                let scales = (*stripe).scales[record];
                let minima = if F::HAS_MINIMUM { (*stripe).minima[record] } else { _mm512_setzero_ps() };
                for row in 0..ROWS {
                    let mut lifts = _mm512_setzero_ps();
                    if has_lifts::<F>() {
                        lifts = lifted::<PLANES>((*stripe).lifts, index, rows[row]);
                    }
                    let (total, products) = (totals[row][tile], products[row][tile]);
                    totals[row][tile] = finish_record::<F>(total, products, lifts, scales, minima, rows[row], index);
                }
            }
        }
        store(totals, sums, at.count);
    }
}

/// All rows by the stripes of some tiles.
#[inline(always)]
unsafe fn passes<F: Avx512Format, const PLANES: usize, const TILES: usize>(
    stripes: *const Stripe,
    at: Place,
    sums: &mut [Sums],
) {
    let mut row = 0;
    while row < at.count {
        let here = Place { rows: at.rows.later(row), ..at };
        let sums = sums.as_mut_ptr().add(row);
        let done = match at.count - row {
            6.. if PLANES == 1 => 6,
            3.. => 3,
            _ => 1,
        };
        if row + done < at.count {
            ask_for_rows::<PLANES>(at.rows.later(row + done), done.min(at.count - row - done), at.first * F::INPUTS);
        }
        match done {
            6 if PLANES == 1 => pass::<F, 6, PLANES, TILES>(stripes, here, sums),
            3 => pass::<F, 3, PLANES, TILES>(stripes, here, sums),
            _ => pass::<F, 1, PLANES, TILES>(stripes, here, sums),
        }
        row += done;
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

#[inline(always)]
unsafe fn unpack<F: Avx512Format>(record: *const u8, index: usize, stripe: *mut Stripe) {
    (*stripe).scales[index] = F::scales(record);
    if F::HAS_MINIMUM {
        (*stripe).minima[index] = F::minima(record);
    }
    if has_lifts::<F>() {
        (*stripe).lifts = lifts_of::<F>(record);
    }
    for step in 0..F::INPUTS / F::STEP {
        if F::SIGNED {
            (*stripe).float_multipliers[step] = _mm512_cvtepi32_ps(F::multipliers(record, step));
        } else {
            (*stripe).multipliers[step] = F::multipliers(record, step);
        }
        for eighth in 0..F::STEP / 8 {
            let codes = F::codes(record, step, eighth);
            let four = 2 * (index * F::INPUTS / 8 + step * F::STEP / 8 + eighth);
            let to = (&raw mut (*stripe).codes).cast::<u8>().add(64 * four);
            _mm512_store_si512(to.cast(), codes[0]);
            _mm512_store_si512(to.add(64).cast(), codes[1]);
        }
    }
}

/// The products of a record of each stripe with each row, as floats.
#[inline(always)]
unsafe fn products_of<F: Avx512Format, const ROWS: usize, const PLANES: usize, const TILES: usize>(
    stripes: *const Stripe,
    record: usize,
    index: usize,
    rows: &[RowPointers; ROWS],
) -> [[__m512; TILES]; ROWS] {
    let mut products = [[_mm512_setzero_ps(); TILES]; ROWS];
    let mut totals = [[[_mm512_setzero_si512(); PLANES]; TILES]; ROWS];
    for step in 0..F::INPUTS / F::STEP {
        let sums = sums_of::<F, ROWS, PLANES, TILES>(stripes, record, index, step, rows);
        for row in 0..ROWS {
            for tile in 0..TILES {
                let stripe = stripes.add(tile);
                if F::SIGNED {
                    let multipliers = (*stripe).float_multipliers[step];
                    products[row][tile] = add_signed::<F, PLANES>(products[row][tile], sums[row][tile], multipliers);
                } else if F::INPUTS == F::STEP {
                    totals[row][tile] = sums[row][tile];
                } else {
                    for plane in 0..PLANES {
                        let sums = _mm512_mullo_epi32(sums[row][tile][plane], (*stripe).multipliers[step]);
                        totals[row][tile][plane] = _mm512_add_epi32(totals[row][tile][plane], sums);
                    }
                }
            }
        }
    }
    if !F::SIGNED {
        for row in 0..ROWS {
            for tile in 0..TILES {
                products[row][tile] = together(totals[row][tile]);
            }
        }
    }
    products
}

/// The integer sums of a step of a record.
#[inline(always)]
unsafe fn sums_of<F: Avx512Format, const ROWS: usize, const PLANES: usize, const TILES: usize>(
    stripes: *const Stripe,
    record: usize,
    index: usize,
    step: usize,
    rows: &[RowPointers; ROWS],
) -> [[[__m512i; PLANES]; TILES]; ROWS] {
    let mut sums = [[[_mm512_setzero_si512(); PLANES]; TILES]; ROWS];
    for row in 0..ROWS {
        for plane in 0..PLANES {
            let start = start_of_step::<F>(rows[row], plane, index, step);
            for tile in 0..TILES {
                sums[row][tile][plane] = start;
            }
        }
    }
    for four in 0..F::STEP / 4 {
        let mut weights = [_mm512_setzero_si512(); TILES];
        for tile in 0..TILES {
            let codes = (&raw const (*stripes.add(tile)).codes).cast::<u8>();
            let first = record * F::INPUTS + step * F::STEP + 4 * four;
            weights[tile] = _mm512_load_si512(codes.add(LANES * first).cast());
        }
        for row in 0..ROWS {
            for plane in 0..PLANES {
                let x = four_bytes(rows[row].planes[plane].add(index * F::INPUTS + step * F::STEP + 4 * four));
                for tile in 0..TILES {
                    sums[row][tile][plane] = _mm512_dpbusd_epi32(sums[row][tile][plane], weights[tile], x);
                }
            }
        }
    }
    sums
}

#[inline(always)]
unsafe fn load<const ROWS: usize, const TILES: usize>(sums: *const Sums, count: usize) -> [[__m512; TILES]; ROWS] {
    let mut totals = [[_mm512_setzero_ps(); TILES]; ROWS];
    for row in 0..ROWS {
        for tile in 0..TILES {
            totals[row][tile] = _mm512_loadu_ps(sums.add(tile * count + row).cast());
        }
    }
    totals
}

#[inline(always)]
unsafe fn store<const ROWS: usize, const TILES: usize>(totals: [[__m512; TILES]; ROWS], sums: *mut Sums, count: usize) {
    for row in 0..ROWS {
        for tile in 0..TILES {
            _mm512_storeu_ps(sums.add(tile * count + row).cast(), totals[row][tile]);
        }
    }
}
