//! Tools that take a text, for models that know functions alone.
//!
//! To the model a custom tool is a function with one argument, a string: so it is announced, so earlier calls of it are
//! written, and so it is called. The caller sees the text.

use std::collections::{HashMap, HashSet};

use serde_json::{Value, json};
use weighbridge_backend::{TextForm, Tool, ToolCallDelta, ToolKind};

/// The argument that the text is.
pub(crate) const INPUT: &str = "input";

/// The definition of the function that a custom tool of this definition is to the model.
pub(crate) fn as_function(definition: &Value, name: &str, form: &TextForm) -> Value {
    let description = definition.pointer("/custom/description").and_then(Value::as_str).unwrap_or_default();
    let text = match form {
        TextForm::Free => "The text that the tool takes.".to_owned(),
        TextForm::Lark(grammar) => format!("The text that the tool takes, by this Lark grammar:\n{grammar}"),
        TextForm::Regex(expression) => {
            format!("The text that the tool takes, which matches the expression {expression}")
        }
    };
    let parameters = json!({
        "type": "object",
        "properties": {INPUT: {"type": "string", "description": text}},
        "required": [INPUT]
    });
    json!({"type": "function", "function": {"name": name, "description": description, "parameters": parameters}})
}

/// Turns calls of custom tools, as the model writes them, into what the caller sees.
///
/// A call comes with its name at once and with its text when it is whole: half of a JSON string is no text yet.
#[derive(Clone, Debug, Default)]
pub struct CustomCalls {
    names: HashSet<String>,
    /// For each call under way, what was written of its arguments.
    written: HashMap<u32, String>,
}

impl CustomCalls {
    /// For the tools of a request, of which some may be custom.
    pub fn new(tools: &[Tool]) -> Self {
        let custom = tools.iter().filter(|tool| tool.kind != ToolKind::Function);
        Self { names: custom.map(|tool| tool.name.clone()).collect(), written: HashMap::new() }
    }

    /// What the caller sees of a piece of a call, if anything.
    pub fn turn(&mut self, delta: ToolCallDelta) -> Option<ToolCallDelta> {
        if delta.name.as_ref().is_some_and(|name| self.names.contains(name)) {
            self.written.insert(delta.index, String::new());
        }
        let Some(written) = self.written.get_mut(&delta.index) else { return Some(delta) };
        written.push_str(&delta.arguments);
        let arguments = if delta.arguments.trim_end().ends_with('}') { text(written) } else { None };
        if arguments.is_some() {
            written.clear();
        }
        let seen = delta.name.is_some() || arguments.is_some();
        seen.then(|| ToolCallDelta { arguments: arguments.unwrap_or_default(), custom: true, ..delta })
    }

    /// What is left of calls whose arguments never became whole, as it was written.
    pub fn finish(&mut self) -> Vec<ToolCallDelta> {
        let mut left: Vec<_> = self.written.drain().filter(|(_, written)| !written.is_empty()).collect();
        left.sort_unstable();
        let delta = |(index, arguments)| ToolCallDelta { index, arguments, custom: true, ..ToolCallDelta::default() };
        left.into_iter().map(delta).collect()
    }
}

/// The text in whole arguments; arguments of another kind are the text themselves.
fn text(written: &str) -> Option<String> {
    let arguments: Value = serde_json::from_str(written).ok()?;
    Some(arguments.get(INPUT).and_then(Value::as_str).unwrap_or(written).to_owned())
}

#[cfg(test)]
mod tests {
    use weighbridge_backend::Json;

    use super::*;

    fn tools() -> Vec<Tool> {
        let tool = |name: &str, kind| Tool { definition: Json("{}".into()), name: name.into(), kind, strict: false };
        vec![tool("run", ToolKind::Custom(TextForm::Free)), tool("add", ToolKind::Function)]
    }

    /// What comes of a call of `name` whose arguments come in these pieces.
    fn turned(name: &str, pieces: &[&str]) -> (String, bool) {
        let mut calls = CustomCalls::new(&tools());
        let first = ToolCallDelta { id: Some("c".into()), name: Some(name.into()), ..ToolCallDelta::default() };
        let rest = pieces.iter().map(|&piece| ToolCallDelta { arguments: piece.into(), ..ToolCallDelta::default() });
        let mut seen: Vec<_> = [first].into_iter().chain(rest).filter_map(|delta| calls.turn(delta)).collect();
        seen.extend(calls.finish());
        assert_eq!(seen[0].name.as_deref(), Some(name));
        (seen.iter().map(|delta| delta.arguments.as_str()).collect(), seen.iter().all(|delta| delta.custom))
    }

    #[test]
    fn the_caller_sees_the_text() {
        let whole = ["{\"input\": \"print(1)}\\n\"}"];
        assert_eq!(turned("run", &whole), ("print(1)}\n".into(), true));
        assert_eq!(turned("run", &["{\"input", "\": \"a}", "b\"", "}"]), ("a}b".into(), true));
        assert_eq!(turned("run", &["{\"code\": 1}"]), ("{\"code\": 1}".into(), true));
        assert_eq!(turned("run", &["{\"input\": \"cut"]), ("{\"input\": \"cut".into(), true));
        assert_eq!(turned("add", &["{\"a\"", ": 1}"]), ("{\"a\": 1}".into(), false));
    }
}
