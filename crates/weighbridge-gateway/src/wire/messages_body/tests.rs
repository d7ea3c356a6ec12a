//! Bodies in, faults and needs out.

use serde_json::{Value, json};
use weighbridge_backend::{Constraint, Effort, Need, Part, ToolChoice};

use super::*;

fn read(body: &Value, version: Version) -> Result<MessagesBody, WireError> {
    MessagesBody::parse("r-1".into(), body.to_string().as_bytes(), version, Purpose::Answer)
}

/// A good body with these fields set.
fn body(fields: Value) -> Value {
    let mut body = json!({"model": "demo", "max_tokens": 64, "messages": [{"role": "user", "content": "hi"}]});
    for (key, value) in fields.as_object().expect("fields are an object") {
        body[key] = value.clone();
    }
    body
}

fn request(fields: Value) -> Request {
    read(&body(fields), Version::Of2023).expect("it is a good body").request
}

fn check_error(fields: Value, version: Version, code: &str, param: &str) {
    let error = read(&body(fields.clone()), version).expect_err(&fields.to_string());
    assert_eq!((error.code, error.param.as_deref()), (code, Some(param)), "{}", error.message);
}

fn turns(content: Value) -> Value {
    json!({"messages": [{"role": "user", "content": content}]})
}

fn names(request: &Request, hint: bool) -> Vec<&str> {
    request.asked.iter().filter(|asked| asked.hint == hint).map(|asked| asked.parameter.as_str()).collect()
}

/// The conversation as `role: text`, with calls and thoughts.
fn told(request: &Request) -> Vec<String> {
    let tell = |message: &weighbridge_backend::Message| {
        let thought = message.reasoning.as_deref().map(|text| format!("({text}) ")).unwrap_or_default();
        let calls: String =
            message.tool_calls.iter().map(|call| format!(" {}:{}{}", call.id, call.name, call.arguments)).collect();
        let answers = message.tool_call_id.as_deref().map(|id| format!(" to {id}")).unwrap_or_default();
        format!("{}{answers}: {thought}{}{calls}", message.role.as_str(), message.text())
    };
    request.messages.iter().map(tell).collect()
}

#[test]
fn every_fault_names_its_parameter_and_code() {
    for (fields, code, param) in [
        (json!({"max_tokens": null}), "missing_required_parameter", "max_tokens"),
        (json!({"max_tokens": 0}), "invalid_value", "max_tokens"),
        (json!({"messages": []}), "empty_array", "messages"),
        (json!({"messages": [{"role": "tool", "content": "x"}]}), "invalid_value", "messages[0].role"),
        (json!({"messages": [{"role": "user"}]}), "missing_required_parameter", "messages[0].content"),
        (json!({"system": 5}), "invalid_type", "system"),
        (json!({"system": [{"type": "image"}]}), "invalid_value", "system[0].type"),
        (turns(json!([{"type": "text"}])), "missing_required_parameter", "messages[0].content[0].text"),
        (turns(json!([{"type": "thinking"}])), "invalid_value", "messages[0].content[0].type"),
        (
            turns(json!([{"type": "image", "source": {"type": "base64", "media_type": "a/b", "data": ""}}])),
            "invalid_value",
            "messages[0].content[0].source.media_type",
        ),
        (json!({"temperature": 1.5}), "decimal_above_max_value", "temperature"),
        (json!({"stop_sequences": [""]}), "invalid_value", "stop_sequences[0]"),
        (json!({"stop_sequences": vec!["x"; 65]}), "array_above_max_length", "stop_sequences"),
        (json!({"tools": [{"name": "f"}]}), "missing_required_parameter", "tools[0].input_schema"),
        (json!({"tool_choice": {"type": "any"}}), "invalid_value", "tool_choice"),
        (json!({"tool_choice": {"type": "tool", "name": "f"}}), "invalid_value", "tool_choice.name"),
        (json!({"thinking": {"type": "enabled"}}), "missing_required_parameter", "thinking.budget_tokens"),
        (
            json!({"thinking": {"type": "enabled", "budget_tokens": 9}}),
            "integer_below_min_value",
            "thinking.budget_tokens",
        ),
        (json!({"thinking": {"type": "enabled", "budget_tokens": 1024}}), "invalid_value", "thinking.budget_tokens"),
        (json!({"output_config": {"effort": "some"}}), "invalid_value", "output_config.effort"),
        (json!({"output_config": {"format": {"type": "xml"}}}), "invalid_value", "output_config.format.type"),
        (json!({"service_tier": "fast"}), "invalid_value", "service_tier"),
        (
            json!({"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y "}]}),
            "invalid_value",
            "messages",
        ),
    ] {
        check_error(fields, Version::Of2023, code, param);
    }
}

