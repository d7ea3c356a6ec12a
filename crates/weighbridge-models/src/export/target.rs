//! Which architecture of GGUF a decoder goes by, and what its files can say.

use super::{Inexpressible, inexpressible};
use crate::families::GGUF_NAMES;
use crate::parts::{Fusion, Names};
use crate::spec::{
    Activation, AttentionSpec, DecoderSpec, FeedForwardSpec, HeadNorm, KeysValues, LayerSpec, MixerSpec, MlpSpec, Norm,
    Placement, RopeScaling, Scoring, Span,
};

/// An architecture of GGUF.
pub(super) struct Target {
    /// As `model_type` of a config names them.
    families: &'static [&'static str],
    /// As `general.architecture` names it.
    pub(super) architecture: &'static str,
    /// Whether its readers turn neighbours, so that rows of query and key are put beside those they turn with.
    pub(super) turns_neighbours: bool,
    norm: Norm,
    placement: Placement,
    activation: Activation,
    head_norm: Option<HeadNorm>,
    /// Whether query, key and value have biases; none where they may or may not.
    qkv_bias: Option<bool>,
    windows: Windows,
    pub(super) experts: Experts,
    /// Whether embeddings are multiplied by the root of their width.
    scales_embedding: bool,
    /// Whether scores and logits have soft caps.
    score_cap: bool,
    fused: bool,
}

/// Which layers look back over a window only.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Windows {
    Nowhere,
    /// In all layers or none.
    Everywhere,
    /// In all but every so manieth layer.
    AllBut(usize),
}

/// Whether layers have experts.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Experts {
    Never,
    Perhaps,
    Always,
}

const LLAMA: Target = Target {
    families: &["llama", "mistral", "mixtral"],
    architecture: "llama",
    turns_neighbours: true,
    norm: Norm::Rms,
    placement: Placement::Before,
    activation: Activation::Silu,
    head_norm: None,
    qkv_bias: None,
    windows: Windows::Nowhere,
    experts: Experts::Perhaps,
    scales_embedding: false,
    score_cap: false,
    fused: false,
};
const QWEN2: Target = Target {
    families: &["qwen2"],
    architecture: "qwen2",
    turns_neighbours: false,
    qkv_bias: Some(true),
    experts: Experts::Never,
    ..LLAMA
};
const QWEN3: Target = Target {
    families: &["qwen3"],
    architecture: "qwen3",
    head_norm: Some(HeadNorm::Shared),
    qkv_bias: Some(false),
    ..QWEN2
};
const QWEN3_MOE: Target =
    Target { families: &["qwen3_moe"], architecture: "qwen3moe", experts: Experts::Always, ..QWEN3 };
const PHI3: Target = Target {
    families: &["phi3"],
    architecture: "phi3",
    qkv_bias: Some(false),
    windows: Windows::Everywhere,
    fused: true,
    ..QWEN2
};
const GEMMA2: Target = Target {
    families: &["gemma2"],
    architecture: "gemma2",
    norm: Norm::RmsPlusOne,
    placement: Placement::Around,
    activation: Activation::GeluTanh,
    qkv_bias: Some(false),
    windows: Windows::AllBut(2),
    scales_embedding: true,
    score_cap: true,
    ..QWEN2
};
const GEMMA3: Target = Target {
    families: &["gemma3_text"],
    architecture: "gemma3",
    head_norm: Some(HeadNorm::Shared),
    windows: Windows::AllBut(6),
    score_cap: false,
    ..GEMMA2
};

const TARGETS: [&Target; 7] = [&LLAMA, &QWEN2, &QWEN3, &QWEN3_MOE, &PHI3, &GEMMA2, &GEMMA3];

/// Layers of the largest Gemma 2 and 3 (27B), whose scores readers scale by another width than that of a head.
const GEMMA2_LARGEST: usize = 46;
const GEMMA3_LARGEST: usize = 62;

