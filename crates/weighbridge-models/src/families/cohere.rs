//! Command R and R+ (transformers' `modeling_cohere.py`): attention and feed-forward side by side on one LayerNorm
//! without bias, neighbours turn together, scaled logits; R+ has a norm of its own on each query and key head. Command
//! R7B and A (`modeling_cohere2.py`): three of four layers look back over a window, the others know no positions.

use serde_json::{Value as Json, json};

use super::config::{Config, each_attention, slide};
use super::{Described, Family, SpecError, llama};
use crate::spec::{DecoderSpec, HeadNorm, Norm, Placement, RopeStyle};

pub(super) const COHERE: Family = Family { architecture: "cohere", from_config: cohere, from_gguf: None };
pub(super) const COHERE2: Family = Family { architecture: "cohere2", from_config: cohere2, from_gguf: None };

fn cohere(config: &Json) -> Result<Described, SpecError> {
    let config = Config::new(config, defaults())?;
    let mut spec = decoder(&config)?;
    let head_norm = config.flag("use_qk_norm")?.then_some(HeadNorm::Each);
    each_attention(&mut spec, |_, attention| attention.head_norm = head_norm);
    Ok(Described { spec, names: llama::NAMES })
}

fn cohere2(config: &Json) -> Result<Described, SpecError> {
    let config = Config::new(config, defaults())?;
    let mut spec = decoder(&config)?;
    let pattern = config.size("sliding_window_pattern")?;
    let sliding = config.sliding_layers(spec.layers.len(), |index| !(index + 1).is_multiple_of(pattern))?;
    slide(&mut spec, &sliding, config.window()?);
    each_attention(&mut spec, |index, attention| {
        if !sliding[index] {
            attention.rope = None;
        }
    });
    Ok(Described { spec, names: llama::NAMES })
}

fn defaults() -> Json {
    json!({
        "layer_norm_eps": 1e-5, "logit_scale": 0.0625, "tie_word_embeddings": true, "sliding_window": 4096,
        "sliding_window_pattern": 4,
    })
}

fn decoder(config: &Config) -> Result<DecoderSpec, SpecError> {
    let mut spec = config.decoder_with_eps("layer_norm_eps")?;
    spec.norm = Norm::Layer;
    spec.logit_scale = config.number("logit_scale")? as f32;
    for layer in &mut spec.layers {
        layer.placement = Placement::Parallel;
    }
    each_attention(&mut spec, |_, attention| {
        if let Some(rope) = &mut attention.rope {
            rope.style = RopeStyle::Interleaved;
        }
    });
    Ok(spec)
}
