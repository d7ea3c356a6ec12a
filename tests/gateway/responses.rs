//! `POST /v1/responses`: whole, streamed, and handed on to providers.

use harness::{Act, Reply, Upstream, Weighbridge, demo_model, goldens, provider, route};
use serde_json::{Value, json};

pub(crate) const PATH: &str = "/v1/responses";
const HELLO: &str = "Hello! How can I help you today?";

pub(crate) async fn respond(program: &Weighbridge, body: &Value) -> Reply {
    respond_with(program, body, &[]).await
}

pub(crate) async fn respond_with(program: &Weighbridge, body: &Value, headers: &[(&str, &str)]) -> Reply {
    let request = program.post(PATH).header("content-type", "application/json").body(body.to_string());
    program.send(headers.iter().fold(request, |request, (name, value)| request.header(*name, *value))).await
}

/// Asks for a stream and reads its events, each with its `event:` line held against its type.
async fn stream(program: &Weighbridge, body: &Value) -> Vec<Value> {
    let mut body = body.clone();
    body["stream"] = true.into();
    let reply = respond(program, &body).await;
    assert_eq!(
        (reply.status, reply.header("content-type")),
        (200, "text/event-stream; charset=utf-8"),
        "{}",
        reply.body
    );
    let body = reply.body.strip_suffix("data: [DONE]\n\n").expect("the stream ends");
    let events = body.split_terminator("\n\n").filter(|event| !event.starts_with(':'));
    let events = events.enumerate().map(|(number, event)| {
        let (kind, data) = event.split_once("\ndata: ").expect("an event has a type and data");
        let data: Value = serde_json::from_str(data).expect("data are JSON");
        assert_eq!(data["type"], kind["event: ".len()..]);
        assert_eq!(data["sequence_number"], number);
        data
    });
    events.collect()
}

pub(crate) fn ask(model: &str, text: &str) -> Value {
    json!({"model": model, "input": text, "temperature": 0})
}

pub(crate) fn text(response: &Value) -> String {
    let items = response["output"].as_array().into_iter().flatten();
    let parts = items.filter_map(|item| item["content"].as_array()).flatten();
    parts.filter(|part| part["type"] == "output_text").filter_map(|part| part["text"].as_str()).collect()
}

/// The tools of the golden question, flat as they are here.
fn tools() -> Value {
    let golden = goldens().iter().find(|golden| !golden.tools.is_null()).expect("one question comes with tools");
    let flat = |tool: &Value| {
        let mut flat = json!({"type": "function"});
        flat.as_object_mut().zip(tool["function"].as_object()).into_iter().for_each(|(flat, function)| {
            flat.extend(function.iter().map(|(key, value)| (key.clone(), value.clone())));
        });
        flat
    };
    golden.tools.as_array().into_iter().flatten().map(flat).collect()
}

#[tokio::test]
async fn the_demo_model_answers_every_question_as_it_does_in_chat() {
    let program = Weighbridge::start(demo_model()).await;
    for golden in goldens().iter().filter(|golden| golden.tools.is_null()) {
        let reply = respond(&program, &ask("demo", golden.question())).await;
        let body = reply.json();
        assert_eq!((reply.status, text(&body)), (200, golden.answer.clone()), "{}", reply.body);
        assert_eq!(
            (&body["object"], &body["status"], &body["model"]),
            (&json!("response"), &json!("completed"), &json!("demo"))
        );
        assert_eq!(body["usage"]["input_tokens"], golden.tokens.len());
        assert_eq!(body["usage"]["output_tokens"], golden.greedy.len());
        assert_eq!(reply.header("x-weighbridge-backend"), "demo");
        let id = body["id"].as_str().unwrap_or_default();
        assert_eq!(id, format!("resp_{}", reply.header("x-weighbridge-decision").replace('-', "")));
        assert_eq!(
            (&body["error"], &body["incomplete_details"], &body["tools"]),
            (&Value::Null, &Value::Null, &json!([]))
        );
    }
}

