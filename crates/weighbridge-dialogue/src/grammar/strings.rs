//! Strings that a model writes bare, without quotes and escapes, by what a schema says of them.

use llguidance::derivre::{RegexAst, RegexBuilder};
use serde_json::{Map, Value};

use super::schema::Place;
use super::{GrammarError, formats, lark};

/// Strings by expressions: they match all of some, and none of others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Bare {
    pub(super) all: Vec<String>,
    pub(super) none: Vec<String>,
}

impl Bare {
    /// The body of a terminal.
    pub(super) fn body(&self) -> String {
        let all = self.all.iter().map(|expression| format!("/{expression}/"));
        let none = self.none.iter().map(|expression| format!("~/{expression}/"));
        all.chain(none).collect::<Vec<_>>().join(" & ")
    }

    /// Whether there is such a string, as far as some work tells.
    fn is_possible(&self) -> Result<bool, GrammarError> {
        const WORK: u64 = 10_000;
        let expression = |text: &String| RegexAst::Regex(text.clone());
        let none = self.none.iter().map(|text| RegexAst::Not(Box::new(expression(text))));
        let ast = RegexAst::And(self.all.iter().map(expression).chain(none).collect());
        let mut builder = RegexBuilder::new();
        let failed = |error: String| GrammarError::new(super::told(&error));
        let expression = builder.mk(&ast).map_err(|error| failed(error.to_string()))?;
        let regex = builder.to_regex_limited(expression, WORK);
        Ok(!regex.map_err(|error| failed(error.to_string()))?.always_empty())
    }
}

/// The strings that these keywords of a schema allow, but for those that match one of `none`.
///
/// # Errors
/// Where a keyword is not understood, or not to be held in a string without quotes, and where no string is left: with
/// the place.
pub(super) fn bare(keys: &Map<String, Value>, none: &[String], place: &Place<'_>) -> Result<Bare, GrammarError> {
    let nothing = || place.error("allows no string that could be written");
    let mut all = match listed(keys) {
        None => Vec::new(),
        Some(texts) if texts.is_empty() => return Err(nothing()),
        Some(texts) => vec![lark::choice(texts)],
    };
    if let Some(pattern) = keys.get("pattern") {
        all.push(search(pattern, &place.key("pattern"))?);
    }
    for schema in keys.get("allOf").and_then(Value::as_array).into_iter().flatten() {
        all.push(search(schema.get("pattern").unwrap_or(schema), &place.key("allOf"))?);
    }
    if let Some(format) = keys.get("format") {
        let pattern = format.as_str().and_then(formats::bare);
        all.push(pattern.map(|pattern| llguidance::regex_to_lark(&pattern, "")).ok_or_else(|| {
            place.key("format").error(&format!("is {format}, which cannot be held in a string without quotes"))
        })?);
    }
    let is_plain = all.is_empty();
    all.extend(length(keys, place)?);
    if all.is_empty() {
        all.push("(?s:.*)".to_owned());
    }
    let bare = Bare { all, none: none.to_vec() };
    if is_plain || bare.is_possible()? { Ok(bare) } else { Err(nothing()) }
}

/// The strings that `enum` or `const` names, where one of them is there.
fn listed(keys: &Map<String, Value>) -> Option<Vec<&str>> {
    if let Some(value) = keys.get("const") {
        return Some(value.as_str().into_iter().collect());
    }
    let values = keys.get("enum")?.as_array()?;
    Some(values.iter().filter_map(Value::as_str).collect())
}

fn length(keys: &Map<String, Value>, place: &Place<'_>) -> Result<Option<String>, GrammarError> {
    let bound = |keyword: &str| match keys.get(keyword) {
        None => Ok(None),
        Some(value) => match value.as_u64().and_then(|bound| u32::try_from(bound).ok()) {
            Some(bound) => Ok(Some(bound)),
            None => Err(place.key(keyword).error("is no whole number below 2^32")),
        },
    };
    let (least, most) = (bound("minLength")?, bound("maxLength")?);
    if least.is_none() && most.is_none() {
        return Ok(None);
    }
    let least = least.unwrap_or(0);
    if most.is_some_and(|most| most < least) {
        return Err(place.key("maxLength").error("is below minLength"));
    }
    let most = most.map(|most| most.to_string()).unwrap_or_default();
    Ok(Some(format!("(?s:.{{{least},{most}}})")))
}

