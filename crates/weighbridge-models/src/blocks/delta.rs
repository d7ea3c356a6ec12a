//! Delta nets (<https://arxiv.org/abs/2406.06484>): gated ones (<https://arxiv.org/abs/2412.06464>) and Kimi's
//! (<https://arxiv.org/abs/2510.26692>), token by token as transformers' `torch_recurrent_gated_delta_rule` and
//! `recurrent_kimi_delta_attention` have them. One token after the other is the order in which the memory changes, so
//! a prompt gives the same numbers however it is cut.

use candle_core::{D, Device, Result, Tensor};
use candle_nn::ops::sigmoid;
use rayon::prelude::*;

use super::linear::Linear;
use super::norm::Norm;
use crate::cache::{LayerCache, State};
use crate::spec::{DeltaKind, DeltaSpec};

/// What keeps the length of a query or key from being zero.
const LENGTH_MIN: f32 = 1e-6;

/// Where softplus is what goes in, in float32.
const SOFTPLUS_LINEAR: f32 = 20.0;

/// One layer's weights.
#[derive(Debug)]
pub(crate) struct Delta {
    pub(crate) spec: DeltaSpec,
    /// Together to `[channels]`: query, key and value.
    pub(crate) mixed: Vec<Linear>,
    /// `[channels, kernel]`, the oldest token first.
    pub(crate) convolution: Vec<f32>,
    /// How much of an error is corrected, before the sigmoid: to `[value_heads]`.
    pub(crate) rate: Linear,
    /// One after the other to what is forgotten: `[value_heads]`, or `[value_heads · key_dim]`.
    pub(crate) decay: Vec<Linear>,
    pub(crate) decay_bias: Vec<f32>,
    /// Logarithm of how fast it is forgotten: `[value_heads]`.
    pub(crate) decay_log: Vec<f32>,
    /// One after the other to what the heads' answers are multiplied by: `[value_width]`.
    pub(crate) gate: Vec<Linear>,
    /// Over each head's answer.
    pub(crate) norm: Norm,
    pub(crate) output: Linear,
}

/// What one head reads of a run of tokens, all side by side.
struct Head<'a> {
    spec: &'a DeltaSpec,
    /// `[tokens, channels]`, convolved.
    mixed: &'a [f32],
    /// `[tokens, value_heads]`.
    rates: &'a [f32],
    /// `[tokens, value_heads]`, or `[tokens, value_heads · key_dim]`: what is left, from 0 to 1.
    left: &'a [f32],
    number: usize,
}

impl Delta {
    /// `[tokens, hidden]` to the same. Reads the state that the tokens before left, and leaves its own.
    pub(crate) fn forward(&self, x: &Tensor, cache: &mut LayerCache) -> Result<Tensor> {
        let DeltaSpec { value_heads, value_dim, key_dim, .. } = self.spec;
        let tokens = x.dim(0)?;
        let mixed = self.mixed.iter().map(|projection| projection.forward(x)).collect::<Result<Vec<_>>>()?;
        let mixed = numbers(&Tensor::cat(&mixed, D::Minus1)?)?;
        let rates = numbers(&sigmoid(&self.rate.forward(x)?)?)?;
        let left = self.left(&numbers(&chain(&self.decay, x)?)?);

        let mut state = cache.state().cloned().unwrap_or_else(|| State {
            tail: vec![0.0; (self.spec.kernel - 1) * self.spec.channels()],
            memory: vec![0.0; value_heads * key_dim * value_dim],
        });
        let mixed = self.convolve(mixed, &mut state.tail);
        let mut seen = vec![0.0; value_heads * tokens * value_dim];
        let heads = state.memory.par_chunks_mut(key_dim * value_dim).zip(seen.par_chunks_mut(tokens * value_dim));
        heads.enumerate().for_each(|(number, (memory, seen))| {
            Head { spec: &self.spec, mixed: &mixed, rates: &rates, left: &left, number }.read(memory, seen);
        });
        cache.keep(state);

        let seen = Tensor::from_vec(seen, (value_heads, tokens, value_dim), &Device::Cpu)?.transpose(0, 1)?;
        let seen = self.norm.forward(&seen)?.reshape((tokens, value_heads * value_dim))?;
        let gate = chain(&self.gate, x)?;
        let gate = match self.spec.kind {
            DeltaKind::Gated => gate.silu()?,
            DeltaKind::PerChannel { .. } => sigmoid(&gate)?,
        };
        self.output.forward(&(seen * gate)?)
    }

    /// The share of its memory that each head keeps: `exp(-exp(decay_log) · softplus(decay + decay_bias))`.
    fn left(&self, decay: &[f32]) -> Vec<f32> {
        let width = self.decay_bias.len();
        let of_head = width / self.decay_log.len().max(1);
        let speeds: Vec<f32> = self.decay_log.iter().map(|log| log.exp()).collect();
        let at = |(place, decay): (usize, &f32)| {
            let channel = place % width;
            (-speeds[channel / of_head] * softplus(decay + self.decay_bias[channel])).exp()
        };
        decay.iter().enumerate().map(at).collect()
    }

