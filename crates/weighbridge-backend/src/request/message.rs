//! The conversation.

use super::{Json, ToolCall};

/// One message of the conversation.
#[derive(Clone, PartialEq)]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// What is said, in order.
    pub parts: Vec<Part>,
    /// The calls that the assistant made in this message.
    pub tool_calls: Vec<ToolCall>,
    /// For [`Role::Tool`]: the call that this answers.
    pub tool_call_id: Option<String>,
    /// The speaker's name, where one was given.
    pub name: Option<String>,
    /// What the assistant thought before it said this, where the caller sent it back.
    pub reasoning: Option<String>,
}

impl Message {
    /// A message of these parts and nothing else.
    pub fn new(role: Role, parts: Vec<Part>) -> Self {
        Self { role, parts, tool_calls: Vec::new(), tool_call_id: None, name: None, reasoning: None }
    }

    /// A message of one text.
    pub fn of_text(role: Role, text: impl Into<String>) -> Self {
        Self::new(role, vec![Part::Text(text.into())])
    }

    /// The text parts, joined.
    pub fn text(&self) -> String {
        self.parts.iter().filter_map(Part::as_text).collect()
    }
}

/// Who speaks in a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// The operator of the model, above the application (OpenAI's newer word for `System`).
    Developer,
    /// The application.
    System,
    /// The person, or what stands for them.
    User,
    /// The model.
    Assistant,
    /// The result of a tool call.
    Tool,
}

impl Role {
    /// The word for it in chat templates and in the OpenAI dialect.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Developer => "developer",
            Self::System => "system",
            Self::User => "user",
            Self::Assistant => "assistant",
            Self::Tool => "tool",
        }
    }
}

/// A piece of a message.
#[derive(Clone, PartialEq)]
pub enum Part {
    /// Text.
    Text(String),
    /// A picture.
    Image {
        /// Where it is: a `data:` URL that holds it, or an address on the web.
        url: String,
        /// How closely to look, in OpenAI's words: `low`, `high`, `auto`, …
        detail: Option<String>,
    },
    /// A file or a recording, as the part that OpenAI chat completions have for it, whatever dialect it came in: for a
    /// backend that speaks that one.
    Carried {
        /// The part's `type` there: `file`, `input_audio`.
        kind: &'static str,
        /// The part.
        part: Json,
    },
    /// Something that only a backend of the request's own dialect understands; `kind` is its `type`
    /// there (`input_audio`, `file`, …). It travels in [`Request::original`].
    Other {
        /// The part's type in the dialect it came in.
        kind: String,
    },
}

impl Part {
    /// The text, where it is text.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Image { .. } | Self::Carried { .. } | Self::Other { .. } => None,
        }
    }
}
