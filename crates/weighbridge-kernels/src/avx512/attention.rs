//! Scores and values of a page, sixteen numbers at a time.
#![expect(unsafe_op_in_unsafe_fn, reason = "every line is an instruction or a load within slices, by one promise")]
#![expect(clippy::needless_range_loop, reason = "loops over registers, which an iterator would take the address of")]

use half::f16;

use super::arch::*;
use crate::attention::{Numbers, PAGE_TOKENS, QUERIES};

/// Registers of the scores of a page.
const SIXTEENS: usize = PAGE_TOKENS / 16;

for_avx512! {
    /// # Safety
    /// The processor has the tier's instructions, and both slices are of one length.
    pub(crate) unsafe fn expand(numbers: &[f16], to: &mut [f32]) {
        let whole = numbers.len() / 16 * 16;
        for at in (0..whole).step_by(16) {
            _mm512_storeu_ps(to.as_mut_ptr().add(at), numbers.sixteen(at));
        }
        let mask = first(numbers.len() - whole);
        _mm512_mask_storeu_ps(to.as_mut_ptr().add(whole), mask, numbers.some(whole, mask));
    }

    /// The scores of the first `some` queries.
    ///
    /// # Safety
    /// The processor has the tier's instructions; there are `PAGE_TOKENS` keys for each number of a query, and queries
    /// are of one length.
    pub(crate) unsafe fn scores(
        keys: Numbers<'_>,
        queries: [&[f32]; QUERIES],
        some: usize,
        to: &mut [[f32; PAGE_TOKENS]; QUERIES],
    ) {
        match (keys, some) {
            (Numbers::F32(keys), 1) => scores_of::<_, 1>(keys, queries, to),
            (Numbers::F32(keys), 2) => scores_of::<_, 2>(keys, queries, to),
            (Numbers::F32(keys), _) => scores_of::<_, QUERIES>(keys, queries, to),
            (Numbers::F16(keys), 1) => scores_of::<_, 1>(keys, queries, to),
            (Numbers::F16(keys), 2) => scores_of::<_, 2>(keys, queries, to),
            (Numbers::F16(keys), _) => scores_of::<_, QUERIES>(keys, queries, to),
        }
    }

    /// Adds what queries take from the values of a page; `to` is `[queries, value_dim]`.
    ///
    /// # Safety
    /// The processor has the tier's instructions; there are `PAGE_TOKENS` rows of `value_dim` values, and so many shares
    /// each.
    pub(crate) unsafe fn values(values: Numbers<'_>, shares: [&[f32]; QUERIES], value_dim: usize, to: &mut [f32]) {
        match (values, to.len() / value_dim) {
            (Numbers::F32(values), 1) => values_of::<_, 1>(values, shares, value_dim, to),
            (Numbers::F32(values), 2) => values_of::<_, 2>(values, shares, value_dim, to),
            (Numbers::F32(values), 3) => values_of::<_, 3>(values, shares, value_dim, to),
            (Numbers::F32(values), _) => values_of::<_, QUERIES>(values, shares, value_dim, to),
            (Numbers::F16(values), 1) => values_of::<_, 1>(values, shares, value_dim, to),
            (Numbers::F16(values), 2) => values_of::<_, 2>(values, shares, value_dim, to),
            (Numbers::F16(values), 3) => values_of::<_, 3>(values, shares, value_dim, to),
            (Numbers::F16(values), _) => values_of::<_, QUERIES>(values, shares, value_dim, to),
        }
    }
}

/// A mask of the first `count` of sixteen.
#[inline(always)]
fn first(count: usize) -> __mmask16 {
    ((1_u32 << count) - 1) as __mmask16
}

/// What numbers are kept as, sixteen at a time.
trait Kept: Copy {
    /// # Safety
    /// There are sixteen numbers from `at` on, and the processor has the tier's instructions.
    unsafe fn sixteen(self, at: usize) -> __m512;

    /// Those of `mask`; zeros for the others, which need not be there.
    ///
    /// # Safety
    /// There are the numbers of `mask` from `at` on, and the processor has the tier's instructions.
    unsafe fn some(self, at: usize, mask: __mmask16) -> __m512;
}

