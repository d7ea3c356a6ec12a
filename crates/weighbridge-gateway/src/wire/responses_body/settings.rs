//! The settings beside items and tools, and how the response says them back.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use weighbridge_backend::{Asked, Capability, Carried, Constraint, Json, Request};

use super::super::chat_body::constraint::{name, schema_of};
use super::super::chat_body::hint;
use super::super::chat_body::parameters::{effort_at, metadata};
use super::tools::in_namespaces;
use super::{Fields, WireError, need, passed_on};

/// Every top-level field that is read.
pub(crate) const KNOWN: &[&str] = &[
    "background",
    "background_options",
    "client_metadata",
    "frequency_penalty",
    "include",
    "input",
    "instructions",
    "max_output_tokens",
    "max_tool_calls",
    "metadata",
    "model",
    "parallel_tool_calls",
    "presence_penalty",
    "previous_response_id",
    "prompt_cache_key",
    "prompt_cache_options",
    "prompt_cache_retention",
    "reasoning",
    "safety_identifier",
    "service_tier",
    "store",
    "stream",
    "stream_options",
    "temperature",
    "text",
    "tool_choice",
    "tools",
    "top_logprobs",
    "top_p",
    "truncation",
    "user",
];

/// What may be asked to come along. Most of it belongs to tools that run at OpenAI, and never occurs.
const INCLUDABLE: &[&str] = &[
    "code_interpreter_call.outputs",
    "computer_call_output.output.image_url",
    "file_search_call.results",
    "message.input_image.image_url",
    ENCRYPTED,
    LOGPROBS,
    "web_search_call.action.sources",
    "web_search_call.results",
];
const ENCRYPTED: &str = "reasoning.encrypted_content";
const LOGPROBS: &str = "message.output_text.logprobs";

/// The settings of a request, as its response says them back.
#[derive(Clone, Debug, Default)]
pub(crate) struct Echo {
    /// By the names that they have in a response.
    pub(crate) fields: Map<String, Value>,
    /// Thoughts go out as a summary.
    pub(crate) summary: bool,
    /// Tools in namespaces, by the names under which backends have them: namespace and name.
    pub(crate) namespaces: BTreeMap<String, (String, String)>,
}

/// The pair of `metadata` that tells how many messages were left out.
const LEFT_OUT: &str = "weighbridge_left_out_messages";

impl Echo {
    /// Says that so many of the oldest messages were left out.
    pub(crate) fn shortened(&mut self, messages: usize) {
        if let Some(Value::Object(metadata)) = self.fields.get_mut("metadata") {
            metadata.insert(LEFT_OUT.to_owned(), messages.to_string().into());
        }
    }
}

/// What OpenAI has and this gateway has not, by name.
pub(super) fn refuse_what_is_not_offered(fields: &Fields<'_>) -> Result<(), WireError> {
    let refuse = |name: &str, instead: &str| {
        Err(WireError::at(name, "unsupported_parameter", format!("Unsupported parameter: '{name}'. {instead}")))
    };
    if fields.get("conversation").is_some() {
        return refuse("conversation", "Conversations are not kept here; go on with 'previous_response_id'.");
    }
    if fields.get("prompt").is_some() {
        return refuse("prompt", "Prompts are not kept here; send 'instructions' and 'input'.");
    }
    Ok(())
}

/// Whether the response is to be made without its caller. Then it has to be kept, or nobody could come back for it.
pub(super) fn background(fields: &Fields<'_>, asked: &mut Vec<Asked>) -> Result<bool, WireError> {
    let background = fields.boolean("background")?.unwrap_or(false);
    if background && fields.boolean("store")? == Some(false) {
        let why = "a response in the background is kept, so that it can be asked for; leave it out, or send true";
        return Err(WireError::invalid("store", why));
    }
    let Some(options) = fields.object("background_options")? else { return Ok(background) };
    if !background {
        return Err(WireError::invalid("background_options", "it is only allowed when 'background' is true"));
    }
    for key in options.keys() {
        match key {
            "completion_window" => soonest(&options)?,
            // Which requests belong together changes nothing here.
            "continuation_id" => {
                options.string(key)?;
                asked.push(Asked { hint: true, ..passed_on(options.path(key)) });
            }
            _ => asked.push(passed_on(options.path(key))),
        }
    }
    Ok(background)
}

