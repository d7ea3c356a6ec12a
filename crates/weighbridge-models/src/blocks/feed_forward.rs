//! The gated feed-forward part with SiLU ("SwiGLU", <https://arxiv.org/abs/2002.05202>).

use candle_core::{Result, Tensor};

use super::linear::Linear;

/// `down(silu(gate(x)) * up(x))`.
#[derive(Debug)]
pub(crate) struct FeedForward {
    pub(crate) gate: Linear,
    pub(crate) up: Linear,
    pub(crate) down: Linear,
}

impl FeedForward {
    /// `[tokens, hidden]` to the same.
    pub(crate) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let gated = (self.gate.forward(x)?.silu()? * self.up.forward(x)?)?;
        self.down.forward(&gated)
    }
}
