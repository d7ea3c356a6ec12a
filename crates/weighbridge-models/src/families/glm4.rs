//! GLM-4-0414 (transformers' `modeling_glm4.py`): norms before and after each part, fused gate and up, biases on query,
//! key and value, half of a head turns, neighbours together. GLM-4.5 to 4.7 (<https://arxiv.org/abs/2508.06471>,
//! transformers' `modeling_glm4_moe.py`): one norm before each part, norms on query and key heads in the larger ones,
//! experts chosen as by DeepSeek V3, halves of what turns together.

use serde_json::{Value as Json, json};

use super::config::{Config, each_attention};
use super::{Described, Family, SpecError, deepseek, gguf, llama};
use crate::gguf::Gguf;
use crate::parts::{Fusion, Names};
use crate::spec::{HeadNorm, Placement, RopeStyle, RouterSpec, Scoring};

pub(super) const FAMILY: Family = Family { architecture: "glm4", from_config, from_gguf: Some(from_gguf) };
pub(super) const MOE: Family = Family { architecture: "glm4_moe", from_config: moe, from_gguf: None };

const NAMES: Names = Names {
    attention_after: "post_self_attn_layernorm",
    feed_forward_after: "post_mlp_layernorm",
    gate: "mlp.gate_up_proj",
    gate_up: Fusion::Fused,
    ..llama::NAMES
};

fn from_config(config: &Json) -> Result<Described, SpecError> {
    let defaults = json!({
        "rms_norm_eps": 1.5625e-7, "num_key_value_heads": 2, "head_dim": 128, "partial_rotary_factor": 0.5,
        "attention_bias": true, "vocab_size": 151_552, "hidden_size": 4096, "intermediate_size": 13696,
        "num_hidden_layers": 40, "num_attention_heads": 32, "max_position_embeddings": 131_072,
    });
    let config = Config::new(config, defaults)?;
    let mut spec = config.decoder()?;
    for layer in &mut spec.layers {
        layer.placement = Placement::Around;
    }
    each_attention(&mut spec, |_, attention| {
        attention.output_bias = false;
        if let Some(rope) = &mut attention.rope {
            rope.style = RopeStyle::Interleaved;
        }
    });
    Ok(Described { spec, names: NAMES })
}

fn moe(config: &Json) -> Result<Described, SpecError> {
    let defaults = json!({
        "rms_norm_eps": 1e-5, "num_key_value_heads": 8, "partial_rotary_factor": 0.5, "moe_intermediate_size": 1408,
        "num_experts_per_tok": 8, "n_routed_experts": 128, "n_shared_experts": 1, "routed_scaling_factor": 1.0,
        "n_group": 1, "topk_group": 1, "first_k_dense_replace": 1, "norm_topk_prob": true,
    });
    let config = Config::new(config, defaults)?;
    config.expect("scoring_func", "sigmoid")?;
    config.expect("topk_method", "noaux_tc")?;
    let mut spec = config.decoder()?;
    let head_norm = config.flag("use_qk_norm")?.then_some(HeadNorm::Shared);
    each_attention(&mut spec, |_, attention| {
        attention.output_bias = false;
        attention.head_norm = head_norm;
    });
    let router = RouterSpec {
        choice_bias: true,
        groups: deepseek::groups(&config, 2)?,
        renormalise: config.flag("norm_topk_prob")?,
        scale: config.number("routed_scaling_factor")? as f32,
        ..RouterSpec::of(Scoring::Sigmoid)
    };
    let mixture = deepseek::mixture(&config, router)?;
    deepseek::sparse(&config, &mut spec, &mixture)?;
    Ok(Described { spec, names: llama::NAMES })
}

fn from_gguf(file: &Gguf) -> Result<Described, SpecError> {
    let meta = gguf::Meta::new(file, "glm4");
    // Of a model that sees images the converter reorders rows, so that halves turn together; for text alone the
    // sections make no difference.
    let sections = file.integers(&meta.key("rope.dimension_sections"))?.unwrap_or_default();
    let sees = sections.iter().filter(|&&width| width > 0).count() > 1;
    let style = if sees { RopeStyle::Neox } else { RopeStyle::Interleaved };
    let mut described = gguf::decoder(&meta, &gguf::Fixed::new(style))?;
    for layer in &mut described.spec.layers {
        layer.placement = Placement::Around;
    }
    described.names = Names { gate: "ffn_up", gate_up: Fusion::Fused, ..described.names };
    Ok(described)
}
