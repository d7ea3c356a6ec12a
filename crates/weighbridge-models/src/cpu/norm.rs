//! Norms of rows: the twin of `blocks::norm`.

use candle_core::Tensor;
use weighbridge_kernels::{Cpu, vector};

use crate::blocks::norm as reference;

#[derive(Debug)]
pub(super) enum Norm {
    Rms { weight: Vec<f32>, eps: f32 },
    Layer { weight: Vec<f32>, bias: Vec<f32>, eps: f32 },
}

impl Norm {
    pub(super) fn of(norm: &reference::Norm) -> Option<Self> {
        Some(match norm {
            reference::Norm::Rms { weight, eps } => Self::Rms { weight: numbers(weight)?, eps: *eps },
            reference::Norm::Layer { weight, bias, eps } => {
                Self::Layer { weight: numbers(weight)?, bias: numbers(bias)?, eps: *eps }
            }
        })
    }

    /// One row to another.
    pub(super) fn row(&self, cpu: &Cpu, x: &[f32], to: &mut [f32]) {
        match self {
            Self::Rms { weight, eps } => vector::rms_norm(cpu, x, Some(weight), *eps, to),
            Self::Layer { weight, bias, eps } => vector::layer_norm(cpu, x, Some(weight), Some(bias), *eps, to),
        }
    }

    /// Each part of a row, as long as the weight is, in place.
    pub(super) fn parts(&self, cpu: &Cpu, row: &mut [f32]) {
        match self {
            Self::Rms { weight, eps } => {
                for part in row.chunks_exact_mut(weight.len()) {
                    vector::rms_norm_in_place(cpu, part, Some(weight), *eps);
                }
            }
            Self::Layer { weight, bias, eps } => {
                for part in row.chunks_exact_mut(weight.len()) {
                    vector::layer_norm_in_place(cpu, part, weight, bias, *eps);
                }
            }
        }
    }
}

/// All numbers of a tensor.
pub(super) fn numbers(tensor: &Tensor) -> Option<Vec<f32>> {
    tensor.flatten_all().and_then(|tensor| tensor.to_vec1()).ok()
}
