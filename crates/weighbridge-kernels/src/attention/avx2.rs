//! Scores and values of a page with AVX2.
#![expect(unsafe_op_in_unsafe_fn, reason = "every line is an instruction or a load within slices, by one promise")]
#![expect(clippy::needless_range_loop, reason = "loops over registers, which an iterator would take the address of")]

use std::arch::x86_64::*;

use half::f16;

use super::{Numbers, PAGE_TOKENS, QUERIES};

/// # Safety
/// The processor has AVX2 and F16C, and both slices are of one length.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe fn expand(numbers: &[f16], to: &mut [f32]) {
    let (blocks, tail) = numbers.as_chunks::<8>();
    let (places, tail_places) = to.as_chunks_mut::<8>();
    for (block, place) in blocks.iter().zip(places) {
        _mm256_storeu_ps(place.as_mut_ptr(), _mm256_cvtph_ps(_mm_loadu_si128(block.as_ptr().cast())));
    }
    tail_places.iter_mut().zip(tail).for_each(|(to, x)| *to = x.to_f32());
}

/// What numbers are kept as, eight at a time.
trait Kept: Copy {
    /// # Safety
    /// There are eight numbers from `at` on, and the processor has AVX and F16C.
    unsafe fn eight(self, at: usize) -> __m256;

    /// One number.
    fn one(self, at: usize) -> f32;
}

impl Kept for &[f32] {
    #[inline(always)]
    unsafe fn eight(self, at: usize) -> __m256 {
        debug_assert!(at + 8 <= self.len());
        _mm256_loadu_ps(self.as_ptr().add(at))
    }

    #[inline(always)]
    fn one(self, at: usize) -> f32 {
        self[at]
    }
}

impl Kept for &[f16] {
    #[inline(always)]
    unsafe fn eight(self, at: usize) -> __m256 {
        debug_assert!(at + 8 <= self.len());
        _mm256_cvtph_ps(_mm_loadu_si128(self.as_ptr().add(at).cast()))
    }

    #[inline(always)]
    fn one(self, at: usize) -> f32 {
        self[at].to_f32()
    }
}

/// The scores of the first `some` queries.
///
/// # Safety
/// The processor has AVX2, FMA and F16C; there are `PAGE_TOKENS` keys for each number of a query, and queries are of
/// one length.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe fn scores(
    keys: Numbers<'_>,
    queries: [&[f32]; QUERIES],
    some: usize,
    to: &mut [[f32; PAGE_TOKENS]; QUERIES],
) {
    match (keys, some) {
        (Numbers::F32(keys), 1) => scores_of::<_, 1, 4>(keys, queries, to),
        (Numbers::F32(keys), 2) => scores_of::<_, 2, 4>(keys, queries, to),
        (Numbers::F32(keys), _) => scores_of::<_, QUERIES, 2>(keys, queries, to),
        (Numbers::F16(keys), 1) => scores_of::<_, 1, 4>(keys, queries, to),
        (Numbers::F16(keys), 2) => scores_of::<_, 2, 4>(keys, queries, to),
        (Numbers::F16(keys), _) => scores_of::<_, QUERIES, 2>(keys, queries, to),
    }
}

/// `SOME` queries and `EIGHTS` times eight tokens at a time.
#[inline(always)]
unsafe fn scores_of<K: Kept, const SOME: usize, const EIGHTS: usize>(
    kept: K,
    queries: [&[f32]; QUERIES],
    to: &mut [[f32; PAGE_TOKENS]; QUERIES],
) {
    for first in (0..PAGE_TOKENS).step_by(8 * EIGHTS) {
        let mut sums = [[_mm256_setzero_ps(); EIGHTS]; SOME];
        for at in 0..queries[0].len() {
            let mut keys = [_mm256_setzero_ps(); EIGHTS];
            for eight in 0..EIGHTS {
                keys[eight] = kept.eight(at * PAGE_TOKENS + first + 8 * eight);
            }
            for query in 0..SOME {
                let x = _mm256_set1_ps(*queries[query].get_unchecked(at));
                for eight in 0..EIGHTS {
                    sums[query][eight] = _mm256_fmadd_ps(keys[eight], x, sums[query][eight]);
                }
            }
        }
        for query in 0..SOME {
            for eight in 0..EIGHTS {
                _mm256_storeu_ps(to[query].as_mut_ptr().add(first + 8 * eight), sums[query][eight]);
            }
        }
    }
}

