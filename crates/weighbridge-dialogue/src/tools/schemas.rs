//! What the tools of a request say of their parameters.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::Value;
use weighbridge_backend::Tool;

/// The tools that a model was told of, as far as reading its calls goes. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct ToolSchemas {
    tools: Arc<HashMap<String, HashMap<String, Kind>>>,
}

/// What a parameter takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A string and nothing else.
    Text,
    /// Values that are no strings.
    Other,
    /// Either, or it is not said.
    Any,
}

impl ToolSchemas {
    /// Of the tools of a request. What is no OpenAI tool object says nothing of its parameters.
    pub fn new(tools: &[Tool]) -> Self {
        let parameters = |tool: &Tool| {
            let definition: Value = serde_json::from_str(&tool.definition.0).ok()?;
            let properties = definition.pointer("/function/parameters/properties")?.as_object()?;
            Some(properties.iter().map(|(name, schema)| (name.clone(), kind(schema))).collect())
        };
        let tools = tools.iter().map(|tool| (tool.name.clone(), parameters(tool).unwrap_or_default()));
        Self { tools: Arc::new(tools.collect()) }
    }

    /// Whether this may be a tool's name; any may where none is known.
    pub(crate) fn may_have(&self, tool: &str) -> bool {
        self.tools.is_empty() || self.tools.contains_key(tool)
    }

    pub(crate) fn kind(&self, tool: &str, parameter: &str) -> Kind {
        self.tools.get(tool).and_then(|tool| tool.get(parameter)).copied().unwrap_or(Kind::Any)
    }
}

fn kind(schema: &Value) -> Kind {
    let Some(schema) = schema.as_object() else { return Kind::Any };
    match schema.get("type") {
        Some(Value::String(name)) => kind_of_type(name),
        Some(Value::Array(names)) => all(names.iter().filter_map(Value::as_str).map(kind_of_type)),
        _ => match (schema.get("enum"), schema.get("anyOf").or_else(|| schema.get("oneOf"))) {
            (Some(Value::Array(values)), _) => {
                all(values.iter().map(|value| if value.is_string() { Kind::Text } else { Kind::Other }))
            }
            (_, Some(Value::Array(choices))) => all(choices.iter().map(kind)),
            _ => Kind::Any,
        },
    }
}

fn kind_of_type(name: &str) -> Kind {
    if name == "string" { Kind::Text } else { Kind::Other }
}

/// The kind that all are of; [`Kind::Any`] where they differ.
fn all(kinds: impl Iterator<Item = Kind>) -> Kind {
    kinds.reduce(|one, other| if one == other { one } else { Kind::Any }).unwrap_or(Kind::Any)
}

/// The JSON text of a value that a model wrote without saying what it is.
///
/// Where a string may stand, only what is plainly something else is taken for that; a value that is no JSON is a
/// string whatever the schema says, so that whoever checks the arguments sees what was written.
pub(crate) fn json_of(raw: &str, kind: Kind) -> String {
    let trimmed = raw.trim();
    let python = [("True", "true"), ("False", "false"), ("None", "null")];
    if let Some((_, word)) = python.iter().find(|(name, _)| kind != Kind::Text && *name == trimmed) {
        return (*word).into();
    }
    let is_json = kind != Kind::Text
        && serde_json::from_str::<Value>(trimmed).is_ok_and(|value| kind == Kind::Other || !value.is_string());
    if is_json { trimmed.into() } else { Value::from(raw).to_string() }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_schema_says_what_a_parameter_takes() {
        for (schema, expected) in [
            (json!({"type": "string"}), Kind::Text),
            (json!({"type": "integer"}), Kind::Other),
            (json!({"type": ["string", "null"]}), Kind::Any),
            (json!({"type": ["number", "null"]}), Kind::Other),
            (json!({"enum": ["a", "b"]}), Kind::Text),
            (json!({"enum": ["a", 1]}), Kind::Any),
            (json!({"anyOf": [{"type": "object"}, {"type": "array"}]}), Kind::Other),
            (json!({"$ref": "#/x"}), Kind::Any),
            (json!(true), Kind::Any),
        ] {
            assert_eq!(kind(&schema), expected, "{schema}");
        }
    }

    #[test]
    fn values_become_json_by_what_they_may_be() {
        for (raw, kind, expected) in [
            ("3", Kind::Other, "3"),
            (" [1, 2] ", Kind::Any, "[1, 2]"),
            ("True", Kind::Any, "true"),
            ("None", Kind::Text, "\"None\""),
            ("3", Kind::Text, "\"3\""),
            ("\"a\"", Kind::Any, "\"\\\"a\\\"\""),
            ("\"a\"", Kind::Other, "\"a\""),
            ("three", Kind::Other, "\"three\""),
            ("{a", Kind::Any, "\"{a\""),
        ] {
            assert_eq!(json_of(raw, kind), expected, "{raw}");
        }
    }
}