#[tokio::test]
async fn a_stream_has_openais_events_in_their_order_and_ends_with_the_response() {
    let program = Weighbridge::start(demo_model()).await;
    let events = stream(&program, &ask("demo", "Hello")).await;
    let kinds: Vec<&str> = events.iter().filter_map(|event| event["type"].as_str()).collect();
    let deltas = kinds.iter().filter(|kind| **kind == "response.output_text.delta").count();
    assert!(deltas > 3, "{kinds:?}");
    let mut expected =
        vec!["response.created", "response.in_progress", "response.output_item.added", "response.content_part.added"];
    expected.extend(std::iter::repeat_n("response.output_text.delta", deltas));
    expected.extend([
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]);
    assert_eq!(kinds, expected);
    let said: String = events.iter().filter_map(|event| event["delta"].as_str()).collect();
    let last = &events[events.len() - 1];
    assert_eq!((said.as_str(), text(&last["response"]).as_str()), (HELLO, HELLO));
    assert_eq!(last["weighbridge"], json!({"backend": "demo", "cost_usd": "0", "usage_estimated": false}));
    assert_eq!(last["response"]["usage"]["output_tokens"], 10);
}

#[tokio::test]
async fn an_answer_that_is_cut_short_says_why() {
    let program = Weighbridge::start(demo_model()).await;
    let mut body = ask("demo", "Repeat: river moon stone");
    body["max_output_tokens"] = 2.into();
    let whole = respond(&program, &body).await.json();
    assert_eq!(
        (&whole["status"], &whole["incomplete_details"]["reason"]),
        (&json!("incomplete"), &json!("max_output_tokens"))
    );
    assert_eq!(text(&whole), "river moon");
    let events = stream(&program, &body).await;
    assert_eq!(events[events.len() - 1]["type"], "response.incomplete");
}

#[tokio::test]
async fn a_tool_is_called_and_its_result_goes_back() {
    let program = Weighbridge::start(demo_model()).await;
    let mut body = ask("demo", "What is the weather in Oslo?");
    body["tools"] = tools();
    let first = respond(&program, &body).await.json();
    let call = &first["output"][0];
    assert_eq!((&call["type"], &call["name"]), (&json!("function_call"), &json!("get_weather")), "{first}");
    assert_eq!(
        call["arguments"].as_str().and_then(|text| serde_json::from_str(text).ok()),
        Some(json!({"city": "Oslo"}))
    );
    let events = stream(&program, &body).await;
    let done = events.iter().find(|event| event["type"] == "response.function_call_arguments.done");
    assert_eq!(done.map(|event| &event["arguments"]), Some(&call["arguments"]));
    let mut input = vec![json!({"role": "user", "content": "What is the weather in Oslo?"})];
    input.extend(first["output"].as_array().cloned().unwrap_or_default());
    input.push(json!({"type": "function_call_output", "call_id": call["call_id"], "output": "{\"degrees\": 7}"}));
    body["input"] = input.into();
    let second = respond(&program, &body).await;
    assert_eq!((second.status, &second.json()["status"]), (200, &json!("completed")), "{}", second.body);
}

#[tokio::test]
async fn what_cannot_be_honoured_is_refused_by_its_name() {
    let program = Weighbridge::start(demo_model()).await;
    for (name, value, code, param) in [
        ("input", json!([]), "empty_array", "input"),
        ("input", json!("word ".repeat(3000)), "context_length_exceeded", "input"),
        ("temperature", json!(9), "decimal_above_max_value", "temperature"),
        ("tools", json!([{"type": "web_search"}]), "unsupported_value", "tools[0].type"),
        ("conversation", json!("conv_1"), "unsupported_parameter", "conversation"),
        ("seed", json!(1), "unknown_parameter", "seed"),
        ("service_tier", json!("flex"), "unsupported_parameter", "service_tier"),
        ("previous_response_id", json!("resp_1"), "previous_response_not_found", "previous_response_id"),
        ("model", json!("nobody"), "model_not_found", "model"),
    ] {
        let mut body = ask("demo", "Hello");
        body[name] = value;
        let reply = respond(&program, &body).await;
        let status = if code == "model_not_found" { 404 } else { 400 };
        reply.assert_error(status, code, "");
        assert_eq!(reply.json()["error"]["param"], param, "{}", reply.body);
    }
}

