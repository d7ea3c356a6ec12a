//! Command R and R+ (transformers' `modeling_cohere.py`): attention and feed-forward side by side on one LayerNorm
//! without bias, neighbours turn together, scaled logits; R+ has a norm of its own on each query and key head. Command
//! R7B and A (`modeling_cohere2.py`): three of four layers look back over a window, the others know no positions. With
//! experts (`modeling_cohere2_moe.py`): in all layers but the first few, which may know positions in any case.

use serde_json::{Value as Json, json};

use super::config::{Config, each_attention, each_mlp, slide};
use super::{Described, Family, SpecError, experts, gguf, llama};
use crate::gguf::Gguf;
use crate::spec::{DecoderSpec, ExpertsSpec, HeadNorm, MlpSpec, Norm, Placement, RopeStyle, RouterSpec, Scoring};

pub(super) const COHERE: Family = Family { architecture: "cohere", from_config: cohere, from_gguf: None };
pub(super) const COHERE2: Family =
    Family { architecture: "cohere2", from_config: cohere2, from_gguf: Some(cohere2_gguf) };
pub(super) const COHERE2_MOE: Family =
    Family { architecture: "cohere2_moe", from_config: cohere2_moe, from_gguf: None };

fn cohere(config: &Json) -> Result<Described, SpecError> {
    let mut own = defaults();
    own["rope_theta"] = json!(5e5);
    let config = Config::new(config, own)?;
    let mut spec = decoder(&config)?;
    let head_norm = config.flag("use_qk_norm")?.then_some(HeadNorm::Each);
    each_attention(&mut spec, |_, attention| attention.head_norm = head_norm);
    Ok(Described { spec, names: llama::NAMES })
}

fn cohere2(config: &Json) -> Result<Described, SpecError> {
    let config = Config::new(config, defaults())?;
    let mut spec = decoder(&config)?;
    let pattern = config.size("sliding_window_pattern")?;
    let sliding = config.sliding_layers(spec.layers.len(), |index| !(index + 1).is_multiple_of(pattern))?;
    slide(&mut spec, &sliding, config.window()?);
    each_attention(&mut spec, |index, attention| {
        if !sliding[index] {
            attention.rope = None;
        }
    });
    Ok(Described { spec, names: llama::NAMES })
}

fn cohere2_moe(config: &Json) -> Result<Described, SpecError> {
    let mut defaults = defaults();
    for (field, value) in [
        ("head_dim", json!(128)),
        ("num_experts_per_tok", json!(2)),
        ("num_experts", json!(8)),
        ("prefix_dense_sliding_window_pattern", json!(1)),
        ("norm_topk_prob", json!(true)),
    ] {
        defaults[field] = value;
    }
    let config = Config::new(config, defaults)?;
    let mut spec = decoder(&config)?;
    if let Some(eps) = config.optional_number("rms_norm_eps")? {
        spec.norm = Norm::Rms;
        spec.norm_eps = eps as f32;
    }
    let layers = spec.layers.len();
    let prefix = config.count("first_k_dense_replace")?;
    let sparse = config.named_layers("mlp_layer_types", ["sparse", "dense"], layers)?;
    let sparse = sparse.unwrap_or_else(|| (0..layers).map(|index| index >= prefix).collect());

    let prefix_pattern = config.size("prefix_dense_sliding_window_pattern")?;
    let pattern = config.size("sliding_window_pattern")?;
    let sliding = config.sliding_layers(layers, |index| match index.checked_sub(prefix) {
        Some(index) => !(index + 1).is_multiple_of(pattern),
        None => !(index + 1).is_multiple_of(prefix_pattern),
    })?;
    slide(&mut spec, &sliding, config.window()?);
    each_attention(&mut spec, |index, attention| {
        let turns_anyway = !sparse[index] && prefix_pattern == 1;
        if !sliding[index] && !turns_anyway {
            attention.rope = None;
        }
    });

    let inner = config.optional_size("prefix_dense_intermediate_size")?;
    each_mlp(&mut spec, |mlp| {
        mlp.inner = inner.unwrap_or(mlp.inner);
        mlp.bias = false;
    });
    experts::place(&mut spec, &mixture(&config)?, |index| sparse[index]);
    Ok(Described { spec, names: llama::NAMES })
}

