//! Phi-1.5 and Phi-2 (transformers' `modeling_phi.py`): attention and an ungated feed-forward part side by side on one
//! LayerNorm, biases everywhere, part of a head turns. Phi-3 to Phi-4 (<https://arxiv.org/abs/2404.14219>): Llama in
//! fused projections, with longrope. Phi-3.5-MoE (transformers' `modeling_phimoe.py`): two of 16 experts by SparseMixer,
//! LayerNorm.

use serde_json::{Value as Json, json};

use super::config::{Config, each_attention, each_mlp};
use super::{Described, Family, SIZE_MAX, SpecError, experts, gguf, llama};
use crate::gguf::Gguf;
use crate::parts::{Fusion, Names};
use crate::spec::{
    Activation, DecoderSpec, FeedForwardSpec, HeadNorm, Norm, Placement, RopeStyle, RouterSpec, Scoring, Span,
};

pub(super) const PHI: Family = Family { architecture: "phi", from_config: phi, from_gguf: None };
pub(super) const PHI3: Family = Family { architecture: "phi3", from_config: phi3, from_gguf: Some(phi3_gguf) };
pub(super) const PHIMOE: Family = Family { architecture: "phimoe", from_config: phimoe, from_gguf: Some(phimoe_gguf) };

const PHI_NAMES: Names = Names {
    final_norm: "model.final_layernorm",
    output: "self_attn.dense",
    query_norm: "self_attn.q_layernorm",
    key_norm: "self_attn.k_layernorm",
    up: "mlp.fc1",
    down: "mlp.fc2",
    ..llama::NAMES
};

const PHI3_NAMES: Names = Names {
    query: "self_attn.qkv_proj",
    qkv: Fusion::Fused,
    gate: "mlp.gate_up_proj",
    gate_up: Fusion::Fused,
    ..llama::NAMES
};

const PHIMOE_NAMES: Names = Names {
    router: "block_sparse_moe.gate",
    expert_gate: "block_sparse_moe.experts.*.w1",
    expert_up: "block_sparse_moe.experts.*.w3",
    expert_down: "block_sparse_moe.experts.*.w2",
    ..llama::NAMES
};

fn phi(config: &Json) -> Result<Described, SpecError> {
    let defaults = json!({
        "layer_norm_eps": 1e-5, "partial_rotary_factor": 0.5, "hidden_act": "gelu_new", "vocab_size": 51200,
        "hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 24, "num_attention_heads": 32,
        "max_position_embeddings": 2048,
    });
    let config = Config::new(config, defaults)?;
    let head_norm = config.flag("qk_layernorm")?.then_some(HeadNorm::Shared);
    let mut spec = config.decoder_with_eps("layer_norm_eps")?;
    spec.norm = Norm::LayerBias;
    spec.head_bias = true;
    for layer in &mut spec.layers {
        layer.placement = Placement::Parallel;
    }
    each_attention(&mut spec, |_, attention| {
        attention.head_norm = head_norm;
        attention.qkv_bias = true;
        attention.output_bias = true;
    });
    each_mlp(&mut spec, |mlp| {
        mlp.gated = false;
        mlp.bias = true;
    });
    Ok(Described { spec, names: PHI_NAMES })
}

fn phi3(config: &Json) -> Result<Described, SpecError> {
    let defaults = json!({
        "rms_norm_eps": 1e-5, "partial_rotary_factor": 1.0, "vocab_size": 32064, "hidden_size": 3072,
        "intermediate_size": 8192, "num_hidden_layers": 32, "num_attention_heads": 32,
        "max_position_embeddings": 4096, "original_max_position_embeddings": 4096,
    });
    let config = Config::new(config, defaults)?.without(&["attention_bias", "mlp_bias"]);
    let mut spec = config.decoder()?;
    let window = config.window()?;
    each_attention(&mut spec, |_, attention| {
        attention.span = window;
    });
    Ok(Described { spec, names: PHI3_NAMES })
}

