//! What happens when an upstream fails, in each of the ways it can.

use std::time::{Duration, Instant};

use harness::{Act, Upstream, Weighbridge, ask, demo_model, provider, route};
use serde_json::{Value, json};

const HELLO: &str = "Hello! How can I help you today?";

/// Short enough for a test, and long enough for a busy machine to answer a healthy upstream.
const SHORT: &str = "first_token_timeout_ms = 700\nbetween_tokens_timeout_ms = 700";

/// An upstream first, the demo model second, no retries.
fn upstream_first(upstream: &Upstream) -> String {
    let backends = route(&["up/large", "demo"], "");
    format!("[dispatch]\nretries = 0\n{}{}{backends}", demo_model(), provider("up", upstream, SHORT))
}

/// Only the upstream, no retries.
fn upstream_alone(upstream: &Upstream) -> String {
    format!("[dispatch]\nretries = 0\n{}{}", provider("up", upstream, SHORT), route(&["up/large"], ""))
}

fn error(code: &str) -> Value {
    json!({"error": {"message": "upstream says no", "type": "x", "code": code, "param": null}})
}

/// Lets an upstream act before its first token in front of the demo model, which must answer unseen, whole
/// and streamed; `failure` is what the ledger calls the upstream's.
async fn check_replaced(act: Act, failure: &str) {
    let upstream = Upstream::start([act]).await;
    check_replaced_upstream(&upstream, failure).await;
    assert_eq!(upstream.count(), 2, "{failure}: it was asked once for each request");
}

async fn check_replaced_upstream(upstream: &Upstream, failure: &str) {
    let mut program = Weighbridge::start(upstream_first(upstream)).await;
    program.post_chat(&ask("auto", "Hello")).await.assert_says(HELLO, "demo");
    let stream = program.stream_chat(&ask("auto", "Hello")).await;
    assert_eq!((stream.text().as_str(), stream.done), (HELLO, true), "{failure}");
    assert_eq!(
        (stream.header("x-weighbridge-backend"), &stream.last()["weighbridge"]["backend"]),
        ("demo", &json!("demo"))
    );
    program.stop().await;
    let attempts = "SELECT backend || ' ' || ifnull(failure, 'answered') FROM attempts ORDER BY request_id, ordinal";
    let once = [format!("up/large {failure}"), "demo answered".to_owned()];
    assert_eq!(program.ledger().column::<String>(attempts), [once.clone(), once].concat());
}

#[tokio::test]
async fn an_upstream_that_is_down_is_replaced() {
    check_replaced_upstream(&Upstream::down().await, "unreachable").await;
}

#[tokio::test]
async fn an_upstream_that_never_answers_is_replaced() {
    check_replaced(Act::Hangs, "timeout_first_token").await;
}

#[tokio::test]
async fn an_upstream_that_stalls_before_its_first_token_is_replaced() {
    check_replaced(Act::StallsBeforeFirst, "timeout_first_token").await;
}

#[tokio::test]
async fn an_upstream_that_is_busy_is_replaced() {
    check_replaced(Act::Refuses(429, error("rate_limit_exceeded"), None), "rate_limited").await;
}

#[tokio::test]
async fn an_upstream_that_fails_is_replaced() {
    check_replaced(Act::Refuses(500, error("server_error"), None), "server_error").await;
}

#[tokio::test]
async fn an_upstream_that_closes_the_connection_is_replaced() {
    check_replaced(Act::Closes, "cut").await;
}

#[tokio::test]
async fn an_upstream_that_speaks_garbage_is_replaced() {
    check_replaced(Act::GarblesAfter(vec![]), "garbled").await;
}

#[tokio::test]
async fn an_upstream_that_says_nothing_is_replaced() {
    check_replaced(Act::SaysNothing, "garbled").await;
}

#[tokio::test]
async fn an_upstream_that_shows_a_web_page_is_replaced() {
    check_replaced(Act::ShowsWebPage, "garbled").await;
}

#[tokio::test]
async fn an_upstream_that_breaks_off_with_an_error_before_its_first_token_is_replaced() {
    check_replaced(Act::FailsAfter(vec![]), "server_error").await;
}

