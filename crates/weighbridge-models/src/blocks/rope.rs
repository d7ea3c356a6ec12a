//! Rotary position embedding (<https://arxiv.org/abs/2104.09864>) and its stretchings.

use std::f64::consts::PI;
use std::ops::Range;

use candle_core::{D, Device, Result, Tensor};
use candle_nn::rotary_emb;

use crate::spec::{RopeScaling, RopeSpec, RopeStyle};

/// One rotary embedding; layers with the same spec share it.
#[derive(Debug)]
pub(crate) struct Rope {
    spec: RopeSpec,
    /// Radians for each position, one for every two dimensions, of sequences within the original context.
    frequencies: Vec<f32>,
}

/// The turns of a run of positions: `[positions, width / 2]` each.
#[derive(Debug)]
pub(crate) struct Turns {
    cos: Tensor,
    sin: Tensor,
    width: usize,
    style: RopeStyle,
}

impl Rope {
    pub(crate) fn new(spec: RopeSpec) -> Self {
        let frequencies = frequencies(&spec, 0.0);
        Self { spec, frequencies }
    }

    pub(crate) fn is(&self, spec: &RopeSpec) -> bool {
        self.spec == *spec
    }

    /// The same with each frequency multiplied by `e` to one of `powers`. Not for those that grow with the sequence.
    pub(crate) fn learned(mut self, powers: &[f32]) -> Self {
        for (frequency, power) in self.frequencies.iter_mut().zip(powers) {
            *frequency *= power.exp();
        }
        self
    }

    /// Dimensions of a head that turn.
    pub(crate) fn width(&self) -> usize {
        self.spec.width
    }

    pub(crate) fn style(&self) -> RopeStyle {
        self.spec.style
    }

    /// The turns of `positions` in a sequence of `length` tokens. The length matters to `Dynamic` and `Long` alone.
    pub(crate) fn turns(&self, positions: Range<usize>, length: usize) -> Result<Turns> {
        self.turns_at(&positions.collect::<Vec<_>>(), length)
    }

    /// The same of positions that need not follow each other.
    pub(crate) fn turns_at(&self, positions: &[usize], length: usize) -> Result<Turns> {
        let shape = (positions.len(), self.spec.width / 2);
        let mut cos = Vec::with_capacity(shape.0 * shape.1);
        let mut sin = Vec::with_capacity(shape.0 * shape.1);
        self.angles(positions.iter().copied(), length, &mut cos, &mut sin);
        let cos = Tensor::from_vec(cos, shape, &Device::Cpu)?;
        let sin = Tensor::from_vec(sin, shape, &Device::Cpu)?;
        Ok(Turns { cos, sin, width: self.spec.width, style: self.spec.style })
    }

    /// Appends the cosines and sines of `positions`, `width / 2` each.
    pub(crate) fn angles(
        &self,
        positions: impl Iterator<Item = usize>,
        length: usize,
        cos: &mut Vec<f32>,
        sin: &mut Vec<f32>,
    ) {
        let length = length as f64;
        let grown;
        let frequencies = match self.spec.scaling {
            RopeScaling::Dynamic { original_context, .. } | RopeScaling::Long { original_context, .. }
                if length > original_context =>
            {
                grown = frequencies(&self.spec, length);
                &grown
            }
            _ => &self.frequencies,
        };
        let magnitude = magnitude(&self.spec.scaling, length) as f32;
        for position in positions {
            for frequency in frequencies {
                // Rounded to float32 as the models were trained, and only then turned.
                let (s, c) = (position as f32 * frequency).sin_cos();
                cos.push(c * magnitude);
                sin.push(s * magnitude);
            }
        }
    }
}

impl Turns {
    /// `[1, heads, positions, head_dim]`, contiguous, to the same.
    pub(crate) fn apply(&self, x: &Tensor) -> Result<Tensor> {
        let head_dim = x.dim(D::Minus1)?;
        if self.width == head_dim {
            return self.turn(x);
        }
        let turned = self.turn(&x.narrow(D::Minus1, 0, self.width)?.contiguous()?)?;
        let kept = x.narrow(D::Minus1, self.width, head_dim - self.width)?;
        Tensor::cat(&[turned, kept], D::Minus1)?.contiguous()
    }

    /// The same on the last dimensions of a head, not the first.
    pub(crate) fn apply_last(&self, x: &Tensor) -> Result<Tensor> {
        let kept = x.dim(D::Minus1)? - self.width;
        if kept == 0 {
            return self.turn(&x.contiguous()?);
        }
        let turned = self.turn(&x.narrow(D::Minus1, kept, self.width)?.contiguous()?)?;
        Tensor::cat(&[x.narrow(D::Minus1, 0, kept)?, turned], D::Minus1)?.contiguous()
    }

    /// The turns back.
    pub(crate) fn reversed(&self) -> Result<Self> {
        Ok(Self { cos: self.cos.clone(), sin: self.sin.neg()?, width: self.width, style: self.style })
    }

    /// The same in another style.
    pub(crate) fn apply_as(&self, style: RopeStyle, x: &Tensor) -> Result<Tensor> {
        Self { cos: self.cos.clone(), sin: self.sin.clone(), width: self.width, style }.apply(x)
    }

    fn turn(&self, x: &Tensor) -> Result<Tensor> {
        match self.style {
            RopeStyle::Neox => rotary_emb::rope(x, &self.cos, &self.sin),
            RopeStyle::Interleaved => rotary_emb::rope_i(x, &self.cos, &self.sin),
        }
    }
}

