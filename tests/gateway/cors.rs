//! Pages of other origins.

use harness::{Reply, Weighbridge, ask, client, demo_model};
use reqwest::Method;

const APP: &str = "https://app.example";

fn config(settings: &str) -> String {
    format!("[server.cors]\nallow_origins = [\"{APP}\"]\n{settings}\n{}", demo_model())
}

/// What a browser asks before it lets a page ask.
async fn preflight(program: &Weighbridge, path: &str, origin: &str) -> Reply {
    let request = client().request(Method::OPTIONS, format!("{}{path}", program.url())).header("origin", origin);
    let request = request.header("access-control-request-method", "POST");
    program.send(request.header("access-control-request-headers", "authorization,content-type")).await
}

fn allowed(reply: &Reply) -> &str {
    reply.header("access-control-allow-origin")
}

#[tokio::test]
async fn without_a_word_of_the_config_no_page_may_ask() {
    let program = Weighbridge::start(demo_model()).await;
    assert_eq!(preflight(&program, "/v1/chat/completions", APP).await.status, 405);
    let reply = program.post_chat_with(&ask("demo", "Hello"), &[("origin", APP)]).await;
    assert_eq!((reply.status, allowed(&reply)), (200, ""));
}

#[tokio::test]
async fn a_page_that_is_named_may_ask_and_read() {
    let program = Weighbridge::start(config("max_age_ms = 60000")).await;
    let before = preflight(&program, "/v1/chat/completions", APP).await;
    assert_eq!((before.status, allowed(&before)), (200, APP));
    assert_eq!(before.header("access-control-allow-methods"), "GET,POST");
    assert_eq!(before.header("access-control-allow-headers"), "authorization,content-type");
    assert_eq!(before.header("access-control-max-age"), "60");
    assert_eq!(before.header("access-control-allow-credentials"), "");
    let reply = program.post_chat_with(&ask("demo", "Hello"), &[("origin", APP)]).await;
    assert_eq!((reply.status, allowed(&reply)), (200, APP));
    let exposed = reply.header("access-control-expose-headers");
    for name in ["x-request-id", "x-weighbridge-decision", "x-weighbridge-cost-usd", "retry-after"] {
        assert!(exposed.contains(name), "{name} is not in {exposed}");
    }
    assert!(reply.header("vary").contains("origin"), "{:?}", reply.headers);
    // What went wrong is read as well.
    let refused = program.post_chat_with(&ask("nobody", "Hello"), &[("origin", APP)]).await;
    assert_eq!((refused.status, allowed(&refused)), (404, APP));
    let stream = program.open_stream_with(&ask("demo", "Hello"), &[("origin", APP)]).await.finish().await;
    assert!(stream.done && stream.header("access-control-allow-origin") == APP);
}

#[tokio::test]
async fn other_pages_and_other_addresses_are_left_out() {
    let program = Weighbridge::start(config("")).await;
    for origin in ["https://evil.example", "http://app.example", "https://app.example.evil", "null"] {
        assert_eq!(allowed(&preflight(&program, "/v1/models", origin).await), "", "{origin}");
    }
    for path in ["/admin/models", "/metrics"] {
        assert_eq!(allowed(&preflight(&program, path, APP).await), "", "{path}");
        let reply = program.send(client().get(format!("{}{path}", program.url())).header("origin", APP)).await;
        assert_eq!(allowed(&reply), "", "{path}");
    }
    let unload = client().post(format!("{}/admin/models/demo/unload", program.url())).header("origin", APP);
    assert_eq!(program.send(unload).await.status, 403);
}

#[tokio::test]
async fn only_the_headers_that_are_listed_may_be_sent() {
    let program = Weighbridge::start(config("allow_headers = [\"content-type\"]")).await;
    let before = preflight(&program, "/v1/chat/completions", APP).await;
    assert_eq!(before.header("access-control-allow-headers"), "content-type");
}
