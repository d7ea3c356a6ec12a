//! From a request to the tokens of its prompt.

mod bare;
mod continued;
mod texts;

use weighbridge_backend::{Failure, FailureKind, Request, ToolChoice};
use weighbridge_dialogue::{
    AnswerFormat, ChatTemplate, Conversation, Markers, Prompt, TemplateError, ToolFormat, conversation,
};
use weighbridge_models::{Tokenizer, TokenizerError};

pub(crate) use self::bare::FillIn;
use crate::form;

/// Renders and counts prompts for one model.
pub(crate) struct Prompter {
    /// `None` where the checkpoint has none; it cannot chat then.
    pub(crate) template: Option<ChatTemplate>,
    /// How its answers are written.
    pub(crate) format: AnswerFormat,
    pub(crate) tokenizer: Tokenizer,
    /// Tokens of prompt and answer together.
    pub(crate) context: u32,
    /// Tokens that the model has; the tokenizer may know fewer.
    pub(crate) vocabulary: usize,
    /// How it fills in, where it does.
    pub(crate) fill_in: Option<FillIn>,
    /// A longer text has more tokens than the context: counting them would be seconds of work for nothing.
    most_bytes: usize,
    /// What messages cannot write; `None` where they may write anything that steers the model.
    markers: Option<Markers>,
}

impl Prompter {
    pub(crate) fn new(
        (template, format): (Option<ChatTemplate>, AnswerFormat),
        tokenizer: Tokenizer,
        (context, vocabulary): (u32, usize),
        parse_special_tokens: bool,
    ) -> Self {
        let fill_in = FillIn::of(&tokenizer).filter(|words| words.are_below(vocabulary));
        let most_bytes = most_bytes(&tokenizer, context);
        let markers = (!parse_special_tokens).then(|| Markers::new(tokenizer.markers()));
        Self { template, format, tokenizer, context, vocabulary, fill_in, most_bytes, markers }
    }

    /// The prompt, at least one token.
    ///
    /// # Errors
    /// Where there is no template or it refuses the conversation, where a call is forced that the model has no way to
    /// write, and where a bare prompt is none.
    pub(crate) fn prompt(&self, request: &Request) -> Result<Vec<u32>, Failure> {
        Ok(self.prompt_and_thought(request)?.0)
    }

    /// The prompt, and whether it has begun a thought.
    ///
    /// # Errors
    /// Those of [`Prompter::prompt`].
    pub(crate) fn prompt_and_thought(&self, request: &Request) -> Result<(Vec<u32>, bool), Failure> {
        if let Some(completion) = &request.completion {
            return Ok((self.bare(completion)?, false));
        }
        let prompt = self.rendered(request)?;
        let thinks = self.format.reasoning.is_some_and(|format| format.is_begun_by(&prompt));
        let Prompt { text, foreign } = &prompt;
        self.check_length(text.len(), "messages")?;
        let tokens = match self.markers {
            Some(_) => self.tokenizer.encode_around(text, foreign),
            None => self.tokenizer.encode(text),
        };
        let tokens = tokens.map_err(not_encoded)?;
        if tokens.is_empty() {
            return Err(invalid("the chat template renders these messages to nothing", "messages"));
        }
        Ok((tokens, thinks))
    }

    /// The text that the chat template writes for a request.
    fn rendered(&self, request: &Request) -> Result<Prompt, Failure> {
        let template = self.template.as_ref().ok_or_else(|| {
            invalid("the checkpoint has no chat template, so that it cannot be asked with messages", "messages")
        })?;
        if form::forces_call(request) && self.format.tools.is_none() {
            let message =
                "this model cannot be forced to call a tool, for how it writes calls is not known; use auto or none";
            return Err(invalid(message, "tool_choice"));
        }
        let mut conversation = conversation(request, now()).map_err(refused)?;
        if !request.continues {
            return self.render(template, &conversation).map_err(refused);
        }
        let mark = continued::mark(request, &mut conversation)?;
        continued::cut(self.render(template, &conversation).map_err(refused)?, mark)
    }

    /// Refuses a text that has more bytes than any prompt may.
    fn check_length(&self, bytes: usize, param: &str) -> Result<(), Failure> {
        if bytes <= self.most_bytes {
            return Ok(());
        }
        let message = format!(
            "the prompt has {bytes} bytes, which is far more than the {} tokens of the model's context; shorten it",
            self.context
        );
        Err(Failure { param: Some(param.into()), ..Failure::new(FailureKind::ContextLengthExceeded, message) })
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
        let echoes = request.completion.as_ref().is_some_and(|completion| completion.echo);
        if asked == Some(0) && !echoes {
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
            let param = if request.completion.is_some() { "prompt" } else { "messages" };
            return Err(Failure {
                param: Some(param.into()),
                ..Failure::new(FailureKind::ContextLengthExceeded, message)
            });
        }
        Ok(asked.unwrap_or_else(|| u32::try_from(context - prompt_tokens).unwrap_or(u32::MAX)))
    }

    /// How calls are found in the answers to a request; `None` where none are looked for.
    pub(crate) fn tool_format(&self, request: &Request) -> Option<ToolFormat> {
        let looks = !request.tools.is_empty() && request.tool_choice != ToolChoice::None;
        self.format.tools.filter(|_| looks)
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

fn not_encoded(error: TokenizerError) -> Failure {
    Failure::new(FailureKind::Internal, format!("the prompt could not be turned into tokens: {error}"))
}

pub(crate) fn invalid(message: impl Into<String>, param: &str) -> Failure {
    let mut failure = Failure::new(FailureKind::InvalidRequest, message);
    failure.param = Some(param.into());
    failure
}
