//! Token ids to rows.

use std::sync::Arc;

use candle_core::quantized::QTensor;
use candle_core::{Device, Result, Tensor};
use weighbridge_kernels::PackedMatrix;

/// The embedding table `[vocabulary, hidden]`, in float32 or in the blocks of the file.
#[derive(Debug)]
pub(crate) enum Embedding {
    Dense(Tensor),
    Packed(Arc<QTensor>),
    /// As the kernels have it.
    Cpu(Arc<PackedMatrix>),
}

impl Embedding {
    /// The rows of `tokens`, all of which must be within the vocabulary: `[tokens, hidden]`.
    pub(crate) fn forward(&self, tokens: &[u32]) -> Result<Tensor> {
        let ids = Tensor::new(tokens, &Device::Cpu)?;
        match self {
            Self::Dense(table) => table.index_select(&ids, 0),
            Self::Packed(table) => table.embedding(&ids),
            Self::Cpu(table) => {
                let mut rows = vec![0.0; tokens.len() * table.inputs()];
                for (row, &token) in rows.chunks_exact_mut(table.inputs()).zip(tokens) {
                    table.row(token as usize, row);
                }
                Tensor::from_vec(rows, (tokens.len(), table.inputs()), &Device::Cpu)
            }
        }
    }
}
