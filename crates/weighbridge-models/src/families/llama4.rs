//! Llama 4, text (transformers' `modeling_llama4.py`): most layers look back to the start of their chunk and have a norm
//! without weight after the rotary embedding; the others see everything, know no positions, and their queries grow. One
//! of many experts, by a sigmoid that weighs what goes in, beside a shared one.

use serde_json::{Value as Json, json};

use super::config::{Config, each_attention};
use super::{Described, Family, SpecError, experts, gguf, llama};
use crate::gguf::Gguf;
use crate::parts::{Names, Packing};
use crate::spec::{FeedForwardSpec, HeadNorm, RopeStyle, RouterSpec, Scoring, Span, TemperatureSpec};

pub(super) const FAMILY: Family = Family { architecture: "llama4_text", from_config, from_gguf: None };

const NAMES: Names = Names {
    gate: "feed_forward.gate_proj",
    up: "feed_forward.up_proj",
    down: "feed_forward.down_proj",
    router: "feed_forward.router",
    expert_gate: "feed_forward.experts.gate_up_proj",
    expert_down: "feed_forward.experts.down_proj",
    shared_gate: "feed_forward.shared_expert.gate_proj",
    shared_up: "feed_forward.shared_expert.up_proj",
    shared_down: "feed_forward.shared_expert.down_proj",
    packing: Packing::Transposed { in_turns: false },
    ..llama::NAMES
};

fn from_config(config: &Json) -> Result<Described, SpecError> {
    let defaults = json!({
        "rms_norm_eps": 1e-5, "num_key_value_heads": 8, "head_dim": 128, "rope_theta": 5e5, "intermediate_size": 8192,
        "intermediate_size_mlp": 16384, "num_experts_per_tok": 1, "num_local_experts": 16,
        "interleave_moe_layer_step": 1, "use_qk_norm": true, "no_rope_layer_interval": 4, "attention_chunk_size": 8192,
        "attn_temperature_tuning": true, "floor_scale": 8192.0, "attn_scale": 0.1, "vocab_size": 202_048,
        "hidden_size": 5120, "num_hidden_layers": 48, "num_attention_heads": 40, "max_position_embeddings": 131_072,
    });
    let config = Config::new(config, defaults)?;
    let mut spec = config.decoder()?;
    attention(&config, &mut spec)?;

    let router = RouterSpec { weighs_input: true, ..RouterSpec::of(Scoring::Sigmoid) };
    let mut mixture = experts::mixture(&config, "num_local_experts", "intermediate_size", router)?;
    mixture.shared = Some(mixture.expert);
    let inner = config.size("intermediate_size_mlp")?;
    for layer in &mut spec.layers {
        if let FeedForwardSpec::Dense(mlp) = &mut layer.feed_forward {
            mlp.inner = inner;
            mlp.bias = false;
        }
    }
    let step = config.size("interleave_moe_layer_step")?;
    let sparse = config.numbers("moe_layers")?;
    experts::place(&mut spec, &mixture, |index| match &sparse {
        Some(layers) => layers.contains(&(index as u64)),
        None => (index + 1).is_multiple_of(step),
    });
    Ok(Described { spec, names: NAMES })
}

const TUNING: &str = "attn_temperature_tuning";

fn attention(config: &Config, spec: &mut crate::spec::DecoderSpec) -> Result<(), SpecError> {
    let layers = spec.layers.len();
    let every = config.size("no_rope_layer_interval")?;
    let turning = config.switches("no_rope_layers", layers)?;
    let turning = turning.unwrap_or_else(|| (0..layers).map(|index| !(index + 1).is_multiple_of(every)).collect());
    let chunked = config.layers_of_type("chunked_attention", layers)?.unwrap_or_else(|| turning.clone());
    let chunk = config.optional_size("attention_chunk_size")?.map_or(Span::Full, Span::Chunked);
    let norm = config.flag("use_qk_norm")?.then_some(HeadNorm::AfterRope);
    let strength = config.number("attn_scale")?;
    let temperature = TemperatureSpec { strength, every: config.number("floor_scale")?, offset: 1.0 };
    // Published configs count: 4 says yes.
    let is_tuned = match config.get(TUNING).and_then(Json::as_u64) {
        Some(number) => number != 0,
        None => config.flag(TUNING)?,
    };
    let temperature = is_tuned.then_some(temperature);
    each_attention(spec, |index, attention| {
        if chunked[index] {
            attention.span = chunk;
        }
        if turning[index] {
            attention.head_norm = norm;
            if let Some(rope) = &mut attention.rope {
                rope.style = RopeStyle::Interleaved;
            }
        } else {
            attention.rope = None;
            attention.temperature = temperature;
        }
    });
    Ok(())
}

/// Known as `llama4`; heads turn as in its own files. Which layers know no positions, how far a chunk reaches and how
/// queries grow is in no file that llama.cpp's converter wrote: `src/models/llama4.cpp` has it.
pub(super) fn from_gguf(file: &Gguf) -> Result<Described, SpecError> {
    const EVERY: usize = 4;
    const REACH: usize = 8192;
    /// Experts of Maverick, whose heads have no norm.
    const MAVERICK: usize = 128;
    let meta = gguf::Meta::new(file, "llama4");
    let router = RouterSpec { weighs_input: true, ..RouterSpec::of(Scoring::Sigmoid) };
    let mut described = gguf::decoder(&meta, &gguf::Fixed { router, ..gguf::Fixed::new(RopeStyle::Interleaved) })?;
    let spec = &mut described.spec;
    let norm = (meta.optional("expert_count")? != Some(MAVERICK)).then_some(HeadNorm::AfterRope);
    // A window of 0 is that of models in which all layers see everything and know positions.
    if meta.is_zero("attention.sliding_window")? {
        each_attention(spec, |_, attention| attention.head_norm = norm);
        return Ok(described);
    }
    let chunk = Span::Chunked(meta.optional("attention.sliding_window")?.unwrap_or(REACH));
    let chunked = meta.sliding(spec.layers.len(), EVERY)?;
    let temperature = TemperatureSpec {
        strength: meta.optional_number("attention.temperature_scale")?.unwrap_or(0.1),
        every: meta.optional("attention.temperature_length")?.unwrap_or(REACH) as f64,
        offset: 1.0,
    };
    each_attention(spec, |index, attention| {
        if chunked[index] {
            attention.span = chunk;
        }
        if (index + 1).is_multiple_of(EVERY) {
            attention.rope = None;
            attention.temperature = Some(temperature);
        } else {
            attention.head_norm = norm;
        }
    });
    Ok(described)
}
