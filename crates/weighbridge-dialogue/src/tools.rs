//! Tool calls in what a model writes, found while it is being written.
//!
//! The format is that of Nous Research's Hermes, which Qwen and many fine-tunes follow:
//! `<tool_call>\n{"name": …, "arguments": {…}}\n</tool_call>`, once for each call, among plain text.

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use weighbridge_backend::ToolCallDelta;

const OPEN: &str = "<tool_call>";
const CLOSE: &str = "</tool_call>";

/// How a model writes its calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ToolFormat {
    /// A JSON object with `name` and `arguments` between `<tool_call>` and `</tool_call>`.
    Hermes,
}

impl ToolFormat {
    /// Returns the format that a chat template writes calls in, found in its source.
    ///
    /// The same tag also holds XML (Qwen3-Coder: `<function=…>`) or pairs (GLM: `<arg_key>`).
    pub(crate) fn of_template(source: &str) -> Option<Self> {
        let json =
            source.contains("\"arguments\"") || source.contains("'arguments'") || source.contains("\\\"arguments\\\"");
        let other = source.contains("<function=") || source.contains("<arg_key>");
        (source.contains(OPEN) && json && !other).then_some(Self::Hermes)
    }
}

/// A piece of what the model wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// Text outside calls; never empty.
    Text(String),
    /// A piece of a call, as [`ToolCallDelta`] tells it.
    Call(ToolCallDelta),
}

/// Divides what a model writes into text and calls, however it is cut into pieces.
///
/// Text passes through at once, but for what may be the beginning of a tag and for white space, which
/// is dropped at either side of a call. A call comes in two pieces once it is complete: its id and
/// name, then its arguments, as the model wrote them. What is no call after all (broken JSON, no name,
/// no end) comes back as text, so that nothing is lost.
#[derive(Clone, Debug)]
pub struct ToolCallParser {
    format: ToolFormat,
    seed: String,
    calls: u32,
    state: State,
    /// What was pushed and not yet returned: of text the end, of a call all that follows its tag.
    held: String,
}

#[derive(Clone, Debug)]
enum State {
    Text {
        /// Nothing but white space since the last call.
        after_call: bool,
    },
    Call {
        /// White space before the tag, in case it is no call.
        space: String,
        scan: Scan,
    },
}

impl ToolCallParser {
    /// A parser of one answer. Ids of calls follow from `seed` and the order of the calls: the same
    /// seed gives the same ids, and no id twice. A seed is used for one answer.
    pub fn new(format: ToolFormat, seed: &str) -> Self {
        Self { format, seed: seed.into(), calls: 0, state: State::Text { after_call: false }, held: String::new() }
    }

    /// How many calls were returned so far.
    pub fn calls(&self) -> u32 {
        self.calls
    }

    /// Takes what the model wrote next and returns what is certain now.
    pub fn push(&mut self, text: &str) -> Vec<Piece> {
        self.held.push_str(text);
        let mut pieces = Vec::new();
        while match self.format {
            ToolFormat::Hermes => self.step(&mut pieces),
        } {}
        pieces
    }

    /// Ends the answer and returns what was held back. A call without an end is text.
    pub fn finish(&mut self) -> Vec<Piece> {
        let held = std::mem::take(&mut self.held);
        let text = match std::mem::replace(&mut self.state, State::Text { after_call: false }) {
            State::Text { after_call: true } => held.trim_start().into(),
            State::Text { after_call: false } => held,
            State::Call { space, .. } => format!("{space}{OPEN}{held}"),
        };
        let mut pieces = Vec::new();
        push_text(&mut pieces, text);
        pieces
    }

    /// Goes on to the next tag; returns whether there was one.
    fn step(&mut self, pieces: &mut Vec<Piece>) -> bool {
        match &mut self.state {
            State::Text { .. } => self.read_text(pieces),
            State::Call { scan, .. } => match scan.end(&self.held) {
                Some(end) => {
                    self.end_call(end, pieces);
                    true
                }
                None => false,
            },
        }
    }

    fn read_text(&mut self, pieces: &mut Vec<Piece>) -> bool {
        if let State::Text { after_call: true } = self.state {
            let space = self.held.len() - self.held.trim_start().len();
            self.held.drain(..space);
        }
        let tag = self.held.find(OPEN);
        let text_end = tag.unwrap_or_else(|| self.held.len() - beginning_at_end(&self.held, OPEN));
        let certain = self.held[..text_end].trim_end().len();
        if certain > 0 {
            self.state = State::Text { after_call: false };
        }
        push_text(pieces, self.held.drain(..certain).collect());
        if tag.is_none() {
            return false;
        }
        let space = self.held.drain(..text_end - certain).collect();
        self.held.drain(..OPEN.len());
        self.state = State::Call { space, scan: Scan::default() };
        true
    }

