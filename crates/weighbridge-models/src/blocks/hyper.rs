//! Hyper-connections (<https://arxiv.org/abs/2409.19606>) whose mixing is kept doubly stochastic (mHC,
//! <https://arxiv.org/abs/2512.24880>), as transformers' `DeepseekV4HyperConnection` has them: several residual streams,
//! of which each part of a layer sees a weighed sum.

use candle_core::{D, Device, Result, Tensor};
use candle_nn::ops::sigmoid;

use super::linear::Linear;
use super::norm::Norm;
use crate::spec::HyperSpec;

/// How one part of a layer reads the streams and writes to them.
#[derive(Debug)]
pub(crate) struct Hyper {
    pub(crate) spec: HyperSpec,
    /// Over all streams of a token together.
    pub(crate) norm: Norm,
    /// To `[count + count + count²]`: what is read of each stream, what is written to each, what each takes of each.
    pub(crate) weights: Linear,
    /// Of the same shape.
    pub(crate) base: Vec<f32>,
    /// Of each of the three.
    pub(crate) scales: Vec<f32>,
}

/// How the streams become one behind the last layer.
#[derive(Debug)]
pub(crate) struct HyperHead {
    pub(crate) spec: HyperSpec,
    pub(crate) norm: Norm,
    /// To what is read of each stream.
    pub(crate) weights: Linear,
    /// `[count]`.
    pub(crate) base: Tensor,
    pub(crate) scale: f64,
}

/// What a part writes.
#[derive(Debug)]
pub(crate) struct Mixing {
    /// `[tokens, count, 1]`.
    written: Tensor,
    /// What each stream takes of each: `[tokens, taking, taken]`.
    taken: Tensor,
}

impl Hyper {
    /// `[tokens, streams, hidden]` to the one that a part sees, `[tokens, hidden]`, and how it will write.
    pub(crate) fn collapse(&self, streams: &Tensor) -> Result<(Tensor, Mixing)> {
        let HyperSpec { count, eps, .. } = self.spec;
        let tokens = streams.dim(0)?;
        let weights: Vec<Vec<f32>> = self.weights.forward(&flat_normed(&self.norm, streams)?)?.to_vec2()?;
        let mut read = Vec::with_capacity(tokens * count);
        let mut written = Vec::with_capacity(tokens * count);
        let mut taken = Vec::with_capacity(tokens * count * count);
        for weights in &weights {
            let at = |index: usize, kind: usize| weights[index] * self.scales[kind] + self.base[index];
            read.extend((0..count).map(|stream| logistic(at(stream, 0)) + eps));
            written.extend((0..count).map(|stream| 2.0 * logistic(at(count + stream, 1))));
            taken.extend(self.mixing((0..count * count).map(|index| at(2 * count + index, 2)).collect()));
        }
        let read = Tensor::from_vec(read, (tokens, 1, count), &Device::Cpu)?;
        let written = Tensor::from_vec(written, (tokens, count, 1), &Device::Cpu)?;
        let taken = Tensor::from_vec(taken, (tokens, count, count), &Device::Cpu)?;
        Ok((read.matmul(&streams.contiguous()?)?.squeeze(1)?, Mixing { written, taken }))
    }

    /// From scores `[taken, taking]` to a matrix `[taking, taken]` whose rows and columns add up to one, by Sinkhorn and
    /// Knopp's method.
    fn mixing(&self, scores: Vec<f32>) -> Vec<f32> {
        let HyperSpec { count, iterations, eps } = self.spec;
        let mut matrix = scores;
        for row in matrix.chunks_exact_mut(count) {
            let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            row.iter_mut().for_each(|score| *score = (*score - largest).exp());
            let sum: f32 = row.iter().sum();
            row.iter_mut().for_each(|power| *power = *power / sum + eps);
        }
        divide_columns(&mut matrix, count, eps);
        for _ in 1..iterations {
            for row in matrix.chunks_exact_mut(count) {
                let sum = row.iter().sum::<f32>() + eps;
                row.iter_mut().for_each(|number| *number /= sum);
            }
            divide_columns(&mut matrix, count, eps);
        }
        (0..count * count).map(|index| matrix[index % count * count + index / count]).collect()
    }
}

impl Mixing {
    /// The streams after a part gave `[tokens, hidden]`.
    pub(crate) fn expand(&self, given: &Tensor, streams: &Tensor) -> Result<Tensor> {
        self.written.broadcast_mul(&given.unsqueeze(1)?)? + self.taken.matmul(&streams.contiguous()?)?
    }
}

impl HyperHead {
    /// `[tokens, hidden]` to as many streams of it: `[tokens, streams, hidden]`.
    pub(crate) fn enter(&self, x: &Tensor) -> Result<Tensor> {
        let (tokens, hidden) = x.dims2()?;
        x.unsqueeze(1)?.expand((tokens, self.spec.count, hidden))?.contiguous()
    }

    /// `[tokens, streams, hidden]` to `[tokens, hidden]`.
    pub(crate) fn leave(&self, streams: &Tensor) -> Result<Tensor> {
        let scores = (self.weights.forward(&flat_normed(&self.norm, streams)?)? * self.scale)?;
        let read = (sigmoid(&scores.broadcast_add(&self.base)?)? + f64::from(self.spec.eps))?;
        read.unsqueeze(1)?.matmul(&streams.contiguous()?)?.squeeze(1)
    }
}

fn flat_normed(norm: &Norm, streams: &Tensor) -> Result<Tensor> {
    norm.forward(&streams.contiguous()?.flatten(1, D::Minus1)?)
}

fn divide_columns(matrix: &mut [f32], count: usize, eps: f32) {
    for column in 0..count {
        let sum = matrix.iter().skip(column).step_by(count).sum::<f32>() + eps;
        matrix.iter_mut().skip(column).step_by(count).for_each(|number| *number /= sum);
    }
}

fn logistic(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_streams_take_of_each_other_adds_up_to_one_both_ways() -> Result<()> {
        let hyper = Hyper {
            spec: HyperSpec { count: 2, iterations: 20, eps: 1e-6 },
            norm: Norm::plain_rms(2, 0.0)?,
            weights: Linear::dense(Tensor::zeros((8, 2), candle_core::DType::F32, &Device::Cpu)?, None),
            base: vec![0.0; 8],
            scales: vec![1.0; 3],
        };
        let mixing = hyper.mixing(vec![2.0, 0.0, 1.0, 3.0]);
        for (one, other) in [(0, 1), (2, 3), (0, 2), (1, 3)] {
            assert!((mixing[one] + mixing[other] - 1.0).abs() < 1e-3, "{mixing:?}");
        }
        Ok(())
    }
}