/// The architecture of a decoder.
pub(super) fn find(spec: &DecoderSpec) -> Result<&'static Target, Inexpressible> {
    let is = |target: &&&Target| target.families.contains(&spec.architecture.as_str());
    TARGETS.iter().find(is).copied().ok_or_else(|| {
        let known: Vec<_> = TARGETS.iter().flat_map(|target| target.families).copied().collect();
        let problem = format!("cannot be written as gguf yet; supported: {}", known.join(", "));
        inexpressible(format!("architecture `{}`", spec.architecture), &problem)
    })
}

impl Target {
    pub(super) fn names(&self) -> Names {
        if !self.fused {
            return GGUF_NAMES;
        }
        Names { query: "attn_qkv", qkv: Fusion::Fused, gate: "ffn_up", gate_up: Fusion::Fused, ..GGUF_NAMES }
    }

    /// Checks that the file can say all that there is to say about a decoder, so that it comes back as it was.
    pub(super) fn check(&self, spec: &DecoderSpec) -> Result<(), Inexpressible> {
        let root = (spec.hidden as f64).sqrt() as f32;
        self.only("the kind of norm", spec.norm == self.norm)?;
        self.only("the scale of embeddings", spec.embedding_scale == if self.scales_embedding { root } else { 1.0 })?;
        self.only("the scale of logits", spec.logit_scale == 1.0)?;
        self.only("the soft cap of logits", spec.logit_cap.is_none() || self.scales_embedding)?;
        self.only("a bias of the head", !spec.head_bias)?;
        self.only("rows for each layer", spec.per_layer.is_none())?;
        self.only("several residual streams", spec.streams.is_none() && spec.hyper.is_none())?;
        self.only("learned positions", !spec.learned_rope)?;
        for (index, layer) in spec.layers.iter().enumerate() {
            self.layer(spec, index, layer)?;
        }
        Ok(())
    }

    fn layer(&self, spec: &DecoderSpec, index: usize, layer: &LayerSpec) -> Result<(), Inexpressible> {
        self.only("where norms stand", layer.placement == self.placement)?;
        self.only("the scale of residuals", layer.residual_scale == 1.0)?;
        self.only("what goes around attention", layer.laurel.is_none())?;
        self.only("the scale of a layer", !layer.output_scale)?;
        let MixerSpec::Attention(attention) = &layer.mixer else {
            return self.only("what is not plain attention", false);
        };
        self.attention(spec, index, attention)?;
        match &layer.feed_forward {
            FeedForwardSpec::Dense(mlp) => {
                self.only("a layer without experts", self.experts != Experts::Always)?;
                self.mlp(mlp, true)?;
            }
            FeedForwardSpec::Beside(..) => self.only("experts beside a dense part", false)?,
            FeedForwardSpec::Experts(experts) => {
                self.only("a layer with experts", self.experts != Experts::Never)?;
                self.mlp(&experts.expert, false)?;
                self.only("a shared expert", experts.shared.is_none())?;
                let router = &experts.router;
                let softmax = matches!(router.scoring, Scoring::Softmax | Scoring::SoftmaxOfChosen);
                // The softmax over those chosen is the one over all, renormalised.
                let is_renormalised = router.renormalise || router.scoring == Scoring::SoftmaxOfChosen;
                let plain = !router.bias && !router.choice_bias && router.groups.is_none() && !router.weighs_input;
                self.only("how experts are chosen", softmax && is_renormalised && plain && router.scale == 1.0)?;
            }
        }
        let first = &spec.layers[0];
        self.only("a layer of another width", first.feed_forward.inner_width() == layer.feed_forward.inner_width())?;
        let experts = |layer: &LayerSpec| matches!(layer.feed_forward, FeedForwardSpec::Experts(_));
        self.only("a layer without experts", experts(first) == experts(layer))
    }

    fn mlp(&self, mlp: &MlpSpec, may_have_bias: bool) -> Result<(), Inexpressible> {
        let has_bias = mlp.bias && !(may_have_bias && self.architecture == "llama");
        self.only("a bias of the feed-forward part", !has_bias)?;
        self.only("the function of the feed-forward part", mlp.gated && mlp.activation == self.activation)
    }

