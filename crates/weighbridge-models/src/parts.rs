//! The weights of a decoder: which there are, what shape each has, and where a checkpoint keeps it.

mod names;
pub(crate) mod own;
mod shape;

use std::iter;

pub(crate) use self::names::{Fusion, Names, Packing, Place};
use crate::spec::{DecoderSpec, ExpertsSpec, FeedForwardSpec, HeadNorm, LatentSpec, LayerSpec, MixerSpec, MlpSpec};

/// One weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Embedding,
    FinalNorm(Kind),
    Head(Kind),
    /// Of the layer of this number.
    Layer(usize, LayerPart, Kind),
    /// Of the layer and the expert of these numbers.
    Expert(usize, usize, ExpertPart, Kind),
    /// Of the layer of this number or of the decoder, by the name that it has in every checkpoint.
    Own(Option<usize>, &'static str),
}

/// A matrix or its bias, a norm's weight or its bias.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Weight,
    Bias,
}

/// What a layer has once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LayerPart {
    AttentionNorm,
    Query,
    Key,
    Value,
    Output,
    QueryNorm,
    KeyNorm,
    Sinks,
    /// From the residual stream to the compressed query.
    QueryDown,
    QueryDownNorm,
    /// From there to the query.
    QueryUp,
    /// From the residual stream to the latent row.
    Latent,
    LatentNorm,
    /// From the latent row to keys and values, head by head.
    LatentUp,
    /// From the latent row to keys, or from keys to the latent row: the other way round, `[heads, rank, plain_dim]`.
    LatentKey,
    /// From the latent row to values.
    LatentValue,
    /// The norm of what attention gives.
    AttentionAfter,
    FeedForwardNorm,
    /// The norm of what the feed-forward part gives.
    FeedForwardAfter,
    Gate,
    Up,
    Down,
    Router,
    ChoiceBias,
    SharedGate,
    SharedUp,
    SharedDown,
    /// What the shared expert is multiplied by.
    SharedSwitch,
}

/// What an expert has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ExpertPart {
    Gate,
    Up,
    /// Gate and up in one, where they are stored so.
    GateUp,
    Down,
    /// Powers of two for the blocks of `GateUp` and `Down`.
    GateUpScales,
    DownScales,
}

impl Part {
    /// Every weight that a decoder of this spec has, in the order in which they are used. They are made layer by layer
    /// as they are asked for: a config may claim more than memory holds, and its first missing tensor ends the claim.
    pub(crate) fn all<'a>(spec: &'a DecoderSpec, names: &'a Names) -> impl Iterator<Item = Self> + 'a {
        let layers = spec.layers.iter().enumerate().flat_map(move |(index, layer)| {
            let mut parts = Vec::new();
            List { spec, names, index, parts: &mut parts }.layer(layer);
            parts
        });
        let last = [
            (spec.norm.has_weight(), Self::FinalNorm(Kind::Weight)),
            (spec.norm.has_bias(), Self::FinalNorm(Kind::Bias)),
            (!spec.tied_head, Self::Head(Kind::Weight)),
            (spec.head_bias, Self::Head(Kind::Bias)),
        ];
        let last = last.into_iter().filter_map(|(is_there, part)| is_there.then_some(part));
        let own = own::of_decoder(spec).into_iter().map(|(name, _)| Self::Own(None, name));
        iter::once(Self::Embedding).chain(own).chain(layers).chain(last)
    }
}

impl Part {
    /// Whether it can be computed in the blocks that it is stored in, if they are of a kind that can be: what expands
    /// latent rows is taken apart first.
    pub(crate) fn may_stay_packed(self) -> bool {
        !matches!(self, Self::Layer(_, LayerPart::LatentUp | LayerPart::LatentKey | LayerPart::LatentValue, _))
    }
}

/// Gathers the parts of one layer.
struct List<'a> {
    spec: &'a DecoderSpec,
    names: &'a Names,
    index: usize,
    parts: &'a mut Vec<Part>,
}

