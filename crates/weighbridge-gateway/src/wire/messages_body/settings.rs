//! The parameters beside messages and tools.

use serde_json::Value;
use weighbridge_backend::{Asked, Capability, Constraint, Effort, Sampling};

use super::blocks::of_dialect;
use super::hints::Hints;
use super::{Fields, Purpose, Version, WireError, need};
use crate::wire::chat_body::constraint::schema_of;

const MAX_STOPS: usize = 64;
/// The least that may be thought, where it is bounded in tokens.
const LEAST_BUDGET: i64 = 1_024;

/// Fields that are read here and elsewhere; every other one is a hint that only Anthropic could use.
pub(crate) const KNOWN: &[&str] = &[
    "model",
    "messages",
    "system",
    "max_tokens",
    "stream",
    "stop_sequences",
    "temperature",
    "top_p",
    "top_k",
    "tools",
    "tool_choice",
    "thinking",
    "output_config",
    "output_format",
    "metadata",
    "service_tier",
    "speed",
    "mcp_servers",
    "container",
    "inference_geo",
];

/// The most tokens of the answer. Required, unless the prompt is only counted.
pub(super) fn max_tokens(
    fields: &Fields<'_>,
    purpose: Purpose,
    asked: &mut Vec<Asked>,
) -> Result<Option<u32>, WireError> {
    let bound = fields.integer("max_tokens", 0, i64::from(u32::MAX))?;
    if purpose == Purpose::Count {
        return Ok(None);
    }
    match bound.ok_or_else(|| WireError::missing("max_tokens"))? {
        0 => {
            let why =
                "0 warms a cache at Anthropic; here prompts are cached as they are computed, so ask for at least 1";
            Err(WireError::invalid("max_tokens", why))
        }
        bound => {
            asked.push(need("max_tokens", Capability::MaxTokens));
            Ok(u32::try_from(bound).ok())
        }
    }
}

pub(super) fn sampling(fields: &Fields<'_>, version: Version, asked: &mut Vec<Asked>) -> Result<Sampling, WireError> {
    let mut sampling = Sampling { stop: stops(fields)?, ..Sampling::default() };
    if !sampling.stop.is_empty() {
        asked.push(need("stop_sequences", Capability::Stop));
    }
    let set = ["temperature", "top_p", "top_k"].into_iter().find(|key| fields.get(key).is_some());
    if let (Some(key), Version::Of2026) = (set, version) {
        let message = format!(
            "Unsupported parameter: '{key}' is not part of anthropic-version 2026-10-21; leave it out, or ask by \
             2023-06-01."
        );
        return Err(WireError::at(key, "unsupported_parameter", message));
    }
    sampling.temperature = fields.decimal("temperature", 0.0, 1.0)?;
    sampling.top_p = fields.decimal("top_p", 0.0, 1.0)?;
    let top_k = fields.integer("top_k", 0, i64::from(u32::MAX))?;
    // 0 is how some clients say that there is no such bound.
    sampling.top_k = top_k.filter(|&k| k > 0).and_then(|k| u32::try_from(k).ok());
    for (key, is_set, capability) in [
        ("temperature", sampling.temperature.is_some(), Capability::Temperature),
        ("top_p", sampling.top_p.is_some(), Capability::TopP),
        ("top_k", sampling.top_k.is_some(), Capability::TopK),
    ] {
        if is_set {
            asked.push(need(key, capability));
        }
    }
    Ok(sampling)
}

fn stops(fields: &Fields<'_>) -> Result<Vec<String>, WireError> {
    let Some(values) = fields.array("stop_sequences")? else { return Ok(Vec::new()) };
    super::messages::bounded(values.len(), MAX_STOPS, "stop_sequences")?;
    let read = |(i, value): (usize, &Value)| match value {
        Value::String(text) if text.is_empty() => {
            Err(WireError::invalid(&format!("stop_sequences[{i}]"), "it is empty"))
        }
        Value::String(text) => Ok(text.clone()),
        other => Err(WireError::wrong_type(&format!("stop_sequences[{i}]"), "a string", other)),
    };
    values.iter().enumerate().map(read).collect()
}

/// What the text of the answer must be: `output_config.format`, or `output_format` as its beta had it.
pub(super) fn constraint(
    fields: &Fields<'_>,
    asked: &mut Vec<Asked>,
    hints: &mut Hints,
) -> Result<Option<Constraint>, WireError> {
    let config = fields.object("output_config")?;
    if let Some(config) = &config {
        config.keys().filter(|key| !["effort", "format"].contains(key)).for_each(|key| hints.add(key));
    }
    let format = match config.map(|config| config.object("format")).transpose()?.flatten() {
        Some(format) => Some(("output_config.format", format)),
        None => fields.object("output_format")?.map(|format| ("output_format", format)),
    };
    let Some((name, format)) = format else { return Ok(None) };
    if format.required_string("type")? != "json_schema" {
        return Err(WireError::invalid(&format.path("type"), "expected json_schema"));
    }
    let constraint = schema_of(format.required("schema")?, &format.path("schema"))?;
    asked.push(need(name, Capability::ResponseFormat));
    Ok(Some(constraint))
}

