//! One inference request in our own types, whatever wire it came by.

mod message;
mod need;
mod sampling;
mod standing;
mod tools;

use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;

pub use message::{Message, Part, Role};
pub use need::{Asked, Capability, Dialect, Need, Original};
pub use sampling::{Constraint, Effort, Sampling};
pub use standing::{Priority, Standing, UnknownPriority};
pub use tools::{TextForm, Tool, ToolCall, ToolChoice, ToolKind};

/// JSON text that the seam carries without reading it: a tool's schema, log-probabilities.
///
/// Whoever makes one vouches that the text is one JSON value.
#[derive(Clone, PartialEq, Eq)]
pub struct Json(pub Box<str>);

impl fmt::Debug for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Json({} bytes)", self.0.len())
    }
}

/// What is asked of a backend. Every attempt is built anew from it, so that nothing of one provider
/// leaks to the next. It prints without contents, safe to log.
#[derive(Clone)]
pub struct Request {
    /// Our own id for it, a UUID; the `x-request-id` of the answer and the key of the receipt.
    pub id: Arc<str>,
    /// The model as the caller named it.
    pub model: String,
    /// The conversation so far, oldest first; empty where there is a `completion`.
    pub messages: Vec<Message>,
    /// A bare prompt in the place of a conversation.
    pub completion: Option<Completion>,
    /// Functions that the model may call.
    pub tools: Vec<Tool>,
    /// Whether it may, must or must not call them.
    pub tool_choice: ToolChoice,
    /// Whether one turn may hold several calls.
    pub parallel_tool_calls: bool,
    /// How tokens are drawn and where the answer stops.
    pub sampling: Sampling,
    /// What the text of the answer must be.
    pub constraint: Option<Constraint>,
    /// How much the model is to think; `None` leaves it to the backend.
    pub effort: Option<Effort>,
    /// The answer goes on from the end of the last message, which is the assistant's, and does not repeat it.
    pub continues: bool,
    /// Variables for the chat template, a JSON object (vLLM's `chat_template_kwargs`).
    pub template_arguments: Option<Json>,
    /// The most tokens that each choice may have; `None` leaves it to the backend and the context.
    pub max_output_tokens: Option<u32>,
    /// How many answers are wanted.
    pub choices: NonZeroU32,
    /// Whether the caller reads the answer as it is made.
    pub stream: bool,
    /// What the caller asked for by name, and what that takes of a backend.
    pub asked: Vec<Asked>,
    /// Settings that none of the fields above says: a service tier, how much to say. For a backend that speaks the
    /// dialect of OpenAI chat completions; what they take is in `asked`.
    pub carried: Vec<Carried>,
    /// The body as it came, for a backend that speaks the dialect it came in.
    pub original: Option<Original>,
    /// Whose it is and how it is to be treated.
    pub standing: Standing,
}

impl Request {
    /// A request for one answer to these messages, with nothing else said.
    pub fn new(id: impl Into<Arc<str>>, model: impl Into<String>, messages: Vec<Message>) -> Self {
        Self {
            id: id.into(),
            model: model.into(),
            messages,
            completion: None,
            tools: Vec::new(),
            tool_choice: ToolChoice::Auto,
            parallel_tool_calls: true,
            sampling: Sampling::default(),
            constraint: None,
            effort: None,
            continues: false,
            template_arguments: None,
            max_output_tokens: None,
            choices: NonZeroU32::MIN,
            stream: false,
            asked: Vec::new(),
            carried: Vec::new(),
            original: None,
            standing: Standing::default(),
        }
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("id", &self.id)
            .field("model", &self.model)
            .field("messages", &self.messages.len())
            .field("tools", &self.tools.len())
            .field("sampling", &self.sampling)
            .field("max_output_tokens", &self.max_output_tokens)
            .field("choices", &self.choices)
            .finish_non_exhaustive()
    }
}

/// A setting that is handed on as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Carried {
    /// Its name in OpenAI chat completions.
    pub name: &'static str,
    /// Its value.
    pub value: Json,
}

/// A bare prompt, which the answer goes on from.
#[derive(Clone, PartialEq, Eq)]
pub struct Completion {
    /// The prompt.
    pub prompt: BarePrompt,
    /// What follows the answer, for a model that fills in between.
    pub suffix: Option<String>,
    /// The answer begins with the prompt itself; with `logprobs` also with those of its tokens.
    pub echo: bool,
}

/// A prompt that no chat template writes.
#[derive(Clone, PartialEq, Eq)]
pub enum BarePrompt {
    /// Text.
    Text(String),
    /// The backend's own tokens.
    Tokens(Vec<u32>),
}

impl BarePrompt {
    /// The text, where it is text.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Tokens(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_prints_without_its_contents() {
        let original = Original { dialect: Dialect::OpenAiChat, body: b"my secret".as_slice().into() };
        let messages = vec![Message::of_text(Role::User, "my secret")];
        let request = Request { original: Some(original), ..Request::new("r-1", "demo", messages) };
        assert!(!format!("{request:?}").contains("secret"));
    }
}
