//! The kernels of attention, of which each tier has its own; AVX-512 takes those of AVX2, which its processors have.

#[cfg(target_arch = "x86_64")]
use super::avx2;
use super::pages::Numbers;
use super::{scalar, softmax};
use crate::tier::Tier;

/// Queries that go by a page at once. For no more than these it is read as it is kept.
pub(super) const DIRECT: usize = 6;
/// Where no more scales than these belong to it.
pub(super) const DIRECT_SCALES: usize = 1024;

/// Those of a tier that the processor has.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kernels {
    tier: Tier,
}

/// A product of rows of factors with numbers of a page.
pub(super) struct Product<'a> {
    /// `[steps, width]`.
    pub(super) numbers: Numbers<'a>,
    pub(super) width: usize,
    pub(super) steps: usize,
    /// `[count, steps]`, a row each `factor_stride`.
    pub(super) factors: &'a [f32],
    pub(super) factor_stride: usize,
    pub(super) count: usize,
    /// What is read next: it is asked for from memory meanwhile.
    pub(super) ahead: Numbers<'a>,
}

impl Kernels {
    pub(super) fn of(tier: Tier) -> Self {
        assert!(tier.is_available(), "a `Cpu` has a tier that its processor has");
        Self { tier }
    }

    /// Numbers as float32, `[steps, width]`.
    pub(super) fn expand(self, numbers: Numbers<'_>, width: usize, ahead: Numbers<'_>, to: &mut [f32]) {
        assert!(numbers.len() == to.len() && to.len().is_multiple_of(width), "there is a place for each number");
        match self.tier {
            // SAFETY: the processor has the tier, and both are of one length.
            #[cfg(target_arch = "x86_64")]
            Tier::Avx2 | Tier::Avx512 => unsafe { avx2::expand(numbers, width, ahead, to) },
            _ => scalar::expand(numbers, width, to),
        }
    }

    /// `to[row][at] = Σ factors[row][step] · numbers[step][at]`, step by step, each fused; added to what is there where
    /// `add` is set. Rows of `to` stand each `to_stride`.
    pub(super) fn multiply(self, product: &Product<'_>, to: &mut [f32], to_stride: usize, add: bool) {
        let &Product { numbers, width, steps, factors, factor_stride, count, .. } = product;
        if count == 0 {
            return;
        }
        assert!(numbers.len() >= steps * width, "there are numbers for each step");
        assert!(factors.len() >= (count - 1) * factor_stride + steps, "there is a factor for each row and step");
        assert!(to.len() >= (count - 1) * to_stride + width, "there is a place for each row");
        match self.tier {
            // SAFETY: the processor has the tier, and sizes are as the lines above say.
            #[cfg(target_arch = "x86_64")]
            Tier::Avx2 | Tier::Avx512 => unsafe { avx2::multiply(product, to, to_stride, add) },
            _ => scalar::multiply(product, to, to_stride, add),
        }
    }

    /// Scores, a multiple of sixteen, become exponentials of what they are below the largest; gives that and the sum of
    /// the exponentials. Of scores that are all −∞ all become 0, and so is the sum.
    pub(super) fn exponentials(self, scores: &mut [f32]) -> (f32, f32) {
        match self.tier {
            // SAFETY: the processor has the tier.
            #[cfg(target_arch = "x86_64")]
            Tier::Avx2 | Tier::Avx512 => unsafe { avx2::exponentials(scores) },
            _ => softmax::exponentials(scores),
        }
    }
}
