//! Multi-head latent attention (<https://arxiv.org/abs/2405.04434>, section 2.1) over a cache of latent rows.
//!
//! Keys and values are never expanded: a query is taken through the transposed key projection once, and is then
//! compared with the latent rows themselves; what it takes from them goes through the value projection afterwards. So
//! a token costs `rank + rope_dim` numbers of cache, whatever the number of heads.

use candle_core::{D, Result, Tensor};
use candle_nn::ops::softmax_last_dim;

use super::attention::by_position;
use super::indexer::{Choice, Growth, Indexer};
use super::linear::Linear;
use super::mask::View;
use super::norm::Norm;
use super::rope::Turns;
use crate::cache::{Caches, LayerCache};
use crate::spec::{Choosing, LatentSpec};

/// One layer's projections.
#[derive(Debug)]
pub(crate) struct Latent {
    pub(crate) spec: LatentSpec,
    /// To the compressed query, where there is one, and its norm.
    pub(crate) query_down: Option<(Linear, Norm)>,
    /// To `[heads · (plain_dim + rope_dim)]`.
    pub(crate) query: Linear,
    /// How queries grow with their position, head by head.
    pub(crate) growth: Option<Growth>,
    pub(crate) indexer: Option<Indexer>,
    /// To `[rank + rope_dim]`, and the norm of the first, where the layer has latent rows of its own.
    pub(crate) latent: Option<(Linear, Norm)>,
    /// From latent to key: `[heads, plain_dim, rank]`.
    pub(crate) key: Tensor,
    /// From latent to value: `[heads, value_dim, rank]`.
    pub(crate) value: Tensor,
    pub(crate) output: Linear,
}

impl Latent {
    /// `[tokens, hidden]` to the same. The latent rows of these tokens are written behind the `past` that the cache
    /// holds.
    pub(crate) fn forward(
        &self,
        x: &Tensor,
        turns: Option<&Turns>,
        views: &[View],
        caches: Caches<'_>,
        past: usize,
        choice: &mut Option<Choice>,
    ) -> Result<Tensor> {
        let tokens = x.dim(0)?;
        self.write(x, turns, caches.keys, past)?;
        let compressed = match &self.query_down {
            Some((down, norm)) => Some(norm.forward(&down.forward(x)?)?),
            None => None,
        };
        match (&self.spec.choosing, &self.indexer) {
            (Choosing::Own(_), Some(indexer)) => {
                *choice = Some(indexer.choose(x, compressed.as_ref(), turns, views, caches.index, past)?);
            }
            (Choosing::Before, _) => {}
            _ => *choice = None,
        }

        let mut query = self.query(compressed.as_ref().unwrap_or(x), turns)?;
        if let Some(temperature) = &self.spec.temperature {
            query = query.broadcast_mul(&by_position(temperature, past, tokens)?)?;
        }
        if let Some(growth) = &self.growth {
            query = query.broadcast_mul(&growth.factors(past, tokens)?)?;
        }
        let attend = |view| self.attend(&query, view, caches.keys, choice.as_ref());
        let seen = views.iter().map(attend).collect::<Result<Vec<_>>>()?;
        self.output.forward(&Tensor::cat(&seen, 0)?)
    }

    /// Writes latent rows, where they are not those of another layer.
    fn write(&self, x: &Tensor, turns: Option<&Turns>, cache: &mut LayerCache, past: usize) -> Result<()> {
        let LatentSpec { rank, rope_dim, .. } = self.spec;
        let Some((projection, norm)) = &self.latent else { return Ok(()) };
        let latent = projection.forward(x)?;
        let plain = norm.forward(&latent.narrow(1, 0, rank)?)?.unsqueeze(0)?;
        if rope_dim == 0 {
            return cache.write_keys(&plain, past);
        }
        let place = latent.narrow(1, rank, rope_dim)?.contiguous()?.unsqueeze(0)?.unsqueeze(0)?;
        let place = turned(turns, place)?.squeeze(0)?;
        cache.write_keys(&Tensor::cat(&[plain, place], D::Minus1)?.contiguous()?, past)
    }

    /// Queries as they meet latent rows, scaled: `[heads, tokens, rank + rope_dim]`.
    fn query(&self, x: &Tensor, turns: Option<&Turns>) -> Result<Tensor> {
        let LatentSpec { heads, plain_dim, rope_dim, scale, .. } = self.spec;
        let query = self.query.forward(x)?.reshape((x.dim(0)?, heads, plain_dim + rope_dim))?.transpose(0, 1)?;
        let plain = query.narrow(2, 0, plain_dim)?.contiguous()?.matmul(&self.key)?;
        if rope_dim == 0 {
            return plain * f64::from(scale);
        }
        let place = turned(turns, query.narrow(2, plain_dim, rope_dim)?.contiguous()?.unsqueeze(0)?)?;
        Tensor::cat(&[plain, place.squeeze(0)?], D::Minus1)? * f64::from(scale)
    }

    /// What the queries of one view take: `[queries, heads · value_dim]`.
    fn attend(&self, query: &Tensor, view: &View, cache: &LayerCache, choice: Option<&Choice>) -> Result<Tensor> {
        let LatentSpec { heads, rank, value_dim, .. } = self.spec;
        let rows = view.queries.len();
        let width = self.spec.cached_width();
        // All heads look at the same rows, so they are one matrix. // [heads · rows, rank + rope_dim]
        let query = query.narrow(1, view.queries.start, rows)?.reshape((heads * rows, width))?;
        let latent = cache.keys(&view.keys)?.squeeze(0)?;
        let mut scores = query.matmul(&latent.t()?)?.reshape((heads, rows, view.keys.len()))?;
        match (choice, &view.mask) {
            (Some(choice), _) => scores = scores.broadcast_add(&choice.mask(view)?)?,
            (None, Some(mask)) => scores = scores.broadcast_add(mask)?,
            (None, None) => {}
        }
        let weights = softmax_last_dim(&scores)?.reshape((heads * rows, view.keys.len()))?;
        let mixed = weights.matmul(&latent.narrow(1, 0, rank)?.contiguous()?)?.reshape((heads, rows, rank))?;
        mixed.matmul(&self.value.t()?)?.transpose(0, 1)?.reshape((rows, heads * value_dim))
    }
}

fn turned(turns: Option<&Turns>, x: Tensor) -> Result<Tensor> {
    turns.map_or_else(|| Ok(x.clone()), |turns| turns.apply(&x))
}
