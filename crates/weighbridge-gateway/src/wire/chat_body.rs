//! The body of `POST /v1/chat/completions`: parsed as far as policy and translation need it, each
//! parameter noted with what it takes of a backend, so that nothing is silently ignored.
//!
//! Fields and ranges: OpenAI's public API description, chat completions.

use std::num::NonZeroU32;
use std::sync::Arc;

use serde_json::Value;
use weighbridge_backend::{
    Asked, Capability, Dialect, Json, Message, Need, Original, Part, Request, Role, Sampling, Tool, ToolCall,
    ToolChoice,
};

use super::WireError;
use super::fields::Fields;

const MAX_MESSAGES: usize = 100_000;
const MAX_TOOLS: usize = 1_024;
const MAX_STOPS: usize = 16;

/// A chat completion request, checked.
#[derive(Debug)]
pub(crate) struct ChatBody {
    /// As the seam knows it.
    pub(crate) request: Request,
    /// Whether a stream ends with a chunk of usage.
    pub(crate) include_usage: bool,
}

impl ChatBody {
    /// Reads a body.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub(crate) fn parse(id: Arc<str>, body: &[u8]) -> Result<Self, WireError> {
        let value: Value = serde_json::from_slice(body).map_err(|error| WireError {
            message: format!("We could not parse the JSON body of your request: {error}."),
            param: None,
            code: "invalid_json",
        })?;
        let Value::Object(_) = value else {
            return Err(WireError {
                message: "The body must be a JSON object.".into(),
                param: None,
                code: "invalid_type",
            });
        };
        let fields = Fields::of(&value, "")?;
        let mut asked = Vec::new();
        let mut request = Request {
            id,
            model: model(&fields)?,
            messages: messages(&fields, &mut asked)?,
            tools: tools(&fields, &mut asked)?,
            tool_choice: ToolChoice::Auto,
            sampling: sampling(&fields, &mut asked)?,
            max_output_tokens: max_output_tokens(&fields, &mut asked)?,
            choices: choices(&fields, &mut asked)?,
            stream: fields.boolean("stream")?.unwrap_or(false),
            asked: Vec::new(),
            original: Some(Original { dialect: Dialect::OpenAiChat, body: body.into() }),
        };
        request.tool_choice = tool_choice(&fields, &request.tools, &mut asked)?;
        let include_usage = stream_options(&fields, request.stream)?;
        features(&fields, &mut asked)?;
        hints(&fields, &mut asked)?;
        unknown(&fields, &mut asked);
        request.asked = asked;
        Ok(Self { request, include_usage })
    }
}

