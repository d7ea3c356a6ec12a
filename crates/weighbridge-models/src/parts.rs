//! The weights of a decoder: which there are, what shape each has, and what a checkpoint calls it.

use crate::spec::DecoderSpec;

/// One weight. Those of a layer go by its number as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Embedding,
    FinalNorm,
    Head,
    AttentionNorm(usize),
    Query(usize),
    QueryBias(usize),
    Key(usize),
    KeyBias(usize),
    Value(usize),
    ValueBias(usize),
    Output(usize),
    OutputBias(usize),
    FeedForwardNorm(usize),
    Gate(usize),
    GateBias(usize),
    Up(usize),
    UpBias(usize),
    Down(usize),
    DownBias(usize),
}

/// What a container calls the weights. A bias is called like its matrix, with `bias` for `weight`.
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
    pub(crate) feed_forward_norm: &'static str,
    pub(crate) gate: &'static str,
    pub(crate) up: &'static str,
    pub(crate) down: &'static str,
}

impl Names {
    /// The name of a tensor.
    pub(crate) fn of(&self, part: Part) -> String {
        let (layer, name, kind) = match part {
            Part::Embedding => (None, self.embedding, "weight"),
            Part::FinalNorm => (None, self.final_norm, "weight"),
            Part::Head => (None, self.head, "weight"),
            Part::AttentionNorm(layer) => (Some(layer), self.attention_norm, "weight"),
            Part::Query(layer) => (Some(layer), self.query, "weight"),
            Part::QueryBias(layer) => (Some(layer), self.query, "bias"),
            Part::Key(layer) => (Some(layer), self.key, "weight"),
            Part::KeyBias(layer) => (Some(layer), self.key, "bias"),
            Part::Value(layer) => (Some(layer), self.value, "weight"),
            Part::ValueBias(layer) => (Some(layer), self.value, "bias"),
            Part::Output(layer) => (Some(layer), self.output, "weight"),
            Part::OutputBias(layer) => (Some(layer), self.output, "bias"),
            Part::FeedForwardNorm(layer) => (Some(layer), self.feed_forward_norm, "weight"),
            Part::Gate(layer) => (Some(layer), self.gate, "weight"),
            Part::GateBias(layer) => (Some(layer), self.gate, "bias"),
            Part::Up(layer) => (Some(layer), self.up, "weight"),
            Part::UpBias(layer) => (Some(layer), self.up, "bias"),
            Part::Down(layer) => (Some(layer), self.down, "weight"),
            Part::DownBias(layer) => (Some(layer), self.down, "bias"),
        };
        match layer {
            None => format!("{name}.{kind}"),
            Some(layer) => format!("{}.{layer}.{name}.{kind}", self.layer),
        }
    }
}

impl Part {
    /// Every weight that a decoder of this spec has, in the order in which they are used.
    pub(crate) fn all(spec: &DecoderSpec) -> Vec<Self> {
        let mut parts = vec![Self::Embedding];
        for (index, layer) in spec.layers.iter().enumerate() {
            let attention = &layer.attention;
            parts.extend([Self::AttentionNorm(index), Self::Query(index), Self::Key(index), Self::Value(index)]);
            if attention.qkv_bias {
                parts.extend([Self::QueryBias(index), Self::KeyBias(index), Self::ValueBias(index)]);
            }
            parts.push(Self::Output(index));
            if attention.output_bias {
                parts.push(Self::OutputBias(index));
            }
            parts.extend([Self::FeedForwardNorm(index), Self::Gate(index), Self::Up(index), Self::Down(index)]);
            if layer.feed_forward.bias {
                parts.extend([Self::GateBias(index), Self::UpBias(index), Self::DownBias(index)]);
            }
        }
        parts.push(Self::FinalNorm);
        if !spec.tied_head {
            parts.push(Self::Head);
        }
        parts
    }

    /// Its shape, outputs first: `[out, in]` of a matrix.
    pub(crate) fn shape(self, spec: &DecoderSpec) -> Vec<usize> {
        let attention = |layer: usize| &spec.layers[layer].attention;
        let inner = |layer: usize| spec.layers[layer].feed_forward.inner;
        match self {
            Self::Embedding | Self::Head => vec![spec.vocabulary, spec.hidden],
            Self::FinalNorm | Self::AttentionNorm(_) | Self::FeedForwardNorm(_) => vec![spec.hidden],
            Self::Query(layer) => vec![attention(layer).query_width(), spec.hidden],
            Self::QueryBias(layer) => vec![attention(layer).query_width()],
            Self::Key(layer) | Self::Value(layer) => vec![attention(layer).kv_width(), spec.hidden],
            Self::KeyBias(layer) | Self::ValueBias(layer) => vec![attention(layer).kv_width()],
            Self::Output(layer) => vec![spec.hidden, attention(layer).query_width()],
            Self::OutputBias(_) | Self::DownBias(_) => vec![spec.hidden],
            Self::Gate(layer) | Self::Up(layer) => vec![inner(layer), spec.hidden],
            Self::GateBias(layer) | Self::UpBias(layer) => vec![inner(layer)],
            Self::Down(layer) => vec![spec.hidden, inner(layer)],
        }
    }
}
