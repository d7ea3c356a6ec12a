//! What the answers to a request are held to, and the grammar for it.

use std::sync::OnceLock;

use weighbridge_backend::{Capability, Constraint, Failure, Need, Request, TextForm, Tool, ToolChoice, ToolKind};
use weighbridge_dialogue::{Calls, Form, GrammarError, Grammars, Matcher, ReasoningFormat, Thinking, VocabularyToken};
use weighbridge_models::Tokenizer;

use crate::formats;
use crate::prompt::{Prompter, invalid};

/// The grammars of one model; its vocabulary is read with the first request that needs it.
#[derive(Debug, Default)]
pub(crate) struct Forms {
    grammars: OnceLock<Result<Grammars, GrammarError>>,
}

impl Forms {
    /// What holds each answer to a request; `None` where nothing does. `ends` are the model's end tokens.
    ///
    /// # Errors
    /// Where what is asked for cannot be enforced.
    pub(crate) fn matcher(
        &self,
        request: &Request,
        prompter: &Prompter,
        prompt: &[u32],
        ends: &[u32],
    ) -> Result<Option<Matcher>, Failure> {
        let constraint = request.constraint.as_ref();
        let format = prompter.tool_format(request).filter(|_| holds_calls(request));
        let calls = format.map(|format| Calls {
            format,
            tools: &request.tools,
            choice: &request.tool_choice,
            several: request.parallel_tool_calls,
        });
        if constraint.is_none() && calls.is_none() {
            return Ok(None);
        }
        let param = param(request);
        let refused = |error: GrammarError| invalid(error.to_string(), param);
        let tail = prompter.tail(prompt);
        let form = Form { thinking: thinking(request, prompter, &tail), constraint, calls };
        let grammars = self.grammars.get_or_init(|| Grammars::new(vocabulary(prompter), ends));
        let grammars = grammars.as_ref().map_err(|error| refused(error.clone()))?;
        grammars.matcher(&form).map(Some).map_err(refused)
    }
}

/// Whether a call must be made.
pub(crate) fn forces_call(request: &Request) -> bool {
    matches!(
        request.tool_choice,
        ToolChoice::Required | ToolChoice::Named(_) | ToolChoice::Allowed { required: true, .. }
    )
}

/// Whether calls are held to anything: to be made, to be few, to be of certain tools or of a schema. Where the answer's
/// text is held, calls beside it are too.
fn holds_calls(request: &Request) -> bool {
    let named = matches!(request.tool_choice, ToolChoice::Allowed { .. });
    let strict = request.tools.iter().any(|tool| tool.strict || has_form(tool));
    forces_call(request) || named || strict || !request.parallel_tool_calls || request.constraint.is_some()
}

/// Whether the text that a custom tool takes has a form.
fn has_form(tool: &Tool) -> bool {
    matches!(tool.kind, ToolKind::Custom(TextForm::Lark(_) | TextForm::Regex(_)))
}

/// The parameter at fault where the form cannot be enforced, by the name that the caller gave it.
fn param(request: &Request) -> &str {
    let forms = [Capability::ResponseFormat, Capability::StructuredOutputs].map(Need::Capability);
    let named = || request.asked.iter().find(|asked| !asked.hint && forms.contains(&asked.need));
    match &request.constraint {
        None => "tools",
        Some(constraint) => named().map_or_else(|| usual_name(constraint), |asked| &asked.parameter),
    }
}

/// What a form is called where a request does not say by which name it came.
fn usual_name(constraint: &Constraint) -> &'static str {
    match constraint {
        Constraint::JsonObject | Constraint::JsonSchema(_) => "response_format",
        Constraint::Regex(_) | Constraint::Lark(_) | Constraint::Choice(_) => "structured_outputs",
    }
}

/// Whether the model thinks before the answer, by how its prompt ends.
fn thinking(request: &Request, prompter: &Prompter, tail: &str) -> Thinking<'static> {
    if request.completion.is_some() || request.continues {
        return Thinking::None;
    }
    let tail = tail.trim_end();
    if formats::writes_messages(prompter.format) {
        // A template may have begun the message with the answer.
        return if tail.ends_with("<|message|>") { Thinking::None } else { Thinking::Messages };
    }
    let tags = prompter.format.reasoning.and_then(ReasoningFormat::thought_tags);
    let Some((open, close)) = tags else { return Thinking::None };
    match (tail.ends_with(open), tail.ends_with(close)) {
        (_, true) => Thinking::None,
        (true, false) => Thinking::Begun { close },
        (false, false) => Thinking::May { open, close },
    }
}

/// The bytes of every token.
fn vocabulary(prompter: &Prompter) -> Vec<VocabularyToken> {
    let tokens = u32::try_from(prompter.vocabulary).unwrap_or(u32::MAX);
    (0..tokens).map(|token| vocabulary_token(&prompter.tokenizer, token)).collect()
}

fn vocabulary_token(tokenizer: &Tokenizer, token: u32) -> VocabularyToken {
    match (tokenizer.token_bytes(token), tokenizer.token(token)) {
        (Some(bytes), _) => VocabularyToken::Text(bytes),
        (None, Some(name)) => VocabularyToken::Marker(name),
        (None, None) => VocabularyToken::None,
    }
}
