//! What is kept of a request.

use harness::{Upstream, Weighbridge, ask, demo_model, provider, route};

#[tokio::test]
async fn every_request_leaves_one_receipt_however_it_ends() {
    let upstream = Upstream::saying("fine").await;
    let config = format!("{}{}{}", demo_model(), provider("up", &upstream, ""), route(&["demo", "up/large"], ""));
    let mut program = Weighbridge::start(config).await;
    let answered = program.post_chat(&ask("demo", "Hello")).await;
    program.post_chat(&ask("nobody", "Hello")).await;
    program.post_chat(&serde_json::json!({})).await;
    let mut stream = program.open_stream(&ask("auto", "Tell me a story about a fox and a lamp.")).await;
    stream.read_texts(1).await;
    drop(stream);
    assert!(
        harness::eventually(async || program.metrics().await.sum("weighbridge_requests_in_flight", &[]) == 0.0).await
    );
    assert!(program.stop().await.success());
    let ledger = program.ledger();
    let receipts: Vec<String> = ledger.column(
        "SELECT outcome || ' ' || status || ' ' || model || ' ' || stream FROM receipts ORDER BY received_at_ms, rowid",
    );
    assert_eq!(receipts, ["completed 200 demo 0", "refused 404 nobody 0", "refused 400  0", "cancelled 200 auto 1"]);
    let first: String = ledger.one("SELECT request_id FROM receipts ORDER BY received_at_ms, rowid LIMIT 1");
    assert_eq!(first, answered.header("x-weighbridge-decision"));
    let drawn: i64 = ledger.one("SELECT completion_tokens FROM receipts WHERE outcome = 'cancelled'");
    assert!((1..69).contains(&drawn), "of a story of 69 tokens, {drawn} were made for a client that went away");
}

#[tokio::test]
async fn what_an_upstream_used_is_priced() {
    let upstream = Upstream::start([harness::Act::Says(vec!["one", " two", " three"])]).await;
    let config = format!("{}{}", provider("up", &upstream, ""), route(&["up/large"], ""));
    let mut program = Weighbridge::start(config).await;
    let reply = program.post_chat(&ask("up/large", "Hello")).await;
    // 7 tokens in at a dollar for a million, 3 out at two dollars.
    assert_eq!(reply.header("x-weighbridge-cost-usd").parse(), Ok(0.000013));
    let stream = program.stream_chat(&ask("up/large", "Hello")).await;
    let cost = stream.last()["weighbridge"]["cost_usd"].as_str().and_then(|cost| cost.parse().ok());
    assert_eq!((cost, stream.last()["weighbridge"]["usage_estimated"].as_bool()), (Some(0.000013), Some(false)));
    program.stop().await;
    assert_eq!(program.ledger().column::<i64>("SELECT cost_nano_usd FROM receipts"), [13_000, 13_000]);
}

#[tokio::test]
async fn what_an_upstream_does_not_count_is_estimated_and_said_so() {
    let upstream = Upstream::start([harness::Act::SaysWithoutUsage(vec!["one", " two", " three"])]).await;
    let config = format!("{}{}", provider("up", &upstream, ""), route(&["up/large"], ""));
    let program = Weighbridge::start(config).await;
    let about = program.stream_chat(&ask("up/large", "Hello")).await.last()["weighbridge"].clone();
    assert_eq!(about["usage_estimated"], true);
    assert!(about["cost_usd"].as_str().and_then(|cost| cost.parse::<f64>().ok()).is_some_and(|cost| cost > 0.0));
}
