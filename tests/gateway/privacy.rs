//! Nothing leaves that must not, whatever fails.

use harness::{Act, Upstream, Weighbridge, ask, demo_gguf, demo_model, provider, route};
use serde_json::json;

const RESTRICTED: &[(&str, &str)] = &[("x-weighbridge-class", "restricted")];

#[tokio::test]
async fn a_restricted_request_stays_though_the_upstream_is_first() {
    let upstream = Upstream::saying("leaked").await;
    let config = format!("{}{}{}", demo_model(), provider("up", &upstream, ""), route(&["up/large", "demo"], ""));
    let program = Weighbridge::start(config).await;
    let body = ask("auto", "Hello");
    program.post_chat(&body).await.assert_says("leaked", "up/large");
    let reply = program.post_chat_with(&body, RESTRICTED).await;
    reply.assert_says("Hello! How can I help you today?", "demo");
    assert_eq!(reply.header("x-weighbridge-class"), "restricted");
    let stream = program.open_stream_with(&body, RESTRICTED).await.finish().await;
    assert_eq!(stream.header("x-weighbridge-backend"), "demo");
    assert_eq!(upstream.count(), 1, "only the internal request has left");
}

#[tokio::test]
async fn a_restricted_request_that_nobody_may_answer_is_refused() {
    let upstream = Upstream::saying("leaked").await;
    let config = format!("{}{}", provider("up", &upstream, ""), route(&["up/large"], ""));
    let program = Weighbridge::start(config).await;
    for class in ["confidential", "restricted"] {
        let reply = program.post_chat_with(&ask("auto", "Hello"), &[("x-weighbridge-class", class)]).await;
        reply.assert_error(403, "no_eligible_backend", "cleared for internal");
    }
    assert_eq!(upstream.count(), 0);
}

#[tokio::test]
async fn a_restricted_request_stays_though_the_local_model_fails() {
    let upstream = Upstream::saying("leaked").await;
    // A model with room for one answer and none waiting but one: it turns the others away.
    let full = format!(
        "[dispatch]\nretries = 0\n[[models]]\nname = \"demo\"\npath = {:?}\nmax_running = 1\nmax_waiting = 1\n",
        demo_gguf().display().to_string()
    );
    let config = format!("{full}{}{}", provider("up", &upstream, ""), route(&["demo", "up/large"], ""));
    let program = Weighbridge::start(config).await;
    let story = ask("auto", "Tell me a story about a fox and a lamp.");
    let asking = (0..6).map(|_| program.post_chat_with(&story, RESTRICTED));
    let replies = futures_util::future::join_all(asking).await;
    let statuses: Vec<u16> = replies.iter().map(|reply| reply.status).collect();
    assert!(statuses.contains(&200) && statuses.contains(&503), "{statuses:?}");
    assert!(replies.iter().all(|reply| reply.header("x-weighbridge-backend") != "up/large"));
    for full in replies.iter().filter(|reply| reply.status == 503) {
        let wait: u64 = full.header("retry-after").parse().expect("whole seconds");
        assert!((1..=60).contains(&wait), "{wait}");
    }
    assert_eq!(upstream.count(), 0, "{statuses:?}");
}

#[tokio::test]
async fn a_restricted_request_stays_whatever_it_asks_for() {
    let upstream = Upstream::saying("leaked").await;
    let config = format!("{}{}{}", demo_model(), provider("up", &upstream, ""), route(&["demo", "up/large"], ""));
    let program = Weighbridge::start(config).await;
    let long = "word ".repeat(3000);
    for (name, value) in [
        ("verbosity", json!("low")),
        ("brand_new_field", json!(1)),
        ("service_tier", json!("flex")),
        ("model", json!("up/large")),
        ("messages", json!([{"role": "user", "content": long}])),
    ] {
        let mut body = ask("auto", "Hello");
        body[name] = value;
        let reply = program.post_chat_with(&body, RESTRICTED).await;
        assert!((400..500).contains(&reply.status), "{name}: {} {}", reply.status, reply.body);
    }
    assert_eq!(upstream.count(), 0);
}

#[tokio::test]
async fn the_header_raises_the_class_and_never_lowers_it() {
    let upstream = Upstream::saying("leaked").await;
    let config = format!(
        "{}{}{}",
        demo_model(),
        provider("up", &upstream, ""),
        route(&["up/large", "demo"], "class = \"confidential\"")
    );
    let program = Weighbridge::start(config).await;
    for (sent, counts) in [("public", "confidential"), ("confidential", "confidential"), ("Restricted", "restricted")] {
        let reply = program.post_chat_with(&ask("auto", "Hello"), &[("x-weighbridge-class", sent)]).await;
        assert_eq!((reply.header("x-weighbridge-class"), reply.header("x-weighbridge-backend")), (counts, "demo"));
    }
    assert_eq!(upstream.count(), 0);
}

#[tokio::test]
async fn a_model_named_outright_is_asked_alone() {
    let upstream = Upstream::start([Act::Refuses(500, json!({}), None)]).await;
    let config = format!(
        "[dispatch]\nretries = 0\n{}{}{}",
        demo_model(),
        provider("up", &upstream, ""),
        route(&["up/large", "demo"], "")
    );
    let program = Weighbridge::start(config).await;
    program.post_chat(&ask("demo", "Hello")).await.assert_says("Hello! How can I help you today?", "demo");
    assert_eq!(upstream.count(), 0);
    program.post_chat(&ask("up/large", "Hello")).await.assert_error(502, "upstream_error", "");
    assert_eq!(upstream.count(), 1);
}

#[tokio::test]
async fn neither_contents_nor_keys_show_in_the_log() {
    let upstream =
        Upstream::start([Act::Refuses(500, json!({"error": {"message": "tulip sk-upstream-secret"}}), None)]).await;
    let settings = "key_env = \"UP_KEY\"";
    let config = format!(
        "[log]\nlevel = \"debug\"\n{}{}{}",
        demo_model(),
        provider("up", &upstream, settings),
        route(&["up/large", "demo"], "")
    );
    let mut program = Weighbridge::with(config).with_variable("UP_KEY", "sk-upstream-secret").start().await;
    program.post_chat(&ask("auto", "Repeat: tulip tulip tulip")).await;
    program.post_chat(&json!({"model": "auto", "messages": "tulip"})).await;
    assert_eq!(upstream.received()[0].header("authorization"), "Bearer sk-upstream-secret");
    program.stop().await;
    let said = format!("{}{}", program.stdout(), program.stderr());
    assert!(said.contains("request"), "it logs something");
    assert!(!said.contains("tulip") && !said.contains("sk-upstream-secret"), "{said}");
}

#[tokio::test]
async fn what_a_prompt_computed_helps_no_request_of_another_class_along() {
    let program = Weighbridge::start(demo_model()).await;
    let body = ask("demo", &format!("{}: what is that?", "a fox and a lamp, ".repeat(12)));
    let cached = async |class: &str| {
        let reply = program.post_chat_with(&body, &[("x-weighbridge-class", class)]).await;
        reply.json()["usage"]["prompt_tokens_details"]["cached_tokens"].as_u64()
    };
    assert_eq!(cached("internal").await, Some(0));
    assert_eq!(cached("restricted").await, Some(0));
    assert!(cached("internal").await > Some(32));
    assert!(cached("restricted").await > Some(32));
    assert_eq!(cached("confidential").await, Some(0));
}
