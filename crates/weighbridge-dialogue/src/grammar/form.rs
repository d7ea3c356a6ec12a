//! From what was asked for to one grammar.

use llguidance::api::{GrammarWithLexer, TopLevelGrammar};
use serde_json::json;
use weighbridge_backend::{Constraint, Tool, ToolChoice};

use super::parts::{Markers, Parts, text_without};
use super::{GrammarError, MAX_BYTES, calls, channels, lark, schema};
use crate::ToolFormat;

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
    /// It may, in messages of their own: all of the answer is messages on channels, as gpt-oss writes them, and the
    /// prompt has begun the first with `<|start|>assistant`.
    Messages,
}

/// Calls under a grammar.
#[derive(Clone, Copy, Debug)]
pub struct Calls<'a> {
    /// How the model writes them; messages have a way of their own.
    pub format: ToolFormat,
    /// The tools that were announced.
    pub tools: &'a [Tool],
    /// Which of them may or must be called.
    pub choice: &'a ToolChoice,
    /// Whether one answer may have several.
    pub several: bool,
}

impl Form<'_> {
    /// The grammar, for a vocabulary with these markers.
    pub(super) fn grammar(&self, markers: &Markers) -> Result<TopLevelGrammar, GrammarError> {
        let mut parts = Parts::new(markers, &self.written_with());
        let start = match self.thinking {
            Thinking::None => self.answer(&mut parts)?,
            Thinking::Messages => channels::answer(self, &mut parts)?,
            Thinking::Begun { close } => {
                let answer = self.answer(&mut parts)?;
                format!("{} ({answer})", self.thought(close, &mut parts))
            }
            Thinking::May { open, close } => {
                let answer = self.answer(&mut parts)?;
                format!("({} {})? ({answer})", parts.written(open), self.thought(close, &mut parts))
            }
        };
        Ok(TopLevelGrammar { grammars: parts.finish(&start), max_tokens: None })
    }

    /// What may be special tokens of what is written.
    fn written_with(&self) -> Vec<&str> {
        let mut texts = self.calls.map(|calls| calls.format.markers()).unwrap_or_default();
        match self.thinking {
            Thinking::None => {}
            Thinking::Begun { close } => texts.push(close),
            Thinking::May { open, close } => texts.extend([open, close]),
            Thinking::Messages => texts.extend(crate::answer::HARMONY_MARKERS),
        }
        texts
    }

    /// A thought up to its end, and the white space behind it. What would end it for its reader it does not have.
    fn thought(&self, close: &str, parts: &mut Parts<'_>) -> String {
        let mut words = vec![close];
        if let Some(Calls { format, .. }) = self.calls.filter(|calls| calls.format.ends_thoughts()) {
            words.extend(format.openings().iter().map(|opening| opening.marker));
        }
        format!("{} /[ \\n]{{1,4}}/?", parts.ended(&text_without(&words), close))
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
pub(super) fn text_of(constraint: &Constraint, parts: &mut Parts<'_>) -> Result<String, GrammarError> {
    match constraint {
        Constraint::JsonObject => Ok(parts.schema(schema::prepare_value(json!({"type": "object"}))?)),
        Constraint::JsonSchema(text) => Ok(parts.schema(schema::prepare(&text.0)?)),
        Constraint::Regex(expression) => regex(expression),
        Constraint::Lark(grammar) => {
            bounded(grammar.len(), "the grammar")?;
            Ok(parts.grammar(GrammarWithLexer::from_lark(grammar.clone())))
        }
        Constraint::Choice(texts) => {
            bounded(texts.iter().map(String::len).sum(), "the list of choices")?;
            if texts.is_empty() {
                return Err(GrammarError::new("the list of choices is empty; name one at least"));
            }
            // One terminal: as so many rules a few thousand of them are more than a state of the parser may hold.
            Ok(match texts.iter().all(String::is_empty) {
                true => lark::text(""),
                false => format!("/{}/", lark::choice(texts.iter().map(String::as_str))),
            })
        }
    }
}

/// A terminal that matches what the expression matches whole.
fn regex(expression: &str) -> Result<String, GrammarError> {
    bounded(expression.len(), "the regular expression")?;
    let inner = expression.strip_prefix('^').unwrap_or(expression);
    let inner = lark::before_end_anchor(inner).unwrap_or(inner);
    Ok(if inner.is_empty() { lark::text("") } else { lark::regex(inner) })
}

fn bounded(bytes: usize, what: &str) -> Result<(), GrammarError> {
    if bytes <= MAX_BYTES { Ok(()) } else { Err(GrammarError::new(format!("{what} is longer than {MAX_BYTES} bytes"))) }
}
