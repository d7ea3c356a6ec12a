//! Answers as messages on channels, as gpt-oss writes them.
//!
//! Thoughts are messages on `analysis`, as many as it likes. What is held is the message that ends the turn: the text
//! on `final`, or a call on `commentary`, before which there may be words to the reader where nothing is required.
//! The prompt ends with `<|start|>assistant`. Source: <https://cookbook.openai.com/articles/openai-harmony>.

use super::GrammarError;
use super::calls::Written;
use super::form::{Form, text_of};
use super::parts::{Parts, text_without};
use crate::ToolFormat;
use crate::answer::HARMONY_MARKERS;

/// Ends a message, and begins the next.
const NEXT: &str = "<|end|><|start|>assistant";

/// The messages of an answer, as a sequence.
pub(super) fn answer(form: &Form<'_>, parts: &mut Parts<'_>) -> Result<String, GrammarError> {
    let constraint = form.constraint.map(|constraint| text_of(constraint, parts)).transpose()?;
    let calls = form.calls.map(|calls| Written::new(calls, ToolFormat::Harmony, parts)).transpose()?;
    let is_free = constraint.is_none() && calls.as_ref().is_some_and(|calls| !calls.required);
    let text = text_without(HARMONY_MARKERS);
    let mut before = format!("{} {}", parts.written("<|channel|>analysis<|message|>"), parts.ended(&text, NEXT));
    if is_free {
        let words = format!("{} {}", parts.written("<|channel|>commentary<|message|>"), parts.ended(&text, NEXT));
        before = format!("{before} | {words}");
    }
    let mut last = Vec::new();
    if let Some(calls) = &calls {
        let begin = format!("{}{}", calls.shape.begin, calls.begin);
        last.push(calls.behind(&begin, parts));
    }
    let is_required = calls.as_ref().is_some_and(|calls| calls.required);
    if !is_required {
        let text = constraint.unwrap_or_else(|| parts.terminal(&text));
        last.push(format!("{} ({text})", parts.written("<|channel|>final<|message|>")));
    }
    Ok(format!("({before})* ({})", last.join(" | ")))
}
