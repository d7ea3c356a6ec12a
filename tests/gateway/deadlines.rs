//! How long an answer is wanted, whoever makes it.

use std::time::{Duration, Instant};

use harness::{Act, Upstream, Weighbridge, ask, eventually, provider, route};

async fn with(upstream: &Upstream, settings: &str) -> Weighbridge {
    Weighbridge::start(format!("{settings}{}{}", provider("up", upstream, ""), route(&["up/large"], ""))).await
}

const HALF_A_SECOND: [(&str, &str); 1] = [("x-weighbridge-deadline-ms", "500")];

#[tokio::test]
async fn a_provider_that_hangs_is_given_up_at_the_deadline() {
    let upstream = Upstream::start([Act::Hangs]).await;
    let mut program = with(&upstream, "").await;
    let started = Instant::now();
    let late = program.post_chat_with(&ask("up/large", "Hello"), &HALF_A_SECOND).await;
    late.assert_error(504, "upstream_timeout", "deadline");
    assert!(started.elapsed() < Duration::from_secs(10), "it took {:?}", started.elapsed());
    assert!(eventually(async || upstream.received().iter().all(harness::Received::hung_up)).await);
    assert_eq!(upstream.count(), 1, "nobody is asked for what is not wanted any more");
    assert!(program.stop().await.success());
    let receipts = program.ledger();
    assert_eq!(receipts.column::<String>("SELECT outcome FROM receipts"), ["failed"]);
    assert_eq!(receipts.column::<i64>("SELECT status FROM receipts"), [504]);
}

#[tokio::test]
async fn a_stream_that_goes_on_too_long_ends_with_an_error() {
    let upstream = Upstream::start([Act::StallsAfter(vec!["half", " an"])]).await;
    let mut program = with(&upstream, "").await;
    let stream = program.open_stream_with(&ask("up/large", "Hello"), &HALF_A_SECOND).await.finish().await;
    assert_eq!((stream.status, stream.text().as_str()), (200, "half an"));
    assert_eq!((stream.error_code().as_str(), stream.done, stream.broken), ("upstream_timeout", false, false));
    assert!(eventually(async || upstream.received().iter().all(harness::Received::hung_up)).await);
    assert!(program.stop().await.success());
    assert_eq!(program.ledger().column::<String>("SELECT outcome FROM receipts"), ["failed"]);
}

#[tokio::test]
async fn the_config_bounds_what_no_header_does() {
    let upstream = Upstream::start([Act::Hangs]).await;
    let program = with(&upstream, "[server]\nrequest_timeout_ms = 500\n").await;
    for headers in [&[][..], &[("x-weighbridge-deadline-ms", "3600000")]] {
        let late = program.post_chat_with(&ask("up/large", "Hello"), headers).await;
        late.assert_error(504, "upstream_timeout", "deadline");
    }
}

#[tokio::test]
async fn an_answer_in_time_is_not_touched() {
    let upstream = Upstream::start([Act::SaysSlowly(vec!["one", " two"], Duration::from_millis(100))]).await;
    let program = with(&upstream, "[server]\nrequest_timeout_ms = 30000\n").await;
    let stream = program.stream_chat(&ask("up/large", "Hello")).await;
    assert_eq!((stream.text().as_str(), stream.done), ("one two", true));
    program.post_chat(&ask("up/large", "Hello")).await.assert_says("one two", "up/large");
}
