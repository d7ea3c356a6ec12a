//! What is wrong with a body, in OpenAI's words.

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
        Self::at(path, "missing_required_parameter", format!("Missing required parameter: '{path}'."))
    }

    pub(crate) fn wrong_type(path: &str, expected: &str, got: &serde_json::Value) -> Self {
        let got = type_name(got);
        let message = format!("Invalid type for '{path}': expected {expected}, but got {got} instead.");
        Self::at(path, "invalid_type", message)
    }

    pub(crate) fn invalid(path: &str, why: impl std::fmt::Display) -> Self {
        Self::at(path, "invalid_value", format!("Invalid value for '{path}': {why}."))
    }

    pub(crate) fn at(path: &str, code: &'static str, message: String) -> Self {
        Self { message, param: Some(path.to_owned()), code }
    }
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
