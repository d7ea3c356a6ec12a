//! Tools, which are flat here: `{"type": "function", "name": …}`.
//!
//! A function that says nothing of `strict` is not strict: OpenAI takes it for strict where its schema allows, but what
//! nobody asked for must keep no backend out.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use weighbridge_backend::{Asked, Capability, Json, TextForm, Tool, ToolChoice, ToolKind};

use super::super::chat_body::tools::{
    Announced, MAX_TOOLS, allowed, function_in, grammar, kind_of, named_in, tool_choice_by, tool_name,
};
use super::{Fields, WireError, need, passed_on};

/// The most characters of a tool's name, as OpenAI has them.
const MOST_NAME: usize = 64;

pub(super) fn tools(fields: &Fields<'_>, asked: &mut Vec<Asked>) -> Result<Vec<Tool>, WireError> {
    let Some(values) = fields.array("tools")? else { return Ok(Vec::new()) };
    if values.len() > MAX_TOOLS {
        let message = format!("Invalid 'tools': array too long. Expected at most {MAX_TOOLS} tools.");
        return Err(WireError::at("tools", "array_above_max_length", message));
    }
    let mut tools = Vec::new();
    for (i, value) in values.iter().enumerate() {
        let fields = Fields::of(value, &format!("tools[{i}]"))?;
        match fields.required_string("type")? {
            "namespace" => namespace(&fields, &mut tools, asked)?,
            // Codex announces it always: a look into what OpenAI has kept of the web, which a model may go without.
            "web_search" if fields.get("external_web_access") == Some(&Value::Bool(false)) => {
                asked.push(Asked { hint: true, ..passed_on(fields.path("type")) });
            }
            _ => tools.push(tool(&fields, None, asked)?),
        }
    }
    if tools.len() > MAX_TOOLS {
        let message = format!("Invalid 'tools': too many. Expected at most {MAX_TOOLS} tools.");
        return Err(WireError::at("tools", "array_above_max_length", message));
    }
    if !tools.is_empty() {
        asked.push(need("tools", Capability::Tools));
    }
    Ok(tools)
}

/// The tools of a namespace, each under a name that has the namespace in it: chat completions know none.
fn namespace(fields: &Fields<'_>, tools: &mut Vec<Tool>, asked: &mut Vec<Asked>) -> Result<(), WireError> {
    let name = tool_name(fields)?;
    // What it says of all its tools, each of them says as far as it matters.
    asked.extend(fields.get("description").map(|_| Asked { hint: true, ..passed_on(fields.path("description")) }));
    let known = ["type", "name", "description", "tools"];
    asked.extend(fields.keys().filter(|key| !known.contains(key)).map(|key| passed_on(fields.path(key))));
    for (i, value) in fields.array("tools")?.unwrap_or_default().iter().enumerate() {
        let inner = Fields::of(value, &fields.path(&format!("tools[{i}]")))?;
        tools.push(tool(&inner, Some(&name), asked)?);
    }
    Ok(())
}

/// The name of a tool in a namespace.
pub(super) fn full_name(namespace: Option<&str>, name: &str) -> String {
    namespace.map_or_else(|| name.to_owned(), |namespace| format!("{namespace}__{name}"))
}

/// The tools that are in namespaces, by the names under which backends have them: namespace and name.
pub(super) fn in_namespaces(fields: &Fields<'_>) -> BTreeMap<String, (String, String)> {
    let spaces = fields.get("tools").and_then(Value::as_array).into_iter().flatten();
    let spaces = spaces.filter(|space| space["type"] == "namespace");
    let named = spaces.flat_map(|space| {
        let names = space["tools"].as_array().into_iter().flatten().filter_map(|tool| tool["name"].as_str());
        let space = space["name"].as_str().unwrap_or_default();
        names.map(move |name| (full_name(Some(space), name), (space.to_owned(), name.to_owned())))
    });
    named.collect()
}

fn tool(tool: &Fields<'_>, namespace: Option<&str>, asked: &mut Vec<Asked>) -> Result<Tool, WireError> {
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
    let name = full_name(namespace, &name);
    if name.len() > MOST_NAME {
        let why = format!("with its namespace it has more than {MOST_NAME} characters");
        return Err(WireError::invalid(&tool.path("name"), why));
    }
    Ok(Tool { definition: definition(tool, kind, known, &name), name, kind: takes, strict })
}

/// Whether a field says what would hold without it.
fn is_neutral(key: &str, value: Option<&Value>) -> bool {
    match key {
        "allowed_callers" => value == Some(&json!(["direct"])),
        _ => value == Some(&Value::Bool(false)),
    }
}

/// The tool as chat completions announce it, which is what chat templates know.
fn definition(tool: &Fields<'_>, kind: &str, known: &[&str], name: &str) -> Json {
    let mut inner = Map::new();
    for key in known {
        let Some(value) = tool.get(key) else { continue };
        let value = match *key {
            "name" => name.into(),
            "format" => nested(value),
            _ => value.clone(),
        };
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
