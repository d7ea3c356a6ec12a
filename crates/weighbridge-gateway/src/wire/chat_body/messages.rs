//! The conversation.

use serde_json::Value;
use weighbridge_backend::{Asked, Capability, Message, Need, Part, Role};

use super::tools::tool_calls;
use super::{Fields, WireError, need, passed_on};

const MAX_MESSAGES: usize = 100_000;

pub(super) fn messages(fields: &Fields<'_>, asked: &mut Vec<Asked>) -> Result<Vec<Message>, WireError> {
    fields.required("messages")?;
    let values = fields.array("messages")?.unwrap_or_default();
    match values.len() {
        0 => {
            let message = "Invalid 'messages': empty array. Expected at least one message.".to_owned();
            return Err(WireError::at("messages", "empty_array", message));
        }
        1..=MAX_MESSAGES => {}
        length => {
            let message = format!(
                "Invalid 'messages': array too long. Expected at most {MAX_MESSAGES} messages, but got {length}."
            );
            return Err(WireError::at("messages", "array_above_max_length", message));
        }
    }
    let read = |(i, value)| message(value, &format!("messages[{i}]"), asked);
    values.iter().enumerate().map(read).collect()
}

fn message(value: &Value, path: &str, asked: &mut Vec<Asked>) -> Result<Message, WireError> {
    let fields = Fields::of(value, path)?;
    let role = match fields.required_string("role")? {
        "developer" => Role::Developer,
        "system" => Role::System,
        "user" => Role::User,
        "assistant" => Role::Assistant,
        "tool" => Role::Tool,
        "function" => {
            let why = "the role function is deprecated; send the result with the role tool";
            return Err(WireError::invalid(&fields.path("role"), why));
        }
        _ => {
            let why = "expected one of developer, system, user, assistant, tool";
            return Err(WireError::invalid(&fields.path("role"), why));
        }
    };
    let tool_calls = tool_calls(&fields, role, asked)?;
    let may_be_silent = role == Role::Assistant && (!tool_calls.is_empty() || fields.get("refusal").is_some());
    let parts = match fields.get("content") {
        None if may_be_silent => Vec::new(),
        None => return Err(WireError::missing(&fields.path("content"))),
        Some(Value::String(text)) => vec![Part::Text(text.clone())],
        Some(Value::Array(parts)) => {
            let path = fields.path("content");
            let read = |(i, value)| part(value, &format!("{path}[{i}]"), asked);
            parts.iter().enumerate().map(read).collect::<Result<_, _>>()?
        }
        Some(other) => {
            return Err(WireError::wrong_type(&fields.path("content"), "a string or an array of parts", other));
        }
    };
    let tool_call_id = fields.string("tool_call_id")?.map(str::to_owned);
    if role == Role::Tool && tool_call_id.is_none() {
        return Err(WireError::missing(&fields.path("tool_call_id")));
    }
    if role == Role::Tool && !asked.iter().any(|asked| asked.need == Need::Capability(Capability::Tools)) {
        asked.push(need(&fields.path("role"), Capability::Tools));
    }
    let name = fields.string("name")?.map(str::to_owned);
    if name.is_some() && role != Role::Tool {
        // The name of a speaker: a nicety that no open model's template reads.
        asked.push(Asked { hint: true, ..passed_on(fields.path("name")) });
    }
    message_extras(&fields, asked);
    let reasoning = [fields.get("reasoning_content"), fields.get("reasoning")].into_iter().flatten();
    let reasoning = reasoning.filter_map(Value::as_str).map(str::to_owned).next();
    Ok(Message { tool_calls, tool_call_id, name, reasoning, ..Message::new(role, parts) })
}

/// What clients echo back of an earlier answer is a hint; what we do not know is handed on or refused.
fn message_extras(fields: &Fields<'_>, asked: &mut Vec<Asked>) {
    for key in fields.keys() {
        let path = fields.path(key);
        match key {
            "role" | "content" | "name" | "tool_calls" | "tool_call_id" => {}
            "annotations" if fields.get(key).and_then(Value::as_array).is_some_and(Vec::is_empty) => {}
            "refusal" | "annotations" | "reasoning_content" | "reasoning" => {
                asked.push(Asked { hint: true, ..passed_on(path) });
            }
            _ => asked.push(passed_on(path)),
        }
    }
}

fn image(fields: &Fields<'_>, path: &str, asked: &mut Vec<Asked>) -> Result<Part, WireError> {
    let image = fields.object("image_url")?.ok_or_else(|| WireError::missing(&fields.path("image_url")))?;
    let url = image.required_string("url")?.to_owned();
    let detail = image.string("detail")?.map(str::to_owned);
    asked.push(need(path, Capability::ImageInput));
    Ok(Part::Image { url, detail })
}

fn part(value: &Value, path: &str, asked: &mut Vec<Asked>) -> Result<Part, WireError> {
    let fields = Fields::of(value, path)?;
    let kind = fields.required_string("type")?;
    let capability = match kind {
        "text" => return Ok(Part::Text(fields.required_string("text")?.to_owned())),
        "refusal" => return Ok(Part::Text(fields.required_string("refusal")?.to_owned())),
        "image_url" => return image(&fields, path, asked),
        "input_audio" => Some(Capability::AudioInput),
        "file" => Some(Capability::FileInput),
        _ => None,
    };
    asked.push(match capability {
        Some(capability) => need(path, capability),
        None => passed_on(path.to_owned()),
    });
    Ok(Part::Other { kind: kind.to_owned() })
}
