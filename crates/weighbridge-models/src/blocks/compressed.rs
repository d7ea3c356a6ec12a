//! DeepSeek V4's attention (transformers' `DeepseekV4Attention`): over a window of rows that are key and value alike, and
//! over rows that sum up runs of tokens, all of them or those that an indexer chooses.

use candle_core::{D, Device, Result, Tensor};
use candle_nn::ops::softmax_last_dim;

use super::compressor::Compressor;
use super::indexer::best;
use super::linear::Linear;
use super::mask::View;
use super::norm::Norm;
use super::rope::{Rope, Turns};
use crate::cache::{Caches, LayerCache};
use crate::spec::{CompressedSpec, RowIndexSpec};

/// One layer's projections.
#[derive(Debug)]
pub(crate) struct Compressed {
    pub(crate) spec: CompressedSpec,
    pub(crate) query_down: Linear,
    pub(crate) query_down_norm: Norm,
    pub(crate) query: Linear,
    /// Over one head's query.
    pub(crate) query_norm: Norm,
    /// To the row that all heads share.
    pub(crate) row: Linear,
    pub(crate) row_norm: Norm,
    /// `[heads, 1, 1]`.
    pub(crate) sinks: Tensor,
    /// From each group of heads: `[groups, output_rank, heads / groups · head_dim]`.
    pub(crate) groups: Tensor,
    pub(crate) output: Linear,
    pub(crate) compressor: Option<Compressor>,
    pub(crate) indexer: Option<RowIndexer>,
}

/// What chooses among summed up rows.
#[derive(Debug)]
pub(crate) struct RowIndexer {
    pub(crate) spec: RowIndexSpec,
    pub(crate) compressor: Compressor,
    /// From compressed queries to `[heads · head_dim]`.
    pub(crate) query: Linear,
    /// To what each head counts.
    pub(crate) weights: Linear,
}

/// The summed up rows that each token of a step sees; all that there are where none are chosen.
type Chosen = Vec<Option<Vec<u32>>>;

impl Compressed {
    /// `[tokens, hidden]` to the same. What these tokens leave is written behind the `past` that the cache holds.
    pub(crate) fn forward(
        &self,
        x: &Tensor,
        rope: &Rope,
        turns: &Turns,
        views: &[View],
        mut caches: Caches<'_>,
        past: usize,
    ) -> Result<Tensor> {
        let CompressedSpec { heads, head_dim, groups, output_rank, .. } = self.spec;
        let tokens = x.dim(0)?;
        let compressed = self.query_down_norm.forward(&self.query_down.forward(x)?)?;
        let query = self.query.forward(&compressed)?.reshape((tokens, heads, head_dim))?.transpose(0, 1)?;
        let query = turns.apply_last(&self.query_norm.forward(&query)?.unsqueeze(0)?)?.squeeze(0)?;
        let query = (query * (head_dim as f64).powf(-0.5))?;
        let row = self.row_norm.forward(&self.row.forward(x)?)?.reshape((1, 1, tokens, head_dim))?;
        caches.keys.write_keys(&turns.apply_last(&row)?.squeeze(0)?, past)?;
        let chosen = self.compress(x, &compressed, (rope, turns), views, &mut caches, past)?;

        let attend = |view| self.attend(&query, view, &caches, past, &chosen);
        let seen = views.iter().map(attend).collect::<Result<Vec<_>>>()?;
        // Values turned with the keys that they are, so what was seen is turned back.
        let seen = Tensor::cat(&seen, 1)?.unsqueeze(0)?;
        let seen = turns.reversed()?.apply_last(&seen)?.squeeze(0)?.transpose(0, 1)?.contiguous()?;
        let seen = seen.reshape((tokens, groups, heads / groups * head_dim))?.transpose(0, 1)?.contiguous()?;
        let narrow = seen.matmul(&self.groups.t()?)?.transpose(0, 1)?.contiguous()?;
        self.output.forward(&narrow.reshape((tokens, groups * output_rank))?)
    }

    /// Sums up the runs that end here, and chooses.
    fn compress(
        &self,
        x: &Tensor,
        query: &Tensor,
        (rope, turns): (&Rope, &Turns),
        views: &[View],
        caches: &mut Caches<'_>,
        past: usize,
    ) -> Result<Chosen> {
        let mut chosen = vec![None; x.dim(0)?];
        let Some(compressor) = &self.compressor else { return Ok(chosen) };
        let first = past / compressor.spec.every;
        let mut state = caches.keys.state().cloned().unwrap_or_default();
        if let Some(rows) = compressor.forward(x, &mut state.tail, rope, past)? {
            caches.rows.write_keys(&rows, first)?;
        }
        if let Some(indexer) = &self.indexer {
            if let Some(rows) = indexer.compressor.forward(x, &mut state.memory, rope, past)? {
                caches.index.write_keys(&rows, first)?;
            }
            chosen = indexer.choose(x, query, turns, views, caches.index, past)?;
        }
        caches.keys.keep(state);
        Ok(chosen)
    }

