//! JSON text followed a character at a time, so that what was let through is always the beginning of a value.

/// Deepest nesting that is followed: `serde_json` reads 127 levels, and a value may stand within others.
const MAX_DEPTH: usize = 100;

/// What became of a character.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scanned {
    /// It belongs to the value, which goes on.
    More,
    /// It is the last of the value.
    Done,
    /// The value, a number, ended before it.
    Before,
    /// No value goes on with it.
    Bad,
}

/// A value under way. White space before it is taken for a part of it.
#[derive(Clone, Debug)]
pub(crate) struct Scan {
    /// The containers open, outermost first: whether each is an object.
    open: Vec<bool>,
    at: At,
}

#[derive(Clone, Copy, Debug)]
enum At {
    Value,
    /// After `[`.
    Item,
    /// After `{`.
    FirstKey,
    /// After a comma in an object.
    Key,
    Colon,
    /// After a value within a container.
    Comma,
    Text(Text),
    Number(Number),
    /// What is left of `true`, `false` or `null`.
    Word(&'static str),
}

#[derive(Clone, Copy, Debug)]
struct Text {
    is_key: bool,
    escape: Escape,
    /// The first half of a character beyond U+FFFF was escaped, and the second has to follow.
    half: bool,
}

#[derive(Clone, Copy, Debug)]
enum Escape {
    None,
    Begun,
    Code { digits: u8, code: u32 },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Number {
    Minus,
    Zero,
    Whole,
    Point,
    Fraction,
    Exponent,
    ExponentSign,
    ExponentDigits,
}

impl Default for Scan {
    fn default() -> Self {
        Self { open: Vec::new(), at: At::Value }
    }
}

impl Scan {
    /// Takes the next character, and writes what becomes of it. That is the character itself, but for line breaks and
    /// other controls within a string: many models write them as they are, and JSON has them escaped.
    pub(crate) fn step(&mut self, c: char, out: &mut String) -> Scanned {
        if let At::Text(text) = self.at {
            return self.text(text, c, out);
        }
        if let At::Number(number) = self.at {
            match number.next(c) {
                Some(next) => {
                    self.at = At::Number(next);
                    out.push(c);
                    return Scanned::More;
                }
                None if !number.is_whole() => return Scanned::Bad,
                None if self.open.is_empty() => return Scanned::Before,
                None => self.at = At::Comma,
            }
        }
        let scanned = self.between(c);
        if scanned != Scanned::Bad {
            out.push(c);
        }
        scanned
    }

    /// Whether it is within a string.
    pub(crate) fn is_in_text(&self) -> bool {
        matches!(self.at, At::Text(_))
    }

    fn between(&mut self, c: char) -> Scanned {
        if let At::Word(word) = self.at {
            return match word.strip_prefix(c) {
                Some("") => self.end_value(),
                Some(rest) => self.go(At::Word(rest)),
                None => Scanned::Bad,
            };
        }
        if matches!(c, ' ' | '\n' | '\r' | '\t') {
            return Scanned::More;
        }
        match (self.at, c) {
            (At::Item, ']') | (At::FirstKey, '}') => self.close(),
            (At::Value | At::Item, _) => self.value(c),
            (At::FirstKey | At::Key, '"') => {
                self.go(At::Text(Text { is_key: true, escape: Escape::None, half: false }))
            }
            (At::Colon, ':') => self.go(At::Value),
            (At::Comma, ',') if self.open.last() == Some(&true) => self.go(At::Key),
            (At::Comma, ',') => self.go(At::Value),
            (At::Comma, '}') if self.open.last() == Some(&true) => self.close(),
            (At::Comma, ']') if self.open.last() == Some(&false) => self.close(),
            _ => Scanned::Bad,
        }
    }

    fn value(&mut self, c: char) -> Scanned {
        match c {
            '{' | '[' if self.open.len() == MAX_DEPTH => Scanned::Bad,
            '{' => {
                self.open.push(true);
                self.go(At::FirstKey)
            }
            '[' => {
                self.open.push(false);
                self.go(At::Item)
            }
            '"' => self.go(At::Text(Text { is_key: false, escape: Escape::None, half: false })),
            't' => self.go(At::Word("rue")),
            'f' => self.go(At::Word("alse")),
            'n' => self.go(At::Word("ull")),
            '-' => self.go(At::Number(Number::Minus)),
            '0' => self.go(At::Number(Number::Zero)),
            '1'..='9' => self.go(At::Number(Number::Whole)),
            _ => Scanned::Bad,
        }
    }

    fn go(&mut self, at: At) -> Scanned {
        self.at = at;
        Scanned::More
    }

    fn close(&mut self) -> Scanned {
        self.open.pop();
        self.end_value()
    }

    fn end_value(&mut self) -> Scanned {
        if self.open.is_empty() { Scanned::Done } else { self.go(At::Comma) }
    }

