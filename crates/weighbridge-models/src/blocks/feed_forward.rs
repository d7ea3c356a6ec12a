//! The feed-forward part: one for all tokens ("GLU", <https://arxiv.org/abs/2002.05202>), or experts.

use candle_core::{D, Result, Tensor};
use candle_nn::ops::sigmoid;

use super::experts::Experts;
use super::linear::Linear;
use super::norm::Norm;
use crate::spec::Activation;

/// Steepness of the sigmoid that stands in for the Gaussian: <https://arxiv.org/abs/1606.08415>, section 2.
pub(crate) const QUICK: f64 = 1.702;

/// What each token goes through alone.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "there is one for each layer, made once")]
pub(crate) enum FeedForward {
    Dense(Mlp),
    Experts(Experts),
    Beside(Beside),
}

/// Both side by side, each between norms of its own (transformers' `Gemma4TextDecoderLayer`).
#[derive(Debug)]
pub(crate) struct Beside {
    pub(crate) dense: Mlp,
    pub(crate) dense_after: Norm,
    pub(crate) router_norm: Norm,
    pub(crate) experts_before: Norm,
    pub(crate) experts: Experts,
    pub(crate) experts_after: Norm,
}

/// `down(f(gate(x)) * up(x))`, or `down(f(up(x)))` without a gate.
#[derive(Debug)]
pub(crate) struct Mlp {
    pub(crate) activation: Activation,
    pub(crate) gate: Option<Linear>,
    pub(crate) up: Linear,
    pub(crate) down: Linear,
}

impl FeedForward {
    /// `[tokens, hidden]` to the same, given the residual stream that `x` was normalised from, and the tokens.
    pub(crate) fn forward(&self, x: &Tensor, stream: &Tensor, tokens: &[u32]) -> Result<Tensor> {
        match self {
            Self::Dense(mlp) => mlp.forward(x),
            Self::Experts(experts) => experts.forward(x, x, tokens),
            Self::Beside(both) => both.forward(x, stream, tokens),
        }
    }
}

impl Beside {
    fn forward(&self, x: &Tensor, stream: &Tensor, tokens: &[u32]) -> Result<Tensor> {
        let dense = self.dense_after.forward(&self.dense.forward(x)?)?;
        let routed = self.router_norm.forward(stream)?;
        let given = self.experts.forward(&self.experts_before.forward(stream)?, &routed, tokens)?;
        dense + self.experts_after.forward(&given)?
    }
}

impl Mlp {
    /// `[tokens, hidden]` to the same.
    pub(crate) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let up = self.up.forward(x)?;
        let inner = match &self.gate {
            Some(gate) => self.gated(&gate.forward(x)?, up)?,
            None => plain(self.activation, &up)?,
        };
        self.down.forward(&inner)
    }

    fn gated(&self, gate: &Tensor, up: Tensor) -> Result<Tensor> {
        if let Activation::ClampedSwish { alpha, limit } = self.activation {
            let gate = gate.clamp(f32::NEG_INFINITY, limit)?;
            let gate = (&gate * sigmoid(&(&gate * f64::from(alpha))?)?)?;
            return gate * (up.clamp(-limit, limit)? + 1.0)?;
        }
        if let Activation::ClampedSilu { limit } = self.activation {
            return gate.clamp(f32::NEG_INFINITY, limit)?.silu()? * up.clamp(-limit, limit)?;
        }
        plain(self.activation, gate)? * up
    }
}

/// The function of one row by itself.
pub(super) fn plain(activation: Activation, x: &Tensor) -> Result<Tensor> {
    match activation {
        Activation::Silu => x.silu(),
        Activation::Gelu => x.gelu_erf(),
        Activation::GeluTanh => x.gelu(),
        Activation::GeluTanhAbove { deviations } => {
            let centred = x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?;
            let deviation = centred.sqr()?.mean_keepdim(D::Minus1)?.sqrt()?;
            centred.broadcast_sub(&(deviation * f64::from(deviations))?)?.relu()?.gelu()
        }
        Activation::ClampedSilu { limit } => x.clamp(f32::NEG_INFINITY, limit)?.silu(),
        Activation::GeluQuick => x * sigmoid(&(x * QUICK)?)?,
        Activation::Relu => x.relu(),
        Activation::ReluSquared => x.relu()?.sqr(),
        Activation::ClampedSwish { alpha, .. } => x * sigmoid(&(x * f64::from(alpha))?)?,
    }
}
