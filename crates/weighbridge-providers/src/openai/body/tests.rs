//! What goes to the provider, field by field.

use std::error::Error;
use std::num::NonZeroU32;

use serde_json::json;
use weighbridge_backend::{
    Carried, Json, Message, Original, Part, Role, Sampling, Tool, ToolCall, ToolChoice, ToolKind,
};

use super::*;

type Outcome = Result<(), Box<dyn Error>>;

#[test]
fn unknown_fields_are_kept_and_ours_replaced() -> Outcome {
    check_original(
        r#"{"model":"openai/m","messages":[{"role":"user","content":"hi"}],"new_field":{"a":1.50},"seed":18446744073709551617}"#,
        &ProviderOptions::new("p", "http://x"),
        r#"{"messages":[{"role":"user","content":"hi"}],"model":"up","new_field":{"a":1.50},"seed":18446744073709551617,"stream":true,"stream_options":{"include_usage":true}}"#,
    )
}

#[test]
fn stream_options_of_the_caller_are_kept_beside_ours() -> Outcome {
    let mut options = ProviderOptions::new("p", "http://x");
    let body = r#"{"stream":false,"stream_options":{"include_usage":false,"include_obfuscation":false}}"#;
    check_original(
        body,
        &options,
        r#"{"model":"up","stream":true,"stream_options":{"include_obfuscation":false,"include_usage":true}}"#,
    )?;
    options.include_usage = false;
    check_original(body, &options, r#"{"model":"up","stream":true,"stream_options":{"include_obfuscation":false}}"#)?;
    check_original(r#"{"stream_options":null}"#, &options, r#"{"model":"up","stream":true}"#)?;
    options.stream = false;
    check_original(body, &options, r#"{"model":"up","stream":false}"#)
}

#[test]
fn the_bound_on_tokens_has_the_name_that_the_server_knows() -> Outcome {
    let mut options = ProviderOptions::new("p", "http://x");
    options.stream = false;
    for (field, body, expected) in [
        (None, r#"{"max_tokens":5}"#, r#"{"max_tokens":5,"model":"up","stream":false}"#),
        (
            Some(MaxTokensField::MaxCompletionTokens),
            r#"{"max_tokens":5}"#,
            r#"{"max_completion_tokens":5,"model":"up","stream":false}"#,
        ),
        (
            Some(MaxTokensField::MaxTokens),
            r#"{"max_tokens":5,"max_completion_tokens":7}"#,
            r#"{"max_tokens":7,"model":"up","stream":false}"#,
        ),
        (
            Some(MaxTokensField::MaxTokens),
            r#"{"max_tokens":5,"max_completion_tokens":null}"#,
            r#"{"max_tokens":5,"model":"up","stream":false}"#,
        ),
        (Some(MaxTokensField::MaxTokens), r#"{"max_tokens":null}"#, r#"{"model":"up","stream":false}"#),
    ] {
        options.max_tokens_field = field;
        check_original(body, &options, expected)?;
    }
    Ok(())
}

#[test]
fn a_body_that_is_no_object_is_refused_without_being_quoted() {
    for text in ["", "[]", "{\"secret", "7"] {
        let request = Request { original: original(text), ..typed() };
        let failure = body(&ProviderOptions::new("p", "http://x"), "up", &request).err();
        assert_eq!(failure.map(|failure| failure.message).as_deref(), Some("the body is no JSON object"));
    }
}

#[test]
fn a_request_of_another_dialect_is_written_from_the_typed_view() -> Outcome {
    let bytes = body(&ProviderOptions::new("p", "http://x"), "up", &typed())?;
    let text = String::from_utf8(bytes)?;
    assert!(text.contains(r#""temperature":0.7,"#), "a float keeps its digits: {text}");
    let expected = json!({
        "model": "up",
        "messages": [
            { "role": "user", "content": "what time is it?" },
            {
                "role": "assistant",
                "content": null,
                "tool_calls": [
                    { "id": "c1", "type": "function", "function": { "name": "clock", "arguments": "{}" } },
                ],
            },
            { "role": "tool", "content": "noon", "tool_call_id": "c1" },
        ],
        "tools": [{ "type": "function", "function": { "name": "clock" } }],
        "tool_choice": { "type": "function", "function": { "name": "clock" } },
        "temperature": 0.7,
        "stop": ["END"],
        "max_completion_tokens": 9,
        "n": 2,
        "stream": true,
        "stream_options": { "include_usage": true },
    });
    assert_eq!(serde_json::from_str::<Value>(&text)?, expected);
    Ok(())
}

#[test]
fn settings_that_are_carried_arrive_under_their_names() -> Outcome {
    let setting = |name, value: &str| Carried { name, value: Json(value.into()) };
    let carried = vec![setting("verbosity", "\"low\""), setting("prompt_cache_options", "{\"ttl\":\"30m\"}")];
    let bytes = body(&ProviderOptions::new("p", "http://x"), "up", &Request { carried, ..typed() })?;
    let body: Value = serde_json::from_slice(&bytes)?;
    assert_eq!((&body["verbosity"], &body["prompt_cache_options"]["ttl"]), (&json!("low"), &json!("30m")));
    Ok(())
}

#[test]
fn a_part_that_cannot_be_written_is_refused() {
    let mut request = typed();
    request.messages.push(Message::new(Role::User, vec![Part::Other { kind: "image".to_owned() }]));
    let failure = body(&ProviderOptions::new("p", "http://x"), "up", &request).err();
    assert_eq!(failure.map(|failure| failure.kind), Some(FailureKind::InvalidRequest));
}

#[test]
fn a_file_is_carried_to_where_chat_completions_take_one() -> Outcome {
    let part = || Part::Carried { kind: "file", part: Json(r#"{"type":"file","file":{"file_id":"f"}}"#.into()) };
    let said = |role| Request { messages: vec![Message::new(role, vec![part()])], ..typed() };
    let written = |role| body(&ProviderOptions::new("p", "http://x"), "up", &said(role));
    let sent: Value = serde_json::from_slice(&written(Role::User)?)?;
    assert_eq!(sent["messages"][0]["content"], json!([{"type": "file", "file": {"file_id": "f"}}]));
    assert_eq!(written(Role::Tool).err().map(|failure| failure.kind), Some(FailureKind::InvalidRequest));
    Ok(())
}

fn check_original(text: &str, options: &ProviderOptions, expected: &str) -> Outcome {
    let request = Request { original: original(text), ..typed() };
    assert_eq!(String::from_utf8(body(options, "up", &request)?)?, expected);
    Ok(())
}

fn original(text: &str) -> Option<Original> {
    Some(Original { dialect: Dialect::OpenAiChat, body: text.as_bytes().into() })
}

fn typed() -> Request {
    let call = ToolCall { id: "c1".to_owned(), name: "clock".to_owned(), arguments: "{}".to_owned(), custom: false };
    let definition = r#"{"type":"function","function":{"name":"clock"}}"#;
    Request {
        messages: vec![
            Message::new(Role::User, vec![Part::Text("what time ".to_owned()), Part::Text("is it?".to_owned())]),
            Message { tool_calls: vec![call], ..Message::new(Role::Assistant, Vec::new()) },
            Message {
                tool_call_id: Some("c1".to_owned()),
                ..Message::new(Role::Tool, vec![Part::Text("noon".to_owned())])
            },
        ],
        tools: vec![Tool {
            definition: Json(definition.into()),
            name: "clock".to_owned(),
            kind: ToolKind::Function,
            strict: false,
        }],
        tool_choice: ToolChoice::Named("clock".to_owned()),
        sampling: Sampling { temperature: Some(0.7), stop: vec!["END".to_owned()], ..Sampling::default() },
        max_output_tokens: Some(9),
        choices: NonZeroU32::MIN.saturating_add(1),
        ..Request::new("r-1", "auto", Vec::new())
    }
}
