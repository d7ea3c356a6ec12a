//! Rotary position embedding (<https://arxiv.org/abs/2104.09864>) and its stretchings.

use std::f64::consts::PI;
use std::ops::Range;

use candle_core::{Device, Result, Tensor};
use candle_nn::rotary_emb;

use crate::spec::{RopeScaling, RopeSpec, RopeStyle};

/// One rotary embedding; layers with the same spec and width share it.
#[derive(Debug)]
pub(crate) struct Rope {
    spec: RopeSpec,
    head_dim: usize,
    /// Radians for each position, one for every two dimensions; of a dynamic base those up to the trained context.
    frequencies: Vec<f32>,
}

/// The turns of a run of positions: `[positions, head_dim / 2]` each.
#[derive(Debug)]
pub(crate) struct Turns {
    cos: Tensor,
    sin: Tensor,
    style: RopeStyle,
}

impl Rope {
    pub(crate) fn new(spec: RopeSpec, head_dim: usize) -> Self {
        let frequencies = frequencies(&spec, head_dim, 0.0);
        Self { spec, head_dim, frequencies }
    }

    pub(crate) fn is(&self, spec: &RopeSpec, head_dim: usize) -> bool {
        self.spec == *spec && self.head_dim == head_dim
    }

    /// The turns of `positions` in a sequence of `length` tokens. The length matters to a dynamic base alone.
    pub(crate) fn turns(&self, positions: Range<usize>, length: usize) -> Result<Turns> {
        let grown;
        let frequencies = match self.spec.scaling {
            RopeScaling::Dynamic { original_context, .. } if length as f64 > original_context => {
                grown = frequencies(&self.spec, self.head_dim, length as f64);
                &grown
            }
            _ => &self.frequencies,
        };
        let shape = (positions.len(), self.head_dim / 2);
        let mut cos = Vec::with_capacity(shape.0 * shape.1);
        let mut sin = Vec::with_capacity(shape.0 * shape.1);
        for position in positions {
            for frequency in frequencies {
                // Rounded to float32 as the models were trained, and only then turned.
                let (s, c) = (position as f32 * frequency).sin_cos();
                cos.push(c);
                sin.push(s);
            }
        }
        let cos = Tensor::from_vec(cos, shape, &Device::Cpu)?;
        let sin = Tensor::from_vec(sin, shape, &Device::Cpu)?;
        Ok(Turns { cos, sin, style: self.spec.style })
    }
}

impl Turns {
    /// `[1, heads, positions, head_dim]`, contiguous, to the same.
    pub(crate) fn apply(&self, x: &Tensor) -> Result<Tensor> {
        match self.style {
            RopeStyle::Neox => rotary_emb::rope(x, &self.cos, &self.sin),
            RopeStyle::Interleaved => rotary_emb::rope_i(x, &self.cos, &self.sin),
        }
    }
}

/// The frequencies of a sequence of `length` tokens.
fn frequencies(spec: &RopeSpec, head_dim: usize, length: f64) -> Vec<f32> {
    let width = head_dim as f64;
    let theta = match spec.scaling {
        RopeScaling::Dynamic { factor, original_context } if length > original_context => {
            let stretch = factor * length / original_context - (factor - 1.0);
            spec.theta * stretch.powf(width / (width - 2.0))
        }
        _ => spec.theta,
    };
    let plain = (0..head_dim / 2).map(|pair| theta.powf(-2.0 * pair as f64 / width));
    match &spec.scaling {
        RopeScaling::None | RopeScaling::Dynamic { .. } => plain.map(|frequency| frequency as f32).collect(),
        RopeScaling::Linear { factor } => plain.map(|frequency| (frequency / factor) as f32).collect(),
        RopeScaling::Llama3 { factor, low, high, original_context } => {
            plain.map(|frequency| llama3(frequency, *factor, *low, *high, *original_context) as f32).collect()
        }
        RopeScaling::Factors(factors) => {
            plain.zip(factors).map(|(frequency, &factor)| (frequency / f64::from(factor)) as f32).collect()
        }
    }
}

/// How Llama 3.1 stretches one frequency: `_compute_llama3_parameters` of transformers.
fn llama3(frequency: f64, factor: f64, low: f64, high: f64, original_context: f64) -> f64 {
    let wave = 2.0 * PI / frequency;
    if wave > original_context / low {
        frequency / factor
    } else if wave < original_context / high {
        frequency
    } else {
        let kept = (original_context / wave - low) / (high - low);
        (1.0 - kept) * frequency / factor + kept * frequency
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(scaling: RopeScaling, length: f64, expected: [f32; 4]) {
        let spec = RopeSpec { theta: 10_000.0, style: RopeStyle::Neox, scaling };
        for (found, wanted) in frequencies(&spec, 8, length).into_iter().zip(expected) {
            assert!((found - wanted).abs() <= wanted * 1e-6, "{found} where {wanted} is expected");
        }
    }

    #[test]
    fn plain_frequencies_fall_by_the_root_of_the_base() {
        check(RopeScaling::None, 0.0, [1.0, 0.1, 0.01, 0.001]);
    }

    #[test]
    fn linear_scaling_divides_every_frequency() {
        check(RopeScaling::Linear { factor: 4.0 }, 0.0, [0.25, 0.025, 0.0025, 0.00025]);
    }

    #[test]
    fn llama3_keeps_short_waves_and_stretches_long_ones() {
        // Waves of 6.3, 63, 628 and 6283 positions; kept below 64 / 4, stretched above 64.
        let scaling = RopeScaling::Llama3 { factor: 8.0, low: 1.0, high: 4.0, original_context: 64.0 };
        let kept = (64.0 / (2.0 * std::f32::consts::PI / 0.1) - 1.0) / 3.0;
        check(scaling, 0.0, [1.0, (1.0 - kept) * 0.1 / 8.0 + kept * 0.1, 0.01 / 8.0, 0.001 / 8.0]);
    }

    #[test]
    fn a_dynamic_base_grows_only_past_the_context() {
        let scaling = RopeScaling::Dynamic { factor: 2.0, original_context: 48.0 };
        check(scaling.clone(), 48.0, [1.0, 0.1, 0.01, 0.001]);
        // At twice the context the base is 10,000 · 3^(8/6).
        let base = 10_000_f64 * 3_f64.powf(8.0 / 6.0);
        let at = |pair: f64| base.powf(-pair / 4.0) as f32;
        check(scaling, 96.0, [1.0, at(1.0), at(2.0), at(3.0)]);
    }
}
