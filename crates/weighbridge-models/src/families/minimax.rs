//! MiniMax M2 (<https://www.minimax.io/news/minimax-m2>, transformers' `modeling_minimax_m2.py`): norms over the whole of
//! query and of key, part of a head turns, experts in every layer, chosen by sigmoid scores with a bias that counts in
//! the choice alone.

use serde_json::{Value as Json, json};

use super::config::{Config, each_attention};
use super::{Described, Family, SpecError, experts, llama, rope};
use crate::parts::Names;
use crate::spec::{HeadNorm, RouterSpec, Scoring};

pub(super) const M2: Family = Family { architecture: "minimax_m2", from_config: m2, from_gguf: None };

const NAMES: Names = Names {
    router: "block_sparse_moe.gate",
    choice_bias: "block_sparse_moe.e_score_correction_bias",
    expert_gate: "block_sparse_moe.experts.*.w1",
    expert_up: "block_sparse_moe.experts.*.w3",
    expert_down: "block_sparse_moe.experts.*.w2",
    ..llama::NAMES
};

fn m2(config: &Json) -> Result<Described, SpecError> {
    let defaults = json!({
        "rms_norm_eps": 1e-6, "num_key_value_heads": 8, "head_dim": 128, "rope_theta": 5e6, "intermediate_size": 1536,
        "num_experts_per_tok": 8, "num_local_experts": 256, "use_qk_norm": true, "use_routing_bias": true,
    });
    let config = Config::new(config, turning(config, defaults)?)?;
    config.expect("scoring_func", "sigmoid")?;
    config.expect("qk_norm_type", "per_layer")?;
    for needed in ["use_qk_norm", "use_routing_bias"] {
        if !config.flag(needed)? {
            return Err(SpecError::field(needed, "is false; supported: true"));
        }
    }
    if config.count("shared_intermediate_size")? > 0 {
        return Err(SpecError::field(
            "shared_intermediate_size",
            "asks for a shared expert, which is not supported yet",
        ));
    }
    if config.numbers("attn_type_list")?.is_some_and(|kinds| kinds.iter().any(|&kind| kind != 1)) {
        return Err(SpecError::field("attn_type_list", "asks for linear attention; supported: 1, full attention"));
    }
    let mut spec = config.decoder()?;
    each_attention(&mut spec, |_, attention| {
        attention.head_norm = Some(HeadNorm::Whole);
        attention.qkv_bias = false;
        attention.output_bias = false;
    });
    let router = RouterSpec { choice_bias: true, renormalise: true, ..RouterSpec::of(Scoring::Sigmoid) };
    let mixture = experts::mixture(&config, "num_local_experts", "intermediate_size", router)?;
    experts::place(&mut spec, &mixture, |_| true);
    Ok(Described { spec, names: NAMES })
}

/// Adds to `defaults` how much of a head turns, which published configs give in dimensions.
fn turning(config: &Json, mut defaults: Json) -> Result<Json, SpecError> {
    let fields = Config::new(config, defaults.clone())?;
    let head_dim = fields.size("head_dim")?;
    let turning = fields.optional_size("rotary_dim")?.unwrap_or(head_dim);
    defaults[rope::PARTIAL] = json!(turning as f64 / head_dim as f64);
    Ok(defaults)
}
