//! Calls as a name and, behind it, each argument between tags. Values become JSON by what the tool's schema says.

use super::out::Out;
use super::reader::{Match, Step, is_name, matching};
use super::scan::{Scan, Scanned, push_escaped};
use super::schemas::json_of;
use super::types::Types;

/// Bytes of the longest tag.
const MAX_TAG: usize = 512;

/// How calls are written. White space between tags is not told apart.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Tagged {
    /// Before each name; that of the first may have been the marker.
    pub(crate) open: &'static str,
    /// What ends the name.
    pub(crate) name_ends: &'static [&'static str],
    /// Before each key.
    pub(crate) parameter: &'static str,
    /// What ends the key, and what is told with it; the value follows.
    pub(crate) key_end: &'static str,
    /// Cuts what is told with the key off it.
    pub(crate) key_cut: &'static str,
    /// After each value.
    pub(crate) value_end: &'static str,
    /// After the last value of a call; empty where `end` stands in its place.
    pub(crate) close: &'static str,
    /// After the last call.
    pub(crate) end: &'static str,
    /// Whether a line break at either side of a value belongs to the tags.
    pub(crate) lines: bool,
    /// What the tag says of a value that is a string, and of one that is none.
    pub(crate) says: Option<(&'static str, &'static str)>,
}

#[derive(Clone, Debug)]
pub(crate) struct TaggedCalls {
    form: &'static Tagged,
    at: At,
    /// Of a tag or a value, what is not told.
    text: String,
    name: String,
    /// Arguments told of the call.
    arguments: usize,
    /// Follows a value that is an object or a list so far: within its strings no tag ends it.
    scan: Option<Scan>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    /// Before a call, or behind all.
    Between,
    Name,
    /// Before a key, or at the end of the call.
    Parameter,
    Key,
    Value {
        types: Types,
        /// Nothing of it was read.
        first: bool,
    },
}

impl TaggedCalls {
    /// A reader behind a marker that was the `open` of the first call (`opened`), or stands before it.
    pub(crate) fn new(form: &'static Tagged, opened: bool) -> Self {
        let at = if opened || form.open.is_empty() { At::Name } else { At::Between };
        Self { form, at, text: String::new(), name: String::new(), arguments: 0, scan: None }
    }

    pub(crate) fn is_between(&self) -> bool {
        self.at == At::Between
    }

    pub(crate) fn step(&mut self, c: char, out: &mut Out) -> Step {
        match self.at {
            At::Name => self.name(c, out),
            At::Key => self.key(c, out),
            At::Value { types, first } => self.value(types, first, c, out),
            At::Between | At::Parameter if self.text.is_empty() && c.is_ascii_whitespace() => Step::Taken,
            At::Between | At::Parameter => self.tag(c, out),
        }
    }

    fn tag(&mut self, c: char, out: &mut Out) -> Step {
        self.text.push(c);
        let Tagged { open, parameter, close, end, .. } = self.form;
        let literals = if self.at == At::Between { [*open, *end, ""] } else { [*parameter, *close, *end] };
        let literal = match matching(&self.text, literals) {
            Match::Partial => return Step::Taken,
            Match::No => return Step::Refused,
            Match::Whole(literal) => literal,
        };
        self.text.clear();
        if literal == *open {
            return self.go(At::Name);
        }
        if literal == *parameter {
            return self.go(At::Key);
        }
        if self.at == At::Parameter {
            self.end_call(out);
        }
        if literal == *end { Step::Last } else { Step::Taken }
    }

    fn go(&mut self, at: At) -> Step {
        self.at = at;
        Step::Taken
    }

    fn end_call(&mut self, out: &mut Out) {
        out.arguments(if self.arguments == 0 { "{}" } else { "}" });
        out.end();
        self.at = At::Between;
    }