/// An answer comes as soon as it can, and is not put off for a lower price.
fn soonest(options: &Fields<'_>) -> Result<(), WireError> {
    let path = options.path("completion_window");
    match options.string("completion_window")? {
        None | Some("soonest") => Ok(()),
        Some("2h" | "8h") => {
            let message = format!("Unsupported value: '{path}' may be soonest here; answers are not put off.");
            Err(WireError::at(&path, "unsupported_value", message))
        }
        Some(_) => Err(WireError::invalid(&path, "expected soonest")),
    }
}

/// Whether the oldest turns may be left out where the conversation fits nobody.
pub(super) fn may_shorten(fields: &Fields<'_>) -> Result<bool, WireError> {
    match fields.string("truncation")? {
        None | Some("disabled") => Ok(false),
        Some("auto") => Ok(true),
        Some(_) => Err(WireError::invalid("truncation", "expected auto or disabled")),
    }
}

/// Reads what is left, into the request and the echo.
pub(super) fn settings(fields: &Fields<'_>, request: &mut Request, asked: &mut Vec<Asked>) -> Result<Echo, WireError> {
    sampling(fields, request, asked)?;
    logprobs(fields, request, asked)?;
    let summary = reasoning(fields, request, asked)?;
    text(fields, request, asked)?;
    metadata(fields)?;
    // It counts calls of tools that run at OpenAI, of which there are none.
    fields.integer("max_tool_calls", 1, i64::from(u32::MAX))?;
    stream_options(fields, request.stream)?;
    tier(fields, request, asked)?;
    hints(fields, request, asked)?;
    asked.extend(fields.keys().filter(|key| !KNOWN.contains(key)).map(|key| passed_on(key.to_owned())));
    Ok(Echo { fields: echo(fields), summary, namespaces: in_namespaces(fields) })
}

fn sampling(fields: &Fields<'_>, request: &mut Request, asked: &mut Vec<Asked>) -> Result<(), WireError> {
    request.sampling.temperature = fields.decimal("temperature", 0.0, 2.0)?;
    request.sampling.top_p = fields.decimal("top_p", 0.0, 1.0)?;
    // Not OpenAI's: the Open Responses specification has them here as well.
    request.sampling.frequency_penalty = fields.decimal("frequency_penalty", -2.0, 2.0)?;
    request.sampling.presence_penalty = fields.decimal("presence_penalty", -2.0, 2.0)?;
    let bound = fields.integer("max_output_tokens", 1, i64::from(u32::MAX))?;
    request.max_output_tokens = bound.and_then(|bound| u32::try_from(bound).ok());
    for (key, capability) in [
        ("temperature", Capability::Temperature),
        ("top_p", Capability::TopP),
        ("frequency_penalty", Capability::FrequencyPenalty),
        ("presence_penalty", Capability::PresencePenalty),
        ("max_output_tokens", Capability::MaxTokens),
    ] {
        if fields.get(key).is_some() {
            asked.push(need(key, capability));
        }
    }
    Ok(())
}

/// Log-probabilities come where they are to be included, or where so many are asked for.
fn logprobs(fields: &Fields<'_>, request: &mut Request, asked: &mut Vec<Asked>) -> Result<(), WireError> {
    let likeliest = fields.integer("top_logprobs", 0, 20)?.and_then(|n| u32::try_from(n).ok()).unwrap_or(0);
    let mut wanted = (likeliest > 0).then(|| "top_logprobs".to_owned());
    for (i, item) in fields.array("include")?.unwrap_or_default().iter().enumerate() {
        let path = format!("include[{i}]");
        match item.as_str() {
            Some(LOGPROBS) => wanted = Some(path),
            // Thoughts are given as they are, and can be sent back as they are.
            Some(ENCRYPTED) => asked.push(Asked { hint: true, ..passed_on(path) }),
            Some(known) if INCLUDABLE.contains(&known) => {}
            Some(_) => return Err(WireError::invalid(&path, format!("expected one of {}", INCLUDABLE.join(", ")))),
            None => return Err(WireError::wrong_type(&path, "a string", item)),
        }
    }
    if let Some(path) = wanted {
        asked.push(need(&path, Capability::Logprobs));
        request.sampling.logprobs = Some(likeliest);
    }
    Ok(())
}

