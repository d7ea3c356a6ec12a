//! Llama 1 to 3 and the many models of its shape (<https://arxiv.org/abs/2302.13971>,
//! <https://arxiv.org/abs/2407.21783>): RMS norm before each part, rotary positions, grouped queries, SwiGLU.

use serde_json::{Value as Json, json};

use super::config::Config;
use super::{Described, Family, SpecError, gguf};
use crate::gguf::Gguf;
use crate::parts::{Fusion, Names, Packing};
use crate::spec::RopeStyle;

pub(super) const FAMILY: Family = Family { architecture: "llama", from_config, from_gguf: Some(from_gguf) };

/// As published on Hugging Face, for most families.
pub(super) const NAMES: Names = Names {
    embedding: "model.embed_tokens",
    final_norm: "model.norm",
    head: "lm_head",
    layer: "model.layers",
    attention_norm: "input_layernorm",
    query: "self_attn.q_proj",
    key: "self_attn.k_proj",
    value: "self_attn.v_proj",
    output: "self_attn.o_proj",
    query_norm: "self_attn.q_norm",
    key_norm: "self_attn.k_norm",
    sinks: "self_attn.sinks",
    query_down: "self_attn.q_a_proj",
    query_down_norm: "self_attn.q_a_layernorm",
    query_up: "self_attn.q_b_proj",
    latent: "self_attn.kv_a_proj_with_mqa",
    latent_norm: "self_attn.kv_a_layernorm",
    latent_up: "self_attn.kv_b_proj",
    latent_key: "self_attn.k_b_proj",
    latent_value: "self_attn.v_b_proj",
    latent_kv: Fusion::Fused,
    attention_after: "post_attention_layernorm",
    feed_forward_norm: "post_attention_layernorm",
    feed_forward_after: "post_feedforward_layernorm",
    gate: "mlp.gate_proj",
    up: "mlp.up_proj",
    down: "mlp.down_proj",
    router: "mlp.gate",
    choice_bias: "mlp.gate.e_score_correction_bias",
    expert_gate: "mlp.experts.*.gate_proj",
    expert_up: "mlp.experts.*.up_proj",
    expert_down: "mlp.experts.*.down_proj",
    shared_gate: "mlp.shared_experts.gate_proj",
    shared_up: "mlp.shared_experts.up_proj",
    shared_down: "mlp.shared_experts.down_proj",
    shared_switch: "mlp.shared_expert_gate",
    qkv: Fusion::Apart,
    delta: Fusion::Apart,
    gate_up: Fusion::Apart,
    packing: Packing::Plain,
};

fn from_config(config: &Json) -> Result<Described, SpecError> {
    let defaults = json!({
        "rms_norm_eps": 1e-6, "vocab_size": 32000, "hidden_size": 4096, "intermediate_size": 11008,
        "num_hidden_layers": 32, "num_attention_heads": 32, "max_position_embeddings": 2048,
    });
    let config = Config::new(config, defaults)?;
    Ok(Described { spec: config.decoder()?, names: NAMES })
}

/// The converter reorders the rows of query and key so that neighbours turn together. Mistral and Mixtral go by this
/// name as well.
fn from_gguf(file: &Gguf) -> Result<Described, SpecError> {
    gguf::decoder(&gguf::Meta::new(file, "llama"), &gguf::Fixed::new(RopeStyle::Interleaved))
}
