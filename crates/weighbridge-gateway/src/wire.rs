//! The OpenAI wire format, in and out. `wire::ChatBody` turns into `backend::Request` and events turn into
//! bodies and chunks; nothing past this folder knows JSON of the OpenAI API.

mod chat_answer;
mod chat_body;
mod chat_stream;
mod error;
mod fields;

pub(crate) use chat_answer::ChatAnswer;
pub(crate) use chat_body::ChatBody;
pub(crate) use chat_stream::{ChatStream, error_event};
pub(crate) use error::WireError;

use serde_json::{Value, json};
use weighbridge_backend::Usage;

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