    fn end_call(&mut self, end: usize, pieces: &mut Vec<Piece>) {
        let rest = self.held.split_off(end + CLOSE.len());
        let call = std::mem::replace(&mut self.held, rest);
        let Some(calls) = parse(&call[..end]) else {
            if let State::Call { space, .. } = std::mem::replace(&mut self.state, State::Text { after_call: false }) {
                push_text(pieces, format!("{space}{OPEN}{call}"));
            }
            return;
        };
        self.state = State::Text { after_call: true };
        for (name, arguments) in calls {
            let (index, id) = (self.calls, self.id(self.calls));
            self.calls = self.calls.saturating_add(1);
            pieces.push(Piece::Call(ToolCallDelta {
                index,
                id: Some(id),
                name: Some(name),
                arguments: String::new(),
                custom: false,
            }));
            pieces.push(Piece::Call(ToolCallDelta { index, id: None, name: None, arguments, custom: false }));
        }
    }

    /// FNV-1a, 128 bits: each step maps the hashes so far one to one, so ids of one seed all differ.
    fn id(&self, call: u32) -> String {
        const PRIME: u128 = (1 << 88) + 0x13b;
        let mut hash: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
        for byte in self.seed.bytes().chain(call.to_le_bytes()) {
            hash = (hash ^ u128::from(byte)).wrapping_mul(PRIME);
        }
        format!("call_{hash:032x}")
    }
}

/// Looks for the tag that ends a call, which may also stand in a string of its arguments.
#[derive(Clone, Debug, Default)]
struct Scan {
    /// Bytes that were looked at.
    done: usize,
    in_string: bool,
    escaped: bool,
}

impl Scan {
    /// Returns where the tag begins, if it is there already. `text` only grows between calls.
    fn end(&mut self, text: &str) -> Option<usize> {
        while let Some(byte) = text.as_bytes().get(self.done) {
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' if self.in_string => self.escaped = true,
                b'"' => self.in_string = !self.in_string,
                // JSON has no line break in a string: this is none, and the next tag counts.
                b'\n' => self.in_string = false,
                b'<' if !self.in_string => {
                    let rest = &text.as_bytes()[self.done..];
                    if rest.starts_with(CLOSE.as_bytes()) {
                        return Some(self.done);
                    }
                    if CLOSE.as_bytes().starts_with(rest) {
                        return None;
                    }
                }
                _ => {}
            }
            self.done += 1;
        }
        None
    }
}

#[derive(Deserialize)]
struct Call<'a> {
    name: String,
    #[serde(borrow)]
    arguments: Option<&'a RawValue>,
}

/// Returns the name and the arguments, an object as JSON text, of what stands between the tags: one
/// call, or a list of some, as Apriel writes them. `None` where it is neither.
fn parse(body: &str) -> Option<Vec<(String, String)>> {
    let calls: Vec<Call<'_>> = match body.trim_start().starts_with('[') {
        true => serde_json::from_str(body).ok()?,
        false => vec![serde_json::from_str(body).ok()?],
    };
    let calls = calls.iter().map(name_and_arguments).collect::<Option<Vec<_>>>()?;
    (!calls.is_empty()).then_some(calls)
}

fn name_and_arguments(call: &Call<'_>) -> Option<(String, String)> {
    let arguments = call.arguments.map_or("{}", RawValue::get);
    // A few models write the object once more as a string.
    let arguments = serde_json::from_str::<String>(arguments).unwrap_or_else(|_| arguments.into());
    serde_json::from_str::<Map<String, Value>>(&arguments).ok()?;
    (!call.name.is_empty()).then(|| (call.name.clone(), arguments))
}

/// How many bytes at the end of `text` may be the beginning of `tag`.
fn beginning_at_end(text: &str, tag: &str) -> usize {
    (1..tag.len()).rev().find(|&length| text.ends_with(&tag[..length])).unwrap_or(0)
}

