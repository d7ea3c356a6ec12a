//! Recorded chunks in, events out.

use std::num::NonZeroU32;

use weighbridge_backend::{Message, Role};

use super::*;

const STOP: &str = r#"{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#;

#[test]
fn an_answer_is_its_texts_a_finish_and_the_usage() {
    check(
        &[
            r#"{"choices":[{"index":0,"delta":{"role":"assistant","content":"","refusal":null},"finish_reason":null}],"usage":null}"#,
            r#"{"choices":[{"index":0,"delta":{"content":"Hi"},"logprobs":null,"finish_reason":null}],"usage":null}"#,
            STOP,
            r#"{"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":2,"prompt_tokens_details":{"cached_tokens":4},"completion_tokens_details":{"reasoning_tokens":1}}}"#,
        ],
        &[text("Hi"), finish(FinishReason::Stop), Event::Usage(stated(9, 4, 2, 1))],
    );
}

#[test]
fn usage_beside_the_finish_counts_as_well() {
    check(
        &[
            r#"{"choices":[{"delta":{"content":"Hi"}}]}"#,
            r#"{"choices":[{"delta":{},"finish_reason":"length"}],"usage":{"prompt_tokens":9.0,"completion_tokens":2}}"#,
        ],
        &[text("Hi"), finish(FinishReason::Length), Event::Usage(stated(9, 0, 2, 0))],
    );
}