#[tokio::test]
async fn a_conversation_that_is_too_long_loses_its_oldest_turns_and_says_how_many_messages() {
    let program = Weighbridge::start(demo_model()).await;
    let said = |role: &str, text: &str| json!({"role": role, "content": text});
    let long = "word ".repeat(200);
    let turns = |from: usize| {
        let turns = (from..6).flat_map(|n| [said("user", &format!("{n} {long}")), said("assistant", "Yes.")]);
        let turns = std::iter::once(said("system", "Be brief.")).chain(turns);
        turns.chain([said("user", "Hello")]).collect::<Value>()
    };
    let body = |from, truncation: &str| {
        json!({"model": "demo", "temperature": 0, "max_output_tokens": 64,
        "truncation": truncation, "metadata": {"job": "7"}, "input": turns(from)})
    };
    respond(&program, &body(0, "disabled")).await.assert_error(400, "context_length_exceeded", "");
    let shortened = respond(&program, &body(0, "auto")).await;
    assert_eq!(shortened.status, 200, "{}", shortened.body);
    let left_out: usize = shortened.header("x-weighbridge-left-out-messages").parse().unwrap_or_default();
    assert!(left_out > 0 && left_out < 12 && left_out.is_multiple_of(2), "{left_out}");
    let response = shortened.json();
    assert_eq!(response["truncation"], "auto");
    assert_eq!(response["metadata"], json!({"job": "7", "weighbridge_left_out_messages": left_out.to_string()}));
    // The same as if its caller had left them out, and no less than that.
    let by_hand = respond(&program, &body(left_out / 2, "auto")).await;
    assert_eq!(by_hand.header("x-weighbridge-left-out-messages"), "");
    assert_eq!(
        (text(&by_hand.json()), &by_hand.json()["usage"]["input_tokens"]),
        (text(&response), &response["usage"]["input_tokens"])
    );
    let one_more = respond(&program, &body(left_out / 2 - 1, "disabled")).await;
    one_more.assert_error(400, "context_length_exceeded", "");
    // What is too long in its last turn alone stays refused, and what came in is listed whole.
    let mut alone = body(0, "auto");
    alone["input"] = "word ".repeat(3000).into();
    respond(&program, &alone).await.assert_error(400, "context_length_exceeded", "");
    let id = response["id"].as_str().unwrap_or_default();
    let listed = program.get(&format!("{PATH}/{id}/input_items?limit=100")).await.json();
    assert_eq!(listed["data"].as_array().map(Vec::len), Some(14), "{listed}");
}

#[tokio::test]
async fn a_hint_that_is_not_used_is_named_and_settings_are_said_back() {
    let program = Weighbridge::start(demo_model()).await;
    let mut body = ask("demo", "Hello");
    (body["user"], body["metadata"], body["instructions"]) = ("anna".into(), json!({"job": "7"}), "Be brief.".into());
    let reply = respond(&program, &body).await;
    assert_eq!((reply.status, reply.header("x-weighbridge-unused-hints")), (200, "user"));
    let response = reply.json();
    assert_eq!((&response["metadata"], &response["instructions"]), (&json!({"job": "7"}), &json!("Be brief.")));
    assert_eq!((&response["temperature"], &response["store"]), (&json!(0), &json!(true)));
}

