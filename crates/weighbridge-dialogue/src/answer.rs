//! What a model writes, divided into its answer, its thoughts and its calls while it is being written.
//!
//! Everything is read a character at a time, so that the pieces come to the same however the text was cut.

mod harmony;
mod tagged;

use self::harmony::Harmony;
pub(crate) use self::harmony::MARKERS as HARMONY_MARKERS;
use self::tagged::Tagged;
use crate::tools::IdStyle;
use crate::tools::out::Out;
use crate::tools::{Faults, Piece, ToolSchemas};
use crate::{ReasoningFormat, ToolFormat};

/// How an answer is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AnswerFormat {
    /// How calls are; `None` looks for none.
    pub tools: Option<ToolFormat>,
    /// How thoughts are; `None` knows none.
    pub reasoning: Option<ReasoningFormat>,
}

impl AnswerFormat {
    /// What has to reach the parser though it be no text to the tokenizer: special tokens that stand in one of these
    /// texts, whole or in part.
    pub fn markers(self) -> Vec<&'static str> {
        let tools = self.tools.map(ToolFormat::markers);
        let reasoning = self.reasoning.map(ReasoningFormat::markers);
        [tools, reasoning].into_iter().flatten().flatten().collect()
    }
}

/// Divides what a model writes.
///
/// Text passes through at once, but for what may be the beginning of a marker and for white space, which is dropped at
/// either side of a call or a thought. Of calls, the name and the id come as soon as the arguments begin, then these as
/// they are written, always the beginning of a JSON object. What is no call after all comes back as text, so that
/// nothing is lost; a call that breaks after its name was told stays without an end, which no parser of JSON takes for
/// whole, unless calls are told whole ([`AnswerParser::telling_whole_calls`]). [`AnswerParser::faults`] counts both.
#[derive(Clone, Debug)]
pub struct AnswerParser {
    machine: Machine,
    out: Out,
}

#[derive(Clone, Debug)]
enum Machine {
    Tagged(Tagged),
    Harmony(Harmony),
}

impl AnswerParser {
    /// A parser of one answer to a request with these tools. Ids of calls follow from `seed` and the order of the
    /// calls: the same seed gives the same ids, and no id twice. A seed is used for one answer.
    pub fn new(format: AnswerFormat, schemas: ToolSchemas, seed: &str) -> Self {
        let AnswerFormat { tools, reasoning } = format;
        let ids = tools.map_or(IdStyle::Long, ToolFormat::ids);
        let only_known = tools.is_some_and(ToolFormat::takes_known_names_only);
        let is_harmony = tools == Some(ToolFormat::Harmony) || reasoning == Some(ReasoningFormat::Harmony);
        let machine = match is_harmony {
            true => Machine::Harmony(Harmony::new(tools.is_some())),
            false => Machine::Tagged(Tagged::new(tools, reasoning)),
        };
        Self { machine, out: Out::new(schemas, ids, only_known, seed) }
    }

    /// The answer begins within a thought, for the prompt has begun one: see [`ReasoningFormat::is_begun_by`].
    #[must_use]
    pub fn within_thought(mut self) -> Self {
        if let Machine::Tagged(tagged) = &mut self.machine {
            tagged.begin_thought();
        }
        self
    }

    /// Tells calls only once they are whole, for a reader who sees nothing before the answer ends: one that breaks comes
    /// back as text from its beginning on.
    #[must_use]
    pub fn telling_whole_calls(mut self) -> Self {
        self.out.tell_whole_calls();
        self
    }

    /// Keeps these texts from the reader wherever they stand outside of arguments: special tokens that were made
    /// visible for the parser's sake.
    #[must_use]
    pub fn hiding(mut self, markers: &[String]) -> Self {
        if let Machine::Tagged(tagged) = &mut self.machine {
            tagged.hide(markers);
        }
        self
    }

    /// Takes what the model wrote next and returns what is certain now.
    pub fn push(&mut self, text: &str) -> Vec<Piece> {
        match &mut self.machine {
            Machine::Tagged(tagged) if tagged.is_plain() => self.out.text(text),
            Machine::Tagged(tagged) => text.chars().for_each(|c| tagged.step(c, &mut self.out)),
            Machine::Harmony(harmony) => text.chars().for_each(|c| harmony.step(c, &mut self.out)),
        }
        self.out.take()
    }

    /// Ends the answer and returns what was held back.
    pub fn finish(&mut self) -> Vec<Piece> {
        match &mut self.machine {
            Machine::Tagged(tagged) => tagged.finish(&mut self.out),
            Machine::Harmony(harmony) => harmony.finish(&mut self.out),
        }
        self.out.take()
    }

    /// Whether the model is thinking.
    pub fn is_thinking(&self) -> bool {
        match &self.machine {
            Machine::Tagged(tagged) => tagged.is_thinking(),
            Machine::Harmony(harmony) => harmony.is_thinking(),
        }
    }

    /// How many calls are complete so far.
    pub fn calls(&self) -> u32 {
        self.out.whole()
    }

    /// What went wrong with calls so far.
    pub fn faults(&self) -> Faults {
        self.out.faults()
    }
}
