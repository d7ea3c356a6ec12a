//! What the tools of a request say of their parameters.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::Value;
use weighbridge_backend::{Tool, ToolKind};

use super::scan;
use super::types::{Types, referred};
use crate::custom;

/// The tools that a model was told of, as far as reading its calls goes. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct ToolSchemas {
    tools: Arc<HashMap<String, HashMap<String, Types>>>,
}

impl ToolSchemas {
    /// Of the tools of a request. What is no OpenAI tool object says nothing of its parameters.
    pub fn new(tools: &[Tool]) -> Self {
        let tools = tools.iter().map(|tool| (tool.name.clone(), parameters(tool).unwrap_or_default()));
        Self { tools: Arc::new(tools.collect()) }
    }

    /// Whether this may be a tool's name; any may where none is known.
    pub(crate) fn may_have(&self, tool: &str) -> bool {
        self.tools.is_empty() || self.tools.contains_key(tool)
    }

    /// What a parameter takes: anything where nothing is said.
    pub(crate) fn types(&self, tool: &str, parameter: &str) -> Types {
        self.tools.get(tool).and_then(|tool| tool.get(parameter)).copied().unwrap_or(Types::ALL)
    }
}

fn parameters(tool: &Tool) -> Option<HashMap<String, Types>> {
    if tool.kind != ToolKind::Function {
        return Some(HashMap::from([(custom::INPUT.to_owned(), Types::TEXT)]));
    }
    let definition: Value = serde_json::from_str(&tool.definition.0).ok()?;
    let root = definition.pointer("/function/parameters")?;
    let properties = referred(root, root).unwrap_or(root).get("properties")?.as_object()?;
    Some(properties.iter().map(|(name, schema)| (name.clone(), Types::of(schema, root))).collect())
}

/// The JSON text of a value that a model wrote without saying what it is.
///
/// Where a string may stand, only what is plainly of another type that may stand there is taken for that; a value that
/// is no JSON is a string whatever the schema says, so that whoever checks the arguments sees what was written.
pub(crate) fn json_of(raw: &str, types: Types) -> String {
    const PYTHON: [(&str, &str); 3] = [("True", "true"), ("False", "false"), ("None", "null")];
    let may_be = |json: &str| match types.has(Types::TEXT) {
        true => types.and(Types::OTHER).has(Types::of_json(json)),
        false => true,
    };
    let trimmed = raw.trim();
    if let Some((_, word)) = PYTHON.iter().find(|(name, word)| *name == trimmed && may_be(word)) {
        return (*word).into();
    }
    scan::json(trimmed).filter(|json| may_be(json)).unwrap_or_else(|| Value::from(raw).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_become_json_by_what_they_may_be() {
        let optional = Types::TEXT.or(Types::NULL);
        for (raw, types, expected) in [
            ("3", Types::OTHER, "3"),
            (" [1, 2] ", Types::ALL, "[1, 2]"),
            ("True", Types::ALL, "true"),
            ("None", Types::TEXT, "\"None\""),
            ("None", optional, "null"),
            ("None", Types::NUMBER, "null"),
            ("True", optional, "\"True\""),
            ("3", Types::TEXT, "\"3\""),
            ("3", optional, "\"3\""),
            ("1e999", Types::NUMBER, "1e999"),
            ("{\"a\": \"b\nc\"}", Types::OTHER, "{\"a\": \"b\\nc\"}"),
            ("\"a\"", Types::ALL, "\"\\\"a\\\"\""),
            ("\"a\"", Types::OTHER, "\"a\""),
            ("three", Types::OTHER, "\"three\""),
            ("1 2", Types::OTHER, "\"1 2\""),
            ("{a", Types::ALL, "\"{a\""),
        ] {
            assert_eq!(json_of(raw, types), expected, "{raw}");
        }
    }
}