/// How much the model is to think. A hint: agents ask for it of every model, also of those that do not think.
pub(super) fn effort(fields: &Fields<'_>, hints: &mut Hints) -> Result<Option<Effort>, WireError> {
    let thinking = thinking(fields)?;
    let worded = fields.object("output_config")?.map(|config| word(&config)).transpose()?.flatten();
    let effort = match thinking {
        Some(Thinking::Off) => Some(Effort::None),
        Some(Thinking::Budget(tokens)) => worded.or(Some(of_budget(tokens))),
        Some(Thinking::AsNeeded) | None => worded,
    };
    if fields.get("thinking").is_some() {
        hints.add_effort("thinking");
    }
    if worded.is_some() {
        hints.add_effort("output_config.effort");
    }
    Ok(effort)
}

fn word(config: &Fields<'_>) -> Result<Option<Effort>, WireError> {
    let Some(word) = config.string("effort")? else { return Ok(None) };
    let effort = Effort::ALL.into_iter().find(|effort| effort.as_str() == word && *effort >= Effort::Low);
    effort
        .map(Some)
        .ok_or_else(|| WireError::invalid(&config.path("effort"), "expected one of low, medium, high, xhigh, max"))
}

enum Thinking {
    Off,
    AsNeeded,
    Budget(i64),
}

fn thinking(fields: &Fields<'_>) -> Result<Option<Thinking>, WireError> {
    let Some(thinking) = fields.object("thinking")? else { return Ok(None) };
    match thinking.required_string("type")? {
        "disabled" => Ok(Some(Thinking::Off)),
        "adaptive" | "between_tools" => Ok(Some(Thinking::AsNeeded)),
        "enabled" => {
            thinking.required("budget_tokens")?;
            let budget = thinking.integer("budget_tokens", LEAST_BUDGET, i64::from(u32::MAX))?.unwrap_or_default();
            if fields.integer("max_tokens", 0, i64::from(u32::MAX))?.is_some_and(|most| most <= budget) {
                let why = "it must be below 'max_tokens'";
                return Err(WireError::invalid(&thinking.path("budget_tokens"), why));
            }
            Ok(Some(Thinking::Budget(budget)))
        }
        _ => {
            let why = "expected enabled, adaptive, between_tools or disabled";
            Err(WireError::invalid(&thinking.path("type"), why))
        }
    }
}

/// The effort that comes near a budget: agents think with 4 000, 10 000 and 32 000 tokens.
fn of_budget(tokens: i64) -> Effort {
    match tokens {
        ..4_096 => Effort::Low,
        4_096..16_384 => Effort::Medium,
        _ => Effort::High,
    }
}

/// Whether the text of what is thought is wanted: `display` of `thinking` says `omitted` where it is not.
pub(super) fn shows_thinking(fields: &Fields<'_>) -> Result<bool, WireError> {
    let Some(thinking) = fields.object("thinking")? else { return Ok(true) };
    match thinking.string("display")? {
        None | Some("summarized") => Ok(true),
        Some("omitted") => Ok(false),
        Some(_) => Err(WireError::invalid(&thinking.path("display"), "expected summarized or omitted")),
    }
}

/// Everything else: what would change the answer takes a backend of Anthropic's dialect, the rest are hints.
pub(super) fn others(fields: &Fields<'_>, asked: &mut Vec<Asked>, hints: &mut Hints) -> Result<(), WireError> {
    if let Some(metadata) = fields.object("metadata")? {
        metadata.string("user_id")?;
        hints.add("metadata");
    }
    match fields.string("service_tier")? {
        None | Some("auto") => {}
        Some("standard_only") => hints.add("service_tier"),
        Some(_) => return Err(WireError::invalid("service_tier", "expected auto or standard_only")),
    }
    if fields.string("speed")?.is_some_and(|speed| speed != "standard") {
        hints.add("speed");
    }
    if fields.array("mcp_servers")?.is_some_and(|servers| !servers.is_empty()) {
        asked.push(of_dialect("mcp_servers".to_owned()));
    }
    for key in ["container", "inference_geo"] {
        if fields.get(key).is_some() {
            asked.push(of_dialect(key.to_owned()));
        }
    }
    fields.keys().filter(|key| !KNOWN.contains(key)).for_each(|key| hints.add(key));
    Ok(())
}