#[tokio::test]
async fn an_upstream_that_refuses_our_key_is_replaced() {
    check_replaced(Act::Refuses(401, error("invalid_api_key"), None), "auth").await;
}

#[tokio::test]
async fn a_whole_answer_is_replaced_even_after_its_first_token() {
    let upstream = Upstream::start([Act::CutsAfter(vec!["half an", " answer"])]).await;
    let program = Weighbridge::start(upstream_first(&upstream)).await;
    program.post_chat(&ask("auto", "Hello")).await.assert_says(HELLO, "demo");
}

#[tokio::test]
async fn one_document_in_place_of_a_stream_is_understood() {
    let upstream = Upstream::start([Act::SaysWhole("all at once")]).await;
    let program = Weighbridge::start(upstream_first(&upstream)).await;
    program.post_chat(&ask("auto", "Hello")).await.assert_says("all at once", "up/large");
    assert_eq!(program.stream_chat(&ask("auto", "Hello")).await.text(), "all at once");
}

/// Lets an upstream alone act after its first token: a stream ends with an error event of this code.
async fn check_broken_off(act: Act, code: &str) {
    let upstream = Upstream::start([act]).await;
    let mut program = Weighbridge::start(upstream_first(&upstream)).await;
    let stream = program.stream_chat(&ask("auto", "Hello")).await;
    assert_eq!((stream.status, stream.text().as_str()), (200, "half an"), "{code}");
    assert_eq!((stream.error_code().as_str(), stream.done, stream.broken), (code, false, false), "{:?}", stream.events);
    let error = &stream.last()["error"];
    assert!(error["message"].is_string() && error["type"].is_string() && error.get("param").is_some());
    program.stop().await;
    let outcome = "SELECT outcome || ' ' || backend FROM receipts";
    assert_eq!(program.ledger().one::<String>(outcome), "failed up/large");
}

#[tokio::test]
async fn a_stream_that_is_cut_ends_with_a_typed_error() {
    check_broken_off(Act::CutsAfter(vec!["half an"]), "upstream_cut").await;
}

#[tokio::test]
async fn a_stream_that_ends_too_early_ends_with_a_typed_error() {
    check_broken_off(Act::EndsAfter(vec!["half an"]), "upstream_cut").await;
}

#[tokio::test]
async fn a_stream_that_stalls_ends_with_a_typed_error() {
    check_broken_off(Act::StallsAfter(vec!["half an"]), "upstream_timeout").await;
}

#[tokio::test]
async fn a_stream_that_turns_to_garbage_ends_with_a_typed_error() {
    check_broken_off(Act::GarblesAfter(vec!["half an"]), "upstream_garbled").await;
}

#[tokio::test]
async fn a_stream_that_fails_ends_with_a_typed_error() {
    check_broken_off(Act::FailsAfter(vec!["half an"]), "upstream_error").await;
}

#[tokio::test]
async fn a_retry_waits_as_long_as_the_upstream_asked() {
    let upstream =
        Upstream::start([Act::Refuses(429, error("rate_limit_exceeded"), Some("1")), Act::Says(vec!["at last"])]).await;
    let config = format!(
        "[dispatch]\nretries = 1\nbackoff_ms = 1\n{}{}",
        provider("up", &upstream, ""),
        route(&["up/large"], "")
    );
    let program = Weighbridge::start(config).await;
    let started = Instant::now();
    program.post_chat(&ask("up/large", "Hello")).await.assert_says("at last", "up/large");
    let received = upstream.received();
    let waited = received[1].at - received[0].at;
    assert!(waited >= Duration::from_millis(990) && started.elapsed() < Duration::from_secs(20), "{waited:?}");
}

#[tokio::test]
async fn a_retry_backs_off_where_the_upstream_says_nothing_of_when() {
    let upstream =
        Upstream::start([Act::Refuses(500, error("server_error"), None), Act::Closes, Act::Says(vec!["at last"])])
            .await;
    let config = format!(
        "[dispatch]\nretries = 2\nbackoff_ms = 200\n{}{}",
        provider("up", &upstream, ""),
        route(&["up/large"], "")
    );
    let program = Weighbridge::start(config).await;
    program.post_chat(&ask("up/large", "Hello")).await.assert_says("at last", "up/large");
    let received = upstream.received();
    let waits: Vec<Duration> = received.windows(2).map(|pair| pair[1].at - pair[0].at).collect();
    assert!(waits[0] >= Duration::from_millis(195) && waits[1] >= Duration::from_millis(395), "{waits:?}");
}

