//! GLM-4-0414 (transformers' `modeling_glm4.py`): norms before and after each part, fused gate and up, biases on query,
//! key and value, half of a head turns, neighbours together.

use serde_json::{Value as Json, json};

use super::config::{Config, each_attention};
use super::{Described, Family, SpecError, llama};
use crate::parts::{Fusion, Names};
use crate::spec::{Placement, RopeStyle};

pub(super) const FAMILY: Family = Family { architecture: "glm4", from_config, from_gguf: None };

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
        "attention_bias": true,
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
