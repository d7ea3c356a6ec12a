//! Answers in the background, by a scripted model.

use std::sync::atomic::Ordering;
use std::time::SystemTime;

use futures_util::StreamExt;
use serde_json::{Value, json};
use weighbridge_backend::DataClass;

use super::*;
use crate::echo::{Stage, post, stage, text};
use crate::responses::Responses;

const SILENCE: Duration = Duration::from_secs(15);

impl Stage {
    async fn respond(&self, fields: Value) -> (u16, String) {
        let mut body = json!({"model": "echo", "background": true});
        for (key, value) in fields.as_object().expect("fields are an object") {
            body[key] = value.clone();
        }
        let request = post("/v1/responses", &body);
        let response = crate::inference::serve(Arc::clone(&self.core), &Responses, request).await;
        (response.status().as_u16(), text(response).await)
    }

    async fn begin(&self, fields: Value) -> (Value, Arc<Job>) {
        let (status, body) = self.respond(fields).await;
        assert_eq!(status, 200, "{body}");
        let queued: Value = serde_json::from_str(&body).expect("it is JSON");
        let job = self.core.background.find(queued["id"].as_str().unwrap_or_default(), None);
        (queued, job.expect("it hangs"))
    }

    fn kept(&self, id: &Value) -> Value {
        let kept = self.core.books.ledger.kept(id.as_str().unwrap_or_default(), None).expect("memory can be read");
        serde_json::from_str(&kept.expect("it is kept").response).expect("it is JSON")
    }
}

fn status(job: &Job) -> String {
    let response: Value = serde_json::from_str(&job.stored().expect("it is made").response).expect("it is JSON");
    response["status"].as_str().unwrap_or_default().to_owned()
}

fn queued(id: &str, caller: Option<&str>) -> StoredResponse {
    StoredResponse {
        id: id.to_owned(),
        caller: caller.map(str::to_owned),
        class: DataClass::Internal,
        created_at: SystemTime::now(),
        previous: None,
        response: json!({"id": id, "status": "queued", "output": []}).to_string(),
        input: "[]".to_owned(),
    }
}

