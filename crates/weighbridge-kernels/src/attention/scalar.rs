//! The kernels of attention, plain as their formulas.

use super::codes::{Codes, GROUP};
use super::kernels::Product;
use super::pages::Numbers;

impl Numbers<'_> {
    pub(super) fn len(self) -> usize {
        match self {
            Self::F32(numbers) => numbers.len(),
            Self::F16(numbers) => numbers.len(),
            Self::Keys8(codes) | Self::Values8(codes) => codes.codes.len(),
        }
    }

    /// The number at `at` of a step, which has `width` of them.
    pub(super) fn at(self, step: usize, at: usize, width: usize) -> f32 {
        let index = step * width + at;
        let scaled = |codes: Codes<'_>, scale: usize| f32::from(codes.codes[index]) * codes.scales[scale].to_f32();
        match self {
            Self::F32(numbers) => numbers[index],
            Self::F16(numbers) => numbers[index].to_f32(),
            Self::Keys8(codes) => scaled(codes, step / GROUP * width + at),
            Self::Values8(codes) => scaled(codes, step * width.div_ceil(GROUP) + at / GROUP),
        }
    }
}

/// See [`super::kernels::Kernels::expand`].
pub(super) fn expand(numbers: Numbers<'_>, width: usize, to: &mut [f32]) {
    for (step, to) in to.chunks_exact_mut(width).enumerate() {
        to.iter_mut().enumerate().for_each(|(at, to)| *to = numbers.at(step, at, width));
    }
}

/// See [`super::kernels::Kernels::multiply`].
pub(super) fn multiply(product: &Product<'_>, to: &mut [f32], to_stride: usize, add: bool) {
    for row in 0..product.count {
        let factors = &product.factors[row * product.factor_stride..][..product.steps];
        for (at, to) in to[row * to_stride..][..product.width].iter_mut().enumerate() {
            let start = if add { *to } else { 0.0 };
            *to = factors
                .iter()
                .enumerate()
                .fold(start, |sum, (step, factor)| product.numbers.at(step, at, product.width).mul_add(*factor, sum));
        }
    }
}
