//! Tools: announced, chosen, and called earlier in the conversation.

use serde_json::Value;
use weighbridge_backend::{Asked, Capability, Json, Need, Role, TextForm, Tool, ToolCall, ToolChoice, ToolKind};

use super::{Fields, WireError, need};

pub(in crate::wire) const MAX_TOOLS: usize = 1_024;
const MAX_NAME: usize = 64;

pub(super) fn tools(fields: &Fields<'_>, asked: &mut Vec<Asked>) -> Result<Vec<Tool>, WireError> {
    let Some(values) = fields.array("tools")? else { return Ok(Vec::new()) };
    if values.len() > MAX_TOOLS {
        let message = format!("Invalid 'tools': array too long. Expected at most {MAX_TOOLS} tools.");
        return Err(WireError::at("tools", "array_above_max_length", message));
    }
    let mut tools = Vec::with_capacity(values.len());
    for (i, value) in values.iter().enumerate() {
        let tool = Fields::of(value, &format!("tools[{i}]"))?;
        let (name, kind, strict) = match tool.required_string("type")? {
            "function" => function(&tool, asked)?,
            "custom" => custom(&tool, asked)?,
            other => {
                let why = format!("expected function or custom, but got '{other}'");
                return Err(WireError::invalid(&tool.path("type"), why));
            }
        };
        tools.push(Tool { definition: Json(value.to_string().into()), name, kind, strict });
    }
    if !tools.is_empty() {
        asked.push(need("tools", Capability::Tools));
    }
    Ok(tools)
}

/// A tool's name, what it takes, and whether it is strict.
pub(in crate::wire) type Announced = (String, ToolKind, bool);

fn function(tool: &Fields<'_>, asked: &mut Vec<Asked>) -> Result<Announced, WireError> {
    function_in(&tool.object("function")?.ok_or_else(|| WireError::missing(&tool.path("function")))?, asked)
}

/// The function that these fields announce.
pub(in crate::wire) fn function_in(function: &Fields<'_>, asked: &mut Vec<Asked>) -> Result<Announced, WireError> {
    let name = tool_name(function)?;
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
    Ok((name, ToolKind::Function, strict))
}

fn custom(tool: &Fields<'_>, asked: &mut Vec<Asked>) -> Result<Announced, WireError> {
    let custom = tool.object("custom")?.ok_or_else(|| WireError::missing(&tool.path("custom")))?;
    let name = tool_name(&custom)?;
    asked.push(need(&custom.path("name"), Capability::CustomTools));
    Ok((name, ToolKind::Custom(text_form(&custom)?), false))
}

fn text_form(custom: &Fields<'_>) -> Result<TextForm, WireError> {
    let Some(format) = custom.object("format")? else { return Ok(TextForm::Free) };
    match format.required_string("type")? {
        "text" => Ok(TextForm::Free),
        "grammar" => grammar(&format.object("grammar")?.ok_or_else(|| WireError::missing(&format.path("grammar")))?),
        _ => Err(WireError::invalid(&format.path("type"), "expected text or grammar")),
    }
}

/// The grammar that these fields define.
pub(in crate::wire) fn grammar(grammar: &Fields<'_>) -> Result<TextForm, WireError> {
    let definition = grammar.required_string("definition")?.to_owned();
    match grammar.required_string("syntax")? {
        "lark" => Ok(TextForm::Lark(definition)),
        "regex" => Ok(TextForm::Regex(definition)),
        _ => Err(WireError::invalid(&grammar.path("syntax"), "expected lark or regex")),
    }
}

pub(in crate::wire) fn tool_name(fields: &Fields<'_>) -> Result<String, WireError> {
    let name = fields.required_string("name")?;
    if name.is_empty() {
        return Err(WireError::invalid(&fields.path("name"), "it is empty"));
    }
    // OpenAI has at most 64; servers of open models take what their templates print.
    if name.len() > MAX_NAME * 4 {
        let message = format!("Invalid '{}': string too long. Expected at most 64 characters.", fields.path("name"));
        return Err(WireError::at(&fields.path("name"), "string_above_max_length", message));
    }
    Ok(name.to_owned())
}

