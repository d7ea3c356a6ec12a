//! What a container calls the weights, and which share a tensor.

use super::{ExpertPart, Kind, LayerPart, Part, own};
use crate::spec::DecoderSpec;

/// What a container calls the weights. A bias is called like its matrix, with `bias` for `weight`. In the names of
/// experts `*` stands for the number of one; without it all experts share a tensor.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Names {
    pub(crate) embedding: &'static str,
    pub(crate) final_norm: &'static str,
    pub(crate) head: &'static str,
    /// What comes before the number of a layer.
    pub(crate) layer: &'static str,
    pub(crate) attention_norm: &'static str,
    pub(crate) query: &'static str,
    pub(crate) key: &'static str,
    pub(crate) value: &'static str,
    pub(crate) output: &'static str,
    pub(crate) query_norm: &'static str,
    pub(crate) key_norm: &'static str,
    /// In full.
    pub(crate) sinks: &'static str,
    pub(crate) query_down: &'static str,
    pub(crate) query_down_norm: &'static str,
    pub(crate) query_up: &'static str,
    pub(crate) latent: &'static str,
    pub(crate) latent_norm: &'static str,
    pub(crate) latent_up: &'static str,
    pub(crate) latent_key: &'static str,
    pub(crate) latent_value: &'static str,
    /// Whether what expands keys and values is one matrix, `latent_up`, or two.
    pub(crate) latent_kv: Fusion,
    pub(crate) attention_after: &'static str,
    pub(crate) feed_forward_norm: &'static str,
    pub(crate) feed_forward_after: &'static str,
    pub(crate) gate: &'static str,
    pub(crate) up: &'static str,
    pub(crate) down: &'static str,
    pub(crate) router: &'static str,
    /// In full.
    pub(crate) choice_bias: &'static str,
    pub(crate) expert_gate: &'static str,
    pub(crate) expert_up: &'static str,
    pub(crate) expert_down: &'static str,
    pub(crate) shared_gate: &'static str,
    pub(crate) shared_up: &'static str,
    pub(crate) shared_down: &'static str,
    pub(crate) shared_switch: &'static str,
    /// How query, key and value are stored.
    pub(crate) qkv: Fusion,
    /// How the projections of a delta net are stored.
    pub(crate) delta: Fusion,
    /// How gate and up are stored, those of experts aside.
    pub(crate) gate_up: Fusion,
    /// How experts are stored.
    pub(crate) packing: Packing,
}

/// Whether matrices of the same input are stored as one, one above the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fusion {
    Apart,
    /// Under the name of the first.
    Fused,
}

/// How the matrices of experts are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Packing {
    /// Like any other.
    Plain,
    /// Outputs first, with gate above up in one.
    Stacked,
    /// Inputs first, with gate and up in one, either side by side or in turns.
    Transposed { in_turns: bool },
    /// Blocks of four-bit floats with a scale each, gate and up in turns.
    Mxfp4,
}

/// Where a weight is.
pub(crate) struct Place {
    pub(crate) name: String,
    /// Which rows of the tensor it is, where it is not all of them.
    pub(crate) slice: Option<Slice>,
}

/// A part of a tensor's outermost dimension.
#[derive(Clone, Copy)]
pub(crate) struct Slice {
    pub(crate) start: usize,
    /// Length of the outermost dimension.
    pub(crate) of: usize,
    /// Whether it is one item of a stack, which has one dimension less than the stack.
    pub(crate) is_item: bool,
}

impl Names {
    /// The name of the tensor that a weight is in.
    pub(crate) fn of(&self, part: Part) -> String {
        let suffix = |kind| if kind == Kind::Weight { "weight" } else { "bias" };
        match part {
            Part::Own(Some(layer), name) => format!("{}.{layer}.{name}", self.layer),
            // Beside the embedding.
            Part::Own(None, name) => match self.embedding.rsplit_once('.') {
                Some((prefix, _)) => format!("{prefix}.{name}"),
                None => name.to_owned(),
            },
            Part::Embedding => format!("{}.weight", self.embedding),
            Part::FinalNorm(kind) => format!("{}.{}", self.final_norm, suffix(kind)),
            Part::Head(kind) => format!("{}.{}", self.head, suffix(kind)),
            Part::Layer(layer, LayerPart::Sinks, _) => format!("{}.{layer}.{}", self.layer, self.sinks),
            Part::Layer(layer, LayerPart::ChoiceBias, _) => format!("{}.{layer}.{}", self.layer, self.choice_bias),
            Part::Layer(layer, part, kind) => {
                format!("{}.{layer}.{}.{}", self.layer, self.of_layer(part), suffix(kind))
            }
            Part::Expert(layer, expert, part, kind) => {
                let name = self.of_expert(part).replace('*', &expert.to_string());
                format!("{}.{layer}.{name}{}", self.layer, self.expert_suffix(part, kind))
            }
        }
    }