#[tokio::test]
async fn a_wait_that_is_too_long_is_not_waited_for() {
    let upstream = Upstream::start([Act::Refuses(429, error("rate_limit_exceeded"), Some("30"))]).await;
    let config = format!(
        "[dispatch]\nretries = 2\nlongest_wait_ms = 2000\n{}{}",
        provider("up", &upstream, ""),
        route(&["up/large"], "")
    );
    let program = Weighbridge::start(config).await;
    let reply = program.post_chat(&ask("up/large", "Hello")).await;
    reply.assert_error(429, "rate_limit_exceeded", "");
    assert_eq!((reply.header("retry-after"), upstream.count()), ("30", 1));
    // It asked to be left alone, so it is.
    let reply = program.post_chat(&ask("up/large", "Hello")).await;
    reply.assert_error(503, "no_backend_available", "left alone");
    assert!(reply.header("retry-after").parse::<u64>().is_ok_and(|wait| (1..=30).contains(&wait)));
    assert_eq!(upstream.count(), 1);
}

/// Lets an upstream fail where nobody can take over, and holds the answer against a status and a code.
async fn check_alone(act: Act, status: u16, code: &str) {
    let upstream = Upstream::start([act]).await;
    let program = Weighbridge::start(upstream_alone(&upstream)).await;
    program.post_chat(&ask("up/large", "Hello")).await.assert_error(status, code, "");
    let stream = program.stream_chat(&ask("up/large", "Hello")).await;
    assert_eq!(stream.status, status, "headers of a stream wait for its first event");
}

#[tokio::test]
async fn a_refused_key_of_ours_is_not_blamed_on_the_caller() {
    check_alone(Act::Refuses(401, error("invalid_api_key"), None), 502, "upstream_auth_error").await;
}

#[tokio::test]
async fn each_failure_has_its_status_where_nobody_takes_over() {
    check_alone(Act::Refuses(500, error("server_error"), None), 502, "upstream_error").await;
    check_alone(Act::Refuses(404, error("model_not_found"), None), 502, "upstream_model_not_found").await;
    check_alone(Act::Refuses(429, error("insufficient_quota"), None), 502, "upstream_quota_exhausted").await;
    check_alone(Act::Refuses(503, error("overloaded"), None), 503, "overloaded").await;
    check_alone(Act::StallsBeforeFirst, 504, "upstream_timeout").await;
    check_alone(Act::ShowsWebPage, 502, "upstream_garbled").await;
}

#[tokio::test]
async fn a_request_that_the_upstream_holds_to_be_wrong_goes_back_to_its_caller() {
    let body = json!({"error": {"message": "temperature is too hot", "type": "invalid_request_error", "param": "temperature", "code": "unsupported_value"}});
    let upstream = Upstream::start([Act::Refuses(400, body, None)]).await;
    let program = Weighbridge::start(upstream_first(&upstream)).await;
    let reply = program.post_chat(&ask("auto", "Hello")).await;
    reply.assert_error(400, "invalid_request", "temperature is too hot");
    let error = &reply.json()["error"];
    assert_eq!((&error["upstream_code"], &error["param"]), (&json!("unsupported_value"), &json!("temperature")));
}

#[tokio::test]
async fn a_client_that_hangs_up_is_hung_up_on_upstream() {
    let upstream = Upstream::start([Act::StallsAfter(vec!["half an"])]).await;
    let config = format!("{}{}", provider("up", &upstream, ""), route(&["up/large"], ""));
    let program = Weighbridge::start(config).await;
    let mut stream = program.open_stream(&ask("up/large", "Hello")).await;
    stream.read_texts(1).await;
    assert!(!upstream.received()[0].hung_up());
    drop(stream);
    assert!(harness::eventually(async || upstream.received()[0].hung_up()).await, "the upstream goes on for nobody");
}
