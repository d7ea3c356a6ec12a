//! Models that see images, as far as they read text: the decoder that `text_config` describes. The towers beside it are
//! left out, so such a model answers text alone.

use serde_json::{Map, Value as Json};

use super::{Described, Family, SpecError};

pub(super) const LLAMA4: Family = Family { architecture: "llama4", from_config, from_gguf: None };
pub(super) const MISTRAL3: Family = Family { architecture: "mistral3", from_config, from_gguf: None };

/// The whole of a model, the architecture of its decoder where `text_config` does not say, and whether the whole says
/// that the head is the embedding, as transformers' classes of these names have it; else the decoder does.
const WHOLES: [(&str, &str, bool); 3] =
    [("gemma3", "gemma3_text", true), ("llama4", "llama4_text", false), ("mistral3", "mistral", true)];

/// The decoder of a model that sees images.
pub(super) fn from_config(config: &Json) -> Result<Described, SpecError> {
    let name = config.get("model_type").and_then(Json::as_str).unwrap_or_default();
    let Some((_, decoder, tied_by_whole)) = WHOLES.into_iter().find(|(whole, ..)| *whole == name) else {
        return Err(SpecError::field("model_type", "is that of no model with a decoder inside"));
    };
    let Some(text) = config.get("text_config").and_then(Json::as_object) else {
        return Err(SpecError::field("text_config", "is missing from config.json, and so is the decoder"));
    };
    super::from_config(&decoder_alone(config, text, decoder, tied_by_whole))
}

/// The config of the decoder, with what the whole says for it.
fn decoder_alone(config: &Json, text: &Map<String, Json>, decoder: &str, tied_by_whole: bool) -> Json {
    let mut alone = text.clone();
    alone.entry("model_type").or_insert_with(|| decoder.into());
    if tied_by_whole {
        let tied = config.get("tie_word_embeddings").cloned();
        alone.insert("tie_word_embeddings".to_owned(), tied.unwrap_or(Json::Bool(true)));
    }
    if let Some(quantization) = config.get("quantization_config") {
        alone.insert("quantization_config".to_owned(), quantization.clone());
    }
    alone.into()
}