    fn expert_suffix(&self, part: ExpertPart, kind: Kind) -> &'static str {
        match (self.packing, part, kind) {
            (Packing::Plain, _, Kind::Weight) => ".weight",
            (Packing::Plain, _, Kind::Bias) => ".bias",
            (_, _, Kind::Bias) => "_bias",
            (Packing::Stacked | Packing::Transposed { .. }, _, Kind::Weight) => "",
            (Packing::Mxfp4, ExpertPart::GateUpScales | ExpertPart::DownScales, _) => "_scales",
            (Packing::Mxfp4, ..) => "_blocks",
        }
    }

    /// Where a weight is.
    pub(crate) fn place(&self, part: Part, spec: &DecoderSpec) -> Place {
        let slice = match part {
            Part::Layer(layer, what, kind) => self.fused(layer, what, kind, spec),
            Part::Expert(layer, expert, what, _) if !self.of_expert(what).contains('*') => {
                let Some(experts) = spec.layers[layer].feed_forward.experts() else {
                    return Place { name: self.of(part), slice: None };
                };
                Some(Slice { start: expert, of: experts.count, is_item: true })
            }
            _ => None,
        };
        Place { name: self.of(part), slice }
    }

    fn fused(&self, layer: usize, part: LayerPart, kind: Kind, spec: &DecoderSpec) -> Option<Slice> {
        let group: &[LayerPart] = match part {
            LayerPart::Query | LayerPart::Key | LayerPart::Value if self.qkv == Fusion::Fused => {
                &[LayerPart::Query, LayerPart::Key, LayerPart::Value]
            }
            LayerPart::Gate | LayerPart::Up if self.gate_up == Fusion::Fused => &[LayerPart::Gate, LayerPart::Up],
            _ => return None,
        };
        let rows = |&part: &LayerPart| self.shape(Part::Layer(layer, part, kind), spec)[0];
        let before = group.iter().take_while(|&&other| other != part).map(rows).sum();
        Some(Slice { start: before, of: group.iter().map(rows).sum(), is_item: false })
    }

    /// The shape of a weight as it is stored, whatever it shares a tensor with.
    pub(crate) fn shape(&self, part: Part, spec: &DecoderSpec) -> Vec<usize> {
        if let Part::Own(layer, name) = part {
            return own::shape(spec, layer, name, self);
        }
        let is_transposed = matches!(self.packing, Packing::Transposed { .. });
        part.shape(spec, is_transposed, self.packing == Packing::Mxfp4)
    }

    fn of_layer(&self, part: LayerPart) -> &'static str {
        match part {
            LayerPart::AttentionNorm => self.attention_norm,
            LayerPart::Query => self.query,
            LayerPart::Key | LayerPart::Value if self.qkv == Fusion::Fused => self.query,
            LayerPart::Key => self.key,
            LayerPart::Value => self.value,
            LayerPart::Output => self.output,
            LayerPart::QueryNorm => self.query_norm,
            LayerPart::KeyNorm => self.key_norm,
            LayerPart::Sinks => self.sinks,
            LayerPart::QueryDown => self.query_down,
            LayerPart::QueryDownNorm => self.query_down_norm,
            LayerPart::QueryUp => self.query_up,
            LayerPart::Latent => self.latent,
            LayerPart::LatentNorm => self.latent_norm,
            LayerPart::LatentUp => self.latent_up,
            LayerPart::LatentKey => self.latent_key,
            LayerPart::LatentValue => self.latent_value,
            LayerPart::AttentionAfter => self.attention_after,
            LayerPart::FeedForwardNorm => self.feed_forward_norm,
            LayerPart::FeedForwardAfter => self.feed_forward_after,
            LayerPart::Gate => self.gate,
            LayerPart::Up if self.gate_up == Fusion::Fused => self.gate,
            LayerPart::Up => self.up,
            LayerPart::Down => self.down,
            LayerPart::Router => self.router,
            LayerPart::ChoiceBias => self.choice_bias,
            LayerPart::SharedGate => self.shared_gate,
            LayerPart::SharedUp => self.shared_up,
            LayerPart::SharedDown => self.shared_down,
            LayerPart::SharedSwitch => self.shared_switch,
        }
    }

    /// What comes after a layer's number in the names of its experts.
    pub(crate) fn of_expert(&self, part: ExpertPart) -> &'static str {
        match part {
            ExpertPart::Gate | ExpertPart::GateUp | ExpertPart::GateUpScales => self.expert_gate,
            ExpertPart::Up => self.expert_up,
            ExpertPart::Down | ExpertPart::DownScales => self.expert_down,
        }
    }
}

impl Slice {
    /// The shape of the tensor that a weight of this shape is cut from.
    pub(crate) fn whole(&self, part: &[usize]) -> Vec<usize> {
        let rest = if self.is_item { part } else { part.get(1..).unwrap_or_default() };
        [&[self.of], rest].concat()
    }

    /// The rows it takes of the outermost dimension.
    pub(crate) fn rows(&self, part: &[usize]) -> std::ops::Range<usize> {
        let rows = if self.is_item { 1 } else { part.first().copied().unwrap_or(1) };
        self.start..self.start + rows
    }
}