    fn attention(&self, spec: &DecoderSpec, index: usize, attention: &AttentionSpec) -> Result<(), Inexpressible> {
        let MixerSpec::Attention(first) = &spec.layers[0].mixer else { return Ok(()) };
        let shape = |it: &AttentionSpec| (it.heads, it.kv_heads, it.head_dim);
        self.only("a layer of other heads", shape(attention) == shape(first))?;
        self.only("norms of heads", attention.head_norm == self.head_norm)?;
        self.only("biases of queries", self.qkv_bias.is_none_or(|bias| attention.qkv_bias == bias))?;
        self.only("a bias of the output", !attention.output_bias || self.architecture == "llama")?;
        self.only("clipped queries", attention.clip.is_none())?;
        self.only("a soft cap of scores", attention.score_cap.is_some() == self.score_cap)?;
        self.only("queries that grow", attention.temperature.is_none())?;
        self.only("sinks", !attention.sinks)?;
        self.only("a gate of attention", !attention.gated)?;
        self.only("norms of values", !attention.value_norm)?;
        self.only("keys and values of another layer", attention.keys_values == KeysValues::Apart)?;
        let width = match (self.architecture, spec.layers.len()) {
            ("gemma2", GEMMA2_LARGEST) | ("gemma3", GEMMA3_LARGEST) => spec.hidden / attention.heads,
            _ => attention.head_dim,
        };
        self.only("the scale of scores", attention.scale == (width as f64).powf(-0.5) as f32)?;
        let slides = match self.windows {
            Windows::Nowhere => false,
            Windows::Everywhere => attention.span != Span::Full,
            Windows::AllBut(every) => !(index + 1).is_multiple_of(every),
        };
        let is_right = matches!((slides, attention.span), (true, Span::Sliding(_)) | (false, Span::Full));
        let window = self.windows == Windows::Nowhere || attention.span == Span::Full || {
            let first = spec.layers.iter().map(|layer| layer.mixer.span()).find(|&span| span != Span::Full);
            Some(attention.span) == first
        };
        self.only("which layers look back over a window", is_right && window)?;
        self.rope(spec, attention)
    }

    fn rope(&self, spec: &DecoderSpec, attention: &AttentionSpec) -> Result<(), Inexpressible> {
        let Some(rope) = &attention.rope else { return self.only("a layer without positions", false) };
        // Gemma 3 has one kind of positions for layers with windows and one for the others.
        let has_two = self.architecture == "gemma3";
        let is_local = has_two && attention.span != Span::Full;
        let alike = |layer: &&LayerSpec| !has_two || (layer.mixer.span() != Span::Full) == is_local;
        let first = spec.layers.iter().find(alike).and_then(|layer| layer.mixer.rope());
        self.only("a layer of other positions", first == Some(rope))?;
        self.only("heads that turn in part", rope.width == attention.head_dim || self.architecture == "phi3")?;
        let scaling = match &rope.scaling {
            RopeScaling::None => true,
            _ if is_local => false,
            RopeScaling::Linear { .. } => true,
            RopeScaling::Yarn { truncate, .. } => *truncate,
            RopeScaling::Llama3 { .. } => self.architecture == "llama",
            RopeScaling::Long { short_magnitude, long_magnitude, .. } => {
                self.architecture == "phi3" && short_magnitude == long_magnitude
            }
            RopeScaling::Dynamic { .. } | RopeScaling::Factors(_) | RopeScaling::Proportional { .. } => false,
        };
        self.only("how positions are stretched", scaling)
    }

    /// Refuses what the architecture's files do not hold.
    fn only(&self, what: &str, holds: bool) -> Result<(), Inexpressible> {
        if holds {
            return Ok(());
        }
        Err(inexpressible(what, &format!("is something that gguf files of `{}` cannot say", self.architecture)))
    }
}