/// Every top-level field that this file reads.
const KNOWN: &[&str] = &[
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

fn need(parameter: &str, capability: Capability) -> Asked {
    Asked { parameter: parameter.to_owned(), need: Need::Capability(capability), hint: false }
}

fn hint(parameter: &str, capability: Capability) -> Asked {
    Asked { hint: true, ..need(parameter, capability) }
}

/// A field that we hand on as it is, to a backend that speaks OpenAI's dialect.
fn passed_on(parameter: String) -> Asked {
    Asked { parameter, need: Need::Dialect(Dialect::OpenAiChat), hint: false }
}

fn model(fields: &Fields<'_>) -> Result<String, WireError> {
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

fn sampling(fields: &Fields<'_>, asked: &mut Vec<Asked>) -> Result<Sampling, WireError> {
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

fn max_output_tokens(fields: &Fields<'_>, asked: &mut Vec<Asked>) -> Result<Option<u32>, WireError> {
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

fn choices(fields: &Fields<'_>, asked: &mut Vec<Asked>) -> Result<NonZeroU32, WireError> {
    let n = fields.integer("n", 1, 128)?.and_then(|n| u32::try_from(n).ok()).and_then(NonZeroU32::new);
    let n = n.unwrap_or(NonZeroU32::MIN);
    if n.get() > 1 {
        asked.push(need("n", Capability::N));
    }
    Ok(n)
}

/// Returns whether a chunk of usage is wanted.
fn stream_options(fields: &Fields<'_>, stream: bool) -> Result<bool, WireError> {
    let Some(options) = fields.object("stream_options")? else { return Ok(false) };
    if !stream {
        return Err(WireError::invalid("stream_options", "it is only allowed when 'stream' is true"));
    }
    if let Some(key) = options.keys().find(|key| !["include_usage", "include_obfuscation"].contains(key)) {
        let path = options.path(key);
        return Err(WireError::at(&path, "unknown_parameter", format!("Unknown parameter: '{path}'.")));
    }
    options.boolean("include_obfuscation")?;
    Ok(options.boolean("include_usage")?.unwrap_or(false))
}

fn tools(fields: &Fields<'_>, asked: &mut Vec<Asked>) -> Result<Vec<Tool>, WireError> {
    let Some(values) = fields.array("tools")? else { return Ok(Vec::new()) };
    if values.len() > MAX_TOOLS {
        let message = format!("Invalid 'tools': array too long. Expected at most {MAX_TOOLS} tools.");
        return Err(WireError::at("tools", "array_above_max_length", message));
    }
    let mut tools = Vec::with_capacity(values.len());
    for (i, value) in values.iter().enumerate() {
        let path = format!("tools[{i}]");
        let tool = Fields::of(value, &path)?;
        if tool.required_string("type")? != "function" {
            asked.push(passed_on(path));
            continue;
        }
        let function = tool.object("function")?.ok_or_else(|| WireError::missing(&tool.path("function")))?;
        let name = function.required_string("name")?.to_owned();
        if let Some(parameters) = function.get("parameters")
            && !parameters.is_object()
        {
            return Err(WireError::wrong_type(&function.path("parameters"), "an object", parameters));
        }
        // A strict tool promises that its arguments follow the schema: what a grammar enforces.
        if function.boolean("strict")?.unwrap_or(false) {
            asked.push(need(&function.path("strict"), Capability::ForcedToolChoice));
        }
        tools.push(Tool { definition: Json(value.to_string().into()), name });
    }
    if !tools.is_empty() {
        asked.push(need("tools", Capability::Tools));
    }
    Ok(tools)
}

fn tool_choice(fields: &Fields<'_>, tools: &[Tool], asked: &mut Vec<Asked>) -> Result<ToolChoice, WireError> {
    if fields.boolean("parallel_tool_calls")? == Some(false) && !tools.is_empty() {
        asked.push(need("parallel_tool_calls", Capability::ParallelToolCalls));
    }
    let choice = match fields.get("tool_choice") {
        None => return Ok(ToolChoice::Auto),
        Some(Value::String(word)) => match word.as_str() {
            "auto" => return Ok(ToolChoice::Auto),
            "none" => return Ok(ToolChoice::None),
            "required" => ToolChoice::Required,
            _ => return Err(WireError::invalid("tool_choice", "expected none, auto, required or an object")),
        },
        Some(value) => {
            let choice = Fields::of(value, "tool_choice")?;
            match choice.required_string("type")? {
                "function" => {
                    let function =
                        choice.object("function")?.ok_or_else(|| WireError::missing("tool_choice.function"))?;
                    let name = function.required_string("name")?;
                    if !tools.iter().any(|tool| tool.name == name) {
                        return Err(WireError::invalid(
                            "tool_choice.function.name",
                            "no tool of that name is in 'tools'",
                        ));
                    }
                    ToolChoice::Named(name.to_owned())
                }
                _ => {
                    asked.push(passed_on("tool_choice".into()));
                    return Ok(ToolChoice::Auto);
                }
            }
        }
    };
    if tools.is_empty() {
        return Err(WireError::invalid("tool_choice", "it is only allowed when 'tools' are given"));
    }
    asked.push(need("tool_choice", Capability::ForcedToolChoice));
    Ok(choice)
}

/// Parameters that change the answer: a backend that cannot honour one is out.
fn features(fields: &Fields<'_>, asked: &mut Vec<Asked>) -> Result<(), WireError> {
    if let Some(bias) = fields.object("logit_bias")?
        && bias.keys().next().is_some()
    {
        asked.push(need("logit_bias", Capability::LogitBias));
    }
    let logprobs = fields.boolean("logprobs")?.unwrap_or(false);
    if logprobs {
        asked.push(need("logprobs", Capability::Logprobs));
    }
    if fields.integer("top_logprobs", 0, 20)?.is_some() && !logprobs {
        return Err(WireError::invalid("top_logprobs", "it is only allowed when 'logprobs' is true"));
    }
    if let Some(format) = fields.object("response_format")? {
        match format.required_string("type")? {
            "text" => {}
            "json_object" | "json_schema" => asked.push(need("response_format", Capability::ResponseFormat)),
            _ => return Err(WireError::invalid("response_format.type", "expected text, json_object or json_schema")),
        }
    }
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
        ("reasoning_effort", Capability::ReasoningEffort),
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
fn hints(fields: &Fields<'_>, asked: &mut Vec<Asked>) -> Result<(), WireError> {
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

fn metadata(fields: &Fields<'_>) -> Result<(), WireError> {
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

fn messages(fields: &Fields<'_>, asked: &mut Vec<Asked>) -> Result<Vec<Message>, WireError> {
    fields.required("messages")?;
    let values = fields.array("messages")?.unwrap_or_default();
    match values.len() {
        0 => {
            let message = "Invalid 'messages': empty array. Expected at least one message.".to_owned();
            return Err(WireError::at("messages", "empty_array", message));
        }
        1..=MAX_MESSAGES => {}
        length => {
            let message = format!(
                "Invalid 'messages': array too long. Expected at most {MAX_MESSAGES} messages, but got {length}."
            );
            return Err(WireError::at("messages", "array_above_max_length", message));
        }
    }
    let read = |(i, value)| message(value, &format!("messages[{i}]"), asked);
    values.iter().enumerate().map(read).collect()
}

fn message(value: &Value, path: &str, asked: &mut Vec<Asked>) -> Result<Message, WireError> {
    let fields = Fields::of(value, path)?;
    let role = match fields.required_string("role")? {
        "developer" => Role::Developer,
        "system" => Role::System,
        "user" => Role::User,
        "assistant" => Role::Assistant,
        "tool" => Role::Tool,
        "function" => {
            let why = "the role function is deprecated; send the result with the role tool";
            return Err(WireError::invalid(&fields.path("role"), why));
        }
        _ => {
            let why = "expected one of developer, system, user, assistant, tool";
            return Err(WireError::invalid(&fields.path("role"), why));
        }
    };
    let tool_calls = tool_calls(&fields, role, asked)?;
    let may_be_silent = role == Role::Assistant && (!tool_calls.is_empty() || fields.get("refusal").is_some());
    let parts = match fields.get("content") {
        None if may_be_silent => Vec::new(),
        None => return Err(WireError::missing(&fields.path("content"))),
        Some(Value::String(text)) => vec![Part::Text(text.clone())],
        Some(Value::Array(parts)) => {
            let path = fields.path("content");
            let read = |(i, value)| part(value, &format!("{path}[{i}]"), asked);
            parts.iter().enumerate().map(read).collect::<Result<_, _>>()?
        }
        Some(other) => {
            return Err(WireError::wrong_type(&fields.path("content"), "a string or an array of parts", other));
        }
    };
    let tool_call_id = fields.string("tool_call_id")?.map(str::to_owned);
    if role == Role::Tool && tool_call_id.is_none() {
        return Err(WireError::missing(&fields.path("tool_call_id")));
    }
    if role == Role::Tool && !asked.iter().any(|asked| asked.need == Need::Capability(Capability::Tools)) {
        asked.push(need(&fields.path("role"), Capability::Tools));
    }
    let name = fields.string("name")?.map(str::to_owned);
    if name.is_some() && role != Role::Tool {
        // The name of a speaker: a nicety that no open model's template reads.
        asked.push(Asked { hint: true, ..passed_on(fields.path("name")) });
    }
    message_extras(&fields, asked);
    Ok(Message { role, parts, tool_calls, tool_call_id, name })
}

/// What clients echo back of an earlier answer is a hint; what we do not know is handed on or refused.
fn message_extras(fields: &Fields<'_>, asked: &mut Vec<Asked>) {
    for key in fields.keys() {
        let path = fields.path(key);
        match key {
            "role" | "content" | "name" | "tool_calls" | "tool_call_id" => {}
            "annotations" if fields.get(key).and_then(Value::as_array).is_some_and(Vec::is_empty) => {}
            "refusal" | "annotations" | "reasoning_content" | "reasoning" => {
                asked.push(Asked { hint: true, ..passed_on(path) });
            }
            _ => asked.push(passed_on(path)),
        }
    }
}

fn part(value: &Value, path: &str, asked: &mut Vec<Asked>) -> Result<Part, WireError> {
    let fields = Fields::of(value, path)?;
    let kind = fields.required_string("type")?;
    let capability = match kind {
        "text" => return Ok(Part::Text(fields.required_string("text")?.to_owned())),
        "refusal" => return Ok(Part::Text(fields.required_string("refusal")?.to_owned())),
        "image_url" => Some(Capability::ImageInput),
        "input_audio" => Some(Capability::AudioInput),
        "file" => Some(Capability::FileInput),
        _ => None,
    };
    asked.push(match capability {
        Some(capability) => need(path, capability),
        None => passed_on(path.to_owned()),
    });
    Ok(Part::Other { kind: kind.to_owned() })
}

fn tool_calls(fields: &Fields<'_>, role: Role, asked: &mut Vec<Asked>) -> Result<Vec<ToolCall>, WireError> {
    let Some(values) = fields.array("tool_calls")?.filter(|calls| !calls.is_empty()) else { return Ok(Vec::new()) };
    if role != Role::Assistant {
        return Err(WireError::invalid(&fields.path("tool_calls"), "only the assistant makes tool calls"));
    }
    if !asked.iter().any(|asked| asked.need == Need::Capability(Capability::Tools)) {
        asked.push(need(&fields.path("tool_calls"), Capability::Tools));
    }
    let mut calls = Vec::with_capacity(values.len());
    for (i, value) in values.iter().enumerate() {
        let path = fields.path(&format!("tool_calls[{i}]"));
        let call = Fields::of(value, &path)?;
        if call.string("type")?.unwrap_or("function") != "function" {
            asked.push(passed_on(path));
            continue;
        }
        let function = call.object("function")?.ok_or_else(|| WireError::missing(&call.path("function")))?;
        calls.push(ToolCall {
            id: call.required_string("id")?.to_owned(),
            name: function.required_string("name")?.to_owned(),
            arguments: function.string("arguments")?.unwrap_or_default().to_owned(),
        });
    }
    Ok(calls)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(body: &str) -> Result<ChatBody, WireError> {
        ChatBody::parse("r-1".into(), body.as_bytes())
    }

    fn with(extra: &str) -> String {
        format!(r#"{{"model":"demo","messages":[{{"role":"user","content":"hi"}}]{extra}}}"#)
    }

    fn check_error(body: &str, code: &str, param: Option<&str>) {
        let error = parse(body).expect_err(body);
        assert_eq!((error.code, error.param.as_deref()), (code, param), "{}", error.message);
    }

    fn check_asked(extra: &str, expected: &[(&str, bool)]) {
        let body = parse(&with(extra)).expect("it is a good body");
        let asked: Vec<_> = body.request.asked.iter().map(|asked| (asked.parameter.as_str(), asked.hint)).collect();
        assert_eq!(asked, expected, "{extra}");
    }

    #[test]
    fn every_fault_names_its_parameter_and_code() {
        for (body, code, param) in [
            ("{", "invalid_json", None),
            ("[]", "invalid_type", None),
            (r#"{"messages":[]}"#, "missing_required_parameter", Some("model")),
            (r#"{"model":"demo"}"#, "missing_required_parameter", Some("messages")),
            (r#"{"model":"demo","messages":[]}"#, "empty_array", Some("messages")),
            (r#"{"model":"demo","messages":"hi"}"#, "invalid_type", Some("messages")),
            (
                r#"{"model":"demo","messages":[{"role":"user"}]}"#,
                "missing_required_parameter",
                Some("messages[0].content"),
            ),
            (
                r#"{"model":"demo","messages":[{"role":"boss","content":"x"}]}"#,
                "invalid_value",
                Some("messages[0].role"),
            ),
            (
                r#"{"model":"demo","messages":[{"role":"user","content":7}]}"#,
                "invalid_type",
                Some("messages[0].content"),
            ),
        ] {
            check_error(body, code, param);
        }
        for (extra, code, param) in [
            (r#","temperature":"hot""#, "invalid_type", "temperature"),
            (r#","temperature":200"#, "decimal_above_max_value", "temperature"),
            (r#","n":0"#, "integer_below_min_value", "n"),
            (r#","n":1.5"#, "invalid_type", "n"),
            (r#","max_tokens":99999999999999999999"#, "integer_above_max_value", "max_tokens"),
            (r#","max_tokens":5,"max_completion_tokens":6"#, "invalid_value", "max_tokens"),
            (r#","stop":[""]"#, "invalid_value", "stop"),
            (r#","stop":[1]"#, "invalid_type", "stop[0]"),
            (r#","stream_options":{}"#, "invalid_value", "stream_options"),
            (r#","stream":true,"stream_options":{"x":1}"#, "unknown_parameter", "stream_options.x"),
            (r#","top_logprobs":3"#, "invalid_value", "top_logprobs"),
            (r#","tool_choice":"required""#, "invalid_value", "tool_choice"),
            (r#","metadata":{"a":1}"#, "invalid_type", "metadata.a"),
        ] {
            check_error(&with(extra), code, Some(param));
        }
    }

    #[test]
    fn each_parameter_is_noted_and_neutral_ones_are_not() {
        check_asked("", &[]);
        check_asked(r#","temperature":null,"n":1,"logprobs":false,"response_format":{"type":"text"},"tools":[]"#, &[]);
        check_asked(r#","top_k":4,"min_p":0.1"#, &[("min_p", false), ("top_k", false)]);
        check_asked(r#","user":"u","metadata":{"a":"b"}"#, &[("user", true), ("metadata", true)]);
        check_asked(r#","colour":"red""#, &[("colour", false)]);
        check_asked(r#","response_format":{"type":"json_object"}"#, &[("response_format", false)]);
    }

    #[test]
    fn an_image_is_asked_for_by_its_path() {
        let body = r#"{"model":"m","messages":[{"role":"user","content":[{"type":"text","text":"what?"},
            {"type":"image_url","image_url":{"url":"https://example.com/a.png"}}]}]}"#;
        let request = parse(body).expect("it is a good body").request;
        assert_eq!(request.asked, [need("messages[0].content[1]", Capability::ImageInput)]);
        assert_eq!(request.messages[0].text(), "what?");
    }

    #[test]
    fn what_we_answered_can_be_sent_back() {
        let body = r#"{"model":"m","messages":[{"role":"user","content":"hi"},
            {"role":"assistant","content":"hello","refusal":null,"annotations":[]},{"role":"user","content":"again"}]}"#;
        assert_eq!(parse(body).expect("it is a good body").request.asked, []);
    }

    #[test]
    fn depth_is_bounded() {
        let deep = format!(r#","x":{}{}"#, "[".repeat(100_000), "]".repeat(100_000));
        check_error(&with(&deep), "invalid_json", None);
    }
}