fn push_text(pieces: &mut Vec<Piece>, text: String) {
    if !text.is_empty() {
        pieces.push(Piece::Text(text));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What an answer comes to: its texts joined, and for each call its name and arguments.
    fn whole(pieces: impl IntoIterator<Item = Piece>) -> (String, Vec<(String, String)>) {
        let (mut text, mut calls) = (String::new(), Vec::new());
        for piece in pieces {
            match piece {
                Piece::Text(piece) => text.push_str(&piece),
                Piece::Call(delta) => {
                    calls.extend(delta.name.map(|name| (name, String::new())));
                    if let Some((_, arguments)) = calls.last_mut() {
                        arguments.push_str(&delta.arguments);
                    }
                }
            }
        }
        (text, calls)
    }

    fn check(answer: &str, text: &str, calls: &[(&str, &str)]) {
        let mut parser = ToolCallParser::new(ToolFormat::Hermes, "seed");
        let mut pieces = parser.push(answer);
        pieces.extend(parser.finish());
        let calls = calls.iter().map(|(name, arguments)| ((*name).into(), (*arguments).into())).collect();
        assert_eq!(whole(pieces), (text.into(), calls), "{answer}");
    }

    #[test]
    fn a_call_is_taken_out_with_the_white_space_around_it() {
        let call = "<tool_call>\n{\"name\": \"add\", \"arguments\": {\"a\": 1, \"b\": 2.0}}\n</tool_call>";
        let arguments = "{\"a\": 1, \"b\": 2.0}";
        check(call, "", &[("add", arguments)]);
        check(&format!("Let me see.\n\n{call}\n{call}\n"), "Let me see.", &[("add", arguments), ("add", arguments)]);
        check(&format!("{call}\nDone.\n"), "Done.\n", &[("add", arguments)]);
    }

    #[test]
    fn a_list_is_so_many_calls() {
        let list = "[{\"name\": \"a\", \"arguments\": {\"x\": 1}}, {\"name\": \"b\"}]";
        check(&format!("<tool_call>{list}</tool_call>"), "", &[("a", "{\"x\": 1}"), ("b", "{}")]);
    }

    #[test]
    fn text_without_calls_is_left_as_it_is() {
        for text in ["", " \n ", "  a <b> c\n", "a < b", "<tool_cal", "</tool_call>", "<tool"] {
            check(text, text, &[]);
        }
    }

    #[test]
    fn what_is_no_call_comes_back_as_text() {
        for text in [
            "a\n<tool_call>\n{\"name\": \"add\"",
            "a <tool_call>{\"name\": \"add\", \"arguments\": {}</tool_call>\nb",
            "<tool_call>\nadd(1, 2)\n</tool_call>",
            "<tool_call>[]</tool_call>",
            "<tool_call>[{\"name\": \"add\"}, 1]</tool_call>",
            "<tool_call>{\"name\": \"\", \"arguments\": {}}</tool_call>",
            "<tool_call>{\"name\": \"add\", \"arguments\": [1]}</tool_call>",
            "<tool_call>{\"name\": \"add\", \"arguments\": {\"a\": \"x}}\n</tool_call>",
        ] {
            check(text, text, &[]);
        }
    }

    #[test]
    fn arguments_may_be_missing_or_a_string_or_hold_the_tag() {
        check("<tool_call>{\"name\": \"now\"}</tool_call>", "", &[("now", "{}")]);
        check("<tool_call>{\"name\": \"now\", \"arguments\": null}</tool_call>", "", &[("now", "{}")]);
        check(
            "<tool_call>{\"name\": \"f\", \"arguments\": \"{\\\"a\\\": 1}\"}</tool_call>",
            "",
            &[("f", "{\"a\": 1}")],
        );
        let tricky = "{\"a\": \"\\\"</tool_call>\\\\\"}";
        check(&format!("<tool_call>{{\"arguments\": {tricky}, \"name\": \"f\"}}</tool_call>"), "", &[("f", tricky)]);
    }

    #[test]
    fn text_passes_at_once_but_for_a_possible_tag() {
        let mut parser = ToolCallParser::new(ToolFormat::Hermes, "seed");
        let text = |text: &str| vec![Piece::Text(text.into())];
        assert_eq!(parser.push("I am"), text("I am"));
        assert_eq!(parser.push(" here <"), text(" here"));
        assert_eq!(parser.push("tool"), []);
        assert_eq!(parser.push("box>"), text(" <toolbox>"));
        assert_eq!(parser.finish(), []);
    }

    #[test]
    fn ids_follow_from_the_seed_and_differ() {
        let call = "<tool_call>{\"name\": \"f\"}</tool_call>";
        let ids = |seed: &str| -> Vec<String> {
            let pieces = ToolCallParser::new(ToolFormat::Hermes, seed).push(&call.repeat(3));
            pieces
                .into_iter()
                .filter_map(|piece| if let Piece::Call(delta) = piece { delta.id } else { None })
                .collect()
        };
        let mut all = [ids("a"), ids("b")].concat();
        assert_eq!(all[..3], ids("a"));
        all.sort();
        all.dedup();
        assert_eq!(all.len(), 6);
        assert!(all.iter().all(|id| id.starts_with("call_")));
    }
}
