//! A projection: `x Wᵀ + b`, and `x Aᵀ Bᵀ` where an adapter is kept apart.

use std::sync::Arc;

use candle_core::quantized::{QMatMul, QTensor};
use candle_core::{Device, Module, Result, Tensor};
use weighbridge_kernels::{Cpu, Rows};

use super::single;
use crate::adapter::LowRank;
use crate::cpu::Projection;

/// A projection with its weights in float32 or in the blocks of the file.
#[derive(Debug)]
pub(crate) struct Linear {
    matrix: Matrix,
    bias: Option<Tensor>,
    low_rank: Option<LowRank>,
}

#[derive(Debug)]
enum Matrix {
    /// `[out, in]` as stored: products take it transposed by its strides, so nothing is ever copied.
    Dense(Tensor),
    Packed(QMatMul),
    /// On the kernels; the bias is within.
    Cpu(Projection, Cpu),
}

impl Linear {
    /// Of a float32 matrix `[out, in]`.
    pub(crate) fn dense(matrix: Tensor, bias: Option<Tensor>) -> Self {
        Self { matrix: Matrix::Dense(matrix), bias, low_rank: None }
    }

    /// Of a packed matrix `[out, in]`. Its product rounds activations to eight bits.
    pub(crate) fn packed(matrix: Arc<QTensor>, bias: Option<Tensor>) -> Result<Self> {
        Ok(Self { matrix: Matrix::Packed(QMatMul::from_arc(matrix)?), bias, low_rank: None })
    }

    /// On the kernels.
    pub(crate) fn on_cpu(projection: Projection, cpu: Cpu) -> Self {
        Self { matrix: Matrix::Cpu(projection, cpu), bias: None, low_rank: None }
    }

    /// The projection on the kernels, where it is there and nothing is beside it.
    pub(crate) fn projection(&self) -> Option<&Projection> {
        match &self.matrix {
            Matrix::Cpu(projection, _) if self.low_rank.is_none() => Some(projection),
            _ => None,
        }
    }

    /// What it computes on, where that is the kernels.
    pub(crate) fn cpu(&self) -> Option<&Cpu> {
        match &self.matrix {
            Matrix::Cpu(_, cpu) => Some(cpu),
            _ => None,
        }
    }

    /// The same with an update beside it.
    pub(crate) fn adapted(self, low_rank: Option<LowRank>) -> Self {
        Self { low_rank, ..self }
    }

    /// `[tokens, in]` to `[tokens, out]`.
    pub(crate) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let y = match &self.matrix {
            Matrix::Dense(matrix) if x.dim(0)? == 1 => single::product(x, matrix)?,
            Matrix::Dense(matrix) => x.matmul(&matrix.t()?)?,
            Matrix::Packed(matrix) => matrix.forward(x)?,
            Matrix::Cpu(projection, cpu) => on_kernels(projection, cpu, x)?,
        };
        let y = match &self.low_rank {
            Some(low_rank) => (y + low_rank.forward(x)?)?,
            None => y,
        };
        match &self.bias {
            Some(bias) => y.broadcast_add(bias),
            None => Ok(y),
        }
    }
}

/// The product of a tensor's rows on the kernels.
fn on_kernels(projection: &Projection, cpu: &Cpu, x: &Tensor) -> Result<Tensor> {
    let (count, width) = x.dims2()?;
    let mut rows = Rows::new();
    rows.prepare(count, width).copy_from_slice(&x.flatten_all()?.to_vec1::<f32>()?);
    projection.round(cpu, &mut rows);
    let mut to = vec![0.0; count * projection.outputs()];
    cpu.product(&rows, &mut [projection.product(&mut to)]);
    Tensor::from_vec(to, (count, projection.outputs()), &Device::Cpu)
}
