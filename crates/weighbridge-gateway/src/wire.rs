//! The wire formats, in and out: OpenAI's chat and text completions, Anthropic's messages. `wire::ChatBody` turns into
//! `backend::Request` and events turn into bodies and chunks; nothing past this folder knows JSON of either API.

mod chat_answer;
mod chat_body;
mod chat_stream;
mod completions_answer;
mod completions_body;
mod error;
mod fields;
mod messages_answer;
mod messages_body;
mod messages_error;
mod messages_stream;
mod models;
mod responses_body;
mod responses_stream;
mod texts;

pub(crate) use chat_answer::ChatAnswer;
pub(crate) use chat_body::ChatBody;
pub(crate) use chat_stream::{ChatStream, error_event};
pub(crate) use completions_answer::{CompletionAnswer, CompletionStream};
pub(crate) use completions_body::CompletionsBody;
pub(crate) use error::WireError;
pub(crate) use fields::body_object;
pub(crate) use messages_answer::MessagesAnswer;
pub(crate) use messages_body::{MessagesBody, Purpose, Version};
pub(crate) use messages_error::{messages_error, messages_status};
pub(crate) use messages_stream::{MessagesStream, PING, event as messages_event};
pub(crate) use models::{Page, model_page};
pub(crate) use responses_body::{CompactBody, Echo as ResponseEcho, Memory, ResponsesBody, Wanted, compaction};
pub(crate) use responses_stream::{Finished, ResponseStream, Restated, error_event as response_error_event, restated};
pub(crate) use texts::{Detokenize, Tokenize, Tokenized, templated};

use serde_json::{Value, json};
use weighbridge_backend::Usage;

/// Which chunks of a stream tell what was used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum UsageIn {
    /// None of them.
    None,
    /// One of its own, the last; the others say that they do not.
    Last,
    /// That one, and each other what was used by then.
    Every,
}

/// The `usage` object of an answer.
fn usage_json(usage: &Usage) -> Value {
    json!({
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": usage.reasoning_tokens,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    })
}

/// The fields that bodies are read for: what the description of the API is held to, and a fuzzer.
pub(crate) mod known {
    pub(crate) use super::chat_body::KNOWN as CHAT;
    pub(crate) use super::completions_body::KNOWN as COMPLETIONS;
    pub(crate) use super::messages_body::settings::KNOWN as MESSAGES;
    #[cfg(test)]
    pub(crate) use super::responses_body::compact::KNOWN as COMPACTIONS;
    pub(crate) use super::responses_body::settings::KNOWN as RESPONSES;
    pub(crate) use super::texts::CONVERSATION;
}