/// Texts in which a pattern is found, as JSON Schema has it: anywhere, unless it is anchored.
fn search(pattern: &Value, place: &Place<'_>) -> Result<String, GrammarError> {
    let Some(pattern) = pattern.as_str() else { return Err(place.error("is no pattern")) };
    if sets_flags(pattern) {
        return Err(place.error("sets flags within the pattern, which is not understood"));
    }
    let options = options(pattern).into_iter().map(|option| {
        let (start, option) = match option.strip_prefix('^') {
            Some(rest) => ("", rest),
            None => ("(?s:.*)", option),
        };
        let (option, end) = match lark::before_end_anchor(option) {
            Some(rest) => (rest, ""),
            None => (option, "(?s:.*)"),
        };
        // Classes are those of ECMAScript, as the rest of a pattern is.
        format!("{start}(?:{}){end}", llguidance::regex_to_lark(option, "dw"))
    });
    Ok(options.collect::<Vec<_>>().join("|"))
}

/// The alternatives of a pattern, of which each may be anchored by itself.
fn options(pattern: &str) -> Vec<&str> {
    let (mut options, mut begun) = (Vec::new(), 0);
    let (mut depth, mut in_class, mut escaped) = (0_usize, false, false);
    for (at, c) in pattern.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            ']' => in_class = false,
            _ if in_class => {}
            '[' => in_class = true,
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            '|' if depth == 0 => {
                options.push(&pattern[begun..at]);
                begun = at + 1;
            }
            _ => {}
        }
    }
    options.push(&pattern[begun..]);
    options
}

/// Whether there is `(?i)` or the like, which ECMAScript does not have.
fn sets_flags(pattern: &str) -> bool {
    let mut groups = pattern.split("(?").skip(1);
    groups.any(|group| group.starts_with(|c: char| c.is_ascii_alphabetic() && c != 'P' || c == '-'))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn bare_of(schema: &Value) -> String {
        let keys = schema.as_object().cloned().unwrap_or_default();
        let bare = bare(&keys, &["(?s:.*)<(?s:.*)".to_owned()], &Place::root());
        bare.map_or_else(|error| error.to_string(), |bare| bare.body())
    }

    #[test]
    fn keywords_become_expressions() {
        for (schema, expected) in [
            (json!({}), "/(?s:.*)/"),
            (json!({"enum": ["a", 1, "b.c"]}), r"/(?:a|b\.c)/"),
            (json!({"const": "a/b"}), r"/(?:a\/b)/"),
            (json!({"minLength": 2}), "/(?s:.{2,})/"),
            (json!({"maxLength": 5, "pattern": "^[a-z]+$"}), "/(?:[a-z]+)/ & /(?s:.{0,5})/"),
            (json!({"pattern": r"\d|^x$|y\$"}), r"/(?s:.*)(?:[0-9])(?s:.*)|(?:x)|(?s:.*)(?:y\$)(?s:.*)/"),
            (json!({"pattern": "[|]a|(b|c)"}), "/(?s:.*)(?:[|]a)(?s:.*)|(?s:.*)(?:(b|c))(?s:.*)/"),
        ] {
            assert_eq!(bare_of(&schema), format!("{expected} & ~/(?s:.*)<(?s:.*)/"), "{schema}");
        }
    }

    #[test]
    fn what_is_not_understood_is_named() {
        for (schema, expected) in [
            (json!({"format": "iso-country"}), "#/format is \"iso-country\""),
            (json!({"minLength": -1}), "#/minLength"),
            (json!({"minLength": 3, "maxLength": 2}), "#/maxLength"),
            (json!({"pattern": "(?i)a"}), "#/pattern sets flags"),
            (json!({"pattern": 1}), "#/pattern"),
            (json!({"enum": [1]}), "allows no string"),
            (json!({"const": "a < b"}), "allows no string"),
            (json!({"pattern": "^a$", "minLength": 2}), "allows no string"),
            (json!({"pattern": "(?=a)b"}), "look-around"),
            (json!({"pattern": "(x|^a)b"}), "look"),
        ] {
            assert!(bare_of(&schema).contains(expected), "{schema}: {}", bare_of(&schema));
        }
    }
}
