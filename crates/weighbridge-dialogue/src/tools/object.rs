//! A call as a JSON object that has its name and its arguments among its members.

use serde_json::{Map, Value};

use super::out::Out;
use super::reader::Step;
use super::scan::{Scan, Scanned};

/// What the members are called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Keys {
    pub(crate) name: &'static str,
    pub(crate) arguments: &'static [&'static str],
}

/// An object under way. The name is told as soon as the arguments begin, and these as they come.
#[derive(Clone, Debug)]
pub(crate) struct Object {
    keys: Keys,
    at: At,
    name: Option<String>,
    arguments: Arguments,
    /// What is read of a key or a value that cannot be told yet.
    text: String,
    scan: Scan,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    Open,
    Key { first: bool },
    Colon,
    Value,
    In(Member),
    Comma,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Member {
    Key,
    Name,
    /// Arguments that are told as they come.
    Told,
    /// Arguments whose name is not known yet, or that are no object as they stand.
    Held,
    Other,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Arguments {
    Missing,
    /// Complete, and waiting for the name.
    Held(String),
    Told,
}

impl Object {
    pub(crate) fn new(keys: Keys) -> Self {
        Self {
            keys,
            at: At::Open,
            name: None,
            arguments: Arguments::Missing,
            text: String::new(),
            scan: Scan::default(),
        }
    }

    /// Whether the call is told with all its arguments.
    pub(crate) fn is_whole(&self) -> bool {
        self.arguments == Arguments::Told && self.at != At::In(Member::Told)
    }

    pub(crate) fn step(&mut self, c: char, out: &mut Out) -> Step {
        let is_space = c.is_ascii_whitespace();
        match (self.at, c) {
            (At::In(member), _) => self.within(member, c, out),
            (_, _) if is_space => Step::Taken,
            (At::Open, '{') => self.go(At::Key { first: true }),
            (At::Key { .. }, '"') => self.begin(Member::Key, c, out),
            (At::Key { first: true } | At::Comma, '}') => self.close(out),
            (At::Colon, ':') => self.go(At::Value),
            (At::Comma, ',') => self.go(At::Key { first: false }),
            (At::Value, _) => self.value(c, out),
            _ => Step::Refused,
        }
    }

    fn go(&mut self, at: At) -> Step {
        self.at = at;
        Step::Taken
    }

    fn begin(&mut self, member: Member, c: char, out: &mut Out) -> Step {
        self.text.clear();
        self.scan = Scan::default();
        self.at = At::In(member);
        self.within(member, c, out)
    }

    fn value(&mut self, c: char, out: &mut Out) -> Step {
        let key: String = serde_json::from_str(&self.text).unwrap_or_default();
        if key == self.keys.name {
            return if c == '"' && self.name.is_none() { self.begin(Member::Name, c, out) } else { Step::Refused };
        }
        if !self.keys.arguments.contains(&key.as_str()) {
            return self.begin(Member::Other, c, out);
        }
        match (&self.name, &self.arguments, c) {
            (Some(name), Arguments::Missing, '{') => {
                out.begin(name, None);
                self.arguments = Arguments::Told;
                self.begin(Member::Told, c, out)
            }
            // A few models write the object once more as a string.
            (_, Arguments::Missing, '{' | '"' | 'n') => self.begin(Member::Held, c, out),
            _ => Step::Refused,
        }
    }

    fn within(&mut self, member: Member, c: char, out: &mut Out) -> Step {
        let seen = self.text.len();
        let scanned = self.scan.step(c, &mut self.text);
        if member == Member::Told {
            out.arguments(&self.text[seen..]);
            self.text.clear();
        }
        if member == Member::Other {
            self.text.clear();
        }
        match scanned {
            Scanned::More => Step::Taken,
            Scanned::Bad => Step::Refused,
            Scanned::Done => self.end(member, out),
            Scanned::Before => {
                self.at = At::Comma;
                self.step(c, out)
            }
        }
    }

    fn end(&mut self, member: Member, out: &mut Out) -> Step {
        self.at = At::Comma;
        match member {
            Member::Key => return self.go(At::Colon),
            Member::Other => {}
            Member::Told => out.end(),
            Member::Name => {
                let name: String = serde_json::from_str(&self.text).unwrap_or_default();
                if name.is_empty() || out.only_known && !out.schemas.may_have(&name) {
                    return Step::Refused;
                }
                if let Arguments::Held(arguments) = std::mem::replace(&mut self.arguments, Arguments::Missing) {
                    self.tell(&name, &arguments, out);
                }
                self.name = Some(name);
            }
            Member::Held => {
                let Some(arguments) = object_text(&self.text) else { return Step::Refused };
                match self.name.take() {
                    Some(name) => {
                        self.tell(&name, &arguments, out);
                        self.name = Some(name);
                    }
                    None => self.arguments = Arguments::Held(arguments),
                }
            }
        }
        Step::Taken
    }

    fn tell(&mut self, name: &str, arguments: &str, out: &mut Out) {
        out.begin(name, None);
        out.arguments(arguments);
        out.end();
        self.arguments = Arguments::Told;
    }

    fn close(&mut self, out: &mut Out) -> Step {
        match (self.name.take(), &self.arguments) {
            (Some(_), Arguments::Told) => Step::Last,
            (Some(name), Arguments::Missing) => {
                self.tell(&name, "{}", out);
                Step::Last
            }
            _ => Step::Refused,
        }
    }
}

/// The JSON text of an object: of itself, of a string that holds it, or of `null`.
fn object_text(text: &str) -> Option<String> {
    match serde_json::from_str(text).ok()? {
        Value::Object(_) => Some(text.into()),
        Value::Null => Some("{}".into()),
        Value::String(text) if text.trim().is_empty() => Some("{}".into()),
        Value::String(text) => serde_json::from_str::<Map<String, Value>>(&text).ok().map(|_| text),
        _ => None,
    }
}
