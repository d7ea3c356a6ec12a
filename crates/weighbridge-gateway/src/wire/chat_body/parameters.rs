//! The parameters beside messages and tools: how tokens are drawn, how many, and what else changes the answer
//! or only helps.

use std::num::NonZeroU32;

use serde_json::Value;
use weighbridge_backend::{Asked, Capability, Effort, Json, Request, Role, Sampling};

use super::{Fields, WireError, hint, need};
use crate::wire::UsageIn;

const MAX_STOPS: usize = 16;
const MAX_BIASES: usize = 1_024;

pub(super) fn sampling(fields: &Fields<'_>, asked: &mut Vec<Asked>) -> Result<Sampling, WireError> {
    let mut sampling = drawing(fields, asked)?;
    sampling.logprobs = logprobs(fields)?;
    if sampling.logprobs.is_some() {
        asked.push(need("logprobs", Capability::Logprobs));
    }
    Ok(sampling)
}

/// How tokens are drawn and where the answer stops: what text completions have in common with chat.
pub(in crate::wire) fn drawing(fields: &Fields<'_>, asked: &mut Vec<Asked>) -> Result<Sampling, WireError> {
    let mut decimal = |key: &str, low, high, capability| -> Result<Option<f32>, WireError> {
        let number = fields.decimal(key, low, high)?;
        if number.is_some() {
            asked.push(need(key, capability));
        }
        Ok(number)
    };
    let mut sampling = Sampling {
        temperature: decimal("temperature", 0.0, 2.0, Capability::Temperature)?,
        top_p: decimal("top_p", 0.0, 1.0, Capability::TopP)?,
        min_p: decimal("min_p", 0.0, 1.0, Capability::MinP)?,
        frequency_penalty: decimal("frequency_penalty", -2.0, 2.0, Capability::FrequencyPenalty)?,
        presence_penalty: decimal("presence_penalty", -2.0, 2.0, Capability::PresencePenalty)?,
        ..Sampling::default()
    };
    if let Some(top_k) = fields.integer("top_k", 1, i64::from(u32::MAX))? {
        sampling.top_k = u32::try_from(top_k).ok();
        asked.push(need("top_k", Capability::TopK));
    }
    unusual(fields, &mut sampling, asked)?;
    sampling.seed = fields.integer("seed", i64::MIN, i64::MAX)?;
    if sampling.seed.is_some() {
        asked.push(need("seed", Capability::Seed));
    }
    sampling.stop = stop(fields)?;
    if !sampling.stop.is_empty() {
        asked.push(need("stop", Capability::Stop));
    }
    Ok(sampling)
}

/// What OpenAI does not know, or hardly anybody asks for.
fn unusual(fields: &Fields<'_>, sampling: &mut Sampling, asked: &mut Vec<Asked>) -> Result<(), WireError> {
    sampling.repetition_penalty = fields.decimal("repetition_penalty", 0.0, 10.0)?;
    if let Some(penalty) = sampling.repetition_penalty {
        if penalty <= 0.0 {
            return Err(WireError::invalid("repetition_penalty", "expected a number above 0"));
        }
        asked.push(need("repetition_penalty", Capability::RepetitionPenalty));
    }
    sampling.min_tokens = fields.integer("min_tokens", 0, i64::from(u32::MAX))?.and_then(|n| u32::try_from(n).ok());
    if sampling.min_tokens.is_some_and(|tokens| tokens > 0) {
        asked.push(need("min_tokens", Capability::MinTokens));
    }
    sampling.ignore_eos = fields.boolean("ignore_eos")?.unwrap_or(false);
    if sampling.ignore_eos {
        asked.push(need("ignore_eos", Capability::IgnoreEos));
    }
    sampling.logit_bias = logit_bias(fields)?;
    if !sampling.logit_bias.is_empty() {
        asked.push(need("logit_bias", Capability::LogitBias));
    }
    Ok(())
}

fn logit_bias(fields: &Fields<'_>) -> Result<Vec<(u32, f32)>, WireError> {
    let Some(biases) = fields.object("logit_bias")? else { return Ok(Vec::new()) };
    let mut read = Vec::new();
    for key in biases.keys() {
        if read.len() == MAX_BIASES {
            return Err(WireError::invalid("logit_bias", format!("it has more than {MAX_BIASES} tokens")));
        }
        let token = key.parse::<u32>().map_err(|_| {
            WireError::invalid(&biases.path(key), "a key is the number of a token of the model's vocabulary")
        })?;
        if let Some(bias) = biases.decimal(key, -100.0, 100.0)? {
            read.push((token, bias));
        }
    }
    Ok(read)
}

