//! The body of `POST /v1/responses`: parsed as far as policy and translation need it, each parameter noted with what
//! it takes of a backend, so that nothing is silently ignored.
//!
//! Fields and ranges: OpenAI's public API description, responses.

pub(super) mod compact;
mod items;
mod media;
mod memory;
pub(super) mod settings;
mod stored;
mod tools;

use std::sync::Arc;

use serde_json::Value;
use weighbridge_backend::{Asked, DataClass, Dialect, Message, Original, Request, Role};

use super::WireError;
use super::chat_body::{model, need, of_dialect};
use super::fields::Fields;
pub(crate) use compact::{CompactBody, compaction};
use items::Turns;
pub(crate) use memory::{Memory, Wanted};
pub(crate) use settings::Echo;
pub(crate) use stored::item_id;

/// The most items that a request may come to, those of earlier responses among them.
const MAX_ITEMS: usize = 100_000;

/// A request for a response, checked.
#[derive(Debug)]
pub(crate) struct ResponsesBody {
    /// As the seam knows it.
    pub(crate) request: Request,
    /// The settings, as the response says them back.
    pub(crate) echo: Echo,
    /// What came in with it, as `input_items` lists it.
    pub(crate) input: Vec<Value>,
    /// Whether the response may be kept, as far as the caller says.
    pub(crate) store: Option<bool>,
    /// The highest class of what it goes on from.
    pub(crate) floor: Option<DataClass>,
    /// Whether its oldest turns may be left out where it fits nobody.
    pub(crate) may_shorten: bool,
    /// Whether it is to be made without its caller.
    pub(crate) background: bool,
}

impl ResponsesBody {
    /// Reads a body, with what it refers to.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub(crate) fn read(id: Arc<str>, body: &[u8], value: &Value, memory: Memory) -> Result<Self, WireError> {
        let fields = Fields::of(value, "")?;
        settings::refuse_what_is_not_offered(&fields)?;
        let mut asked = Vec::new();
        let input = memory.own_items(&fields, &id)?;
        let mut turns = Turns::new(&mut asked);
        if let Some(instructions) = fields.string("instructions")? {
            turns.say(Message::of_text(Role::System, instructions));
        }
        if memory.earlier.len() + input.len() > MAX_ITEMS {
            let message = format!("Invalid 'input': too long. A conversation may have at most {MAX_ITEMS} items.");
            return Err(WireError::at("input", "array_above_max_length", message));
        }
        for (i, item) in memory.earlier.iter().enumerate() {
            turns.take(item, &format!("previous_response_id.items[{i}]"))?;
        }
        for (i, item) in input.iter().enumerate() {
            turns.take(item, &format!("input[{i}]"))?;
        }
        let messages = turns.finish();
        let mut request = Request {
            tools: tools::tools(&fields, &mut asked)?,
            parallel_tool_calls: fields.boolean("parallel_tool_calls")?.unwrap_or(true),
            stream: fields.boolean("stream")?.unwrap_or(false),
            original: Some(Original { dialect: Dialect::OpenAiResponses, body: body.into() }),
            ..Request::new(id, model(&fields)?, messages)
        };
        request.tool_choice = tools::tool_choice(&fields, &request.tools, &mut asked)?;
        let echo = settings::settings(&fields, &mut request, &mut asked)?;
        let (may_shorten, background) = (settings::may_shorten(&fields)?, settings::background(&fields, &mut asked)?);
        request.asked = asked;
        let (store, floor) = (fields.boolean("store")?, memory.class);
        Ok(Self { request, echo, input, store, floor, may_shorten, background })
    }
}

/// A field that only a backend that speaks this dialect could be handed.
fn passed_on(parameter: String) -> Asked {
    of_dialect(&parameter, Dialect::OpenAiResponses)
}

#[cfg(test)]
mod tests;
