//! Values that are known, as a program has them.

use std::fmt::Write;

use serde_json::Value;

use super::Dialect;
use crate::tools::literal::QUOTE;

/// A value in the words of a language; `None` where it cannot be written: Gemma's strings have no escapes.
pub(super) fn literal(value: &Value, dialect: Dialect) -> Option<String> {
    let python = dialect == Dialect::Python;
    let word = |python_word: &str, other: &str| Some(if python { python_word } else { other }.to_owned());
    match value {
        Value::Null => word("None", "null"),
        Value::Bool(true) => word("True", "true"),
        Value::Bool(false) => word("False", "false"),
        Value::Number(number) => Some(number.to_string()),
        Value::String(text) if python => Some(python_string(text)),
        Value::String(text) => (!text.contains(QUOTE)).then(|| format!("{QUOTE}{text}{QUOTE}")),
        Value::Array(items) => {
            let items: Option<Vec<_>> = items.iter().map(|item| literal(item, dialect)).collect();
            Some(format!("[{}]", items?.join(if python { ", " } else { "," })))
        }
        Value::Object(members) => {
            let member = |(name, value): (&String, &Value)| {
                let (key, value) = (key(name, dialect)?, literal(value, dialect)?);
                Some(format!("{key}{}{value}", if python { ": " } else { ":" }))
            };
            let members: Option<Vec<_>> = members.iter().map(member).collect();
            Some(format!("{{{}}}", members?.join(if python { ", " } else { "," })))
        }
    }
}

/// The key of a member of a map.
pub(super) fn key(name: &str, dialect: Dialect) -> Option<String> {
    match dialect {
        Dialect::Gemma if is_word(name) => Some(name.to_owned()),
        _ => literal(&name.into(), dialect),
    }
}

/// Whether a text can stand where a name does.
pub(super) fn is_word(text: &str) -> bool {
    (1..=128).contains(&text.len()) && text.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '-'))
}

fn python_string(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            // Writing to a string does not fail.
            c if c < ' ' || c == '\u{7f}' => _ = write!(out, "\\x{:02x}", u32::from(c)),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_are_written_as_the_language_has_them() {
        let value = json!([null, true, -2.5, "a \"b\"\n\u{1}", {"x y": [], "z": false}]);
        let python = "[None, True, -2.5, \"a \\\"b\\\"\\n\\x01\", {\"x y\": [], \"z\": False}]";
        assert_eq!(literal(&value, Dialect::Python).as_deref(), Some(python));
        let gemma = "[null,true,-2.5,<|\"|>a \"b\"\n\u{1}<|\"|>,{<|\"|>x y<|\"|>:[],z:false}]";
        assert_eq!(literal(&value, Dialect::Gemma).as_deref(), Some(gemma));
        assert_eq!(literal(&json!(["a<|\"|>"]), Dialect::Gemma), None);
    }
}
