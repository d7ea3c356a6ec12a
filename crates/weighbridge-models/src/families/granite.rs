//! Granite 3 (transformers' `modeling_granite.py`): Llama with four multipliers.

use serde_json::{Value as Json, json};

use super::config::{Config, each_attention};
use super::{Described, Family, SpecError, gguf, llama};
use crate::gguf::Gguf;
use crate::spec::RopeStyle;

pub(super) const FAMILY: Family = Family { architecture: "granite", from_config, from_gguf: Some(from_gguf) };

fn from_config(config: &Json) -> Result<Described, SpecError> {
    let defaults = json!({
        "rms_norm_eps": 1e-6, "embedding_multiplier": 1.0, "logits_scaling": 1.0, "residual_multiplier": 1.0,
        "attention_multiplier": 1.0, "vocab_size": 32000, "hidden_size": 4096, "intermediate_size": 11008,
        "num_hidden_layers": 32, "num_attention_heads": 32, "max_position_embeddings": 2048,
    });
    let config = Config::new(config, defaults)?;
    let mut spec = config.decoder()?;
    spec.embedding_scale = config.number("embedding_multiplier")? as f32;
    spec.logit_scale = (1.0 / config.number("logits_scaling")?) as f32;
    let residual = config.number("residual_multiplier")? as f32;
    for layer in &mut spec.layers {
        layer.residual_scale = residual;
    }
    let scale = config.number("attention_multiplier")? as f32;
    each_attention(&mut spec, |_, attention| attention.scale = scale);
    Ok(Described { spec, names: llama::NAMES })
}

/// Rows of query and key are reordered as Llama's are. What logits are divided by is called their scale.
fn from_gguf(file: &Gguf) -> Result<Described, SpecError> {
    let meta = gguf::Meta::new(file, "granite");
    let mut described = gguf::decoder(&meta, &gguf::Fixed::new(RopeStyle::Interleaved))?;
    described.spec.logit_scale = (1.0 / meta.number("logit_scale")?) as f32;
    // By this key Granite 4 says that it knows no positions.
    if meta.flag("rope.scaling.finetuned")? == Some(false) {
        each_attention(&mut described.spec, |_, attention| attention.rope = None);
    }
    Ok(described)
}
