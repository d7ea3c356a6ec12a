//! Bodies in, faults, needs and conversations out.

use serde_json::json;
use weighbridge_backend::{Capability, Constraint, Effort, Event, Json, Part, TextForm, ToolChoice, ToolKind};

use super::super::body_object;
use super::*;
use crate::surface::{Bill, Head};

const ID: &str = "01890a5d-ac96-774b-bcce-b302099a8057";

fn parse_with(body: &str, memory: Memory) -> Result<ResponsesBody, WireError> {
    let value = body_object(body.as_bytes())?;
    ResponsesBody::read(ID.into(), body.as_bytes(), &value, memory)
}

fn parse(body: &str) -> Result<ResponsesBody, WireError> {
    parse_with(body, Memory::default())
}

fn with(extra: &str) -> String {
    format!(r#"{{"model":"demo","input":"hi"{extra}}}"#)
}

fn input(items: &str) -> String {
    format!(r#"{{"model":"demo","input":{items}}}"#)
}

fn input_with(items: &str, extra: &str) -> String {
    format!(r#"{{"model":"demo","input":{items}{extra}}}"#)
}

fn request(body: &str) -> Request {
    parse(body).expect(body).request
}

fn check_error(body: &str, code: &str, param: &str) {
    let error = parse(body).expect_err(body);
    assert_eq!((error.code, error.param.as_deref()), (code, Some(param)), "{}", error.message);
}

fn check_asked(extra: &str, expected: &[(&str, bool)]) {
    let asked = request(&with(extra)).asked;
    let asked: Vec<_> = asked.iter().map(|asked| (asked.parameter.as_str(), asked.hint)).collect();
    assert_eq!(asked, expected, "{extra}");
}

#[test]
fn every_fault_names_its_parameter_and_code() {
    for (body, code, param) in [
        (r#"{"input":"hi"}"#, "missing_required_parameter", "model"),
        (r#"{"model":"demo"}"#, "missing_required_parameter", "input"),
        (r#"{"model":"demo","input":[]}"#, "empty_array", "input"),
        (r#"{"model":"demo","input":7}"#, "invalid_type", "input"),
        (r#"{"model":"demo","input":[7]}"#, "invalid_type", "input[0]"),
        (r#"{"model":"demo","input":[{"role":"boss","content":"x"}]}"#, "invalid_value", "input[0].role"),
        (r#"{"model":"demo","input":[{"role":"user"}]}"#, "missing_required_parameter", "input[0].content"),
        (r#"{"model":"demo","input":[{"type":"web_search_call","id":"ws_1"}]}"#, "invalid_value", "input[0].type"),
        (r#"{"model":"demo","input":[{"type":"poem"}]}"#, "invalid_value", "input[0].type"),
        (r#"{"model":"demo","input":[{"type":"item_reference","id":"msg_1"}]}"#, "invalid_value", "input[0].id"),
        (r#"{"model":"demo","input":[{"id":"msg_1"}]}"#, "invalid_value", "input[0].id"),
        (
            r#"{"model":"demo","input":[{"type":"function_call_output","output":"1"}]}"#,
            "missing_required_parameter",
            "input[0].call_id",
        ),
        (
            r#"{"model":"demo","input":[{"type":"function_call_output","call_id":"call_1","output":"1"}]}"#,
            "invalid_value",
            "input[0].call_id",
        ),
        (
            r#"{"model":"demo","input":[{"role":"user","content":[{"type":"input_image","file_id":"f"}]}]}"#,
            "invalid_value",
            "input[0].content[0].file_id",
        ),
        (
            r#"{"model":"demo","input":[{"role":"user","content":[{"type":"input_file","file_url":"https://x.example/a"}]}]}"#,
            "invalid_value",
            "input[0].content[0].file_url",
        ),
        (
            r#"{"model":"demo","input":[{"role":"user","content":[{"type":"input_file","filename":"a.pdf"}]}]}"#,
            "missing_required_parameter",
            "input[0].content[0].file_data",
        ),
        (
            r#"{"model":"demo","input":[{"role":"user","content":[{"type":"input_audio","input_audio":{"data":"AA=="}}]}]}"#,
            "missing_required_parameter",
            "input[0].content[0].input_audio.format",
        ),
    ] {
        check_error(body, code, param);
    }
    for (extra, code, param) in [
        (r#","temperature":3"#, "decimal_above_max_value", "temperature"),
        (r#","presence_penalty":-3"#, "decimal_below_min_value", "presence_penalty"),
        (r#","max_output_tokens":0"#, "integer_below_min_value", "max_output_tokens"),
        (r#","top_logprobs":21"#, "integer_above_max_value", "top_logprobs"),
        (r#","include":["everything"]"#, "invalid_value", "include[0]"),
        (r#","reasoning":{"effort":"some"}"#, "invalid_value", "reasoning.effort"),
        (r#","reasoning":{"summary":"short"}"#, "invalid_value", "reasoning.summary"),
        (r#","text":{"verbosity":"chatty"}"#, "invalid_value", "text.verbosity"),
        (r#","text":{"format":{"type":"yaml"}}"#, "invalid_value", "text.format.type"),
        (r#","text":{"format":{"type":"json_schema","name":"a b","schema":{}}}"#, "invalid_value", "text.format.name"),
        (r#","tools":[{"type":"web_search"}]"#, "unsupported_value", "tools[0].type"),
        (r#","tools":[{"type":"function"}]"#, "missing_required_parameter", "tools[0].name"),
        (r#","tool_choice":"required""#, "invalid_value", "tool_choice"),
        (r#","conversation":"conv_1""#, "unsupported_parameter", "conversation"),
        (r#","prompt":{"id":"p"}"#, "unsupported_parameter", "prompt"),
        (r#","background":"yes""#, "invalid_type", "background"),
        (r#","background":true,"store":false"#, "invalid_value", "store"),
        (r#","background_options":{}"#, "invalid_value", "background_options"),
        (
            r#","background":true,"background_options":{"completion_window":"8h"}"#,
            "unsupported_value",
            "background_options.completion_window",
        ),
        (r#","truncation":"some""#, "invalid_value", "truncation"),
        (r#","stream_options":{}"#, "invalid_value", "stream_options"),
        (r#","stream":true,"stream_options":{"x":1}"#, "unknown_parameter", "stream_options.x"),
        (r#","metadata":{"a":1}"#, "invalid_type", "metadata.a"),
        (r#","store":"yes""#, "invalid_type", "store"),
    ] {
        check_error(&with(extra), code, param);
    }
}

#[test]
fn each_parameter_is_noted_and_neutral_ones_are_not() {
    check_asked("", &[]);
    check_asked(
        r#","temperature":null,"store":true,"metadata":{"a":"b"},"truncation":"disabled","service_tier":"auto","background":false,
        "text":{"format":{"type":"text"},"verbosity":"medium"},"reasoning":{"summary":"auto"},"max_tool_calls":3,"tools":[]"#,
        &[],
    );
    check_asked(
        r#","background":true,"background_options":{"completion_window":"soonest","continuation_id":"c"}"#,
        &[("background_options.continuation_id", true)],
    );
    check_asked(r#","top_p":0.5,"max_output_tokens":9"#, &[("top_p", false), ("max_output_tokens", false)]);
    check_asked(r#","user":"u","prompt_cache_key":"k""#, &[("user", true), ("prompt_cache_key", true)]);
    check_asked(r#","include":["reasoning.encrypted_content"]"#, &[("include[0]", true)]);
    check_asked(r#","include":["message.output_text.logprobs"],"top_logprobs":2"#, &[("include[0]", false)]);
    check_asked(r#","moderation":{"model":"m"},"seed":1"#, &[("moderation", false), ("seed", false)]);
    check_asked(
        r#","tools":[{"type":"function","name":"f","output_schema":{}}]"#,
        &[("tools[0].output_schema", false), ("tools", false)],
    );
}

#[test]
fn settings_arrive_where_the_seam_has_them() {
    let request = request(&with(
        r#","instructions":"Be brief.","reasoning":{"effort":"low"},"service_tier":"flex","safety_identifier":"s",
        "text":{"verbosity":"low","format":{"type":"json_schema","name":"n","schema":{"type":"object"},"strict":true}},
        "top_logprobs":2,"parallel_tool_calls":false"#,
    ));
    assert_eq!((request.messages[0].role, request.messages[0].text()), (Role::System, "Be brief.".to_owned()));
    assert_eq!((request.effort, request.sampling.logprobs), (Some(Effort::Low), Some(2)));
    assert_eq!(request.constraint, Some(Constraint::JsonSchema(Json(r#"{"type":"object"}"#.into()))));
    let carried: Vec<_> = request.carried.iter().map(|setting| (setting.name, &*setting.value.0)).collect();
    assert_eq!(carried, [("verbosity", "\"low\""), ("service_tier", "\"flex\""), ("safety_identifier", "\"s\"")]);
    assert!(!request.parallel_tool_calls);
}

#[test]
fn what_is_said_of_settings_is_whole_whatever_was_sent() {
    let echo = |extra: &str| parse(&with(extra)).expect(extra).echo.fields;
    let plain = echo("");
    for (key, default) in [("temperature", 1.0), ("top_p", 1.0), ("frequency_penalty", 0.0), ("presence_penalty", 0.0)]
    {
        assert_eq!(plain[key], default, "{key}");
    }
    let told = echo(
        r#","presence_penalty":0.5,"tools":[{"type":"function","name":"f"},{"type":"custom","name":"c"}],
        "text":{"format":{"type":"json_schema","name":"n","schema":{}}}"#,
    );
    assert_eq!(told["presence_penalty"], 0.5);
    let function = json!({"type": "function", "name": "f", "description": null, "parameters": null, "strict": false});
    assert_eq!(told["tools"], json!([function, {"type": "custom", "name": "c"}]));
    let format = json!({"type": "json_schema", "name": "n", "schema": {}, "strict": false});
    assert_eq!(told["text"]["format"], format);
}

#[test]
fn an_answer_that_comes_back_is_one_message() {
    let request = request(&input(
        r#"[{"role":"user","content":"add"},
        {"type":"reasoning","id":"rs_1","summary":[],"content":[{"type":"reasoning_text","text":"hm"}]},
        {"type":"message","id":"msg_1","role":"assistant","status":"completed","phase":null,
         "content":[{"type":"output_text","text":"Let me see.","annotations":[],"logprobs":[]}]},
        {"type":"function_call","id":"fc_1","call_id":"call_1","name":"add","arguments":"{}","status":"completed"},
        {"type":"function_call","call_id":"call_2","name":"add","arguments":"{}"},
        {"type":"function_call_output","call_id":"call_1","output":"3"},
        {"type":"function_call_output","call_id":"call_2","output":[{"type":"input_text","text":"4"}]},
        {"type":"message","role":"assistant","content":"Done."}]"#,
    ));
    let roles: Vec<Role> = request.messages.iter().map(|message| message.role).collect();
    assert_eq!(roles, [Role::User, Role::Assistant, Role::Tool, Role::Tool, Role::Assistant]);
    let answer = &request.messages[1];
    assert_eq!((answer.text(), answer.reasoning.as_deref()), ("Let me see.".to_owned(), Some("hm")));
    let ids: Vec<&str> = answer.tool_calls.iter().map(|call| call.id.as_str()).collect();
    assert_eq!(ids, ["call_1", "call_2"]);
    assert_eq!(request.messages[3].tool_call_id.as_deref(), Some("call_2"));
    assert_eq!(request.messages[3].text(), "4");
    assert_eq!(request.asked, [need("input[3].type", Capability::Tools)]);
}

fn compact(body: &str) -> Result<CompactBody, WireError> {
    let value = body_object(body.as_bytes())?;
    CompactBody::read(ID.into(), body.as_bytes(), &value, Memory::default())
}

fn compacted(body: &str, summary: &str) -> Value {
    let said = [Event::Text { choice: 0, text: summary.into(), logprobs: None }];
    compaction(&Head::example(), compact(body).expect(body).items, &said, &Bill::default())
}

const AGREED: &str = r#"[{"role":"user","content":"Launch on Tuesday."},{"role":"assistant","content":"Noted."},
    {"type":"function_call","call_id":"c","name":"f","arguments":"{}"},
    {"type":"function_call_output","call_id":"c","output":"done"},{"role":"user","content":"Tell support."}]"#;

#[test]
fn a_conversation_is_compacted_to_what_its_user_said_and_a_summary() {
    let body = input(AGREED);
    let asks = compact(&body).expect(&body).request.messages;
    let last = &asks[asks.len() - 1];
    assert_eq!((last.role, last.text().starts_with("Tell support.\n\nSummarise")), (Role::User, true));
    let compacted = compacted(&body, " The launch is on Tuesday.\n");
    assert_eq!((&compacted["object"], &compacted["id"]), (&json!("response.compaction"), &json!("resp_ab")));
    let output = compacted["output"].as_array().expect("a list");
    let kinds: Vec<_> = output.iter().map(|item| (item["type"].as_str(), item["role"].as_str())).collect();
    let user = (Some("message"), Some("user"));
    assert_eq!(kinds, [user, user, (Some("compaction"), None)]);
    // It comes back as one message, with what the user says next.
    let mut input = output.clone();
    input.push(json!({"role": "user", "content": "And now?"}));
    let back = request(&json!({"model": "demo", "input": input}).to_string());
    assert_eq!(back.messages.len(), 1);
    let text = back.messages[0].text();
    let places = ["Launch on Tuesday.", "Tell support.", "Summary", "The launch is on Tuesday.\n\n", "And now?"]
        .map(|piece| text.find(piece));
    assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{text}");
}

#[test]
fn a_compaction_without_a_summary_leaves_nothing_out() {
    let body = input(AGREED);
    let output = &compacted(&body, " \n")["output"];
    assert_eq!(*output, Value::from(parse(&body).expect(&body).input));
}

#[test]
fn what_a_compaction_cannot_use_is_refused() {
    for (body, code, param) in [
        (r#"{"input":"hi"}"#, "missing_required_parameter", "model"),
        (r#"{"model":"demo"}"#, "missing_required_parameter", "input"),
        (r#"{"model":"demo","input":"hi","stream":true}"#, "unknown_parameter", "stream"),
    ] {
        let error = compact(body).err().expect(body);
        assert_eq!((error.code, error.param.as_deref()), (code, Some(param)));
    }
    let foreign = input(r#"[{"type":"compaction","encrypted_content":"gAAA"}]"#);
    check_error(&foreign, "invalid_value", "input[0].encrypted_content");
}

#[test]
fn thoughts_that_a_provider_encrypted_are_named_as_unused() {
    let request = request(&input(
        r#"[{"type":"reasoning","id":"rs_1","summary":[{"type":"summary_text","text":"short"}],"encrypted_content":"gAAA"},
        {"role":"assistant","content":"Yes."},{"role":"user","content":"Sure?"}]"#,
    ));
    assert_eq!(request.messages[0].reasoning.as_deref(), Some("short"));
    assert!(request.asked[0].hint && request.asked[0].parameter == "input[0].encrypted_content");
}

#[test]
fn images_files_and_audio_need_who_takes_them() {
    let request = request(&input(
        r#"[{"role":"user","content":[{"type":"input_text","text":"what?"},
        {"type":"input_image","image_url":"https://example.com/a.png","detail":"low"},
        {"type":"input_file","file_data":"data:x","filename":"a.pdf","detail":"auto"},
        {"type":"input_audio","input_audio":{"data":"AA==","format":"wav"}}]}]"#,
    ));
    assert_eq!(
        request.asked,
        [
            need("input[0].content[1]", Capability::ImageInput),
            need("input[0].content[2]", Capability::FileInput),
            need("input[0].content[3]", Capability::AudioInput),
        ]
    );
    assert!(matches!(&request.messages[0].parts[1], Part::Image { detail: Some(detail), .. } if detail == "low"));
    let carried = |part: &Part| match part {
        Part::Carried { kind, part } => Some((*kind, part.0.to_string())),
        _ => None,
    };
    let file = json!({"type": "file", "file": {"file_data": "data:x", "filename": "a.pdf"}}).to_string();
    let audio = json!({"type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}}).to_string();
    let parts: Vec<_> = request.messages[0].parts[2..].iter().filter_map(carried).collect();
    assert_eq!(parts, [("file", file), ("input_audio", audio)]);
}

#[test]
fn what_chat_has_no_word_for_is_not_lost_with_a_file() {
    let asked = request(&input(
        r#"[{"role":"user","content":[{"type":"input_file","file_id":"f","detail":"low"},
        {"type":"input_audio","input_audio":{"data":"AA==","format":"wav","speed":2}}]}]"#,
    ))
    .asked;
    let asked: Vec<_> = asked.iter().map(|asked| asked.parameter.as_str()).collect();
    let parts = ["input[0].content[0]", "input[0].content[1]"];
    let further = ["input[0].content[0].detail", "input[0].content[1].input_audio.speed"];
    assert_eq!(asked, [parts[0], further[0], parts[1], further[1]]);
}

#[test]
fn tools_are_flat_here_and_nested_for_templates() {
    let body = parse(&with(
        r#","tools":[{"type":"function","name":"f","parameters":{"type":"object"},"strict":null},
        {"type":"custom","name":"c","format":{"type":"grammar","syntax":"regex","definition":"a+"}}],"tool_choice":
        {"type":"allowed_tools","mode":"required","tools":[{"type":"function","name":"f"}]}"#,
    ))
    .expect("it is a good body");
    let tools = &body.request.tools;
    assert_eq!(
        &*tools[0].definition.0,
        r#"{"type":"function","function":{"name":"f","parameters":{"type":"object"}}}"#
    );
    assert_eq!(
        &*tools[1].definition.0,
        r#"{"type":"custom","custom":{"name":"c","format":{"type":"grammar","grammar":{"syntax":"regex","definition":"a+"}}}}"#
    );
    assert_eq!(tools[1].kind, ToolKind::Custom(TextForm::Regex("a+".into())));
    assert_eq!(body.request.tool_choice, ToolChoice::Allowed { names: vec!["f".into()], required: true });
    assert_eq!(body.echo.fields["tools"][0]["strict"], false);
    for (choice, expected) in [
        (r#"{"type":"function","name":"f"}"#, Some(ToolChoice::Named("f".into()))),
        (r#"{"type":"function","name":"g"}"#, None),
        (r#"{"type":"web_search_preview"}"#, None),
    ] {
        let body = with(&format!(r#","tools":[{{"type":"function","name":"f"}}],"tool_choice":{choice}"#));
        assert_eq!(parse(&body).ok().map(|body| body.request.tool_choice), expected, "{choice}");
    }
}

#[test]
fn tools_in_a_namespace_have_it_in_their_names() {
    let body = parse(&input_with(
        r#"[{"role":"user","content":"x"},{"type":"function_call","call_id":"c","namespace":"team","name":"call","arguments":"{}"}]"#,
        r#","client_metadata":{"a":"b"},"tools":[{"type":"web_search","external_web_access":false},
        {"type":"namespace","name":"team","description":"d","tools":[{"type":"function","name":"call"}]}]"#,
    ))
    .expect("it is a good body");
    let tool = &body.request.tools[0];
    assert_eq!(
        (&*tool.name, &*tool.definition.0),
        ("team__call", r#"{"type":"function","function":{"name":"team__call"}}"#)
    );
    assert_eq!(body.request.messages[1].tool_calls[0].name, "team__call");
    assert_eq!(body.echo.namespaces["team__call"], ("team".to_owned(), "call".to_owned()));
    let hints: Vec<_> = body.request.asked.iter().filter(|asked| asked.hint).map(|asked| &*asked.parameter).collect();
    assert_eq!(hints, ["tools[0].type", "tools[1].description", "client_metadata"]);
    let long = "x".repeat(60);
    let body =
        format!(r#","tools":[{{"type":"namespace","name":"{long}","tools":[{{"type":"function","name":"call"}}]}}]"#);
    check_error(&with(&body), "invalid_value", "tools[0].tools[0].name");
}

#[test]
fn a_strict_function_asks_for_more_than_one_that_says_nothing() {
    let asked = |strict: &str| {
        let asked = request(&with(&format!(r#","tools":[{{"type":"function","name":"f"{strict}}}]"#))).asked;
        asked.into_iter().map(|asked| asked.parameter).collect::<Vec<_>>()
    };
    assert_eq!(asked(""), ["tools"]);
    assert_eq!(asked(r#","strict":true"#), ["tools[0].strict", "tools"]);
}

#[test]
fn what_came_in_is_listed_with_ids_and_in_full() {
    let listed = parse(&input(
        r#"[{"role":"user","content":"hi"},{"role":"assistant","content":"yes"},
        {"type":"function_call","call_id":"c","name":"f","arguments":"{}"}]"#,
    ))
    .expect("it is a good body")
    .input;
    assert_eq!(
        listed[0],
        json!({"id": "msg_01890a5dac96774bbcceb302099a805780000000", "type": "message", "role": "user",
            "content": [{"type": "input_text", "text": "hi"}], "status": "completed"})
    );
    assert_eq!(listed[1]["content"], json!([{"type": "output_text", "text": "yes", "annotations": []}]));
    assert_eq!(
        (&listed[2]["id"], &listed[2]["status"]),
        (&json!("fc_01890a5dac96774bbcceb302099a805780000002"), &json!("completed"))
    );
    assert_eq!(parse(&with("")).expect("it is a good body").input[0], listed[0]);
}

#[test]
fn a_conversation_goes_on_from_what_is_remembered() {
    let earlier = json!([
        {"id": "msg_1", "type": "message", "role": "user", "content": [{"type": "input_text", "text": "one"}]},
        {"id": "msg_2", "type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "two"}]},
    ]);
    let memory = || Memory {
        earlier: earlier.as_array().cloned().unwrap_or_default(),
        referenced: [(
            "msg_9".to_owned(),
            json!({"id": "msg_9", "type": "message", "role": "user", "content": "nine"}),
        )]
        .into(),
        class: Some(DataClass::Confidential),
    };
    let body = r#"{"model":"demo","previous_response_id":"resp_1","instructions":"new",
        "input":[{"type":"item_reference","id":"msg_9"},{"role":"user","content":"three"}]}"#;
    let body = parse_with(body, memory()).expect("it is a good body");
    let texts: Vec<String> = body.request.messages.iter().map(Message::text).collect();
    assert_eq!(texts, ["new", "one", "two", "nine", "three"]);
    assert_eq!((body.floor, body.input.len()), (Some(DataClass::Confidential), 2));
    let silent = r#"{"model":"demo","previous_response_id":"resp_1"}"#;
    assert_eq!(parse_with(silent, memory()).expect("it needs no input of its own").request.messages.len(), 2);
}

#[test]
fn a_body_tells_what_it_refers_to() {
    let body = json!({"previous_response_id": "resp_1", "input": [{"id": "a"}, {"type": "item_reference", "id": "b"},
        {"role": "user", "content": "c", "id": "d"}, 7]});
    let wanted = Wanted::of(&body).expect("it can be read");
    assert_eq!(wanted.previous, Some("resp_1"));
    assert_eq!(wanted.items, [("input[0].id".to_owned(), "a"), ("input[1].id".to_owned(), "b")]);
    assert_eq!(Wanted::of(&json!({"previous_response_id": 7})).expect_err("no text").code, "invalid_type");
}

#[test]
fn nothing_that_may_come_in_panics() {
    use proptest::prelude::*;
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        prop::sample::select(vec!["message", "user", "assistant", "function_call", "reasoning", "input_text", "x"])
            .prop_map(Value::from),
    ];
    let keys = prop::sample::select(vec![
        "model",
        "input",
        "type",
        "role",
        "content",
        "text",
        "tools",
        "name",
        "call_id",
        "arguments",
        "summary",
        "id",
        "output",
        "reasoning",
        "format",
        "include",
        "tool_choice",
        "metadata",
        "image_url",
    ]);
    let value = leaf.prop_recursive(6, 64, 8, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((keys.clone(), inner), 0..6).prop_map(|pairs| pairs
                .into_iter()
                .map(|(key, value)| (key.to_owned(), value))
                .collect::<serde_json::Map<_, _>>()
                .into()),
        ]
    });
    proptest!(|(input in value.clone(), more in value)| {
        let mut body = json!({"model": "demo", "input": input});
        if let (Value::Object(body), Value::Object(more)) = (&mut body, more) {
            body.extend(more);
        }
        let text = body.to_string();
        let _ = parse(&text);
    });
}
