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

/// A text as a regular expression, fit to stand between slashes.
pub(super) fn escaped(text: &str) -> String {
    const SIGNS: &str = "\\.+*?()|[]{}^$#&-~";
    let escaped: String =
        text.chars().flat_map(|it| SIGNS.contains(it).then_some('\\').into_iter().chain([it])).collect();
    llguidance::regex_to_lark(&escaped, "")
}

/// An expression that is one of these texts, fit to stand between slashes.
pub(super) fn choice<'t>(texts: impl IntoIterator<Item = &'t str>) -> String {
    format!("(?:{})", texts.into_iter().map(escaped).collect::<Vec<_>>().join("|"))
}

/// What stands before the `$` that ends an expression, where one does. One that is escaped is no anchor.
pub(super) fn before_end_anchor(expression: &str) -> Option<&str> {
    let rest = expression.strip_suffix('$')?;
    (rest.bytes().rev().take_while(|&byte| byte == b'\\').count() % 2 == 0).then_some(rest)
}
