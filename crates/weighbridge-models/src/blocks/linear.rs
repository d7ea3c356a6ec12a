//! A projection: `x Wᵀ + b`, and `x Aᵀ Bᵀ` where an adapter is kept apart.

use std::sync::Arc;

use candle_core::quantized::{QMatMul, QTensor};
use candle_core::{Module, Result, Tensor};

use super::single;
use crate::adapter::LowRank;

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
