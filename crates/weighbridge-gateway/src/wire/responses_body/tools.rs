//! Tools, which are flat here: `{"type": "function", "name": …}`.
//!
//! A function that says nothing of `strict` is not strict: OpenAI takes it for strict where its schema allows, but what
//! nobody asked for must keep no backend out.

use serde_json::{Map, Value, json};
use weighbridge_backend::{Asked, Capability, Json, TextForm, Tool, ToolChoice, ToolKind};

use super::super::chat_body::tools::{
    Announced, MAX_TOOLS, allowed, function_in, grammar, kind_of, named_in, tool_choice_by, tool_name,
};
use super::{Fields, WireError, need, passed_on};

pub(super) fn tools(fields: &Fields<'_>, asked: &mut Vec<Asked>) -> Result<Vec<Tool>, WireError> {
    let Some(values) = fields.array("tools")? else { return Ok(Vec::new()) };
    if values.len() > MAX_TOOLS {
        let message = format!("Invalid 'tools': array too long. Expected at most {MAX_TOOLS} tools.");
        return Err(WireError::at("tools", "array_above_max_length", message));
    }
    let read = |(i, value)| tool(&Fields::of(value, &format!("tools[{i}]"))?, asked);
    let tools = values.iter().enumerate().map(read).collect::<Result<Vec<_>, _>>()?;
    if !tools.is_empty() {
        asked.push(need("tools", Capability::Tools));
    }
    Ok(tools)
}

fn tool(tool: &Fields<'_>, asked: &mut Vec<Asked>) -> Result<Tool, WireError> {
    let kind = tool.required_string("type")?;
    let (known, (name, takes, strict)): (&[&str], Announced) = match kind {
        "function" => (&["name", "description", "parameters", "strict"], function_in(tool, asked)?),
        "custom" => (&["name", "description", "format"], custom(tool, asked)?),
        other => {
            let message = format!(
                "Unsupported value: '{}' is '{other}', a tool that would run at OpenAI. This gateway takes function and custom tools, which the caller runs.",
                tool.path("type")
            );
            return Err(WireError::at(&tool.path("type"), "unsupported_value", message));
        }
    };
    for key in tool.keys().filter(|key| *key != "type" && !known.contains(key)) {
        if !is_neutral(key, tool.get(key)) {
            asked.push(passed_on(tool.path(key)));
        }
    }
    Ok(Tool { definition: definition(tool, kind, known), name, kind: takes, strict })
}

/// Whether a field says what would hold without it.
fn is_neutral(key: &str, value: Option<&Value>) -> bool {
    match key {
        "allowed_callers" => value == Some(&json!(["direct"])),
        _ => value == Some(&Value::Bool(false)),
    }
}

/// The tool as chat completions announce it, which is what chat templates know.
fn definition(tool: &Fields<'_>, kind: &str, known: &[&str]) -> Json {
    let mut inner = Map::new();
    for key in known {
        let Some(value) = tool.get(key) else { continue };
        let value = if *key == "format" { nested(value) } else { value.clone() };
        inner.insert((*key).to_owned(), value);
    }
    Json(json!({"type": kind, kind: inner}).to_string().into())
}

/// The form of a text, which chat completions have one level deeper.
fn nested(format: &Value) -> Value {
    match format["type"].as_str() {
        Some("grammar") => json!({
            "type": "grammar",
            "grammar": {"syntax": format["syntax"], "definition": format["definition"]},
        }),
        _ => format.clone(),
    }
}

fn custom(tool: &Fields<'_>, asked: &mut Vec<Asked>) -> Result<Announced, WireError> {
    let name = tool_name(tool)?;
    asked.push(need(&tool.path("name"), Capability::CustomTools));
    let form = match tool.object("format")? {
        None => TextForm::Free,
        Some(format) => match format.required_string("type")? {
            "text" => TextForm::Free,
            "grammar" => grammar(&format)?,
            _ => return Err(WireError::invalid(&format.path("type"), "expected text or grammar")),
        },
    };
    Ok((name, ToolKind::Custom(form), false))
}

pub(super) fn tool_choice(
    fields: &Fields<'_>,
    tools: &[Tool],
    asked: &mut Vec<Asked>,
) -> Result<ToolChoice, WireError> {
    tool_choice_by(fields, tools, asked, |choice, tools| match choice.required_string("type")? {
        "allowed_tools" => allowed(choice, tools, named),
        _ => named(choice, tools).map(ToolChoice::Named),
    })
}

fn named(choice: &Fields<'_>, tools: &[Tool]) -> Result<String, WireError> {
    named_in(kind_of(choice)?, choice, tools)
}
