//! Gemma (<https://arxiv.org/abs/2403.08295>): scaled embeddings, norms that add one, GeGLU. Gemma 2
//! (<https://arxiv.org/abs/2408.00118>): norms before and after each part, soft caps, a window in every other layer.
//! Gemma 3 (<https://arxiv.org/abs/2503.19786>): norms on query and key heads instead of the caps, a window in five of six
//! layers with a rotary base of its own.

use serde_json::{Value as Json, json};

use super::config::{Config, each_attention, each_mlp, slide};
use super::{Described, Family, SpecError, gguf, llama, rope, wrapped};
use crate::gguf::Gguf;
use crate::parts::Names;
use crate::spec::{Activation, DecoderSpec, HeadNorm, Norm, Placement, RopeStyle};

pub(super) const GEMMA: Family = Family { architecture: "gemma", from_config: gemma, from_gguf: Some(gemma_gguf) };
pub(super) const GEMMA2: Family = Family { architecture: "gemma2", from_config: gemma2, from_gguf: Some(gemma2_gguf) };
pub(super) const GEMMA3: Family = Family { architecture: "gemma3_text", from_config: gemma3, from_gguf: None };
/// With a tower that sees images, which is left out; and as GGUF files call the text model.
pub(super) const GEMMA3_GGUF: Family =
    Family { architecture: "gemma3", from_config: wrapped::from_config, from_gguf: Some(gemma3_gguf) };

pub(super) const SANDWICH_NAMES: Names = Names {
    attention_after: "post_attention_layernorm",
    feed_forward_norm: "pre_feedforward_layernorm",
    feed_forward_after: "post_feedforward_layernorm",
    ..llama::NAMES
};

pub(super) use super::rope::{FULL, SLIDING};

fn gemma(config: &Json) -> Result<Described, SpecError> {
    let own = json!({
        "hidden_size": 3072, "intermediate_size": 24576, "num_hidden_layers": 28, "num_attention_heads": 16,
        "num_key_value_heads": 16,
    });
    let config = Config::new(config, defaults(own))?;
    let mut spec = decoder(&config)?;
    // Published configs say `gelu` and mean its approximation: `GemmaConfig` of transformers.
    let activation = match config.activation(&["hidden_act"])? {
        Activation::Gelu => Activation::GeluTanh,
        other => other,
    };
    each_mlp(&mut spec, |mlp| mlp.activation = activation);
    Ok(Described { spec, names: llama::NAMES })
}