/// What query and key grow by in a sequence of `length` tokens.
fn magnitude(scaling: &RopeScaling, length: f64) -> f64 {
    match *scaling {
        RopeScaling::Yarn { magnitude, .. } => magnitude,
        RopeScaling::Long { original_context, long_magnitude, .. } if length > original_context => long_magnitude,
        RopeScaling::Long { short_magnitude, .. } => short_magnitude,
        _ => 1.0,
    }
}

/// The frequencies of a sequence of `length` tokens.
fn frequencies(spec: &RopeSpec, length: f64) -> Vec<f32> {
    let width = spec.width as f64;
    let theta = match spec.scaling {
        RopeScaling::Dynamic { factor, original_context } if length > original_context => {
            let stretch = factor * length / original_context - (factor - 1.0);
            spec.theta * stretch.powf(width / (width - 2.0))
        }
        _ => spec.theta,
    };
    let plain = (0..spec.width / 2).map(|pair| theta.powf(-2.0 * pair as f64 / width));
    match &spec.scaling {
        RopeScaling::None | RopeScaling::Dynamic { .. } => plain.map(|frequency| frequency as f32).collect(),
        RopeScaling::Proportional { factor, pairs } => plain
            .enumerate()
            .map(|(pair, frequency)| if pair < *pairs { (frequency / factor) as f32 } else { 0.0 })
            .collect(),
        RopeScaling::Linear { factor } => plain.map(|frequency| (frequency / factor) as f32).collect(),
        RopeScaling::Llama3 { factor, low, high, original_context } => {
            plain.map(|frequency| llama3(frequency, *factor, *low, *high, *original_context) as f32).collect()
        }
        RopeScaling::Yarn { factor, original_context, beta_fast, beta_slow, truncate, .. } => {
            let ramp = yarn_ramp(spec.theta, width, *original_context, *beta_fast, *beta_slow, *truncate);
            let kept = |pair: usize| 1.0 - ((pair as f64 - ramp.start) / (ramp.end - ramp.start)).clamp(0.0, 1.0);
            let stretched = |frequency: f64, kept: f64| frequency / factor * (1.0 - kept) + frequency * kept;
            plain.enumerate().map(|(pair, frequency)| stretched(frequency, kept(pair)) as f32).collect()
        }
        RopeScaling::Long { short, long, original_context, .. } => {
            divided(plain, if length > *original_context { long } else { short })
        }
        RopeScaling::Factors(factors) => divided(plain, factors),
    }
}

/// What stretching divides each frequency by, within the original context.
pub(crate) fn divisors(spec: &RopeSpec) -> Vec<f32> {
    let plain = frequencies(&RopeSpec { scaling: RopeScaling::None, ..spec.clone() }, 0.0);
    plain.iter().zip(frequencies(spec, 0.0)).map(|(plain, stretched)| plain / stretched).collect()
}

fn divided(frequencies: impl Iterator<Item = f64>, factors: &[f32]) -> Vec<f32> {
    frequencies.zip(factors).map(|(frequency, &factor)| (frequency / f64::from(factor)) as f32).collect()
}

/// The pairs of dimensions between which YaRN goes from kept to stretched: `_compute_yarn_parameters` of transformers.
fn yarn_ramp(theta: f64, width: f64, context: f64, beta_fast: f64, beta_slow: f64, truncate: bool) -> Range<f64> {
    let pair = |turns: f64| width * (context / (turns * 2.0 * PI)).ln() / (2.0 * theta.ln());
    let (low, high) = (pair(beta_fast), pair(beta_slow));
    let (low, high) = if truncate { (low.floor(), high.ceil()) } else { (low, high) };
    let (low, high) = (low.max(0.0), high.min(width - 1.0));
    low..if low == high { high + 0.001 } else { high }
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
        let spec = RopeSpec { width: 8, theta: 10_000.0, style: RopeStyle::Neox, scaling };
        for (found, wanted) in frequencies(&spec, length).into_iter().zip(expected) {
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

    #[test]
    fn long_factors_hold_past_the_original_context() {
        let scaling = RopeScaling::Long {
            short: vec![1.0; 4],
            long: vec![2.0, 4.0, 5.0, 10.0],
            original_context: 40.0,
            short_magnitude: 1.1,
            long_magnitude: 1.3,
        };
        check(scaling.clone(), 40.0, [1.0, 0.1, 0.01, 0.001]);
        check(scaling.clone(), 41.0, [0.5, 0.025, 0.002, 0.0001]);
        assert_eq!((magnitude(&scaling, 40.0), magnitude(&scaling, 41.0)), (1.1, 1.3));
    }

    #[test]
    fn half_a_head_turns_and_the_other_half_stays() -> Result<()> {
        let spec = RopeSpec { width: 2, theta: 10_000.0, style: RopeStyle::Neox, scaling: RopeScaling::None };
        let x = Tensor::new(&[[[[1.0_f32, 0.0, 5.0, 6.0]]]], &Device::Cpu)?;
        let turned: Vec<f32> = Rope::new(spec).turns(1..2, 2)?.apply(&x)?.flatten_all()?.to_vec1()?;
        assert_eq!(turned, [1_f32.cos(), 1_f32.sin(), 5.0, 6.0]);
        Ok(())
    }
}
