//! The small pages: models, health, readiness, metrics.

use harness::{Upstream, Weighbridge, ask, demo_model, provider, route};
use serde_json::{Value, json};

async fn with_upstream(upstream: &Upstream) -> Weighbridge {
    let config = format!("{}{}{}", demo_model(), provider("up", upstream, ""), route(&["demo", "up/large"], ""));
    Weighbridge::start(config).await
}

#[tokio::test]
async fn every_name_that_is_answered_is_listed_and_found() {
    let upstream = Upstream::saying("fine").await;
    let program = with_upstream(&upstream).await;
    let list = program.get("/v1/models").await.json();
    assert_eq!(list["object"], "list");
    let models = list["data"].as_array().cloned().unwrap_or_default();
    let ids: Vec<&str> = models.iter().filter_map(|model| model["id"].as_str()).collect();
    assert_eq!(ids, ["auto", "demo", "up/large"]);
    for id in ids {
        let model = program.get(&format!("/v1/models/{id}")).await.json();
        assert_eq!((&model["id"], &model["object"]), (&json!(id), &json!("model")));
        assert!(model["created"].is_u64() && model["owned_by"].is_string());
    }
    let about = program.get("/v1/models/demo").await.json()["weighbridge"].clone();
    assert_eq!((&about["local"], &about["context"]), (&json!(true), &json!(1024)));
    assert!(about["capabilities"].as_array().is_some_and(|words| words.contains(&json!("temperature"))), "{about}");
    let about = program.get("/v1/models/up/large").await.json()["weighbridge"].clone();
    assert_eq!((&about["local"], &about["price"]["output_usd_per_mtok"]), (&json!(false), &json!("2")), "{about}");
    program.get("/v1/models/nothing").await.assert_error(404, "model_not_found", "nothing");
}

#[tokio::test]
async fn a_client_of_anthropics_gets_its_form_page_by_page() {
    let upstream = Upstream::saying("fine").await;
    let program = with_upstream(&upstream).await;
    let get = async |path: &str| {
        let request = harness::client().get(format!("{}{path}", program.url()));
        program.send(request.header("anthropic-version", "2023-06-01")).await
    };
    let page = get("/v1/models?limit=2").await.json();
    assert_eq!(
        (&page["first_id"], &page["last_id"], &page["has_more"]),
        (&json!("auto"), &json!("demo"), &json!(true))
    );
    let page = get("/v1/models?limit=2&after_id=demo").await.json();
    assert_eq!((&page["first_id"], &page["has_more"]), (&json!("up/large"), &json!(false)));
    let model = get("/v1/models/demo").await.json();
    assert_eq!((&model["type"], &model["max_input_tokens"]), (&json!("model"), &json!(1024)));
    assert!(model["created_at"].as_str().is_some_and(|at| at.starts_with("20") && at.ends_with('Z')), "{model}");
    let missing = get("/v1/models/nothing").await;
    assert_eq!((missing.status, &missing.json()["error"]["type"]), (404, &json!("not_found_error")));
    assert_eq!(get("/v1/models?limit=0").await.status, 400);
}

#[tokio::test]
async fn a_program_that_can_answer_is_alive_and_ready() {
    let program = Weighbridge::start(demo_model()).await;
    assert_eq!(program.get("/health").await.json(), json!({"status": "ok"}));
    let ready = program.get("/ready").await;
    assert_eq!((ready.status, &ready.json()["backends"]["demo"]["ready"]), (200, &Value::Bool(true)));
}