fn phimoe(config: &Json) -> Result<Described, SpecError> {
    let defaults = json!({
        "rms_norm_eps": 1e-5, "num_key_value_heads": 8, "rope_theta": 1e6, "num_experts_per_tok": 2,
        "num_local_experts": 16, "router_jitter_noise": 0.01, "vocab_size": 32064, "hidden_size": 4096,
        "intermediate_size": 6400, "num_hidden_layers": 32, "num_attention_heads": 32,
        "max_position_embeddings": 131_072,
    });
    let config = Config::new(config, defaults)?;
    let mut spec = config.decoder()?;
    spec.norm = Norm::LayerBias;
    spec.head_bias = config.flag("lm_head_bias")?;
    let window = config.window()?;
    each_attention(&mut spec, |_, attention| attention.span = window);
    let jitter = config.number_from_zero("router_jitter_noise")? as f32;
    let router = RouterSpec::of(Scoring::SparseMixer { jitter });
    let mixture = experts::mixture(&config, "num_local_experts", "intermediate_size", router)?;
    if mixture.chosen != 2 {
        let problem = format!("is {}; its router chooses 2", mixture.chosen);
        return Err(SpecError::field("num_experts_per_tok", problem));
    }
    experts::place(&mut spec, &mixture, |_| true);
    Ok(Described { spec, names: PHIMOE_NAMES })
}

/// Known as `phi2`.
pub(super) fn phi_gguf(file: &Gguf) -> Result<Described, SpecError> {
    let fixed = gguf::Fixed { norm: Norm::LayerBias, ..gguf::Fixed::new(RopeStyle::Neox) };
    let mut described = gguf::decoder(&gguf::Meta::new(file, "phi2"), &fixed)?;
    for layer in &mut described.spec.layers {
        layer.placement = Placement::Parallel;
    }
    each_mlp(&mut described.spec, |mlp| {
        mlp.activation = Activation::GeluTanh;
        mlp.gated = false;
    });
    Ok(described)
}

fn phi3_gguf(file: &Gguf) -> Result<Described, SpecError> {
    let meta = gguf::Meta::new(file, "phi3");
    let mut described = gguf::decoder(&meta, &gguf::Fixed::new(RopeStyle::Neox))?;
    window(&meta, &mut described.spec)?;
    described.names = Names { gate: "ffn_up", gate_up: Fusion::Fused, ..described.names };
    for layer in &mut described.spec.layers {
        if let FeedForwardSpec::Experts(_) = layer.feed_forward {
            return Err(SpecError::field("phi3.expert_count", "asks for experts, which phi3 does not have"));
        }
    }
    Ok(described)
}

/// As its makers compute it: LayerNorm and SparseMixer with the jitter of the published model, which is in no metadata.
/// llama.cpp has RMS norms and a plain softmax for it.
fn phimoe_gguf(file: &Gguf) -> Result<Described, SpecError> {
    let meta = gguf::Meta::new(file, "phimoe");
    let router = RouterSpec::of(Scoring::SparseMixer { jitter: 0.01 });
    let fixed = gguf::Fixed { norm: Norm::LayerBias, router, ..gguf::Fixed::new(RopeStyle::Neox) };
    let mut described = gguf::decoder(&meta, &fixed)?;
    window(&meta, &mut described.spec)?;
    if meta.required("expert_used_count", SIZE_MAX)? != 2 {
        return Err(SpecError::field(meta.key("expert_used_count"), "is not 2, as many as its router chooses"));
    }
    Ok(described)
}

/// The window of every layer.
fn window(meta: &gguf::Meta<'_>, spec: &mut DecoderSpec) -> Result<(), SpecError> {
    let window = meta.optional("attention.sliding_window")?.map_or(Span::Full, Span::Sliding);
    each_attention(spec, |_, attention| attention.span = window);
    Ok(())
}
