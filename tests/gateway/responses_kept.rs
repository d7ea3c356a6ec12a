//! Responses that are kept: by whom they are found again, what they lend a later request, and what is never written.

use harness::{Upstream, Weighbridge, client, demo_model, provider, route, run};
use serde_json::{Value, json};

use crate::responses::{PATH, ask, respond, respond_with, text};

/// Callers and, for short, their keys.
const ANNA: &str = "anna-anna-anna-anna";
const BERT: &str = "bert-bert-bert-bert";

fn id(response: &Value) -> String {
    response["id"].as_str().unwrap_or_default().to_owned()
}

fn after(previous: &Value, input: &str) -> Value {
    let mut body = ask("demo", input);
    body["previous_response_id"] = previous["id"].clone();
    body
}

#[tokio::test]
async fn a_response_is_kept_listed_and_deleted() {
    let program = Weighbridge::start(demo_model()).await;
    let first = respond(&program, &ask("demo", "Hello")).await.json();
    let second = respond(&program, &after(&first, "What is a gateway?")).await.json();
    assert_eq!(second["previous_response_id"], first["id"]);
    assert_eq!(program.get(&format!("{PATH}/{}", id(&first))).await.json(), first);
    let listed = program.get(&format!("{PATH}/{}/input_items?order=asc&limit=2", id(&second))).await.json();
    let texts: Vec<&Value> =
        listed["data"].as_array().into_iter().flatten().map(|item| &item["content"][0]["text"]).collect();
    assert_eq!(texts, ["Hello", "Hello! How can I help you today?"], "{listed}");
    assert_eq!((&listed["has_more"], &listed["last_id"]), (&json!(true), &first["output"][0]["id"]));
    let delete = || program.send(client().delete(format!("{}{PATH}/{}", program.url(), id(&first))));
    assert_eq!(delete().await.json(), json!({"id": first["id"], "object": "response", "deleted": true}));
    delete().await.assert_error(404, "not_found", &id(&first));
    program.get(&format!("{PATH}/{}", id(&first))).await.assert_error(404, "not_found", "");
    let reply = respond(&program, &after(&second, "And now?")).await;
    reply.assert_error(400, "previous_response_not_found", "goes back to it");
}

#[tokio::test]
async fn a_conversation_goes_on_from_what_was_said_and_not_from_its_instructions() {
    let upstream = Upstream::saying("Fine.").await;
    let program = Weighbridge::start(format!("{}{}", provider("up", &upstream, ""), route(&["up/large"], ""))).await;
    let mut body = ask("up/large", "one");
    body["instructions"] = "Be brief.".into();
    let first = respond(&program, &body).await.json();
    let second = json!({"model": "up/large", "previous_response_id": first["id"], "instructions": "Be long.",
        "input": [{"type": "item_reference", "id": first["output"][0]["id"]}, {"role": "user", "content": "two"}]});
    let reply = respond(&program, &second).await;
    assert_eq!(reply.status, 200, "{}", reply.body);
    let sent = upstream.received()[1].body["messages"].clone();
    let texts: Vec<&Value> = sent.as_array().into_iter().flatten().map(|message| &message["content"]).collect();
    assert_eq!(texts, ["Be long.", "one", "Fine.", "Fine.", "two"], "{sent}");
}

#[tokio::test]
async fn a_conversation_never_loses_its_class() {
    let upstream = Upstream::saying("leaked").await;
    let config = format!("{}{}{}", demo_model(), provider("up", &upstream, ""), route(&["up/large", "demo"], ""));
    let program = Weighbridge::start(config).await;
    let confidential = [("x-weighbridge-class", "confidential")];
    let first = respond_with(&program, &ask("auto", "Hello"), &confidential).await;
    assert_eq!(first.header("x-weighbridge-backend"), "demo");
    let first = first.json();
    let mut referring = ask("auto", "");
    referring["input"] = json!([{"type": "item_reference", "id": first["output"][0]["id"]}]);
    let mut going_on = after(&first, "And?");
    going_on["model"] = "auto".into();
    for body in [going_on, referring] {
        let reply = respond(&program, &body).await;
        assert_eq!((reply.status, reply.header("x-weighbridge-class")), (200, "confidential"), "{}", reply.body);
        assert_eq!(reply.header("x-weighbridge-backend"), "demo");
    }
    assert_eq!(upstream.count(), 0);
}

#[tokio::test]
async fn what_is_restricted_or_not_to_be_kept_is_on_no_disk() {
    let mut program = Weighbridge::start(demo_model()).await;
    let restricted = [("x-weighbridge-class", "restricted")];
    let mut unkept = ask("demo", "Repeat: tulip tulip tulip");
    let mut replies = vec![respond_with(&program, &unkept, &restricted).await];
    unkept["store"] = false.into();
    replies.push(respond(&program, &unkept).await);
    for reply in &replies {
        let response = reply.json();
        assert_eq!((reply.status, &response["store"]), (200, &json!(false)));
        program.get(&format!("{PATH}/{}", id(&response))).await.assert_error(404, "not_found", "");
        respond(&program, &after(&response, "And?")).await.assert_error(400, "previous_response_not_found", "");
    }
    respond(&program, &ask("demo", "Repeat: river moon stone")).await;
    assert!(program.stop().await.success());
    assert_eq!(program.ledger().one::<i64>("SELECT count(*) FROM responses"), 1);
    let mut bytes = Vec::new();
    for file in std::fs::read_dir(program.folder().join("data")).expect("it is there").flatten() {
        bytes.extend(std::fs::read(file.path()).unwrap_or_default());
    }
    let holds = |word: &str| bytes.windows(word.len()).any(|window| window == word.as_bytes());
    assert!(holds("river moon") && !holds("tulip"));
}

