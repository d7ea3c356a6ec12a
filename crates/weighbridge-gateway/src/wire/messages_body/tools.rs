//! Tools, in Anthropic's form, as the OpenAI tool objects that chat templates expect.

use serde_json::{Map, Value, json};
use weighbridge_backend::{Asked, Capability, Json, Tool, ToolChoice, ToolKind};

use super::blocks::of_dialect;
use super::hints::Hints;
use super::messages::bounded;
use super::{Fields, WireError, need};

const MAX_TOOLS: usize = 1_024;
const MAX_NAME: usize = 256;

pub(super) fn tools(fields: &Fields<'_>, asked: &mut Vec<Asked>, hints: &mut Hints) -> Result<Vec<Tool>, WireError> {
    let Some(values) = fields.array("tools")? else { return Ok(Vec::new()) };
    bounded(values.len(), MAX_TOOLS, "tools")?;
    let mut tools = Vec::with_capacity(values.len());
    for (i, value) in values.iter().enumerate() {
        let tool = Fields::of(value, &format!("tools[{i}]"))?;
        match tool.string("type")? {
            None | Some("custom") => tools.push(own_tool(&tool, asked, hints)?),
            // Tools that Anthropic runs itself, or whose schema only its models know.
            Some(_) => asked.push(of_dialect(tool.path("type"))),
        }
    }
    if !tools.is_empty() {
        asked.push(need("tools", Capability::Tools));
    }
    Ok(tools)
}

fn own_tool(tool: &Fields<'_>, asked: &mut Vec<Asked>, hints: &mut Hints) -> Result<Tool, WireError> {
    let name = tool.required_string("name")?;
    if name.is_empty() || name.len() > MAX_NAME {
        return Err(WireError::invalid(&tool.path("name"), format!("expected 1 to {MAX_NAME} bytes")));
    }
    let schema = tool.required("input_schema")?;
    if !schema.is_object() {
        return Err(WireError::wrong_type(&tool.path("input_schema"), "an object", schema));
    }
    let strict = tool.boolean("strict")?.unwrap_or(false);
    if strict {
        asked.push(need(&tool.path("strict"), Capability::ForcedToolChoice));
    }
    const KNOWN: [&str; 5] = ["type", "name", "description", "input_schema", "strict"];
    tool.keys().filter(|key| !KNOWN.contains(key)).for_each(|key| hints.add(key));
    let mut function = Map::new();
    function.insert("name".into(), name.into());
    if let Some(description) = tool.string("description")? {
        function.insert("description".into(), description.into());
    }
    function.insert("parameters".into(), schema.clone());
    if strict {
        function.insert("strict".into(), true.into());
    }
    let definition = json!({"type": "function", "function": function}).to_string();
    Ok(Tool { definition: Json(definition.into()), name: name.to_owned(), kind: ToolKind::Function, strict })
}

/// Whether tools may be called, and whether several at once.
pub(super) fn tool_choice(
    fields: &Fields<'_>,
    tools: &[Tool],
    asked: &mut Vec<Asked>,
) -> Result<(ToolChoice, bool), WireError> {
    let Some(choice) = fields.object("tool_choice")? else { return Ok((ToolChoice::Auto, true)) };
    let kind = choice.required_string("type")?;
    let wanted = match kind {
        "auto" => ToolChoice::Auto,
        "none" => ToolChoice::None,
        "any" => ToolChoice::Required,
        "tool" => ToolChoice::Named(named(&choice, fields, tools)?),
        _ => return Err(WireError::invalid(&choice.path("type"), "expected auto, any, tool or none")),
    };
    let announced = fields.array("tools")?.is_some_and(|tools| !tools.is_empty());
    if matches!(wanted, ToolChoice::Required | ToolChoice::Named(_)) {
        if !announced {
            return Err(WireError::invalid("tool_choice", "it is only allowed when 'tools' are given"));
        }
        asked.push(need("tool_choice", Capability::ForcedToolChoice));
    }
    let one_at_a_time = choice.boolean("disable_parallel_tool_use")?.unwrap_or(false);
    if one_at_a_time && !tools.is_empty() {
        asked.push(need(&choice.path("disable_parallel_tool_use"), Capability::ParallelToolCalls));
    }
    Ok((wanted, !one_at_a_time))
}

/// The name of the tool to call, which one of them has, be it one of Anthropic's own.
fn named(choice: &Fields<'_>, fields: &Fields<'_>, tools: &[Tool]) -> Result<String, WireError> {
    let name = choice.required_string("name")?;
    let has_it = |tool: &Value| tool.get("name").and_then(Value::as_str) == Some(name);
    let foreign = fields.array("tools")?.is_some_and(|values| values.iter().any(has_it));
    if !foreign && !tools.iter().any(|tool| tool.name == name) {
        return Err(WireError::invalid(&choice.path("name"), "no tool of that name is in 'tools'"));
    }
    Ok(name.to_owned())
}
