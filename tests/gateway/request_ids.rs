//! The ids of a request: the caller's own, and ours.

use harness::{Weighbridge, ask, demo_model, eventually};

#[tokio::test]
async fn every_answer_has_an_id_in_both_headers() {
    let program = Weighbridge::start(demo_model()).await;
    let (first, second) = (program.get("/v1/models").await, program.get("/health").await);
    for reply in [&first, &second, &program.get("/no/such/page").await] {
        let id = reply.header("x-request-id");
        assert!(id.len() == 36 && reply.header("request-id") == id, "{:?}", reply.headers);
    }
    assert_ne!(first.header("x-request-id"), second.header("x-request-id"));
    // Without one of the caller's, a completion goes by the id of its receipt.
    let reply = program.post_chat(&ask("demo", "Hello")).await;
    assert_eq!(reply.header("x-request-id"), reply.header("x-weighbridge-decision"));
    assert_eq!(reply.header("request-id"), reply.header("x-weighbridge-decision"));
}

#[tokio::test]
async fn a_callers_id_comes_back_and_stands_in_the_log_beside_the_receipts() {
    let mut program = Weighbridge::start(format!("[log]\nformat = \"json\"\n{}", demo_model())).await;
    let headers = [("x-request-id", "shop/order-17")];
    let whole = program.post_chat_with(&ask("demo", "Hello"), &headers).await;
    assert_eq!((whole.header("x-request-id"), whole.header("request-id")), ("shop/order-17", "shop/order-17"));
    let stream = program.open_stream_with(&ask("demo", "Hello"), &headers).await.finish().await;
    assert!(stream.done && stream.header("x-request-id") == "shop/order-17");
    let ours = [whole.header("x-weighbridge-decision"), stream.header("x-weighbridge-decision")];
    let told = |id: &str| {
        let lines: Vec<String> = program.stderr().lines().map(str::to_owned).collect();
        lines.into_iter().any(|line| line.contains(id) && line.contains("shop/order-17"))
    };
    for id in ours {
        assert!(eventually(async || told(id)).await, "{id}: {}", program.stderr());
    }
    assert!(program.stop().await.success());
    let receipts = program.ledger().column::<String>("SELECT request_id FROM receipts ORDER BY received_at_ms");
    assert_eq!(receipts, ours);
}

#[tokio::test]
async fn an_error_and_a_missing_key_have_the_callers_id_too() {
    let hash = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
    let caller = format!("[[callers]]\nname = \"a\"\nkey_sha256 = \"{hash}\"\n");
    let program = Weighbridge::start(format!("{}{caller}", demo_model())).await;
    let reply = program.post_chat_with(&ask("demo", "Hello"), &[("x-request-id", "mine")]).await;
    assert_eq!((reply.status, reply.header("x-request-id"), reply.header("request-id")), (401, "mine", "mine"));
}

#[tokio::test]
async fn an_id_that_is_none_is_refused() {
    let program = Weighbridge::start(demo_model()).await;
    for id in ["", "two words", &"x".repeat(129)] {
        let reply = program.post_chat_with(&ask("demo", "Hello"), &[("x-request-id", id)]).await;
        reply.assert_error(400, "invalid_header", "x-request-id");
        assert!(!reply.header("x-request-id").is_empty());
    }
}
