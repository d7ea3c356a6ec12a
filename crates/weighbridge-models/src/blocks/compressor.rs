//! Runs of tokens summed up in one row each (transformers' `DeepseekV4HCACompressor` and `DeepseekV4CSACompressor`): a
//! mean of what each token gives, weighed channel by channel by a softmax over the run.

use std::ops::Range;

use candle_core::{D, Device, Result, Tensor};

use super::linear::Linear;
use super::norm::Norm;
use super::rope::Rope;
use crate::spec::CompressionSpec;

/// What sums up.
#[derive(Debug)]
pub(crate) struct Compressor {
    pub(crate) spec: CompressionSpec,
    /// Width of a row.
    pub(crate) width: usize,
    /// To `[series · width]`: what a token gives to the run after its own, where they overlap, then to its own.
    pub(crate) value: Linear,
    /// To how much that counts, of the same shape.
    pub(crate) gate: Linear,
    /// `[every, series · width]`: how much more it counts by its place in the run.
    pub(crate) bias: Vec<f32>,
    pub(crate) norm: Norm,
}

impl Compressor {
    /// The rows of the runs that end within these tokens, `[1, runs, width]`, if any do. `kept` is what the tokens before
    /// gave, from the first that still counts; afterwards it is that for the tokens to come.
    pub(crate) fn forward(&self, x: &Tensor, kept: &mut Vec<f32>, rope: &Rope, past: usize) -> Result<Option<Tensor>> {
        let every = self.spec.every;
        let until = past + x.dim(0)?;
        let first = self.first_kept(past);
        let given = Tensor::cat(&[self.value.forward(x)?, self.gate.forward(x)?], D::Minus1)?;
        kept.extend(given.flatten_all()?.to_vec1::<f32>()?);
        let runs = past / every..until / every;
        let rows: Vec<f32> = runs.clone().flat_map(|run| self.row(kept, run, first)).collect();
        kept.drain(..(self.first_kept(until) - first) * self.token_width());
        if runs.is_empty() {
            return Ok(None);
        }
        let rows = self.norm.forward(&Tensor::from_vec(rows, (runs.len(), self.width), &Device::Cpu)?)?;
        let starts: Vec<usize> = runs.map(|run| run * every).collect();
        let turned = rope.turns_at(&starts, 0)?.apply_last(&rows.unsqueeze(0)?.unsqueeze(0)?)?;
        turned.squeeze(0).map(Some)
    }

    /// Numbers that a token gives.
    fn token_width(&self) -> usize {
        2 * self.spec.series() * self.width
    }

    /// The first token that still counts for runs that end after `tokens`.
    fn first_kept(&self, tokens: usize) -> usize {
        (tokens / self.spec.every).saturating_sub(self.spec.series() - 1) * self.spec.every
    }

    /// The row of a run, of numbers kept from the token `first` on.
    fn row(&self, kept: &[f32], run: usize, first: usize) -> Vec<f32> {
        let own = self.spec.series() - 1;
        let tokens = |run: usize| run * self.spec.every - first..(run + 1) * self.spec.every - first;
        let mut parts = vec![(tokens(run), own)];
        if let (true, Some(before)) = (self.spec.overlapping, run.checked_sub(1)) {
            parts.push((tokens(before), 0));
        }
        (0..self.width).map(|channel| self.mean(kept, &parts, channel)).collect()
    }

    /// The mean of one channel over runs of tokens, each in one of its series.
    fn mean(&self, kept: &[f32], parts: &[(Range<usize>, usize)], channel: usize) -> f32 {
        let series_width = self.spec.series() * self.width;
        let mut largest = f32::NEG_INFINITY;
        let mut slots = Vec::with_capacity(parts.len() * self.spec.every);
        for (tokens, series) in parts {
            let at = series * self.width + channel;
            for (place, token) in tokens.clone().enumerate() {
                let given = &kept[token * self.token_width()..(token + 1) * self.token_width()];
                let counts = given[series_width + at] + self.bias[place * series_width + at];
                largest = largest.max(counts);
                slots.push((given[at], counts));
            }
        }
        let (mut sum, mut weights) = (0.0, 0.0);
        for (value, counts) in slots {
            let weight = (counts - largest).exp();
            sum += value * weight;
            weights += weight;
        }
        sum / weights
    }
}
