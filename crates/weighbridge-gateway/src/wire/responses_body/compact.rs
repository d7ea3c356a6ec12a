//! `POST /v1/responses/compact` in, and what comes of it out: what the users said, and a summary of the rest.

use std::sync::Arc;

use serde_json::{Value, json};
use weighbridge_backend::{DataClass, Event, Message, Part, Request, Role};

use super::super::WireError;
use super::super::fields::Fields;
use super::super::responses_stream::usage_json;
use super::{Memory, ResponsesBody, item_id};
use crate::surface::{Bill, Head};

/// Every field that is read. A summary calls no tools and takes no form.
pub(crate) const KNOWN: &[&str] = &[
    "input",
    "instructions",
    "max_output_tokens",
    "model",
    "previous_response_id",
    "prompt_cache_key",
    "prompt_cache_options",
    "prompt_cache_retention",
    "service_tier",
    "temperature",
    "top_p",
];

/// What a compaction's `encrypted_content` begins with. Nothing is encrypted: what follows is the summary.
const OURS: &str = "weighbridge-summary-1:";

/// What stands before a summary that came back.
const SO_FAR: &str = "Summary of our conversation up to here, which you wrote:\n";

const ASK: &str = "Summarise the conversation up to here for your own use: you will go on from the summary alone, with \
                   what the user wrote beside it. Keep every decision, fact, name, number and result that matters, what \
                   is done and what is still to do. Write the summary and nothing else.";

/// A conversation to be put in few words.
pub(crate) struct CompactBody {
    /// Asks for the summary.
    pub(crate) request: Request,
    /// The conversation.
    pub(crate) items: Vec<Value>,
    /// The highest class of what it goes on from.
    pub(crate) floor: Option<DataClass>,
}

impl CompactBody {
    /// Reads a body, with what it refers to.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub(crate) fn read(id: Arc<str>, body: &[u8], value: &Value, memory: Memory) -> Result<Self, WireError> {
        if let Some(unknown) = Fields::of(value, "")?.keys().find(|key| !KNOWN.contains(key)) {
            let message = format!("Unknown parameter: '{unknown}'.");
            return Err(WireError::at(unknown, "unknown_parameter", message));
        }
        let mut items = memory.earlier.clone();
        let ResponsesBody { mut request, input, floor, .. } = ResponsesBody::read(id, body, value, memory)?;
        items.extend(input);
        match request.messages.last_mut() {
            // Many templates take no two messages of a user in a row.
            Some(last) if last.role == Role::User => last.parts.push(Part::Text(format!("\n\n{ASK}"))),
            _ => request.messages.push(Message::of_text(Role::User, ASK)),
        }
        Ok(Self { request, items, floor })
    }
}

/// The `response.compaction` that the events of a summary come to. Where nothing was written, nothing is left out.
pub(crate) fn compaction(head: &Head, items: Vec<Value>, events: &[Event], bill: &Bill) -> Value {
    let said = events.iter().filter_map(|event| match event {
        Event::Text { text, .. } => Some(text.as_str()),
        _ => None,
    });
    let summary: String = said.collect();
    let output = if summary.trim().is_empty() { items } else { compacted(head, items, summary.trim()) };
    json!({
        "id": head.response_id(),
        "object": "response.compaction",
        "created_at": head.created,
        "output": output,
        "usage": usage_json(&bill.usage),
    })
}

fn compacted(head: &Head, items: Vec<Value>, summary: &str) -> Vec<Value> {
    let by_user = |item: &Value| item["type"] == "message" && item["role"] == "user";
    let mut output: Vec<Value> = items.into_iter().filter(by_user).collect();
    let id = item_id("cmp", &head.request_id, 0);
    output.push(json!({"id": id, "type": "compaction", "encrypted_content": format!("{OURS}{summary}")}));
    output
}

/// What a compaction that came back says to the model.
///
/// # Errors
/// When it is not one of ours.
pub(super) fn recalled(fields: &Fields<'_>) -> Result<String, WireError> {
    let content = fields.required_string("encrypted_content")?;
    let summary = content.strip_prefix(OURS).ok_or_else(|| {
        let why = "expected a compaction that this gateway made; another's is readable to nobody else";
        WireError::invalid(&fields.path("encrypted_content"), why)
    })?;
    Ok(format!("{SO_FAR}{summary}"))
}
