//! Tools: announced, chosen, and called earlier in the conversation.

use serde_json::Value;
use weighbridge_backend::{Asked, Capability, Json, Need, Role, Tool, ToolCall, ToolChoice, ToolKind};

use super::{Fields, WireError, need, passed_on};

const MAX_TOOLS: usize = 1_024;

pub(super) fn tools(fields: &Fields<'_>, asked: &mut Vec<Asked>) -> Result<Vec<Tool>, WireError> {
    let Some(values) = fields.array("tools")? else { return Ok(Vec::new()) };
    if values.len() > MAX_TOOLS {
        let message = format!("Invalid 'tools': array too long. Expected at most {MAX_TOOLS} tools.");
        return Err(WireError::at("tools", "array_above_max_length", message));
    }
    let mut tools = Vec::with_capacity(values.len());
    for (i, value) in values.iter().enumerate() {
        let path = format!("tools[{i}]");
        let tool = Fields::of(value, &path)?;
        if tool.required_string("type")? != "function" {
            asked.push(passed_on(path));
            continue;
        }
        let function = tool.object("function")?.ok_or_else(|| WireError::missing(&tool.path("function")))?;
        let name = function.required_string("name")?.to_owned();
        if let Some(parameters) = function.get("parameters")
            && !parameters.is_object()
        {
            return Err(WireError::wrong_type(&function.path("parameters"), "an object", parameters));
        }
        // A strict tool promises that its arguments follow the schema: what a grammar enforces.
        let strict = function.boolean("strict")?.unwrap_or(false);
        if strict {
            asked.push(need(&function.path("strict"), Capability::ForcedToolChoice));
        }
        tools.push(Tool { definition: Json(value.to_string().into()), name, kind: ToolKind::Function, strict });
    }
    if !tools.is_empty() {
        asked.push(need("tools", Capability::Tools));
    }
    Ok(tools)
}

pub(super) fn tool_choice(
    fields: &Fields<'_>,
    tools: &[Tool],
    asked: &mut Vec<Asked>,
) -> Result<ToolChoice, WireError> {
    if fields.boolean("parallel_tool_calls")? == Some(false) && !tools.is_empty() {
        asked.push(need("parallel_tool_calls", Capability::ParallelToolCalls));
    }
    let choice = match fields.get("tool_choice") {
        None => return Ok(ToolChoice::Auto),
        Some(Value::String(word)) => match word.as_str() {
            "auto" => return Ok(ToolChoice::Auto),
            "none" => return Ok(ToolChoice::None),
            "required" => ToolChoice::Required,
            _ => return Err(WireError::invalid("tool_choice", "expected none, auto, required or an object")),
        },
        Some(value) => {
            let choice = Fields::of(value, "tool_choice")?;
            match choice.required_string("type")? {
                "function" => {
                    let function =
                        choice.object("function")?.ok_or_else(|| WireError::missing("tool_choice.function"))?;
                    let name = function.required_string("name")?;
                    if !tools.iter().any(|tool| tool.name == name) {
                        return Err(WireError::invalid(
                            "tool_choice.function.name",
                            "no tool of that name is in 'tools'",
                        ));
                    }
                    ToolChoice::Named(name.to_owned())
                }
                _ => {
                    asked.push(passed_on("tool_choice".into()));
                    return Ok(ToolChoice::Auto);
                }
            }
        }
    };
    if tools.is_empty() {
        return Err(WireError::invalid("tool_choice", "it is only allowed when 'tools' are given"));
    }
    asked.push(need("tool_choice", Capability::ForcedToolChoice));
    Ok(choice)
}

pub(super) fn tool_calls(fields: &Fields<'_>, role: Role, asked: &mut Vec<Asked>) -> Result<Vec<ToolCall>, WireError> {
    let Some(values) = fields.array("tool_calls")?.filter(|calls| !calls.is_empty()) else { return Ok(Vec::new()) };
    if role != Role::Assistant {
        return Err(WireError::invalid(&fields.path("tool_calls"), "only the assistant makes tool calls"));
    }
    if !asked.iter().any(|asked| asked.need == Need::Capability(Capability::Tools)) {
        asked.push(need(&fields.path("tool_calls"), Capability::Tools));
    }
    let mut calls = Vec::with_capacity(values.len());
    for (i, value) in values.iter().enumerate() {
        let path = fields.path(&format!("tool_calls[{i}]"));
        let call = Fields::of(value, &path)?;
        if call.string("type")?.unwrap_or("function") != "function" {
            asked.push(passed_on(path));
            continue;
        }
        let function = call.object("function")?.ok_or_else(|| WireError::missing(&call.path("function")))?;
        calls.push(ToolCall {
            id: call.required_string("id")?.to_owned(),
            name: function.required_string("name")?.to_owned(),
            arguments: function.string("arguments")?.unwrap_or_default().to_owned(),
            custom: false,
        });
    }
    Ok(calls)
}
