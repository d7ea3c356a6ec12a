//! Responses in the background: asked for again, read from the middle, cancelled, and never lost without a word.

use harness::{Act, Reply, Upstream, Weighbridge, client, demo_model, eventually, provider, route, run};
use serde_json::{Value, json};
use std::time::Duration;

use crate::responses::{PATH, ask, respond, respond_with, text};

const HELLO: &str = "Hello! How can I help you today?";
const PAUSE: Duration = Duration::from_millis(60);

fn in_background(model: &str, input: &str) -> Value {
    let mut body = ask(model, input);
    body["background"] = true.into();
    body
}

async fn begin(program: &Weighbridge, body: &Value) -> String {
    let reply = respond(program, body).await;
    let response = reply.json();
    assert_eq!((reply.status, &response["status"]), (200, &json!("queued")), "{}", reply.body);
    id(&response)
}

fn id(response: &Value) -> String {
    response["id"].as_str().unwrap_or_default().to_owned()
}

async fn get(program: &Weighbridge, id: &str) -> Value {
    let reply = program.get(&format!("{PATH}/{id}")).await;
    assert_eq!(reply.status, 200, "{}", reply.body);
    reply.json()
}

/// The response once it is in this state.
async fn once(program: &Weighbridge, id: &str, status: &str) -> Value {
    assert!(eventually(async || get(program, id).await["status"] == status).await, "{}", get(program, id).await);
    get(program, id).await
}

async fn cancel(program: &Weighbridge, id: &str) -> Reply {
    program.send(program.post(&format!("{PATH}/{id}/cancel"))).await
}

/// The events in a body.
fn events(body: &str) -> Vec<Value> {
    let data = body.split("\n\n").filter_map(|event| event.split_once("\ndata: "));
    data.map(|(_, data)| serde_json::from_str(data).expect("data are JSON")).collect()
}

fn kinds(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["type"].as_str().unwrap_or_default().trim_start_matches("response.")).collect()
}

/// A program before an upstream that treats its requests by these acts.
async fn before(acts: impl IntoIterator<Item = Act>, settings: &str) -> (Weighbridge, Upstream) {
    let upstream = Upstream::start(acts).await;
    let config =
        format!("{settings}\n[dispatch]\nretries = 0\n{}{}", provider("up", &upstream, ""), route(&["up/large"], ""));
    (Weighbridge::start(config).await, upstream)
}

#[tokio::test]
async fn a_response_is_queued_and_then_what_its_caller_would_have_waited_for() {
    let mut program = Weighbridge::start(demo_model()).await;
    let mut body = in_background("demo", "Hello");
    (body["metadata"], body["user"]) = (json!({"job": "7"}), "anna".into());
    let reply = respond(&program, &body).await;
    let queued = reply.json();
    assert_eq!((reply.status, &queued["status"], &queued["output"]), (200, &json!("queued"), &json!([])));
    assert_eq!((&queued["background"], &queued["store"], &queued["usage"]), (&json!(true), &json!(true), &Value::Null));
    assert_eq!((reply.header("x-weighbridge-route"), reply.header("x-weighbridge-unused-hints")), ("default", "user"));
    let done = once(&program, &id(&queued), "completed").await;
    assert_eq!((text(&done).as_str(), &done["model"], &done["background"]), (HELLO, &json!("demo"), &json!(true)));
    assert_eq!((&done["created_at"], &done["metadata"]), (&queued["created_at"], &json!({"job": "7"})));
    assert_eq!(done["usage"]["output_tokens"], 10);
    let items = program.get(&format!("{PATH}/{}/input_items", id(&queued))).await.json();
    assert_eq!(items["data"][0]["content"][0]["text"], "Hello");
    // What is over is not cancelled any more, and what was never in the background cannot be.
    assert_eq!(cancel(&program, &id(&queued)).await.json(), done);
    let waited_for = respond(&program, &ask("demo", "Hello")).await.json();
    let refused = cancel(&program, &id(&waited_for)).await;
    assert_eq!((refused.status, refused.message().contains("synchronous")), (400, true), "{}", refused.body);
    assert!(program.stop().await.success());
    let receipts: Vec<String> =
        program.ledger().column("SELECT outcome || ' ' || status || ' ' || stream FROM receipts");
    assert_eq!(receipts, ["completed 200 0", "completed 200 0"]);
}

