//! From stored tensors to a decoder.

mod compressed;
mod delta;
mod experts;
mod extras;
mod indexer;
mod mixer;

use std::ops::ControlFlow;
use std::sync::Arc;

use candle_core::quantized::QTensor;
use candle_core::{Result as Computed, Tensor};
use weighbridge_kernels::{Cpu, Layout, PackedMatrix, Rounding};

use crate::adapter::LowRank;
use crate::blocks::embedding::Embedding;
use crate::blocks::feed_forward::{FeedForward, Mlp};
use crate::blocks::linear::Linear;
use crate::blocks::norm::Norm;
use crate::blocks::rope::Rope;
use crate::compute::{Compute, Precision};
use crate::cpu::{self, CpuDecoder, Projection};
use crate::decoder::{Decoder, Layer};
use crate::element::ElementType;
use crate::parts::{Kind, LayerPart, Part, own};
use crate::spec::{self, DecoderSpec, FeedForwardSpec, MlpSpec, Placement, Span};
use crate::treatment::Treatment;
use crate::weights::{Stored, WeightError, Weights};

/// How far loading has come, in bytes of the stored weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoadProgress {
    /// Read so far.
    pub done_bytes: u64,
    /// To be read in all.
    pub total_bytes: u64,
}

/// Calls `work` with candle's operations within it on one thread: for a load beside answers of others, which quantises or
/// expands weights. Packing for the kernels finds out by itself whether it is beside something.
pub fn on_one_thread<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    match rayon::ThreadPoolBuilder::new().num_threads(1).build() {
        Ok(pool) => pool.install(work),
        // With more threads it is as right.
        Err(_) => work(),
    }
}

/// Reads all weights of a decoder, reporting after each, until a report says that nobody wants it any more.
pub(crate) fn load(
    spec: &DecoderSpec,
    weights: &Weights,
    treatment: &Treatment,
    report: &mut dyn FnMut(LoadProgress) -> ControlFlow<()>,
) -> Result<Decoder, WeightError> {
    weights.check_whole()?;
    let total_bytes = weights.check(spec)?.iter().map(|(_, stored)| stored.range.len() as u64).sum();
    let progress = LoadProgress { done_bytes: 0, total_bytes };
    let cpu = match treatment.compute {
        Compute::Cpu { precision, tier, .. } => Some((cpu::processors(tier)?, precision)),
        _ => None,
    };
    let mut loader = Loader { spec, weights, treatment, cpu, report, progress };
    let decoder = loader.advance(0).and_then(|()| loader.decoder());
    // All that is needed of the files was copied, or nothing is.
    weights.release();
    decoder
}

struct Loader<'a> {
    spec: &'a DecoderSpec,
    weights: &'a Weights,
    treatment: &'a Treatment,
    /// What the kernels compute on and how exactly, where they do.
    cpu: Option<(Cpu, Precision)>,
    report: &'a mut dyn FnMut(LoadProgress) -> ControlFlow<()>,
    progress: LoadProgress,
}

/// A matrix as it will be computed.
enum Matrix {
    Dense(Tensor),
    Packed(Arc<QTensor>),
    Cpu(Arc<PackedMatrix>, Cpu, Rounding),
}