#[test]
fn the_newer_version_has_rules_of_its_own() {
    for key in ["temperature", "top_p", "top_k"] {
        check_error(json!({key: 1}), Version::Of2026, "unsupported_parameter", key);
        assert!(read(&body(json!({key: 1})), Version::Of2023).is_ok());
    }
    let document = json!({"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "d"}});
    let said = json!({"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": [document]}]});
    check_error(said.clone(), Version::Of2026, "invalid_value", "messages[1].content[0].type");
    assert!(read(&body(said), Version::Of2023).is_ok());
    let cited = turns(json!([{"type": "text", "text": "a", "citations": [{}]}]));
    check_error(cited, Version::Of2026, "invalid_value", "messages[0].content[0].citations");
}

#[test]
fn a_count_needs_no_bound() {
    let body = json!({"model": "demo", "messages": [{"role": "user", "content": "hi"}]}).to_string();
    let read = |purpose| MessagesBody::parse("r-1".into(), body.as_bytes(), Version::Of2023, purpose);
    assert!(read(Purpose::Count).is_ok_and(|body| body.request.max_output_tokens.is_none()));
    assert!(read(Purpose::Answer).is_err());
}

#[test]
fn a_conversation_with_tools_becomes_messages() {
    let request = request(json!({
        "system": [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}],
        "tools": [{"name": "add", "description": "adds", "input_schema": {"type": "object"}}],
        "messages": [
            {"role": "user", "content": "1+2?"},
            {"role": "user", "content": [{"type": "text", "text": "Please."}]},
            {"role": "assistant", "content": [
                {"type": "thinking", "thinking": "add", "signature": "s"},
                {"type": "text", "text": "Let me see."},
                {"type": "tool_use", "id": "t1", "name": "add", "input": {"a": 1, "b": 2}},
                {"type": "tool_use", "id": "t2", "name": "add", "input": {}}
            ]},
            {"role": "user", "content": [
                {"type": "text", "text": "Well?"},
                {"type": "tool_result", "tool_use_id": "t1", "content": "3"},
                {"type": "tool_result", "tool_use_id": "t2", "is_error": true,
                 "content": [{"type": "text", "text": "no numbers"}]}
            ]}
        ]
    }));
    assert_eq!(
        told(&request),
        [
            "system: Be brief.",
            "user: 1+2?\n\nPlease.",
            "assistant: (add) Let me see. t1:add{\"a\":1,\"b\":2} t2:add{}",
            "tool to t1: 3",
            "tool to t2: Error: no numbers",
            "user: Well?",
        ]
    );
    assert_eq!(names(&request, true), ["cache_control"]);
    assert_eq!(names(&request, false), ["messages[2].content[2].type", "max_tokens", "tools"]);
    assert_eq!(
        &*request.tools[0].definition.0,
        r#"{"type":"function","function":{"name":"add","description":"adds","parameters":{"type":"object"}}}"#
    );
}

