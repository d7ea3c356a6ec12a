//! How an answer is drawn, and what it must be.

use std::fmt;

use super::Json;

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
    /// Above 0: what was written already, the prompt included, is made less likely by this factor (1 changes nothing).
    /// Keskar et al., "CTRL", section 4.1; as vLLM and Hugging Face have it.
    pub repetition_penalty: Option<f32>,
    /// Added to the logit of a token, −100 to 100, by the backend's own token ids.
    pub logit_bias: Vec<(u32, f32)>,
    /// Fewer tokens than this do not end an answer: neither an end token nor a stop text.
    pub min_tokens: Option<u32>,
    /// Whether end tokens are written like others, so that only a bound or a stop text ends the answer.
    pub ignore_eos: bool,
    /// Log-probabilities of the answer's tokens are wanted, each beside so many likeliest ones (0 to 20).
    pub logprobs: Option<u32>,
}

/// What the text of an answer must be, whatever the model would rather say.
#[derive(Clone, PartialEq, Eq)]
pub enum Constraint {
    /// Any JSON object.
    JsonObject,
    /// JSON that this JSON Schema allows.
    JsonSchema(Json),
    /// The whole text matches this regular expression (the syntax of Rust's `regex`).
    Regex(String),
    /// The text is a sentence of this Lark grammar.
    Lark(String),
    /// One of these texts.
    Choice(Vec<String>),
}

/// It prints without contents.
impl fmt::Debug for Constraint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::JsonObject => "JsonObject",
            Self::JsonSchema(_) => "JsonSchema(…)",
            Self::Regex(_) => "Regex(…)",
            Self::Lark(_) => "Lark(…)",
            Self::Choice(_) => "Choice(…)",
        })
    }
}

/// How much a model is to think before it answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Effort {
    /// Not at all.
    None,
    /// As little as it can.
    Minimal,
    /// Little.
    Low,
    /// As it was made to.
    Medium,
    /// Much.
    High,
    /// More than that.
    ExtraHigh,
    /// As much as it can.
    Max,
}

impl Effort {
    /// Every effort, the least first.
    pub const ALL: [Self; 7] =
        [Self::None, Self::Minimal, Self::Low, Self::Medium, Self::High, Self::ExtraHigh, Self::Max];

    /// The word for it in the OpenAI dialect.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Minimal => "minimal",
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::ExtraHigh => "xhigh",
            Self::Max => "max",
        }
    }
}