#[tokio::test]
async fn a_conversation_goes_on_once_a_response_is_whole() {
    let (program, _upstream) = before([Act::SaysSlowly(vec!["A", " cat", "."], PAUSE * 5)], "").await;
    let id = begin(&program, &in_background("up/large", "What?")).await;
    let mut after = ask("up/large", "And?");
    after["previous_response_id"] = id.as_str().into();
    once(&program, &id, "in_progress").await;
    let early = respond(&program, &after).await;
    early.assert_error(400, "invalid_value", "is in_progress");
    assert_eq!(early.json()["error"]["param"], "previous_response_id");
    assert_eq!(text(&once(&program, &id, "completed").await), "A cat.");
    assert_eq!(respond(&program, &after).await.status, 200);
}

#[tokio::test]
async fn cancelling_ends_the_work_at_once_and_twice_is_once() {
    let (mut program, upstream) = before([Act::StallsAfter(vec!["half", " an"])], "").await;
    let body = in_background("up/large", "Hello");
    let mut streamed = body.clone();
    streamed["stream"] = true.into();
    let request = program.post(PATH).header("content-type", "application/json").body(streamed.to_string());
    let reading = tokio::spawn(async move { request.send().await.expect("it answers").text().await });
    assert!(eventually(async || upstream.count() == 1).await);
    let whole = begin(&program, &body).await;
    once(&program, &whole, "in_progress").await;
    let cancelled = cancel(&program, &whole).await;
    assert_eq!((cancelled.status, &cancelled.json()["status"]), (200, &json!("cancelled")), "{}", cancelled.body);
    assert_eq!(cancel(&program, &whole).await.json(), cancelled.json());
    assert_eq!(get(&program, &whole).await, cancelled.json());
    assert!(eventually(async || upstream.received()[1].hung_up()).await);
    let mut after = ask("up/large", "And?");
    after["previous_response_id"] = whole.as_str().into();
    respond(&program, &after).await.assert_error(400, "invalid_value", "is cancelled");
    // Who reads along is told.
    assert_eq!(program.metrics().await.sum("weighbridge_requests_in_flight", &[]), 1.0);
    let first = upstream.received()[0].clone();
    assert!(!first.hung_up());
    let listed: Vec<String> = program.ledger().column("SELECT id FROM responses WHERE response LIKE '%queued%'");
    let [streamed] = &listed[..] else { unreachable!("one is under way: {listed:?}") };
    assert_eq!(cancel(&program, streamed).await.json()["status"], "cancelled");
    let read = reading.await.expect("it ends").expect("it arrives");
    let events = events(&read);
    let last = &events[events.len() - 1];
    assert_eq!((&last["type"], &last["code"]), (&json!("error"), &json!("response_cancelled")));
    assert_eq!(last["sequence_number"], events.len() - 1);
    assert!(eventually(async || first.hung_up()).await);
    assert!(program.stop().await.success());
    let outcomes: Vec<String> =
        program.ledger().column("SELECT DISTINCT outcome FROM receipts WHERE backend IS NOT NULL");
    assert_eq!(outcomes, ["cancelled"]);
}

#[tokio::test]
async fn a_local_models_work_ends_with_its_response() {
    let program = Weighbridge::start(demo_model()).await;
    let story = "Tell me a story about a fox and a lamp.";
    let id = begin(&program, &in_background("demo", story)).await;
    let status = cancel(&program, &id).await.json()["status"].clone();
    assert!(status == "cancelled" || status == "completed", "{status}");
    let idle = async || {
        let metrics = program.metrics().await;
        metrics.sum("weighbridge_queue_running", &[]) == 0.0
            && metrics.sum("weighbridge_requests_in_flight", &[]) == 0.0
    };
    assert!(eventually(idle).await);
    assert_eq!(text(&respond(&program, &ask("demo", "Hello")).await.json()), HELLO);
}

