//! Patterns of names.

use std::fmt;
use std::sync::Arc;

/// A pattern: `*` stands for any run of characters, also for none; all else is literal, case included.
///
/// ```
/// use weighbridge_policy::Pattern;
///
/// assert!(Pattern::new("openai/*").matches("openai/gpt-5-mini"));
/// assert!(!Pattern::new("openai/*").matches("openai"));
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Pattern(Arc<str>);

impl Pattern {
    /// The pattern that `text` is; every text is one.
    pub fn new(text: &str) -> Self {
        Self(text.into())
    }

    /// Whether the whole of `text` matches, in time linear in its length and the pattern's.
    ///
    /// Between two stars the leftmost place is always as good as any later one, so nothing is ever tried
    /// twice: a text from outside cannot make it slow.
    pub fn matches(&self, text: &str) -> bool {
        let Some((head, rest)) = self.0.split_once('*') else {
            return &*self.0 == text;
        };
        let (middle, tail) = rest.rsplit_once('*').unwrap_or(("", rest));
        let Some(mut open) = text.strip_prefix(head).and_then(|text| text.strip_suffix(tail)) else {
            return false;
        };
        for piece in middle.split('*') {
            match open.find(piece) {
                Some(at) => open = &open[at + piece.len()..],
                None => return false,
            }
        }
        true
    }

    /// The pattern as it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it matches one text only: itself.
    pub fn is_literal(&self) -> bool {
        !self.0.contains('*')
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// Whether a list of patterns takes `text`; an empty list takes everything.
pub(crate) fn takes(patterns: &[Pattern], text: &str) -> bool {
    patterns.is_empty() || patterns.iter().any(|pattern| pattern.matches(text))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(pattern: &str, takes: &[&str], refuses: &[&str]) {
        for text in takes {
            assert!(Pattern::new(pattern).matches(text), "{pattern:?} should take {text:?}");
        }
        for text in refuses {
            assert!(!Pattern::new(pattern).matches(text), "{pattern:?} should refuse {text:?}");
        }
    }

    #[test]
    fn a_star_stands_for_any_run_of_characters() {
        check("demo", &["demo"], &["", "demo2", "a demo", "Demo"]);
        check("", &[""], &["a"]);
        check("*", &["", "a", "openai/gpt"], &[]);
        check("openai/*", &["openai/", "openai/gpt"], &["openai", "xopenai/gpt"]);
        check("*-mini", &["-mini", "gpt-5-mini"], &["gpt-5-mini-2"]);
        check("a*b*c", &["abc", "a-b-c", "abbcc", "abcbc"], &["ac", "acb", "cba"]);
        check("a**c", &["ac", "abc"], &["a", "c"]);
        check("größe*", &["größe", "größer"], &["grösse"]);
    }

    #[test]
    fn head_and_tail_do_not_overlap() {
        check("ab*ba", &["abba", "ab-ba"], &["aba"]);
        check("*aa*aa*", &["aaaa", "aa-aa"], &["aaa"]);
    }

    #[test]
    fn a_hostile_text_is_decided_at_once() {
        let pattern = Pattern::new(&"a*".repeat(1000));
        assert!(!pattern.matches(&("a".repeat(999) + &"b".repeat(100_000))));
        assert!(pattern.matches(&"a".repeat(100_000)));
    }

    #[test]
    fn a_pattern_without_a_star_is_literal() {
        assert!(Pattern::new("demo").is_literal());
        assert!(!Pattern::new("demo*").is_literal());
        assert_eq!(Pattern::new("a*").as_str(), "a*");
    }

    /// The definition, plain and exponential.
    fn by_definition(pattern: &[u8], text: &[u8]) -> bool {
        match pattern.split_first() {
            None => text.is_empty(),
            Some((b'*', rest)) => (0..=text.len()).any(|skipped| by_definition(rest, &text[skipped..])),
            Some((byte, rest)) => text.first() == Some(byte) && by_definition(rest, &text[1..]),
        }
    }

    proptest! {
        #[test]
        fn it_agrees_with_the_definition(pattern in "[ab*]{0,7}", text in "[ab]{0,8}") {
            prop_assert_eq!(
                Pattern::new(&pattern).matches(&text),
                by_definition(pattern.as_bytes(), text.as_bytes())
            );
        }
    }
}
