//! Anthropic's messages.

use harness::{Act, Reply, Upstream, Weighbridge, demo_model, goldens, provider, route};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const HELLO: &str = "Hello! How can I help you today?";

fn say(model: &str, text: &str) -> Value {
    json!({"model": model, "max_tokens": 64, "temperature": 0, "messages": [{"role": "user", "content": text}]})
}

async fn post(program: &Weighbridge, body: &Value) -> Reply {
    post_with(program, body, &[("anthropic-version", "2023-06-01")]).await
}

async fn post_with(program: &Weighbridge, body: &Value, headers: &[(&str, &str)]) -> Reply {
    let request = program.post("/v1/messages?beta=true").header("content-type", "application/json");
    let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    program.send(request.body(body.to_string())).await
}

/// The events of a streamed answer: the name of each and its data.
async fn stream(program: &Weighbridge, body: &Value) -> (Reply, Vec<(String, Value)>) {
    let mut body = body.clone();
    body["stream"] = true.into();
    let reply = post(program, &body).await;
    let read = |event: &str| {
        let data = event.lines().find_map(|line| line.strip_prefix("data: ")).unwrap_or_default();
        let data: Value = serde_json::from_str(data).expect(event);
        let name = event.lines().find_map(|line| line.strip_prefix("event: ")).unwrap_or_default();
        assert_eq!(data["type"], name, "{event}");
        (name.to_owned(), data)
    };
    let events = reply.body.split_terminator("\n\n").map(read).collect();
    (reply, events)
}

fn text_of(events: &[(String, Value)]) -> String {
    events.iter().filter_map(|(_, data)| data["delta"]["text"].as_str()).collect()
}

#[track_caller]
fn assert_error(reply: &Reply, status: u16, kind: &str, piece: &str) {
    let body = reply.json();
    assert_eq!(
        (reply.status, &body["type"], &body["error"]["type"]),
        (status, &json!("error"), &json!(kind)),
        "{body}"
    );
    assert!(body["error"]["message"].as_str().is_some_and(|message| message.contains(piece)), "{body}");
    assert_eq!(body["request_id"], reply.header("request-id"));
    assert!(!reply.header("request-id").is_empty());
}

#[tokio::test]
async fn the_demo_model_answers_in_a_message() {
    let program = Weighbridge::start(demo_model()).await;
    let reply = post(&program, &say("demo", "Hello")).await;
    let body = reply.json();
    assert_eq!((reply.status, &body["type"], &body["role"]), (200, &json!("message"), &json!("assistant")), "{body}");
    assert_eq!(body["content"], json!([{"type": "text", "text": HELLO}]));
    assert_eq!((&body["stop_reason"], &body["stop_sequence"]), (&json!("end_turn"), &Value::Null));
    assert_eq!((&body["usage"]["input_tokens"], &body["usage"]["output_tokens"]), (&json!(9), &json!(10)));
    assert_eq!(reply.header("request-id"), reply.header("x-weighbridge-decision"));
    assert_eq!(reply.header("x-weighbridge-backend"), "demo");
}

#[tokio::test]
async fn a_stream_says_the_same_in_anthropics_events() {
    let program = Weighbridge::start(demo_model()).await;
    let (reply, events) = stream(&program, &say("demo", "Hello")).await;
    assert_eq!((reply.status, text_of(&events).as_str()), (200, HELLO), "{}", reply.body);
    let mut names: Vec<&str> = events.iter().map(|(name, _)| name.as_str()).collect();
    names.dedup();
    assert_eq!(
        names,
        [
            "message_start",
            "content_block_start",
            "ping",
            "content_block_delta",
            "content_block_stop",
            "message_delta",
            "message_stop"
        ]
    );
    assert_eq!(events[0].1["message"]["usage"]["input_tokens"], 9);
    let (_, end) = &events[events.len() - 2];
    assert_eq!((&end["delta"]["stop_reason"], &end["usage"]["output_tokens"]), (&json!("end_turn"), &json!(10)));
    assert!(!reply.header("request-id").is_empty() && reply.header("content-type").starts_with("text/event-stream"));
}

