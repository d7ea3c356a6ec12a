//! From what was asked for to one grammar.

use llguidance::api::{GrammarWithLexer, TopLevelGrammar};
use serde_json::json;
use weighbridge_backend::{Constraint, ToolChoice};

use super::calls::{self, CallForm};
use super::{GrammarError, MAX_BYTES, lark, schema};

/// What an answer must be.
#[derive(Clone, Copy, Debug, Default)]
pub struct Form<'a> {
    /// What may come before it.
    pub thinking: Thinking<'a>,
    /// What its text must be; `None` is any text.
    pub constraint: Option<&'a Constraint>,
    /// The calls that it may or must make.
    pub calls: Option<Calls<'a>>,
}

/// Whether the model thinks before it answers, which nothing is asked of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Thinking<'a> {
    /// It does not.
    #[default]
    None,
    /// The prompt has begun its thoughts: the answer follows this text.
    Begun {
        /// Ends the thoughts.
        close: &'a str,
    },
    /// It may, between these texts.
    May {
        /// Begins the thoughts.
        open: &'a str,
        /// Ends them.
        close: &'a str,
    },
}

/// Calls under a grammar.
#[derive(Clone, Copy, Debug)]
pub struct Calls<'a> {
    /// How the model writes them.
    pub shape: &'a CallForm,
    /// The tools that were announced.
    pub tools: &'a [weighbridge_backend::Tool],
    /// Which of them may or must be called.
    pub choice: &'a ToolChoice,
    /// Whether one answer may have several.
    pub several: bool,
}

/// What a grammar is put together from.
pub(super) struct Parts<'m> {
    /// Rules and terminals, one a line.
    pub(super) rules: Vec<String>,
    /// Grammars that rules refer to by `@name`.
    pub(super) grammars: Vec<GrammarWithLexer>,
    /// The ids of markers by their names.
    pub(super) marker: &'m dyn Fn(&str) -> Option<u32>,
}

impl Parts<'_> {
    /// A schema as the grammar of that name; the way to refer to it.
    pub(super) fn schema(&mut self, name: &str, schema: serde_json::Value) -> String {
        let grammar = GrammarWithLexer::from_json_schema(schema);
        self.grammars.push(GrammarWithLexer { name: Some(name.to_owned()), ..grammar });
        format!("@{name}")
    }

    /// A text in which some words are markers, as a sequence.
    pub(super) fn written(&self, text: &str, markers: &[String]) -> String {
        let mut rest = text;
        let mut sequence = Vec::new();
        let next = |rest: &str| {
            let found = markers.iter().filter(|marker| !marker.is_empty());
            found.filter_map(|marker| Some((rest.find(marker.as_str())?, marker.as_str()))).min()
        };
        while let Some((at, marker)) = next(rest) {
            sequence.extend((at > 0).then(|| lark::text(&rest[..at])));
            sequence.push(lark::marker(marker, (self.marker)(marker)));
            rest = &rest[at + marker.len()..];
        }
        sequence.extend((!rest.is_empty()).then(|| lark::text(rest)));
        if sequence.is_empty() { lark::text("") } else { sequence.join(" ") }
    }

    /// Rules by which any text ends with the first `marker`. The name of the rule.
    pub(super) fn up_to(&mut self, name: &str, marker: &str) -> String {
        match (self.marker)(marker) {
            Some(id) => self.rules.push(format!("{name}: ANY_TEXT? <[{id}]>")),
            None => self.rules.push(format!("{name}[lazy]: /(?s:.*){}/", slashes(&escaped(marker)))),
        }
        name.to_owned()
    }
}

/// A text as a regular expression.
pub(super) fn escaped(text: &str) -> String {
    const SIGNS: &str = "\\.+*?()|[]{}^$#&-~";
    text.chars().flat_map(|it| SIGNS.contains(it).then_some('\\').into_iter().chain([it])).collect()
}

