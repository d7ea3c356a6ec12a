//! Bodies in, faults and needs out.

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
