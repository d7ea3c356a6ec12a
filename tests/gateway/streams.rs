//! What the demo model answers, streamed.

use harness::{Streamed, Weighbridge, ask, demo_model, goldens};
use serde_json::{Value, json};

#[tokio::test]
async fn a_stream_says_the_same_as_a_whole_answer() {
    let program = Weighbridge::start(demo_model()).await;
    for golden in goldens().iter().filter(|golden| golden.tools.is_null()) {
        let stream = program.stream_chat(&golden.body()).await;
        assert_eq!((stream.status, stream.text(), stream.done), (200, golden.answer.clone(), true));
        assert_eq!(stream.finish_of(0).as_deref(), Some("stop"));
    }
}

#[tokio::test]
async fn a_stream_has_the_shape_that_clients_expect() {
    let program = Weighbridge::start(demo_model()).await;
    let stream = program.stream_chat(&ask("demo", "Hello")).await;
    assert!(stream.header("content-type").starts_with("text/event-stream"));
    assert_eq!(stream.header("x-weighbridge-backend"), "demo");
    assert_eq!(stream.header("x-weighbridge-route"), "default");
    assert_eq!(stream.header("x-weighbridge-class"), "internal");
    assert_eq!(stream.events[0]["choices"][0]["delta"]["role"], "assistant");
    let same = |key: &str| stream.events.iter().all(|event| event[key] == stream.events[0][key]);
    assert!(same("id") && same("created") && same("model"));
    assert!(stream.events.iter().all(|event| event["object"] == "chat.completion.chunk"));
    assert!(stream.events.iter().all(|event| event.get("usage").is_none()), "nobody asked for usage");
    assert!(stream.events.len() > 4, "a stream of ten tokens comes in more than {} chunks", stream.events.len());
}

#[tokio::test]
async fn the_last_chunk_says_which_backend_answered_and_at_what_cost() {
    let program = Weighbridge::start(demo_model()).await;
    for options in [Value::Null, json!({"include_usage": true})] {
        let mut body = ask("demo", "Hello");
        body["stream_options"] = options;
        let stream = program.stream_chat(&body).await;
        let about = &stream.last()["weighbridge"];
        assert_eq!(about["backend"], "demo", "{}", stream.last());
        assert_eq!(about["cost_usd"].as_str().and_then(|cost| cost.parse().ok()), Some(0.0));
        let others = &stream.events[..stream.events.len() - 1];
        assert!(others.iter().all(|event| event.get("weighbridge").is_none()) && stream.done);
    }
}

#[tokio::test]
async fn usage_comes_in_a_last_chunk_where_it_is_asked_for() {
    let program = Weighbridge::start(demo_model()).await;
    let golden = &goldens()[1];
    let mut body = golden.body();
    body["stream_options"] = json!({"include_usage": true});
    let stream = program.stream_chat(&body).await;
    let last = stream.last();
    assert_eq!(last["choices"], json!([]));
    let (prompt, answer) = (golden.tokens.len(), golden.greedy.len());
    assert_eq!(
        (&last["usage"]["prompt_tokens"], &last["usage"]["completion_tokens"]),
        (&json!(prompt), &json!(answer))
    );
    assert_eq!(last["usage"]["total_tokens"], prompt + answer);
    let others = &stream.events[..stream.events.len() - 1];
    assert!(others.iter().all(|event| event.get("usage").is_some_and(Value::is_null)));
}

#[tokio::test]
async fn several_answers_share_one_stream() {
    let program = Weighbridge::start(demo_model()).await;
    let mut body = ask("demo", "Hello");
    body["n"] = 2.into();
    let stream = program.stream_chat(&body).await;
    for choice in 0..2 {
        assert_eq!(stream.text_of(choice), "Hello! How can I help you today?");
        assert_eq!(stream.finish_of(choice).as_deref(), Some("stop"));
    }
}

#[tokio::test]
async fn a_call_is_streamed_in_pieces_that_make_a_whole() {
    let program = Weighbridge::start(demo_model()).await;
    let golden = goldens().iter().find(|golden| !golden.tools.is_null()).expect("one question comes with tools");
    let stream = program.stream_chat(&golden.body()).await;
    let pieces = pieces(&stream);
    let name = pieces[0]["function"]["name"].as_str();
    assert!(
        name == Some("get_weather") && pieces[0]["id"].is_string() && pieces[0]["type"] == "function",
        "{pieces:?}"
    );
    let arguments: String = pieces.iter().filter_map(|piece| piece["function"]["arguments"].as_str()).collect();
    assert_eq!(serde_json::from_str::<Value>(&arguments).ok(), Some(json!({"city": "Oslo"})));
    assert_eq!((stream.finish_of(0).as_deref(), stream.text()), (Some("tool_calls"), String::new()));
}

fn pieces(stream: &Streamed) -> Vec<Value> {
    let calls = stream.choices().filter_map(|choice| choice["delta"]["tool_calls"].as_array());
    calls.flatten().cloned().collect()
}

#[tokio::test]
async fn a_stop_text_never_shows_in_a_stream() {
    let program = Weighbridge::start(demo_model()).await;
    let mut body = ask("demo", "Who are you?");
    body["stop"] = json!(["small demo"]);
    let stream = program.stream_chat(&body).await;
    assert_eq!((stream.text().as_str(), stream.finish_of(0).as_deref()), ("I am a very ", Some("stop")));
}

#[tokio::test]
async fn several_requests_make_progress_at_once() {
    let program = Weighbridge::start(demo_model()).await;
    let story = ask("demo", "Tell me a story about a fox and a lamp.");
    let mut long = program.open_stream(&story).await;
    long.read_texts(2).await;
    // The short one is answered whole while the long one is still told.
    let short = program.post_chat(&ask("demo", "Repeat: river moon stone")).await;
    short.assert_says("river moon stone", "demo");
    assert_eq!(program.metrics().await.sum("weighbridge_queue_running", &[("backend", "demo")]), 1.0);
    assert_eq!(long.finish().await.text(), goldens()[0].answer);
}