/// Returns whether thoughts go out as a summary.
fn reasoning(fields: &Fields<'_>, request: &mut Request, asked: &mut Vec<Asked>) -> Result<bool, WireError> {
    let Some(reasoning) = fields.object("reasoning")? else { return Ok(false) };
    request.effort = effort_at(&reasoning, "effort", asked)?;
    let mut summary = false;
    for key in reasoning.keys() {
        match key {
            "effort" => {}
            "summary" | "generate_summary" => summary |= word(&reasoning, key, &["auto", "concise", "detailed"])?,
            "mode" if reasoning.string(key)? == Some("standard") => {}
            "context" if reasoning.string(key)? == Some("auto") => {}
            _ => asked.push(passed_on(reasoning.path(key))),
        }
    }
    Ok(summary)
}

/// Whether the field is there, with one of these words.
fn word(fields: &Fields<'_>, key: &str, words: &[&str]) -> Result<bool, WireError> {
    match fields.string(key)? {
        None => Ok(false),
        Some(word) if words.contains(&word) => Ok(true),
        Some(_) => Err(WireError::invalid(&fields.path(key), format!("expected one of {}", words.join(", ")))),
    }
}

fn text(fields: &Fields<'_>, request: &mut Request, asked: &mut Vec<Asked>) -> Result<(), WireError> {
    let Some(text) = fields.object("text")? else { return Ok(()) };
    if let Some(format) = text.object("format")? {
        request.constraint = constraint(&format)?;
        if request.constraint.is_some() {
            asked.push(need("text.format", Capability::ResponseFormat));
        }
    }
    word(&text, "verbosity", &["low", "medium", "high"])?;
    if let Some(level) = text.string("verbosity")?.filter(|level| *level != "medium") {
        asked.push(need("text.verbosity", Capability::Verbosity));
        request.carried.push(carried("verbosity", &level.into()));
    }
    asked.extend(text.keys().filter(|key| !["format", "verbosity"].contains(key)).map(|key| passed_on(text.path(key))));
    Ok(())
}

fn constraint(format: &Fields<'_>) -> Result<Option<Constraint>, WireError> {
    match format.required_string("type")? {
        "text" => Ok(None),
        "json_object" => Ok(Some(Constraint::JsonObject)),
        "json_schema" => {
            name(format)?;
            format.boolean("strict")?;
            format.string("description")?;
            schema_of(format.required("schema")?, &format.path("schema")).map(Some)
        }
        _ => Err(WireError::invalid(&format.path("type"), "expected text, json_object or json_schema")),
    }
}

fn stream_options(fields: &Fields<'_>, stream: bool) -> Result<(), WireError> {
    let Some(options) = fields.object("stream_options")? else { return Ok(()) };
    if !stream {
        return Err(WireError::invalid("stream_options", "it is only allowed when 'stream' is true"));
    }
    if let Some(key) = options.keys().find(|key| *key != "include_obfuscation") {
        let path = options.path(key);
        return Err(WireError::at(&path, "unknown_parameter", format!("Unknown parameter: '{path}'.")));
    }
    options.boolean("include_obfuscation").map(drop)
}

fn tier(fields: &Fields<'_>, request: &mut Request, asked: &mut Vec<Asked>) -> Result<(), WireError> {
    if let Some(tier) = fields.string("service_tier")?.filter(|tier| !["auto", "default"].contains(tier)) {
        asked.push(need("service_tier", Capability::ServiceTier));
        request.carried.push(carried("service_tier", &tier.into()));
    }
    Ok(())
}

