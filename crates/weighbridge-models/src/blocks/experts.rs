//! A mixture of experts (<https://arxiv.org/abs/1701.06538>): a router sends each token through a few of many
//! feed-forward parts. Each expert computes the rows of its own tokens, once, and nothing else.

use std::collections::BTreeMap;

use candle_core::{Device, Result, Tensor};
use candle_nn::ops::sigmoid;

use super::feed_forward::Mlp;
use super::linear::Linear;
use super::router;
use super::scaled;
use crate::spec::RouterSpec;

/// The experts of one layer.
#[derive(Debug)]
pub(crate) struct Experts {
    pub(crate) router: RouterSpec,
    /// Experts that a token goes through.
    pub(crate) chosen: usize,
    /// To a score for each expert.
    pub(crate) gate: Linear,
    /// Counts in the choice alone, one for each expert.
    pub(crate) choice_bias: Option<Vec<f32>>,
    /// The experts of each token, `[vocabulary, chosen]`, where it is not scores that choose.
    pub(crate) table: Option<Vec<u32>>,
    /// What each expert's weight is multiplied by.
    pub(crate) scales: Option<Vec<f32>>,
    pub(crate) experts: Vec<Mlp>,
    pub(crate) shared: Option<Mlp>,
    /// What the shared one's answer is multiplied by.
    pub(crate) shared_scale: f64,
    /// To what the shared one is multiplied by.
    pub(crate) shared_gate: Option<Linear>,
}

/// The tokens of one expert, with the weight of each.
#[derive(Default)]
struct Bucket {
    rows: Vec<u32>,
    weights: Vec<f32>,
}

impl Experts {
    /// `[tokens, hidden]` to the same; the router sees `routed`, mostly `x` itself.
    pub(crate) fn forward(&self, x: &Tensor, routed: &Tensor, tokens: &[u32]) -> Result<Tensor> {
        let mut sum = x.zeros_like()?;
        for (expert, Bucket { rows, weights }) in self.buckets(routed, tokens)? {
            let weights = Tensor::from_vec(weights, (rows.len(), 1), &Device::Cpu)?;
            let rows = Tensor::new(rows, &Device::Cpu)?;
            let taken = x.index_select(&rows, 0)?;
            let given = if self.router.weighs_input {
                self.experts[expert].forward(&taken.broadcast_mul(&weights)?)?
            } else {
                self.experts[expert].forward(&taken)?.broadcast_mul(&weights)?
            };
            sum = sum.index_add(&rows, &given, 0)?;
        }
        match &self.shared {
            Some(shared) => sum + self.shared(shared, x)?,
            None => Ok(sum),
        }
    }

    /// The tokens of each expert that has any.
    fn buckets(&self, x: &Tensor, tokens: &[u32]) -> Result<BTreeMap<usize, Bucket>> {
        let scores: Vec<Vec<f32>> = self.gate.forward(x)?.to_vec2()?;
        let mut buckets: BTreeMap<usize, Bucket> = BTreeMap::new();
        for (row, scores) in scores.iter().enumerate() {
            let table = self.table.as_ref().map(|table| &table[tokens[row] as usize * self.chosen..][..self.chosen]);
            let bias = self.choice_bias.as_deref();
            for (expert, weight) in router::choose(&self.router, self.chosen, scores, bias, table) {
                let bucket = buckets.entry(expert).or_default();
                bucket.rows.push(row as u32);
                bucket.weights.push(weight * self.scales.as_ref().map_or(1.0, |scales| scales[expert]));
            }
        }
        Ok(buckets)
    }

    fn shared(&self, shared: &Mlp, x: &Tensor) -> Result<Tensor> {
        let given = scaled(shared.forward(x)?, self.shared_scale)?;
        match &self.shared_gate {
            Some(gate) => given.broadcast_mul(&sigmoid(&gate.forward(x)?)?),
            None => Ok(given),
        }
    }
}