#[test]
fn usage_that_is_missing_absurd_or_zero_is_estimated() {
    for usage in [
        "null",
        "7",
        "{}",
        r#"{"prompt_tokens":-1,"completion_tokens":1e30}"#,
        r#"{"prompt_tokens":0,"completion_tokens":0}"#,
    ] {
        check(
            &[
                r#"{"choices":[{"delta":{"content":"12345","reasoning":"1234"}}]}"#,
                STOP,
                &format!(r#"{{"choices":[],"usage":{usage}}}"#),
            ],
            &[reasoning("1234"), text("12345"), finish(FinishReason::Stop), Event::Usage(estimated(5, 3, 1))],
        );
    }
}

#[test]
fn usage_from_before_the_answer_does_not_hide_the_answer() {
    check(
        &[
            r#"{"choices":[{"delta":{"role":"assistant"}}],"usage":{"prompt_tokens":9,"completion_tokens":1}}"#,
            r#"{"choices":[{"delta":{"content":"12345678"},"finish_reason":"stop"}]}"#,
        ],
        &[text("12345678"), finish(FinishReason::Stop), Event::Usage(Usage { estimated: true, ..stated(9, 0, 2, 0) })],
    );
}

#[test]
fn reasoning_is_taken_under_each_of_its_names_and_once() {
    for delta in [
        r#"{"reasoning_content":"so","content":null}"#,
        r#"{"reasoning":"so","content":""}"#,
        r#"{"reasoning_content":"so","reasoning":"so"}"#,
        r#"{"content":[{"type":"thinking","thinking":[{"type":"text","text":"so"}]}]}"#,
    ] {
        check_delta(delta, &[reasoning("so")]);
    }
    check_delta(r#"{"content":[{"type":"text","text":"Hi"}]}"#, &[text("Hi")]);
    check_delta(r#"{"refusal":"no"}"#, &[Event::Refusal { choice: 0, text: "no".to_owned() }]);
}

#[test]
fn log_probabilities_travel_as_they_came() {
    let logprobs = r#"{"content":[{"token":"Hi","logprob":-0.10,"bytes":null}],"refusal":null}"#;
    let events = [Event::Text { choice: 0, text: "Hi".to_owned(), logprobs: Some(Json(logprobs.into())) }];
    let chunk = format!(r#"{{"choices":[{{"delta":{{"content":"Hi"}},"logprobs":{logprobs}}}]}}"#);
    check_until_end(
        &[&chunk, r#"{"choices":[{"delta":{},"logprobs":{"content":[]},"finish_reason":"stop"}]}"#],
        &events,
    );
}

#[test]
fn pieces_of_tool_calls_keep_their_order_and_their_ids() {
    check_until_end(
        &[
            r#"{"choices":[{"delta":{"content":null,"tool_calls":[{"index":0,"id":"a","type":"function","function":{"name":"f","arguments":""}}]}}]}"#,
            r#"{"choices":[{"delta":{"tool_calls":[{"index":0,"function":{"arguments":"{}"}}]}}]}"#,
            r#"{"choices":[{"delta":{"tool_calls":[{"index":1,"id":"b","function":{"name":"g","arguments":"[]"}}]}}]}"#,
            r#"{"choices":[{"delta":{"tool_calls":[{"index":1,"id":"b","function":{"arguments":"7"}}]},"finish_reason":"stop"}]}"#,
        ],
        &[
            call(0, Some("a"), Some("f"), ""),
            call(0, None, None, "{}"),
            call(1, Some("b"), Some("g"), "[]"),
            call(1, None, None, "7"),
        ],
    );
}

#[test]
fn a_call_of_a_custom_tool_is_told_apart_streamed_and_whole() {
    let custom = |id: Option<&str>, name: Option<&str>, text: &str| Event::ToolCall {
        choice: 0,
        delta: ToolCallDelta {
            index: 0,
            id: id.map(str::to_owned),
            name: name.map(str::to_owned),
            arguments: text.into(),
            custom: true,
        },
    };
    check_until_end(
        &[
            r#"{"choices":[{"delta":{"tool_calls":[{"index":0,"id":"a","type":"custom","custom":{"name":"sh","input":""}}]}}]}"#,
            r#"{"choices":[{"delta":{"tool_calls":[{"index":0,"custom":{"input":"ls"}}]},"finish_reason":"stop"}]}"#,
        ],
        &[custom(Some("a"), Some("sh"), ""), custom(None, None, "ls")],
    );
    check_until_end(
        &[
            r#"{"choices":[{"message":{"tool_calls":[{"id":"a","type":"custom","custom":{"name":"sh","input":"ls"}}]},"finish_reason":"stop"}]}"#,
        ],
        &[custom(Some("a"), Some("sh"), "ls")],
    );
}

#[test]
fn calls_without_an_index_are_told_apart_by_their_ids() {
    check_until_end(
        &[
            r#"{"choices":[{"delta":{"tool_calls":[{"id":"a","function":{"name":"f","arguments":"1"}}]}}]}"#,
            r#"{"choices":[{"delta":{"tool_calls":[{"function":{"arguments":"2"}}]}}]}"#,
            r#"{"choices":[{"delta":{"tool_calls":[{"id":"b","function":{"name":"g","arguments":{"x":1}}}]},"finish_reason":"stop"}]}"#,
        ],
        &[call(0, Some("a"), Some("f"), "1"), call(0, None, None, "2"), call(1, Some("b"), Some("g"), r#"{"x":1}"#)],
    );
}

#[test]
fn a_call_without_an_id_gets_one() {
    check_delta(
        r#"{"function_call":{"name":"f","arguments":"{}"}}"#,
        &[call(0, Some("call_r-1_0_0"), Some("f"), "{}")],
    );
}

#[test]
fn a_whole_completion_gives_the_same_events() {
    check(
        &[
            r#"{"object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant","content":"Hi","refusal":null,
            "tool_calls":[{"id":"a","type":"function","function":{"name":"f","arguments":"{}"}},
                          {"id":"b","type":"function","function":{"name":"f","arguments":"{}"}}]},
            "logprobs":null,"finish_reason":"tool_calls"}],"usage":{"prompt_tokens":9,"completion_tokens":2}}"#,
        ],
        &[
            text("Hi"),
            call(0, Some("a"), Some("f"), "{}"),
            call(1, Some("b"), Some("f"), "{}"),
            finish(FinishReason::ToolCalls),
            Event::Usage(stated(9, 0, 2, 0)),
        ],
    );
}

#[test]
fn every_finish_reason_has_its_meaning() {
    for (word, reason) in [
        ("stop", FinishReason::Stop),
        ("eos", FinishReason::Stop),
        ("length", FinishReason::Length),
        ("tool_calls", FinishReason::ToolCalls),
        ("function_call", FinishReason::ToolCalls),
        ("content_filter", FinishReason::ContentFilter),
        ("brand_new", FinishReason::Stop),
    ] {
        let chunk = format!(r#"{{"choices":[{{"delta":{{"content":"Hi"}},"finish_reason":"{word}"}}]}}"#);
        let events = decode(&[&chunk], 1).unwrap_or_default();
        assert!(events.contains(&finish(reason)), "{word}: {events:?}");
    }
    check_failure(&[r#"{"choices":[{"delta":{},"finish_reason":"error"}]}"#], FailureKind::ServerError);
    check_failure(
        &[r#"{"choices":[{"delta":{},"finish_reason":"insufficient_system_resource"}]}"#],
        FailureKind::Overloaded,
    );
    check_failure(&[r#"{"choices":[{"delta":{},"finish_reason":"brand_new"}]}"#], FailureKind::Garbled);
}

#[test]
fn a_finish_reason_in_every_chunk_ends_the_answer_once() {
    let chunk = r#"{"choices":[{"delta":{"content":"Hi"},"finish_reason":"stop"}]}"#;
    check_until_end(&[chunk, chunk], &[text("Hi"), text("Hi")]);
}

#[test]
fn several_answers_come_interleaved_and_each_finishes() {
    let chunks = [
        r#"{"choices":[{"index":1,"delta":{"content":"b"}},{"index":0,"delta":{"content":"a"}}]}"#,
        r#"{"choices":[{"index":1,"delta":{},"finish_reason":"length"}]}"#,
        STOP,
    ];
    let said = |choice, text: &str| Event::Text { choice, text: text.to_owned(), logprobs: None };
    let expected = [
        said(1, "b"),
        said(0, "a"),
        Event::Finish { choice: 0, reason: FinishReason::Stop, matched: None },
        Event::Finish { choice: 1, reason: FinishReason::Length, matched: None },
        Event::Usage(estimated(5, 1, 0)),
    ];
    assert_eq!(decode(&chunks, 2).as_deref(), Ok(&expected[..]));
}

#[test]
fn an_answer_that_is_not_whole_is_cut() {
    check_failure(&[r#"{"choices":[{"delta":{"content":"Hi"}}]}"#], FailureKind::Cut);
    assert_eq!(decode(&[STOP], 2).map_err(|failure| failure.kind), Err(FailureKind::Cut));
}

#[test]
fn what_cannot_be_read_is_garbled_and_never_quoted() {
    for garbage in [
        "",
        "{",
        "[]",
        r#"{"choices":"my secret"}"#,
        r#"{"choices":[{"index":1,"delta":{}}]}"#,
        r#"{"choices":[{"index":-1,"delta":{}}]}"#,
        r#"{"choices":[{"delta":{"tool_calls":[{"index":4000000000}]}}]}"#,
        r#"{"choices":[{"delta":{"tool_calls":[{"index":0,"type":"mystery"}]}}]}"#,
        &"[".repeat(100_000),
    ] {
        check_failure(&[garbage], FailureKind::Garbled);
    }
    check_failure(&[], FailureKind::Garbled);
}

#[test]
fn an_error_object_is_a_failure() {
    check_failure(&[r#"{"error":{"message":"m","type":"server_error"}}"#], FailureKind::ServerError);
    check_failure(&[r#"{"object":"error","message":"m","code":503}"#], FailureKind::Overloaded);
    check_failure(
        &[
            r#"{"id":"x","error":{"code":429,"message":"m"},"choices":[{"delta":{"content":""},"finish_reason":"error"}]}"#,
        ],
        FailureKind::RateLimited,
    );
}

#[test]
fn the_meter_counts_before_the_usage_comes() {
    let meter = Meter::default();
    let mut decoder = Decoder::new(&request(1), meter.clone());
    assert_eq!(meter.usage(), estimated(5, 0, 0));
    assert_eq!(decoder.read(&peer(), br#"{"choices":[{"delta":{"content":"12345"}}]}"#), Ok(()));
    assert_eq!(meter.usage(), estimated(5, 2, 0));
    let usage = br#"{"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":3}}"#;
    assert_eq!(decoder.read(&peer(), usage), Ok(()));
    assert_eq!(meter.usage(), stated(9, 0, 3, 0));
}

fn check(chunks: &[&str], expected: &[Event]) {
    assert_eq!(decode(chunks, 1).as_deref(), Ok(expected), "{chunks:?}");
}

/// Checks the events before the finish and the usage.
fn check_until_end(chunks: &[&str], expected: &[Event]) {
    let mut events = decode(chunks, 1).unwrap_or_default();
    let end = events.split_off(events.len().saturating_sub(2));
    assert_eq!(events, expected, "{chunks:?}");
    assert!(matches!(end[..], [Event::Finish { choice: 0, .. }, Event::Usage(_)]), "{end:?}");
}

fn check_delta(delta: &str, expected: &[Event]) {
    check_until_end(&[&format!(r#"{{"choices":[{{"delta":{delta}}}]}}"#), STOP], expected);
}

fn check_failure(chunks: &[&str], kind: FailureKind) {
    let failure = decode(chunks, 1).err();
    assert_eq!(failure.as_ref().map(|failure| failure.kind), Some(kind), "{chunks:?}");
    assert!(!failure.is_some_and(|failure| failure.message.contains("secret")), "{chunks:?}");
}

fn decode(chunks: &[&str], choices: u32) -> Result<Vec<Event>, Failure> {
    let mut decoder = Decoder::new(&request(choices), Meter::default());
    for chunk in chunks {
        decoder.read(&peer(), chunk.as_bytes())?;
    }
    decoder.end(&peer())?;
    Ok(std::iter::from_fn(|| decoder.pop()).collect())
}

fn peer() -> Peer {
    Peer::new("p".to_owned(), [])
}

/// A request whose prompt is estimated at five tokens.
fn request(choices: u32) -> Request {
    Request {
        choices: NonZeroU32::new(choices).unwrap_or(NonZeroU32::MIN),
        stream: true,
        ..Request::new("r-1", "m", vec![Message::of_text(Role::User, "hi")])
    }
}

fn text(text: &str) -> Event {
    Event::Text { choice: 0, text: text.to_owned(), logprobs: None }
}

fn reasoning(text: &str) -> Event {
    Event::Reasoning { choice: 0, text: text.to_owned() }
}

fn call(index: u32, id: Option<&str>, name: Option<&str>, arguments: &str) -> Event {
    let (id, name) = (id.map(str::to_owned), name.map(str::to_owned));
    Event::ToolCall {
        choice: 0,
        delta: ToolCallDelta { index, id, name, arguments: arguments.to_owned(), custom: false },
    }
}

fn finish(reason: FinishReason) -> Event {
    Event::Finish { choice: 0, reason, matched: None }
}

fn stated(prompt_tokens: u64, cached_tokens: u64, completion_tokens: u64, reasoning_tokens: u64) -> Usage {
    Usage { prompt_tokens, cached_tokens, completion_tokens, reasoning_tokens, estimated: false }
}

fn estimated(prompt_tokens: u64, completion_tokens: u64, reasoning_tokens: u64) -> Usage {
    Usage { prompt_tokens, cached_tokens: 0, completion_tokens, reasoning_tokens, estimated: true }
}
