//! What is wrong with a body, in OpenAI's words.
//!
//! Names of fields come from outside and may be as long as the body: an error says as much of one as is fit to be read.

use std::borrow::Cow;

/// The most bytes of the name of a parameter.
const LONGEST_NAME: usize = 256;

/// The most bytes of a message.
const LONGEST_MESSAGE: usize = 2048;

/// A fault in a request's body: which parameter, and which of OpenAI's codes says what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WireError {
    /// For the developer who sent it.
    pub(crate) message: String,
    /// The path of the parameter: `messages[0].content`.
    pub(crate) param: Option<String>,
    /// OpenAI's code: `invalid_type`, `missing_required_parameter`, …
    pub(crate) code: &'static str,
}

impl WireError {
    pub(crate) fn missing(path: &str) -> Self {
        let message = format!("Missing required parameter: '{}'.", clipped_name(path));
        Self::at(path, "missing_required_parameter", message)
    }

    pub(crate) fn wrong_type(path: &str, expected: &str, got: &serde_json::Value) -> Self {
        let (name, got) = (clipped_name(path), type_name(got));
        let message = format!("Invalid type for '{name}': expected {expected}, but got {got} instead.");
        Self::at(path, "invalid_type", message)
    }

    pub(crate) fn invalid(path: &str, why: impl std::fmt::Display) -> Self {
        Self::at(path, "invalid_value", format!("Invalid value for '{}': {why}.", clipped_name(path)))
    }

    pub(crate) fn at(path: &str, code: &'static str, message: String) -> Self {
        let message = clipped(&message, LONGEST_MESSAGE).into_owned();
        Self { message, param: Some(clipped_name(path).into_owned()), code }
    }
}

/// The name of a parameter, at a length that is fit to be read.
pub(super) fn clipped_name(name: &str) -> Cow<'_, str> {
    clipped(name, LONGEST_NAME)
}

fn clipped(text: &str, most: usize) -> Cow<'_, str> {
    if text.len() <= most {
        return text.into();
    }
    format!("{}…", &text[..text.floor_char_boundary(most)]).into()
}

fn type_name(value: &serde_json::Value) -> &'static str {
    use serde_json::Value;
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(number) if number.is_f64() => "a decimal",
        Value::Number(_) => "an integer",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_no_echo_of_what_it_was_sent() {
        let name = "ü".repeat(100_000);
        for error in [
            WireError::missing(&name),
            WireError::wrong_type(&name, "a string", &serde_json::Value::Null),
            WireError::invalid(&name, &name),
            WireError::at(&name, "unknown_parameter", format!("Unknown parameter: '{name}'.")),
        ] {
            assert!(error.message.len() < 2100 && error.param.is_some_and(|param| param.len() < 300));
        }
        let error = WireError::wrong_type(&name, "a string", &serde_json::Value::Null);
        assert!(error.message.ends_with("expected a string, but got null instead."), "{}", error.message);
        assert_eq!(WireError::missing("model").param.as_deref(), Some("model"));
    }
}