#[tokio::test]
async fn a_stream_is_read_on_from_where_its_caller_hung_up() {
    let (program, upstream) = before([Act::SaysSlowly(vec!["A", " cat", " and", " a", " dog."], PAUSE)], "").await;
    let mut body = in_background("up/large", "What?");
    body["stream"] = true.into();
    let request = program.post(PATH).header("content-type", "application/json").body(body.to_string());
    let mut response = request.send().await.expect("it answers");
    assert_eq!(response.headers()["content-type"], "text/event-stream; charset=utf-8");
    let mut read = String::new();
    while !read.contains("output_text.delta") || !read.ends_with("\n\n") {
        read += &String::from_utf8_lossy(&response.chunk().await.expect("it goes on").expect("it is not over"));
    }
    drop(response);
    let read = events(&read);
    let (id, last) = (id(&read[0]["response"]), read[read.len() - 1]["sequence_number"].clone());
    let path = format!("{PATH}/{id}?stream=true");
    let rest = program.get(&format!("{path}&starting_after={last}")).await;
    assert_eq!((rest.status, rest.header("content-type")), (200, "text/event-stream; charset=utf-8"), "{}", rest.body);
    let all: Vec<Value> = read.into_iter().chain(events(&rest.body)).collect();
    assert!((0..).zip(&all).all(|(number, event)| event["sequence_number"] == number), "{all:?}");
    assert_eq!(kinds(&all)[..3], ["created", "queued", "in_progress"]);
    assert_eq!(
        (&all[0]["response"]["status"], &all[2]["response"]["status"]),
        (&json!("queued"), &json!("in_progress"))
    );
    let done = &all[all.len() - 1];
    assert_eq!((&done["type"], text(&done["response"]).as_str()), (&json!("response.completed"), "A cat and a dog."));
    let said: String = all.iter().filter_map(|event| event["delta"].as_str()).collect();
    assert_eq!(said, "A cat and a dog.");
    // It is over, and can be read again, whole and as events; nobody was hung up on.
    assert_eq!(events(&program.get(&path).await.body), all);
    assert_eq!(get(&program, &id).await, done["response"]);
    assert!(!upstream.received()[0].hung_up());
    program.get(&format!("{path}&starting_after=x")).await.assert_error(400, "invalid_value", "starting_after");
}

#[tokio::test]
async fn events_that_are_not_kept_are_refused_by_name() {
    let settings = "[responses]\nbackground_events_kib = 64\n";
    let (program, _upstream) = before([Act::Says(vec!["word "; 500])], settings).await;
    let whole = begin(&program, &in_background("up/large", "What?")).await;
    once(&program, &whole, "completed").await;
    let reply = program.get(&format!("{PATH}/{whole}?stream=true")).await;
    reply.assert_error(400, "unsupported_value", "are not kept");
    program.get(&format!("{PATH}/{whole}?starting_after=1")).await.assert_error(400, "invalid_value", "'stream'");
    program.get(&format!("{PATH}/resp_0?stream=true")).await.assert_error(404, "not_found", "");
    let mut body = in_background("up/large", "What?");
    body["stream"] = true.into();
    let streamed = id(&events(&respond(&program, &body).await.body)[0]["response"]);
    once(&program, &streamed, "completed").await;
    let reply = program.get(&format!("{PATH}/{streamed}?stream=true")).await;
    reply.assert_error(400, "invalid_value", "those before");
}

#[tokio::test]
async fn whatever_ends_it_early_is_what_it_failed_of() {
    let body = in_background("up/large", "Hello");
    let refused = json!({"error": {"message": "too hot", "type": "invalid_request_error", "code": "x"}});
    for (act, headers, code, said) in [
        (Act::CutsAfter(vec!["half"]), &[][..], "server_error", ""),
        (Act::Refuses(400, refused, None), &[], "invalid_prompt", "too hot"),
        (Act::StallsAfter(vec!["half"]), &[("x-weighbridge-deadline-ms", "300")], "server_error", "deadline"),
    ] {
        let (program, _upstream) = before([act], "").await;
        let reply = respond_with(&program, &body, headers).await;
        let failed = once(&program, &id(&reply.json()), "failed").await;
        assert_eq!(failed["error"]["code"], code, "{failed}");
        assert!(failed["error"]["message"].as_str().is_some_and(|message| message.contains(said)), "{failed}");
        let mut streamed = body.clone();
        streamed["stream"] = true.into();
        let events = events(&respond_with(&program, &streamed, headers).await.body);
        assert_eq!(kinds(&events).last(), Some(&"failed"), "{events:?}");
    }
}

