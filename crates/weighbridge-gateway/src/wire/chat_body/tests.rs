//! Bodies in, faults and needs out.

use weighbridge_backend::{Constraint, Json, TextForm, ToolChoice, ToolKind};

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
        (r#"{"model":"demo","messages":[{"role":"user"}]}"#, "missing_required_parameter", Some("messages[0].content")),
        (r#"{"model":"demo","messages":[{"role":"boss","content":"x"}]}"#, "invalid_value", Some("messages[0].role")),
        (r#"{"model":"demo","messages":[{"role":"user","content":7}]}"#, "invalid_type", Some("messages[0].content")),
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
        (r#","logit_bias":{"a":1}"#, "invalid_value", "logit_bias.a"),
        (r#","logit_bias":{"1":101}"#, "decimal_above_max_value", "logit_bias.1"),
        (r#","repetition_penalty":0"#, "invalid_value", "repetition_penalty"),
        (r#","reasoning_effort":"some""#, "invalid_value", "reasoning_effort"),
        (r#","continue_final_message":true"#, "invalid_value", "continue_final_message"),
        (r#","add_generation_prompt":false"#, "invalid_value", "add_generation_prompt"),
        (r#","response_format":{"type":"yaml"}"#, "invalid_value", "response_format.type"),
        (r#","response_format":{"type":"json_schema"}"#, "missing_required_parameter", "response_format.json_schema"),
        (
            r#","response_format":{"type":"json_schema","json_schema":{"name":"a b","schema":{}}}"#,
            "invalid_value",
            "response_format.json_schema.name",
        ),
        (r#","guided_regex":"a","guided_choice":["b"]"#, "invalid_value", "guided_choice"),
        (r#","guided_choice":[]"#, "empty_array", "guided_choice"),
        (r#","guided_json":"{""#, "invalid_value", "guided_json"),
        (r#","structured_outputs":{"yaml":1}"#, "unknown_parameter", "structured_outputs.yaml"),
        (r#","tools":[{"type":"custom","custom":{"name":""}}]"#, "invalid_value", "tools[0].custom.name"),
        (r#","tools":[{"type":"web"}]"#, "invalid_value", "tools[0].type"),
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

fn request(extra: &str) -> Request {
    parse(&with(extra)).expect("it is a good body").request
}

#[test]
fn a_constraint_has_the_names_of_openai_and_of_vllm() {
    let schema = || Some(Constraint::JsonSchema(Json(r#"{"type":"object"}"#.into())));
    for (extra, expected) in [
        (r#","response_format":{"type":"text"}"#, None),
        (r#","response_format":{"type":"json_object"}"#, Some(Constraint::JsonObject)),
        (
            r#","response_format":{"type":"json_object","schema":{"const":"42"}}"#,
            Some(Constraint::JsonSchema(Json(r#"{"const":"42"}"#.into()))),
        ),
        (
            r#","response_format":{"type":"json_schema","json_schema":{"name":"a-1","schema":{"type":"object"}}}"#,
            schema(),
        ),
        (r#","guided_json":{"type":"object"}"#, schema()),
        (r#","guided_json":"{\"type\": \"object\"}""#, schema()),
        (r#","structured_outputs":{"regex":"a+"}"#, Some(Constraint::Regex("a+".into()))),
        (r#","guided_grammar":"start: \"a\"""#, Some(Constraint::Lark("start: \"a\"".into()))),
        (r#","guided_choice":["a","b"]"#, Some(Constraint::Choice(vec!["a".into(), "b".into()]))),
    ] {
        assert_eq!(request(extra).constraint, expected, "{extra}");
    }
    check_asked(r#","guided_regex":"a+""#, &[("guided_regex", false)]);
}

#[test]
fn tools_are_chosen_by_name_by_kind_and_among_some() {
    let tools = r#","tools":[{"type":"function","function":{"name":"f"}},{"type":"custom","custom":{"name":"c",
        "format":{"type":"grammar","grammar":{"syntax":"regex","definition":"a+"}}}}]"#;
    let read = |choice: &str| request(&format!("{tools},\"tool_choice\":{choice}"));
    assert_eq!(read(r#""required""#).tools[1].kind, ToolKind::Custom(TextForm::Regex("a+".into())));
    for (choice, expected) in [
        (r#""auto""#, ToolChoice::Auto),
        (r#"{"type":"function","function":{"name":"f"}}"#, ToolChoice::Named("f".into())),
        (r#"{"type":"custom","custom":{"name":"c"}}"#, ToolChoice::Named("c".into())),
        (
            r#"{"type":"allowed_tools","allowed_tools":{"mode":"required","tools":[
                {"type":"function","function":{"name":"f"}}]}}"#,
            ToolChoice::Allowed { names: vec!["f".into()], required: true },
        ),
    ] {
        assert_eq!(read(choice).tool_choice, expected, "{choice}");
    }
    let wrong_kind = format!(r#"{tools},"tool_choice":{{"type":"function","function":{{"name":"c"}}}}"#);
    check_error(&with(&wrong_kind), "invalid_value", Some("tool_choice.function.name"));
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
