//! SmolLM3 (<https://huggingface.co/blog/smollm3>, transformers' `modeling_smollm3.py`): Llama with layers that know
//! nothing of positions, mostly every fourth.

use serde_json::{Value as Json, json};

use super::config::{Config, each_attention, slide};
use super::{Described, Family, SpecError, gguf, llama};
use crate::gguf::Gguf;
use crate::spec::{RopeStyle, Span};

pub(super) const FAMILY: Family = Family { architecture: "smollm3", from_config, from_gguf: Some(from_gguf) };

fn from_config(config: &Json) -> Result<Described, SpecError> {
    let defaults = json!({
        "rms_norm_eps": 1e-6, "num_key_value_heads": 4, "rope_theta": 2e6, "tie_word_embeddings": true,
        "no_rope_layer_interval": 4, "vocab_size": 128_256, "hidden_size": 2048, "intermediate_size": 11008,
        "num_hidden_layers": 36, "num_attention_heads": 16, "max_position_embeddings": 32768,
    });
    let config = Config::new(config, defaults)?;
    let mut spec = config.decoder()?;
    let layers = spec.layers.len();
    let every = config.size("no_rope_layer_interval")?;
    let turning = config.switches("no_rope_layers", layers)?;
    let turning = turning.unwrap_or_else(|| (0..layers).map(|index| !(index + 1).is_multiple_of(every)).collect());
    each_attention(&mut spec, |index, attention| {
        if !turning[index] {
            attention.rope = None;
        }
    });
    let window = if config.flag("use_sliding_window")? { config.window()? } else { Span::Full };
    let sliding = config.sliding_layers(layers, |index| !turning[index])?;
    slide(&mut spec, &sliding, window);
    Ok(Described { spec, names: llama::NAMES })
}

/// Rows of query and key are reordered as Llama's are. Which layers know nothing of positions is in no metadata: llama.cpp
/// has every fourth.
fn from_gguf(file: &Gguf) -> Result<Described, SpecError> {
    let meta = gguf::Meta::new(file, "smollm3");
    let mut described = gguf::decoder(&meta, &gguf::Fixed::new(RopeStyle::Interleaved))?;
    each_attention(&mut described.spec, |index, attention| {
        if (index + 1).is_multiple_of(4) {
            attention.rope = None;
        }
    });
    Ok(described)
}
