//! Mistral 4 (transformers' `modeling_mistral4.py`): DeepSeek's latent attention with queries that grow with their
//! position, experts by a softmax, in tensors of all experts.

use serde_json::{Value as Json, json};

use super::config::Config;
use super::{Described, Family, SpecError, deepseek, llama, positive, rope};
use crate::parts::{Names, Packing};
use crate::spec::{MixerSpec, RopeScaling, RouterSpec, Scoring, TemperatureSpec};

pub(super) const FAMILY: Family = Family { architecture: "mistral4", from_config, from_gguf: None };

const NAMES: Names = Names {
    expert_gate: "mlp.experts.gate_up_proj",
    expert_down: "mlp.experts.down_proj",
    packing: Packing::Stacked,
    ..llama::NAMES
};

fn from_config(config: &Json) -> Result<Described, SpecError> {
    let config = Config::new(&turning_whole(config)?, defaults(config))?;
    let router = RouterSpec {
        groups: deepseek::groups(&config, 2)?,
        renormalise: config.flag("norm_topk_prob")?,
        ..RouterSpec::of(Scoring::Softmax)
    };
    let mut spec = deepseek::described(&config, router)?.spec;
    let strength = rope::extra(&config, "llama_4_scaling_beta")?;
    for layer in &mut spec.layers {
        if let (MixerSpec::Latent(latent), Some(strength)) = (&mut layer.mixer, strength) {
            let Some(&RopeScaling::Yarn { original_context, .. }) = latent.rope.as_ref().map(|rope| &rope.scaling)
            else {
                let problem = "is there without a rope of type `yarn`, whose original context it counts by";
                return Err(SpecError::field("llama_4_scaling_beta", problem));
            };
            latent.temperature = Some(TemperatureSpec { strength, every: original_context, offset: 0.0 });
        }
    }
    Ok(Described { spec, names: NAMES })
}

/// The config without how much of a head turns: it is what carries the position, whole, and must be called so.
fn turning_whole(config: &Json) -> Result<Json, SpecError> {
    let fields = Config::new(config, defaults(config))?;
    let turning = fields.size("qk_rope_head_dim")?;
    let head_dim = turning + fields.size("qk_nope_head_dim")?;
    let mut config = config.clone();
    let mut take = |object: &mut Json| object.as_object_mut().and_then(|fields| fields.remove(rope::PARTIAL));
    let mut partials = vec![take(&mut config)];
    for style in rope::STYLES {
        partials.extend(config.get_mut(style).map(&mut take));
    }
    for partial in partials.into_iter().flatten().filter(|partial| !partial.is_null()) {
        let part = positive(rope::PARTIAL, partial.as_f64().unwrap_or(f64::NAN))?;
        if (head_dim as f64 * part) as usize != turning {
            let problem =
                format!("is {part}; supported: {turning} of {head_dim} dimensions, as `qk_rope_head_dim` says");
            return Err(SpecError::field(rope::PARTIAL, problem));
        }
    }
    Ok(config)
}

/// Those of `Mistral4Config`; the rope's own where the config has neither style of it.
fn defaults(config: &Json) -> Json {
    let mut defaults = json!({
        "rms_norm_eps": 1e-6, "kv_lora_rank": 256, "q_lora_rank": 1024, "qk_rope_head_dim": 64, "v_head_dim": 128,
        "qk_nope_head_dim": 64, "n_shared_experts": 1, "n_routed_experts": 128, "moe_intermediate_size": 2048,
        "routed_scaling_factor": 1.0, "n_group": 1, "topk_group": 1, "num_experts_per_tok": 4,
        "first_k_dense_replace": 0, "norm_topk_prob": true, "rope_interleave": true, "num_key_value_heads": 32,
    });
    if !rope::is_said(config) {
        defaults["rope_parameters"] = json!({
            "rope_type": "yarn", "rope_theta": 1e4, "factor": 128.0, "original_max_position_embeddings": 8192,
            "beta_fast": 32.0, "beta_slow": 1.0, "mscale": 1.0, "mscale_all_dim": 1.0, "llama_4_scaling_beta": 0.1,
        });
    }
    defaults
}
