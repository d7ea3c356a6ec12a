//! Requests that are sent again with the same key.

use std::time::Duration;

use harness::{Act, Reply, Streamed, Upstream, Weighbridge, ask, client, provider, route};
use serde_json::{Value, json};

const KEY: (&str, &str) = ("idempotency-key", "order-17");

async fn with(upstream: &Upstream, settings: &str) -> Weighbridge {
    Weighbridge::start(format!("{settings}{}{}", provider("up", upstream, ""), route(&["up/large"], ""))).await
}

fn replayed(reply: &Reply) -> bool {
    reply.header("idempotent-replayed") == "true"
}

/// Two words, then two others: who is asked twice says something else.
async fn of_two_minds() -> Upstream {
    Upstream::start([Act::Says(vec!["first"]), Act::Says(vec!["second"])]).await
}

async fn streamed(program: &Weighbridge, body: &Value) -> Streamed {
    program.open_stream_with(body, &[KEY]).await.finish().await
}

#[tokio::test]
async fn the_same_request_gets_the_same_answer_and_is_answered_once() {
    let upstream = of_two_minds().await;
    let mut program = with(&upstream, "").await;
    let body = ask("up/large", "Hello");
    let first = program.post_chat_with(&body, &[KEY]).await;
    first.assert_says("first", "up/large");
    let again = program.post_chat_with(&body, &[KEY]).await;
    again.assert_says("first", "up/large");
    assert_eq!((replayed(&first), replayed(&again), &again.body), (false, true, &first.body));
    let decision = first.header("x-weighbridge-decision");
    assert!(!decision.is_empty() && again.header("x-weighbridge-decision") == decision);
    // Without the key it is a request as any other.
    program.post_chat(&body).await.assert_says("second", "up/large");
    assert_eq!(upstream.count(), 2);
    assert!(program.stop().await.success());
    let receipts = program.ledger();
    assert_eq!(receipts.one::<i64>("SELECT count(*) FROM receipts"), 2, "what was answered again was not asked again");
    assert_eq!(receipts.one::<i64>(&format!("SELECT count(*) FROM receipts WHERE request_id = '{decision}'")), 1);
}

#[tokio::test]
async fn a_stream_is_given_again_as_it_was() {
    let upstream = of_two_minds().await;
    let program = with(&upstream, "").await;
    let first = streamed(&program, &ask("up/large", "Hello")).await;
    let again = streamed(&program, &ask("up/large", "Hello")).await;
    assert_eq!((first.text().as_str(), first.done, again.done), ("first", true, true));
    assert_eq!((&again.events, again.header("idempotent-replayed")), (&first.events, "true"));
    assert_eq!(again.header("content-type"), first.header("content-type"));
    assert_eq!(upstream.count(), 1);
}

#[tokio::test]
async fn a_key_stands_for_one_body_and_one_class() {
    let upstream = of_two_minds().await;
    let program = with(&upstream, "").await;
    let body = ask("up/large", "Hello");
    assert_eq!(program.post_chat_with(&body, &[KEY]).await.status, 200);
    let other = program.post_chat_with(&ask("up/large", "Goodbye"), &[KEY]).await;
    other.assert_error(422, "idempotency_key_reused", "new key");
    assert!(!other.header("x-weighbridge-decision").is_empty());
    let raised = program.post_chat_with(&body, &[KEY, ("x-weighbridge-class", "internal")]).await;
    raised.assert_error(422, "idempotency_key_reused", "class");
    program.post_chat_with(&body, &[("idempotency-key", "order-18")]).await.assert_says("second", "up/large");
    for wrong in ["", "two words", &"k".repeat(256)] {
        let refused = program.post_chat_with(&body, &[("idempotency-key", wrong)]).await;
        refused.assert_error(400, "invalid_header", "idempotency-key");
    }
    assert_eq!(upstream.count(), 2);
}

#[tokio::test]
async fn one_that_comes_while_the_first_is_under_way_waits_for_its_answer() {
    let upstream = Upstream::start([Act::SaysSlowly(vec!["one", " two"], Duration::from_millis(300))]).await;
    let program = with(&upstream, "").await;
    let body = ask("up/large", "Hello");
    let asked = || program.post_chat_with(&body, &[KEY]);
    let replies = futures_util::future::join_all([asked(), asked(), asked()]).await;
    for reply in &replies {
        reply.assert_says("one two", "up/large");
    }
    assert_eq!((replies.iter().filter(|reply| replayed(reply)).count(), upstream.count()), (2, 1));
}

