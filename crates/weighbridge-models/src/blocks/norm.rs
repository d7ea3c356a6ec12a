//! Root mean square layer normalisation (<https://arxiv.org/abs/1910.07467>).

use candle_core::{Result, Tensor};
use candle_nn::ops::rms_norm;

/// `x / sqrt(mean(x²) + eps) * weight`.
#[derive(Debug)]
pub(crate) struct RmsNorm {
    weight: Tensor,
    eps: f32,
}

impl RmsNorm {
    pub(crate) fn new(weight: Tensor, eps: f32) -> Self {
        Self { weight, eps }
    }

    /// `[tokens, hidden]` to the same.
    pub(crate) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        rms_norm(x, &self.weight, self.eps)
    }
}
