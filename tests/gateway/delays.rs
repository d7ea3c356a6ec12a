//! How soon what is computed is on its way.

use harness::{Weighbridge, ask, demo_model};

#[tokio::test]
async fn the_time_from_a_token_to_the_wire_is_measured() {
    let program = Weighbridge::start(demo_model()).await;
    let stream = program.stream_chat(&ask("demo", "Tell me a story about a fox and a lamp.")).await;
    assert!(stream.done);
    let metrics = program.metrics().await;
    let of = |name: &str, more: &[(&str, &str)]| {
        metrics.sum(&format!("weighbridge_stream_chunk_delay_seconds{name}"), &[&[("backend", "demo")], more].concat())
    };
    let (count, sum) = (of("_count", &[]), of("_sum", &[]));
    assert!(count >= 5.0 && count <= stream.events.len() as f64, "{count} of {} events", stream.events.len());
    // What is wanted is a millisecond; a test among others on a busy machine can hold it to a tenth of a second.
    assert!(sum / count < 0.1, "{} ms on average", 1000.0 * sum / count);
    assert!(of("_bucket", &[("le", "0.05")]) >= count / 2.0);
    // A whole answer is no stream.
    assert_eq!(program.post_chat(&ask("demo", "Hello")).await.status, 200);
    assert_eq!(program.metrics().await.sum("weighbridge_stream_chunk_delay_seconds_count", &[]), count);
}