fn logprobs(fields: &Fields<'_>) -> Result<Option<u32>, WireError> {
    let wanted = fields.boolean("logprobs")?.unwrap_or(false);
    let likeliest = fields.integer("top_logprobs", 0, 20)?.and_then(|n| u32::try_from(n).ok());
    if likeliest.is_some() && !wanted {
        return Err(WireError::invalid("top_logprobs", "it is only allowed when 'logprobs' is true"));
    }
    Ok(wanted.then_some(likeliest.unwrap_or(0)))
}

/// How much the model is to think.
pub(super) fn effort(fields: &Fields<'_>, asked: &mut Vec<Asked>) -> Result<Option<Effort>, WireError> {
    effort_at(fields, "reasoning_effort", asked)
}

/// The same, by the name that it has here.
pub(in crate::wire) fn effort_at(
    fields: &Fields<'_>,
    key: &str,
    asked: &mut Vec<Asked>,
) -> Result<Option<Effort>, WireError> {
    let Some(word) = fields.string(key)? else { return Ok(None) };
    let path = fields.path(key);
    let Some(effort) = Effort::ALL.into_iter().find(|effort| effort.as_str() == word) else {
        let words = Effort::ALL.map(Effort::as_str).join(", ");
        return Err(WireError::invalid(&path, format!("expected one of {words}")));
    };
    asked.push(need(&path, Capability::ReasoningEffort));
    Ok(Some(effort))
}

/// What concerns the chat template: vLLM's names.
pub(super) fn template(fields: &Fields<'_>, request: &mut Request, asked: &mut Vec<Asked>) -> Result<(), WireError> {
    request.continues = fields.boolean("continue_final_message")?.unwrap_or(false);
    let generation_prompt = fields.boolean("add_generation_prompt")?;
    if request.continues {
        if generation_prompt == Some(true) {
            let why = "'continue_final_message' goes on from the last message, so that none is begun; leave it out or say false";
            return Err(WireError::invalid("add_generation_prompt", why));
        }
        let last = request.messages.last();
        if !last.is_some_and(|message| message.role == Role::Assistant && message.tool_calls.is_empty()) {
            let why = "the last message must be the assistant's, and a text";
            return Err(WireError::invalid("continue_final_message", why));
        }
        asked.push(need("continue_final_message", Capability::ContinueFinalMessage));
    } else if generation_prompt == Some(false) {
        let why = "an answer begins a message, unless 'continue_final_message' is true";
        return Err(WireError::invalid("add_generation_prompt", why));
    }
    if let Some(arguments) = fields.object("chat_template_kwargs")? {
        asked.push(need("chat_template_kwargs", Capability::TemplateArguments));
        request.template_arguments = Some(Json(arguments.to_json().into()));
    }
    Ok(())
}

fn stop(fields: &Fields<'_>) -> Result<Vec<String>, WireError> {
    let stops = match fields.get("stop") {
        None => return Ok(Vec::new()),
        Some(Value::String(text)) => vec![text.clone()],
        Some(Value::Array(texts)) if texts.len() > MAX_STOPS => {
            let message = format!("Invalid 'stop': array too long. Expected at most {MAX_STOPS} texts.");
            return Err(WireError::at("stop", "array_above_max_length", message));
        }
        Some(Value::Array(texts)) => texts
            .iter()
            .enumerate()
            .map(|(i, text)| match text {
                Value::String(text) => Ok(text.clone()),
                other => Err(WireError::wrong_type(&format!("stop[{i}]"), "a string", other)),
            })
            .collect::<Result<_, _>>()?,
        Some(other) => return Err(WireError::wrong_type("stop", "a string or an array of strings", other)),
    };
    if stops.iter().any(String::is_empty) {
        return Err(WireError::invalid("stop", "a stop text is empty"));
    }
    Ok(stops)
}

