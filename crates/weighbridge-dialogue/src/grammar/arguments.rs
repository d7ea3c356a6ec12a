//! What the arguments of a call must be.

use serde_json::{Value, json};
use weighbridge_backend::{TextForm, Tool, ToolKind};

use super::literals::{self, Dialect};
use super::parts::Parts;
use super::tags::{self, Tags};
use super::{GrammarError, MAX_BYTES, schema};
use crate::custom;
use crate::tools::CallShape;

/// The arguments of calls of a tool in the way of a format, as a sequence. Where the tool is not strict, a schema that
/// cannot be enforced leaves any object.
///
/// # Errors
/// Where a strict tool, or the text of a custom one, cannot be held: with its name, the keyword and the place.
pub(super) fn arguments(tool: &Tool, shape: CallShape, parts: &mut Parts<'_>) -> Result<String, GrammarError> {
    let held = match &tool.kind {
        ToolKind::Custom(form) => text_argument(form),
        ToolKind::Function => parameters(tool),
    };
    let held = held.and_then(schema::checked).and_then(|schema| by_schema(tool, schema, shape, parts));
    let is_free = tool.kind == ToolKind::Function && !tool.strict;
    let held = match held {
        Err(_) if is_free => by_schema(tool, json!({"type": "object"}), shape, parts),
        held => held,
    };
    held.map_err(|error| GrammarError::new(format!("the tool {:?}: {error}", tool.name)))
}

/// By a checked schema.
fn by_schema(tool: &Tool, schema: Value, shape: CallShape, parts: &mut Parts<'_>) -> Result<String, GrammarError> {
    match shape {
        CallShape::Json { .. } => {
            let schema = schema::ready(schema);
            super::compiles(&schema)?;
            Ok(parts.schema(schema))
        }
        CallShape::Tags { before_key, after_text_key, after_key, after_value, .. } => {
            tags::arguments(tool, &schema, Tags { before_key, after_text_key, after_key, after_value }, parts)
        }
        CallShape::Python => literals::arguments(&schema, Dialect::Python, parts),
        CallShape::Gemma => literals::arguments(&schema, Dialect::Gemma, parts),
    }
}

/// The schema of a function's arguments, an object: without one it takes none.
fn parameters(tool: &Tool) -> Result<Value, GrammarError> {
    if tool.definition.0.len() > MAX_BYTES {
        return Err(GrammarError::new(format!("its definition is longer than {MAX_BYTES} bytes; shorten it")));
    }
    let definition: Value =
        serde_json::from_str(&tool.definition.0).map_err(|_| GrammarError::new("its definition is no JSON"))?;
    let schema = definition.get("function").and_then(|function| function.get("parameters"));
    match schema {
        None | Some(Value::Null) => Ok(json!({"type": "object", "properties": {}, "additionalProperties": false})),
        Some(Value::Object(keys)) => {
            let mut keys = keys.clone();
            match keys.get("type").and_then(Value::as_str) {
                Some("object") => {}
                // Beside a reference it would be a second thing to hold to.
                None if keys.contains_key("$ref") => {}
                None if !keys.contains_key("type") => _ = keys.insert("type".into(), "object".into()),
                _ => return Err(GrammarError::new("its parameters are not of the type object")),
            }
            Ok(Value::Object(keys))
        }
        Some(_) => Err(GrammarError::new("its parameters are no JSON Schema")),
    }
}

/// The schema of the arguments of a custom tool: an object with its text.
fn text_argument(form: &TextForm) -> Result<Value, GrammarError> {
    let mut text = json!({"type": "string"});
    match form {
        TextForm::Free => {}
        TextForm::Regex(expression) => text["pattern"] = format!("^(?:{expression})$").into(),
        TextForm::Lark(_) => {
            let problem = "a local model writes the text of a custom tool as an argument, which no Lark grammar holds; use a regex";
            return Err(GrammarError::new(problem));
        }
    }
    Ok(json!({
        "type": "object",
        "properties": {custom::INPUT: text},
        "required": [custom::INPUT],
        "additionalProperties": false
    }))
}
