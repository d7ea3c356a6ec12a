//! Ministral 3 (transformers' `modeling_ministral3.py`): Mistral with queries that grow with their position.

use serde_json::{Value as Json, json};

use super::config::{Config, each_attention};
use super::{Described, Family, SpecError, gguf, llama, positive, rope};
use crate::gguf::Gguf;
use crate::spec::{DecoderSpec, RopeScaling, RopeStyle, TemperatureSpec};

pub(super) const FAMILY: Family = Family { architecture: "ministral3", from_config, from_gguf: None };

fn from_config(config: &Json) -> Result<Described, SpecError> {
    let is_rope_said = rope::is_said(config);
    let mut config = Config::new(config, defaults())?.without(&["attention_bias", "mlp_bias"]);
    if !is_rope_said {
        config = config.with("rope_parameters", rope_default());
    }
    let mut spec = config.decoder()?;
    let window = config.window()?;
    let said = config.optional_number(rope::ORIGINAL)?.or(rope::extra(&config, rope::ORIGINAL)?);
    let every = positive(rope::ORIGINAL, said.unwrap_or(spec.context as f64))?;
    let strength = rope::extra(&config, "llama_4_scaling_beta")?;
    let temperature = strength.map(|strength| TemperatureSpec { strength, every, offset: 0.0 });
    each_attention(&mut spec, |_, attention| {
        attention.span = window;
        attention.temperature = temperature;
    });
    Ok(Described { spec, names: llama::NAMES })
}

/// Mistral Small 3.1 and later go by this name as well, without any growing. Rows of query and key are reordered as
/// Llama's are.
pub(super) fn from_gguf(file: &Gguf) -> Result<Described, SpecError> {
    let meta = gguf::Meta::new(file, "mistral3");
    let mut described = gguf::decoder(&meta, &gguf::Fixed::new(RopeStyle::Interleaved))?;
    if let Some(strength) = meta.optional_number("attention.temperature_scale")? {
        grow(&mut described.spec, strength);
    }
    Ok(described)
}

/// Queries grow once for each length of the context before stretching.
fn grow(spec: &mut DecoderSpec, strength: f64) {
    each_attention(spec, |_, attention| {
        if let Some(RopeScaling::Yarn { original_context, .. }) = attention.rope.as_ref().map(|rope| &rope.scaling) {
            attention.temperature = Some(TemperatureSpec { strength, every: *original_context, offset: 0.0 });
        }
    });
}

/// Those of `Ministral3Config`.
fn defaults() -> Json {
    json!({
        "rms_norm_eps": 1e-5, "num_key_value_heads": 8, "head_dim": 128, "vocab_size": 131_072, "hidden_size": 4096,
        "intermediate_size": 14336, "num_hidden_layers": 34, "num_attention_heads": 32,
        "max_position_embeddings": 262_144,
    })
}

fn rope_default() -> Json {
    json!({
        "rope_type": "yarn", "rope_theta": 1e6, "factor": 16.0, "original_max_position_embeddings": 16384,
        "beta_fast": 32.0, "beta_slow": 1.0, "mscale": 1.0, "mscale_all_dim": 1.0, "llama_4_scaling_beta": 0.1,
    })
}
