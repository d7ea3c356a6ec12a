//! From a request to the tokens of its prompt.

use weighbridge_backend::{Failure, FailureKind, Request, ToolChoice};
use weighbridge_dialogue::{ChatTemplate, Conversation, Markers, Prompt, ReasoningFormat, TemplateError, conversation};
use weighbridge_models::Tokenizer;

/// Renders and counts prompts for one model.
pub(crate) struct Prompter {
    /// `None` where the checkpoint has none; it cannot chat then.
    pub(crate) template: Option<ChatTemplate>,
    pub(crate) tokenizer: Tokenizer,
    /// Tokens of prompt and answer together.
    pub(crate) context: u32,
    /// A longer text has more tokens than the context: counting them would be seconds of work for nothing.
    most_bytes: usize,
    /// What messages cannot write; `None` where they may write anything that steers the model.
    markers: Option<Markers>,
}

impl Prompter {
    pub(crate) fn new(
        template: Option<ChatTemplate>,
        tokenizer: Tokenizer,
        context: u32,
        parse_special_tokens: bool,
    ) -> Self {
        let most_bytes = most_bytes(&tokenizer, context);
        let markers = (!parse_special_tokens).then(|| Markers::new(tokenizer.markers()));
        Self { template, tokenizer, context, most_bytes, markers }
    }

    /// The prompt, at least one token.
    ///
    /// # Errors
    /// Where there is no template, where it refuses the conversation, and where the request forces a call,
    /// which takes more than a prompt.
    pub(crate) fn prompt(&self, request: &Request) -> Result<Vec<u32>, Failure> {
        self.tokens(&self.text(request)?)
    }

    /// The prompt, and whether it has begun a thought, to be read in this format.
    ///
    /// # Errors
    /// Those of [`Prompter::prompt`].
    pub(crate) fn prompt_and_thought(
        &self,
        request: &Request,
        format: Option<ReasoningFormat>,
    ) -> Result<(Vec<u32>, bool), Failure> {
        let prompt = self.text(request)?;
        let thinks = format.is_some_and(|format| format.is_begun_by(&prompt));
        Ok((self.tokens(&prompt)?, thinks))
    }

    fn text(&self, request: &Request) -> Result<Prompt, Failure> {
        let template = self.template.as_ref().ok_or_else(|| {
            invalid("the checkpoint has no chat template, so that it cannot be asked with messages", "messages")
        })?;
        if matches!(request.tool_choice, ToolChoice::Required | ToolChoice::Named(_)) {
            return Err(invalid("a local model cannot be forced to call a tool; use auto or none", "tool_choice"));
        }
        let prompt = conversation(request, now()).and_then(|conversation| self.render(template, &conversation));
        prompt.map_err(refused)
    }

    fn tokens(&self, prompt: &Prompt) -> Result<Vec<u32>, Failure> {
        let Prompt { text, foreign } = prompt;
        if text.len() > self.most_bytes {
            let message = format!(
                "the prompt has {} bytes, which is far more than the {} tokens of the model's context; shorten it",
                text.len(),
                self.context
            );
            return Err(too_long(message));
        }
        let tokens = match self.markers {
            Some(_) => self.tokenizer.encode_around(text, foreign),
            None => self.tokenizer.encode(text),
        };
        let tokens = tokens.map_err(|error| {
            Failure::new(FailureKind::Internal, format!("the prompt could not be turned into tokens: {error}"))
        })?;
        if tokens.is_empty() {
            return Err(invalid("the chat template renders these messages to nothing", "messages"));
        }
        Ok(tokens)
    }

    fn render(&self, template: &ChatTemplate, conversation: &Conversation) -> Result<Prompt, TemplateError> {
        match &self.markers {
            Some(markers) => template.render_traced(conversation, markers),
            None => template.render(conversation).map(|text| Prompt { text, foreign: Vec::new() }),
        }
    }

    /// How many tokens each answer may have after a prompt of `prompt_tokens`.
    ///
    /// # Errors
    /// Where the answer asked for does not fit the context, and where none is asked for.
    pub(crate) fn max_tokens(&self, request: &Request, prompt_tokens: usize) -> Result<u32, Failure> {
        let context = self.context as usize;
        let asked = request.max_output_tokens;
        if asked == Some(0) {
            return Err(invalid("an answer of 0 tokens was asked for; ask for at least 1", "max_tokens"));
        }
        let needed = prompt_tokens.saturating_add(asked.unwrap_or(1) as usize);
        if needed > context {
            let message = match asked {
                Some(asked) => format!(
                    "the prompt has {prompt_tokens} tokens and the answer may have {asked}, which together exceed the \
                     model's context of {context} tokens; shorten either"
                ),
                None => format!(
                    "the prompt has {prompt_tokens} tokens, which leaves no room for an answer in the model's context \
                     of {context} tokens; shorten it"
                ),
            };
            return Err(too_long(message));
        }
        Ok(asked.unwrap_or_else(|| u32::try_from(context - prompt_tokens).unwrap_or(u32::MAX)))
    }
}

/// What templates take for now: UTC, so that a prompt does not depend on where the machine stands.
fn now() -> jiff::civil::DateTime {
    jiff::tz::TimeZone::UTC.to_datetime(jiff::Timestamp::now())
}

/// A template that fails on a conversation speaks against the conversation, whether it says so or not: if
/// it spoke against the backend, one odd request after the other could take that out of service.
fn refused(error: TemplateError) -> Failure {
    invalid(format!("the chat template refuses these messages: {error}"), "messages")
}

/// The bytes that a context can hold at the very most: nothing but the longest token, and a normaliser that
/// leaves a quarter of the text.
fn most_bytes(tokenizer: &Tokenizer, context: u32) -> usize {
    let tokens = (0..).take(tokenizer.size()).filter_map(|id| tokenizer.token(id));
    let longest = tokens.map(|token| token.len()).max().unwrap_or(1);
    longest.saturating_mul(4).saturating_mul(context as usize)
}

fn too_long(message: String) -> Failure {
    let mut failure = Failure::new(FailureKind::ContextLengthExceeded, message);
    failure.param = Some("messages".into());
    failure
}

fn invalid(message: impl Into<String>, param: &str) -> Failure {
    let mut failure = Failure::new(FailureKind::InvalidRequest, message);
    failure.param = Some(param.into());
    failure
}