#[tokio::test]
async fn everything_that_chat_has_too_reaches_a_provider() {
    let upstream = Upstream::start([Act::Says(vec!["A", " cat."])]).await;
    let program = Weighbridge::start(format!("{}{}", provider("up", &upstream, ""), route(&["up/large"], ""))).await;
    let body = json!({
        "model": "up/large", "instructions": "Look.", "max_output_tokens": 9, "top_p": 0.5, "user": "anna",
        "reasoning": {"effort": "low"}, "service_tier": "flex", "text": {"verbosity": "low",
            "format": {"type": "json_schema", "name": "n", "schema": {"type": "object"}, "strict": true}},
        "input": [
            {"role": "user", "content": [{"type": "input_text", "text": "What?"},
                {"type": "input_image", "image_url": "data:image/png;base64,AA==", "detail": "low"}]},
            {"type": "function_call", "call_id": "call_1", "name": "look", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "call_1", "output": "a cat"},
        ],
        "tools": [{"type": "function", "name": "look", "parameters": {"type": "object"}, "strict": true}],
        "tool_choice": {"type": "function", "name": "look"}, "parallel_tool_calls": false,
    });
    let reply = respond(&program, &body).await;
    assert_eq!((reply.status, text(&reply.json()).as_str()), (200, "A cat."), "{}", reply.body);
    let received = upstream.received();
    let sent = &received[0].body;
    assert_eq!(received[0].path, "/v1/chat/completions");
    let image = json!({"type": "image_url", "image_url": {"url": "data:image/png;base64,AA==", "detail": "low"}});
    let function = json!({"name": "look", "parameters": {"type": "object"}, "strict": true});
    for (name, value) in [
        ("/messages/0", json!({"role": "system", "content": "Look."})),
        ("/messages/1/content", json!([{"type": "text", "text": "What?"}, image])),
        ("/messages/2/tool_calls/0/id", json!("call_1")),
        ("/messages/3", json!({"role": "tool", "tool_call_id": "call_1", "content": "a cat"})),
        ("/tools", json!([{"type": "function", "function": function}])),
        ("/tool_choice", json!({"type": "function", "function": {"name": "look"}})),
        ("/parallel_tool_calls", json!(false)),
        ("/response_format/json_schema/schema", json!({"type": "object"})),
        ("/reasoning_effort", json!("low")),
        ("/max_completion_tokens", json!(9)),
        ("/service_tier", json!("flex")),
        ("/verbosity", json!("low")),
        ("/user", json!("anna")),
    ] {
        assert_eq!(sent.pointer(name), Some(&value), "{name} in {sent}");
    }
    assert!(sent.get("input").is_none() && sent.get("store").is_none(), "nothing of this dialect leaks: {sent}");
}

#[tokio::test]
async fn files_and_recordings_reach_a_provider_as_chats_do_and_a_local_model_refuses_them_by_name() {
    let upstream = Upstream::saying("Heard.").await;
    let config = format!("{}{}{}", demo_model(), provider("up", &upstream, ""), route(&["up/large", "demo"], ""));
    let program = Weighbridge::start(config).await;
    let file = json!({"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,AA=="});
    let audio = json!({"type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}});
    let body = |model: &str, part: &Value| json!({"model": model, "input": [{"role": "user", "content": [part]}]});
    for part in [&file, &audio] {
        let reply = respond(&program, &body("auto", part)).await;
        assert_eq!((reply.status, reply.header("x-weighbridge-backend")), (200, "up/large"), "{}", reply.body);
        let refused = respond(&program, &body("demo", part)).await;
        refused.assert_error(400, "unsupported_parameter", "input[0].content[0]");
    }
    let sent: Vec<Value> = upstream.received().iter().map(|received| received.body["messages"][0].clone()).collect();
    let file = json!({"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,AA=="}});
    assert_eq!(sent, [file, audio].map(|part| json!({"role": "user", "content": [part]})));
}

#[tokio::test]
async fn a_provider_may_think_and_call_custom_tools() {
    let chunk = |delta: Value, finish: Value| json!({"id": "1", "object": "chat.completion.chunk", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]});
    let chunks = vec![
        chunk(json!({"role": "assistant", "reasoning_content": "hm"}), Value::Null),
        chunk(
            json!({"tool_calls": [{"index": 0, "id": "call_1", "type": "custom", "custom": {"name": "sh", "input": ""}}]}),
            Value::Null,
        ),
        chunk(json!({"tool_calls": [{"index": 0, "custom": {"input": "ls"}}]}), Value::Null),
        chunk(json!({}), json!("tool_calls")),
    ];
    let upstream = Upstream::start([Act::SaysChunks(chunks)]).await;
    let program = Weighbridge::start(format!("{}{}", provider("up", &upstream, ""), route(&["up/large"], ""))).await;
    let mut body = ask("up/large", "List.");
    body["tools"] =
        json!([{"type": "custom", "name": "sh", "format": {"type": "grammar", "syntax": "regex", "definition": "l."}}]);
    let response = respond(&program, &body).await.json();
    assert_eq!(response["output"][0]["content"], json!([{"type": "reasoning_text", "text": "hm"}]), "{response}");
    let call = &response["output"][1];
    assert_eq!(
        (&call["type"], &call["input"], &call["call_id"]),
        (&json!("custom_tool_call"), &json!("ls"), &json!("call_1"))
    );
    let sent = &upstream.received()[0].body["tools"][0];
    assert_eq!(sent["custom"]["format"]["grammar"], json!({"syntax": "regex", "definition": "l."}));
    // The same in chat, where custom tools are nested.
    let chat = json!({"model": "up/large", "messages": [{"role": "user", "content": "List."}], "tools": [{"type": "custom", "custom": {"name": "sh"}}]});
    let message = &program.post_chat(&chat).await.json()["choices"][0]["message"];
    assert_eq!(message["tool_calls"][0]["custom"], json!({"name": "sh", "input": "ls"}), "{message}");
}

