//! One inference request in our own types, whatever wire it came by.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Instant;

use crate::DataClass;

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
    /// The conversation so far, oldest first.
    pub messages: Vec<Message>,
    /// Functions that the model may call.
    pub tools: Vec<Tool>,
    /// Whether it may, must or must not call them.
    pub tool_choice: ToolChoice,
    /// How tokens are drawn and where the answer stops.
    pub sampling: Sampling,
    /// The most tokens that each choice may have; `None` leaves it to the backend and the context.
    pub max_output_tokens: Option<u32>,
    /// How many answers are wanted.
    pub choices: NonZeroU32,
    /// Whether the caller reads the answer as it is made.
    pub stream: bool,
    /// What the caller asked for by name, and what that takes of a backend.
    pub asked: Vec<Asked>,
    /// The body as it came, for a backend that speaks the dialect it came in.
    pub original: Option<Original>,
    /// Whose it is and how it is to be treated.
    pub standing: Standing,
}

/// Whose a request is and how it is to be treated, as the gateway found. A local model goes by it; nothing of it is sent
/// to a provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Who asks; `None` where the gateway is open.
    pub caller: Option<Arc<str>>,
    /// How far its content may travel.
    pub class: DataClass,
    /// Whether somebody sits before the answer.
    pub priority: Priority,
    /// When nobody wants the answer any more.
    pub deadline: Option<Instant>,
}

/// Nobody's, of the highest class, so that what nothing was said about shares nothing with others.
impl Default for Standing {
    fn default() -> Self {
        Self { caller: None, class: DataClass::Restricted, priority: Priority::Interactive, deadline: None }
    }
}

/// Whether somebody sits before the answer. The lower goes after the higher.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Priority {
    /// It may take its time.
    Batch,
    /// Somebody does: it goes before batches.
    #[default]
    Interactive,
}

impl Priority {
    /// The words for them in configs and headers.
    pub const NAMES: [&'static str; 2] = ["interactive", "batch"];
}

/// A word that names no priority.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownPriority;

impl fmt::Display for UnknownPriority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "expected one of {}", Priority::NAMES.join(", "))
    }
}

impl std::error::Error for UnknownPriority {}

impl FromStr for Priority {
    type Err = UnknownPriority;

    fn from_str(word: &str) -> Result<Self, UnknownPriority> {
        match word {
            "interactive" => Ok(Self::Interactive),
            "batch" => Ok(Self::Batch),
            _ => Err(UnknownPriority),
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
}

impl Message {
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
    /// Something that only a backend of the request's own dialect understands; `kind` is its `type`
    /// there (`image_url`, `input_audio`, `file`, …). It travels in [`Request::original`].
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
            Self::Other { .. } => None,
        }
    }
}

/// A function that the model may call.
#[derive(Clone, Debug, PartialEq)]
pub struct Tool {
    /// The definition as the chat templates of open models expect it: an OpenAI tool object,
    /// `{"type":"function","function":{…}}`.
    pub definition: Json,
    /// The function's name.
    pub name: String,
}

/// Whether the model may call tools.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ToolChoice {
    /// As it sees fit.
    #[default]
    Auto,
    /// Not at all.
    None,
    /// At least one.
    Required,
    /// This one.
    Named(String),
}

/// A call that the model made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToolCall {
    /// Its id, which the result names.
    pub id: String,
    /// The function called.
    pub name: String,
    /// The arguments, JSON text as the model wrote it (which may be no valid JSON).
    pub arguments: String,
}

/// How tokens are drawn and where the answer stops. `None` is the backend's own default.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sampling {
    /// 0 to 2; 0 is greedy.
    pub temperature: Option<f32>,
    /// Above 0 to 1: the smallest set of tokens whose probability reaches it.
    pub top_p: Option<f32>,
    /// At least 1: this many best tokens.
    pub top_k: Option<u32>,
    /// 0 to 1: tokens at least this share as probable as the best.
    pub min_p: Option<f32>,
    /// The same seed and request give the same text.
    pub seed: Option<i64>,
    /// −2 to 2, for each time that the token was written already.
    pub frequency_penalty: Option<f32>,
    /// −2 to 2, once the token was written already.
    pub presence_penalty: Option<f32>,
    /// Texts at which the answer ends; they are not part of it.
    pub stop: Vec<String>,
}

