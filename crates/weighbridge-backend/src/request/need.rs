//! What a request asks for by name, and what that takes of a backend.

use std::fmt;
use std::sync::Arc;

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
    /// OpenAI text completions.
    OpenAiCompletions,
    /// OpenAI responses.
    OpenAiResponses,
    /// Anthropic messages.
    AnthropicMessages,
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
    /// Tools that take a text.
    CustomTools = "custom_tools",
    /// An answer that is JSON, or that follows a schema.
    ResponseFormat = "response_format",
    /// An answer that follows a regular expression, a grammar or a list of choices.
    StructuredOutputs = "structured_outputs",
    /// The penalty on what was written already, prompt included.
    RepetitionPenalty = "repetition_penalty",
    /// A least number of tokens.
    MinTokens = "min_tokens",
    /// End tokens that end nothing.
    IgnoreEos = "ignore_eos",
    /// An answer that goes on from the last message.
    ContinueFinalMessage = "continue_final_message",
    /// Variables of the chat template.
    TemplateArguments = "chat_template_kwargs",
    /// A prompt that no chat template writes.
    Completion = "prompt",
    /// An answer between a prompt and a suffix.
    Suffix = "suffix",
    /// Log-probabilities of the prompt's own tokens.
    PromptLogprobs = "prompt_logprobs",
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
