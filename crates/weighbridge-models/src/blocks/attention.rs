//! Grouped-query attention (<https://arxiv.org/abs/2305.13245>) over a cache of keys and values.

use candle_core::{D, Device, Result, Tensor};
use candle_nn::ops::{sigmoid, softmax_last_dim};

use super::linear::Linear;
use super::mask::View;
use super::norm::Norm;
use super::rope::Turns;
use super::single;
use crate::cache::LayerCache;
use crate::spec::{AttentionSpec, HeadNorm, TemperatureSpec};

/// The projections of one layer's attention.
#[derive(Debug)]
pub(crate) struct Attention {
    pub(crate) spec: AttentionSpec,
    pub(crate) query: Linear,
    /// Where the layer has keys of its own.
    pub(crate) key: Option<Linear>,
    /// Where values have a projection of their own.
    pub(crate) value: Option<Linear>,
    pub(crate) output: Linear,
    pub(crate) query_norm: Option<Norm>,
    pub(crate) key_norm: Option<Norm>,
    pub(crate) value_norm: Option<Norm>,
    /// Of each head, `[heads, 1, head_dim]`, where each has its own.
    pub(crate) query_weight: Option<Tensor>,
    pub(crate) key_weight: Option<Tensor>,
    /// `[heads, 1, 1]`.
    pub(crate) sinks: Option<Tensor>,
}

impl Attention {
    /// `[tokens, hidden]` to the same. The keys and values of these tokens are written behind the `past` that the
    /// cache holds.
    pub(crate) fn forward(
        &self,
        x: &Tensor,
        turns: Option<&Turns>,
        views: &[View],
        cache: &mut LayerCache,
        past: usize,
    ) -> Result<Tensor> {
        let AttentionSpec { heads, kv_heads, head_dim, .. } = self.spec;
        let tokens = x.dim(0)?;
        let (query, gate) = self.query_and_gate(x)?;
        let query = self.heads(query, heads, self.query_norm.as_ref(), self.query_weight.as_ref(), turns)?;
        self.write(x, turns, cache, past)?;

        let mut query = (query * f64::from(self.spec.scale))?;
        if let Some(temperature) = &self.spec.temperature {
            query = query.broadcast_mul(&by_position(temperature, past, tokens)?)?;
        }
        // Query heads that share a key head lie side by side, so a group is one matrix of `group · tokens` rows and
        // keys and values are never repeated. // [kv_heads, group, tokens, head_dim]
        let query = query.reshape((kv_heads, heads / kv_heads, tokens, head_dim))?;
        let seen = views.iter().map(|view| self.attend(&query, view, cache)).collect::<Result<Vec<_>>>()?;
        let seen = match seen.as_slice() {
            [all] => all.clone(),
            pieces => Tensor::cat(pieces, 0)?,
        };
        let seen = gate.map_or(Ok(seen.clone()), |gate| seen * sigmoid(&gate)?)?;
        self.output.forward(&seen)
    }

    /// Writes keys and values, where they are not those of another layer.
    fn write(&self, x: &Tensor, turns: Option<&Turns>, cache: &mut LayerCache, past: usize) -> Result<()> {
        let AttentionSpec { kv_heads, head_dim, .. } = self.spec;
        let Some(key) = &self.key else { return Ok(()) };
        let key = key.forward(x)?;
        let value = self.value.as_ref().map_or_else(|| Ok(key.clone()), |value| value.forward(x))?;
        let key = self.heads(key, kv_heads, self.key_norm.as_ref(), self.key_weight.as_ref(), turns)?;
        let value = by_heads(&self.clipped(value)?, kv_heads, head_dim)?;
        let value = self.value_norm.as_ref().map_or_else(|| Ok(value.clone()), |norm| norm.forward(&value))?;
        cache.write(&key.squeeze(0)?, &value.squeeze(0)?, past)
    }

    /// Queries, and what attention is multiplied by before the sigmoid: `[tokens, heads · head_dim]` both.
    fn query_and_gate(&self, x: &Tensor) -> Result<(Tensor, Option<Tensor>)> {
        let AttentionSpec { heads, head_dim, gated, .. } = self.spec;
        let query = self.query.forward(x)?;
        if !gated {
            return Ok((query, None));
        }
        let tokens = x.dim(0)?;
        let both = query.reshape((tokens, heads, 2, head_dim))?;
        let part = |index| both.narrow(2, index, 1)?.contiguous()?.reshape((tokens, heads * head_dim));
        Ok((part(0)?, Some(part(1)?)))
    }