#[tokio::test]
async fn a_program_with_nothing_to_answer_is_alive_and_not_ready() {
    let upstream = Upstream::saying("never").await;
    let settings = "key_env = \"NO_SUCH_KEY\"\noptional = true";
    let config = format!("{}{}", provider("up", &upstream, settings), route(&["up/large"], ""));
    let program = Weighbridge::start(config).await;
    assert_eq!(program.get("/health").await.status, 200);
    let ready = program.get("/ready").await;
    let state = &ready.json()["backends"]["up/large"];
    assert_eq!((ready.status, &state["ready"]), (503, &Value::Bool(false)));
    assert!(state["reason"].as_str().is_some_and(|reason| reason.contains("NO_SUCH_KEY")), "{state}");
    let reply = program.post_chat(&ask("up/large", "Hello")).await;
    reply.assert_error(503, "no_backend_available", "NO_SUCH_KEY");
    assert_eq!(upstream.count(), 0);
}

#[tokio::test]
async fn figures_follow_what_happens() {
    let upstream = Upstream::saying("fine").await;
    let program = with_upstream(&upstream).await;
    for model in ["demo", "demo", "up/large"] {
        assert_eq!(program.post_chat(&ask(model, "Hello")).await.status, 200);
    }
    program.stream_chat(&ask("demo", "Hello")).await;
    program.post_chat(&ask("nobody", "Hello")).await;
    let metrics = program.metrics().await;
    let sum = |name: &str, labels: &[(&str, &str)]| metrics.sum(&format!("weighbridge_{name}"), labels);
    assert_eq!(sum("requests_total", &[("backend", "demo"), ("outcome", "completed"), ("status", "200")]), 3.0);
    assert_eq!(sum("requests_total", &[("backend", "up/large"), ("route", "main")]), 1.0);
    assert_eq!(sum("requests_total", &[("outcome", "refused"), ("status", "404")]), 1.0);
    assert_eq!(sum("attempts_total", &[("backend", "demo"), ("result", "answered")]), 3.0);
    assert_eq!(sum("tokens_total", &[("backend", "demo"), ("kind", "completion")]), 30.0);
    assert_eq!(sum("tokens_total", &[("backend", "up/large"), ("kind", "prompt")]), 7.0);
    assert_eq!(sum("time_to_first_token_seconds_count", &[("backend", "demo")]), 3.0);
    assert!(sum("time_between_tokens_seconds_count", &[("backend", "demo")]) > 3.0);
    assert_eq!(sum("backend_ready", &[]), 2.0);
    assert_eq!((sum("queue_running", &[]), sum("queue_waiting", &[])), (0.0, 0.0));
    assert_eq!(sum("requests_in_flight", &[]), 0.0);
    let demo = ("backend", "demo");
    assert!(sum("steps_total", &[demo]) >= 30.0);
    assert_eq!((sum("preemptions_total", &[demo]), sum("pages", &[demo, ("state", "used")])), (0.0, 0.0));
    assert_eq!(sum("pages", &[demo]), sum("pages_capacity", &[]));
    assert!(sum("token_compute_seconds", &[demo, ("kind", "prompt")]) > 0.0);
    assert!(sum("token_compute_seconds", &[demo, ("kind", "answer")]) > 0.0);
    // A step was measured as the model loaded, before the first of them.
    for name in ["predicted_time_to_first_token_seconds_count", "time_to_first_token_ratio_count"] {
        assert_eq!(sum(name, &[]), 3.0, "{name}");
    }
}

#[tokio::test]
async fn every_address_that_is_described_is_served() {
    let program = Weighbridge::start(demo_model()).await;
    let reply = program.get("/openapi.json").await;
    assert_eq!((reply.status, reply.header("content-type")), (200, "application/json"));
    let document = reply.json();
    let paths = document["paths"].as_object().expect("it describes addresses");
    for (path, methods) in paths {
        let url = format!("{}{}", program.url(), path.replace("{id}", "demo").replace("{name}", "demo"));
        for method in methods.as_object().expect("by methods").keys() {
            let method = method.to_uppercase().parse().expect("it is a method");
            let reply = program.send(harness::client().request(method, &url)).await;
            let is_there = reply.status != 405 && !reply.message().starts_with("Invalid URL");
            assert!(is_there, "{path}: {} {}", reply.status, reply.body);
        }
    }
    assert!(paths.len() > 15);
}
