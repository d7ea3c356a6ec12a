//! What a model thinks before it answers: the formats, how a chat template tells its own, and where a prompt has begun
//! a thought already.

mod recognise;

use std::fmt;
use std::str::FromStr;

use crate::Prompt;

macro_rules! formats {
    ($($(#[$doc:meta])* $variant:ident = $word:literal,)*) => {
        /// How a model sets its thoughts apart from its answer.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum ReasoningFormat { $($(#[$doc])* $variant,)* }

        impl ReasoningFormat {
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
    /// `<think>…</think>`: DeepSeek, Qwen, GLM, Kimi, MiniMax and most others.
    Think = "think",
    /// The same, with the answer in `<response>…</response>`: Granite 3.
    Granite = "granite",
    /// `[THINK]…[/THINK]`: Magistral, Ministral.
    Mistral = "mistral",
    /// `<|START_THINKING|>…<|END_THINKING|>`: Command R7B, Command A.
    Command = "command",
    /// `<seed:think>…</seed:think>`: Seed-OSS.
    Seed = "seed",
    /// `<reasoning>…</reasoning>`.
    Reasoning = "reasoning",
    /// `<|channel>thought…<channel|>`: Gemma 4.
    Gemma = "gemma",
    /// `Here are my reasoning steps:…[BEGIN FINAL RESPONSE]`: Apriel.
    Apriel = "apriel",
    /// The channel `analysis`: gpt-oss.
    Harmony = "harmony",
}

/// The tags of a format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tags {
    /// What begins a thought.
    pub(crate) opens: &'static [&'static str],
    /// What ends it.
    pub(crate) closes: &'static [&'static str],
    /// What stands around the answer and belongs to nothing.
    pub(crate) around: &'static [&'static str],
}

impl ReasoningFormat {
    pub(crate) fn tags(self) -> Tags {
        let tags = |opens, closes, around| Tags { opens, closes, around };
        match self {
            Self::Think => tags(&["<think>"], &["</think>"], &[]),
            Self::Granite => tags(&["<think>"], &["</think>"], &["<response>", "</response>"]),
            Self::Mistral => tags(&["[THINK]"], &["[/THINK]"], &[]),
            Self::Command => tags(
                &["<|START_THINKING|>"],
                &["<|END_THINKING|>"],
                &["<|START_RESPONSE|>", "<|END_RESPONSE|>", "<|START_TEXT|>", "<|END_TEXT|>"],
            ),
            Self::Seed => tags(&["<seed:think>"], &["</seed:think>"], &[]),
            Self::Reasoning => tags(&["<reasoning>"], &["</reasoning>"], &[]),
            Self::Gemma => tags(&["<|channel>thought"], &["<channel|>"], &[]),
            Self::Apriel => {
                tags(&["Here are my reasoning steps:"], &["[BEGIN FINAL RESPONSE]"], &["[END FINAL RESPONSE]"])
            }
            // Messages, not tags: they have a parser of their own.
            Self::Harmony => tags(&[], &[], &[]),
        }
    }

    /// What begins and what ends a thought; `None` where thoughts are messages of their own.
    pub fn thought_tags(self) -> Option<(&'static str, &'static str)> {
        let Tags { opens, closes, .. } = self.tags();
        opens.first().copied().zip(closes.first().copied())
    }

    /// What its thoughts are set apart with.
    pub(crate) fn markers(self) -> Vec<&'static str> {
        if self == Self::Harmony {
            return crate::answer::HARMONY_MARKERS.to_vec();
        }
        let Tags { opens, closes, around } = self.tags();
        [opens, closes, around].concat()
    }

    /// Whether a prompt ends within a thought, so that the answer begins there. What came with the conversation
    /// begins none.
    pub fn is_begun_by(self, prompt: &Prompt) -> bool {
        let end = prompt.text.trim_end();
        let open = self.tags().opens.iter().find(|open| end.ends_with(**open));
        open.is_some_and(|open| {
            let place = end.len() - open.len()..end.len();
            !prompt.foreign.iter().any(|foreign| foreign.start < place.end && place.start < foreign.end)
        })
    }
}

impl fmt::Display for ReasoningFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A word that names no format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownReasoningFormat;

impl fmt::Display for UnknownReasoningFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "expected one of {}", ReasoningFormat::NAMES.join(", "))
    }
}

impl std::error::Error for UnknownReasoningFormat {}

impl FromStr for ReasoningFormat {
    type Err = UnknownReasoningFormat;

    fn from_str(word: &str) -> Result<Self, UnknownReasoningFormat> {
        Self::ALL.iter().copied().find(|format| format.as_str() == word).ok_or(UnknownReasoningFormat)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prompt_begins_a_thought_where_its_template_does() {
        let begun = |text: &str, foreign: &[std::ops::Range<usize>]| {
            ReasoningFormat::Think.is_begun_by(&Prompt { text: text.into(), foreign: foreign.to_vec() })
        };
        assert!(begun("<|im_start|>assistant\n<think>\n", &[]));
        assert!(begun("say <think>: <think>", std::slice::from_ref(&(0..11))));
        assert!(!begun("<think>\n\n</think>\n\n", &[]));
        assert!(!begun("assistant", &[]));
        assert!(!begun("user: <think>", std::slice::from_ref(&(6..7))));
    }
}