    /// Queries or keys, normalised and turned: `[1, heads, tokens, head_dim]`.
    fn heads(
        &self,
        x: Tensor,
        heads: usize,
        norm: Option<&Norm>,
        weight: Option<&Tensor>,
        turns: Option<&Turns>,
    ) -> Result<Tensor> {
        let normed = |when: &[HeadNorm], x: Tensor| match (norm, self.spec.head_norm) {
            (Some(norm), Some(kind)) if when.contains(&kind) => norm.forward(&x),
            _ => Ok(x),
        };
        let x = normed(&[HeadNorm::Whole], x)?;
        let x = by_heads(&self.clipped(x)?, heads, self.spec.head_dim)?;
        let x = normed(&[HeadNorm::Shared, HeadNorm::Each], x)?;
        let x = weight.map_or_else(|| Ok(x.clone()), |weight| x.broadcast_mul(weight))?;
        let x = turns.map_or_else(|| Ok(x.clone()), |turns| turns.apply(&x))?;
        normed(&[HeadNorm::AfterRope], x)
    }

    fn clipped(&self, x: Tensor) -> Result<Tensor> {
        self.spec.clip.map_or(Ok(x.clone()), |most| x.clamp(-most, most))
    }

    /// What the queries of one view take from the values: `[queries, heads · head_dim]`.
    fn attend(&self, query: &Tensor, view: &View, cache: &LayerCache) -> Result<Tensor> {
        let AttentionSpec { heads, kv_heads, head_dim, .. } = self.spec;
        let rows = view.queries.len();
        let group = heads / kv_heads;
        let query = query.narrow(2, view.queries.start, rows)?.reshape((kv_heads, group * rows, head_dim))?;
        let (keys, values) = (cache.keys(&view.keys)?, cache.values(&view.keys)?);
        if rows == 1 && self.spec.score_cap.is_none() && self.sinks.is_none() {
            return single::attend(&query, &keys, &values)?.reshape((1, heads * head_dim));
        }
        let scores = query.matmul(&keys.t()?)?.reshape((heads, rows, view.keys.len()))?;
        let weights = self.weights(scores, view)?.reshape((kv_heads, group * rows, view.keys.len()))?;
        let mixed = weights.matmul(&values)?;
        mixed.reshape((heads, rows, head_dim))?.transpose(0, 1)?.reshape((rows, heads * head_dim))
    }

    /// From scores to shares of attention, `[heads, rows, keys]` both.
    fn weights(&self, mut scores: Tensor, view: &View) -> Result<Tensor> {
        if let Some(cap) = self.spec.score_cap.map(f64::from) {
            scores = ((scores / cap)?.tanh()? * cap)?;
        }
        if let Some(mask) = &view.mask {
            scores = scores.broadcast_add(mask)?;
        }
        let Some(sinks) = &self.sinks else { return softmax_last_dim(&scores) };
        let (heads, rows, keys) = scores.dims3()?;
        let sinks = sinks.expand((heads, rows, 1))?.contiguous()?;
        let weights = softmax_last_dim(&Tensor::cat(&[scores, sinks], D::Minus1)?)?;
        weights.narrow(D::Minus1, 0, keys)?.contiguous()
    }
}

/// What the queries of `tokens` tokens after `past` others are multiplied by: `[tokens, 1]`.
pub(super) fn by_position(temperature: &TemperatureSpec, past: usize, tokens: usize) -> Result<Tensor> {
    let at = |position| temperature.at(position);
    Tensor::from_vec((past..past + tokens).map(at).collect(), (tokens, 1), &Device::Cpu)
}

/// `[tokens, heads · head_dim]` to `[1, heads, tokens, head_dim]`, contiguous.
fn by_heads(x: &Tensor, heads: usize, head_dim: usize) -> Result<Tensor> {
    match x.dim(0)? {
        // One token needs no reordering, and so no copy.
        1 => x.reshape((1, heads, 1, head_dim)),
        tokens => x.reshape((1, tokens, heads, head_dim))?.transpose(1, 2)?.contiguous(),
    }
}
