//! Chat templates, rendered as Hugging Face transformers renders them.
//!
//! The reference is `render_jinja_template` of transformers: jinja2's `ImmutableSandboxedEnvironment` with
//! `trim_blocks` and `lstrip_blocks`, loop controls, a `{% generation %}` tag that prints its body,
//! `raise_exception`, `strftime_now`, its own `tojson`, and `tools` and `documents` always defined, if
//! only as `None`. minijinja gives the language, [`crate::python`] what it lacks of Python's ways.

use std::error::Error as _;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use jiff::civil::DateTime;
use jiff::fmt::strtime::BrokenDownTime;
use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment, Error, ErrorKind, UndefinedBehavior, Value};

use crate::{Conversation, ReasoningFormat, ToolFormat, python, source};

/// The only template of an environment.
const NAME: &str = "chat";

/// Bytes of the largest template taken: ten times the largest that is published.
const MAX_SOURCE_BYTES: usize = 1 << 20;

/// Bytes of the largest prompt written: four times the largest body that must work.
const MAX_PROMPT_BYTES: usize = 64 << 20;

/// The work of one rendering: an instruction costs one, as do 64 bytes copied.
///
/// A conversation of 16 MiB may be copied a hundred times, and templates that look at every later
/// message for each message get through three thousand messages. It takes about a second to burn.
const FUEL: u64 = 32_000_000;

/// Levels of nested calls in one rendering, of which a macro takes four: what the stack of a worker
/// thread holds even in a build without optimisation.
const MAX_DEPTH: usize = 120;

/// A compiled chat template. Rendering needs it shared only, from any thread.
#[derive(Clone)]
pub struct ChatTemplate {
    environment: Arc<Environment<'static>>,
    tool_format: Option<ToolFormat>,
    reasoning_format: Option<ReasoningFormat>,
    takes_tools: bool,
    takes_effort: bool,
}

/// What templates call how much the model is to think.
const EFFORT: [&str; 3] = ["enable_thinking", "reasoning_effort", "thinking"];

impl ChatTemplate {
    /// Compiles a template as it stands in `chat_template`. The special tokens, `("bos_token", "<s>")`
    /// for example, are variables to it.
    ///
    /// # Errors
    /// When the source is no template that we can read; the line is known.
    pub fn new(source: &str, special_tokens: &[(String, String)]) -> Result<Self, TemplateError> {
        if source.len() > MAX_SOURCE_BYTES {
            return Err(TemplateError::new(format!("the chat template is longer than {MAX_SOURCE_BYTES} bytes")));
        }
        let (tool_format, takes_tools) = (ToolFormat::of_template(source), source::reads(source, "tools"));
        let reasoning_format = ReasoningFormat::of_template(source);
        let takes_effort = EFFORT.iter().any(|variable| source::reads(source, variable));
        let source = source::rewrite(source).map_err(|(line, what)| TemplateError {
            line: Some(line),
            ..TemplateError::new(format!("cannot read the chat template: {what}"))
        })?;
        let mut environment = environment().map_err(TemplateError::compiling)?;
        for (name, token) in special_tokens {
            environment.add_global(name.clone(), token.as_str());
        }
        environment.add_template_owned(NAME, source).map_err(TemplateError::compiling)?;
        Ok(Self { environment: Arc::new(environment), tool_format, reasoning_format, takes_tools, takes_effort })
    }

    /// Writes the conversation as the prompt that the model was trained on.
    ///
    /// # Errors
    /// When the template refuses the conversation ([`TemplateError::refused`]), does something that
    /// Python would not do either, or goes beyond its bounds of work, depth or length.
    pub fn render(&self, conversation: &Conversation) -> Result<String, TemplateError> {
        let template = self.environment.get_template(NAME).map_err(TemplateError::compiling)?;
        let mut prompt = Bounded(Vec::new());
        // minijinja has operations that panic, `loop.cycle()` for one. What they leave is dropped.
        catch_unwind(AssertUnwindSafe(|| template.render_captured_to(variables(conversation), &mut prompt).map(drop)))
            .map_err(|_| TemplateError::new("the chat template does what its engine cannot".into()))?
            .map_err(|error| TemplateError::rendering(&error, template.source()))?;
        String::from_utf8(prompt.0).map_err(|_| TemplateError::new("the chat template wrote half a character".into()))
    }

    /// How the model that this template belongs to writes its calls; `None` where the template knows
    /// no tools or a format that is not parsed yet.
    pub fn tool_format(&self) -> Option<ToolFormat> {
        self.tool_format
    }

    /// How the model that this template belongs to sets its thoughts apart; `None` where the template knows none.
    pub fn reasoning_format(&self) -> Option<ReasoningFormat> {
        self.reasoning_format
    }

    /// Whether it reads how much the model is to think.
    pub fn takes_effort(&self) -> bool {
        self.takes_effort
    }

