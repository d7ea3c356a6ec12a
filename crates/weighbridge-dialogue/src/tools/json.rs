//! Calls as JSON objects, alone, one after the other, or in a list.

use super::object::{Keys, Object};
use super::out::Out;
use super::reader::{Match, Step, matching};

/// Reads objects until one of `ends`, or until the list closes where there are none.
#[derive(Clone, Debug)]
pub(crate) struct JsonCalls {
    keys: Keys,
    ends: &'static [&'static str],
    object: Option<Object>,
    list: List,
    /// What is there of an end.
    end: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum List {
    Unknown,
    Open,
    Closed,
    /// Objects without a list.
    None,
}

impl JsonCalls {
    pub(crate) fn new(keys: Keys, ends: &'static [&'static str]) -> Self {
        Self { keys, ends, object: None, list: List::Unknown, end: String::new() }
    }

    pub(crate) fn step(&mut self, c: char, out: &mut Out) -> Step {
        let Some(object) = &mut self.object else { return self.between(c, out) };
        match object.step(c, out) {
            Step::Taken => Step::Taken,
            Step::Last => {
                self.object = None;
                Step::Taken
            }
            // The call is whole, if not what stands around it: a brace is missing, most often.
            Step::Refused if object.is_whole() => {
                self.object = None;
                self.between(c, out)
            }
            Step::Refused => Step::Refused,
        }
    }

    pub(crate) fn is_between(&self) -> bool {
        self.object.as_ref().is_none_or(Object::is_whole)
    }

    fn between(&mut self, c: char, out: &mut Out) -> Step {
        if !self.end.is_empty() || self.ends.iter().any(|end| end.starts_with(c)) {
            self.end.push(c);
            return match matching(&self.end, self.ends.iter().copied()) {
                Match::Whole(_) => Step::Last,
                Match::Partial => Step::Taken,
                Match::No => Step::Refused,
            };
        }
        match (c, self.list) {
            (_, _) if c.is_ascii_whitespace() => Step::Taken,
            (',', List::Open) | (',' | ';', List::None) => Step::Taken,
            ('[', List::Unknown) => {
                self.list = List::Open;
                Step::Taken
            }
            (']', List::Open) => {
                self.list = List::Closed;
                if self.ends.is_empty() { Step::Last } else { Step::Taken }
            }
            ('{', List::Unknown | List::None) => {
                self.list = List::None;
                self.begin(c, out)
            }
            ('{', List::Open) => self.begin(c, out),
            _ => Step::Refused,
        }
    }

    fn begin(&mut self, c: char, out: &mut Out) -> Step {
        self.object.insert(Object::new(self.keys)).step(c, out)
    }
}
