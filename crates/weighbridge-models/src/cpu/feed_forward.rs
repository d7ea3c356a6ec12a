//! The feed-forward part: the twin of `blocks::feed_forward`.

use std::ops::Range;

use weighbridge_kernels::{Cpu, Part, Rows as Activations, vector};

use super::projection::Projection;
use super::{Cost, Scratch};
use crate::blocks::feed_forward as reference;
use crate::spec::Activation;

#[derive(Debug)]
pub(super) struct Mlp {
    activation: Activation,
    gate: Option<Projection>,
    up: Projection,
    down: Projection,
}

impl Mlp {
    pub(super) fn of(mlp: &reference::Mlp) -> Option<Self> {
        if matches!(mlp.activation, Activation::GeluTanhAbove { .. } | Activation::ClampedSilu { .. }) {
            return None;
        }
        Some(Self {
            activation: mlp.activation,
            gate: match &mlp.gate {
                Some(gate) => Some(Projection::of(gate)?),
                None => None,
            },
            up: Projection::of(&mlp.up)?,
            down: Projection::of(&mlp.down)?,
        })
    }

    pub(super) fn cost(&self) -> Cost {
        Cost::of_all(self.gate.iter().chain([&self.up, &self.down]))
    }

    /// The matrices that meet what goes in.
    pub(super) fn first(&self) -> impl Iterator<Item = &Projection> {
        self.gate.iter().chain([&self.up])
    }

    /// The last matrix.
    pub(super) fn down(&self) -> &Projection {
        &self.down
    }

    /// Numbers of what meets the last matrix.
    pub(super) fn width(&self) -> usize {
        self.up.outputs()
    }

    /// Whether it has a gate.
    pub(super) fn is_gated(&self) -> bool {
        self.gate.is_some()
    }

    /// From `normed`, rounded for the first matrices, to `inner`, rounded for the last.
    pub(super) fn inner(&self, cpu: &Cpu, scratch: &mut Scratch) {
        let Scratch { normed, inner, gate, up, .. } = scratch;
        let (count, width) = (normed.count(), self.width());
        gate.resize(if self.is_gated() { count * width } else { 0 }, 0.0);
        up.resize(count * width, 0.0);
        cpu.products(self.parts(normed, 0..count, gate, up));
        let (gate, up) = (&*gate, &*up);
        self.down.fill(cpu, inner, count, |row, to| self.activate(cpu, row, gate, up, to));
    }

    /// The first products of some rows: `gate`, empty where there is none, and `up` are `[range, width]`.
    pub(super) fn parts<'a>(
        &'a self,
        rows: &'a Activations,
        range: Range<usize>,
        gate: &'a mut [f32],
        up: &'a mut [f32],
    ) -> impl Iterator<Item = Part<'a>> {
        let gated = self.gate.as_ref().map(|projection| projection.product(gate));
        let products = gated.into_iter().chain([self.up.product(up)]);
        products.map(move |product| Part { rows, range: range.clone(), product })
    }

    /// What a row's first products become before the last one. `gate`, where there is one, and `up` are
    /// `[rows, width]`.
    pub(super) fn activate(&self, cpu: &Cpu, row: usize, gate: &[f32], up: &[f32], to: &mut [f32]) {
        let part = row * self.width()..(row + 1) * self.width();
        match self.gate {
            Some(_) => gated(cpu, self.activation, &gate[part.clone()], &up[part], to),
            None => plain(cpu, self.activation, &up[part], to),
        }
    }
}

fn gated(cpu: &Cpu, activation: Activation, gate: &[f32], up: &[f32], to: &mut [f32]) {
    match activation {
        Activation::Silu => vector::silu_times(cpu, gate, up, to),
        Activation::GeluTanh => vector::gelu_tanh_times(cpu, gate, up, to),
        Activation::ClampedSwish { alpha, limit } => {
            for (to, gate) in to.iter_mut().zip(gate) {
                *to = gate.min(limit) * alpha;
            }
            vector::sigmoid(cpu, to);
            for ((to, gate), up) in to.iter_mut().zip(gate).zip(up) {
                *to *= gate.min(limit) * (up.clamp(-limit, limit) + 1.0);
            }
        }
        _ => {
            plain(cpu, activation, gate, to);
            to.iter_mut().zip(up).for_each(|(to, up)| *to *= up);
        }
    }
}

fn plain(cpu: &Cpu, activation: Activation, x: &[f32], to: &mut [f32]) {
    match activation {
        Activation::Relu => to.iter_mut().zip(x).for_each(|(to, x)| *to = x.max(0.0)),
        Activation::ReluSquared => to.iter_mut().zip(x).for_each(|(to, x)| *to = x.max(0.0) * x.max(0.0)),
        Activation::Gelu => to.iter_mut().zip(x).for_each(|(to, x)| *to = gelu(*x)),
        Activation::ClampedSwish { alpha, .. } => swish(cpu, alpha, x, to),
        Activation::GeluQuick => swish(cpu, reference::QUICK as f32, x, to),
        Activation::Silu => swish(cpu, 1.0, x, to),
        // The last two are refused when the layer is made.
        Activation::GeluTanh | Activation::GeluTanhAbove { .. } | Activation::ClampedSilu { .. } => {
            vector::gelu_tanh(cpu, x, to);
        }
    }
}

/// `x · sigmoid(steepness · x)`.
fn swish(cpu: &Cpu, steepness: f32, x: &[f32], to: &mut [f32]) {
    to.iter_mut().zip(x).for_each(|(to, x)| *to = x * steepness);
    vector::sigmoid(cpu, to);
    to.iter_mut().zip(x).for_each(|(to, x)| *to *= x);
}

/// `x · Φ(x)`.
fn gelu(x: f32) -> f32 {
    let x = f64::from(x);
    (0.5 * x * (1.0 + candle_core::cpu::erf::erf_f64(x * std::f64::consts::FRAC_1_SQRT_2))) as f32
}
