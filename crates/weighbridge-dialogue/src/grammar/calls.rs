//! Calls of tools under a grammar.

use serde_json::Value;
use weighbridge_backend::{Tool, ToolChoice};

use super::arguments::arguments;
use super::form::Calls;
use super::parts::{Parts, text_without};
use super::{GrammarError, lark};
use crate::ToolFormat;
use crate::tools::reader::is_name;
use crate::tools::{CallShape, ToolShape};

/// An answer with calls, or beside these a text, which `constraint` says what it must be.
pub(super) fn answer(
    calls: Calls<'_>,
    constraint: Option<String>,
    parts: &mut Parts<'_>,
) -> Result<String, GrammarError> {
    if calls.format == ToolFormat::Harmony {
        let problem =
            "this model calls in a message of its own, which an answer that goes on from a text has no room for";
        return Err(GrammarError::new(problem));
    }
    let written = Written::new(calls, calls.format, parts)?;
    let first = format!("{}{}", written.shape.begin, written.begin);
    if written.required {
        return Ok(written.behind(&first, parts));
    }
    if let Some(constraint) = constraint {
        return Ok(format!("({}) | ({constraint})", written.behind(&first, parts)));
    }
    let openings = calls.format.openings();
    let words: Vec<&str> = openings.iter().filter(|opening| !opening.at_start).map(|opening| opening.marker).collect();
    match words.iter().filter(|word| first.starts_with(**word)).max_by_key(|word| word.len()) {
        // Free text up to what begins a call.
        Some(trigger) => {
            let lead = parts.ended(&text_without(&words), trigger);
            let calls = written.behind(&first[trigger.len()..], parts);
            Ok(format!("{lead} {calls} | {}", parts.terminal(&text_without(&words))))
        }
        // Calls stand in place of a text, which must not begin as they do.
        None => {
            let signs: String = openings.iter().filter(|opening| opening.at_start).map(|it| it.marker).collect();
            let free = format!("{} & ~/\\s*[{}](?s:.*)/", text_without(&words), lark::escaped(&signs));
            Ok(format!("{} | {}", written.behind(&first, parts), parts.terminal(&free)))
        }
    }
}

/// The calls that an answer may make.
pub(super) struct Written {
    pub(super) shape: ToolShape,
    pub(super) required: bool,
    /// Before the name of each call.
    pub(super) begin: &'static str,
    /// Between the name and the arguments, and after these.
    join: &'static str,
    end: &'static str,
    /// A number stands behind each name.
    numbered: bool,
    several: bool,
    /// Names, and the sequences of what they take.
    tools: Vec<(String, String)>,
}

impl Written {
    /// In a format, with the rules of all arguments.
    pub(super) fn new(calls: Calls<'_>, format: ToolFormat, parts: &mut Parts<'_>) -> Result<Self, GrammarError> {
        let (names, required) = match calls.choice {
            ToolChoice::Auto | ToolChoice::None => (None, false),
            ToolChoice::Required => (None, true),
            ToolChoice::Named(name) => (Some(std::slice::from_ref(name)), true),
            ToolChoice::Allowed { names, required } => (Some(names.as_slice()), *required),
        };
        let may_be_called = |tool: &&Tool| names.is_none_or(|names| names.contains(&tool.name));
        let tools: Vec<&Tool> = calls.tools.iter().filter(may_be_called).collect();
        if tools.is_empty() {
            return Err(GrammarError::new("none of the tools that may be called is announced"));
        }
        let shape = format.shape();
        let (begin, join, end, numbered) = match shape.call {
            CallShape::Json { begin, join, end, numbered } => (begin, join, end, numbered),
            CallShape::Tags { begin, after_name, end, .. } => (begin, after_name, end, false),
            CallShape::Python => ("", "(", ")", false),
            CallShape::Gemma => ("call:", "{", "}", false),
        };
        let several = calls.several && shape.several && !matches!(calls.choice, ToolChoice::Named(_));
        let of_tool = |tool: &Tool| {
            let arguments = arguments(tool, shape.call, parts)?;
            Ok((name(tool, shape.call)?, parts.rule(&arguments)))
        };
        let tools = tools.into_iter().map(of_tool).collect::<Result<_, GrammarError>>()?;
        Ok(Self { shape, required, begin, join, end, numbered, several, tools })
    }

    /// All calls behind a text that begins the first of them and belongs to it.
    pub(super) fn behind(&self, first: &str, parts: &mut Parts<'_>) -> String {
        let first = self.one(first, parts);
        let Self { shape, end, .. } = self;
        if !self.several {
            return format!("{first} {}", parts.last(&format!("{end}{}", shape.end)));
        }
        let next = self.one(&format!("{}{}", shape.between, self.begin), parts);
        let end = parts.written(end);
        let next = parts.rule(&format!("{next} {end}"));
        format!("{first} {end} {next}* {}", parts.last(shape.end))
    }

    /// One call, from the text before its name to the end of its arguments. Names stand in one lexeme with what is
    /// before them: what ends all calls may begin as that does.
    fn one(&self, before: &str, parts: &mut Parts<'_>) -> String {
        let option = |(name, arguments): &(String, String)| match self.numbered {
            true => {
                let number = parts.written(&format!("{before}{name}:"));
                format!("{number} /[0-9]{{1,4}}/ {} {arguments}", parts.written(self.join))
            }
            false => format!("{} {arguments}", parts.written(&format!("{before}{name}{}", self.join))),
        };
        format!("({})", self.tools.iter().map(option).collect::<Vec<_>>().join(" | "))
    }
}

/// The name of a tool as it stands in a call.
fn name(tool: &Tool, shape: CallShape) -> Result<String, GrammarError> {
    match shape {
        CallShape::Json { begin, .. } if begin.ends_with('"') => {
            Ok(Value::from(tool.name.as_str()).to_string().trim_matches('"').to_owned())
        }
        _ if is_name(&tool.name) => Ok(tool.name.clone()),
        _ => Err(GrammarError::new(format!("the tool {:?} has a name that this model cannot write", tool.name))),
    }
}
