//! Model families: each one short file that turns a checkpoint's own description, a `config.json` or GGUF metadata, into
//! a [`DecoderSpec`] and the names of its tensors, and states only what sets the family apart.
//!
//! What a family cannot describe in full it refuses by name: a feature left out would not fail, it would talk nonsense.

mod llama;
mod mistral;
mod rope;

use serde_json::Value as Json;
use thiserror::Error;

use crate::gguf::{Gguf, GgufError};
use crate::parts::Names;
use crate::spec::DecoderSpec;

/// Why a checkpoint's description of itself was refused.
#[derive(Debug, Error)]
pub enum SpecError {
    /// A family that is not here.
    #[error("architecture `{name}` is not supported yet; supported: {supported}")]
    Architecture {
        /// As the checkpoint names it.
        name: String,
        /// Those that are.
        supported: String,
    },
    /// A field is missing, of a wrong type or out of bounds, or asks for what is not supported.
    #[error("`{field}` {problem}")]
    Field {
        /// In `config.json` or in the metadata.
        field: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The config is no object of the expected fields.
    #[error("`config.json` does not describe a decoder: {0}")]
    Config(String),
    /// The metadata cannot be read.
    #[error(transparent)]
    Gguf(#[from] GgufError),
}

impl SpecError {
    fn field(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Field { field: field.into(), problem: problem.into() }
    }
}

/// A decoder as its checkpoint describes it.
pub(crate) struct Described {
    pub(crate) spec: DecoderSpec,
    pub(crate) names: Names,
}

/// How a family reads GGUF metadata.
type FromGguf = fn(&Gguf) -> Result<Described, SpecError>;

struct Family {
    /// `model_type` in a config, `general.architecture` in GGUF metadata.
    architecture: &'static str,
    from_config: fn(&Json) -> Result<Described, SpecError>,
    /// None where GGUF files go by another family's name.
    from_gguf: Option<FromGguf>,
}

const FAMILIES: [Family; 2] = [llama::FAMILY, mistral::FAMILY];

/// The largest count or width of anything; bounds what is computed from a config before its tensors confirm it.
const SIZE_MAX: u64 = 1 << 24;
/// More layers than any model has.
const LAYERS_MAX: u64 = 1 << 12;

/// The decoder that a `config.json` describes.
pub(crate) fn from_config(config: &Json) -> Result<Described, SpecError> {
    let Some(name) = config.get("model_type").and_then(Json::as_str) else {
        return Err(SpecError::field("model_type", "is missing from config.json"));
    };
    (find(name)?.from_config)(config)
}

/// The decoder that GGUF metadata describes.
pub(crate) fn from_gguf(file: &Gguf) -> Result<Described, SpecError> {
    const KEY: &str = "general.architecture";
    let name = file.string(KEY)?.ok_or_else(|| GgufError::Missing(KEY.to_owned()))?;
    let from_gguf = find(name)?.from_gguf.ok_or_else(|| unknown(name))?;
    from_gguf(file)
}

fn find(name: &str) -> Result<&'static Family, SpecError> {
    FAMILIES.iter().find(|family| family.architecture == name).ok_or_else(|| unknown(name))
}

fn unknown(name: &str) -> SpecError {
    let supported: Vec<_> = FAMILIES.iter().map(|family| family.architecture).collect();
    // Of a name from outside a start is enough.
    SpecError::Architecture { name: name.chars().take(64).collect(), supported: supported.join(", ") }
}

/// A size from outside, from 1 to `most`.
fn size(field: &str, value: u64, most: u64) -> Result<usize, SpecError> {
    if value == 0 || value > most {
        return Err(SpecError::field(field, format!("is {value}; 1 to {most} are allowed")));
    }
    usize::try_from(value).map_err(|_| SpecError::field(field, format!("is {value}, too large for this machine")))
}

/// A number from outside that must be above zero.
fn positive(field: &str, value: f64) -> Result<f64, SpecError> {
    if value.is_finite() && value > 0.0 {
        return Ok(value);
    }
    Err(SpecError::field(field, format!("is {value}, where a number above 0 is expected")))
}

/// Checks that heads come in whole groups and in even widths.
fn check_heads(heads: usize, kv_heads: usize, head_dim: usize) -> Result<(), SpecError> {
    if !heads.is_multiple_of(kv_heads) {
        let problem = format!("are {heads}, which is no multiple of {kv_heads} key-value heads");
        return Err(SpecError::field("attention heads", problem));
    }
    if !head_dim.is_multiple_of(2) {
        return Err(SpecError::field("head_dim", format!("is {head_dim}, where an even number is expected")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_unknown_architecture_is_named_with_those_that_are_known() {
        let error = from_config(&json!({"model_type": "gemma2"})).err().map(|error| error.to_string());
        let expected = "architecture `gemma2` is not supported yet; supported: llama";
        assert!(error.is_some_and(|error| error.starts_with(expected)));
    }

    #[test]
    fn a_config_without_a_model_type_is_refused() {
        assert!(from_config(&json!([])).is_err());
    }
}
