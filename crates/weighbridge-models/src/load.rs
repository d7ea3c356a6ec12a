//! From stored tensors to a decoder.

use std::sync::Arc;

use candle_core::quantized::QTensor;
use candle_core::{Result as Computed, Tensor};

use crate::blocks::attention::Attention;
use crate::blocks::embedding::Embedding;
use crate::blocks::feed_forward::FeedForward;
use crate::blocks::linear::Linear;
use crate::blocks::norm::RmsNorm;
use crate::blocks::rope::Rope;
use crate::compute::Compute;
use crate::decoder::{Decoder, Layer};
use crate::parts::Part;
use crate::spec::{DecoderSpec, Span};
use crate::weights::{WeightError, Weights};

/// How far loading has come, in bytes of the stored weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoadProgress {
    /// Read so far.
    pub done_bytes: u64,
    /// To be read in all.
    pub total_bytes: u64,
}

/// Reads all weights of a decoder, reporting after each.
pub(crate) fn load(
    spec: &DecoderSpec,
    weights: &Weights,
    compute: Compute,
    report: &mut dyn FnMut(LoadProgress),
) -> Result<Decoder, WeightError> {
    let total_bytes = weights.check(spec)?.iter().map(|(_, stored)| stored.range.len() as u64).sum();
    let progress = LoadProgress { done_bytes: 0, total_bytes };
    report(progress);
    Loader { spec, weights, compute, report, progress }.decoder()
}

struct Loader<'a> {
    spec: &'a DecoderSpec,
    weights: &'a Weights,
    compute: Compute,
    report: &'a mut dyn FnMut(LoadProgress),
    progress: LoadProgress,
}

/// A matrix as it will be computed.
enum Matrix {
    Dense(Tensor),
    Packed(Arc<QTensor>),
}

impl Loader<'_> {
    fn decoder(mut self) -> Result<Decoder, WeightError> {
        let table = self.matrix(Part::Embedding)?;
        let mut ropes = Vec::new();
        let mut spans = Vec::new();
        let layers = (0..self.spec.layers.len())
            .map(|index| self.layer(index, &mut ropes, &mut spans))
            .collect::<Result<_, _>>()?;
        let final_norm = self.norm(Part::FinalNorm)?;
        let head = if self.spec.tied_head {
            table.linear(None).map_err(|source| self.failed(Part::Embedding, source))?
        } else {
            self.linear(Part::Head, None)?
        };
        let embedding = match table {
            Matrix::Dense(table) => Embedding::Dense(table),
            Matrix::Packed(table) => Embedding::Packed(table),
        };
        Ok(Decoder { spec: self.spec.clone(), embedding, layers, final_norm, head, ropes, spans })
    }

    fn layer(&mut self, index: usize, ropes: &mut Vec<Rope>, spans: &mut Vec<Span>) -> Result<Layer, WeightError> {
        let spec = &self.spec.layers[index];
        let attention = &spec.attention;
        let qkv = |part| attention.qkv_bias.then_some(part);
        let output_bias = attention.output_bias.then_some(Part::OutputBias(index));
        let inner = |part| spec.feed_forward.bias.then_some(part);
        Ok(Layer {
            attention_norm: self.norm(Part::AttentionNorm(index))?,
            attention: Attention {
                spec: attention.clone(),
                query: self.linear(Part::Query(index), qkv(Part::QueryBias(index)))?,
                key: self.linear(Part::Key(index), qkv(Part::KeyBias(index)))?,
                value: self.linear(Part::Value(index), qkv(Part::ValueBias(index)))?,
                output: self.linear(Part::Output(index), output_bias)?,
            },
            feed_forward_norm: self.norm(Part::FeedForwardNorm(index))?,
            feed_forward: FeedForward {
                gate: self.linear(Part::Gate(index), inner(Part::GateBias(index)))?,
                up: self.linear(Part::Up(index), inner(Part::UpBias(index)))?,
                down: self.linear(Part::Down(index), inner(Part::DownBias(index)))?,
            },
            rope: place(
                ropes,
                |rope: &Rope| rope.is(&attention.rope, attention.head_dim),
                || Rope::new(attention.rope.clone(), attention.head_dim),
            ),
            span: place(spans, |span| *span == attention.span, || attention.span),
        })
    }

    fn norm(&mut self, part: Part) -> Result<RmsNorm, WeightError> {
        Ok(RmsNorm::new(self.dense(part)?, self.spec.norm_eps))
    }

    fn linear(&mut self, part: Part, bias: Option<Part>) -> Result<Linear, WeightError> {
        let matrix = self.matrix(part)?;
        let bias = bias.map(|bias| self.dense(bias)).transpose()?;
        matrix.linear(bias).map_err(|source| self.failed(part, source))
    }

    fn matrix(&mut self, part: Part) -> Result<Matrix, WeightError> {
        if self.compute == Compute::Quantized
            && let Some((packed, bytes)) = self.weights.packed(part, self.spec)?
        {
            self.advance(bytes);
            return Ok(Matrix::Packed(Arc::new(packed)));
        }
        self.dense(part).map(Matrix::Dense)
    }

    fn dense(&mut self, part: Part) -> Result<Tensor, WeightError> {
        let (tensor, bytes) = self.weights.dense(part, self.spec)?;
        self.advance(bytes);
        Ok(tensor)
    }

    fn advance(&mut self, bytes: u64) {
        self.progress.done_bytes += bytes;
        (self.report)(self.progress);
    }

    fn failed(&self, part: Part, source: candle_core::Error) -> WeightError {
        WeightError::Tensor { name: self.weights.names.of(part), source }
    }
}

impl Matrix {
    fn linear(&self, bias: Option<Tensor>) -> Computed<Linear> {
        match self {
            Self::Dense(matrix) => Ok(Linear::dense(matrix.clone(), bias)),
            Self::Packed(matrix) => Linear::packed(Arc::clone(matrix), bias),
        }
    }
}

/// Where the thing is in a list that holds each once, put at its end where it is not.
fn place<T>(list: &mut Vec<T>, is: impl Fn(&T) -> bool, make: impl FnOnce() -> T) -> usize {
    list.iter().position(is).unwrap_or_else(|| {
        list.push(make());
        list.len() - 1
    })
}
