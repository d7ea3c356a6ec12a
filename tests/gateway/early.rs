//! Streams whose status cannot wait for the first event.

use std::time::Duration;

use harness::{Act, Upstream, Weighbridge, ask, demo_model, provider, route};
use serde_json::json;

/// An upstream that may be silent for this long, and a stream that may not.
fn impatient(upstream: &Upstream, first_token_ms: u32, backends: &[&str]) -> String {
    let patience = format!("first_token_timeout_ms = {first_token_ms}");
    let backends = route(backends, "");
    format!(
        "[dispatch]\nretries = 0\nkeep_alive_ms = 50\n{}{}{backends}",
        demo_model(),
        provider("up", upstream, &patience)
    )
}

#[tokio::test]
async fn a_stream_that_nobody_has_answered_yet_has_its_status_and_what_is_known() {
    let upstream = Upstream::start([Act::SaysSlowly(vec!["Hello", " there"], Duration::from_millis(400))]).await;
    let program = Weighbridge::start(impatient(&upstream, 5000, &["up/large"])).await;
    let mut body = ask("auto", "Hello");
    body["stream"] = json!(true);
    let reply = program
        .send(program.post("/v1/chat/completions").header("content-type", "application/json").body(body.to_string()))
        .await;
    assert_eq!((reply.status, reply.header("x-weighbridge-route")), (200, "main"));
    assert_eq!((reply.header("x-weighbridge-class"), reply.header("x-weighbridge-backend")), ("internal", ""));
    let text = &reply.body;
    assert!(text.starts_with(": keep-alive\n\n: keep-alive\n\n"), "{text}");
    assert!(text.contains("\"weighbridge\":{\"backend\":\"up/large\"") && text.ends_with("data: [DONE]\n\n"), "{text}");
}

#[tokio::test]
async fn another_backend_still_takes_over_unseen() {
    let upstream = Upstream::start([Act::Hangs]).await;
    let program = Weighbridge::start(impatient(&upstream, 300, &["up/large", "demo"])).await;
    let stream = program.stream_chat(&ask("auto", "Hello")).await;
    assert_eq!((stream.status, stream.done), (200, true));
    assert_eq!(stream.text(), "Hello! How can I help you today?");
    assert_eq!(stream.last()["weighbridge"]["backend"], "demo");
}

#[tokio::test]
async fn a_failure_after_the_status_is_a_typed_event_and_counted_as_such() {
    let upstream = Upstream::start([Act::Hangs]).await;
    let mut program = Weighbridge::start(impatient(&upstream, 300, &["up/large"])).await;
    let stream = program.stream_chat(&ask("auto", "Hello")).await;
    assert_eq!((stream.status, stream.error_code().as_str(), stream.done), (200, "upstream_timeout", false));
    program.stop().await;
    let told = program.ledger().column::<String>("SELECT outcome || ' ' || status FROM receipts");
    assert_eq!(told, ["failed 200"]);
}
