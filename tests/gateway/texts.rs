//! Questions about text: counts, tokens, templates; and addresses that are not served.

use harness::{Reply, Upstream, Weighbridge, demo_model, goldens, provider, route};
use serde_json::{Value, json};

async fn ask(program: &Weighbridge, path: &str, body: &Value, headers: &[(&str, &str)]) -> Reply {
    let request = program.post(path).header("content-type", "application/json").body(body.to_string());
    let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    program.send(request).await
}

async fn count(program: &Weighbridge, body: &Value) -> Reply {
    ask(program, "/v1/messages/count_tokens", body, &[("anthropic-version", "2023-06-01")]).await
}

#[tokio::test]
async fn a_local_prompt_is_counted_exactly() {
    let mut program = Weighbridge::start(demo_model()).await;
    for golden in goldens().iter().filter(|golden| golden.tools.is_null()) {
        let body = json!({"model": "demo", "messages": golden.body()["messages"]});
        let reply = count(&program, &body).await;
        assert_eq!((reply.status, &reply.json()["input_tokens"]), (200, &json!(golden.tokens.len())), "{}", reply.body);
        assert_eq!(reply.json()["weighbridge"], json!({"backend": "demo", "estimated": false}));
    }
    assert!(program.stop().await.success());
    assert_eq!(program.ledger().one::<i64>("SELECT count(*) FROM receipts"), 0, "nothing was answered");
}

#[tokio::test]
async fn a_hosted_prompt_is_estimated_and_stays_here() {
    let upstream = Upstream::saying("never").await;
    let config = format!("{}{}", provider("up", &upstream, ""), route(&["up/large"], ""));
    let program = Weighbridge::start(config).await;
    let body = json!({"model": "auto", "messages": [{"role": "user", "content": "word ".repeat(100)}]});
    let reply = count(&program, &body).await;
    let tokens = reply.json()["input_tokens"].as_u64().unwrap_or_default();
    assert!((100..200).contains(&tokens), "{}", reply.body);
    assert_eq!(reply.json()["weighbridge"]["estimated"], true);
    let tokenized = ask(&program, "/tokenize", &json!({"model": "auto", "prompt": "word"}), &[]).await;
    tokenized.assert_error(400, "no_tokenizer", "up/large");
    assert_eq!(upstream.count(), 0);
}

#[tokio::test]
async fn a_prompt_that_is_too_long_is_counted_all_the_same() {
    let program = Weighbridge::start(demo_model()).await;
    let body = json!({"model": "demo", "messages": [{"role": "user", "content": "word ".repeat(1100)}]});
    let reply = count(&program, &body).await;
    let tokens = reply.json()["input_tokens"].as_u64().unwrap_or_default();
    assert!(reply.status == 200 && tokens > 1024, "{}", reply.body);
}

#[tokio::test]
async fn mistakes_are_told_in_the_words_of_their_api() {
    let program = Weighbridge::start(demo_model()).await;
    let reply = count(&program, &json!({"model": "nobody", "messages": [{"role": "user", "content": "x"}]})).await;
    assert_eq!((reply.status, &reply.json()["error"]["type"]), (404, &json!("not_found_error")), "{}", reply.body);
    for path in ["/tokenize", "/v1/tokenize"] {
        ask(&program, path, &json!({"model": "demo"}), &[]).await.assert_error(400, "missing_required_parameter", "");
    }
    let reply = ask(&program, "/detokenize", &json!({"model": "demo", "tokens": "x"}), &[]).await;
    reply.assert_error(400, "invalid_type", "tokens");
    let reply = ask(&program, "/apply-template", &json!({"model": "demo"}), &[]).await;
    reply.assert_error(400, "missing_required_parameter", "messages");
}

#[tokio::test]
async fn what_is_not_served_says_so() {
    let program = Weighbridge::start(demo_model()).await;
    for path in [
        "/v1/embeddings",
        "/v1/moderations",
        "/v1/images/generations",
        "/v1/audio/speech",
        "/v1/files",
        "/v1/batches",
        "/v1/fine_tuning/jobs",
        "/v1/realtime",
    ] {
        ask(&program, path, &json!({}), &[]).await.assert_error(404, "not_found", "does not offer");
    }
    ask(&program, "/v1/embeddingsx", &json!({}), &[]).await.assert_error(404, "", "Invalid URL");
    let reply = ask(&program, "/v1/messages/batches", &json!({}), &[]).await;
    assert_eq!((reply.status, &reply.json()["error"]["type"]), (404, &json!("not_found_error")));
}
