//! The body of `POST /v1/chat/completions`: parsed as far as policy and translation need it, each
//! parameter noted with what it takes of a backend, so that nothing is silently ignored.
//!
//! Fields and ranges: OpenAI's public API description, chat completions.

pub(super) mod constraint;
mod messages;
pub(super) mod parameters;
pub(super) mod tools;

use std::sync::Arc;

use weighbridge_backend::{Asked, Capability, Dialect, Need, Original, Request};

use super::error::clipped_name;
use super::fields::{Fields, body_object};
use super::{UsageIn, WireError};
use constraint::constraint;
use messages::messages;
use parameters::{choices, effort, features, hints, max_output_tokens, sampling, stream_options, template};
use tools::{tool_choice, tools};

/// A chat completion request, checked.
#[derive(Debug)]
pub(crate) struct ChatBody {
    /// As the seam knows it.
    pub(crate) request: Request,
    /// Which chunks of a stream tell the usage.
    pub(crate) usage_in: UsageIn,
}

impl ChatBody {
    /// Reads a body.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub(crate) fn parse(id: Arc<str>, body: &[u8]) -> Result<Self, WireError> {
        let value = body_object(body)?;
        let fields = Fields::of(&value, "")?;
        let mut asked = Vec::new();
        let mut request = Request {
            tools: tools(&fields, &mut asked)?,
            sampling: sampling(&fields, &mut asked)?,
            max_output_tokens: max_output_tokens(&fields, &mut asked)?,
            choices: choices(&fields, &mut asked)?,
            constraint: constraint(&fields, &mut asked)?,
            effort: effort(&fields, &mut asked)?,
            parallel_tool_calls: fields.boolean("parallel_tool_calls")?.unwrap_or(true),
            stream: fields.boolean("stream")?.unwrap_or(false),
            original: Some(Original { dialect: Dialect::OpenAiChat, body: body.into() }),
            ..Request::new(id, model(&fields)?, messages(&fields, &mut asked)?)
        };
        request.tool_choice = tool_choice(&fields, &request.tools, &mut asked)?;
        template(&fields, &mut request, &mut asked)?;
        let usage_in = stream_options(&fields, request.stream)?;
        features(&fields, &mut asked)?;
        hints(&fields, &mut asked)?;
        unknown(&fields, &mut asked);
        request.asked = asked;
        Ok(Self { request, usage_in })
    }
}

/// Every top-level field that this file reads.
pub(crate) const KNOWN: &[&str] = &[
    "model",
    "messages",
    "tools",
    "tool_choice",
    "parallel_tool_calls",
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "seed",
    "frequency_penalty",
    "presence_penalty",
    "stop",
    "max_tokens",
    "max_completion_tokens",
    "n",
    "stream",
    "stream_options",
    "logit_bias",
    "logprobs",
    "top_logprobs",
    "response_format",
    "guided_json",
    "guided_regex",
    "guided_choice",
    "guided_grammar",
    "structured_outputs",
    "repetition_penalty",
    "min_tokens",
    "ignore_eos",
    "continue_final_message",
    "add_generation_prompt",
    "chat_template_kwargs",
    "reasoning_effort",
    "verbosity",
    "prediction",
    "web_search_options",
    "modalities",
    "audio",
    "store",
    "moderation",
    "service_tier",
    "user",
    "safety_identifier",
    "metadata",
    "prompt_cache_key",
    "prompt_cache_options",
    "prompt_cache_retention",
];

fn unknown(fields: &Fields<'_>, asked: &mut Vec<Asked>) {
    let unknown = fields.keys().filter(|key| !KNOWN.contains(key));
    asked.extend(unknown.map(|key| passed_on(key.to_owned())));
}

pub(super) fn need(parameter: &str, capability: Capability) -> Asked {
    Asked { parameter: parameter.to_owned(), need: Need::Capability(capability), hint: false }
}

pub(super) fn hint(parameter: &str, capability: Capability) -> Asked {
    Asked { hint: true, ..need(parameter, capability) }
}

/// A field that we hand on as it is, to a backend that speaks OpenAI's dialect.
fn passed_on(parameter: String) -> Asked {
    of_dialect(&parameter, Dialect::OpenAiChat)
}

/// A field that only a backend can be handed which speaks this dialect.
pub(super) fn of_dialect(name: &str, dialect: Dialect) -> Asked {
    Asked { parameter: clipped_name(name).into_owned(), need: Need::Dialect(dialect), hint: false }
}

pub(super) fn model(fields: &Fields<'_>) -> Result<String, WireError> {
    let model = fields.required_string("model")?;
    match model.len() {
        0 => Err(WireError::invalid("model", "it is empty")),
        1..=512 => Ok(model.to_owned()),
        length => Err(WireError::at(
            "model",
            "string_above_max_length",
            format!("Invalid 'model': string too long. Expected at most 512 bytes, but got {length}."),
        )),
    }
}

#[cfg(test)]
mod tests;
