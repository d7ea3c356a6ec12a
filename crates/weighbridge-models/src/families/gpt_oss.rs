//! gpt-oss (<https://arxiv.org/abs/2508.10925>): a learned sink beside each head's scores, a window in every other layer,
//! biases everywhere, experts with a clamped SwiGLU, published in MXFP4.

use serde_json::{Value as Json, json};

use super::config::{Config, each_attention, slide};
use super::{Described, Family, SpecError, experts, gguf, llama, rope};
use crate::gguf::Gguf;
use crate::parts::{Names, Packing};
use crate::spec::{Activation, FeedForwardSpec, RopeScaling, RopeStyle, RouterSpec, Scoring};

pub(super) const FAMILY: Family = Family { architecture: "gpt_oss", from_config, from_gguf: None };

const NAMES: Names = Names {
    router: "mlp.router",
    expert_gate: "mlp.experts.gate_up_proj",
    expert_down: "mlp.experts.down_proj",
    packing: Packing::Transposed { in_turns: true },
    ..llama::NAMES
};

/// Numbers in a block of MXFP4.
const BLOCK: usize = 32;

fn from_config(config: &Json) -> Result<Described, SpecError> {
    let packing = packing(config)?;
    let mut plain = config.clone();
    if let Some(fields) = plain.as_object_mut() {
        fields.remove("quantization_config");
    }
    let is_rope_said = rope::is_said(config);
    let mut config = Config::new(&plain, defaults())?.or_named("num_experts", "num_local_experts");
    if !is_rope_said {
        config = config.with("rope_parameters", rope_default());
    }
    let mut spec = config.decoder()?;
    let sliding = config.sliding_layers(spec.layers.len(), |index| index % 2 == 0)?;
    slide(&mut spec, &sliding, config.window()?);
    each_attention(&mut spec, |_, attention| attention.sinks = true);

    let router = RouterSpec { bias: true, ..RouterSpec::of(Scoring::SoftmaxOfChosen) };
    let mut mixture = experts::mixture(&config, "num_local_experts", "intermediate_size", router)?;
    mixture.expert.bias = true;
    let alpha = config.number("swiglu_alpha")? as f32;
    mixture.expert.activation = Activation::ClampedSwish { alpha, limit: config.number("swiglu_limit")? as f32 };
    if packing == Packing::Mxfp4 {
        for (field, width) in [("hidden_size", spec.hidden), ("intermediate_size", mixture.expert.inner)] {
            if !width.is_multiple_of(BLOCK) {
                return Err(SpecError::field(field, format!("is {width}; mxfp4 comes in blocks of {BLOCK}")));
            }
        }
    }
    experts::place(&mut spec, &mixture, |_| true);
    Ok(Described { spec, names: Names { packing, ..NAMES } })
}

/// Known as `gpt-oss`. The shape of its SwiGLU and yarn's ramp, which does not start and end at whole dimensions, are in
/// no metadata: they are those of the published models (`configuration_gpt_oss.py` of transformers).
pub(super) fn from_gguf(file: &Gguf) -> Result<Described, SpecError> {
    let meta = gguf::Meta::new(file, "gpt-oss");
    let router = RouterSpec::of(Scoring::SoftmaxOfChosen);
    let mut described = gguf::decoder(&meta, &gguf::Fixed { router, ..gguf::Fixed::new(RopeStyle::Neox) })?;
    meta.slide(&mut described.spec, None, 2)?;
    each_attention(&mut described.spec, |_, attention| {
        if let Some(RopeScaling::Yarn { truncate, .. }) = attention.rope.as_mut().map(|rope| &mut rope.scaling) {
            *truncate = false;
        }
    });
    for layer in &mut described.spec.layers {
        if let FeedForwardSpec::Experts(experts) = &mut layer.feed_forward {
            experts.expert.activation = Activation::ClampedSwish { alpha: 1.702, limit: 7.0 };
        }
    }
    described.names = Names { feed_forward_norm: "post_attention_norm", ..described.names };
    Ok(described)
}

fn packing(config: &Json) -> Result<Packing, SpecError> {
    const FIELD: &str = "quantization_config";
    let Some(quantization) = config.get(FIELD).filter(|it| !it.is_null()) else { return Ok(NAMES.packing) };
    match quantization.get("quant_method").and_then(Json::as_str) {
        Some("mxfp4") => Ok(Packing::Mxfp4),
        _ => Err(SpecError::field(FIELD, "asks for packed weights that are not supported yet; supported: mxfp4")),
    }
}

/// Those of `GptOssConfig`.
fn defaults() -> Json {
    json!({
        "rms_norm_eps": 1e-5, "num_key_value_heads": 8, "rope_theta": 150_000.0, "sliding_window": 128,
        "num_local_experts": 128, "num_experts_per_tok": 4, "swiglu_alpha": 1.702, "swiglu_limit": 7.0,
        "attention_bias": true, "head_dim": 64, "vocab_size": 201_088, "hidden_size": 2880, "intermediate_size": 2880,
        "num_hidden_layers": 36, "num_attention_heads": 64, "max_position_embeddings": 131_072,
    })
}

fn rope_default() -> Json {
    json!({
        "rope_type": "yarn", "factor": 32.0, "beta_fast": 32.0, "beta_slow": 1.0, "truncate": false,
        "original_max_position_embeddings": 4096,
    })
}