#[tokio::test]
async fn a_call_and_its_result_go_round() {
    let program = Weighbridge::start(demo_model()).await;
    let golden = goldens().iter().find(|golden| !golden.tools.is_null()).expect("one question comes with tools");
    let function = &golden.tools[0]["function"];
    let mut tool = json!({"name": function["name"], "input_schema": function["parameters"]});
    if !function["description"].is_null() {
        tool["description"] = function["description"].clone();
    }
    let mut body = say("demo", golden.question());
    body["tools"] = json!([tool]);
    let reply = post(&program, &body).await;
    let message = reply.json();
    let call = &message["content"][0];
    assert_eq!((&message["stop_reason"], &call["type"]), (&json!("tool_use"), &json!("tool_use")), "{message}");
    assert_eq!((&call["name"], &call["input"]), (&json!("get_weather"), &json!({"city": "Oslo"})));
    let (_, events) = stream(&program, &body).await;
    let input: String = events.iter().filter_map(|(_, data)| data["delta"]["partial_json"].as_str()).collect();
    assert_eq!(serde_json::from_str::<Value>(&input).ok(), Some(json!({"city": "Oslo"})));
    let result = json!({"type": "tool_result", "tool_use_id": call["id"], "content": "7 degrees"});
    body["messages"] = json!([
        body["messages"][0],
        {"role": "assistant", "content": message["content"]},
        {"role": "user", "content": [result]}
    ]);
    let reply = post(&program, &body).await;
    assert_eq!((reply.status, &reply.json()["type"]), (200, &json!("message")), "{}", reply.body);
}

#[tokio::test]
async fn a_hosted_model_is_asked_in_its_own_dialect() {
    let upstream = Upstream::start([Act::Says(vec!["fi", "ne"])]).await;
    let config = format!("{}{}", provider("up", &upstream, "key_env = \"UP_KEY\""), route(&["up/large"], ""));
    let program = Weighbridge::with(config).with_variable("UP_KEY", "sk-up").start().await;
    let body = json!({
        "model": "auto", "max_tokens": 2048, "stop_sequences": ["END"], "metadata": {"user_id": "u-7"},
        "system": [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}],
        "tools": [{"name": "look", "input_schema": {"type": "object"}}],
        "tool_choice": {"type": "any", "disable_parallel_tool_use": true},
        "thinking": {"type": "enabled", "budget_tokens": 1024},
        "messages": [
            {"role": "user", "content": [
                {"type": "text", "text": "What?"},
                {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AA=="}}
            ]},
            {"role": "assistant", "content": [
                {"type": "thinking", "thinking": "a secret thought", "signature": "EqQB"},
                {"type": "tool_use", "id": "t1", "name": "look", "input": {"at": 1}}
            ]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "content": "a cat"}]}
        ]
    });
    let headers = [("anthropic-version", "2026-10-21"), ("anthropic-beta", "a,b"), ("x-api-key", "mine")];
    let reply = post_with(&program, &body, &headers).await;
    assert_eq!((reply.status, &reply.json()["content"][0]["text"]), (200, &json!("fine")), "{}", reply.body);
    assert_eq!(reply.header("x-weighbridge-unused-hints"), "cache_control, metadata");
    assert_eq!(
        (&reply.json()["usage"]["input_tokens"], &reply.json()["usage"]["output_tokens"]),
        (&json!(7), &json!(2))
    );
    let sent = &upstream.received()[0];
    assert_eq!(
        (sent.header("authorization"), sent.header("x-api-key"), sent.header("anthropic-beta")),
        ("Bearer sk-up", "", "")
    );
    let sent = &sent.body;
    assert_eq!(sent["messages"][0], json!({"role": "system", "content": "Be brief."}));
    assert_eq!(sent["messages"][1]["content"][1]["image_url"]["url"], "data:image/png;base64,AA==");
    assert_eq!(sent["messages"][2]["tool_calls"][0]["function"], json!({"name": "look", "arguments": "{\"at\":1}"}));
    assert_eq!((&sent["messages"][3]["role"], &sent["messages"][3]["content"]), (&json!("tool"), &json!("a cat")));
    assert_eq!((&sent["tool_choice"], &sent["parallel_tool_calls"]), (&json!("required"), &json!(false)));
    assert_eq!((&sent["reasoning_effort"], &sent["stop"]), (&json!("low"), &json!(["END"])));
    assert!(!sent.to_string().contains("secret thought"), "{sent}");
}

