//! The steps of an answer.

use std::sync::Arc;

use crate::Json;

/// One step of an answer. A backend sends for each choice its texts and calls in order, then one
/// [`Event::Finish`]; after the last of these one [`Event::Usage`], which ends the stream.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// Text of the answer.
    Text {
        /// Which of the answers, from 0.
        choice: u32,
        /// Never half a character, never empty unless it carries log-probabilities.
        text: String,
        /// The OpenAI `logprobs` object for these tokens, where it was asked for.
        logprobs: Option<Json>,
    },
    /// What the model thinks before it answers.
    Reasoning {
        /// Which of the answers, from 0.
        choice: u32,
        /// The text.
        text: String,
    },
    /// The model's refusal to answer, as far as the provider tells it apart from an answer.
    Refusal {
        /// Which of the answers, from 0.
        choice: u32,
        /// The text.
        text: String,
    },
    /// A piece of a tool call.
    ToolCall {
        /// Which of the answers, from 0.
        choice: u32,
        /// The piece.
        delta: ToolCallDelta,
    },
    /// An answer is complete.
    Finish {
        /// Which of the answers, from 0.
        choice: u32,
        /// Why it ended.
        reason: FinishReason,
        /// The stop text that ended it, where one did and the backend says which.
        matched: Option<Arc<str>>,
    },
    /// What the request used in all; the last event.
    Usage(Usage),
}

/// A piece of a tool call. The first piece of a call has its id and name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ToolCallDelta {
    /// Which call of this answer, from 0.
    pub index: u32,
    /// Its id, in the first piece.
    pub id: Option<String>,
    /// The function's name, in the first piece.
    pub name: Option<String>,
    /// More of the arguments' JSON text; of a custom tool, more of its text.
    pub arguments: String,
    /// Whether it calls a custom tool.
    pub custom: bool,
}

/// Why an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FinishReason {
    /// The model was done, or a stop text came.
    Stop,
    /// The bound on tokens or the end of the context was reached.
    Length,
    /// The model waits for results of its calls.
    ToolCalls,
    /// The provider held the answer back.
    ContentFilter,
}

impl FinishReason {
    /// The word for it in the OpenAI dialect.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Length => "length",
            Self::ToolCalls => "tool_calls",
            Self::ContentFilter => "content_filter",
        }
    }
}

/// Tokens used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Tokens of the prompt, those read from a cache among them.
    pub prompt_tokens: u64,
    /// Of these, how many came from a cache.
    pub cached_tokens: u64,
    /// Tokens of all answers, those of reasoning among them.
    pub completion_tokens: u64,
    /// Of these, how many were reasoning.
    pub reasoning_tokens: u64,
    /// The backend gave no figures, and these are our own count or estimate.
    pub estimated: bool,
}