impl Loader<'_> {
    fn decoder(mut self) -> Result<Decoder, WeightError> {
        let table = self.matrix(Part::Embedding)?;
        let powers = if self.spec.learned_rope { self.own_numbers(None, own::LEARNED_ROPE)? } else { vec![] };
        let mut ropes: Vec<Rope> = Vec::new();
        let mut spans = Vec::new();
        let layers = (0..self.spec.layers.len())
            .map(|index| self.layer(index, &mut ropes, &mut spans))
            .collect::<Result<_, _>>()?;
        let ropes = ropes.into_iter().map(|rope| rope.learned(&powers)).collect();
        let final_norm = self.norm(Part::FinalNorm, self.spec.hidden)?;
        let bias = self.spec.head_bias.then_some(Part::Head(Kind::Bias));
        let head = if self.spec.tied_head {
            let bias = bias.map(|bias| self.dense(bias)).transpose()?;
            // The embedding stays as it is: an adapter that changes the head is kept beside it.
            let low_rank = self.low_rank(Part::Head(Kind::Weight))?;
            table.linear(bias).map_err(|source| self.failed(Part::Embedding, source))?.adapted(low_rank)
        } else {
            self.linear(Part::Head(Kind::Weight), bias)?
        };
        let embedding = match table {
            Matrix::Dense(table) => Embedding::Dense(table),
            Matrix::Packed(table) => Embedding::Packed(table),
            Matrix::Cpu(table, ..) => Embedding::Cpu(table),
        };
        let rows = self.spec.per_layer.map(|rows| self.rows(rows)).transpose()?;
        let ends = self.spec.streams.map(|streams| self.ends(streams)).transpose()?;
        let hyper = self.spec.hyper.map(|hyper| self.hyper_head(hyper)).transpose()?;
        let spec = self.spec.clone();
        let mut decoder =
            Decoder { spec, embedding, rows, ends, hyper, layers, final_norm, head, ropes, spans, on_cpu: None };
        if let Some((cpu, _)) = &self.cpu {
            decoder.on_cpu = CpuDecoder::of(&decoder, cpu, self.treatment.compute.kv_type());
        }
        Ok(decoder)
    }

    fn layer(&mut self, index: usize, ropes: &mut Vec<Rope>, spans: &mut Vec<Span>) -> Result<Layer, WeightError> {
        let spec = &self.spec.layers[index];
        let placement = spec.placement;
        let rope = spec.mixer.rope();
        let span = spec.mixer.span();
        Ok(Layer {
            attention_norm: self.layer_norm(placement.before(), index, LayerPart::AttentionNorm)?,
            mixer: self.mixer(index, &spec.mixer)?,
            attention_after: self.layer_norm(placement.after(), index, LayerPart::AttentionAfter)?,
            feed_forward_norm: self.layer_norm(placement.before_feed_forward(), index, LayerPart::FeedForwardNorm)?,
            feed_forward: match &spec.feed_forward {
                FeedForwardSpec::Dense(mlp) => {
                    FeedForward::Dense(self.mlp(index, mlp, [LayerPart::Gate, LayerPart::Up, LayerPart::Down])?)
                }
                FeedForwardSpec::Experts(experts) => FeedForward::Experts(self.experts(index, experts)?),
                FeedForwardSpec::Beside(mlp, experts) => FeedForward::Beside(self.beside(index, mlp, experts)?),
            },
            feed_forward_after: self.layer_norm(placement.after(), index, LayerPart::FeedForwardAfter)?,
            is_parallel: placement == Placement::Parallel,
            residual_scale: f64::from(spec.residual_scale),
            laurel: spec.laurel.map(|_| self.laurel(index)).transpose()?,
            streams: self.spec.streams.map(|streams| self.streams(index, streams)).transpose()?,
            hyper: self.spec.hyper.map(|hyper| self.hyper(index, hyper)).transpose()?,
            rows: self.spec.per_layer.map(|rows| self.row_gate(index, rows)).transpose()?,
            output_scale: if spec.output_scale { self.output_scale(index)? } else { 1.0 },
            cache: spec.mixer.source().unwrap_or(index),
            rope: rope.map(|rope| place(ropes, |other: &Rope| other.is(rope), || Rope::new(rope.clone()))),
            span: place(spans, |other| *other == span, || span),
        })
    }

    fn layer_norm(&mut self, is_there: bool, index: usize, part: LayerPart) -> Result<Option<Norm>, WeightError> {
        let hidden = self.spec.hidden;
        is_there.then(|| self.norm(|kind| Part::Layer(index, part, kind), hidden)).transpose()
    }

    /// A norm of the decoder's kind over rows of `width`.
    fn norm(&mut self, part: impl Fn(Kind) -> Part, width: usize) -> Result<Norm, WeightError> {
        let (kind, eps) = (self.spec.norm, self.spec.norm_eps);
        let weight = kind.has_weight().then(|| self.dense(part(Kind::Weight))).transpose()?;
        let bias = kind.has_bias().then(|| self.dense(part(Kind::Bias))).transpose()?;
        let norm = match (kind, weight) {
            (spec::Norm::Rms, Some(weight)) => Ok(Norm::Rms { weight, eps }),
            (spec::Norm::RmsPlusOne, Some(weight)) => (weight + 1.0).map(|weight| Norm::Rms { weight, eps }),
            (_, weight) => Norm::layer(width, weight, bias, eps),
        };
        norm.map_err(|source| self.failed(part(Kind::Weight), source))
    }

    fn mlp(&mut self, index: usize, spec: &MlpSpec, [gate, up, down]: [LayerPart; 3]) -> Result<Mlp, WeightError> {
        Ok(Mlp {
            activation: spec.activation,
            gate: spec.gated.then(|| self.layer_linear(index, gate, spec.bias)).transpose()?,
            up: self.layer_linear(index, up, spec.bias)?,
            down: self.layer_linear(index, down, spec.bias)?,
        })
    }

    fn layer_linear(&mut self, index: usize, part: LayerPart, bias: bool) -> Result<Linear, WeightError> {
        let of = |kind| Part::Layer(index, part, kind);
        self.linear(of(Kind::Weight), bias.then_some(of(Kind::Bias)))
    }

    fn linear(&mut self, part: Part, bias: Option<Part>) -> Result<Linear, WeightError> {
        let matrix = self.matrix(part)?;
        let bias = bias.map(|bias| self.dense(bias)).transpose()?;
        let low_rank = if self.is_merged(part) { None } else { self.low_rank(part)? };
        Ok(matrix.linear(bias).map_err(|source| self.failed(part, source))?.adapted(low_rank))
    }

    fn own_linear(&mut self, layer: Option<usize>, name: &'static str) -> Result<Linear, WeightError> {
        self.linear(Part::Own(layer, name), None)
    }

    fn own_numbers(&mut self, layer: Option<usize>, name: &'static str) -> Result<Vec<f32>, WeightError> {
        let part = Part::Own(layer, name);
        let tensor = self.dense(part)?;
        tensor.flatten_all().and_then(|flat| flat.to_vec1()).map_err(|source| self.failed(part, source))
    }

    /// A norm by root mean square, whatever the decoder's norms are.
    fn own_norm(&mut self, layer: Option<usize>, name: &'static str, eps: f32) -> Result<Norm, WeightError> {
        Ok(Norm::Rms { weight: self.dense(Part::Own(layer, name))?, eps })
    }

    fn matrix(&mut self, part: Part) -> Result<Matrix, WeightError> {
        let is_merged = self.is_merged(part);
        if self.treatment.mixture.is_some() {
            let stored = self.weights.find(part, self.spec)?;
            if let Some(element) = self.treatment.blocks(part, &stored, &stored.shape, is_merged) {
                let matrix = self.dense(part)?;
                return self.quantised(part, &matrix, element);
            }
        }
        if let Some((cpu, precision)) = self.cpu.clone() {
            return self.on_cpu(part, cpu, precision);
        }
        if self.treatment.keeps_packed()
            && !is_merged
            && let Some((packed, bytes)) = self.weights.packed(part, self.spec)?
        {
            self.advance(bytes)?;
            return Ok(Matrix::Packed(Arc::new(packed)));
        }
        self.dense(part).map(Matrix::Dense)
    }

    /// A matrix put into blocks as it loads, and expanded again where products are exact.
    fn quantised(&self, part: Part, matrix: &Tensor, element: ElementType) -> Result<Matrix, WeightError> {
        let made = || {
            let numbers: Vec<f32> = matrix.flatten_all()?.to_vec1()?;
            let Some(made) = Stored::made(&numbers, element, matrix.dims()) else {
                candle_core::bail!("its rows are no whole number of blocks of {}", element.name())
            };
            if let Some((cpu, precision)) = &self.cpu {
                let packed = match made.for_kernels(cpu)?.filter(|_| *precision != Precision::F32) {
                    Some(packed) => return Ok(Matrix::of_kernels(packed, cpu.clone(), part, *precision)),
                    None => widened(&made.dense()?, cpu)?,
                };
                return Ok(Matrix::Cpu(Arc::new(packed), cpu.clone(), Rounding::None));
            }
            if self.treatment.keeps_packed() && made.can_stay_packed() {
                return made.packed().map(|packed| Matrix::Packed(Arc::new(packed)));
            }
            made.dense().map(Matrix::Dense)
        };
        made().map_err(|source| self.failed(part, source))
    }

    /// A matrix as the kernels have it: at the bits of its file where they know its blocks, else in float32.
    fn on_cpu(&mut self, part: Part, cpu: Cpu, precision: Precision) -> Result<Matrix, WeightError> {
        if precision != Precision::F32
            && !self.is_merged(part)
            && let Some((packed, bytes)) = self.weights.for_kernels(part, self.spec, &cpu)?
        {
            self.advance(bytes)?;
            return Ok(Matrix::of_kernels(packed, cpu, part, precision));
        }
        let matrix = self.dense(part)?;
        let packed = widened(&matrix, &cpu).map_err(|source| self.failed(part, source))?;
        Ok(Matrix::Cpu(Arc::new(packed), cpu, Rounding::None))
    }

    /// A matrix that is in float32 already.
    fn of_floats(&self, matrix: Tensor) -> Computed<Matrix> {
        match &self.cpu {
            Some((cpu, _)) => Ok(Matrix::Cpu(Arc::new(widened(&matrix, cpu)?), cpu.clone(), Rounding::None)),
            None => Ok(Matrix::Dense(matrix)),
        }
    }

    fn dense(&mut self, part: Part) -> Result<Tensor, WeightError> {
        let (tensor, bytes) = self.weights.dense(part, self.spec)?;
        self.advance(bytes)?;
        match self.low_rank(part)?.filter(|_| self.is_merged(part)) {
            Some(update) => {
                let merged = update.product().and_then(|update| tensor + update);
                merged.map_err(|source| self.failed(part, source))
            }
            None => Ok(tensor),
        }
    }

    /// Whether an adapter changes this weight as it loads.
    fn is_merged(&self, part: Part) -> bool {
        self.treatment.merges(part, &self.weights.names, self.spec)
    }

    /// What an adapter adds to this weight.
    fn low_rank(&self, part: Part) -> Result<Option<LowRank>, WeightError> {
        let Some(adapter) = &self.treatment.adapter else { return Ok(None) };
        let names = &self.weights.names;
        let place = names.place(part, self.spec);
        let rows = place.slice.map(|slice| slice.rows(&names.shape(part, self.spec)));
        adapter.low_rank(&place, rows).transpose().map_err(|source| self.failed(part, source))
    }

    /// Tells how far it has come.
    ///
    /// # Errors
    /// [`WeightError::Stopped`] where nobody wants it any more.
    fn advance(&mut self, bytes: u64) -> Result<(), WeightError> {
        self.progress.done_bytes += bytes;
        if (self.report)(self.progress).is_break() { Err(WeightError::Stopped) } else { Ok(()) }
    }

    fn failed(&self, part: Part, source: candle_core::Error) -> WeightError {
        WeightError::Tensor { name: self.weights.names.of(part), source }
    }
}

