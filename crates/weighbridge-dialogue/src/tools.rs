//! Tool calls in what a model writes: the formats, how a chat template tells its own, and what reads them.
//!
//! A format is found by markers that its template writes, and read by one of four readers, which take a character at
//! a time: what an answer comes to cannot depend on how it was cut into pieces. A call is told as soon as its name is
//! known and its arguments begin, and these as they come, as far as they are certainly JSON.
//!
//! Where a call breaks before anything of it was told, it comes back as text. Where it breaks later, what was told of
//! its arguments stays as it is, the beginning of an object without its end, which no parser of JSON takes for whole;
//! the rest comes as text, and [`AnswerParser::faults`](crate::AnswerParser::faults) counts it. For a reader of whole
//! answers a call is told only when it has not broken, so that one which does is all text.

mod forms;
mod json;
pub(crate) mod literal;
mod literal_calls;
mod named;
mod object;
pub(crate) mod out;
pub(crate) mod reader;
mod recognise;
pub(crate) mod scan;
mod schemas;
mod shape;
mod tagged;
pub(crate) mod types;

use std::fmt;
use std::str::FromStr;

pub(crate) use self::forms::Opening;
pub use self::out::{Faults, Piece};
pub use self::schemas::ToolSchemas;
pub use self::shape::{CallShape, ToolShape};

macro_rules! formats {
    ($($(#[$doc:meta])* $variant:ident = $word:literal,)*) => {
        /// How a model writes its calls.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum ToolFormat { $($(#[$doc])* $variant,)* }

        impl ToolFormat {
            /// Every format.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The words for them in configs.
            pub const NAMES: &'static [&'static str] = &[$($word,)*];

            /// The word for it in configs.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }
        }
    };
}

formats! {
    /// A JSON object with `name` and `arguments` between `<tool_call>` and `</tool_call>`: Hermes, Qwen 2.5 and 3,
    /// Granite 4.
    Hermes = "hermes",
    /// Such objects between `<tool_calls>` and `</tool_calls>`, in a list (Apriel) or one below the other (MiniMax M1).
    ToolCalls = "tool_calls",
    /// `<tool_call><function=NAME><parameter=KEY>VALUE</parameter></function></tool_call>`: Qwen3-Coder, Qwen 3.5.
    QwenXml = "qwen_xml",
    /// The same within `<seed:tool_call>`: Seed-OSS.
    Seed = "seed",
    /// `<tool_call>NAME<arg_key>KEY</arg_key><arg_value>VALUE</arg_value></tool_call>`: GLM 4.5 and later.
    Glm = "glm",
    /// `<minimax:tool_call><invoke name="NAME"><parameter name="KEY">VALUE</parameter></invoke></minimax:tool_call>`:
    /// MiniMax M2.
    MiniMax = "minimax",
    /// The same with `｜DSML｜` in every tag, and in each parameter whether it is a string: DeepSeek V3.2.
    Dsml = "dsml",
    /// The same within `tool_calls` in place of `function_calls`: DeepSeek V4.
    DsmlToolCalls = "dsml_tool_calls",
    /// `<｜tool▁call▁begin｜>function<｜tool▁sep｜>NAME`, and the arguments in a fence of Markdown: DeepSeek V3, R1.
    DeepSeek = "deepseek",
    /// `<｜tool▁call▁begin｜>NAME<｜tool▁sep｜>ARGUMENTS<｜tool▁call▁end｜>`: DeepSeek V3.1.
    DeepSeekV31 = "deepseek_v31",
    /// `<|tool_call_begin|>functions.NAME:0<|tool_call_argument_begin|>ARGUMENTS<|tool_call_end|>`: Kimi K2.
    Kimi = "kimi",
    /// `[TOOL_CALLS]` and a list of JSON objects: Mistral until 2024.
    Mistral = "mistral",
    /// `[TOOL_CALLS]NAME[ARGS]ARGUMENTS`, with `[CALL_ID]` between these or not: Mistral since 2025.
    MistralArgs = "mistral_args",
    /// A JSON object with `name` and `parameters` in place of an answer, or after `<|python_tag|>`: Llama 3.
    Llama = "llama",
    /// `[NAME(KEY=VALUE), …]` in place of an answer, or after `<|python_start|>`: Llama 4 and small Llamas.
    Pythonic = "pythonic",
    /// The same between `<|tool_call_start|>` and `<|tool_call_end|>`: LFM 2.
    Lfm = "lfm",
    /// `NAME(KEY=VALUE)`, one below the other, between `<function_calls>` and `</function_calls>`: OLMo 3.
    Olmo = "olmo",
    /// `<|START_ACTION|>` and a list of objects with `tool_name` and `parameters`: Command R7B, Command A.
    Command = "command",
    /// The same list behind `Action:` in a fence of Markdown: Command R and R+.
    CommandR = "command_r",
    /// `<|tool_call>call:NAME{KEY:VALUE}<tool_call|>`: Gemma 4.
    Gemma = "gemma",
    /// `<|tool_call|>` and a list of JSON objects: Phi-4, Granite 3.
    Phi = "phi",
    /// `functools` and a list of JSON objects: Firefunction, Phi-4 mini.
    Functools = "functools",
    /// `<function=NAME>ARGUMENTS</function>`: Functionary 3.1, Llama 3.1 when it is asked for that.
    Functionary = "functionary",
    /// Messages to `functions.NAME` on the channel `commentary`: gpt-oss.
    Harmony = "harmony",
}

impl fmt::Display for ToolFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A word that names no format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownToolFormat;

impl fmt::Display for UnknownToolFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "expected one of {}", ToolFormat::NAMES.join(", "))
    }
}

impl std::error::Error for UnknownToolFormat {}

impl FromStr for ToolFormat {
    type Err = UnknownToolFormat;

    fn from_str(word: &str) -> Result<Self, UnknownToolFormat> {
        Self::ALL.iter().copied().find(|format| format.as_str() == word).ok_or(UnknownToolFormat)
    }
}

/// How ids of calls look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IdStyle {
    /// `call_` and 32 digits.
    Long,
    /// Nine letters and digits: Mistral's templates refuse any other.
    Nine,
}
