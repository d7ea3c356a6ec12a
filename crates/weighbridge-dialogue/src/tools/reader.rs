//! What reads calls, a character at a time, once a marker has begun them.

use super::json::JsonCalls;
use super::literal_calls::LiteralCalls;
use super::named::NamedCalls;
use super::out::Out;
use super::tagged::TaggedCalls;

/// What a reader makes of a character.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// It belongs to a call, or to what stands around it.
    Taken,
    /// It is the last that does.
    Last,
    /// It does not, and was not taken.
    Refused,
}

/// A reader of calls in one of the ways in which they are written.
#[derive(Clone, Debug)]
pub(crate) enum Reader {
    /// JSON objects that have the name and the arguments.
    Json(JsonCalls),
    /// A name, and the arguments as a JSON object.
    Named(NamedCalls),
    /// A name, and each argument in tags.
    Tagged(TaggedCalls),
    /// A name, and arguments in the language of a program.
    Literal(LiteralCalls),
}

impl Reader {
    pub(crate) fn step(&mut self, c: char, out: &mut Out) -> Step {
        match self {
            Self::Json(reader) => reader.step(c, out),
            Self::Named(reader) => reader.step(c, out),
            Self::Tagged(reader) => reader.step(c, out),
            Self::Literal(reader) => reader.step(c, out),
        }
    }

    /// Whether all that was begun is complete, but for what stands around calls.
    pub(crate) fn is_between(&self) -> bool {
        match self {
            Self::Json(reader) => reader.is_between(),
            Self::Named(reader) => reader.is_between(),
            Self::Tagged(reader) => reader.is_between(),
            Self::Literal(reader) => reader.is_between(),
        }
    }
}

/// How a text stands to some literals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Match {
    /// It is this one.
    Whole(&'static str),
    /// It is the beginning of one.
    Partial,
    /// Neither.
    No,
}

/// Compares a text with literals, of which none begins another. Empty ones match nothing.
pub(crate) fn matching(text: &str, literals: impl IntoIterator<Item = &'static str>) -> Match {
    let mut best = Match::No;
    for literal in literals.into_iter().filter(|literal| !literal.is_empty()) {
        match literal.strip_prefix(text) {
            Some("") => return Match::Whole(literal),
            Some(_) => best = Match::Partial,
            None => {}
        }
    }
    best
}

/// Whether a text can be the name of a function: what OpenAI allows, and the dots and colons of namespaces.
pub(crate) fn is_name(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | ':' | '/'))
}
