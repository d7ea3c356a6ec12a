//! Calls as a program would make them: `[f(a=1), g()]`, or `call:f{a:1}` of Gemma.

use super::literal::{Dialect, Literals, Translated};
use super::out::Out;
use super::reader::{Match, Step, is_name, matching};

/// Bytes of the longest name.
const MAX_NAME: usize = 256;

/// Reads calls until one of `ends`, or until their list closes where there are none.
#[derive(Clone, Debug)]
pub(crate) struct LiteralCalls {
    dialect: Dialect,
    ends: &'static [&'static str],
    at: At,
    /// Whether a list is open, and whether one was.
    in_list: bool,
    had_list: bool,
    /// What is there of a name or an end.
    text: String,
}

#[derive(Clone, Debug)]
enum At {
    Between,
    Name,
    Arguments(Literals),
    End,
}

impl LiteralCalls {
    pub(crate) fn new(dialect: Dialect, ends: &'static [&'static str]) -> Self {
        Self { dialect, ends, at: At::Between, in_list: false, had_list: false, text: String::new() }
    }

    pub(crate) fn is_between(&self) -> bool {
        matches!(self.at, At::Between | At::End)
    }

    pub(crate) fn step(&mut self, c: char, out: &mut Out) -> Step {
        match &mut self.at {
            At::Between => self.between(c),
            At::End => self.end(c),
            At::Name => self.name(c, out),
            At::Arguments(literals) => {
                let mut text = String::new();
                let translated = literals.step(c, &mut text);
                out.arguments(&text);
                match translated {
                    Translated::More => Step::Taken,
                    Translated::Bad => Step::Refused,
                    Translated::Done => {
                        out.end();
                        self.at = At::Between;
                        Step::Taken
                    }
                }
            }
        }
    }

    fn between(&mut self, c: char) -> Step {
        match c {
            c if c.is_ascii_whitespace() => Step::Taken,
            ',' => Step::Taken,
            '[' if !self.had_list && self.dialect == Dialect::Python => {
                (self.in_list, self.had_list) = (true, true);
                Step::Taken
            }
            ']' if self.in_list => {
                self.in_list = false;
                if self.ends.is_empty() { Step::Last } else { Step::Taken }
            }
            c if self.ends.iter().any(|end| end.starts_with(c)) => {
                self.at = At::End;
                self.end(c)
            }
            c if (self.in_list || !self.ends.is_empty()) && is_name_of(c) => {
                self.text = c.into();
                self.at = At::Name;
                Step::Taken
            }
            _ => Step::Refused,
        }
    }

    fn end(&mut self, c: char) -> Step {
        self.text.push(c);
        match matching(&self.text, self.ends.iter().copied()) {
            Match::Whole(_) => Step::Last,
            Match::Partial => Step::Taken,
            Match::No => Step::Refused,
        }
    }

    fn name(&mut self, c: char, out: &mut Out) -> Step {
        let opening = if self.dialect == Dialect::Gemma { '{' } else { '(' };
        if c != opening {
            self.text.push(c);
            return if is_name_of(c) && self.text.len() <= MAX_NAME { Step::Taken } else { Step::Refused };
        }
        let text = std::mem::take(&mut self.text);
        let name = match self.dialect {
            Dialect::Gemma => text.strip_prefix("call:"),
            Dialect::Python => Some(text.as_str()),
        };
        let Some(name) = name.filter(|name| is_name(name) && (!out.only_known || out.schemas.may_have(name))) else {
            return Step::Refused;
        };
        out.begin(name, None);
        out.arguments("{");
        self.at = At::Arguments(Literals::new(self.dialect));
        Step::Taken
    }
}

fn is_name_of(c: char) -> bool {
    is_name(c.encode_utf8(&mut [0; 4]))
}