impl Kept for &[f32] {
    #[inline(always)]
    unsafe fn sixteen(self, at: usize) -> __m512 {
        debug_assert!(at + 16 <= self.len());
        _mm512_loadu_ps(self.as_ptr().add(at))
    }

    #[inline(always)]
    unsafe fn some(self, at: usize, mask: __mmask16) -> __m512 {
        _mm512_maskz_loadu_ps(mask, self.as_ptr().add(at))
    }
}

impl Kept for &[f16] {
    #[inline(always)]
    unsafe fn sixteen(self, at: usize) -> __m512 {
        debug_assert!(at + 16 <= self.len());
        _mm512_cvtph_ps(_mm256_loadu_si256(self.as_ptr().add(at).cast()))
    }

    #[inline(always)]
    unsafe fn some(self, at: usize, mask: __mmask16) -> __m512 {
        _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(mask, self.as_ptr().add(at).cast()))
    }
}

/// All tokens of a page with `SOME` queries: so many times [`SIXTEENS`] sums.
#[inline(always)]
unsafe fn scores_of<K: Kept, const SOME: usize>(
    kept: K,
    queries: [&[f32]; QUERIES],
    to: &mut [[f32; PAGE_TOKENS]; QUERIES],
) {
    let mut sums = [[_mm512_setzero_ps(); SIXTEENS]; SOME];
    for at in 0..queries[0].len() {
        let mut keys = [_mm512_setzero_ps(); SIXTEENS];
        for sixteen in 0..SIXTEENS {
            keys[sixteen] = kept.sixteen(at * PAGE_TOKENS + 16 * sixteen);
        }
        for query in 0..SOME {
            let x = _mm512_set1_ps(*queries[query].get_unchecked(at));
            for sixteen in 0..SIXTEENS {
                sums[query][sixteen] = _mm512_fmadd_ps(keys[sixteen], x, sums[query][sixteen]);
            }
        }
    }
    for query in 0..SOME {
        for sixteen in 0..SIXTEENS {
            _mm512_storeu_ps(to[query].as_mut_ptr().add(16 * sixteen), sums[query][sixteen]);
        }
    }
}

#[inline(always)]
unsafe fn values_of<K: Kept, const SOME: usize>(kept: K, shares: [&[f32]; QUERIES], value_dim: usize, to: &mut [f32]) {
    let all = first(16);
    let mut at = 0;
    while at + 64 <= value_dim {
        values_block::<K, SOME, 4, true>(kept, shares, value_dim, at, all, to);
        at += 64;
    }
    while at + 16 <= value_dim {
        values_block::<K, SOME, 1, true>(kept, shares, value_dim, at, all, to);
        at += 16;
    }
    if at < value_dim {
        values_block::<K, SOME, 1, false>(kept, shares, value_dim, at, first(value_dim - at), to);
    }
}

/// `COUNT` times sixteen numbers of each value, or those of `mask` where they are not `WHOLE`.
#[inline(always)]
unsafe fn values_block<K: Kept, const SOME: usize, const COUNT: usize, const WHOLE: bool>(
    kept: K,
    shares: [&[f32]; QUERIES],
    value_dim: usize,
    first: usize,
    mask: __mmask16,
    to: &mut [f32],
) {
    let to = to.as_mut_ptr();
    let mut sums = [[_mm512_setzero_ps(); COUNT]; SOME];
    for query in 0..SOME {
        for sixteen in 0..COUNT {
            sums[query][sixteen] = _mm512_maskz_loadu_ps(mask, to.add(query * value_dim + first + 16 * sixteen));
        }
    }
    for token in 0..PAGE_TOKENS {
        let mut values = [_mm512_setzero_ps(); COUNT];
        for sixteen in 0..COUNT {
            let at = token * value_dim + first + 16 * sixteen;
            values[sixteen] = if WHOLE { kept.sixteen(at) } else { kept.some(at, mask) };
        }
        for query in 0..SOME {
            let share = _mm512_set1_ps(*shares[query].get_unchecked(token));
            for sixteen in 0..COUNT {
                sums[query][sixteen] = _mm512_fmadd_ps(values[sixteen], share, sums[query][sixteen]);
            }
        }
    }
    for query in 0..SOME {
        for sixteen in 0..COUNT {
            _mm512_mask_storeu_ps(to.add(query * value_dim + first + 16 * sixteen), mask, sums[query][sixteen]);
        }
    }
}