fn mixture(config: &Config) -> Result<ExpertsSpec, SpecError> {
    let scoring = match config.text("expert_selection_fn")? {
        None | Some("softmax") => Scoring::SoftmaxOfChosen,
        Some("sigmoid") => Scoring::Sigmoid,
        Some(other) => {
            let problem = format!("is `{other}`; supported: softmax, sigmoid");
            return Err(SpecError::field("expert_selection_fn", problem));
        }
    };
    let renormalise = scoring == Scoring::Sigmoid && config.flag("norm_topk_prob")?;
    let router = RouterSpec { renormalise, ..RouterSpec::of(scoring) };
    let mut mixture = experts::mixture(config, "num_experts", "intermediate_size", router)?;
    let shared = config.count("num_shared_experts")?;
    if shared > 0 {
        let share = match config.text("shared_expert_combination_strategy")? {
            None | Some("average") => 0.5,
            Some("sum") => 1.0,
            Some(other) => {
                let problem = format!("is `{other}`; supported: average, sum");
                return Err(SpecError::field("shared_expert_combination_strategy", problem));
            }
        };
        mixture.shared = Some(MlpSpec { inner: shared * mixture.expert.inner, ..mixture.expert });
        mixture.shared_scale = share;
        mixture.router.scale = share;
    }
    Ok(mixture)
}

/// Known as `command-r`.
pub(super) fn cohere_gguf(file: &Gguf) -> Result<Described, SpecError> {
    let mut described = decoder_gguf(&gguf::Meta::new(file, "command-r"))?;
    each_attention(&mut described.spec, |_, attention| {
        attention.head_norm = attention.head_norm.map(|_| HeadNorm::Each);
    });
    Ok(described)
}

fn cohere2_gguf(file: &Gguf) -> Result<Described, SpecError> {
    let meta = gguf::Meta::new(file, "cohere2");
    let mut described = decoder_gguf(&meta)?;
    let sliding = meta.slide(&mut described.spec, None, 4)?;
    each_attention(&mut described.spec, |index, attention| {
        if !sliding[index] {
            attention.rope = None;
        }
    });
    Ok(described)
}

fn decoder_gguf(meta: &gguf::Meta<'_>) -> Result<Described, SpecError> {
    let fixed = gguf::Fixed { norm: Norm::Layer, ..gguf::Fixed::new(RopeStyle::Interleaved) };
    let mut described = gguf::decoder(meta, &fixed)?;
    described.spec.logit_scale = meta.optional_number("logit_scale")?.unwrap_or(1.0) as f32;
    for layer in &mut described.spec.layers {
        layer.placement = Placement::Parallel;
    }
    Ok(described)
}

fn defaults() -> Json {
    json!({
        "layer_norm_eps": 1e-5, "logit_scale": 0.0625, "tie_word_embeddings": true, "sliding_window": 4096,
        "sliding_window_pattern": 4, "vocab_size": 256_000, "hidden_size": 8192, "intermediate_size": 22528,
        "num_hidden_layers": 40, "num_attention_heads": 64, "max_position_embeddings": 8192,
    })
}

fn decoder(config: &Config) -> Result<DecoderSpec, SpecError> {
    let mut spec = config.decoder_with_eps("layer_norm_eps")?;
    spec.norm = Norm::Layer;
    spec.logit_scale = config.number("logit_scale")? as f32;
    for layer in &mut spec.layers {
        layer.placement = Placement::Parallel;
    }
    each_attention(&mut spec, |_, attention| {
        if let Some(rope) = &mut attention.rope {
            rope.style = RopeStyle::Interleaved;
        }
    });
    Ok(spec)
}
