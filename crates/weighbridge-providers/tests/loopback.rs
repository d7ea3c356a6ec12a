//! A hosted model against a provider on this machine: real sockets, scripted bytes.

mod support;

use std::error::Error;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use support::{Answered, Step, Upstream, ask, event, model, request, response, stream_head};
use weighbridge_backend::{Backend, Event, FailureKind, FinishReason, Health, Load, PromptCount, Stage, Usage};
use weighbridge_providers::{MaxTokensField, Secret};

type Outcome = Result<(), Box<dyn Error>>;

const HELLO: &str = r#"{"choices":[{"index":0,"delta":{"content":"hello"},"finish_reason":null}]}"#;
const ROLE: &str = r#"{"choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}"#;
const STOP: &str = r#"{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#;
const USAGE: &str = r#"{"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":2}}"#;
const WHOLE: &str = r#"{"choices":[{"index":0,"message":{"role":"assistant","content":"hello"},"finish_reason":"stop"}],
    "usage":{"prompt_tokens":9,"completion_tokens":2}}"#;

const STATED: Usage =
    Usage { prompt_tokens: 9, cached_tokens: 0, completion_tokens: 2, reasoning_tokens: 0, estimated: false };

#[tokio::test]
async fn a_stream_is_answered_event_by_event() -> Outcome {
    let steps = vec![stream_head(), event(ROLE), event(HELLO), event(STOP), event(USAGE), event("[DONE]")];
    check_hello(&ask_of(steps).await?);
    Ok(())
}