#[tokio::test]
async fn another_backend_takes_over_unseen() {
    let (broken, spare) = (Upstream::start([Act::CutsAfter(vec!["half"])]).await, Upstream::saying("Whole.").await);
    let config = format!(
        "{}{}{}",
        provider("up", &broken, ""),
        provider("spare", &spare, ""),
        route(&["up/large", "spare/large"], "")
    );
    let program = Weighbridge::start(config).await;
    let id = begin(&program, &in_background("auto", "Hello")).await;
    let done = once(&program, &id, "completed").await;
    assert_eq!((text(&done).as_str(), &done["model"]), ("Whole.", &json!("spare/large")));
}

#[tokio::test]
async fn what_may_not_be_kept_is_refused_before_anything_runs() {
    let keeps_none = Weighbridge::start(format!("[responses]\nstore = false\n{}", demo_model())).await;
    respond(&keeps_none, &in_background("demo", "Hello")).await.assert_error(400, "unsupported_value", "store");
    let mut local = Weighbridge::start(demo_model()).await;
    let restricted = [("x-weighbridge-class", "restricted")];
    let mut unkept = in_background("demo", "tulip");
    let reply = respond_with(&local, &unkept, &restricted).await;
    reply.assert_error(400, "unsupported_value", "restricted");
    assert_eq!(reply.json()["error"]["param"], "background");
    unkept["store"] = false.into();
    let reply = respond(&local, &unkept).await;
    reply.assert_error(400, "invalid_value", "'store'");
    assert!(local.stop().await.success());
    assert_eq!(local.ledger().one::<i64>("SELECT count(*) FROM responses"), 0);
    assert_eq!(local.ledger().column::<String>("SELECT outcome FROM receipts"), ["refused", "refused"]);
}

#[tokio::test]
async fn one_more_than_there_may_be_is_told_to_come_back() {
    let settings = "[responses]\nmax_background = 2\nmax_background_per_caller = 1\n";
    let (program, _upstream) = before([Act::Hangs], settings).await;
    let id = begin(&program, &in_background("up/large", "Hello")).await;
    let reply = respond(&program, &in_background("up/large", "Hello")).await;
    reply.assert_error(429, "rate_limit_exceeded", "max_background_per_caller");
    assert_eq!(reply.header("retry-after"), "1");
    assert_eq!(get(&program, &id).await["status"], "queued", "nobody answers it yet");
    cancel(&program, &id).await;
    begin(&program, &in_background("up/large", "Hello")).await;
}

#[tokio::test]
async fn a_response_that_is_being_made_is_deleted_with_its_work() {
    let (program, upstream) = before([Act::StallsAfter(vec!["half"])], "").await;
    let id = begin(&program, &in_background("up/large", "Hello")).await;
    once(&program, &id, "in_progress").await;
    let deleted = program.send(client().delete(format!("{}{PATH}/{id}", program.url()))).await;
    assert_eq!(deleted.json(), json!({"id": id, "object": "response", "deleted": true}));
    for path in ["", "?stream=true", "/input_items"] {
        program.get(&format!("{PATH}/{id}{path}")).await.assert_error(404, "not_found", "");
    }
    assert!(eventually(async || upstream.received()[0].hung_up()).await);
}

