//! A short row for each token and layer (transformers' `modeling_gemma3n.py` and `modeling_gemma4.py`,
//! `project_per_layer_inputs`).

use candle_core::{Device, Result, Tensor};

use super::feed_forward::plain;
use super::linear::Linear;
use super::norm::Norm;
use crate::spec::{Activation, PerLayerSpec};

/// Where the rows come from.
#[derive(Debug)]
pub(crate) struct Rows {
    pub(crate) spec: PerLayerSpec,
    /// `[vocabulary, layers · width]`.
    pub(crate) table: Tensor,
    /// To `[layers · width]`.
    pub(crate) projection: Linear,
    /// Over one row.
    pub(crate) norm: Norm,
}

/// What a layer does with its rows.
#[derive(Debug)]
pub(crate) struct RowGate {
    pub(crate) activation: Activation,
    /// To the width of a row.
    pub(crate) gate: Linear,
    /// Back from there.
    pub(crate) projection: Linear,
    pub(crate) norm: Norm,
}

impl Rows {
    /// The rows of `tokens`, given their embeddings `[tokens, hidden]`: `[tokens, layers, width]`.
    pub(crate) fn forward(&self, tokens: &[u32], embedded: &Tensor) -> Result<Tensor> {
        let PerLayerSpec { width, vocabulary, .. } = self.spec;
        let known = |&token: &u32| if (token as usize) < vocabulary { token } else { 0 };
        let known: Vec<u32> = tokens.iter().map(known).collect();
        let of_tokens = self.table.index_select(&Tensor::new(known, &Device::Cpu)?, 0)?;
        let shape = (tokens.len(), self.table.dim(1)? / width, width);
        let of_tokens = (of_tokens * (width as f64).sqrt())?.reshape(shape)?;
        let scale = (embedded.dim(1)? as f64).powf(-0.5);
        let projected = self.norm.forward(&(self.projection.forward(embedded)? * scale)?.reshape(shape)?)?;
        (projected + of_tokens)? * 0.5_f64.sqrt()
    }
}

impl RowGate {
    /// What is added to a stream `[tokens, hidden]`, given the rows `[tokens, width]`.
    pub(crate) fn forward(&self, x: &Tensor, rows: &Tensor) -> Result<Tensor> {
        let gated = (plain(self.activation, &self.gate.forward(x)?)? * rows)?;
        self.norm.forward(&self.projection.forward(&gated)?)
    }
}