async fn read(job: &Arc<Job>, from: u64) -> String {
    let pieces: Vec<_> = job.read(from, SILENCE).collect().await;
    String::from_utf8(pieces.into_iter().flatten().flatten().collect()).expect("events are text")
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_hangs_is_under_way_until_it_is_cancelled() {
    let stage = stage();
    let (queued, job) = stage.begin(json!({"input": "hangs"})).await;
    assert_eq!(queued["status"], "queued");
    while status(&job) != "in_progress" {
        tokio::task::yield_now().await;
    }
    assert_eq!((stage.kept(&queued["id"])["status"].clone(), stage.core.admission.inside()), (json!("queued"), 1));
    // Twice is once.
    for _ in 0..2 {
        job.cancel();
        job.over().await;
        assert_eq!((stage.under_way.load(Ordering::SeqCst), stage.core.admission.inside()), (0, 0));
        assert!(job.stored().is_none());
        assert_eq!(stage.kept(&queued["id"])["status"], "cancelled");
    }
    assert_eq!(stage.outcomes(), ["cancelled"]);
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_kept_as_it_ends() {
    let stage = stage();
    for (input, expected, outcome) in [("hi", "completed", "completed"), ("breaks", "failed", "failed")] {
        let (_, body) = stage.respond(json!({"input": input})).await;
        let queued: Value = serde_json::from_str(&body).expect("it is JSON");
        if let Some(job) = stage.core.background.find(queued["id"].as_str().unwrap_or_default(), None) {
            job.over().await;
        }
        let kept = stage.kept(&queued["id"]);
        assert_eq!((&kept["status"], &kept["created_at"]), (&json!(expected), &queued["created_at"]), "{kept}");
        assert_eq!(kept["background"], true);
        assert!(stage.outcomes().contains(&outcome.to_owned()));
    }
}

#[tokio::test(start_paused = true)]
async fn a_stop_ends_what_is_under_way_as_failed() {
    let stage = stage();
    let (queued, job) = stage.begin(json!({"input": "hangs"})).await;
    while status(&job) != "in_progress" {
        tokio::task::yield_now().await;
    }
    stage.core.admission.close();
    assert_eq!(stage.core.admission.cut(), 1);
    job.over().await;
    let kept = stage.kept(&queued["id"]);
    assert_eq!(kept["status"], "failed");
    assert!(kept["error"]["message"].as_str().is_some_and(|message| message.contains("stopped")), "{kept}");
    assert_eq!(stage.outcomes(), ["stopped"]);
}

#[tokio::test(start_paused = true)]
async fn events_are_read_from_any_of_them_on_by_as_many_as_want_to() {
    let stage = stage();
    let (status, whole) = stage.respond(json!({"input": "hi", "stream": true})).await;
    assert_eq!(status, 200);
    let kinds: Vec<&str> = whole.lines().filter_map(|line| line.strip_prefix("event: response.")).collect();
    assert_eq!(kinds[..4], ["created", "queued", "in_progress", "output_item.added"], "{whole}");
    assert_eq!(kinds.last(), Some(&"completed"));
    let id = whole.split("\"id\":\"").nth(1).and_then(|rest| rest.split('"').next()).expect("it has an id");
    let job = stage.core.background.find(id, None).expect("its events are kept for a while");
    assert_eq!(read(&job, 0).await, whole);
    let rest = read(&job, 3).await;
    assert!(whole.ends_with(&rest) && rest.starts_with("event: response.output_item.added"), "{rest}");
    stage.core.background.forget(id, None);
    assert!(stage.core.background.find(id, None).is_none());
}

#[tokio::test(start_paused = true)]
async fn what_may_not_be_kept_is_not_begun() {
    let stage = stage();
    let mut request = post("/v1/responses", &json!({"model": "echo", "input": "hi", "background": true}));
    request.headers_mut().insert("x-weighbridge-class", http::HeaderValue::from_static("restricted"));
    let response = crate::inference::serve(Arc::clone(&stage.core), &Responses, request).await;
    assert_eq!(response.status(), 400);
    let error: Value = serde_json::from_str(&text(response).await).expect("it is JSON");
    assert_eq!(
        (&error["error"]["param"], &error["error"]["code"]),
        (&json!("background"), &json!("unsupported_value"))
    );
    assert_eq!(stage.outcomes(), ["refused"]);
}

#[tokio::test]
async fn there_are_only_so_many_in_all_and_of_one_caller() {
    let ledger = Ledger::in_memory().expect("memory suffices");
    let background =
        Arc::new(Background::new(BackgroundLimits { most: 3, most_per_caller: 2, ..BackgroundLimits::default() }));
    let take = |id: &str, caller: Option<&str>| {
        background.take_up(&ledger, queued(id, caller), true).map_err(|refusal| (refusal.status(), refusal.to_json()))
    };
    let said = |refused: Result<Running, (u16, Value)>| {
        let (status, error) = refused.err().expect("it is refused");
        (status, error["error"]["message"].as_str().unwrap_or_default().to_owned())
    };
    let (first, _second) = (take("a", Some("anna")), take("b", Some("anna")));
    let (status, message) = said(take("c", Some("anna")));
    assert!(status == 429 && message.contains("max_background_per_caller"), "{status}: {message}");
    let _third = take("d", None);
    let (status, message) = said(take("e", Some("bert")));
    assert!(status == 429 && message.contains("max_background)"), "{status}: {message}");
    assert!(background.find("a", Some("bert")).is_none() && background.find("a", Some("anna")).is_some());
    drop(first);
    assert!(take("e", Some("bert")).is_ok());
}

#[tokio::test(start_paused = true)]
async fn one_that_is_dropped_is_failed_and_its_readers_are_told() {
    let ledger = Ledger::in_memory().expect("memory suffices");
    let background = Arc::new(Background::new(BackgroundLimits::default()));
    let running = background.take_up(&ledger, queued("a", None), true).expect("there is room");
    let job = Arc::clone(running.job());
    job.push(b"event: x\ndata: 0\n\n");
    let reading = tokio::spawn({
        let job = Arc::clone(&job);
        async move { read(&job, 0).await }
    });
    tokio::time::sleep(SILENCE * 2).await;
    drop(running);
    let said = reading.await.expect("it ends");
    assert!(said.contains(": keep-alive") && said.contains("\"sequence_number\":1"), "{said}");
    let kept = ledger.kept("a", None).ok().flatten().expect("it is kept");
    assert!(kept.response.contains("\"failed\""), "{}", kept.response);
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_is_too_slow_is_told_so() {
    let ledger = Ledger::in_memory().expect("memory suffices");
    let limits = BackgroundLimits { event_bytes: 1024, ..BackgroundLimits::default() };
    let running = Arc::new(Background::new(limits)).take_up(&ledger, queued("a", None), true).expect("it fits");
    let mut reader = Box::pin(running.job().read(0, SILENCE));
    (0..100).for_each(|n| running.job().push(format!("event: x\ndata: {n}\n\n").as_bytes()));
    let told = reader.next().await.and_then(Result::ok).unwrap_or_default();
    assert!(String::from_utf8_lossy(&told).contains("events_not_kept"));
    assert!(reader.next().await.is_none());
    assert!(running.job().first_event() > 50);
}