    fn name(&mut self, c: char, out: &mut Out) -> Step {
        self.text.push(c);
        let form = self.form;
        let Some((name, end)) = form.name_ends.iter().find_map(|end| Some((self.text.strip_suffix(end)?, *end))) else {
            return if self.text.len() > MAX_TAG { Step::Refused } else { Step::Taken };
        };
        let name = name.trim();
        if name.is_empty() && end == "\n" {
            return Step::Taken;
        }
        if !is_name(name) {
            return Step::Refused;
        }
        self.name = name.into();
        self.text.clear();
        self.arguments = 0;
        out.begin(&self.name, None);
        if end == form.parameter {
            return self.go(At::Key);
        }
        self.at = At::Parameter;
        if end == form.end {
            self.end_call(out);
            return Step::Last;
        }
        Step::Taken
    }

    fn key(&mut self, c: char, out: &mut Out) -> Step {
        self.text.push(c);
        let Some(tag) = self.text.strip_suffix(self.form.key_end) else {
            return if self.text.len() > MAX_TAG { Step::Refused } else { Step::Taken };
        };
        let (key, said) = match self.form.key_cut {
            "" => (tag, ""),
            cut => tag.split_once(cut).unwrap_or((tag, "")),
        };
        let key = key.trim();
        if key.is_empty() {
            return Step::Refused;
        }
        let types = match self.form.says {
            Some((text, _)) if said.contains(text) => Types::TEXT,
            Some((_, other)) if said.contains(other) => Types::OTHER,
            _ => out.schemas.types(&self.name, key),
        };
        let mut text = String::from(if self.arguments == 0 { "{" } else { ", " });
        text.push_str(&serde_json::Value::from(key).to_string());
        text.push_str(if types == Types::TEXT { ": \"" } else { ": " });
        out.arguments(&text);
        self.arguments += 1;
        self.text.clear();
        self.scan = None;
        self.go(At::Value { types, first: true })
    }

    fn value(&mut self, types: Types, first: bool, c: char, out: &mut Out) -> Step {
        self.at = At::Value { types, first: false };
        if first && self.form.lines && c == '\n' {
            return Step::Taken;
        }
        self.follow(types, c);
        self.text.push(c);
        let in_text = self.scan.as_ref().is_some_and(Scan::is_in_text);
        if let Some(value) = self.text.strip_suffix(self.form.value_end).filter(|_| !in_text) {
            let value = if self.form.lines { value.strip_suffix('\n').unwrap_or(value) } else { value };
            let told = match types {
                Types::TEXT => escaped(value) + "\"",
                types => json_of(value, types),
            };
            out.arguments(&told);
            self.text.clear();
            return self.go(At::Parameter);
        }
        if types == Types::TEXT {
            let certain = self.text.len() - self.beginning_of_end();
            let told: String = self.text.drain(..certain).collect();
            out.arguments(&escaped(&told));
        }
        Step::Taken
    }

    /// Follows the next character of a value as JSON, where it may be an object or a list and begins as one.
    fn follow(&mut self, types: Types, c: char) {
        let may_begin = match c {
            '{' => types.has(Types::OBJECT),
            '[' => types.has(Types::LIST),
            _ => false,
        };
        if may_begin && self.scan.is_none() && self.text.trim_start().is_empty() {
            self.scan = Some(Scan::default());
        }
        if let Some(scan) = &mut self.scan
            && scan.step(c, &mut String::new()) != Scanned::More
        {
            self.scan = None;
        }
    }

    /// Bytes at the end of what is read of a value that may be the beginning of its end.
    fn beginning_of_end(&self) -> usize {
        let text = self.text.as_str();
        let starts = text.char_indices().map(|(at, _)| at);
        let may_end = |rest: &str| {
            let tag = if self.form.lines { rest.strip_prefix('\n').unwrap_or(rest) } else { rest };
            self.form.value_end.starts_with(tag)
        };
        starts.into_iter().find(|&at| may_end(&text[at..])).map_or(0, |at| text.len() - at)
    }
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    text.chars().for_each(|c| push_escaped(c, &mut out));
    out
}
