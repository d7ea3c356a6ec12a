//! Mistral 7B (<https://arxiv.org/abs/2310.06825>): Llama, but a token looks back over a window only. GGUF files of it
//! are written as `llama`, for models that no longer have the window.

use serde_json::Value as Json;

use super::{Described, Family, SIZE_MAX, SpecError, llama, size};
use crate::spec::Span;

pub(super) const FAMILY: Family = Family { architecture: "mistral", from_config, from_gguf: None };

/// Where the config does not say; later models say `null`.
const WINDOW_DEFAULT: u64 = 4096;

fn from_config(config: &Json) -> Result<Described, SpecError> {
    let mut described = llama::from_config(config)?;
    let span = span(config)?;
    for layer in &mut described.spec.layers {
        layer.attention.span = span;
    }
    Ok(described)
}

fn span(config: &Json) -> Result<Span, SpecError> {
    const FIELD: &str = "sliding_window";
    let window = match config.get(FIELD) {
        None => WINDOW_DEFAULT,
        Some(Json::Null) => return Ok(Span::Full),
        Some(window) => window.as_u64().ok_or_else(|| SpecError::field(FIELD, "is no whole number"))?,
    };
    size(FIELD, window, SIZE_MAX).map(Span::Sliding)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(config: Json, expected: Option<Span>) {
        assert_eq!(span(&config).ok(), expected, "{config}");
    }

    #[test]
    fn the_window_is_what_the_config_says() {
        check(json!({"sliding_window": 20}), Some(Span::Sliding(20)));
        check(json!({"sliding_window": null}), Some(Span::Full));
        check(json!({}), Some(Span::Sliding(4096)));
        check(json!({"sliding_window": 0}), None);
        check(json!({"sliding_window": "wide"}), None);
    }
}