/// Adds what queries take from the values of a page; `to` is `[queries, value_dim]`.
///
/// # Safety
/// The processor has AVX2, FMA and F16C; there are `PAGE_TOKENS` rows of `value_dim` values, and so many shares each.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe fn values(values: Numbers<'_>, shares: [&[f32]; QUERIES], value_dim: usize, to: &mut [f32]) {
    match (values, to.len() / value_dim) {
        (Numbers::F32(values), 1) => values_of::<_, 1>(values, shares, value_dim, to),
        (Numbers::F32(values), 2) => values_of::<_, 2>(values, shares, value_dim, to),
        (Numbers::F32(values), 3) => values_of::<_, 3>(values, shares, value_dim, to),
        (Numbers::F32(values), _) => values_of::<_, 4>(values, shares, value_dim, to),
        (Numbers::F16(values), 1) => values_of::<_, 1>(values, shares, value_dim, to),
        (Numbers::F16(values), 2) => values_of::<_, 2>(values, shares, value_dim, to),
        (Numbers::F16(values), 3) => values_of::<_, 3>(values, shares, value_dim, to),
        (Numbers::F16(values), _) => values_of::<_, 4>(values, shares, value_dim, to),
    }
}

#[inline(always)]
unsafe fn values_of<K: Kept, const SOME: usize>(kept: K, shares: [&[f32]; QUERIES], value_dim: usize, to: &mut [f32]) {
    let mut first = 0;
    while first + 16 <= value_dim {
        values_block::<K, SOME, 2>(kept, shares, value_dim, first, to);
        first += 16;
    }
    while first + 8 <= value_dim {
        values_block::<K, SOME, 1>(kept, shares, value_dim, first, to);
        first += 8;
    }
    for at in first..value_dim {
        for query in 0..SOME {
            let mut sum = to[query * value_dim + at];
            for (token, share) in shares[query].iter().enumerate() {
                sum = kept.one(token * value_dim + at).mul_add(*share, sum);
            }
            to[query * value_dim + at] = sum;
        }
    }
}

#[inline(always)]
unsafe fn values_block<K: Kept, const SOME: usize, const EIGHTS: usize>(
    kept: K,
    shares: [&[f32]; QUERIES],
    value_dim: usize,
    first: usize,
    to: &mut [f32],
) {
    let to = to.as_mut_ptr();
    let mut sums = [[_mm256_setzero_ps(); EIGHTS]; SOME];
    for query in 0..SOME {
        for eight in 0..EIGHTS {
            sums[query][eight] = _mm256_loadu_ps(to.add(query * value_dim + first + 8 * eight));
        }
    }
    for token in 0..PAGE_TOKENS {
        let mut values = [_mm256_setzero_ps(); EIGHTS];
        for eight in 0..EIGHTS {
            values[eight] = kept.eight(token * value_dim + first + 8 * eight);
        }
        for query in 0..SOME {
            let share = _mm256_set1_ps(*shares[query].get_unchecked(token));
            for eight in 0..EIGHTS {
                sums[query][eight] = _mm256_fmadd_ps(values[eight], share, sums[query][eight]);
            }
        }
    }
    for query in 0..SOME {
        for eight in 0..EIGHTS {
            _mm256_storeu_ps(to.add(query * value_dim + first + 8 * eight), sums[query][eight]);
        }
    }
}