impl List<'_> {
    fn layer(&mut self, layer: &LayerSpec) {
        self.norm_if(layer.placement.before(), LayerPart::AttentionNorm);
        match &layer.mixer {
            MixerSpec::Attention(attention) => {
                let has_keys = attention.keys_values.has_keys();
                self.linear(LayerPart::Query, attention.qkv_bias);
                for (part, is_there) in
                    [(LayerPart::Key, has_keys), (LayerPart::Value, attention.keys_values.has_values())]
                {
                    if is_there {
                        self.linear(part, attention.qkv_bias);
                    }
                }
                if attention.head_norm.is_some_and(|kind| kind != HeadNorm::AfterRope) {
                    self.norm_if(true, LayerPart::QueryNorm);
                    self.norm_if(has_keys, LayerPart::KeyNorm);
                }
                if attention.sinks {
                    self.push(LayerPart::Sinks, Kind::Weight);
                }
                self.linear(LayerPart::Output, attention.output_bias);
            }
            MixerSpec::Latent(latent) => self.latent(latent),
            MixerSpec::Delta(_) | MixerSpec::Compressed(_) => {}
        }
        let own = own::of_layer(self.spec, layer, self.names);
        self.parts.extend(own.into_iter().map(|(name, _)| Part::Own(Some(self.index), name)));
        self.norm_if(layer.placement.after(), LayerPart::AttentionAfter);
        self.norm_if(layer.placement.before_feed_forward(), LayerPart::FeedForwardNorm);
        self.feed_forward(&layer.feed_forward);
        self.norm_if(layer.placement.after(), LayerPart::FeedForwardAfter);
    }

    fn latent(&mut self, latent: &LatentSpec) {
        if latent.query_rank.is_some() {
            self.linear(LayerPart::QueryDown, latent.bias);
            self.push(LayerPart::QueryDownNorm, Kind::Weight);
            self.linear(LayerPart::QueryUp, false);
        } else {
            self.linear(LayerPart::Query, false);
        }
        if latent.source.is_none() {
            self.linear(LayerPart::Latent, latent.bias);
            self.push(LayerPart::LatentNorm, Kind::Weight);
        }
        if self.names.latent_kv == Fusion::Fused {
            self.push(LayerPart::LatentUp, Kind::Weight);
        } else {
            self.push(LayerPart::LatentKey, Kind::Weight);
            self.push(LayerPart::LatentValue, Kind::Weight);
        }
        self.linear(LayerPart::Output, latent.bias);
    }

    fn feed_forward(&mut self, feed_forward: &FeedForwardSpec) {
        match feed_forward {
            FeedForwardSpec::Dense(mlp) => self.mlp(mlp, [LayerPart::Gate, LayerPart::Up, LayerPart::Down]),
            FeedForwardSpec::Experts(experts) => {
                self.linear(LayerPart::Router, experts.router.bias);
                self.experts(experts);
            }
            FeedForwardSpec::Beside(mlp, experts) => {
                self.mlp(mlp, [LayerPart::Gate, LayerPart::Up, LayerPart::Down]);
                self.experts(experts);
            }
        }
    }

    fn experts(&mut self, experts: &ExpertsSpec) {
        if experts.router.choice_bias {
            self.push(LayerPart::ChoiceBias, Kind::Weight);
        }
        for expert in 0..experts.count {
            self.expert(expert, &experts.expert);
        }
        if let Some(shared) = &experts.shared {
            self.mlp(shared, [LayerPart::SharedGate, LayerPart::SharedUp, LayerPart::SharedDown]);
        }
        if experts.shared_gate {
            self.push(LayerPart::SharedSwitch, Kind::Weight);
        }
    }

    fn expert(&mut self, expert: usize, mlp: &MlpSpec) {
        let parts: &[ExpertPart] = match self.names.packing {
            Packing::Plain => &[ExpertPart::Gate, ExpertPart::Up, ExpertPart::Down],
            Packing::Stacked | Packing::Transposed { .. } => &[ExpertPart::GateUp, ExpertPart::Down],
            Packing::Mxfp4 => &[ExpertPart::GateUp, ExpertPart::GateUpScales, ExpertPart::Down, ExpertPart::DownScales],
        };
        for &part in parts {
            self.parts.push(Part::Expert(self.index, expert, part, Kind::Weight));
            if mlp.bias && !matches!(part, ExpertPart::GateUpScales | ExpertPart::DownScales) {
                self.parts.push(Part::Expert(self.index, expert, part, Kind::Bias));
            }
        }
    }

    fn mlp(&mut self, mlp: &MlpSpec, [gate, up, down]: [LayerPart; 3]) {
        if mlp.gated {
            self.linear(gate, mlp.bias);
        }
        self.linear(up, mlp.bias);
        self.linear(down, mlp.bias);
    }

    fn linear(&mut self, part: LayerPart, bias: bool) {
        self.push(part, Kind::Weight);
        if bias {
            self.push(part, Kind::Bias);
        }
    }

    fn norm_if(&mut self, is_there: bool, part: LayerPart) {
        if is_there && self.spec.norm.has_weight() {
            self.push(part, Kind::Weight);
        }
        if is_there && self.spec.norm.has_bias() {
            self.push(part, Kind::Bias);
        }
    }

    fn push(&mut self, part: LayerPart, kind: Kind) {
        self.parts.push(Part::Layer(self.index, part, kind));
    }
}
