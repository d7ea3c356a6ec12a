//! A body written from the typed view, for a request that came in another dialect.

use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};
use weighbridge_backend::{
    Constraint, Failure, FailureKind, Message, Part, Request, Role, Sampling, ToolChoice, ToolKind,
};

use super::body::{Fields, set, set_some, unwritable};
use crate::MaxTokensField;

/// The fields that ask for what `request` asks for.
///
/// # Errors
/// When it holds something that cannot be written in this dialect.
pub(super) fn typed(request: &Request) -> Result<Fields, Failure> {
    if request.completion.is_some() {
        return Err(unfit("a bare prompt"));
    }
    let mut fields = Fields::new();
    let messages = request.messages.iter().map(wire_message).collect::<Result<Vec<_>, _>>()?;
    set(&mut fields, "messages", messages)?;
    if !request.tools.is_empty() {
        let tools = request.tools.iter().map(|tool| serde_json::from_str(&tool.definition.0));
        set(&mut fields, "tools", tools.collect::<Result<Vec<&RawValue>, _>>().map_err(unwritable)?)?;
        set(&mut fields, "tool_choice", wire_choice(request))?;
        set_some(&mut fields, "parallel_tool_calls", (!request.parallel_tool_calls).then_some(false))?;
    }
    sampling(&mut fields, &request.sampling)?;
    if let Some(constraint) = &request.constraint {
        set(&mut fields, "response_format", response_format(constraint)?)?;
    }
    set_some(&mut fields, "reasoning_effort", request.effort.map(|effort| effort.as_str()))?;
    set_some(&mut fields, MaxTokensField::MaxCompletionTokens.as_str(), request.max_output_tokens)?;
    set_some(&mut fields, "n", (request.choices.get() > 1).then_some(request.choices))?;
    for setting in &request.carried {
        let value: &RawValue = serde_json::from_str(&setting.value.0).map_err(unwritable)?;
        set(&mut fields, setting.name, value)?;
    }
    Ok(fields)
}

fn sampling(fields: &mut Fields, sampling: &Sampling) -> Result<(), Failure> {
    set_some(fields, "temperature", sampling.temperature)?;
    set_some(fields, "top_p", sampling.top_p)?;
    set_some(fields, "top_k", sampling.top_k)?;
    set_some(fields, "min_p", sampling.min_p)?;
    set_some(fields, "seed", sampling.seed)?;
    set_some(fields, "frequency_penalty", sampling.frequency_penalty)?;
    set_some(fields, "presence_penalty", sampling.presence_penalty)?;
    set_some(fields, "repetition_penalty", sampling.repetition_penalty)?;
    set_some(fields, "min_tokens", sampling.min_tokens)?;
    set_some(fields, "ignore_eos", sampling.ignore_eos.then_some(true))?;
    set_some(fields, "stop", (!sampling.stop.is_empty()).then_some(&sampling.stop))?;
    if !sampling.logit_bias.is_empty() {
        let bias: Map<String, Value> =
            sampling.logit_bias.iter().map(|(token, bias)| (token.to_string(), json!(bias))).collect();
        set(fields, "logit_bias", bias)?;
    }
    if let Some(likeliest) = sampling.logprobs {
        set(fields, "logprobs", true)?;
        set_some(fields, "top_logprobs", (likeliest > 0).then_some(likeliest))?;
    }
    Ok(())
}

fn response_format(constraint: &Constraint) -> Result<Value, Failure> {
    match constraint {
        Constraint::JsonObject => Ok(json!({"type": "json_object"})),
        Constraint::JsonSchema(schema) => {
            let schema: Value = serde_json::from_str(&schema.0).map_err(unwritable)?;
            let schema = json!({"name": "answer", "schema": schema, "strict": true});
            Ok(json!({"type": "json_schema", "json_schema": schema}))
        }
        Constraint::Regex(_) => Err(unfit("a regular expression for the answer")),
        Constraint::Lark(_) => Err(unfit("a grammar for the answer")),
        Constraint::Choice(_) => Err(unfit("a list of choices for the answer")),
    }
}

#[derive(Serialize)]
struct WireMessage<'a> {
    role: &'static str,
    content: Option<Value>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_call_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
}

fn wire_message(message: &Message) -> Result<WireMessage<'_>, Failure> {
    let calls = message.tool_calls.iter().map(|call| match call.custom {
        true => json!({"id": call.id, "type": "custom", "custom": {"name": call.name, "input": call.arguments}}),
        false => {
            json!({"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}})
        }
    });
    // An assistant's turn that only calls tools has null here; every other message has a content.
    let silent = message.parts.is_empty() && !message.tool_calls.is_empty();
    Ok(WireMessage {
        role: message.role.as_str(),
        content: if silent { None } else { Some(content(message)?) },
        tool_calls: calls.collect(),
        tool_call_id: message.tool_call_id.as_deref(),
        name: message.name.as_deref(),
    })
}

/// One text where there is nothing but text, which every server takes; else parts.
fn content(message: &Message) -> Result<Value, Failure> {
    if message.parts.iter().all(|part| matches!(part, Part::Text(_))) {
        return Ok(message.text().into());
    }
    message.parts.iter().map(|part| wire_part(part, message.role)).collect::<Result<Vec<_>, _>>().map(Value::Array)
}

fn wire_part(part: &Part, role: Role) -> Result<Value, Failure> {
    match part {
        Part::Text(text) => Ok(json!({"type": "text", "text": text})),
        Part::Image { url, detail } if role == Role::User => {
            let mut image = json!({"url": url});
            if let Some(detail) = detail {
                image["detail"] = detail.as_str().into();
            }
            Ok(json!({"type": "image_url", "image_url": image}))
        }
        Part::Image { .. } => Err(unfit(&format!("a picture in a message of the role {}", role.as_str()))),
        Part::Carried { part, .. } if role == Role::User => serde_json::from_str(&part.0).map_err(unwritable),
        Part::Carried { kind, .. } => {
            Err(unfit(&format!("a message part of type {kind} in a message of the role {}", role.as_str())))
        }
        Part::Other { kind } => Err(unfit(&format!("a message part of type {kind}"))),
    }
}

fn wire_choice(request: &Request) -> Value {
    let kind = |name: &str| {
        let custom = request.tools.iter().any(|tool| tool.name == name && tool.kind != ToolKind::Function);
        if custom { "custom" } else { "function" }
    };
    let named = |name: &String| {
        let kind = kind(name);
        json!({"type": kind, kind: {"name": name}})
    };
    match &request.tool_choice {
        ToolChoice::Auto => "auto".into(),
        ToolChoice::None => "none".into(),
        ToolChoice::Required => "required".into(),
        ToolChoice::Named(name) => named(name),
        ToolChoice::Allowed { names, required } => {
            let tools: Vec<Value> = names.iter().map(named).collect();
            let mode = if *required { "required" } else { "auto" };
            json!({"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": tools}})
        }
    }
}

fn unfit(what: &str) -> Failure {
    Failure::new(FailureKind::InvalidRequest, format!("{what} cannot be carried into the OpenAI dialect"))
}
