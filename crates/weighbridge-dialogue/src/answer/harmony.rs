//! Answers as messages on channels, as gpt-oss writes them.
//!
//! `<|channel|>analysis<|message|>…<|end|>` is a thought, `final` the answer, and a message to `functions.NAME` a call.
//! The prompt has begun the first header with `<|start|>assistant`.
//! Source: <https://cookbook.openai.com/articles/openai-harmony>.

use crate::tools::out::Out;
use crate::tools::reader::{Match, is_name, matching};
use crate::tools::scan::{Scan, Scanned};

/// The special tokens of the format.
pub(crate) const MARKERS: &[&str] =
    &["<|start|>", "<|channel|>", "<|constrain|>", "<|message|>", "<|end|>", "<|call|>", "<|return|>"];

/// Bytes of the longest header.
const MAX_HEADER: usize = 512;

#[derive(Clone, Debug)]
pub(super) struct Harmony {
    /// Whether calls are looked for.
    calls: bool,
    state: State,
    /// What may be the beginning of a marker.
    held: String,
}

#[derive(Clone, Debug)]
enum State {
    Header {
        text: String,
        /// The prompt has begun it, so that it is not sure to be one.
        first: bool,
    },
    Body(Body),
    /// Before the arguments.
    Name(String),
    Arguments(Scan),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Body {
    Text,
    Thought,
    /// Behind a message.
    None,
}

impl Harmony {
    pub(super) fn new(calls: bool) -> Self {
        Self { calls, state: State::Header { text: String::new(), first: true }, held: String::new() }
    }

    pub(super) fn is_thinking(&self) -> bool {
        matches!(self.state, State::Body(Body::Thought))
    }

    pub(super) fn step(&mut self, c: char, out: &mut Out) {
        match &mut self.state {
            State::Header { .. } => self.header(c, out),
            State::Body(_) => self.body(c, out),
            State::Name(_) => self.name(c, out),
            State::Arguments(_) => self.arguments(c, out),
        }
    }

    pub(super) fn finish(&mut self, out: &mut Out) {
        let held = std::mem::take(&mut self.held);
        match std::mem::replace(&mut self.state, State::Body(Body::None)) {
            // A header that is cut off says nothing; text that might have become one does.
            State::Header { text, first: true } if !text.contains("<|") => out.text(&text),
            State::Header { .. } => {}
            State::Body(Body::Thought) => out.reasoning(&held),
            State::Body(Body::Text) => out.text(&held),
            State::Body(Body::None) => {}
            State::Name(_) => {
                out.note_malformed();
                let raw = out.take_raw();
                out.text(&shown(&raw));
            }
            State::Arguments(_) => break_off(out),
        }
    }

    fn header(&mut self, c: char, out: &mut Out) {
        let State::Header { text, first } = &mut self.state else { return };
        text.push(c);
        if let Some(header) = text.strip_suffix("<|message|>") {
            let header = header.to_owned();
            return self.begin_body(&header, out);
        }
        if text.ends_with("<|start|>") {
            text.clear();
            *first = false;
            return;
        }
        let begun = text.trim_start();
        let may_be_first = ["<|channel|>", "to=", "<|message|>", "<|start|>", "<|constrain|>"]
            .iter()
            .any(|sign| begun.starts_with(sign) || sign.starts_with(begun));
        if *first && !may_be_first || text.len() > MAX_HEADER {
            let text = std::mem::take(text);
            self.state = State::Body(Body::Text);
            out.text(&shown(&text));
        }
    }

    fn begin_body(&mut self, header: &str, out: &mut Out) {
        let channel = header.split("<|channel|>").nth(1).map(word).unwrap_or_default();
        let function = header.split("to=functions.").nth(1).map(word);
        self.state = match function {
            Some(name) if self.calls && is_name(name) => {
                out.hold(header);
                State::Name(name.into())
            }
            _ if channel == "analysis" => State::Body(Body::Thought),
            _ => State::Body(Body::Text),
        };
    }

    fn body(&mut self, c: char, out: &mut Out) {
        self.held.push(c);
        while !self.held.is_empty() {
            match matching(&self.held, MARKERS.iter().copied()) {
                Match::Whole(marker) => {
                    self.held.clear();
                    return self.marker(marker);
                }
                Match::Partial => return,
                Match::No => {
                    let first = self.held.remove(0);
                    self.plain(first, out);
                }
            }
        }
    }

    fn marker(&mut self, marker: &str) {
        match marker {
            "<|start|>" => self.state = State::Header { text: String::new(), first: false },
            "<|channel|>" => self.state = State::Header { text: marker.into(), first: false },
            "<|end|>" | "<|call|>" | "<|return|>" => self.state = State::Body(Body::None),
            _ => {}
        }
    }

    fn plain(&mut self, c: char, out: &mut Out) {
        let mut buffer = [0; 4];
        let text = c.encode_utf8(&mut buffer);
        match &mut self.state {
            State::Body(Body::Thought) => out.reasoning(text),
            State::Body(Body::None) if c.is_whitespace() => {}
            state => {
                *state = State::Body(Body::Text);
                out.text(text);
            }
        }
    }

    fn name(&mut self, c: char, out: &mut Out) {
        let State::Name(name) = &self.state else { return };
        if c == '{' && self.held.is_empty() {
            out.begin(name, None);
            self.state = State::Arguments(Scan::default());
            return self.arguments(c, out);
        }
        out.hold(c.encode_utf8(&mut [0; 4]));
        if self.held.is_empty() && c.is_whitespace() {
            return;
        }
        self.held.push(c);
        match matching(&self.held, ["<|call|>", "<|end|>"]) {
            Match::Partial => {}
            // A call of what takes nothing.
            Match::Whole(_) => {
                out.begin(name, None);
                out.arguments("{}");
                out.end();
                self.held.clear();
                self.state = State::Body(Body::None);
            }
            Match::No => {
                out.note_malformed();
                self.held.clear();
                self.state = State::Body(Body::Text);
                let raw = out.take_raw();
                out.text(&shown(&raw));
            }
        }
    }

    fn arguments(&mut self, c: char, out: &mut Out) {
        let State::Arguments(scan) = &mut self.state else { return };
        out.hold(c.encode_utf8(&mut [0; 4]));
        let mut text = String::new();
        let scanned = scan.step(c, &mut text);
        out.arguments(&text);
        match scanned {
            Scanned::More => {}
            Scanned::Done => {
                out.end();
                self.state = State::Body(Body::None);
            }
            Scanned::Before | Scanned::Bad => {
                out.unhold();
                break_off(out);
                self.state = State::Body(Body::Text);
                self.body(c, out);
            }
        }
    }
}

/// Ends a call whose arguments are not whole: what was read of it and not told is text.
fn break_off(out: &mut Out) {
    out.abandon();
    let raw = out.take_raw();
    out.text(&shown(&raw));
}

/// The word at the beginning.
fn word(text: &str) -> &str {
    text.trim_start().split(|c: char| c.is_whitespace() || c == '<').next().unwrap_or_default()
}

/// A text without the tokens of the format.
fn shown(text: &str) -> String {
    MARKERS.iter().fold(text.to_owned(), |text, marker| text.replace(marker, ""))
}