/// A regular expression as it stands between slashes.
pub(super) fn slashes(expression: &str) -> String {
    llguidance::regex_to_lark(expression, "")
}

impl Form<'_> {
    /// The grammar. `marker` gives the id of a token that is no text by its name.
    pub(super) fn grammar(&self, marker: impl Fn(&str) -> Option<u32>) -> Result<TopLevelGrammar, GrammarError> {
        let mut parts = Parts { rules: Vec::new(), grammars: Vec::new(), marker: &marker };
        let answer = self.answer(&mut parts)?;
        let start = match self.thinking {
            Thinking::None => format!("start: {answer}"),
            Thinking::Begun { close } => format!("start: {} gap? ({answer})", parts.up_to("thought", close)),
            Thinking::May { open, close } => {
                let open = parts.written(open, &[open.to_owned()]);
                format!("start: ({open} {} gap?)? ({answer})", parts.up_to("thought", close))
            }
        };
        parts.rules.insert(0, start);
        parts.rules.push("gap: /[ \\n]{1,4}/".to_owned());
        parts.rules.push("ANY_TEXT: /(?s:.+)/".to_owned());
        let mut grammars = vec![GrammarWithLexer::from_lark(parts.rules.join("\n"))];
        grammars.append(&mut parts.grammars);
        Ok(TopLevelGrammar { grammars, max_tokens: None })
    }

    fn answer(&self, parts: &mut Parts<'_>) -> Result<String, GrammarError> {
        let constraint = self.constraint.map(|constraint| text_of(constraint, parts)).transpose()?;
        match (self.calls, constraint) {
            (None, None) => Err(GrammarError::new("nothing is asked of the answer")),
            (None, Some(constraint)) => Ok(constraint),
            (Some(calls), constraint) => calls::answer(calls, constraint, parts),
        }
    }
}

/// The text that a constraint allows.
fn text_of(constraint: &Constraint, parts: &mut Parts<'_>) -> Result<String, GrammarError> {
    match constraint {
        Constraint::JsonObject => {
            let schema = schema::prepare_value(json!({"type": "object"}))?;
            Ok(parts.schema("answer", schema))
        }
        Constraint::JsonSchema(text) => {
            let schema = schema::prepare(&text.0)?;
            Ok(parts.schema("answer", schema))
        }
        Constraint::Regex(expression) => regex(expression),
        Constraint::Lark(grammar) => {
            bounded(grammar.len(), "the grammar")?;
            let grammar = GrammarWithLexer::from_lark(grammar.clone());
            parts.grammars.push(GrammarWithLexer { name: Some("answer".to_owned()), ..grammar });
            Ok("@answer".to_owned())
        }
        Constraint::Choice(texts) => {
            bounded(texts.iter().map(String::len).sum(), "the list of choices")?;
            if texts.is_empty() {
                return Err(GrammarError::new("the list of choices is empty; name one at least"));
            }
            // One terminal: as so many rules a few thousand of them are more than a state of the parser may hold.
            let texts: Vec<_> = texts.iter().map(|text| slashes(&escaped(text))).collect();
            Ok(format!("/{}/", texts.join("|")))
        }
    }
}

/// A terminal that matches what the expression matches whole.
pub(super) fn regex(expression: &str) -> Result<String, GrammarError> {
    bounded(expression.len(), "the regular expression")?;
    let inner = expression.strip_prefix('^').unwrap_or(expression);
    let inner = match inner.strip_suffix('$') {
        // A `$` that is escaped is no anchor.
        Some(rest) if rest.bytes().rev().take_while(|&byte| byte == b'\\').count() % 2 == 0 => rest,
        _ => inner,
    };
    Ok(if inner.is_empty() { lark::text("") } else { lark::regex(inner) })
}

fn bounded(bytes: usize, what: &str) -> Result<(), GrammarError> {
    if bytes <= MAX_BYTES { Ok(()) } else { Err(GrammarError::new(format!("{what} is longer than {MAX_BYTES} bytes"))) }
}