#[tokio::test]
async fn effort_does_not_reach_a_model_that_cannot_use_it() {
    let upstream = Upstream::saying("fine").await;
    let settings = "unsupported_parameters = [\"reasoning_effort\"]";
    let config = format!("{}{}", provider("up", &upstream, settings), route(&["up/large"], ""));
    let program = Weighbridge::start(config).await;
    let mut body = say("auto", "Hello");
    (body["thinking"], body["output_config"]) = (json!({"type": "adaptive"}), json!({"effort": "high"}));
    let reply = post(&program, &body).await;
    assert_eq!(reply.header("x-weighbridge-unused-hints"), "thinking, output_config.effort", "{}", reply.body);
    assert!(upstream.received()[0].body["reasoning_effort"].is_null());
}

#[tokio::test]
async fn an_agent_may_ask_for_more_than_the_context_has_room_for() {
    let program = Weighbridge::start(demo_model()).await;
    let mut body = say("demo", "Hello");
    body["max_tokens"] = 32_000.into();
    let reply = post(&program, &body).await;
    assert_eq!((reply.status, &reply.json()["stop_reason"]), (200, &json!("end_turn")), "{}", reply.body);
}

#[tokio::test]
async fn every_mistake_has_anthropics_shape() {
    let program = Weighbridge::start(demo_model()).await;
    let with = |key: &str, value: Value| {
        let mut body = say("demo", "Hello");
        body[key] = value;
        body
    };
    for (body, status, kind, piece) in [
        (with("max_tokens", Value::Null), 400, "invalid_request_error", "max_tokens"),
        (with("max_tokens", json!(0)), 400, "invalid_request_error", "cached as they are computed"),
        (with("model", json!("nobody")), 404, "not_found_error", "nobody"),
        (with("system", "word ".repeat(3000).into()), 400, "invalid_request_error", "context"),
        (
            with("tools", json!([{"type": "web_search_20250305", "name": "w"}])),
            400,
            "invalid_request_error",
            "tools[0]",
        ),
        (with("mcp_servers", json!([{"url": "x"}])), 400, "invalid_request_error", "mcp_servers"),
        (json!([]), 400, "invalid_request_error", "JSON object"),
    ] {
        assert_error(&post(&program, &body).await, status, kind, piece);
    }
    let version = [("anthropic-version", "2022-01-01")];
    assert_error(&post_with(&program, &say("demo", "x"), &version).await, 400, "invalid_request_error", "2026-10-21");
    let newer = [("anthropic-version", "2026-10-21")];
    assert_error(&post_with(&program, &say("demo", "x"), &newer).await, 400, "invalid_request_error", "temperature");
    let secret = [("x-weighbridge-class", "secret")];
    assert_error(
        &post_with(&program, &say("demo", "x"), &secret).await,
        400,
        "invalid_request_error",
        "confidential, restricted",
    );
    assert_error(&program.get("/v1/messages").await, 405, "invalid_request_error", "GET");
    assert_error(&program.get("/v1/messages/nothing").await, 404, "not_found_error", "nothing");
    let plain = program.post("/v1/messages").header("content-type", "text/plain").body("{}");
    assert_error(&program.send(plain).await, 415, "invalid_request_error", "");
    let large = program.post("/v1/messages").header("content-type", "application/json");
    assert_error(&program.send(large.body(vec![b' '; 20 << 20])).await, 413, "request_too_large", "");
}

#[tokio::test]
async fn what_is_turned_away_before_anybody_reads_it_has_anthropics_shape_too() {
    let program = Weighbridge::start(format!("[server]\nbody_timeout_ms = 200\n{}", demo_model())).await;
    for path in ["/v1/messages", "/v1/messages/count_tokens", "/v1/messages/nothing"] {
        let foreign = program.post(path).header("host", "evil.example");
        assert_error(&program.send(foreign).await, 403, "permission_error", "Host");
        let named = program.post(path).header("x-request-id", "two words");
        let reply = program.send(named).await;
        assert_error(&reply, 400, "invalid_request_error", "x-request-id");
        assert_eq!(reply.json()["error"]["details"]["error_code"], "invalid_header");
    }
    assert_error(&program.get("/v1/messages/count_tokens").await, 405, "invalid_request_error", "GET");
    let escaped =
        harness::client().get(format!("{}/v1/models/%FF", program.url())).header("anthropic-version", "2023-06-01");
    assert_error(&program.send(escaped).await, 404, "not_found_error", "%FF");
    program.get("/v1/models/%FF").await.assert_error(404, "", "%FF");
    let key = program.post("/v1/messages").header("idempotency-key", "two words");
    assert_error(&program.send(key.body("{}")).await, 400, "invalid_request_error", "idempotency-key");
    for coding in ["deflate", "gzip, br"] {
        let packed = program.post("/v1/messages").header("content-type", "application/json");
        let packed = packed.header("content-encoding", coding).body("{}");
        assert_error(&program.send(packed).await, 415, "invalid_request_error", "gzip");
    }
    let mut slow = TcpStream::connect(program.url().trim_start_matches("http://")).await.expect("it listens");
    let head = "POST /v1/messages HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n{";
    slow.write_all(head.as_bytes()).await.expect("it can be sent");
    let mut answer = String::new();
    slow.read_to_string(&mut answer).await.expect("it is text");
    assert!(answer.starts_with("HTTP/1.1 408") && answer.contains("\"type\":\"timeout_error\""), "{answer}");
}

