//! The feed-forward part: the twin of `blocks::feed_forward`.

use weighbridge_kernels::{Cpu, Rows as Activations, vector};

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

    /// The last matrix.
    pub(super) fn down(&self) -> &Projection {
        &self.down
    }

    /// From `normed` to `inner`, which then meets the last matrix.
    pub(super) fn inner(&self, cpu: &Cpu, scratch: &mut Scratch) {
        let Scratch { normed, inner, gate, up, .. } = scratch;
        self.between(cpu, normed, gate, up, inner);
    }

    /// From `rows` to `inner`, with memory for what the first matrices give.
    pub(super) fn between(
        &self,
        cpu: &Cpu,
        rows: &mut Activations,
        gate: &mut Vec<f32>,
        up: &mut Vec<f32>,
        inner: &mut Activations,
    ) {
        let (count, width) = (rows.count(), self.up.outputs());
        up.resize(count * width, 0.0);
        match &self.gate {
            Some(projection) => {
                gate.resize(count * width, 0.0);
                Projection::round_for(cpu, rows, &[projection, &self.up]);
                cpu.product(rows, &mut [projection.product(gate), self.up.product(up)]);
            }
            None => {
                self.up.round(cpu, rows);
                cpu.product(rows, &mut [self.up.product(up)]);
            }
        }
        let (gate, up) = (&*gate, &*up);
        cpu.each_row(inner.prepare(count, width), width, |row, to| {
            let part = row * width..(row + 1) * width;
            match self.gate {
                Some(_) => gated(cpu, self.activation, &gate[part.clone()], &up[part], to),
                None => plain(cpu, self.activation, &up[part], to),
            }
        });
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
            let ones = vec![1.0; x.len()];
            vector::gelu_tanh_times(cpu, x, &ones, to);
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
