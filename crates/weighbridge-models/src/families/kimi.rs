//! Kimi Linear (<https://arxiv.org/abs/2510.26692>, transformers' `modeling_kimi_linear.py`): a delta net that forgets
//! channel by channel in three of four layers, DeepSeek's latent attention without positions in the others, experts
//! chosen as by DeepSeek V3.

use serde_json::{Map, Value as Json, json};

use super::config::Config;
use super::{Described, Family, SpecError, deepseek, delta, llama};
use crate::parts::Names;
use crate::spec::{DeltaKind, DeltaSpec, MixerSpec, RouterSpec, Scoring};

pub(super) const LINEAR: Family = Family { architecture: "kimi_linear", from_config: linear, from_gguf: None };

const NAMES: Names = Names {
    router: "block_sparse_moe.gate",
    choice_bias: "block_sparse_moe.gate.e_score_correction_bias",
    expert_gate: "block_sparse_moe.experts.*.w1",
    expert_up: "block_sparse_moe.experts.*.w3",
    expert_down: "block_sparse_moe.experts.*.w2",
    shared_gate: "block_sparse_moe.shared_experts.gate_proj",
    shared_up: "block_sparse_moe.shared_experts.up_proj",
    shared_down: "block_sparse_moe.shared_experts.down_proj",
    ..llama::NAMES
};

/// What its configs call fields that others call otherwise: `attribute_map` of `KimiLinearConfig`.
const ALIASES: [(&str, &str); 6] = [
    ("model_max_length", "max_position_embeddings"),
    ("moe_renormalize", "norm_topk_prob"),
    ("num_expert_group", "n_group"),
    ("num_experts", "n_routed_experts"),
    ("num_experts_per_token", "num_experts_per_tok"),
    ("num_shared_experts", "n_shared_experts"),
];

fn linear(config: &Json) -> Result<Described, SpecError> {
    let config = Config::new(&plain(config)?, defaults())?;
    config.expect("moe_router_activation_func", "sigmoid")?;
    let router = RouterSpec {
        choice_bias: true,
        groups: deepseek::groups(&config, 2)?,
        renormalise: config.flag("norm_topk_prob")?,
        ..RouterSpec::of(Scoring::Sigmoid)
    };
    let mut spec = deepseek::described(&config, router)?.spec;
    let layers = spec.layers.len();
    let head_dim = config.size("linear_head_dim")?;
    let heads = config.size("linear_num_heads")?;
    let delta = delta::checked(
        &config,
        DeltaSpec {
            kind: DeltaKind::PerChannel { rank: head_dim },
            key_heads: heads,
            value_heads: heads,
            key_dim: head_dim,
            value_dim: head_dim,
            kernel: config.size("linear_conv_kernel_dim")?,
            norm_eps: spec.norm_eps,
        },
    )?;
    let of_delta = config.layers_of_type("linear_attention", layers)?;
    let of_delta = of_delta.unwrap_or_else(|| (0..layers).map(|index| index == 0 || index % 4 != 0).collect());
    for (layer, is_delta) in spec.layers.iter_mut().zip(of_delta) {
        match &mut layer.mixer {
            mixer if is_delta => *mixer = MixerSpec::Delta(delta.clone()),
            MixerSpec::Latent(latent) => latent.rope = None,
            _ => {}
        }
    }
    Ok(Described { spec, names: NAMES })
}

/// The config with the names of fields that DeepSeek's have, and its part on linear attention laid out flat.
fn plain(config: &Json) -> Result<Json, SpecError> {
    let mut plain = config.as_object().cloned().unwrap_or_default();
    for (name, other) in ALIASES {
        if let Some(value) = plain.remove(name) {
            plain.insert(other.to_owned(), value);
        }
    }
    if let Some(Json::Object(linear)) = config.get("linear_attn_config") {
        for (name, other) in [
            ("head_dim", "linear_head_dim"),
            ("num_heads", "linear_num_heads"),
            ("short_conv_kernel_size", "linear_conv_kernel_dim"),
        ] {
            if let Some(value) = linear.get(name) {
                plain.insert(other.to_owned(), value.clone());
            }
        }
        if let (None, Some(types)) =
            (plain.get("layer_types").filter(|types| !types.is_null()), layer_types(config, linear)?)
        {
            plain.insert("layer_types".to_owned(), types);
        }
    }
    // Positions enter nowhere, and no head has a width by this name.
    for field in ["rope_scaling", "rope_parameters", "head_dim"] {
        plain.remove(field);
    }
    Ok(Json::Object(plain))
}

/// The kinds of layers, which the config lists by numbers from 1.
fn layer_types(config: &Json, linear: &Map<String, Json>) -> Result<Option<Json>, SpecError> {
    let numbers = |field: &str| linear.get(field).and_then(Json::as_array);
    let (Some(full), Some(delta)) = (numbers("full_attn_layers"), numbers("kda_layers")) else { return Ok(None) };
    let layers = Config::new(config, json!({}))?.size_up_to("num_hidden_layers", super::LAYERS_MAX)?;
    let kind = |number: usize| match (full.contains(&json!(number)), delta.contains(&json!(number))) {
        (true, false) => Ok("full_attention"),
        (false, true) => Ok("linear_attention"),
        _ => Err(SpecError::field("linear_attn_config", format!("does not say of layer {number} which kind it is"))),
    };
    (1..=layers).map(kind).collect::<Result<Vec<_>, _>>().map(|types| Some(json!(types)))
}

/// Those of `KimiLinearConfig`.
fn defaults() -> Json {
    json!({
        "rms_norm_eps": 1e-5, "kv_lora_rank": 512, "qk_rope_head_dim": 64, "v_head_dim": 128, "qk_nope_head_dim": 128,
        "n_shared_experts": 1, "n_routed_experts": 256, "moe_intermediate_size": 1024, "routed_scaling_factor": 2.446,
        "n_group": 1, "topk_group": 1, "num_experts_per_tok": 8, "first_k_dense_replace": 1, "norm_topk_prob": true,
        "max_position_embeddings": 1048576, "linear_head_dim": 128, "linear_num_heads": 32,
        "linear_conv_kernel_dim": 4,
    })
}