/// Something that the caller asked for by name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Asked {
    /// As the caller wrote it: `top_k`, `messages[2].content[0].image_url`.
    pub parameter: String,
    /// What it takes to honour it.
    pub need: Need,
    /// A mere hint: a backend that cannot use it may still answer, and the response names it.
    pub hint: bool,
}

/// What it takes of a backend to honour a parameter.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Need {
    /// One of the things we know by name.
    Capability(Capability),
    /// A field that we do not know: only a backend that speaks this dialect can be handed it as it is.
    Dialect(Dialect),
}

/// A wire format that a request can come in and a backend can speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// OpenAI chat completions.
    OpenAiChat,
}

/// A body as it came.
#[derive(Clone)]
pub struct Original {
    /// The format it is in.
    pub dialect: Dialect,
    /// The body.
    pub body: Arc<[u8]>,
}

macro_rules! capabilities {
    ($($(#[$doc:meta])* $variant:ident = $word:literal,)*) => {
        /// Something that a request may ask for and that not every backend can honour.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Capability { $($(#[$doc])* $variant,)* }

        impl Capability {
            /// Every capability.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The word for it in configs and reasons; for a parameter, its name in the OpenAI dialect.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }
        }
    };
}

capabilities! {
    /// Sampling at a temperature.
    Temperature = "temperature",
    /// Nucleus sampling.
    TopP = "top_p",
    /// Sampling among the best k.
    TopK = "top_k",
    /// Sampling above a share of the best.
    MinP = "min_p",
    /// The same seed, the same text.
    Seed = "seed",
    /// Stop texts.
    Stop = "stop",
    /// A bound on the tokens of an answer.
    MaxTokens = "max_tokens",
    /// Several answers to one request.
    N = "n",
    /// The frequency penalty.
    FrequencyPenalty = "frequency_penalty",
    /// The presence penalty.
    PresencePenalty = "presence_penalty",
    /// A bias by token id.
    LogitBias = "logit_bias",
    /// Log-probabilities of the tokens of the answer.
    Logprobs = "logprobs",
    /// Tools announced, called as the model sees fit.
    Tools = "tools",
    /// A call of some or of a certain tool enforced.
    ForcedToolChoice = "tool_choice",
    /// At most one call a turn enforced.
    ParallelToolCalls = "parallel_tool_calls",
    /// An answer that is JSON, or that follows a schema.
    ResponseFormat = "response_format",
    /// Images in messages.
    ImageInput = "image_input",
    /// Audio in messages.
    AudioInput = "audio_input",
    /// Files in messages.
    FileInput = "file_input",
    /// Answers in audio.
    Modalities = "modalities",
    /// Control over how much the model thinks.
    ReasoningEffort = "reasoning_effort",
    /// Control over how much the model says.
    Verbosity = "verbosity",
    /// A predicted answer.
    Prediction = "prediction",
    /// Search of the web.
    WebSearch = "web_search_options",
    /// A tier of service.
    ServiceTier = "service_tier",
    /// Completions kept at the provider.
    Store = "store",
    /// Moderation at the provider.
    Moderation = "moderation",
    /// The caller's own user, for the provider's abuse checks.
    User = "user",
    /// Pairs that the provider keeps beside the request.
    Metadata = "metadata",
    /// A hint for the provider's prompt cache.
    PromptCache = "prompt_cache_key",
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_prints_without_its_contents() {
        let request = Request {
            id: "r-1".into(),
            model: "demo".into(),
            messages: vec![Message {
                role: Role::User,
                parts: vec![Part::Text("my secret".into())],
                tool_calls: Vec::new(),
                tool_call_id: None,
                name: None,
            }],
            tools: Vec::new(),
            tool_choice: ToolChoice::Auto,
            sampling: Sampling::default(),
            max_output_tokens: None,
            choices: NonZeroU32::MIN,
            stream: false,
            asked: Vec::new(),
            original: Some(Original { dialect: Dialect::OpenAiChat, body: b"my secret".as_slice().into() }),
            standing: Standing::default(),
        };
        assert!(!format!("{request:?}").contains("secret"));
    }
}
