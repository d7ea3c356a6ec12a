//! The body of `POST /v1/completions`. Several prompts become several requests, which are alike but for them.
//!
//! Fields and ranges: OpenAI's public API description, completions; the further ways to draw are vLLM's.

use std::sync::Arc;

use serde_json::Value;
use weighbridge_backend::{Asked, BarePrompt, Capability, Completion, Dialect, Original, Request};

use super::chat_body::constraint::constraint;
use super::chat_body::parameters::{choices, drawing, stream_options};
use super::chat_body::{hint, model, need, of_dialect};
use super::fields::{Fields, body_object};
use super::texts::token_ids;
use super::{UsageIn, WireError};

/// The most prompts of a body, and the most answers to all of them together.
const MOST: usize = 128;
/// The answer's tokens where a body does not say how many.
const DEFAULT_MAX_TOKENS: u32 = 16;

/// Text completions, checked.
#[derive(Debug)]
pub(crate) struct CompletionsBody {
    /// The request of the first prompt, as the seam knows it.
    pub(crate) request: Request,
    /// Those of the other prompts.
    pub(crate) beside: Vec<Request>,
    /// Which chunks of a stream tell the usage.
    pub(crate) usage_in: UsageIn,
}

impl CompletionsBody {
    /// Reads a body. `id` is the first request's, `new_id` makes one for each other.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub(crate) fn parse(id: Arc<str>, new_id: impl Fn() -> Arc<str>, body: &[u8]) -> Result<Self, WireError> {
        let value = body_object(body)?;
        let fields = Fields::of(&value, "")?;
        let mut asked = vec![need("prompt", Capability::Completion)];
        let (suffix, echo) = (suffix(&fields, &mut asked)?, fields.boolean("echo")?.unwrap_or(false));
        let mut sampling = drawing(&fields, &mut asked)?;
        sampling.logprobs = logprobs(&fields, echo, &mut asked)?;
        let mut request = Request {
            sampling,
            max_output_tokens: Some(max_tokens(&fields, echo, &mut asked)?),
            choices: choices(&fields, &mut asked)?,
            constraint: constraint(&fields, &mut asked)?,
            stream: fields.boolean("stream")?.unwrap_or(false),
            original: Some(Original { dialect: Dialect::OpenAiCompletions, body: body.into() }),
            ..Request::new(id, model(&fields)?, Vec::new())
        };
        best_of(&fields, request.choices.get())?;
        let usage_in = stream_options(&fields, request.stream)?;
        fields.string("user")?;
        if fields.get("user").is_some() {
            asked.push(hint("user", Capability::User));
        }
        unknown(&fields, &mut asked);
        request.asked = asked;
        let mut prompts = prompts(&fields, request.choices.get())?.into_iter();
        let bare = |prompt| Some(Completion { prompt, suffix: suffix.clone(), echo });
        request.completion = prompts.next().and_then(&bare);
        let beside = prompts.map(|prompt| Request { id: new_id(), completion: bare(prompt), ..request.clone() });
        Ok(Self { beside: beside.collect(), request, usage_in })
    }
}

/// Every field that is read here, by [`drawing`] and by [`constraint`].
pub(crate) const KNOWN: &[&str] = &[
    "model",
    "prompt",
    "suffix",
    "echo",
    "max_tokens",
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "seed",
    "frequency_penalty",
    "presence_penalty",
    "repetition_penalty",
    "min_tokens",
    "ignore_eos",
    "logit_bias",
    "logprobs",
    "stop",
    "n",
    "best_of",
    "stream",
    "stream_options",
    "response_format",
    "guided_json",
    "guided_regex",
    "guided_choice",
    "guided_grammar",
    "structured_outputs",
    "user",
];

/// A field that we do not know can be handed on as it is, to a backend that speaks this dialect.
fn unknown(fields: &Fields<'_>, asked: &mut Vec<Asked>) {
    let unknown = fields.keys().filter(|key| !KNOWN.contains(key));
    asked.extend(unknown.map(|key| of_dialect(key, Dialect::OpenAiCompletions)));
}

/// The prompts: a text, tokens, or several of either.
fn prompts(fields: &Fields<'_>, choices: u32) -> Result<Vec<BarePrompt>, WireError> {
    let values = match fields.required("prompt")? {
        Value::String(text) => return Ok(vec![BarePrompt::Text(text.clone())]),
        Value::Array(values) => values,
        other => return Err(WireError::wrong_type("prompt", "a string or an array", other)),
    };
    match values.first() {
        None => {
            let message = "Invalid 'prompt': empty array. Expected at least one prompt or token.".to_owned();
            return Err(WireError::at("prompt", "empty_array", message));
        }
        Some(Value::Number(_)) => return Ok(vec![BarePrompt::Tokens(token_ids(values, "prompt")?)]),
        Some(_) => {}
    }
    if values.len() > MOST || values.len().saturating_mul(choices as usize) > MOST {
        let message =
            format!("Invalid 'prompt': array too long. Expected at most {MOST} answers to all prompts together.");
        return Err(WireError::at("prompt", "array_above_max_length", message));
    }
    let read = |(i, value): (usize, &Value)| {
        let path = format!("prompt[{i}]");
        match value {
            Value::String(text) => Ok(BarePrompt::Text(text.clone())),
            Value::Array(tokens) if tokens.is_empty() => Err(WireError::invalid(&path, "it is empty")),
            Value::Array(tokens) => Ok(BarePrompt::Tokens(token_ids(tokens, &path)?)),
            other => Err(WireError::wrong_type(&path, "a string or an array of tokens", other)),
        }
    };
    values.iter().enumerate().map(read).collect()
}

fn suffix(fields: &Fields<'_>, asked: &mut Vec<Asked>) -> Result<Option<String>, WireError> {
    let suffix = fields.string("suffix")?.filter(|suffix| !suffix.is_empty());
    if suffix.is_some() {
        asked.push(need("suffix", Capability::Suffix));
    }
    Ok(suffix.map(str::to_owned))
}

fn logprobs(fields: &Fields<'_>, echo: bool, asked: &mut Vec<Asked>) -> Result<Option<u32>, WireError> {
    let likeliest = fields.integer("logprobs", 0, 5)?.and_then(|count| u32::try_from(count).ok());
    if likeliest.is_some() {
        asked.push(need("logprobs", Capability::Logprobs));
        if echo {
            asked.push(need("echo", Capability::PromptLogprobs));
        }
    }
    Ok(likeliest)
}

/// The most tokens of an answer: none at all where the prompt alone is to be told.
fn max_tokens(fields: &Fields<'_>, echo: bool, asked: &mut Vec<Asked>) -> Result<u32, WireError> {
    let Some(bound) = fields.integer("max_tokens", 0, i64::from(u32::MAX))? else { return Ok(DEFAULT_MAX_TOKENS) };
    if bound == 0 && !echo {
        return Err(WireError::invalid("max_tokens", "0 leaves nothing to answer with, unless 'echo' is true"));
    }
    asked.push(need("max_tokens", Capability::MaxTokens));
    Ok(u32::try_from(bound).unwrap_or(u32::MAX))
}

/// More candidates than answers would be made and thrown away, which nobody here does.
fn best_of(fields: &Fields<'_>, choices: u32) -> Result<(), WireError> {
    match fields.integer("best_of", 1, MOST as i64)? {
        Some(best_of) if best_of != i64::from(choices) => {
            let message = format!(
                "Unsupported value for 'best_of': {best_of}. Only as many answers are made as 'n' asks for; leave it out."
            );
            Err(WireError::at("best_of", "unsupported_value", message))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
