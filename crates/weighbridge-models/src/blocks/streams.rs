//! Several residual streams (AltUp, <https://arxiv.org/abs/2301.13310>) and a residual of low rank (LAuReL,
//! <https://arxiv.org/abs/2411.07501>), as transformers' `modeling_gemma3n.py` has them.

use candle_core::{D, Result, Tensor};

use super::linear::Linear;
use super::norm::Norm;
use crate::spec::StreamsSpec;

/// What keeps the magnitude of a stream from being zero.
const SQUARE_MIN: f64 = 1e-5;

/// From one stream to several and back.
#[derive(Debug)]
pub(crate) struct Ends {
    /// To each stream but the first.
    pub(crate) enter: Vec<Linear>,
    /// Back from each stream but the first.
    pub(crate) leave: Vec<Linear>,
}

/// How a layer changes the streams.
#[derive(Debug)]
pub(crate) struct Streams {
    pub(crate) spec: StreamsSpec,
    pub(crate) router_norm: Norm,
    /// To one number for each stream.
    pub(crate) router: Linear,
    /// From those to how each stream is predicted from all.
    pub(crate) prediction: Linear,
    /// From those to how much of a change each stream takes.
    pub(crate) correction: Linear,
    /// `[hidden]`.
    pub(crate) output_scale: Tensor,
}

/// What goes around attention through a narrow place.
#[derive(Debug)]
pub(crate) struct Laurel {
    pub(crate) left: Linear,
    pub(crate) right: Linear,
    pub(crate) norm: Norm,
}

impl Ends {
    /// `[tokens, hidden]` to `[streams, tokens, hidden]`, all as large as the first.
    pub(crate) fn enter(&self, x: &Tensor) -> Result<Tensor> {
        let others = self.enter.iter().map(|projection| as_large(&projection.forward(x)?, x));
        Tensor::stack(&[Ok(x.clone())].into_iter().chain(others).collect::<Result<Vec<_>>>()?, 0)
    }

    /// The mean of all streams, each as large as the first: `[tokens, hidden]`.
    pub(crate) fn leave(&self, streams: &Tensor) -> Result<Tensor> {
        let mut sum = streams.get(0)?;
        let first = sum.clone();
        for (index, projection) in self.leave.iter().enumerate() {
            sum = (sum + as_large(&projection.forward(&streams.get(index + 1)?)?, &first)?)?;
        }
        sum / (self.leave.len() + 1) as f64
    }
}

impl Streams {
    /// What the streams will be, as far as can be told before the layer: `[streams, tokens, hidden]` to the same.
    pub(crate) fn predict(&self, streams: &Tensor) -> Result<Tensor> {
        let StreamsSpec { count, active, .. } = self.spec;
        let weights = self.prediction.forward(&self.modalities(&streams.get(active)?)?)?;
        // For each token how much each stream takes of each. // [tokens, taking, taken]
        let weights = weights.reshape(((), count, count))?;
        let by_token = weights.matmul(&streams.transpose(0, 1)?.contiguous()?)?;
        streams + by_token.transpose(0, 1)?
    }

    /// The active one.
    pub(crate) fn active(&self, streams: &Tensor) -> Result<Tensor> {
        streams.get(self.spec.active)
    }

    /// The predicted streams, each moved by its share of what the layer made of the active one.
    pub(crate) fn correct(&self, predicted: &Tensor, made: &Tensor) -> Result<Tensor> {
        let shares = (self.correction.forward(&self.modalities(made)?)? + 1.0)?;
        let change = (made - self.active(predicted)?)?;
        // [streams, tokens, 1]
        predicted + shares.t()?.unsqueeze(2)?.broadcast_mul(&change.unsqueeze(0)?)?
    }

    /// The active one as the rows of the layer see it.
    pub(crate) fn shown(&self, streams: &Tensor) -> Result<Tensor> {
        let active = self.active(streams)?;
        if self.spec.scaled { active.broadcast_mul(&self.output_scale) } else { Ok(active) }
    }

    /// All streams but the first, with something added.
    pub(crate) fn add_to_others(&self, streams: &Tensor, given: &Tensor) -> Result<Tensor> {
        let others = streams.narrow(0, 1, self.spec.count - 1)?.broadcast_add(given)?;
        Tensor::cat(&[streams.narrow(0, 0, 1)?, others], 0)
    }

    fn modalities(&self, x: &Tensor) -> Result<Tensor> {
        let hidden = x.dim(D::Minus1)? as f64;
        self.router.forward(&(self.router_norm.forward(x)? / hidden)?)?.tanh()
    }
}

impl Laurel {
    /// `[tokens, hidden]` to the same.
    pub(crate) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        x + self.norm.forward(&self.right.forward(&self.left.forward(x)?)?)?
    }
}

/// `x` with the root mean square of `other`, row by row.
fn as_large(x: &Tensor, other: &Tensor) -> Result<Tensor> {
    let magnitude = x.sqr()?.mean_keepdim(D::Minus1)?.maximum(SQUARE_MIN)?.sqrt()?;
    let wanted = other.sqr()?.mean_keepdim(D::Minus1)?.sqrt()?;
    x.broadcast_mul(&(wanted / magnitude)?)
}
