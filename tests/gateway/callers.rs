//! Who may ask for what.

use harness::{Starting, Upstream, Weighbridge, ask, demo_model, provider, route, run};

/// The hash of a key, as the program makes it.
async fn hash(key: &str) -> String {
    run(["keys", "hash"], key, &[]).await.assert_code(0).stdout.trim().to_owned()
}

/// One caller, with further lines of settings.
pub(crate) async fn caller(name: &str, key: &str, settings: &str) -> String {
    format!("[[callers]]\nname = {name:?}\nkey_sha256 = {:?}\n{settings}\n", hash(key).await)
}

#[tokio::test]
async fn a_key_opens_and_no_key_or_another_does_not() {
    let config = format!("{}{}", demo_model(), caller("web", "the-right-key-0123", "").await);
    let mut program = Weighbridge::start(config).await;
    let body = ask("demo", "Hello");
    let missing = program.post_chat(&body).await;
    missing.assert_error(401, "", "did not provide an API key");
    let wrong = program.post_chat_with(&body, &[("authorization", "Bearer another-key")]).await;
    wrong.assert_error(401, "invalid_api_key", "Incorrect API key");
    assert!(!wrong.body.contains("another-key"));
    let right = program.post_chat_with(&body, &[("authorization", "Bearer the-right-key-0123")]).await;
    assert_eq!(right.status, 200, "{}", right.body);
    assert_eq!((program.get("/v1/models").await.status, program.get("/health").await.status), (401, 200));
    program.stop().await;
    assert_eq!(program.ledger().column::<String>("SELECT caller FROM receipts"), ["web"], "strangers leave no receipt");
}

#[tokio::test]
async fn a_caller_sends_nothing_above_its_highest_class() {
    let settings = "highest_class = \"internal\"";
    let config = format!("{}{}", demo_model(), caller("web", "the-right-key-0123", settings).await);
    let program = Weighbridge::start(config).await;
    let key = ("authorization", "Bearer the-right-key-0123");
    assert_eq!(program.post_chat_with(&ask("demo", "Hello"), &[key]).await.status, 200);
    let above = program.post_chat_with(&ask("demo", "Hello"), &[key, ("x-weighbridge-class", "restricted")]).await;
    above.assert_error(403, "class_not_allowed", "");
}

#[tokio::test]
async fn a_callers_own_class_raises_its_requests() {
    let upstream = Upstream::saying("leaked").await;
    let settings = "class = \"restricted\"";
    let config = format!(
        "{}{}{}{}",
        demo_model(),
        provider("up", &upstream, ""),
        route(&["up/large", "demo"], ""),
        caller("legal", "the-right-key-0123", settings).await
    );
    let program = Weighbridge::start(config).await;
    let reply = program.post_chat_with(&ask("auto", "Hello"), &[("authorization", "Bearer the-right-key-0123")]).await;
    assert_eq!((reply.header("x-weighbridge-class"), reply.header("x-weighbridge-backend")), ("restricted", "demo"));
    assert_eq!(upstream.count(), 0);
}

#[tokio::test]
async fn a_caller_uses_only_the_routes_it_is_allowed() {
    let routes = "[[routes]]\nname = \"open\"\nmatch = { models = [\"auto\"] }\nbackends = [\"demo\"]\n\
                  [[routes]]\nname = \"closed\"\nmatch = { models = [\"private\"] }\nbackends = [\"demo\"]\n";
    let callers = [
        caller("web", "key-of-the-web-0123", "routes = [\"open\"]").await,
        caller("legal", "key-of-legal-01234", "").await,
    ];
    let program = Weighbridge::start(format!("{}{routes}{}", demo_model(), callers.concat())).await;
    let (web, legal) =
        (("authorization", "Bearer key-of-the-web-0123"), ("authorization", "Bearer key-of-legal-01234"));
    assert_eq!(program.post_chat_with(&ask("auto", "Hello"), &[web]).await.status, 200);
    assert_eq!(program.post_chat_with(&ask("private", "Hello"), &[legal]).await.status, 200);
    let refused = program.post_chat_with(&ask("private", "Hello"), &[web]).await;
    refused.assert_error(403, "route_not_allowed", "closed");
    let request = harness::client().get(format!("{}/v1/models", program.url())).header(web.0, web.1);
    let list = program.send(request).await.json().to_string();
    assert!(list.contains("auto") && !list.contains("private"), "{list}");
}

fn with_listen(config: String, listen: &str) -> Starting {
    Weighbridge::with(config).with_argument("--listen").with_argument(listen)
}

#[tokio::test]
async fn an_address_that_others_reach_needs_callers() {
    let refused = with_listen(demo_model(), "0.0.0.0:0").fail().await.assert_code(2);
    assert!(refused.stderr.contains("callers"), "{}", refused.stderr);
    let in_file = format!("[server]\nlisten = \"0.0.0.0:0\"\n{}", demo_model());
    let refused = run_serve(&in_file).await.assert_code(2);
    assert!(refused.stderr.contains("server.listen"), "{}", refused.stderr);
}

/// Serves a config as it stands, in the hope that it refuses.
async fn run_serve(config: &str) -> harness::Finished {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let file = folder.path().join("w.toml");
    std::fs::write(&file, config).expect("a file can be written there");
    run(["serve", "--config", &file.display().to_string()], "", &[]).await
}

#[tokio::test]
async fn an_address_that_others_reach_opens_to_keys_or_where_the_config_says_so() {
    let with_keys = format!("{}{}", demo_model(), caller("web", "the-right-key-0123", "").await);
    let program = with_listen(with_keys, "0.0.0.0:0").start().await;
    drop(program);
    let open = format!("[server]\nauth = \"none\"\n{}", demo_model());
    let program = with_listen(open, "0.0.0.0:0").start().await;
    assert!(harness::eventually(async || program.stdout().contains("open: anyone")).await, "{}", program.stdout());
}

#[tokio::test]
async fn on_loopback_without_callers_it_is_open_and_says_so() {
    let program = Weighbridge::start(demo_model()).await;
    assert_eq!(program.post_chat(&ask("demo", "Hello")).await.status, 200);
    assert!(harness::eventually(async || program.stdout().contains("open: anyone")).await, "{}", program.stdout());
}

#[tokio::test]
async fn a_callers_priority_is_a_word_that_is_known() {
    let settings = "priority = \"batch\"";
    let config = format!("{}{}", demo_model(), caller("nightly", "the-right-key-0123", settings).await);
    let program = Weighbridge::start(config).await;
    let key = ("authorization", "Bearer the-right-key-0123");
    let reply = program.post_chat_with(&ask("demo", "Hello"), &[key, ("x-weighbridge-priority", "interactive")]).await;
    assert_eq!(reply.status, 200, "what asks for more than its caller has is answered as a batch: {}", reply.body);
}
