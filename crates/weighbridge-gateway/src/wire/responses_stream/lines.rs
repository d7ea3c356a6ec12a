//! Events on the wire: `event: TYPE`, and `data:` with the same type and a number that counts them.

use std::fmt::Arguments;
use std::io::Write;

use bytes::Bytes;
use serde_json::{Value, json};

/// Writes and counts events.
#[derive(Default)]
pub(super) struct Lines {
    next: u64,
}

impl Lines {
    /// An event with the fields of this object.
    pub(super) fn event(&mut self, out: &mut Vec<u8>, kind: &str, fields: &Value) {
        self.line(out, kind, format_args!("{}", inner(&fields.to_string())));
    }

    /// The same, about what stands at `place` (JSON fields).
    pub(super) fn event_at(&mut self, out: &mut Vec<u8>, kind: &str, place: &str, fields: &Value) {
        self.line(out, kind, format_args!("{place},{}", inner(&fields.to_string())));
    }

    /// A piece of a text. `tail` are further fields, each after a comma.
    pub(super) fn delta_at(&mut self, out: &mut Vec<u8>, kind: &str, place: &str, text: &str, tail: &str) {
        let text = serde_json::to_string(text).expect("a string is JSON");
        self.line(out, kind, format_args!("{place},\"delta\":{text}{tail}"));
    }

    /// An event with these JSON fields.
    pub(super) fn line(&mut self, out: &mut Vec<u8>, kind: &str, fields: Arguments<'_>) {
        let number = self.next;
        self.next += 1;
        write!(out, "event: {kind}\ndata: {{\"type\":\"{kind}\",\"sequence_number\":{number},{fields}}}\n\n")
            .expect("a vector takes all bytes");
    }
}

/// The fields of an object without its braces.
fn inner(object: &str) -> &str {
    object.strip_prefix('{').and_then(|object| object.strip_suffix('}')).unwrap_or_default()
}

/// The event of this number that ends a stream without a response: it failed before there was one, or whoever reads it
/// cannot have the rest. `error` is the body of an error. OpenAI's types have it flat, its service and the Open Responses
/// specification have it as an object: here it is both.
pub(crate) fn error_event(number: u64, error: &Value) -> Bytes {
    let error = &error["error"];
    let event = json!({
        "type": "error", "sequence_number": number,
        "code": error["code"], "message": error["message"], "param": error["param"],
        "error": error,
    });
    Bytes::from(format!("event: error\ndata: {event}\n\n"))
}