impl Matrix {
    fn of_kernels(packed: PackedMatrix, cpu: Cpu, part: Part, precision: Precision) -> Self {
        let rounding = rounding(part, precision, packed.layout());
        Self::Cpu(Arc::new(packed), cpu, rounding)
    }

    fn linear(&self, bias: Option<Tensor>) -> Computed<Linear> {
        match self {
            Self::Dense(matrix) => Ok(Linear::dense(matrix.clone(), bias)),
            Self::Packed(matrix) => Linear::packed(Arc::clone(matrix), bias),
            Self::Cpu(matrix, cpu, rounding) => {
                let bias = bias.map(|bias| bias.flatten_all()?.to_vec1()).transpose()?;
                let projection = Projection::new(Arc::clone(matrix), bias, *rounding);
                Ok(Linear::on_cpu(projection, cpu.clone()))
            }
        }
    }
}

/// How activations are rounded for a matrix. Eight bits hurt most around attention, so `fast` keeps sixteen in its
/// projections: of the references' Gemma 3 in Q8_0 that takes the median divergence from 1.3 times llama.cpp's to 0.95
/// times. In its output eight do where weights have few bits, whose own error is the larger one by far: a prompt of
/// Q4_K_M is a seventh faster, and SmolLM2's worst logit is off by 0.47 either way. Activations of bfloat16 err a third as much as those of eight bits: in SmolLM2's worst logit 0.20 against 0.66.
fn rounding(part: Part, precision: Precision, layout: Layout) -> Rounding {
    match (precision, layout) {
        (Precision::Fast, Layout::Bf16) => return Rounding::Bf16,
        _ if layout.is_float() => return Rounding::None,
        _ => {}
    }
    let Part::Layer(_, part, _) = part else { return precision.rounding() };
    match (precision, part) {
        (Precision::Fast, LayerPart::Query | LayerPart::Key | LayerPart::Value) => Rounding::Bits16,
        (Precision::Fast, LayerPart::Output) if layout == Layout::Q8_0 => Rounding::Bits16,
        _ => precision.rounding(),
    }
}

/// A matrix in float32, `[out, in]`, as the kernels have it.
fn widened(matrix: &Tensor, cpu: &Cpu) -> Computed<PackedMatrix> {
    let (outputs, inputs) = matrix.dims2()?;
    let bytes: Vec<u8> = matrix.flatten_all()?.to_vec1::<f32>()?.iter().flat_map(|it| it.to_le_bytes()).collect();
    PackedMatrix::pack(Layout::F32, outputs, inputs, &bytes, cpu).map_err(candle_core::Error::wrap)
}

/// Where the thing is in a list that holds each once, put at its end where it is not.
fn place<T>(list: &mut Vec<T>, is: impl Fn(&T) -> bool, make: impl FnOnce() -> T) -> usize {
    list.iter().position(is).unwrap_or_else(|| {
        list.push(make());
        list.len() - 1
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_beside_others_has_one_thread() {
        assert_eq!(on_one_thread(rayon::current_num_threads), 1);
    }
}