pub(super) fn max_output_tokens(fields: &Fields<'_>, asked: &mut Vec<Asked>) -> Result<Option<u32>, WireError> {
    let mut read = |key: &str| -> Result<Option<u32>, WireError> {
        let number = fields.integer(key, 1, i64::from(u32::MAX))?;
        if number.is_some() {
            asked.push(need(key, Capability::MaxTokens));
        }
        Ok(number.and_then(|number| u32::try_from(number).ok()))
    };
    match (read("max_completion_tokens")?, read("max_tokens")?) {
        (Some(new), Some(old)) if new != old => {
            let why = format!("it says {old} and 'max_completion_tokens' says {new}; send one of them");
            Err(WireError::invalid("max_tokens", why))
        }
        (new, old) => Ok(new.or(old)),
    }
}

pub(in crate::wire) fn choices(fields: &Fields<'_>, asked: &mut Vec<Asked>) -> Result<NonZeroU32, WireError> {
    let n = fields.integer("n", 1, 128)?.and_then(|n| u32::try_from(n).ok()).and_then(NonZeroU32::new);
    let n = n.unwrap_or(NonZeroU32::MIN);
    if n.get() > 1 {
        asked.push(need("n", Capability::N));
    }
    Ok(n)
}

/// Returns which chunks are to tell the usage: the last, or all of them as vLLM has it.
pub(in crate::wire) fn stream_options(fields: &Fields<'_>, stream: bool) -> Result<UsageIn, WireError> {
    let Some(options) = fields.object("stream_options")? else { return Ok(UsageIn::None) };
    if !stream {
        return Err(WireError::invalid("stream_options", "it is only allowed when 'stream' is true"));
    }
    let known = ["include_usage", "continuous_usage_stats", "include_obfuscation"];
    if let Some(key) = options.keys().find(|key| !known.contains(key)) {
        let path = options.path(key);
        return Err(WireError::at(&path, "unknown_parameter", format!("Unknown parameter: '{path}'.")));
    }
    options.boolean("include_obfuscation")?;
    let continuous = options.boolean("continuous_usage_stats")?.unwrap_or(false);
    Ok(match options.boolean("include_usage")?.unwrap_or(false) {
        true if continuous => UsageIn::Every,
        true => UsageIn::Last,
        false => UsageIn::None,
    })
}

/// Parameters that change the answer: a backend that cannot honour one is out.
pub(super) fn features(fields: &Fields<'_>, asked: &mut Vec<Asked>) -> Result<(), WireError> {
    if fields.array("modalities")?.is_some_and(|kinds| kinds.iter().any(|kind| kind != "text")) {
        asked.push(need("modalities", Capability::Modalities));
    }
    if fields.boolean("store")?.unwrap_or(false) {
        asked.push(need("store", Capability::Store));
    }
    if fields.string("service_tier")?.is_some_and(|tier| !["auto", "default"].contains(&tier)) {
        asked.push(need("service_tier", Capability::ServiceTier));
    }
    for (key, capability) in [
        ("audio", Capability::Modalities),
        ("verbosity", Capability::Verbosity),
        ("web_search_options", Capability::WebSearch),
        ("moderation", Capability::Moderation),
    ] {
        if fields.get(key).is_some() {
            asked.push(need(key, capability));
        }
    }
    Ok(())
}

/// Parameters that only help: a backend that cannot use one may still answer, and the response says so.
pub(super) fn hints(fields: &Fields<'_>, asked: &mut Vec<Asked>) -> Result<(), WireError> {
    fields.string("user")?;
    fields.string("safety_identifier")?;
    metadata(fields)?;
    for (key, capability) in [
        ("user", Capability::User),
        ("safety_identifier", Capability::User),
        ("metadata", Capability::Metadata),
        ("prediction", Capability::Prediction),
        ("prompt_cache_key", Capability::PromptCache),
        ("prompt_cache_options", Capability::PromptCache),
        ("prompt_cache_retention", Capability::PromptCache),
    ] {
        if fields.get(key).is_some() {
            asked.push(hint(key, capability));
        }
    }
    Ok(())
}

pub(in crate::wire) fn metadata(fields: &Fields<'_>) -> Result<(), WireError> {
    let Some(pairs) = fields.object("metadata")? else { return Ok(()) };
    if pairs.keys().count() > 16 {
        return Err(WireError::invalid("metadata", "it has more than 16 pairs"));
    }
    for key in pairs.keys() {
        let value = pairs.string(key)?.unwrap_or_default();
        if key.chars().count() > 64 || value.chars().count() > 512 {
            return Err(WireError::invalid("metadata", "a key may have 64 characters and a value 512"));
        }
    }
    Ok(())
}