    /// What the queries of one view see: `[heads, queries, head_dim]`.
    fn attend(&self, query: &Tensor, view: &View, caches: &Caches<'_>, past: usize, chosen: &Chosen) -> Result<Tensor> {
        let CompressedSpec { heads, head_dim, .. } = self.spec;
        let (rows, recent) = (view.queries.len(), view.keys.len());
        let every = self.compressor.as_ref().map(|compressor| compressor.spec.every);
        let summed = every.map_or(0, |every| (past + view.queries.end) / every);
        let mut keys = caches.keys.keys(&view.keys)?.squeeze(0)?;
        let mut mask = match &view.mask {
            Some(mask) => mask.clone(),
            None => Tensor::zeros((rows, recent), candle_core::DType::F32, &Device::Cpu)?,
        };
        if let (Some(every), true) = (every, summed > 0) {
            keys = Tensor::cat(&[keys, caches.rows.keys(&(0..summed))?.squeeze(0)?], 0)?;
            let mut seen = vec![f32::NEG_INFINITY; rows * summed];
            for (token, seen) in view.queries.clone().zip(seen.chunks_exact_mut(summed)) {
                match &chosen[token] {
                    Some(places) => places.iter().for_each(|&place| seen[place as usize] = 0.0),
                    None => seen[..(past + token + 1) / every].fill(0.0),
                }
            }
            mask = Tensor::cat(&[mask, Tensor::from_vec(seen, (rows, summed), &Device::Cpu)?], 1)?;
        }
        let all = recent + summed;
        let query = query.narrow(1, view.queries.start, rows)?.reshape((heads * rows, head_dim))?;
        let scores = query.matmul(&keys.t()?)?.reshape((heads, rows, all))?.broadcast_add(&mask)?;
        let sinks = self.sinks.expand((heads, rows, 1))?.contiguous()?;
        let weights = softmax_last_dim(&Tensor::cat(&[scores, sinks], D::Minus1)?)?.narrow(D::Minus1, 0, all)?;
        let weights = weights.contiguous()?.reshape((heads * rows, all))?;
        weights.matmul(&keys.contiguous()?)?.reshape((heads, rows, head_dim))
    }
}

impl RowIndexer {
    /// The rows that each token sees, where there are more than it may.
    fn choose(
        &self,
        x: &Tensor,
        compressed: &Tensor,
        turns: &Turns,
        views: &[View],
        cache: &LayerCache,
        past: usize,
    ) -> Result<Chosen> {
        let RowIndexSpec { heads, head_dim, chosen } = self.spec;
        let tokens = x.dim(0)?;
        let every = self.compressor.spec.every;
        if (past + tokens) / every <= chosen {
            return Ok(vec![None; tokens]);
        }
        let query =
            self.query.forward(compressed)?.reshape((tokens, heads, head_dim))?.transpose(0, 1)?.contiguous()?;
        let query = turns.apply_last(&query.unsqueeze(0)?)?.squeeze(0)?;
        let weights = (self.weights.forward(x)? * (heads as f64).powf(-0.5))?;
        let mut all = Vec::with_capacity(tokens);
        for view in views {
            let (rows, summed) = (view.queries.len(), (past + view.queries.end) / every);
            if summed == 0 {
                all.resize(all.len() + rows, None);
                continue;
            }
            let query = query.narrow(1, view.queries.start, rows)?.reshape((heads * rows, head_dim))?;
            let products = query.matmul(&cache.keys(&(0..summed))?.squeeze(0)?.t()?)?.relu()?;
            let products = (products * (head_dim as f64).powf(-0.5))?.reshape((heads, rows, summed))?;
            let weights = weights.narrow(0, view.queries.start, rows)?.t()?.unsqueeze(2)?;
            let scores: Vec<Vec<f32>> = products.broadcast_mul(&weights)?.sum(0)?.to_vec2()?;
            let ended = |row: usize| (past + view.queries.start + row + 1) / every;
            all.extend(scores.iter().enumerate().map(|(row, scores)| best(&scores[..ended(row)], chosen, 0)));
        }
        Ok(all)
    }
}
