//! Gemma 4, text (transformers' `modeling_gemma4.py`): layers that see everything have heads of their own width, of
//! which the first pairs turn, and may take their values from the projection to keys. The last layers may use the keys
//! and values of earlier ones, each token may have a row for each layer, and experts may stand beside the feed-forward
//! part.

use serde_json::{Value as Json, json};

use super::config::{Config, each_attention, each_mlp, slide};
use super::{Described, Family, SpecError, check_heads, experts, gemma, gemma3n, rope, text_of};
use crate::parts::{Names, Packing};
use crate::spec::{DecoderSpec, FeedForwardSpec, KeysValues, PerLayerSpec, Placement, RouterSpec, Scoring};

pub(super) const TEXT: Family = Family { architecture: "gemma4_text", from_config: text, from_gguf: None };
pub(super) const GEMMA4: Family = Family { architecture: "gemma4", from_config: wrapped, from_gguf: None };

const NAMES: Names = Names {
    expert_gate: "experts.gate_up_proj",
    expert_down: "experts.down_proj",
    packing: Packing::Stacked,
    ..gemma::SANDWICH_NAMES
};

/// In checkpoints that see and hear as well, of which text alone is computed.
const WRAPPED: Names = Names {
    embedding: "model.language_model.embed_tokens",
    final_norm: "model.language_model.norm",
    layer: "model.language_model.layers",
    ..NAMES
};

fn wrapped(config: &Json) -> Result<Described, SpecError> {
    Ok(Described { names: WRAPPED, ..text(&text_of(config)?)? })
}

fn text(config: &Json) -> Result<Described, SpecError> {
    let config = Config::new(config, defaults(config))?;
    if config.text("use_bidirectional_attention")?.is_some_and(|tokens| tokens != "vision") {
        let problem = "lets all tokens see each other, which is not supported; supported: null, vision";
        return Err(SpecError::field("use_bidirectional_attention", problem));
    }
    config.refuse("per_layer_config")?;
    let mut spec = config.decoder()?;
    spec.embedding_scale = (spec.hidden as f64).sqrt() as f32;
    spec.logit_cap = config.optional_number("final_logit_softcapping")?.map(|cap| cap as f32);
    let activation = config.activation(&["hidden_activation"])?;
    for layer in &mut spec.layers {
        layer.placement = Placement::Around;
        layer.output_scale = true;
    }
    each_mlp(&mut spec, |mlp| {
        mlp.activation = activation;
        mlp.bias = false;
    });
    let width = config.count("hidden_size_per_layer_input")?;
    if width > 0 {
        let vocabulary = config.size("vocab_size_per_layer_input")?;
        spec.per_layer = Some(PerLayerSpec { width, vocabulary, activation });
    }
    attention(&config, &mut spec)?;
    if config.flag("use_double_wide_mlp")? {
        widen(&mut spec);
    }
    if config.flag("enable_moe_block")? {
        let config = config.with("num_experts_per_tok", config.get("top_k_experts").cloned().unwrap_or_default());
        let router = RouterSpec { renormalise: true, ..RouterSpec::of(Scoring::Softmax) };
        let mut mixture = experts::mixture(&config, "num_experts", "moe_intermediate_size", router)?;
        mixture.expert.activation = activation;
        for layer in &mut spec.layers {
            if let FeedForwardSpec::Dense(mlp) = layer.feed_forward {
                layer.feed_forward = FeedForwardSpec::Beside(mlp, mixture.clone());
            }
        }
    }
    Ok(Described { spec, names: NAMES })
}

fn attention(config: &Config, spec: &mut DecoderSpec) -> Result<(), SpecError> {
    let (layers, context) = (spec.layers.len(), spec.context);
    let mut sliding = config.sliding_layers(layers, |index| !(index + 1).is_multiple_of(6))?;
    // The last one sees everything, whatever the list says: `Gemma4TextConfig`.
    if let Some(last) = sliding.last_mut() {
        *last = false;
    }
    slide(spec, &sliding, config.window()?);

    let same = config.flag("attention_k_eq_v")?;
    let heads = config.size("num_attention_heads")?;
    let kv_heads = config.size("num_key_value_heads")?;
    let full_kv_heads = if same { config.optional_size("num_global_key_value_heads")? } else { None };
    let full_kv_heads = full_kv_heads.unwrap_or(kv_heads);
    let (head_dim, full_dim) = (config.size("head_dim")?, config.size("global_head_dim")?);
    check_heads(heads, full_kv_heads, full_dim)?;
    let local = rope::read(config, Some(gemma::SLIDING), head_dim, context)?;
    let full = rope::read(config, Some(gemma::FULL), full_dim, context)?;
    each_attention(spec, |index, attention| {
        gemma3n::normed(attention);
        if sliding[index] {
            attention.rope = Some(local.clone());
            return;
        }
        attention.rope = Some(full.clone());
        attention.head_dim = full_dim;
        attention.kv_heads = full_kv_heads;
        if same {
            attention.keys_values = KeysValues::Same;
        }
    });
    gemma3n::share(config, spec, &sliding)
}

/// Layers that use the keys of others have feed-forward parts of twice the width.
fn widen(spec: &mut DecoderSpec) {
    for layer in &mut spec.layers {
        if let (Some(_), FeedForwardSpec::Dense(mlp)) = (layer.mixer.source(), &mut layer.feed_forward) {
            mlp.inner *= 2;
        }
    }
}

/// Those of `Gemma4TextConfig`; the rope's own where the config has none.
fn defaults(config: &Json) -> Json {
    let mut defaults = json!({
        "rms_norm_eps": 1e-6, "num_key_value_heads": 4, "head_dim": 256, "global_head_dim": 512,
        "tie_word_embeddings": true, "hidden_activation": "gelu_pytorch_tanh", "sliding_window": 512,
        "vocab_size_per_layer_input": 262144, "hidden_size_per_layer_input": 256,
    });
    if !rope::is_said(config) {
        defaults["rope_parameters"] = json!({
            "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
            "full_attention": {"rope_type": "proportional", "partial_rotary_factor": 0.25, "rope_theta": 1e6},
        });
    }
    defaults
}
