//! The tags of a template, read as Jinja's lexer reads them.

use std::ops::Range;

/// What may stand in an expression and make it no plain sum.
const OTHER_OPERATORS: [&str; 17] =
    ["-", "*", "/", "%", "~", "<", ">", "=", "!", ",", ":", "if", "and", "or", "not", "in", "is"];

/// What a tag does. Comments are none.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum TagKind {
    /// `{{ … }}`
    Expression,
    /// `{% … %}`
    Statement,
}

/// The tags of a source, in order; what stands in comments and raw blocks is text.
pub(super) struct Tags<'a> {
    source: &'a str,
    at: usize,
}

impl<'a> Tags<'a> {
    pub(super) fn of(source: &'a str) -> Self {
        Self { source, at: 0 }
    }
}

impl<'a> Iterator for Tags<'a> {
    type Item = Tag<'a>;

    fn next(&mut self) -> Option<Tag<'a>> {
        let source = self.source;
        loop {
            let start = self.at + source.as_bytes().get(self.at..)?.windows(2).position(opens)?;
            let kind = match source.as_bytes()[start + 1] {
                b'#' => {
                    self.at = source[start + 2..].find("#}").map_or(source.len(), |end| start + 2 + end + 2);
                    continue;
                }
                b'%' => TagKind::Statement,
                _ => TagKind::Expression,
            };
            let tag = Tag::read(source, start, kind);
            let is_raw = kind == TagKind::Statement && tag.len() == 1 && tag.word(0) == Some("raw");
            self.at = if is_raw { end_of_raw(source, tag.end) } else { tag.end };
            return Some(tag);
        }
    }
}

fn opens(bytes: &[u8]) -> bool {
    matches!(bytes, b"{{" | b"{%" | b"{#")
}

/// Returns where the statement begins that ends a raw block, whose text is no template.
fn end_of_raw(source: &str, from: usize) -> usize {
    source[from..]
        .match_indices("{%")
        .map(|(at, _)| from + at)
        .find(|at| {
            let name = source[at + 2..].trim_start_matches(['-', '+']).trim_start();
            name.strip_prefix("endraw").is_some_and(|rest| {
                let rest = rest.trim_start();
                rest.strip_prefix(['-', '+']).unwrap_or(rest).starts_with("%}")
            })
        })
        .unwrap_or(source.len())
}

/// A tag, divided into words, strings and single signs.
pub(super) struct Tag<'a> {
    /// What it does.
    pub(super) kind: TagKind,
    /// Where it begins.
    pub(super) start: usize,
    source: &'a str,
    tokens: Vec<Token>,
    /// Where the source goes on after the tag.
    end: usize,
}

struct Token {
    range: Range<usize>,
    /// Brackets around it.
    depth: usize,
}

impl<'a> Tag<'a> {
    fn read(source: &'a str, start: usize, kind: TagKind) -> Self {
        let close = if kind == TagKind::Statement { b"%}" } else { b"}}" };
        let bytes = source.as_bytes();
        let (mut at, mut depth, mut tokens) = (start + 2, 0_usize, Vec::new());
        // Whether the tag trims what stands before it, which is no part of the statement.
        at += usize::from(matches!(bytes.get(at), Some(b'-' | b'+')));
        while at < bytes.len() {
            if depth == 0 && (bytes[at..].starts_with(close) || closes_trimming(&bytes[at..], close)) {
                break;
            }
            let end = token_end(bytes, at);
            match bytes[at] {
                b'(' | b'[' | b'{' => depth += 1,
                b')' | b']' | b'}' => depth = depth.saturating_sub(1),
                _ => {}
            }
            if !bytes[at].is_ascii_whitespace() {
                tokens.push(Token { range: at..end, depth });
            }
            at = end;
        }
        let end =
            (at + source[at..].find(str::from_utf8(close).unwrap_or_default()).unwrap_or(0) + 2).min(source.len());
        Self { kind, start, source, tokens, end }
    }

    /// How many tokens it has.
    pub(super) fn len(&self) -> usize {
        self.tokens.len()
    }

    /// The token, as text.
    pub(super) fn word(&self, index: usize) -> Option<&'a str> {
        self.tokens.get(index).map(|token| &self.source[token.range.clone()])
    }

    /// The first token outside brackets that reads `word`, from token `from` on.
    fn find(&self, word: &str, from: usize) -> Option<usize> {
        (from..self.tokens.len()).find(|&index| self.tokens[index].depth == 0 && self.word(index) == Some(word))
    }

    /// Where the tokens stand; `None` where there are none.
    pub(super) fn range(&self, tokens: Range<usize>) -> Option<Range<usize>> {
        let tokens = self.tokens.get(tokens)?;
        Some(tokens.first()?.range.start..tokens.last()?.range.end)
    }

    /// Whether it reads the variable: the word stands there, and neither as an attribute nor to be set.
    pub(super) fn reads(&self, name: &str) -> bool {
        (0..self.len()).any(|index| {
            let before = index.checked_sub(1).and_then(|before| self.word(before));
            let is_set = self.word(index + 1) == Some("=") && self.word(index + 2) != Some("=");
            self.word(index) == Some(name) && before != Some(".") && !is_set
        })
    }

    /// What is added up, where that is all the tag does and something in it is marked safe.
    pub(super) fn summands_of_markup(&self) -> Vec<Range<usize>> {
        let words = || {
            (0..self.tokens.len()).filter(|&index| self.tokens[index].depth == 0).filter_map(|index| self.word(index))
        };
        let is_marked = words().zip(words().skip(1)).any(|pair| pair == ("|", "safe"));
        let is_sum = self.find("+", 0).is_some() && !words().any(|word| OTHER_OPERATORS.contains(&word));
        if !(is_marked && is_sum) {
            return Vec::new();
        }
        let mut summands = Vec::new();
        let mut start = 0;
        while let Some(plus) = self.find("+", start) {
            summands.extend(self.range(start..plus));
            start = plus + 1;
        }
        summands.extend(self.range(start..self.tokens.len()));
        summands
    }

    /// What a `for` goes through.
    pub(super) fn iterated(&self) -> Option<Range<usize>> {
        let start = self.find("in", 1)? + 1;
        let end = [self.find("if", start), self.find("recursive", start)].into_iter().flatten().min();
        self.range(start..end.unwrap_or(self.tokens.len()))
    }

    /// What a `set` keeps, and whether in a namespace; `None` where the block that follows is kept.
    pub(super) fn stored(&self) -> Option<(Range<usize>, bool)> {
        let equals = self.find("=", 1)?;
        let in_namespace = self.find(".", 1).is_some_and(|dot| dot < equals);
        Some((self.range(equals + 1..self.tokens.len())?, in_namespace))
    }
}

/// Whether a tag ends here that trims what follows.
fn closes_trimming(bytes: &[u8], close: &[u8]) -> bool {
    matches!(bytes.first(), Some(b'-' | b'+')) && bytes[1..].starts_with(close)
}

/// Returns where the token ends that begins at `at`.
fn token_end(bytes: &[u8], at: usize) -> usize {
    let is_word = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_' || !byte.is_ascii();
    match bytes[at] {
        quote @ (b'"' | b'\'') => {
            let mut end = at + 1;
            while end < bytes.len() && bytes[end] != quote {
                end += if bytes[end] == b'\\' { 2 } else { 1 };
            }
            (end + 1).min(bytes.len())
        }
        byte if is_word(&byte) => {
            bytes[at..].iter().position(|byte| !is_word(byte)).map_or(bytes.len(), |length| at + length)
        }
        _ => at + 1,
    }
}