#[test]
fn pictures_are_data_urls_also_those_in_results() {
    let picture = json!({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AA=="}});
    let request = request(json!({"messages": [
        {"role": "user", "content": [picture, {"type": "image", "source": {"type": "url", "url": "https://a/b"}}]},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "t1", "name": "f", "input": {}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "content": [picture]}]}
    ]}));
    let url = |url: &str| Part::Image { url: url.into(), detail: None };
    assert!(request.messages[0].parts == [url("data:image/png;base64,AA=="), url("https://a/b")]);
    assert_eq!((request.messages[2].role, request.messages[2].text()), (Role::Tool, String::new()));
    assert!(request.messages[3].parts == [url("data:image/png;base64,AA==")]);
}

#[test]
fn what_only_anthropic_could_do_is_needed_and_what_helps_is_a_hint() {
    for (fields, needed) in [
        (json!({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}), "tools[0].type"),
        (json!({"mcp_servers": [{"url": "https://a"}]}), "mcp_servers"),
        (json!({"container": "c"}), "container"),
        (turns(json!([{"type": "container_upload"}])), "messages[0].content[0]"),
        (
            turns(
                json!([{"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": ""}}]),
            ),
            "messages[0].content[0].source.type",
        ),
    ] {
        let request = request(fields);
        let asked = request.asked.iter().find(|asked| asked.parameter == needed).expect(needed);
        assert_eq!((&asked.need, asked.hint), (&Need::Dialect(Dialect::AnthropicMessages), false), "{needed}");
    }
    let request = request(json!({
        "metadata": {"user_id": "u"}, "context_management": {"edits": []}, "mcp_servers": [],
        "speed": "fast", "brand_new": 1
    }));
    assert_eq!(names(&request, true), ["metadata", "speed", "context_management", "brand_new"]);
    assert_eq!(names(&request, false), ["max_tokens"]);
}

#[test]
fn hints_are_bounded_in_number_and_length() {
    let many: serde_json::Map<String, Value> =
        (0..500).map(|i| (format!("{i}{}", "x".repeat(500)), json!(1))).collect();
    let hints = request(Value::Object(many));
    assert_eq!(names(&hints, true).len(), 25);
    assert!(names(&hints, true).iter().all(|name| name.len() <= 64));
}

#[test]
fn tool_choice_thinking_and_format_are_understood() {
    let tools = json!([{"name": "f", "input_schema": {}}]);
    for (choice, expected, parallel) in [
        (json!({"type": "auto"}), ToolChoice::Auto, true),
        (json!({"type": "none"}), ToolChoice::None, true),
        (json!({"type": "any", "disable_parallel_tool_use": true}), ToolChoice::Required, false),
        (json!({"type": "tool", "name": "f"}), ToolChoice::Named("f".into()), true),
    ] {
        let request = request(json!({"tools": tools, "tool_choice": choice}));
        assert_eq!((request.tool_choice, request.parallel_tool_calls), (expected, parallel));
    }
    for (fields, expected) in [
        (json!({"thinking": {"type": "disabled"}}), Some(Effort::None)),
        (json!({"thinking": {"type": "adaptive"}}), None),
        (json!({"max_tokens": 20_000, "thinking": {"type": "enabled", "budget_tokens": 10_000}}), Some(Effort::Medium)),
        (json!({"thinking": {"type": "adaptive"}, "output_config": {"effort": "xhigh"}}), Some(Effort::ExtraHigh)),
    ] {
        assert_eq!(request(fields.clone()).effort, expected, "{fields}");
    }
    let format = json!({"output_config": {"format": {"type": "json_schema", "schema": {"type": "object"}}}});
    let schema = weighbridge_backend::Json(r#"{"type":"object"}"#.into());
    assert_eq!(request(format).constraint, Some(Constraint::JsonSchema(schema)));
}

#[test]
fn a_last_turn_of_the_assistant_is_gone_on_with() {
    let said = |content: Value| json!({"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": content}]});
    let begun = request(said(json!("The answer is")));
    assert!(begun.continues && names(&begun, false).contains(&"messages[1]"));
    assert!(!request(json!({})).continues);
    let call = json!([{"type": "tool_use", "id": "t", "name": "f", "input": {}}]);
    check_error(said(call), Version::Of2023, "invalid_value", "messages");
}
