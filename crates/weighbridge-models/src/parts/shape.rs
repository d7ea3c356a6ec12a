//! The shape of each weight.

use super::{ExpertPart, Kind, LayerPart, Part};
use crate::spec::{AttentionSpec, DecoderSpec, FeedForwardSpec, HeadNorm, LatentSpec, LayerSpec, MixerSpec, MlpSpec};

/// Numbers that one scale of MXFP4 holds for.
const MXFP4_BLOCK: usize = 32;

impl Part {
    /// Its shape, outputs first: `[out, in]` of a matrix. `is_transposed` and `is_mxfp4` say how experts are stored.
    pub(crate) fn shape(self, spec: &DecoderSpec, is_transposed: bool, is_mxfp4: bool) -> Vec<usize> {
        let hidden = spec.hidden;
        match self {
            // Its table knows.
            Self::Own(..) => vec![],
            Self::Embedding | Self::Head(Kind::Weight) => vec![spec.vocabulary, hidden],
            Self::Head(Kind::Bias) => vec![spec.vocabulary],
            Self::FinalNorm(_) => vec![hidden],
            Self::Layer(layer, part, kind) => of_kind(layer_part(&spec.layers[layer], part, hidden), kind),
            Self::Expert(layer, _, part, kind) => {
                let Some(experts) = spec.layers[layer].feed_forward.experts() else { return vec![] };
                let inner = experts.expert.inner;
                let (out, input) = match part {
                    ExpertPart::Gate | ExpertPart::Up => (inner, hidden),
                    ExpertPart::GateUp | ExpertPart::GateUpScales => (2 * inner, hidden),
                    ExpertPart::Down | ExpertPart::DownScales => (hidden, inner),
                };
                match (kind, part) {
                    (Kind::Bias, _) => vec![out],
                    (_, ExpertPart::GateUpScales | ExpertPart::DownScales) => vec![out, input / MXFP4_BLOCK],
                    _ if is_mxfp4 => vec![out, input / MXFP4_BLOCK, MXFP4_BLOCK / 2],
                    _ if is_transposed => vec![input, out],
                    _ => vec![out, input],
                }
            }
        }
    }
}

/// The shape of a matrix, or of its bias.
fn of_kind(mut shape: Vec<usize>, kind: Kind) -> Vec<usize> {
    if kind == Kind::Bias {
        shape.truncate(1);
    }
    shape
}

fn layer_part(layer: &LayerSpec, part: LayerPart, hidden: usize) -> Vec<usize> {
    match (part, &layer.mixer, &layer.feed_forward) {
        (
            LayerPart::AttentionNorm
            | LayerPart::AttentionAfter
            | LayerPart::FeedForwardNorm
            | LayerPart::FeedForwardAfter,
            ..,
        ) => vec![hidden],
        (_, MixerSpec::Attention(spec), _) if is_of_attention(part) => attention(spec, part, hidden),
        (_, MixerSpec::Latent(spec), _) if is_of_attention(part) => latent(spec, part, hidden),
        (
            LayerPart::Gate | LayerPart::Up | LayerPart::Down,
            _,
            FeedForwardSpec::Dense(spec) | FeedForwardSpec::Beside(spec, _),
        ) => mlp(spec, part, hidden),
        (_, _, FeedForwardSpec::Experts(spec) | FeedForwardSpec::Beside(_, spec)) => match (part, &spec.shared) {
            (LayerPart::Router, _) => vec![spec.count, hidden],
            (LayerPart::ChoiceBias, _) => vec![spec.count],
            (LayerPart::SharedSwitch, _) => vec![1, hidden],
            (_, Some(shared)) => mlp(shared, part, hidden),
            _ => vec![],
        },
        _ => vec![],
    }
}

fn is_of_attention(part: LayerPart) -> bool {
    matches!(
        part,
        LayerPart::Query
            | LayerPart::Key
            | LayerPart::Value
            | LayerPart::Output
            | LayerPart::QueryNorm
            | LayerPart::KeyNorm
            | LayerPart::Sinks
            | LayerPart::QueryDown
            | LayerPart::QueryDownNorm
            | LayerPart::QueryUp
            | LayerPart::Latent
            | LayerPart::LatentNorm
            | LayerPart::LatentUp
            | LayerPart::LatentKey
            | LayerPart::LatentValue
    )
}

fn attention(spec: &AttentionSpec, part: LayerPart, hidden: usize) -> Vec<usize> {
    let norm = |heads: usize| match spec.head_norm {
        Some(HeadNorm::Each) => vec![heads, spec.head_dim],
        Some(HeadNorm::Whole) => vec![heads * spec.head_dim],
        _ => vec![spec.head_dim],
    };
    match part {
        LayerPart::Query if spec.gated => vec![2 * spec.query_width(), hidden],
        LayerPart::Query => vec![spec.query_width(), hidden],
        LayerPart::Key | LayerPart::Value => vec![spec.kv_width(), hidden],
        LayerPart::Output => vec![hidden, spec.query_width()],
        LayerPart::QueryNorm => norm(spec.heads),
        LayerPart::KeyNorm => norm(spec.kv_heads),
        _ => vec![spec.heads],
    }
}

fn latent(spec: &LatentSpec, part: LayerPart, hidden: usize) -> Vec<usize> {
    let query_rank = spec.query_rank.unwrap_or(hidden);
    match part {
        LayerPart::QueryDown => vec![query_rank, hidden],
        LayerPart::QueryDownNorm => vec![query_rank],
        LayerPart::Query | LayerPart::QueryUp => vec![spec.heads * spec.query_dim(), query_rank],
        LayerPart::Latent => vec![spec.cached_width(), hidden],
        LayerPart::LatentNorm => vec![spec.rank],
        LayerPart::LatentUp => vec![spec.heads * (spec.plain_dim + spec.value_dim), spec.rank],
        LayerPart::LatentKey => vec![spec.heads, spec.rank, spec.plain_dim],
        LayerPart::LatentValue => vec![spec.heads, spec.value_dim, spec.rank],
        _ => vec![hidden, spec.heads * spec.value_dim],
    }
}

fn mlp(spec: &MlpSpec, part: LayerPart, hidden: usize) -> Vec<usize> {
    match part {
        LayerPart::Down | LayerPart::SharedDown => vec![hidden, spec.inner],
        _ => vec![spec.inner, hidden],
    }
}