    /// Whether it reads `tools`, so that announcing them makes a difference.
    pub fn takes_tools(&self) -> bool {
        self.takes_tools
    }
}

impl fmt::Debug for ChatTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChatTemplate")
            .field("tool_format", &self.tool_format)
            .field("reasoning_format", &self.reasoning_format)
            .field("takes_tools", &self.takes_tools)
            .finish_non_exhaustive()
    }
}

/// The language of chat templates, without a template.
fn environment() -> Result<Environment<'static>, Error> {
    let mut environment = Environment::new();
    environment.set_syntax(SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()?);
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.set_undefined_behavior(UndefinedBehavior::Lenient);
    environment.set_fuel(Some(FUEL));
    environment.set_recursion_limit(MAX_DEPTH);
    environment.add_function("raise_exception", raise_exception);
    python::install(&mut environment);
    Ok(environment)
}

fn variables(conversation: &Conversation) -> Value {
    let now = conversation.now;
    let fixed = [
        ("messages", Value::from(Serde(&conversation.messages))),
        ("tools", conversation.tools.as_ref().map_or(Value::from(()), |tools| Value::from(Serde(tools)))),
        ("documents", Value::from(())),
        ("add_generation_prompt", conversation.add_generation_prompt.into()),
        ("strftime_now", Value::from_function(move |format: &str| strftime(now, format))),
    ];
    let extra = conversation.extra.iter().map(|(name, value)| (name.as_str(), Value::from(Serde(value))));
    Value::from_pairs(fixed.into_iter().chain(extra))
}

fn strftime(now: DateTime, format: &str) -> Result<String, Error> {
    let mut text = String::new();
    BrokenDownTime::from(now).format(format, &mut text).map_err(|error| {
        Error::new(ErrorKind::InvalidOperation, "strftime_now does not know this format").with_source(error)
    })?;
    Ok(text)
}

fn raise_exception(message: &str) -> Result<Value, Error> {
    Err(Error::new(ErrorKind::InvalidOperation, "the conversation is refused").with_source(Refusal(message.into())))
}

/// What a template said when it refused.
#[derive(Debug)]
struct Refusal(String);

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Refusal {}

/// A prompt under way, which ends in an error where it grows too long.
struct Bounded(Vec<u8>);

impl std::io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.0.len() + bytes.len() > MAX_PROMPT_BYTES {
            return Err(std::io::Error::other("the prompt is too long"));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A template that cannot be read, or a conversation that cannot be written with it.
///
/// Safe to log: of what a template says in refusing, only words that stand in the template are kept,
/// for the rest may come from the conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TemplateError {
    /// The line of the template, from 1, where there is one to blame.
    pub line: Option<usize>,
    /// What went wrong.
    pub message: String,
    /// The template called `raise_exception`: it is not made for this conversation.
    pub refused: bool,
}

impl TemplateError {
    pub(crate) fn new(message: String) -> Self {
        Self { line: None, message, refused: false }
    }

    fn compiling(error: Error) -> Self {
        Self {
            line: error.line(),
            message: format!("cannot read the chat template: {}", reason(&error)),
            refused: false,
        }
    }

    fn rendering(error: &Error, source: &str) -> Self {
        let line = error.line();
        if let Some(refusal) = refusal(error) {
            let said = words_of(source, &refusal.0);
            return Self {
                line,
                message: format!("the chat template refuses the conversation: {said}"),
                refused: true,
            };
        }
        Self {
            line,
            message: format!("cannot write the conversation with the chat template: {}", reason(error)),
            refused: false,
        }
    }
}

impl fmt::Display for TemplateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match self.line {
            Some(line) => write!(f, " (line {line} of the template)"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for TemplateError {}

fn refusal(error: &Error) -> Option<&Refusal> {
    let mut source = error.source();
    while let Some(error) = source {
        if let Some(refusal) = error.downcast_ref() {
            return Some(refusal);
        }
        source = error.source();
    }
    None
}

fn reason(error: &Error) -> String {
    match (error.kind(), error.detail()) {
        (ErrorKind::OutOfFuel, _) => format!("it takes more than {FUEL} steps"),
        (ErrorKind::WriteFailure, _) => format!("the prompt is longer than {MAX_PROMPT_BYTES} bytes"),
        // The one kind of detail that quotes values, which may be the conversation's.
        (kind, Some(detail)) if detail.starts_with("unable to calculate") => format!("{kind}: a number out of range"),
        (kind, Some(detail)) => format!("{kind}: {detail}"),
        (kind, None) => kind.to_string(),
    }
}

/// The beginning of `message` that stands in `source` as it is.
fn words_of(source: &str, message: &str) -> String {
    let mut known = message;
    while !source.contains(known) {
        let last = known.char_indices().next_back().map_or(0, |(at, _)| at);
        known = &known[..last];
    }
    if known == message { known.into() } else { format!("{}…", known.trim_end()) }
}