fn gemma2(config: &Json) -> Result<Described, SpecError> {
    let own = json!({"attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0});
    let config = Config::new(config, defaults(own))?;
    let mut spec = sandwich(&config)?;
    let sliding = config.sliding_layers(spec.layers.len(), |index| index % 2 == 0)?;
    slide(&mut spec, &sliding, config.window()?);
    Ok(Described { spec, names: SANDWICH_NAMES })
}

fn gemma3(config: &Json) -> Result<Described, SpecError> {
    let own = json!({
        "vocab_size": 262_208, "max_position_embeddings": 131_072, "rope_theta": 1e6, "rope_local_base_freq": 1e4,
        "sliding_window_pattern": 6,
    });
    // Its attention has no cap, even where a config names one.
    let config = Config::new(config, defaults(own))?.without(&["attn_logit_softcapping"]);
    let mut spec = sandwich(&config)?;
    let context = spec.context;
    let pattern = config.size("sliding_window_pattern")?;
    let sliding = config.sliding_layers(spec.layers.len(), |index| !(index + 1).is_multiple_of(pattern))?;
    slide(&mut spec, &sliding, config.window()?);
    let mut problem = None;
    each_attention(&mut spec, |index, attention| {
        attention.head_norm = Some(HeadNorm::Shared);
        let kind = if sliding[index] { rope::SLIDING } else { rope::FULL };
        match rope::read(&config, Some(kind), attention.head_dim, context) {
            Ok(rope) => attention.rope = Some(rope),
            Err(reason) => problem = Some(reason),
        }
    });
    problem.map_or(Ok(Described { spec, names: SANDWICH_NAMES }), Err)
}

/// The converter adds the one to the norms.
fn gemma_gguf(file: &Gguf) -> Result<Described, SpecError> {
    decoder_gguf(&gguf::Meta::new(file, "gemma"))
}

/// Which layers slide, the caps of older files, and the scale of the largest model (27B) are in no metadata: llama.cpp's
/// `src/models/gemma2.cpp` has them.
fn gemma2_gguf(file: &Gguf) -> Result<Described, SpecError> {
    const LARGEST_LAYERS: usize = 46;
    let meta = gguf::Meta::new(file, "gemma2");
    let mut described = sandwich_gguf(&meta, LARGEST_LAYERS)?;
    let spec = &mut described.spec;
    spec.logit_cap = spec.logit_cap.or(Some(30.0));
    each_attention(spec, |_, attention| attention.score_cap = attention.score_cap.or(Some(50.0)));
    meta.slide(spec, Some(4096), 2)?;
    Ok(described)
}

/// As with Gemma 2: `src/models/gemma3.cpp`.
fn gemma3_gguf(file: &Gguf) -> Result<Described, SpecError> {
    const LARGEST_LAYERS: usize = 62;
    let meta = gguf::Meta::new(file, "gemma3");
    let mut described = sandwich_gguf(&meta, LARGEST_LAYERS)?;
    let sliding = meta.slide(&mut described.spec, None, 6)?;
    let local = meta.optional_number("rope.freq_base_swa")?.unwrap_or(1e4);
    each_attention(&mut described.spec, |index, attention| {
        if sliding[index] {
            attention.rope = attention.rope.as_ref().map(|rope| rope::plain(rope, local));
        }
    });
    Ok(described)
}

fn decoder_gguf(meta: &gguf::Meta<'_>) -> Result<Described, SpecError> {
    let mut described = gguf::decoder(meta, &gguf::Fixed::new(RopeStyle::Neox))?;
    described.spec.embedding_scale = (described.spec.hidden as f64).sqrt() as f32;
    each_mlp(&mut described.spec, |mlp| mlp.activation = Activation::GeluTanh);
    Ok(described)
}

/// The scale of a model of so many layers goes by the width of the residual stream for each head, not by the head's.
fn sandwich_gguf(meta: &gguf::Meta<'_>, largest_layers: usize) -> Result<Described, SpecError> {
    let mut described = decoder_gguf(meta)?;
    let spec = &mut described.spec;
    for layer in &mut spec.layers {
        layer.placement = Placement::Around;
    }
    let hidden = spec.hidden;
    if spec.layers.len() == largest_layers {
        each_attention(spec, |_, attention| {
            attention.scale = ((hidden / attention.heads) as f64).powf(-0.5) as f32;
        });
    }
    Ok(described)
}

/// What all generations have where a config does not say, and `own`.
fn defaults(own: Json) -> Json {
    let mut defaults = json!({
        "rms_norm_eps": 1e-6, "head_dim": 256, "tie_word_embeddings": true, "query_pre_attn_scalar": 256,
        "sliding_window": 4096, "hidden_act": "gelu_pytorch_tanh", "hidden_activation": "gelu_pytorch_tanh",
        "vocab_size": 256_000, "hidden_size": 2304, "intermediate_size": 9216, "num_hidden_layers": 26,
        "num_attention_heads": 8, "num_key_value_heads": 4, "max_position_embeddings": 8192,
    });
    if let (Json::Object(defaults), Json::Object(own)) = (&mut defaults, own) {
        defaults.extend(own);
    }
    defaults
}

fn decoder(config: &Config) -> Result<DecoderSpec, SpecError> {
    config.refuse("use_bidirectional_attention")?;
    let mut spec = config.decoder()?;
    spec.norm = Norm::RmsPlusOne;
    spec.embedding_scale = (spec.hidden as f64).sqrt() as f32;
    Ok(spec)
}

/// What Gemma 2 and 3 share.
fn sandwich(config: &Config) -> Result<DecoderSpec, SpecError> {
    let mut spec = decoder(config)?;
    spec.logit_cap = config.optional_number("final_logit_softcapping")?.map(|cap| cap as f32);
    for layer in &mut spec.layers {
        layer.placement = Placement::Around;
    }
    let activation = config.activation(&["hidden_activation"])?;
    each_mlp(&mut spec, |mlp| mlp.activation = activation);
    let cap = config.optional_number("attn_logit_softcapping")?.map(|cap| cap as f32);
    let scale = config.number("query_pre_attn_scalar")?.powf(-0.5) as f32;
    each_attention(&mut spec, |_, attention| {
        attention.score_cap = cap;
        attention.scale = scale;
    });
    Ok(spec)
}
