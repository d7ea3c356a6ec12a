//! Writing grammars in llguidance's kind of Lark.

use serde_json::Value;

/// A literal text. Lark's strings are JSON's, but that a control character is only written as an escape.
pub(super) fn text(text: &str) -> String {
    Value::from(text).to_string().replace('\u{7f}', "\\u007f")
}

/// A regular expression as a terminal: the syntax of Rust's `regex`.
pub(super) fn regex(expression: &str) -> String {
    format!("/{}/", llguidance::regex_to_lark(expression, ""))
}

/// A literal text or, where the vocabulary has a marker of that name, the marker.
pub(super) fn marker(name: &str, id: Option<u32>) -> String {
    match id {
        Some(id) => format!("<[{id}]>"),
        None => text(name),
    }
}
