//! What a grammar is put together from.
//!
//! The lexer of llguidance takes the longest lexeme that any alternative allows, so that of two texts which may stand
//! in one place none may go on where the other ends and something else begins. Texts that are alternatives are
//! therefore written whole, each as one lexeme with what follows it, and a text of any length together with what ends
//! it ([`Parts::ended`]).

use std::collections::HashMap;
use std::fmt::Write;

use llguidance::api::GrammarWithLexer;
use serde_json::Value;

use super::lark;

/// The tokens of a vocabulary that are no text.
#[derive(Debug, Default)]
pub(super) struct Markers {
    /// Their names and ids.
    pub(super) named: Vec<(String, u32)>,
    /// Those of all tokens that end an answer.
    pub(super) ends: Vec<u32>,
}

/// Rules, and what they refer to.
pub(super) struct Parts<'m> {
    /// Rules and terminals, one a line.
    rules: Vec<String>,
    /// Grammars that rules refer to by `@name`.
    grammars: Vec<GrammarWithLexer>,
    /// Tokens that are no text and stand in what is written, whole or in part.
    markers: Vec<(&'m str, u32)>,
    ends: &'m [u32],
    /// The names of what was defined once already, by what it is.
    known: HashMap<String, String>,
    names: usize,
}

/// A stretch of a text as a model writes it.
enum Piece<'t> {
    Text(&'t str),
    Marker(u32),
}

impl<'m> Parts<'m> {
    /// For what is written with these texts, in a vocabulary with these markers.
    pub(super) fn new(markers: &'m Markers, written_with: &[&str]) -> Self {
        let is_part = |name: &str| !name.is_empty() && written_with.iter().any(|text| text.contains(name));
        let named = markers.named.iter().filter(|(name, _)| is_part(name));
        Self {
            rules: Vec::new(),
            grammars: Vec::new(),
            markers: named.map(|(name, id)| (name.as_str(), *id)).collect(),
            ends: &markers.ends,
            known: HashMap::new(),
            names: 0,
        }
    }

    /// The grammars, that of `start` first.
    pub(super) fn finish(mut self, start: &str) -> Vec<GrammarWithLexer> {
        let mut text = format!("start: {start}");
        self.rules.iter().for_each(|rule| _ = write!(text, "\n{rule}"));
        self.grammars.insert(0, GrammarWithLexer::from_lark(text));
        self.grammars
    }

    /// How many rules and terminals there are.
    pub(super) fn size(&self) -> usize {
        self.rules.len()
    }

    /// A name that no rule has.
    pub(super) fn name(&mut self) -> String {
        self.names += 1;
        format!("r{}", self.names)
    }

    /// Defines a rule by a name of [`Parts::name`].
    pub(super) fn define(&mut self, name: &str, body: &str) {
        self.rules.push(format!("{name}: {body}"));
    }

    /// A rule; its name.
    pub(super) fn rule(&mut self, body: &str) -> String {
        let name = self.name();
        self.define(&name, body);
        name
    }

    /// A terminal; its name.
    pub(super) fn terminal(&mut self, body: &str) -> String {
        if let Some(name) = self.known.get(body) {
            return name.clone();
        }
        self.names += 1;
        let name = format!("T{}", self.names);
        self.rules.push(format!("{name}: {body}"));
        self.known.insert(body.to_owned(), name.clone());
        name
    }

    /// A grammar; the way to refer to it.
    pub(super) fn grammar(&mut self, grammar: GrammarWithLexer) -> String {
        self.names += 1;
        let name = format!("g{}", self.names);
        self.grammars.push(GrammarWithLexer { name: Some(name.clone()), ..grammar });
        format!("@{name}")
    }

    /// A schema that is ready for llguidance, as a grammar; the way to refer to it.
    pub(super) fn schema(&mut self, schema: Value) -> String {
        let text = schema.to_string();
        if let Some(name) = self.known.get(&text) {
            return name.clone();
        }
        let name = self.grammar(GrammarWithLexer::from_json_schema(schema));
        self.known.insert(text, name.clone());
        name
    }

    /// A text, markers in it as their tokens, as a sequence.
    pub(super) fn written(&self, text: &str) -> String {
        sequence(&self.pieces(text))
    }

    /// The same of what an answer ends with: tokens that end it of themselves are left to the end.
    pub(super) fn last(&self, text: &str) -> String {
        let mut pieces = self.pieces(text);
        while let Some(Piece::Marker(id)) = pieces.last()
            && self.ends.contains(id)
        {
            pieces.pop();
        }
        sequence(&pieces)
    }

    /// What a terminal's body allows, and behind it a text, as a sequence. The body must not allow that text, or the
    /// end of it would not be told from the middle.
    pub(super) fn ended(&mut self, body: &str, text: &str) -> String {
        let pieces = self.pieces(text);
        match pieces.split_first() {
            Some((Piece::Text(first), rest)) => {
                let rest = sequence(rest);
                format!("{} {rest}", self.terminal(&format!("({body}) {}", lark::text(first))))
            }
            _ => format!("{} {}", self.terminal(body), sequence(&pieces)),
        }
    }

    /// The same between two texts.
    pub(super) fn around(&mut self, before: &str, body: &str, after: &str) -> String {
        let mut pieces = self.pieces(before);
        match pieces.last() {
            Some(Piece::Text(last)) => {
                let body = format!("{} ({body})", lark::text(last));
                pieces.pop();
                format!("{} {}", sequence(&pieces), self.ended(&body, after))
            }
            _ => format!("{} {}", sequence(&pieces), self.ended(body, after)),
        }
    }

    fn pieces<'t>(&self, text: &'t str) -> Vec<Piece<'t>> {
        let mut pieces = Vec::new();
        let (mut begun, mut at) = (0, 0);
        while at < text.len() {
            let here = self.markers.iter().filter(|(name, _)| text[at..].starts_with(name));
            match here.max_by_key(|(name, _)| name.len()) {
                Some((name, id)) => {
                    pieces.extend((begun < at).then(|| Piece::Text(&text[begun..at])));
                    pieces.push(Piece::Marker(*id));
                    at += name.len();
                    begun = at;
                }
                None => at += text[at..].chars().next().map_or(1, char::len_utf8),
            }
        }
        pieces.extend((begun < at).then(|| Piece::Text(&text[begun..at])));
        pieces
    }
}

fn sequence(pieces: &[Piece<'_>]) -> String {
    let written = |piece: &Piece<'_>| match piece {
        Piece::Text(text) => lark::text(text),
        Piece::Marker(id) => format!("<[{id}]>"),
    };
    if pieces.is_empty() { lark::text("") } else { pieces.iter().map(written).collect::<Vec<_>>().join(" ") }
}

/// The body of a terminal: any text that has none of these words.
pub(super) fn text_without(words: &[&str]) -> String {
    match words {
        [] => "/(?s:.*)/".to_owned(),
        words => format!("/(?s:.*)/ & ~/{}/", having(words)),
    }
}

/// An expression for texts that have one of these words.
pub(super) fn having(words: &[&str]) -> String {
    format!("(?s:.*){}(?s:.*)", lark::choice(words.iter().copied()))
}
