//! Prompts that end within the assistant's last message, so that the answer goes on from there.
//!
//! As Hugging Face does it: the message is rendered with a mark behind what it says, and the prompt ends where the mark
//! stands. Whatever the template writes behind a message is cut off so, and white space that it would trim stays.

use serde_json::Value;
use weighbridge_backend::{Failure, Request, Role};
use weighbridge_dialogue::{Conversation, Prompt};

use super::invalid;

const PARAM: &str = "continue_final_message";

/// Puts the mark into the last message of a conversation; the mark.
///
/// # Errors
/// Where the last message is not the assistant's, or calls tools.
pub(super) fn mark(request: &Request, conversation: &mut Conversation) -> Result<char, Failure> {
    let last = request.messages.last();
    if !last.is_some_and(|message| message.role == Role::Assistant && message.tool_calls.is_empty()) {
        return Err(invalid("the last message is not a text of the assistant, so that none can be continued", PARAM));
    }
    // A character for private use that nobody has used: no template looks for it or trims it.
    let written = Value::from(conversation.messages.clone()).to_string();
    let mark = ('\u{e0f0}'..'\u{f8ff}').find(|&mark| !written.contains(mark)).unwrap_or('\u{f8ff}');
    if let Some(Value::String(content)) = conversation.messages.last_mut().and_then(|last| last.get_mut("content")) {
        content.push(mark);
    }
    conversation.add_generation_prompt = false;
    Ok(mark)
}

/// The prompt up to the mark.
///
/// # Errors
/// Where the template has not written it.
pub(super) fn cut(prompt: Prompt, mark: char) -> Result<Prompt, Failure> {
    let Prompt { mut text, mut foreign } = prompt;
    let Some(at) = text.rfind(mark) else {
        return Err(invalid(
            "the chat template does not write the last message as it is, so it cannot be continued",
            PARAM,
        ));
    };
    text.truncate(at);
    foreign.retain_mut(|place| {
        place.end = place.end.min(at);
        place.start < place.end
    });
    Ok(Prompt { text, foreign })
}
