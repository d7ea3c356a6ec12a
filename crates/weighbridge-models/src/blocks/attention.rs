//! Grouped-query attention (<https://arxiv.org/abs/2305.13245>) over a cache of keys and values.

use candle_core::{Result, Tensor};
use candle_nn::ops::softmax_last_dim;

use super::linear::Linear;
use super::mask::View;
use super::rope::Turns;
use super::single;
use crate::cache::LayerCache;
use crate::spec::AttentionSpec;

/// The projections of one layer's attention.
#[derive(Debug)]
pub(crate) struct Attention {
    pub(crate) spec: AttentionSpec,
    pub(crate) query: Linear,
    pub(crate) key: Linear,
    pub(crate) value: Linear,
    pub(crate) output: Linear,
}

impl Attention {
    /// `[tokens, hidden]` to the same. The keys and values of these tokens are written behind the `past` that the
    /// cache holds.
    pub(crate) fn forward(
        &self,
        x: &Tensor,
        turns: &Turns,
        views: &[View],
        cache: &mut LayerCache,
        past: usize,
    ) -> Result<Tensor> {
        let AttentionSpec { heads, kv_heads, head_dim, .. } = self.spec;
        let tokens = x.dim(0)?;
        let query = turns.apply(&by_heads(&self.query.forward(x)?, heads, head_dim)?)?;
        let key = turns.apply(&by_heads(&self.key.forward(x)?, kv_heads, head_dim)?)?;
        let value = by_heads(&self.value.forward(x)?, kv_heads, head_dim)?;
        cache.write(&key.squeeze(0)?, &value.squeeze(0)?, past)?;

        // Query heads that share a key head lie side by side, so a group is one matrix of `group · tokens` rows and
        // keys and values are never repeated. // [kv_heads, group, tokens, head_dim]
        let query = (query * (head_dim as f64).powf(-0.5))?.reshape((kv_heads, heads / kv_heads, tokens, head_dim))?;
        let seen = views.iter().map(|view| self.attend(&query, view, cache)).collect::<Result<Vec<_>>>()?;
        let seen = match seen.as_slice() {
            [all] => all.clone(),
            pieces => Tensor::cat(pieces, 0)?,
        };
        self.output.forward(&seen)
    }

    /// What the queries of one view take from the values: `[queries, heads · head_dim]`.
    fn attend(&self, query: &Tensor, view: &View, cache: &LayerCache) -> Result<Tensor> {
        let AttentionSpec { heads, kv_heads, head_dim, .. } = self.spec;
        let (rows, span) = (view.queries.len(), view.keys.len());
        let group = heads / kv_heads;
        let query = query.narrow(2, view.queries.start, rows)?.reshape((kv_heads, group * rows, head_dim))?;
        let (keys, values) = (cache.keys(&view.keys)?, cache.values(&view.keys)?);
        if rows == 1 {
            return single::attend(&query, &keys, &values)?.reshape((1, heads * head_dim));
        }
        let scores = query.matmul(&keys.t()?)?;
        let scores = match &view.mask {
            Some(mask) => scores.reshape((kv_heads * group, rows, span))?.broadcast_add(mask)?.reshape((
                kv_heads,
                group * rows,
                span,
            ))?,
            None => scores,
        };
        let mixed = softmax_last_dim(&scores)?.matmul(&values)?;
        mixed.reshape((heads, rows, head_dim))?.transpose(0, 1)?.reshape((rows, heads * head_dim))
    }
}

/// `[tokens, heads · head_dim]` to `[1, heads, tokens, head_dim]`, contiguous.
fn by_heads(x: &Tensor, heads: usize, head_dim: usize) -> Result<Tensor> {
    match x.dim(0)? {
        // One token needs no reordering, and so no copy.
        1 => x.reshape((1, heads, 1, head_dim)),
        tokens => x.reshape((1, tokens, heads, head_dim))?.transpose(1, 2)?.contiguous(),
    }
}