#[tokio::test]
async fn another_callers_response_is_not_there_while_it_is_made_either() {
    let (anna, bert) = ("anna-anna-anna-anna", "bert-bert-bert-bert");
    let mut callers = String::new();
    for name in [anna, bert] {
        let hash = run(["keys", "hash"], name, &[]).await.assert_code(0).stdout;
        callers += &format!("[[callers]]\nname = {name:?}\nkey_sha256 = {:?}\n", hash.trim());
    }
    let (program, _upstream) = before([Act::StallsAfter(vec!["half"])], &callers).await;
    let mut body = in_background("up/large", "Hello");
    body["stream"] = true.into();
    let key = |name: &str| format!("Bearer {name}");
    let request = program.post(PATH).header("authorization", key(anna)).header("content-type", "application/json");
    let mut response = request.body(body.to_string()).send().await.expect("it answers");
    let first = response.chunk().await.expect("it begins").unwrap_or_default();
    let id = id(&events(&String::from_utf8_lossy(&first))[0]["response"]);
    for (path, method) in
        [("", "GET"), ("?stream=true", "GET"), ("", "DELETE"), ("/input_items", "GET"), ("/cancel", "POST")]
    {
        let method = method.parse().expect("it is a method");
        let request = client().request(method, format!("{}{PATH}/{id}{path}", program.url()));
        program.send(request.header("authorization", key(bert))).await.assert_error(404, "not_found", "");
    }
    let request = client().get(format!("{}{PATH}/{id}", program.url())).header("authorization", key(anna));
    let status = program.send(request).await.json()["status"].clone();
    assert!(status == "queued" || status == "in_progress", "{status}");
}

#[tokio::test]
async fn a_request_that_is_sent_again_finds_the_same_response() {
    let program = Weighbridge::start(demo_model()).await;
    let key = [("idempotency-key", "one")];
    let first = respond_with(&program, &in_background("demo", "Hello"), &key).await.json();
    let again = respond_with(&program, &in_background("demo", "Hello"), &key).await;
    assert_eq!((again.header("idempotent-replayed"), id(&again.json())), ("true", id(&first)));
    assert_eq!(text(&once(&program, &id(&first), "completed").await), HELLO);
}

/// A program whose data are in a folder that outlives it.
async fn in_folder(folder: &std::path::Path, upstream: &Upstream, settings: &str) -> Weighbridge {
    let config = format!("{settings}\n{}{}", provider("up", upstream, ""), route(&["up/large"], ""));
    let folder = folder.display().to_string();
    Weighbridge::with(config).with_variable("WEIGHBRIDGE_DATA_DIR", &folder).start().await
}

#[tokio::test]
async fn a_response_that_a_stop_cut_off_is_failed_and_says_so() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let upstream = Upstream::start([Act::StallsAfter(vec!["half"])]).await;
    let mut program = in_folder(folder.path(), &upstream, "[server]\ngrace_ms = 100\n").await;
    let id = begin(&program, &in_background("up/large", "Hello")).await;
    once(&program, &id, "in_progress").await;
    assert!(program.stop().await.success());
    let program = in_folder(folder.path(), &upstream, "").await;
    let failed = get(&program, &id).await;
    assert_eq!((&failed["status"], &failed["error"]["code"]), (&json!("failed"), &json!("server_error")), "{failed}");
    assert!(failed["error"]["message"].as_str().is_some_and(|message| message.contains("stopped")), "{failed}");
}

#[tokio::test]
async fn a_response_whose_program_was_killed_is_failed_and_says_so() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let upstream = Upstream::start([Act::Hangs]).await;
    let program = in_folder(folder.path(), &upstream, "").await;
    let id = begin(&program, &in_background("up/large", "Hello")).await;
    // Who looks for what is not there has seen what was written before.
    program.get(&format!("{PATH}/resp_0")).await.assert_error(404, "not_found", "");
    drop(program);
    let program = in_folder(folder.path(), &upstream, "").await;
    let failed = get(&program, &id).await;
    assert_eq!((&failed["status"], &failed["background"]), (&json!("failed"), &json!(true)), "{failed}");
    assert!(failed["error"]["message"].as_str().is_some_and(|message| message.contains("stopped before")), "{failed}");
    assert_eq!(cancel(&program, &id).await.json(), failed);
    let mut after = ask("up/large", "And?");
    after["previous_response_id"] = id.as_str().into();
    respond(&program, &after).await.assert_error(400, "invalid_value", "is failed");
}
