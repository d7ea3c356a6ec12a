//! Mistral 7B (<https://arxiv.org/abs/2310.06825>) and its descendants: Llama, but a token looks back over a window
//! only. GGUF files of it are written as `llama`, for models that no longer have the window.

use serde_json::{Value as Json, json};

use super::config::{Config, each_attention};
use super::{Described, Family, SpecError, llama};

pub(super) const FAMILY: Family = Family { architecture: "mistral", from_config, from_gguf: None };

fn from_config(config: &Json) -> Result<Described, SpecError> {
    // A missing window is that of the first model; later ones say `null`.
    let defaults = json!({
        "rms_norm_eps": 1e-6, "num_key_value_heads": 8, "sliding_window": 4096, "vocab_size": 32000,
        "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32, "num_attention_heads": 32,
        "max_position_embeddings": 131_072,
    });
    let config = Config::new(config, defaults)?.without(&["attention_bias", "mlp_bias"]);
    let mut spec = config.decoder()?;
    let window = config.window()?;
    each_attention(&mut spec, |_, attention| attention.span = window);
    Ok(Described { spec, names: llama::NAMES })
}
