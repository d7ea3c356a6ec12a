//! Scores and values of a page, plain as their formulas.

use super::{Numbers, PAGE_TOKENS, QUERIES};

impl Numbers<'_> {
    pub(super) fn at(self, index: usize) -> f32 {
        match self {
            Self::F32(numbers) => numbers[index],
            Self::F16(numbers) => numbers[index].to_f32(),
        }
    }
}

/// The scores of the first `some` queries.
pub(crate) fn scores(
    keys: Numbers<'_>,
    queries: [&[f32]; QUERIES],
    some: usize,
    to: &mut [[f32; PAGE_TOKENS]; QUERIES],
) {
    for (query, to) in queries.iter().zip(to).take(some) {
        for (token, to) in to.iter_mut().enumerate() {
            let products = query.iter().enumerate();
            *to = products.fold(0.0, |sum, (at, x)| keys.at(at * PAGE_TOKENS + token).mul_add(*x, sum));
        }
    }
}

/// Adds what queries take from the values of a page; `to` is `[queries, value_dim]`.
pub(crate) fn values(values: Numbers<'_>, shares: [&[f32]; QUERIES], value_dim: usize, to: &mut [f32]) {
    for (shares, to) in shares.iter().zip(to.chunks_exact_mut(value_dim)) {
        for (at, to) in to.iter_mut().enumerate() {
            let products = shares.iter().enumerate();
            *to = products.fold(*to, |sum, (token, share)| values.at(token * value_dim + at).mul_add(*share, sum));
        }
    }
}
