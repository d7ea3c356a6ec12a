//! The content blocks of a turn.

use serde_json::Value;
use weighbridge_backend::{Asked, Capability, Dialect, Message, Need, Part, Role, ToolCall};

use super::hints::Hints;
use super::{Fields, Version, WireError, need};

/// Types of pictures, as Anthropic takes them.
const PICTURES: [&str; 4] = ["image/jpeg", "image/png", "image/gif", "image/webp"];

/// Where a block stands, and what is noted of it.
pub(super) struct Place<'p> {
    pub(super) version: Version,
    pub(super) role: Role,
    pub(super) asked: &'p mut Vec<Asked>,
    pub(super) hints: &'p mut Hints,
}

/// What a block comes to.
pub(super) enum Block {
    /// Something that is said or shown.
    Part(Part),
    /// What the model thought before.
    Thought(String),
    /// A call that it made.
    Call(ToolCall),
    /// The result of a call, and the pictures in it, which no message of that role can hold.
    Result(Message, Vec<Part>),
}

/// Reads one block; `None` where nothing of it reaches a model.
pub(super) fn block(value: &Value, path: &str, place: &mut Place<'_>) -> Result<Option<Block>, WireError> {
    let fields = Fields::of(value, path)?;
    let kind = fields.required_string("type")?;
    let known: &[&str] = match (kind, place.role) {
        ("text", _) => &["text"],
        ("image", Role::User) => &["source"],
        ("document", _) => &["source", "title", "context", "citations"],
        ("tool_result", Role::User) => &["tool_use_id", "content", "is_error"],
        ("tool_use", Role::Assistant) => &["id", "name", "input", "caller"],
        ("thinking", Role::Assistant) => &["thinking", "signature"],
        ("redacted_thinking", Role::Assistant) => &["data"],
        ("image" | "tool_result" | "tool_use" | "thinking" | "redacted_thinking", role) => {
            let why = format!("a block of type {kind} cannot stand in a turn of the role {}", role.as_str());
            return Err(WireError::invalid(&fields.path("type"), why));
        }
        _ => return Ok(Some(passed_on(kind, path, place))),
    };
    note_extras(&fields, known, place.hints);
    let block = match kind {
        "text" => Block::Part(Part::Text(text(&fields, place)?)),
        "image" => Block::Part(picture(&fields, place.asked)?),
        "document" => document(&fields, place)?,
        "tool_result" => result(&fields, place)?,
        "tool_use" => Block::Call(call(&fields, place.asked)?),
        "thinking" => Block::Thought(fields.string("thinking")?.unwrap_or_default().to_owned()),
        // Sealed for Anthropic: nobody else can read it.
        _ => {
            place.hints.add("redacted_thinking");
            return Ok(None);
        }
    };
    Ok(Some(block))
}

/// A block that must be text: of `system`.
pub(super) fn text_block(value: &Value, path: &str, hints: &mut Hints) -> Result<String, WireError> {
    let fields = Fields::of(value, path)?;
    if fields.required_string("type")? != "text" {
        return Err(WireError::invalid(&fields.path("type"), "expected text"));
    }
    note_extras(&fields, &["text", "citations"], hints);
    Ok(fields.required_string("text")?.to_owned())
}

fn note_extras(fields: &Fields<'_>, known: &[&str], hints: &mut Hints) {
    fields.keys().filter(|key| *key != "type" && !known.contains(key)).for_each(|key| hints.add(key));
}

fn text(fields: &Fields<'_>, place: &mut Place<'_>) -> Result<String, WireError> {
    if fields.get("citations").is_some_and(|citations| citations.as_array().is_none_or(|list| !list.is_empty())) {
        if place.role == Role::User && place.version >= Version::Of2026 {
            let why = "text of a user has no citations in anthropic-version 2026-10-21";
            return Err(WireError::invalid(&fields.path("citations"), why));
        }
        place.hints.add("citations");
    }
    Ok(fields.required_string("text")?.to_owned())
}

fn picture(fields: &Fields<'_>, asked: &mut Vec<Asked>) -> Result<Part, WireError> {
    let source = fields.object("source")?.ok_or_else(|| WireError::missing(&fields.path("source")))?;
    let url = match source.required_string("type")? {
        "base64" => {
            let kind = source.required_string("media_type")?;
            if !PICTURES.contains(&kind) {
                let why = format!("expected one of {}", PICTURES.join(", "));
                return Err(WireError::invalid(&source.path("media_type"), why));
            }
            format!("data:{kind};base64,{}", source.required_string("data")?)
        }
        "url" => source.required_string("url")?.to_owned(),
        "file" => {
            asked.push(of_dialect(source.path("file_id")));
            return Ok(Part::Other { kind: "image".to_owned() });
        }
        _ => return Err(WireError::invalid(&source.path("type"), "expected base64, url or file")),
    };
    asked.push(need(&source.path("type"), Capability::ImageInput));
    Ok(Part::Image { url, detail: None })
}

