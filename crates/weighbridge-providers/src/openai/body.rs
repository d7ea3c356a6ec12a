//! The body of a request to the provider.
//!
//! A body that came in this dialect is sent on field by field as the caller wrote it, so that fields we do
//! not know arrive too and numbers keep their digits; only what is ours to decide is replaced. Any other
//! request is written from the typed view.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;
use serde_json::value::{RawValue, to_raw_value};
use weighbridge_backend::{Dialect, Failure, FailureKind, Message, Part, Request, ToolChoice};

use crate::{MaxTokensField, ProviderOptions};

/// The fields of a body, each as JSON text.
type Fields = BTreeMap<String, Box<RawValue>>;

/// The body that asks `upstream_model` for an answer to `request`.
///
/// # Errors
/// When the request holds something that cannot be written in this dialect.
pub(crate) fn body(options: &ProviderOptions, upstream_model: &str, request: &Request) -> Result<Vec<u8>, Failure> {
    let mut fields = match &request.original {
        Some(original) if original.dialect == Dialect::OpenAiChat => {
            // The error's own text is left out: it may quote the body.
            serde_json::from_slice(&original.body)
                .map_err(|_| Failure::new(FailureKind::InvalidRequest, "the body is no JSON object"))?
        }
        _ => typed_fields(request)?,
    };
    set(&mut fields, "model", upstream_model)?;
    set_stream(&mut fields, options)?;
    if let Some(field) = options.max_tokens_field {
        rename_max_tokens(&mut fields, field);
    }
    serde_json::to_vec(&fields).map_err(unwritable)
}

/// Sets `stream` and `stream_options` as this provider needs them. Other options of the caller are kept.
fn set_stream(fields: &mut Fields, options: &ProviderOptions) -> Result<(), Failure> {
    set(fields, "stream", options.stream)?;
    let asked = fields.remove("stream_options");
    if !options.stream {
        return Ok(());
    }
    let mut stream_options: BTreeMap<String, Value> =
        asked.and_then(|asked| serde_json::from_str(asked.get()).ok()).unwrap_or_default();
    if options.include_usage {
        stream_options.insert("include_usage".to_owned(), Value::Bool(true));
    } else {
        stream_options.remove("include_usage");
    }
    if !stream_options.is_empty() {
        set(fields, "stream_options", &stream_options)?;
    }
    Ok(())
}

/// Gives the bound on tokens the one name that the server knows. Where a caller wrote both, the newer wins.
fn rename_max_tokens(fields: &mut Fields, name: MaxTokensField) {
    let older = fields.remove(MaxTokensField::MaxTokens.as_str());
    let newer = fields.remove(MaxTokensField::MaxCompletionTokens.as_str());
    let bound = [newer, older].into_iter().flatten().find(|bound| bound.get() != "null");
    if let Some(bound) = bound {
        fields.insert(name.as_str().to_owned(), bound);
    }
}

fn typed_fields(request: &Request) -> Result<Fields, Failure> {
    let mut fields = Fields::new();
    let messages = request.messages.iter().map(wire_message).collect::<Result<Vec<_>, _>>()?;
    set(&mut fields, "messages", messages)?;
    if !request.tools.is_empty() {
        let tools = request.tools.iter().map(|tool| serde_json::from_str(&tool.definition.0));
        set(&mut fields, "tools", tools.collect::<Result<Vec<&RawValue>, _>>().map_err(unwritable)?)?;
        set(&mut fields, "tool_choice", wire_choice(&request.tool_choice))?;
    }
    let sampling = &request.sampling;
    set_some(&mut fields, "temperature", sampling.temperature)?;
    set_some(&mut fields, "top_p", sampling.top_p)?;
    set_some(&mut fields, "top_k", sampling.top_k)?;
    set_some(&mut fields, "min_p", sampling.min_p)?;
    set_some(&mut fields, "seed", sampling.seed)?;
    set_some(&mut fields, "frequency_penalty", sampling.frequency_penalty)?;
    set_some(&mut fields, "presence_penalty", sampling.presence_penalty)?;
    set_some(&mut fields, "stop", (!sampling.stop.is_empty()).then_some(&sampling.stop))?;
    set_some(&mut fields, MaxTokensField::MaxCompletionTokens.as_str(), request.max_output_tokens)?;
    set_some(&mut fields, "n", (request.choices.get() > 1).then_some(request.choices))?;
    Ok(fields)
}

#[derive(Serialize)]
struct WireMessage<'a> {
    role: &'static str,
    content: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_call_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
}

fn wire_message(message: &Message) -> Result<WireMessage<'_>, Failure> {
    if let Some(Part::Other { kind }) = message.parts.iter().find(|part| part.as_text().is_none()) {
        let text = format!("a message part of type {kind} cannot be carried into the OpenAI dialect");
        return Err(Failure::new(FailureKind::InvalidRequest, text));
    }
    let calls = message.tool_calls.iter().map(|call| {
        let function = serde_json::json!({ "name": call.name, "arguments": call.arguments });
        serde_json::json!({ "id": call.id, "type": "function", "function": function })
    });
    Ok(WireMessage {
        role: message.role.as_str(),
        // An assistant's turn that only calls tools has null here; every other message has a text.
        content: (!message.parts.is_empty() || message.tool_calls.is_empty()).then(|| message.text()),
        tool_calls: calls.collect(),
        tool_call_id: message.tool_call_id.as_deref(),
        name: message.name.as_deref(),
    })
}

fn wire_choice(choice: &ToolChoice) -> Value {
    match choice {
        ToolChoice::Auto => "auto".into(),
        ToolChoice::None => "none".into(),
        ToolChoice::Required => "required".into(),
        ToolChoice::Named(name) => serde_json::json!({ "type": "function", "function": { "name": name } }),
    }
}

fn set(fields: &mut Fields, name: &str, value: impl Serialize) -> Result<(), Failure> {
    fields.insert(name.to_owned(), to_raw_value(&value).map_err(unwritable)?);
    Ok(())
}

fn set_some(fields: &mut Fields, name: &str, value: Option<impl Serialize>) -> Result<(), Failure> {
    value.map_or(Ok(()), |value| set(fields, name, value))
}

fn unwritable(_: serde_json::Error) -> Failure {
    Failure::new(FailureKind::Internal, "the request cannot be written as JSON")
}

#[cfg(test)]
mod tests;