#[tokio::test]
async fn an_upstream_that_fails_is_told_in_anthropics_words() {
    for (act, status, kind) in [
        (Act::Refuses(500, json!({}), None), 502, "api_error"),
        (Act::Refuses(429, json!({}), Some("7")), 429, "rate_limit_error"),
        (Act::Refuses(503, json!({}), None), 529, "overloaded_error"),
        (Act::Refuses(401, json!({}), None), 502, "api_error"),
    ] {
        let upstream = Upstream::start([act.clone()]).await;
        let config = format!("[dispatch]\nretries = 0\n{}{}", provider("up", &upstream, ""), route(&["up/large"], ""));
        let program = Weighbridge::start(config).await;
        assert_error(&post(&program, &say("auto", "Hello")).await, status, kind, "");
        let mut streamed = say("auto", "Hello");
        streamed["stream"] = true.into();
        let reply = post(&program, &streamed).await;
        assert!(reply.status >= 400, "{act:?}: {}", reply.body);
    }
}

#[tokio::test]
async fn a_stream_that_breaks_off_ends_with_an_error_event() {
    let upstream = Upstream::start([Act::CutsAfter(vec!["half", " an"])]).await;
    let config = format!("{}{}", provider("up", &upstream, ""), route(&["up/large"], ""));
    let program = Weighbridge::start(config).await;
    let (reply, events) = stream(&program, &say("auto", "Hello")).await;
    assert_eq!((reply.status, text_of(&events).as_str()), (200, "half an"));
    let (name, error) = events.last().expect("there are events");
    assert_eq!((name.as_str(), &error["error"]["type"]), ("error", &json!("api_error")), "{error}");
    assert_eq!(error["error"]["details"]["error_code"], "upstream_cut");
    assert_eq!(error["request_id"], reply.header("request-id"));
    assert!(events.iter().all(|(name, _)| name != "message_stop"));
}

#[tokio::test]
async fn a_silent_stream_is_kept_open_by_pings() {
    let pause = std::time::Duration::from_millis(900);
    let upstream = Upstream::start([Act::SaysSlowly(vec!["fine"], pause)]).await;
    let config =
        format!("[dispatch]\nkeep_alive_ms = 200\n{}{}", provider("up", &upstream, ""), route(&["up/large"], ""));
    let program = Weighbridge::start(config).await;
    let (_, events) = stream(&program, &say("auto", "Hello")).await;
    let pings = events.iter().filter(|(name, _)| name == "ping").count();
    assert!(pings >= 3 && text_of(&events) == "fine", "{events:?}");
}

#[tokio::test]
async fn a_restricted_message_stays_here() {
    let upstream = Upstream::saying("leaked").await;
    let config = format!("{}{}{}", demo_model(), provider("up", &upstream, ""), route(&["up/large", "demo"], ""));
    let program = Weighbridge::start(config).await;
    let reply = post_with(&program, &say("auto", "Hello"), &[("x-weighbridge-class", "restricted")]).await;
    assert_eq!(reply.json()["content"][0]["text"], HELLO);
    assert_eq!(upstream.count(), 0);
}

#[tokio::test]
async fn every_message_leaves_a_receipt() {
    let mut program = Weighbridge::start(demo_model()).await;
    post(&program, &say("demo", "Hello")).await;
    post(&program, &say("nobody", "Hello")).await;
    stream(&program, &say("demo", "Hello")).await;
    program.stop().await;
    let statuses: Vec<i64> = program.ledger().column("SELECT status FROM receipts ORDER BY received_at_ms, rowid");
    assert_eq!(statuses, [200, 404, 200]);
}