#[tokio::test]
async fn an_operator_may_keep_nothing() {
    let program = Weighbridge::start(format!("[responses]\nstore = false\n{}", demo_model())).await;
    let mut body = ask("demo", "Hello");
    body["store"] = true.into();
    let response = respond(&program, &body).await.json();
    assert_eq!(response["store"], false);
    program.get(&format!("{PATH}/{}", id(&response))).await.assert_error(404, "not_found", "");
}

#[tokio::test]
async fn another_callers_response_is_not_there() {
    let caller = async |name: &str| {
        let hash = run(["keys", "hash"], name, &[]).await.assert_code(0).stdout;
        format!("[[callers]]\nname = {name:?}\nkey_sha256 = {:?}\n", hash.trim())
    };
    let config = format!("{}{}{}", demo_model(), caller(ANNA).await, caller(BERT).await);
    let program = Weighbridge::start(config).await;
    let response =
        respond_with(&program, &ask("demo", "Hello"), &[("authorization", &format!("Bearer {ANNA}"))]).await.json();
    let url = format!("{}{PATH}/{}", program.url(), id(&response));
    for (path, method) in [("", "GET"), ("", "DELETE"), ("/input_items", "GET"), ("/cancel", "POST")] {
        let method = method.parse().expect("it is a method");
        let request = client().request(method, format!("{url}{path}"));
        program.send(request.header("authorization", format!("Bearer {BERT}"))).await.assert_error(
            404,
            "not_found",
            "",
        );
    }
    let going_on =
        respond_with(&program, &after(&response, "And?"), &[("authorization", &format!("Bearer {BERT}"))]).await;
    going_on.assert_error(400, "previous_response_not_found", "");
    assert_eq!(program.send(client().get(&url)).await.status, 401);
    assert_eq!(
        program.send(client().get(&url).header("authorization", format!("Bearer {ANNA}"))).await.json(),
        response
    );
}

#[tokio::test]
async fn a_streamed_response_is_kept_as_its_last_event_has_it() {
    let program = Weighbridge::start(demo_model()).await;
    let mut body = ask("demo", "Hello");
    body["stream"] = true.into();
    let reply = respond(&program, &body).await;
    let last = reply
        .body
        .trim_end_matches("data: [DONE]\n\n")
        .trim_end()
        .rsplit_once("\ndata: ")
        .map(|(_, data)| data)
        .unwrap_or_default();
    let last: Value = serde_json::from_str(last).expect("the last event is JSON");
    let response = &last["response"];
    assert_eq!(&program.get(&format!("{PATH}/{}", id(response))).await.json(), response);
    assert_eq!(text(response), "Hello! How can I help you today?");
}

#[tokio::test]
async fn a_caller_that_hangs_up_leaves_no_response() {
    let mut program = Weighbridge::start(demo_model()).await;
    let mut body = ask("demo", "Tell me a story about a fox and a lamp.");
    body["stream"] = true.into();
    let request = program.post(PATH).header("content-type", "application/json").body(body.to_string());
    let mut response = request.send().await.expect("it answers");
    response.chunk().await.expect("the answer begins");
    drop(response);
    let idle = async || program.metrics().await.sum("weighbridge_requests_in_flight", &[]) == 0.0;
    assert!(harness::eventually(idle).await);
    assert!(program.stop().await.success());
    assert_eq!(program.ledger().one::<i64>("SELECT count(*) FROM responses"), 0);
}

#[tokio::test]
async fn tokens_are_counted_without_an_answer() {
    let mut program = Weighbridge::start(demo_model()).await;
    let count = async |input: &str| {
        let body = json!({"model": "demo", "input": input}).to_string();
        let request = program.post("/v1/responses/input_tokens").header("content-type", "application/json");
        program.send(request.body(body)).await
    };
    assert_eq!(count("Hello").await.json(), json!({"object": "response.input_tokens", "input_tokens": 9}));
    let long = count(&"word ".repeat(2000)).await;
    assert!(long.json()["input_tokens"].as_u64() > Some(1024), "what is too long is counted too: {}", long.body);
    count("").await;
    assert!(program.stop().await.success());
    assert_eq!(program.ledger().one::<i64>("SELECT count(*) FROM receipts"), 0);
}

#[tokio::test]
async fn what_is_not_offered_says_so() {
    let program = Weighbridge::start(demo_model()).await;
    let response = respond(&program, &ask("demo", "Hello")).await.json();
    let post = async |path: String| {
        program.send(program.post(&path).header("content-type", "application/json").body("{}")).await
    };
    let cancelled = post(format!("{PATH}/{}/cancel", id(&response))).await;
    assert_eq!((cancelled.status, cancelled.message().contains("synchronous")), (400, true), "{}", cancelled.body);
    post(format!("{PATH}/resp_0/cancel")).await.assert_error(404, "not_found", "resp_0");
    let streamed = program.get(&format!("{PATH}/{}?stream=true", id(&response))).await;
    streamed.assert_error(400, "unsupported_value", "are not kept");
}