/// What only helps. Pairs of `metadata` are no hint: they stay with the response, here.
fn hints(fields: &Fields<'_>, request: &mut Request, asked: &mut Vec<Asked>) -> Result<(), WireError> {
    fields.string("user")?;
    fields.string("safety_identifier")?;
    fields.string("prompt_cache_key")?;
    // What a client says of itself goes to nobody.
    asked
        .extend(fields.object("client_metadata")?.map(|_| Asked { hint: true, ..passed_on("client_metadata".into()) }));
    for (name, capability) in [
        ("user", Capability::User),
        ("safety_identifier", Capability::User),
        ("prompt_cache_key", Capability::PromptCache),
        ("prompt_cache_options", Capability::PromptCache),
        ("prompt_cache_retention", Capability::PromptCache),
    ] {
        if let Some(value) = fields.get(name) {
            asked.push(hint(name, capability));
            request.carried.push(carried(name, value));
        }
    }
    Ok(())
}

fn carried(name: &'static str, value: &Value) -> Carried {
    Carried { name, value: Json(value.to_string().into()) }
}

/// What a response says of its settings, whether they were sent or not. Of numbers that were not it says OpenAI's
/// defaults, since typed clients take no null for them.
fn echo(fields: &Fields<'_>) -> Map<String, Value> {
    let or = |key: &str, default: Value| fields.get(key).cloned().unwrap_or(default);
    let inner = |key: &str, inner: &str, default: Value| {
        fields
            .get(key)
            .and_then(|object| object.get(inner))
            .filter(|value| !value.is_null())
            .cloned()
            .unwrap_or(default)
    };
    let mut echo = Map::new();
    echo.insert("background".into(), or("background", false.into()));
    for key in ["instructions", "max_output_tokens", "max_tool_calls", "previous_response_id", "prompt_cache_key"] {
        echo.insert(key.into(), or(key, Value::Null));
    }
    echo.insert("parallel_tool_calls".into(), or("parallel_tool_calls", true.into()));
    let effort = inner("reasoning", "effort", Value::Null);
    echo.insert("reasoning".into(), json!({"effort": effort, "summary": inner("reasoning", "summary", Value::Null)}));
    echo.insert("safety_identifier".into(), or("safety_identifier", Value::Null));
    echo.insert("service_tier".into(), "default".into());
    for (key, default) in [("temperature", 1.0), ("top_p", 1.0), ("frequency_penalty", 0.0), ("presence_penalty", 0.0)]
    {
        echo.insert(key.into(), or(key, default.into()));
    }
    let format = full(&inner("text", "format", json!({"type": "text"})), "json_schema", &[]);
    echo.insert("text".into(), json!({"format": format, "verbosity": inner("text", "verbosity", "medium".into())}));
    echo.insert("tool_choice".into(), or("tool_choice", "auto".into()));
    echo.insert("tools".into(), or("tools", json!([])).as_array().into_iter().flatten().map(tool).collect());
    echo.insert("top_logprobs".into(), or("top_logprobs", 0.into()));
    echo.insert("truncation".into(), or("truncation", "disabled".into()));
    // Typed clients take no null for it.
    echo.extend(fields.string("user").ok().flatten().map(|user| ("user".to_owned(), user.into())));
    echo.insert("metadata".into(), or("metadata", json!({})));
    echo
}

/// A function with all its fields.
fn tool(tool: &Value) -> Value {
    full(tool, "function", &["description", "parameters"])
}

/// An object of this type with these fields, also where its sender left them out; it says whether it is strict, too.
fn full(object: &Value, kind: &str, fields: &[&str]) -> Value {
    let mut full = object.clone();
    if full["type"] == kind {
        for key in fields {
            // Null where it is not there.
            full[*key] = object[*key].clone();
        }
        full["strict"] = object["strict"].as_bool().unwrap_or(false).into();
    }
    full
}