    fn text(&mut self, text: Text, c: char, out: &mut String) -> Scanned {
        let Some((escape, half)) = text.next(c) else { return Scanned::Bad };
        push_in_string(c, out);
        if matches!(text.escape, Escape::None) && c == '"' {
            return if text.is_key { self.go(At::Colon) } else { self.end_value() };
        }
        self.go(At::Text(Text { escape, half, ..text }))
    }
}

impl Text {
    /// Where a character leads: the escape under way, and whether half a character waits for the other.
    fn next(self, c: char) -> Option<(Escape, bool)> {
        match (self.escape, c) {
            (Escape::None, '\\') => Some((Escape::Begun, self.half)),
            (Escape::None, _) if self.half => None,
            (Escape::None, _) => Some((Escape::None, false)),
            (Escape::Begun, 'u') => Some((Escape::Code { digits: 0, code: 0 }, self.half)),
            (Escape::Begun, '"' | '\\' | '/' | 'b' | 'f' | 'n' | 'r' | 't') if !self.half => {
                Some((Escape::None, false))
            }
            (Escape::Begun, _) => None,
            (Escape::Code { digits, code }, _) => {
                let code = code << 4 | c.to_digit(16)?;
                if digits < 3 {
                    return Some((Escape::Code { digits: digits + 1, code }, self.half));
                }
                match (code, self.half) {
                    (0xdc00..=0xdfff, half) => half.then_some((Escape::None, false)),
                    (_, true) => None,
                    (0xd800..=0xdbff, false) => Some((Escape::None, true)),
                    (_, false) => Some((Escape::None, false)),
                }
            }
        }
    }
}

impl Number {
    fn next(self, c: char) -> Option<Self> {
        match (self, c) {
            (Self::Minus, '0') => Some(Self::Zero),
            (Self::Minus, '1'..='9') | (Self::Whole, '0'..='9') => Some(Self::Whole),
            (Self::Zero | Self::Whole, '.') => Some(Self::Point),
            (Self::Point | Self::Fraction, '0'..='9') => Some(Self::Fraction),
            (Self::Zero | Self::Whole | Self::Fraction, 'e' | 'E') => Some(Self::Exponent),
            (Self::Exponent, '+' | '-') => Some(Self::ExponentSign),
            (Self::Exponent | Self::ExponentSign | Self::ExponentDigits, '0'..='9') => Some(Self::ExponentDigits),
            _ => None,
        }
    }

    fn is_whole(self) -> bool {
        matches!(self, Self::Zero | Self::Whole | Self::Fraction | Self::ExponentDigits)
    }
}

/// The JSON text of a value, where a text is one and nothing else: the text itself, but for controls in strings.
pub(crate) fn json(text: &str) -> Option<String> {
    let (mut scan, mut out) = (Scan::default(), String::with_capacity(text.len()));
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match scan.step(c, &mut out) {
            Scanned::More => {}
            Scanned::Done => return chars.as_str().is_empty().then_some(out),
            Scanned::Before | Scanned::Bad => return None,
        }
    }
    let is_number = matches!(scan.at, At::Number(number) if number.is_whole());
    (is_number && scan.open.is_empty()).then_some(out)
}

/// Writes a character of a JSON string that is escaped already, but for controls.
fn push_in_string(c: char, out: &mut String) {
    if c < ' ' { push_escaped(c, out) } else { out.push(c) }
}

/// Writes a character as it stands in a JSON string.
pub(crate) fn push_escaped(c: char, out: &mut String) {
    match c {
        '"' => out.push_str("\\\""),
        '\\' => out.push_str("\\\\"),
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        c if c < ' ' => out.push_str(&format!("\\u{:04x}", u32::from(c))),
        c => out.push(c),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    /// What comes of a text, and how much of it was taken.
    fn scan(text: &str) -> (String, Scanned, usize) {
        let (mut scan, mut out) = (Scan::default(), String::new());
        for (at, c) in text.char_indices() {
            match scan.step(c, &mut out) {
                Scanned::More => {}
                Scanned::Done => return (out, Scanned::Done, at + c.len_utf8()),
                end => return (out, end, at),
            }
        }
        (out, Scanned::More, text.len())
    }

    #[test]
    fn a_value_ends_where_it_is_whole() {
        for (text, end) in [
            ("{\"a\": [1, -2.5e+3, \"x\\\"}\", true, null, {}], \"b\": []} rest", 52),
            ("\"a\" \"b\"", 3),
            ("[[]]]", 4),
            ("false!", 5),
        ] {
            assert_eq!(scan(text), (text[..end].into(), Scanned::Done, end), "{text}");
        }
        assert_eq!(scan("12,"), ("12".into(), Scanned::Before, 2));
    }

    #[test]
    fn what_is_no_json_is_noticed_at_once() {
        for (text, at) in [
            ("{a", 1),
            ("{\"a\" 1", 5),
            ("{\"a\": 01", 7),
            ("[1,]", 3),
            ("[1}", 2),
            ("{,", 1),
            ("{\"a\": 1,}", 8),
            ("nul!", 3),
            ("-x", 1),
            ("1.x", 2),
            ("\"\\x", 2),
            ("\"\\ud800x", 7),
            ("\"\\ud800\\n", 8),
            ("\"\\udc00", 6),
            ("True", 0),
        ] {
            let (_, scanned, end) = scan(text);
            assert_eq!((scanned, end), (Scanned::Bad, at), "{text}");
        }
        let deep = "[".repeat(MAX_DEPTH + 1);
        assert_eq!(scan(&deep).2, MAX_DEPTH);
    }

    #[test]
    fn controls_in_strings_are_escaped() {
        assert_eq!(scan("\"a\nb\t\u{1}\"").0, "\"a\\nb\\t\\u0001\"");
        assert_eq!(scan("\"\\ud83e\\udd8a\"").1, Scanned::Done);
    }

    proptest! {
        #[test]
        fn what_is_done_is_json(text in "[\\[\\]{}:,\" a0-2\\\\u.eE+n-]{0,24}") {
            let (out, scanned, _) = scan(&text);
            if scanned == Scanned::Done {
                prop_assert!(serde_json::from_str::<Value>(&out).is_ok(), "{}", out);
            }
            if let Ok(value) = serde_json::from_str::<Value>(&text) && !value.is_number() {
                prop_assert_eq!(scanned, Scanned::Done);
            }
        }
    }
}