    /// Each channel's last tokens weighed together, then SiLU: `[tokens, channels]` to the same. The tail holds the
    /// tokens before, and afterwards the last of these.
    fn convolve(&self, mixed: Vec<f32>, tail: &mut Vec<f32>) -> Vec<f32> {
        let (kernel, channels) = (self.spec.kernel, self.spec.channels());
        let mut all = std::mem::take(tail);
        all.extend(mixed);
        let tokens = all.len() / channels + 1 - kernel;
        let mut convolved = vec![0.0; tokens * channels];
        for (token, row) in convolved.chunks_exact_mut(channels).enumerate() {
            for (step, past) in all[token * channels..].chunks_exact(channels).take(kernel).enumerate() {
                for (channel, (sum, past)) in row.iter_mut().zip(past).enumerate() {
                    *sum += past * self.convolution[channel * kernel + step];
                }
            }
            for sum in row {
                *sum /= 1.0 + (-*sum).exp();
            }
        }
        *tail = all.split_off(tokens * channels);
        convolved
    }
}

impl Head<'_> {
    /// Takes the tokens in turn: memory `[key_dim, value_dim]`, seen `[tokens, value_dim]`.
    fn read(&self, memory: &mut [f32], seen: &mut [f32]) {
        let DeltaSpec { key_heads, value_heads, key_dim, value_dim, .. } = *self.spec;
        let (channels, keys) = (self.spec.channels(), self.spec.key_width());
        let key_head = self.number / (value_heads / key_heads) * key_dim;
        let value_at = 2 * keys + self.number * value_dim;
        let left_dim = self.left.len() * value_dim / seen.len().max(1) / value_heads;
        for (token, seen) in seen.chunks_exact_mut(value_dim).enumerate() {
            let row = &self.mixed[token * channels..(token + 1) * channels];
            let query = unit(&row[key_head..key_head + key_dim], (key_dim as f32).powf(-0.5));
            let key = unit(&row[keys + key_head..keys + key_head + key_dim], 1.0);
            let value = &row[value_at..value_at + value_dim];
            let rate = self.rates[token * value_heads + self.number];
            let left = &self.left[(token * value_heads + self.number) * left_dim..][..left_dim];

            let mut known = vec![0.0; value_dim];
            for (place, (memory, key)) in memory.chunks_exact_mut(value_dim).zip(&key).enumerate() {
                let left = left[place % left_dim];
                for (memory, known) in memory.iter_mut().zip(&mut known) {
                    *memory *= left;
                    *known += *memory * key;
                }
            }
            let error: Vec<f32> = value.iter().zip(&known).map(|(value, known)| (value - known) * rate).collect();
            for (memory, (key, query)) in memory.chunks_exact_mut(value_dim).zip(key.iter().zip(&query)) {
                for ((memory, error), seen) in memory.iter_mut().zip(&error).zip(seen.iter_mut()) {
                    *memory += key * error;
                    *seen += *memory * query;
                }
            }
        }
    }
}

fn chain(projections: &[Linear], x: &Tensor) -> Result<Tensor> {
    projections.iter().try_fold(x.clone(), |x, projection| projection.forward(&x))
}

fn numbers(x: &Tensor) -> Result<Vec<f32>> {
    x.flatten_all()?.to_vec1()
}

/// `x` at length `scale`.
fn unit(x: &[f32], scale: f32) -> Vec<f32> {
    let length = (x.iter().map(|x| x * x).sum::<f32>() + LENGTH_MIN).sqrt();
    x.iter().map(|x| x / length * scale).collect()
}

fn softplus(x: f32) -> f32 {
    if x > SOFTPLUS_LINEAR { x } else { x.exp().ln_1p() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> DeltaSpec {
        let kind = DeltaKind::Gated;
        DeltaSpec { kind, key_heads: 1, value_heads: 1, key_dim: 2, value_dim: 1, kernel: 1, norm_eps: 0.0 }
    }

    #[test]
    fn a_memory_gives_what_it_was_taught_and_forgets_what_is_not_left() {
        // Query, key and value of two tokens; the second asks for the first one's key and teaches nothing.
        let mixed = [0.0, 3.0, 0.0, 3.0, 7.0, 0.0, 3.0, 3.0, 0.0, 9.0];
        let spec = spec();
        let mut memory = [0.0; 2];
        let mut seen = [0.0; 2];
        let head = Head { spec: &spec, mixed: &mixed, rates: &[1.0, 0.0], left: &[1.0, 0.5], number: 0 };
        head.read(&mut memory, &mut seen);
        let scale = 0.5_f32.sqrt();
        assert!((seen[0] - 7.0 * scale).abs() < 1e-4 && (seen[1] - 3.5 * scale).abs() < 1e-4, "{seen:?}");
    }
}
