//! A lightning indexer (DeepSeek V3.2, <https://arxiv.org/abs/2512.02556>, section 2.1; transformers'
//! `modeling_deepseek_v32.py` and `modeling_mistral_large4.py`) over a cache of its own keys.

use candle_core::{Device, Result, Tensor};

use super::linear::Linear;
use super::mask::View;
use super::norm::Norm;
use super::rope::Turns;
use crate::cache::LayerCache;
use crate::spec::IndexSpec;

/// One layer's indexer.
#[derive(Debug)]
pub(crate) struct Indexer {
    pub(crate) spec: IndexSpec,
    /// Before the queries, where they come from the residual stream.
    pub(crate) input_norm: Option<Norm>,
    /// To `[heads · head_dim]`.
    pub(crate) query: Linear,
    /// How queries grow with their position.
    pub(crate) growth: Option<Growth>,
    /// To `[head_dim]`.
    pub(crate) key: Linear,
    pub(crate) key_norm: Norm,
    /// To what each head counts.
    pub(crate) weights: Linear,
}

/// Queries of a head at `position` are multiplied by `slope · ln(position + 1) + start`
/// (<https://arxiv.org/abs/2501.19399>).
#[derive(Debug)]
pub(crate) struct Growth {
    /// One for each head.
    pub(crate) slopes: Vec<f32>,
    pub(crate) starts: Vec<f32>,
}

/// What each token of a step looks at.
#[derive(Debug)]
pub(crate) struct Choice {
    /// The positions chosen for each token; none where it may look at all that came before.
    rows: Vec<Option<Vec<u32>>>,
    past: usize,
}

impl Indexer {
    /// Chooses for each token of `x`, `[tokens, hidden]`, whose compressed queries are `compressed`. Its keys are written
    /// behind the `past` that the cache holds.
    pub(crate) fn choose(
        &self,
        x: &Tensor,
        compressed: Option<&Tensor>,
        turns: Option<&Turns>,
        views: &[View],
        cache: &mut LayerCache,
        past: usize,
    ) -> Result<Choice> {
        let IndexSpec { heads, head_dim, chosen, style, .. } = self.spec;
        let tokens = x.dim(0)?;
        let turn = |x: Tensor| turns.map_or_else(|| Ok(x.clone()), |turns| turns.apply_as(style, &x));
        let key = self.key_norm.forward(&self.key.forward(x)?)?;
        cache.write_keys(&turn(key.reshape((1, 1, tokens, head_dim))?)?.squeeze(0)?, past)?;
        if past + tokens <= chosen {
            return Ok(Choice { rows: vec![None; tokens], past });
        }

        let input = self.input_norm.as_ref().map(|norm| norm.forward(x)).transpose()?;
        let query = self.query.forward(input.as_ref().or(compressed).unwrap_or(x))?;
        let mut query = query.reshape((tokens, heads, head_dim))?.transpose(0, 1)?.contiguous()?;
        if let Some(growth) = &self.growth {
            query = query.broadcast_mul(&growth.factors(past, tokens)?)?;
        }
        let query = turn(query.unsqueeze(0)?)?.squeeze(0)?;
        let weights = (self.weights.forward(x)? * (heads as f64).powf(-0.5))?;
        let mut rows = Vec::with_capacity(tokens);
        for view in views {
            let scores = self.scores(&query, &weights, view, cache)?;
            let seen = |row: usize| past + view.queries.start + row + 1 - view.keys.start;
            let best = |(row, scores): (usize, &Vec<f32>)| best(&scores[..seen(row)], chosen, view.keys.start);
            rows.extend(scores.iter().enumerate().map(best));
        }
        Ok(Choice { rows, past })
    }

    /// How much each query of a view asks for each key: `Σ weight · max(0, query · key)` over the heads.
    fn scores(&self, query: &Tensor, weights: &Tensor, view: &View, cache: &LayerCache) -> Result<Vec<Vec<f32>>> {
        let IndexSpec { heads, head_dim, .. } = self.spec;
        let (rows, keys) = (view.queries.len(), view.keys.len());
        let query = query.narrow(1, view.queries.start, rows)?.reshape((heads * rows, head_dim))?;
        let products = query.matmul(&cache.keys(&view.keys)?.squeeze(0)?.t()?)?;
        let products = (products * (head_dim as f64).powf(-0.5))?.relu()?.reshape((heads, rows, keys))?;
        let weights = weights.narrow(0, view.queries.start, rows)?.t()?.unsqueeze(2)?;
        products.broadcast_mul(&weights)?.sum(0)?.to_vec2()
    }
}

impl Growth {
    /// `[heads, tokens, 1]`, of `tokens` tokens after `past` others.
    pub(crate) fn factors(&self, past: usize, tokens: usize) -> Result<Tensor> {
        let logarithms: Vec<f32> = (past..past + tokens).map(|position| ((position + 1) as f32).ln()).collect();
        let of_head = |(slope, start): (&f32, &f32)| {
            let (slope, start) = (*slope, *start);
            logarithms.iter().map(move |logarithm| slope * logarithm + start)
        };
        let factors: Vec<f32> = self.slopes.iter().zip(&self.starts).flat_map(of_head).collect();
        Tensor::from_vec(factors, (self.slopes.len(), tokens, 1), &Device::Cpu)
    }
}

impl Choice {
    /// `[queries, keys]` of 0 and −∞ for a view.
    pub(crate) fn mask(&self, view: &View) -> Result<Tensor> {
        let (rows, keys) = (view.queries.len(), view.keys.len());
        let mut mask = vec![f32::NEG_INFINITY; rows * keys];
        for (query, row) in view.queries.clone().zip(mask.chunks_exact_mut(keys)) {
            match &self.rows[query] {
                None => row[..self.past + query + 1 - view.keys.start].fill(0.0),
                Some(positions) => positions.iter().for_each(|&at| row[at as usize - view.keys.start] = 0.0),
            }
        }
        Tensor::from_vec(mask, (rows, keys), &Device::Cpu)
    }
}

/// The positions of the best scores, of equals the first, where there are more than `count`; counted from `first`.
pub(super) fn best(scores: &[f32], count: usize, first: usize) -> Option<Vec<u32>> {
    if scores.len() <= count {
        return None;
    }
    let mut places: Vec<u32> = (0..scores.len() as u32).collect();
    let order = |&one: &u32, &other: &u32| {
        scores[other as usize].total_cmp(&scores[one as usize]).then_with(|| one.cmp(&other))
    };
    places.select_nth_unstable_by(count, order);
    places.truncate(count);
    Some(places.into_iter().map(|place| place + first as u32).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(scores: &[f32], count: usize, expected: Option<&[u32]>) {
        let mut found = best(scores, count, 10);
        if let Some(found) = &mut found {
            found.sort_unstable();
        }
        assert_eq!(found.as_deref(), expected);
    }

    #[test]
    fn the_best_are_chosen_where_there_are_more_than_enough() {
        check(&[1.0, 3.0, 2.0], 3, None);
        check(&[1.0, 3.0, 2.0], 2, Some(&[11, 12]));
        check(&[0.0, 0.0, 5.0, 0.0], 2, Some(&[10, 12]));
    }
}