/// A document that is text is read; any other takes a backend that speaks Anthropic's dialect.
fn document(fields: &Fields<'_>, place: &mut Place<'_>) -> Result<Block, WireError> {
    if place.role == Role::Assistant && place.version >= Version::Of2026 {
        let why = "an assistant's turn holds no documents in anthropic-version 2026-10-21";
        return Err(WireError::invalid(&fields.path("type"), why));
    }
    let cites = fields.object("citations")?.map(|citations| citations.boolean("enabled")).transpose()?.flatten();
    if cites == Some(true) {
        place.asked.push(of_dialect(fields.path("citations")));
    }
    let source = fields.object("source")?.ok_or_else(|| WireError::missing(&fields.path("source")))?;
    if source.required_string("type")? != "text" {
        return Ok(passed_on("document", &source.path("type"), place));
    }
    let mut text = String::new();
    for key in ["title", "context"] {
        if let Some(line) = fields.string(key)? {
            text.push_str(line);
            text.push('\n');
        }
    }
    text.push_str(source.required_string("data")?);
    Ok(Block::Part(Part::Text(text)))
}

fn call(fields: &Fields<'_>, asked: &mut Vec<Asked>) -> Result<ToolCall, WireError> {
    needs_tools(fields, asked);
    let input = fields.required("input")?;
    if !input.is_object() {
        return Err(WireError::wrong_type(&fields.path("input"), "an object", input));
    }
    Ok(ToolCall {
        id: fields.required_string("id")?.to_owned(),
        name: fields.required_string("name")?.to_owned(),
        arguments: input.to_string(),
        custom: false,
    })
}

fn result(fields: &Fields<'_>, place: &mut Place<'_>) -> Result<Block, WireError> {
    needs_tools(fields, place.asked);
    let id = fields.required_string("tool_use_id")?.to_owned();
    let mut parts = match fields.get("content") {
        None => Vec::new(),
        Some(Value::String(text)) => vec![Part::Text(text.clone())],
        Some(Value::Array(values)) => {
            let mut parts = Vec::with_capacity(values.len());
            for (i, value) in values.iter().enumerate() {
                parts.push(result_part(value, &fields.path(&format!("content[{i}]")), place)?);
            }
            parts
        }
        Some(other) => {
            let path = fields.path("content");
            return Err(WireError::wrong_type(&path, "a string or an array of blocks", other));
        }
    };
    let pictures = parts.extract_if(.., |part| !matches!(part, Part::Text(_))).collect();
    if fields.boolean("is_error")?.unwrap_or(false) {
        // No other dialect has a place for it: the model reads it.
        parts.insert(0, Part::Text("Error: ".to_owned()));
    }
    if parts.is_empty() {
        parts.push(Part::Text(String::new()));
    }
    Ok(Block::Result(Message { tool_call_id: Some(id), ..Message::new(Role::Tool, parts) }, pictures))
}

fn result_part(value: &Value, path: &str, place: &mut Place<'_>) -> Result<Part, WireError> {
    let kind = Fields::of(value, path)?.required_string("type")?;
    if !["text", "image", "document"].contains(&kind) {
        place.asked.push(of_dialect(path.to_owned()));
        return Ok(Part::Other { kind: kind.to_owned() });
    }
    match block(value, path, place)? {
        Some(Block::Part(part)) => Ok(part),
        _ => Ok(Part::Other { kind: kind.to_owned() }),
    }
}

fn needs_tools(fields: &Fields<'_>, asked: &mut Vec<Asked>) {
    if !asked.iter().any(|asked| asked.need == Need::Capability(Capability::Tools)) {
        asked.push(need(&fields.path("type"), Capability::Tools));
    }
}

fn passed_on(kind: &str, path: &str, place: &mut Place<'_>) -> Block {
    place.asked.push(of_dialect(path.to_owned()));
    Block::Part(Part::Other { kind: kind.to_owned() })
}

/// What only a backend that is handed the body as it came can honour.
pub(super) fn of_dialect(parameter: String) -> Asked {
    Asked { parameter, need: Need::Dialect(Dialect::AnthropicMessages), hint: false }
}
