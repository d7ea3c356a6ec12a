//! The conversation: turns in, messages out. A turn that holds results of tools becomes a message for each of them and
//! one for the rest; turns of one speaker in a row are one message, as Anthropic has it.

use serde_json::Value;
use weighbridge_backend::{Asked, Message, Part, Role};

use super::blocks::{Block, Place, block, text_block};
use super::hints::Hints;
use super::{Fields, Version, WireError};

const MAX_TURNS: usize = 100_000;
const MAX_BLOCKS: usize = 100_000;

/// What separates turns of one speaker that became one message.
const BETWEEN_TURNS: &str = "\n\n";

pub(super) fn messages(
    fields: &Fields<'_>,
    version: Version,
    asked: &mut Vec<Asked>,
    hints: &mut Hints,
) -> Result<Vec<Message>, WireError> {
    let mut conversation = Vec::new();
    let system = system(fields, hints)?;
    if !system.is_empty() {
        conversation.push(Message::new(Role::System, system));
    }
    fields.required("messages")?;
    let turns = fields.array("messages")?.unwrap_or_default();
    if turns.is_empty() {
        let message = "Invalid 'messages': empty array. Expected at least one message.".to_owned();
        return Err(WireError::at("messages", "empty_array", message));
    }
    bounded(turns.len(), MAX_TURNS, "messages")?;
    for (i, value) in turns.iter().enumerate() {
        let turn = Fields::of(value, &format!("messages[{i}]"))?;
        let mut place = Place { version, role: role(&turn)?, asked, hints };
        read_turn(&turn, &mut place, &mut conversation)?;
    }
    Ok(conversation)
}

fn system(fields: &Fields<'_>, hints: &mut Hints) -> Result<Vec<Part>, WireError> {
    match fields.get("system") {
        None => Ok(Vec::new()),
        Some(Value::String(text)) if text.is_empty() => Ok(Vec::new()),
        Some(Value::String(text)) => Ok(vec![Part::Text(text.clone())]),
        Some(Value::Array(blocks)) => {
            bounded(blocks.len(), MAX_BLOCKS, "system")?;
            let read = |(i, value)| text_block(value, &format!("system[{i}]"), hints).map(Part::Text);
            blocks.iter().enumerate().map(read).collect()
        }
        Some(other) => Err(WireError::wrong_type("system", "a string or an array of text blocks", other)),
    }
}

fn role(turn: &Fields<'_>) -> Result<Role, WireError> {
    match turn.required_string("role")? {
        "user" => Ok(Role::User),
        "assistant" => Ok(Role::Assistant),
        "system" => Ok(Role::System),
        _ => Err(WireError::invalid(&turn.path("role"), "expected user, assistant or system")),
    }
}

fn read_turn(turn: &Fields<'_>, place: &mut Place<'_>, conversation: &mut Vec<Message>) -> Result<(), WireError> {
    let path = turn.path("content");
    let blocks = match turn.required("content")? {
        Value::String(text) => vec![Block::Part(Part::Text(text.clone()))],
        Value::Array(values) => {
            bounded(values.len(), MAX_BLOCKS, &path)?;
            let mut blocks = Vec::with_capacity(values.len());
            for (i, value) in values.iter().enumerate() {
                blocks.extend(block(value, &format!("{path}[{i}]"), place)?);
            }
            blocks
        }
        other => return Err(WireError::wrong_type(&path, "a string or an array of blocks", other)),
    };
    for key in turn.keys().filter(|key| !["role", "content"].contains(key)) {
        place.hints.add(key);
    }
    // Results answer the calls of the turn before, so they stand first, whatever stands before them here.
    let (results, rest): (Vec<_>, Vec<_>) = blocks.into_iter().partition(|block| matches!(block, Block::Result(..)));
    let mut pictures = Vec::new();
    for result in results {
        if let Block::Result(message, seen) = result {
            conversation.push(message);
            pictures.extend(seen.into_iter().map(Block::Part));
        }
    }
    say(place.role, pictures.into_iter().chain(rest), conversation);
    Ok(())
}

/// Adds what a speaker says to the conversation.
fn say(role: Role, blocks: impl IntoIterator<Item = Block>, conversation: &mut Vec<Message>) {
    let mut blocks = blocks.into_iter().peekable();
    if blocks.peek().is_none() {
        return;
    }
    let goes_on = conversation.last().is_some_and(|last| last.role == role);
    if !goes_on {
        conversation.push(Message::new(role, Vec::new()));
    }
    let Some(message) = conversation.last_mut() else { return };
    if goes_on && message.parts.last().is_some_and(|part| part.as_text().is_some()) {
        message.parts.push(Part::Text(BETWEEN_TURNS.to_owned()));
    }
    for block in blocks {
        match block {
            Block::Part(part) => message.parts.push(part),
            Block::Thought(text) => message.reasoning.get_or_insert_default().push_str(&text),
            Block::Call(call) => message.tool_calls.push(call),
            Block::Result(..) => {}
        }
    }
}

pub(super) fn bounded(length: usize, most: usize, path: &str) -> Result<(), WireError> {
    if length > most {
        let message = format!("Invalid '{path}': array too long. Expected at most {most} elements, but got {length}.");
        return Err(WireError::at(path, "array_above_max_length", message));
    }
    Ok(())
}