#[tokio::test]
async fn a_stream_that_breaks_off_ends_as_a_failed_response() {
    let upstream = Upstream::start([Act::CutsAfter(vec!["half", " an", " ans"])]).await;
    let config = format!("[dispatch]\nretries = 0\n{}{}", provider("up", &upstream, ""), route(&["up/large"], ""));
    let program = Weighbridge::start(config).await;
    let events = stream(&program, &ask("up/large", "Hello")).await;
    let last = &events[events.len() - 1];
    assert_eq!(
        (&last["type"], &last["response"]["error"]["code"]),
        (&json!("response.failed"), &json!("server_error"))
    );
    assert_eq!(
        (text(&last["response"]).as_str(), &last["weighbridge"]["code"]),
        ("half an ans", &json!("upstream_cut"))
    );
    respond(&program, &ask("up/large", "Hello")).await.assert_error(502, "upstream_cut", "");
}

#[tokio::test]
async fn a_stream_that_fails_after_its_status_went_out_is_an_error_event() {
    let upstream = Upstream::start([Act::Hangs]).await;
    let config = format!(
        "[dispatch]\nretries = 0\nkeep_alive_ms = 50\n{}{}",
        provider("up", &upstream, "first_token_timeout_ms = 300"),
        route(&["up/large"], "")
    );
    let program = Weighbridge::start(config).await;
    let events = stream(&program, &ask("up/large", "Hello")).await;
    assert_eq!(events.len(), 1, "{events:?}");
    assert_eq!((&events[0]["type"], &events[0]["code"]), (&json!("error"), &json!("upstream_timeout")));
}

async fn compact(program: &Weighbridge, body: &Value) -> Reply {
    let request = program.post(&format!("{PATH}/compact")).header("content-type", "application/json");
    program.send(request.body(body.to_string())).await
}

#[tokio::test]
async fn a_conversation_is_compacted_by_the_model_that_goes_on_with_it() {
    let upstream = Upstream::start([Act::Says(vec!["Launch on ", "Tuesday."]), Act::Says(vec!["Yes."])]).await;
    let mut program =
        Weighbridge::start(format!("{}{}", provider("up", &upstream, ""), route(&["up/large"], ""))).await;
    let reply = compact(&program, &json!({"model": "up/large", "input": "We launch on Tuesday."})).await;
    let body = reply.json();
    assert_eq!((reply.status, &body["object"]), (200, &json!("response.compaction")), "{}", reply.body);
    assert_eq!(body["output"][0]["content"][0]["text"], "We launch on Tuesday.");
    let mut input = body["output"].as_array().cloned().expect("a list");
    input.push(json!({"role": "user", "content": "When?"}));
    let next = respond(&program, &json!({"model": "up/large", "input": input})).await.json();
    assert_eq!(text(&next), "Yes.");
    let sent = upstream.received()[1].body["messages"].to_string();
    assert!(sent.contains("Launch on Tuesday.") && sent.contains("When?"), "{sent}");
    compact(&program, &json!({"input": "x"})).await.assert_error(400, "missing_required_parameter", "model");
    assert!(program.stop().await.success());
    let outcomes: Vec<String> = program.ledger().column("SELECT outcome FROM receipts ORDER BY received_at_ms, rowid");
    assert_eq!(outcomes, ["completed", "completed", "refused"]);
}
