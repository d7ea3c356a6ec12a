//! The body of Anthropic's `POST /v1/messages` and `…/count_tokens`: turned into a request, each parameter noted with
//! what it takes of a backend.
//!
//! Fields and rules: Anthropic's Messages API, versions 2023-06-01 and 2026-10-21. What changes the answer and cannot
//! be done is refused; what agent clients send along and only helps is a hint, and so is every field that we do not
//! know.

mod blocks;
mod hints;
mod messages;
pub(super) mod settings;
mod tools;

use std::sync::Arc;

use weighbridge_backend::{Capability, Dialect, Original, Request, Role};

use super::WireError;
use super::chat_body::{model, need};
use super::fields::{Fields, body_object};
use hints::Hints;
use messages::messages;
use settings::{constraint, effort, max_tokens, sampling, shows_thinking};
use tools::{tool_choice, tools};

/// Which of the API's rules hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Version {
    /// `2023-06-01`, also where none is named.
    Of2023,
    /// `2026-10-21`: no sampling parameters, no documents in the assistant's own turns.
    Of2026,
}

impl Version {
    /// The version that a header names.
    pub(crate) fn named(word: &str) -> Option<Self> {
        match word.trim() {
            "2023-06-01" => Some(Self::Of2023),
            "2026-10-21" => Some(Self::Of2026),
            _ => None,
        }
    }
}

/// What a body is read for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// An answer.
    Answer,
    /// The number of its tokens: the bound on the answer may be missing.
    Count,
}

/// A request for a message, checked.
#[derive(Debug)]
pub(crate) struct MessagesBody {
    /// As the seam knows it.
    pub(crate) request: Request,
    /// Whether the text of what the model thinks is wanted.
    pub(crate) shows_thinking: bool,
}

impl MessagesBody {
    /// Reads a body.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub(crate) fn parse(id: Arc<str>, body: &[u8], version: Version, purpose: Purpose) -> Result<Self, WireError> {
        let value = body_object(body)?;
        let fields = Fields::of(&value, "")?;
        let (mut asked, mut hints) = (Vec::new(), Hints::default());
        let conversation = messages(&fields, version, &mut asked, &mut hints)?;
        let mut request = Request {
            max_output_tokens: max_tokens(&fields, purpose, &mut asked)?,
            tools: tools(&fields, &mut asked, &mut hints)?,
            sampling: sampling(&fields, version, &mut asked)?,
            constraint: constraint(&fields, &mut asked, &mut hints)?,
            effort: effort(&fields, &mut hints)?,
            stream: fields.boolean("stream")?.unwrap_or(false),
            original: Some(Original { dialect: Dialect::AnthropicMessages, body: body.into() }),
            ..Request::new(id, model(&fields)?, conversation)
        };
        (request.tool_choice, request.parallel_tool_calls) = tool_choice(&fields, &request.tools, &mut asked)?;
        request.continues = continues(&request)?;
        if request.continues {
            asked.push(need(&last_path(&fields)?, Capability::ContinueFinalMessage));
        }
        settings::others(&fields, &mut asked, &mut hints)?;
        asked.extend(hints.into_asked());
        request.asked = asked;
        Ok(Self { request, shows_thinking: shows_thinking(&fields)? })
    }
}

/// Whether the answer goes on from an assistant's turn that ends the conversation (a prefill).
fn continues(request: &Request) -> Result<bool, WireError> {
    let Some(last) = request.messages.last().filter(|message| message.role == Role::Assistant) else {
        return Ok(false);
    };
    if !last.tool_calls.is_empty() {
        let why = "the last turn calls tools; send a user turn with a tool_result for each call";
        return Err(WireError::invalid("messages", why));
    }
    if last.text().ends_with(char::is_whitespace) {
        return Err(WireError::invalid("messages", "the text of a last assistant turn cannot end with white space"));
    }
    Ok(true)
}

fn last_path(fields: &Fields<'_>) -> Result<String, WireError> {
    let turns = fields.array("messages")?.map_or(0, <[_]>::len);
    Ok(format!("messages[{}]", turns.saturating_sub(1)))
}

#[cfg(test)]
mod tests;
