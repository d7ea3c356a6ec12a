//! Calls as a name and, behind it, the arguments as a JSON object.

use super::json::JsonCalls;
use super::object::Keys;
use super::out::Out;
use super::reader::{Match, Step, is_name, matching};
use super::scan::{Scan, Scanned};

/// Bytes of the longest text before the arguments.
const MAX_HEAD: usize = 256;

/// How calls are written. White space around literals is not told apart.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Named {
    /// Before each call; that of the first may have been the marker.
    pub(crate) open: &'static str,
    /// Whether the marker was it.
    pub(crate) opened: bool,
    /// What stands before the name.
    pub(crate) prefix: &'static str,
    /// What ends the name. A brace among them is the first of the arguments.
    pub(crate) joins: &'static [&'static str],
    /// Between the name and an id of the model's own, where that is told.
    pub(crate) id: Option<Id>,
    /// What may stand after the arguments.
    pub(crate) closes: &'static [&'static str],
    /// What ends all calls; `None` where each ends with the last of `closes`, or by itself.
    pub(crate) end: Option<&'static str>,
    /// A list of objects may stand in place of the first name.
    pub(crate) list: Option<Keys>,
}

/// Ids that models give.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Id {
    /// After this literal.
    After(&'static str),
    /// The whole head is the id, of which a colon and a number at the end are no part of the name.
    Whole,
}

#[derive(Clone, Debug)]
pub(crate) struct NamedCalls {
    form: &'static Named,
    at: At,
    /// What is there of a literal or a head.
    text: String,
    scan: Scan,
}

#[derive(Clone, Debug)]
enum At {
    Between { after_call: bool },
    Head,
    BeforeArguments { name: String, id: Option<String> },
    Arguments,
    List(Box<JsonCalls>),
}

impl NamedCalls {
    pub(crate) fn new(form: &'static Named) -> Self {
        let at = if form.opened { At::Head } else { At::Between { after_call: false } };
        Self { form, at, text: String::new(), scan: Scan::default() }
    }

    pub(crate) fn is_between(&self) -> bool {
        match &self.at {
            At::Between { .. } => true,
            At::List(list) => list.is_between(),
            _ => false,
        }
    }

    pub(crate) fn step(&mut self, c: char, out: &mut Out) -> Step {
        match &mut self.at {
            At::Between { .. } => self.between(c),
            At::Head => self.head(c, out),
            At::BeforeArguments { .. } if c.is_ascii_whitespace() => Step::Taken,
            At::BeforeArguments { name, id } if c == '{' => {
                out.begin(name, id.as_deref());
                self.at = At::Arguments;
                self.arguments(c, out)
            }
            At::BeforeArguments { .. } => Step::Refused,
            At::Arguments => self.arguments(c, out),
            At::List(list) => match list.step(c, out) {
                Step::Last => {
                    self.at = At::Between { after_call: true };
                    Step::Taken
                }
                step => step,
            },
        }
    }

    fn between(&mut self, c: char) -> Step {
        if self.text.is_empty() && c.is_ascii_whitespace() {
            return Step::Taken;
        }
        let after_call = matches!(self.at, At::Between { after_call: true });
        self.text.push(c);
        let closes = if after_call { self.form.closes } else { &[] };
        let literals = closes.iter().copied().chain([self.form.open]).chain(self.form.end);
        match matching(&self.text, literals) {
            Match::Partial => return Step::Taken,
            Match::No => return Step::Refused,
            Match::Whole(literal) if literal == self.form.open => self.at = At::Head,
            Match::Whole(literal) if Some(literal) == self.form.end => return Step::Last,
            Match::Whole(literal) if self.form.open.is_empty() && self.form.closes.last() == Some(&literal) => {
                return Step::Last;
            }
            Match::Whole(_) => {}
        }
        self.text.clear();
        Step::Taken
    }

    fn head(&mut self, c: char, out: &mut Out) -> Step {
        if let (Some(keys), '[' | '{', true) = (self.form.list, c, self.text.trim().is_empty()) {
            let mut list = JsonCalls::new(keys, &[]);
            let step = list.step(c, out);
            self.at = At::List(Box::new(list));
            return step;
        }
        self.text.push(c);
        let Some(head) = self.form.joins.iter().find_map(|join| self.text.strip_suffix(join)) else {
            return if self.text.len() > MAX_HEAD { Step::Refused } else { Step::Taken };
        };
        let (name, id) = self.name_and_id(head.trim());
        if !is_name(name) {
            return Step::Refused;
        }
        self.at = At::BeforeArguments { name: name.to_owned(), id: id.map(str::to_owned) };
        self.text.clear();
        self.scan = Scan::default();
        if c == '{' { self.step(c, out) } else { Step::Taken }
    }

    fn name_and_id<'a>(&self, head: &'a str) -> (&'a str, Option<&'a str>) {
        let bare = head.strip_prefix(self.form.prefix).unwrap_or(head).trim();
        match self.form.id {
            None => (bare, None),
            Some(Id::After(literal)) => match bare.split_once(literal) {
                Some((name, id)) => (name.trim(), Some(id.trim()).filter(|id| is_name(id))),
                None => (bare, None),
            },
            Some(Id::Whole) => match bare.rsplit_once(':') {
                Some((name, number)) if number.parse::<u32>().is_ok() => (name, Some(head)),
                _ => (bare, None),
            },
        }
    }

    fn arguments(&mut self, c: char, out: &mut Out) -> Step {
        let mut text = String::new();
        let scanned = self.scan.step(c, &mut text);
        out.arguments(&text);
        match scanned {
            Scanned::More => Step::Taken,
            Scanned::Done => {
                out.end();
                self.at = At::Between { after_call: true };
                Step::Taken
            }
            Scanned::Before | Scanned::Bad => Step::Refused,
        }
    }
}