pub(super) fn tool_choice(
    fields: &Fields<'_>,
    tools: &[Tool],
    asked: &mut Vec<Asked>,
) -> Result<ToolChoice, WireError> {
    tool_choice_by(fields, tools, asked, chosen)
}

/// The same, where `chosen` reads the choice that is an object.
pub(in crate::wire) fn tool_choice_by(
    fields: &Fields<'_>,
    tools: &[Tool],
    asked: &mut Vec<Asked>,
    chosen: impl FnOnce(&Fields<'_>, &[Tool]) -> Result<ToolChoice, WireError>,
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
        Some(value) => chosen(&Fields::of(value, "tool_choice")?, tools)?,
    };
    if tools.is_empty() {
        return Err(WireError::invalid("tool_choice", "it is only allowed when 'tools' are given"));
    }
    asked.push(need("tool_choice", Capability::ForcedToolChoice));
    Ok(choice)
}

fn chosen(choice: &Fields<'_>, tools: &[Tool]) -> Result<ToolChoice, WireError> {
    if choice.required_string("type")? != "allowed_tools" {
        return named(choice, tools).map(ToolChoice::Named);
    }
    let inner = choice.object("allowed_tools")?.ok_or_else(|| WireError::missing("tool_choice.allowed_tools"))?;
    allowed(&inner, tools, named)
}

/// Some of the tools, each read by `named`.
pub(in crate::wire) fn allowed(
    allowed: &Fields<'_>,
    tools: &[Tool],
    named: impl Fn(&Fields<'_>, &[Tool]) -> Result<String, WireError>,
) -> Result<ToolChoice, WireError> {
    let required = match allowed.required_string("mode")? {
        "auto" => false,
        "required" => true,
        _ => return Err(WireError::invalid(&allowed.path("mode"), "expected auto or required")),
    };
    let listed = allowed.array("tools")?.unwrap_or_default().iter().enumerate();
    let names = listed.map(|(i, value)| named(&Fields::of(value, &allowed.path(&format!("tools[{i}]")))?, tools));
    let names = names.collect::<Result<Vec<_>, _>>()?;
    if names.is_empty() {
        return Err(WireError::invalid(&allowed.path("tools"), "it names no tool"));
    }
    Ok(ToolChoice::Allowed { names, required })
}

/// The name in `{"type": "function", "function": {"name": …}}`, which one of the tools has.
fn named(choice: &Fields<'_>, tools: &[Tool]) -> Result<String, WireError> {
    let kind = kind_of(choice)?;
    named_in(kind, &choice.object(kind)?.ok_or_else(|| WireError::missing(&choice.path(kind)))?, tools)
}

/// The kind of tool that is chosen.
pub(in crate::wire) fn kind_of<'a>(choice: &Fields<'a>) -> Result<&'a str, WireError> {
    let kind = choice.required_string("type")?;
    if !["function", "custom"].contains(&kind) {
        let why = "expected function, custom or allowed_tools";
        return Err(WireError::invalid(&choice.path("type"), why));
    }
    Ok(kind)
}

/// The name that these fields give, of one of the tools.
pub(in crate::wire) fn named_in(kind: &str, inner: &Fields<'_>, tools: &[Tool]) -> Result<String, WireError> {
    let name = inner.required_string("name")?;
    let is_it = |tool: &Tool| tool.name == name && (tool.kind == ToolKind::Function) == (kind == "function");
    if !tools.iter().any(is_it) {
        let why = format!("no {kind} tool of that name is in 'tools'");
        return Err(WireError::invalid(&inner.path("name"), why));
    }
    Ok(name.to_owned())
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
        let call = Fields::of(value, &fields.path(&format!("tool_calls[{i}]")))?;
        let (kind, text) = match call.string("type")?.unwrap_or("function") {
            "function" => ("function", "arguments"),
            "custom" => ("custom", "input"),
            _ => return Err(WireError::invalid(&call.path("type"), "expected function or custom")),
        };
        let called = call.object(kind)?.ok_or_else(|| WireError::missing(&call.path(kind)))?;
        calls.push(ToolCall {
            id: call.required_string("id")?.to_owned(),
            name: called.required_string("name")?.to_owned(),
            arguments: called.string(text)?.unwrap_or_default().to_owned(),
            custom: kind == "custom",
        });
    }
    Ok(calls)
}