#[tokio::test]
async fn a_json_document_gives_the_same_events() -> Outcome {
    let upstream = Upstream::answers("200 OK", "content-type: application/json\r\n", WHOLE)?;
    check_hello(&ask(&model(&upstream.base_url, |_| {})?).await);
    check_hello(&ask(&model(&upstream.base_url, |options| options.stream = false)?).await);
    assert!(upstream.seen().body.contains(r#""stream":false"#));
    Ok(())
}

#[tokio::test]
async fn the_request_is_the_callers_with_our_model_and_our_headers() -> Outcome {
    let upstream = Upstream::answers("200 OK", "content-type: application/json\r\n", WHOLE)?;
    let model = model(&upstream.base_url, |options| {
        options.key = Some(Secret::new("sk-secret".to_owned()));
        options.headers = vec![("OpenAI-Organization".to_owned(), "org-1".to_owned())];
        options.max_tokens_field = Some(MaxTokensField::MaxCompletionTokens);
    })?;
    check_hello(&ask(&model).await);
    let seen = upstream.seen();
    assert_eq!(
        seen.body,
        r#"{"brand_new":{"a":1},"max_completion_tokens":5,"messages":[{"role":"user","content":"hi"}],"model":"up-model","stream":true,"stream_options":{"include_usage":true}}"#
    );
    let mut lines = seen.head.lines();
    assert_eq!(lines.next(), Some("post /v1/chat/completions http/1.1"));
    let mut names: Vec<_> = lines.filter_map(|line| Some(line.split_once(": ")?.0)).collect();
    names.sort_unstable();
    let expected =
        ["accept", "authorization", "content-length", "content-type", "host", "openai-organization", "user-agent"];
    assert_eq!(names, expected);
    assert!(seen.head.contains("authorization: bearer sk-secret"));
    assert!(seen.head.contains(concat!("user-agent: weighbridge/", env!("CARGO_PKG_VERSION"))));
    Ok(())
}

#[tokio::test]
async fn a_rate_limit_says_when_to_come_back() -> Outcome {
    let body = r#"{"error":{"message":"m","type":"requests","param":null,"code":"rate_limit_exceeded"}}"#;
    let upstream = Upstream::answers("429 Too Many Requests", "retry-after: 3\r\n", body)?;
    let failure = ask(&model(&upstream.base_url, |_| {})?).await.failure.ok_or("no failure")?;
    assert_eq!((failure.kind, failure.upstream_status), (FailureKind::RateLimited, Some(429)));
    assert_eq!(failure.retry_after, Some(Duration::from_secs(3)));
    Ok(())
}

#[tokio::test]
async fn an_error_status_is_a_failure_before_any_event() -> Outcome {
    let upstream = Upstream::answers("500 Internal Server Error", "", "oh no")?;
    let answered = ask(&model(&upstream.base_url, |_| {})?).await;
    check_failure(&answered, FailureKind::ServerError, "");
    Ok(())
}

#[tokio::test]
async fn a_redirect_is_not_followed() -> Outcome {
    let target = Upstream::answers("200 OK", "content-type: application/json\r\n", WHOLE)?;
    let location = format!("location: {}chat/completions\r\n", target.base_url);
    let upstream = Upstream::answers("307 Temporary Redirect", &location, "")?;
    check_failure(&ask(&model(&upstream.base_url, |_| {})?).await, FailureKind::ServerError, "");
    assert_eq!(target.seen().connections, 0);
    Ok(())
}

#[tokio::test]
async fn a_stall_before_the_first_token_is_noticed() -> Outcome {
    let stall = Step::Wait(Duration::from_secs(2));
    let kind = FailureKind::Timeout(Stage::FirstToken);
    check_failure(&ask_of(vec![stall.clone()]).await?, kind, "");
    // Neither headers nor a role nor a comment is a token.
    let comment = Step::Send(b": keep-alive\n\n".to_vec());
    check_failure(&ask_of(vec![stream_head(), event(ROLE), comment, stall]).await?, kind, "");
    Ok(())
}

#[tokio::test]
async fn a_stall_between_tokens_is_noticed_and_counted() -> Outcome {
    let answered = ask_of(vec![stream_head(), event(HELLO), Step::Wait(Duration::from_secs(2))]).await?;
    check_failure(&answered, FailureKind::Timeout(Stage::BetweenTokens), "hello");
    let used = Usage { prompt_tokens: 5, completion_tokens: 2, estimated: true, ..Usage::default() };
    assert_eq!(answered.used, used);
    Ok(())
}

#[tokio::test]
async fn an_answer_without_end_is_ended() -> Outcome {
    let mut steps = vec![stream_head()];
    steps.extend((0..20).flat_map(|_| [event(HELLO), Step::Wait(Duration::from_millis(50))]));
    let upstream = Upstream::start(steps)?;
    let model = model(&upstream.base_url, |options| options.timeouts.total = Duration::from_millis(350))?;
    let failure = ask(&model).await.failure.map(|failure| failure.kind);
    assert_eq!(failure, Some(FailureKind::Timeout(Stage::Total)));
    Ok(())
}

#[tokio::test]
async fn a_slow_reader_is_no_stall() -> Outcome {
    let upstream = Upstream::start(vec![
        stream_head(),
        event(HELLO),
        Step::Wait(Duration::from_millis(800)),
        event(STOP),
        event("[DONE]"),
    ])?;
    let model = model(&upstream.base_url, |_| {})?;
    let mut events = model.answer(Arc::new(request())).await?.events;
    assert!(matches!(events.next().await, Some(Ok(Event::Text { .. }))));
    tokio::time::sleep(Duration::from_millis(1000)).await;
    assert!(matches!(events.next().await, Some(Ok(Event::Finish { .. }))));
    Ok(())
}

#[tokio::test]
async fn a_connection_that_breaks_in_the_middle_is_a_cut() -> Outcome {
    check_failure(&ask_of(vec![stream_head(), event(HELLO)]).await?, FailureKind::Cut, "hello");
    let half = Step::Send(b"data: {\"choices\":[{\"del".to_vec());
    check_failure(&ask_of(vec![stream_head(), event(HELLO), half]).await?, FailureKind::Cut, "hello");
    check_failure(&ask_of(Vec::new()).await?, FailureKind::Cut, "");

    let mut short = response("200 OK", "content-type: application/json\r\n", WHOLE);
    short.truncate(short.len() - 10);
    check_failure(&ask_of(vec![Step::Send(short)]).await?, FailureKind::Cut, "");
    Ok(())
}

#[tokio::test]
async fn an_answer_whose_usage_never_comes_is_whole() -> Outcome {
    for end in [Step::Wait(Duration::ZERO), Step::Wait(Duration::from_secs(2)), event("{ no json }")] {
        let answered = ask_of(vec![stream_head(), event(HELLO), event(STOP), end]).await?;
        assert_eq!((answered.text().as_str(), &answered.failure), ("hello", &None));
        assert!(matches!(answered.events.last(), Some(Event::Usage(Usage { estimated: true, .. }))));
    }
    Ok(())
}

#[tokio::test]
async fn what_is_no_answer_is_garbled() -> Outcome {
    let garbled = FailureKind::Garbled;
    check_failure(&ask_of(vec![stream_head()]).await?, garbled, "");
    check_failure(&ask_of(vec![stream_head(), event(HELLO), event("{ no json }")]).await?, garbled, "hello");
    for (headers, body) in [
        ("content-type: application/json\r\n", ""),
        ("content-type: application/json\r\n", "{\"choices\": broken}"),
        ("content-type: text/html; charset=utf-8\r\n", "<html></html>"),
        ("content-type: application/json\r\ncontent-encoding: gzip\r\n", "\u{1f}"),
        ("", WHOLE),
    ] {
        let upstream = Upstream::answers("200 OK", headers, body)?;
        check_failure(&ask(&model(&upstream.base_url, |_| {})?).await, garbled, "");
    }
    Ok(())
}

#[tokio::test]
async fn an_answer_above_its_bounds_is_refused() -> Outcome {
    let upstream = Upstream::start(vec![stream_head(), event(HELLO), event(&"x".repeat(5000)), event(STOP)])?;
    let events = model(&upstream.base_url, |options| options.max_event_bytes = 1000)?;
    check_failure(&ask(&events).await, FailureKind::Garbled, "hello");
    let answer = model(&upstream.base_url, |options| options.max_answer_bytes = 1000)?;
    assert_eq!(ask(&answer).await.failure.map(|failure| failure.kind), Some(FailureKind::Garbled));
    Ok(())
}

#[tokio::test]
async fn an_error_in_the_stream_is_a_failure_after_what_came_before() -> Outcome {
    let error = event(r#"{"error":{"message":"m","type":"server_error","param":null,"code":null}}"#);
    check_failure(&ask_of(vec![stream_head(), event(HELLO), error]).await?, FailureKind::ServerError, "hello");
    Ok(())
}

#[tokio::test]
async fn nobody_at_the_address_is_unreachable() -> Outcome {
    let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let answered = ask(&model(&format!("http://{address}/v1"), |_| {})?).await;
    check_failure(&answered, FailureKind::Unreachable, "");
    Ok(())
}

#[tokio::test]
async fn a_connection_that_does_not_open_in_time_is_noticed() -> Outcome {
    // TLS belongs to opening the connection, and this listener never says a word of it.
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let base_url = format!("https://{}/v1", listener.local_addr()?);
    let model = match model(&base_url, |options| options.timeouts.first_token = Duration::from_secs(5)) {
        Ok(model) => model,
        Err(error) => {
            println!("skipped: {error}");
            return Ok(());
        }
    };
    check_failure(&ask(&model).await, FailureKind::Timeout(Stage::Connect), "");
    Ok(())
}

#[tokio::test]
async fn dropping_the_events_closes_the_connection() -> Outcome {
    let upstream = Upstream::start(vec![stream_head(), event(HELLO), Step::AwaitHangUp])?;
    let model = model(&upstream.base_url, |_| {})?;
    let mut answering = model.answer(Arc::new(request())).await?;
    assert!(matches!(answering.events.next().await, Some(Ok(Event::Text { .. }))));
    assert_eq!(model.load(), Load { waiting: 0, running: 1 });
    drop(answering.events);
    assert_eq!(model.load(), Load::default());
    for _ in 0..100 {
        if upstream.seen().hung_up {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Err("the connection stayed open".into())
}

#[tokio::test]
async fn a_connection_serves_again_after_the_end_of_its_answer() -> Outcome {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
    let body = format!("data: {HELLO}\n\ndata: {STOP}\n\ndata: {USAGE}\n\ndata: [DONE]\n\n");
    let answer = Step::Send(format!("{head}{:x}\r\n{body}\r\n", body.len()).into());
    // The end of the body comes as a piece of its own, as it does from a real server.
    let end = [Step::Wait(Duration::from_millis(1)), Step::Send(b"0\r\n\r\n".to_vec())];
    let mut steps = vec![answer.clone()];
    steps.extend(end.clone());
    steps.extend([Step::AwaitRequest, answer]);
    steps.extend(end);
    let upstream = Upstream::start(steps)?;
    let model = model(&upstream.base_url, |_| {})?;
    check_hello(&ask(&model).await);
    check_hello(&ask(&model).await);
    assert_eq!(upstream.seen().connections, 1);
    Ok(())
}

#[tokio::test]
async fn a_model_tells_its_state_and_guesses_at_prompts() -> Outcome {
    let model = model("http://127.0.0.1:1", |_| {})?;
    assert_eq!((model.health(), model.load()), (Health::Ready, Load::default()));
    assert_eq!(model.count_prompt(&request())?, PromptCount::Estimate(5));
    Ok(())
}

async fn ask_of(steps: Vec<Step>) -> Result<Answered, Box<dyn Error>> {
    let upstream = Upstream::start(steps)?;
    Ok(ask(&model(&upstream.base_url, |_| {})?).await)
}

fn check_hello(answered: &Answered) {
    let expected = [
        Event::Text { choice: 0, text: "hello".to_owned(), logprobs: None },
        Event::Finish { choice: 0, reason: FinishReason::Stop, matched: None },
        Event::Usage(STATED),
    ];
    assert_eq!((&answered.events[..], &answered.failure), (&expected[..], &None));
    assert_eq!(answered.used, STATED);
}

fn check_failure(answered: &Answered, kind: FailureKind, text: &str) {
    let failure = answered.failure.as_ref();
    assert_eq!(failure.map(|failure| failure.kind), Some(kind), "{failure:?}");
    assert_eq!(answered.text(), text);
}
