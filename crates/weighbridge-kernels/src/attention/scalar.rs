//! The kernels of attention, plain as their formulas.

use super::kernels::Product;
use super::pages::Numbers;

impl Numbers<'_> {
    pub(super) fn len(self) -> usize {
        match self {
            Self::F32(numbers) => numbers.len(),
            Self::F16(numbers) => numbers.len(),
        }
    }

    pub(super) fn at(self, index: usize) -> f32 {
        match self {
            Self::F32(numbers) => numbers[index],
            Self::F16(numbers) => numbers[index].to_f32(),
        }
    }
}

/// Numbers as float32.
pub(super) fn expand(numbers: Numbers<'_>, to: &mut [f32]) {
    to.iter_mut().enumerate().for_each(|(index, to)| *to = numbers.at(index));
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
                .fold(start, |sum, (step, factor)| product.numbers.at(step * product.width + at).mul_add(*factor, sum));
        }
    }
}