#[tokio::test]
async fn who_waits_for_a_first_that_hangs_up_is_answered_itself() {
    let upstream = Upstream::start([Act::StallsAfter(vec!["half"]), Act::Says(vec!["whole"])]).await;
    let program = with(&upstream, "").await;
    let mut body = ask("up/large", "Hello");
    let mut first = program.open_stream_with(&body, &[KEY]).await;
    first.read_texts(1).await;
    body["stream"] = true.into();
    let waiting = program.post_chat_with(&body, &[KEY]);
    let (reply, ()) = tokio::join!(waiting, async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        drop(first);
    });
    assert!(reply.body.contains("whole") && !replayed(&reply), "{}", reply.body);
    assert_eq!(upstream.count(), 2);
}

#[tokio::test]
async fn what_went_wrong_is_not_kept() {
    let error = json!({"error": {"message": "no", "type": "server_error", "code": "server_error"}});
    let refuses = || Act::Refuses(500, error.clone(), None);
    let acts = [refuses(), refuses(), refuses(), Act::CutsAfter(vec!["half"]), Act::Says(vec!["whole"])];
    let upstream = Upstream::start(acts).await;
    let program = with(&upstream, "[dispatch]\nbackoff_ms = 1\n").await;
    let failed = program.post_chat_with(&ask("up/large", "Hello"), &[KEY]).await;
    assert_eq!(failed.status, 502, "{}", failed.body);
    // A stream that broke off had a good status before it did.
    let mut body = ask("up/large", "Hello");
    let broken = program.open_stream_with(&body, &[KEY]).await.finish().await;
    assert_eq!((broken.status, broken.error_code().as_str()), (200, "upstream_cut"));
    let whole = streamed(&program, &body).await;
    assert_eq!((whole.text().as_str(), whole.done, whole.header("idempotent-replayed")), ("whole", true, ""));
    // What the request itself is at fault for is told anew each time.
    body["temperature"] = 7.into();
    let headers = [("idempotency-key", "order-18")];
    for _ in 0..2 {
        let refused = program.post_chat_with(&body, &headers).await;
        assert!(refused.status == 400 && !replayed(&refused), "{}", refused.body);
    }
}

#[tokio::test]
async fn callers_share_no_keys() {
    let upstream = of_two_minds().await;
    let callers: String = [
        ("a", "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"),
        ("b", "60303ae22b998861bce3b28f33eec1be758a213c86c93c076dbe9f558c11c752"),
    ]
    .map(|(name, hash)| format!("[[callers]]\nname = {name:?}\nkey_sha256 = {hash:?}\n"))
    .concat();
    let program = with(&upstream, &callers).await;
    let body = ask("up/large", "Hello");
    let asked = async |key: &str| {
        let bearer = format!("Bearer {key}");
        program.post_chat_with(&body, &[KEY, ("authorization", &bearer)]).await
    };
    asked("test").await.assert_says("first", "up/large");
    asked("test2").await.assert_says("second", "up/large");
    asked("test").await.assert_says("first", "up/large");
    assert_eq!((asked("nobody").await.status, upstream.count()), (401, 2));
}

#[tokio::test]
async fn answers_are_kept_for_a_while_and_up_to_a_bound() {
    let upstream = of_two_minds().await;
    let program = with(&upstream, "[server]\nidempotency_window_ms = 300\n").await;
    let body = ask("up/large", "Hello");
    assert_eq!(program.post_chat_with(&body, &[KEY]).await.text(), "first");
    tokio::time::sleep(Duration::from_millis(400)).await;
    assert_eq!(program.post_chat_with(&body, &[KEY]).await.text(), "second");
    let upstream = of_two_minds().await;
    let program = with(&upstream, "[server]\nidempotency_max_bytes = 1000\n").await;
    assert_eq!(program.post_chat_with(&body, &[KEY]).await.text(), "first");
    assert_eq!(program.post_chat_with(&body, &[KEY]).await.text(), "second");
}

#[tokio::test]
async fn a_kept_answer_is_compressed_for_each_reader_as_it_likes() {
    // More than a kilobyte: what is given again is a body of a length that is known.
    let upstream = Upstream::start([Act::Says(vec!["word "; 20])]).await;
    let program = with(&upstream, "").await;
    let mut body = ask("up/large", "Hello");
    body["stream"] = true.into();
    let coding = async |accepted: &str| {
        let request = client().post(format!("{}/v1/chat/completions", program.url())).header(KEY.0, KEY.1);
        let request = request.header("content-type", "application/json").header("accept-encoding", accepted);
        let answer = request.body(body.to_string()).send().await.expect("it answers");
        let coding = answer.headers().get("content-encoding").map(|it| it.to_str().unwrap_or_default().to_owned());
        assert!(!answer.bytes().await.expect("it ends").is_empty());
        coding
    };
    assert_eq!(coding("gzip").await.as_deref(), Some("gzip"));
    assert_eq!(coding("zstd").await.as_deref(), Some("zstd"));
    assert_eq!(coding("identity").await, None);
    assert_eq!(upstream.count(), 1);
}
