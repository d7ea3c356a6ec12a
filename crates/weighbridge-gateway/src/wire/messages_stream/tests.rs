//! Events in, lines out.

use std::collections::VecDeque;

use proptest::prelude::*;
use weighbridge_backend::FinishReason;

use super::*;

fn lines(events: &[Event]) -> Vec<(String, Value)> {
    let mut out = Vec::new();
    let head = Head { used: Usage { prompt_tokens: 9, ..Usage::default() }, ..Head::example() };
    let mut stream = MessagesStream::open(&head, true, &mut out);
    events.iter().for_each(|event| stream.write(event, &mut out));
    let usage = Usage { prompt_tokens: 9, completion_tokens: 2, ..Usage::default() };
    stream.end(&usage, &json!({"backend": "demo"}), &mut out);
    let text = String::from_utf8(out).expect("events are text");
    let read = |event: &str| {
        let (name, data) = event.split_once('\n').expect("an event has two lines");
        let name = name.strip_prefix("event: ").expect("the first is its name").to_owned();
        let data = data.strip_prefix("data: ").expect("the second is its data");
        let data: Value = serde_json::from_str(data).expect(data);
        assert_eq!(data["type"], name.as_str());
        (name, data)
    };
    text.split_terminator("\n\n").map(read).collect()
}

/// The blocks that the lines put together, as a client does it, each closed before the next begins.
fn blocks(lines: &[(String, Value)]) -> Vec<(String, String)> {
    let mut blocks: Vec<(String, String)> = Vec::new();
    let mut is_open = false;
    for (name, data) in lines {
        match name.as_str() {
            "content_block_start" => {
                assert!(!is_open && data["index"] == blocks.len(), "{data}");
                is_open = true;
                let block = &data["content_block"];
                let what = block["id"].as_str().or(block["type"].as_str()).unwrap_or_default();
                blocks.push((what.to_owned(), String::new()));
            }
            "content_block_delta" => {
                assert!(is_open && data["index"] == blocks.len() - 1, "{data}");
                let delta = &data["delta"];
                let text = ["text", "thinking", "partial_json"].into_iter().find_map(|key| delta[key].as_str());
                blocks.last_mut().expect("one is open").1.push_str(text.unwrap_or_default());
            }
            "content_block_stop" => {
                assert!(is_open && data["index"] == blocks.len() - 1, "{data}");
                is_open = false;
            }
            _ => {}
        }
    }
    assert!(!is_open);
    blocks
}

fn check_blocks(events: &[Event], expected: &[(&str, &str)]) {
    let found = blocks(&lines(events));
    let found: Vec<(&str, &str)> = found.iter().map(|(what, text)| (what.as_str(), text.as_str())).collect();
    assert_eq!(found, expected);
}

fn text(text: &str) -> Event {
    Event::Text { choice: 0, text: text.into(), logprobs: None }
}

fn thought(text: &str) -> Event {
    Event::Reasoning { choice: 0, text: text.into() }
}

fn finish() -> Event {
    Event::Finish { choice: 0, reason: FinishReason::Stop, matched: None }
}

fn begins(index: u32, arguments: &str) -> Event {
    let (id, name) = (Some(format!("call_{index}")), Some("add".into()));
    Event::ToolCall { choice: 0, delta: ToolCallDelta { index, id, name, arguments: arguments.into(), custom: false } }
}

fn goes_on(index: u32, arguments: &str) -> Event {
    let delta = ToolCallDelta { index, arguments: arguments.into(), ..ToolCallDelta::default() };
    Event::ToolCall { choice: 0, delta }
}

#[test]
fn a_text_is_streamed_in_anthropics_order() {
    let lines = lines(&[text("\"Hi\"\n"), text("!"), finish()]);
    let names: Vec<&str> = lines.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(
        names,
        [
            "message_start",
            "content_block_start",
            "ping",
            "content_block_delta",
            "content_block_delta",
            "content_block_stop",
            "message_delta",
            "message_stop"
        ]
    );
    let message = &lines[0].1["message"];
    assert_eq!((&message["id"], &message["usage"]["input_tokens"]), (&json!("msg_ab"), &json!(9)));
    assert_eq!(lines[3].1["delta"], json!({"type": "text_delta", "text": "\"Hi\"\n"}));
    let last = &lines[6].1;
    assert_eq!((&last["delta"]["stop_reason"], &last["usage"]["output_tokens"]), (&json!("end_turn"), &json!(2)));
    assert_eq!(last["weighbridge"]["backend"], "demo");
}

#[test]
fn thinking_comes_first_and_is_sealed_before_it_stops() {
    let events = [thought("h"), thought("m"), text("Hi"), finish()];
    check_blocks(&events, &[("thinking", "hm"), ("text", "Hi")]);
    let lines = lines(&events);
    let stop = lines.iter().position(|(name, _)| name == "content_block_stop").expect("a block stops");
    assert_eq!(lines[stop - 1].1["delta"], json!({"type": "signature_delta", "signature": OWN_SIGNATURE}));
}

#[test]
fn thinking_that_is_not_wanted_is_an_empty_block() {
    let mut out = Vec::new();
    let mut stream = MessagesStream::open(&Head::example(), false, &mut out);
    [thought("secret"), text("Hi"), finish()].iter().for_each(|event| stream.write(event, &mut out));
    let said = String::from_utf8(out).expect("events are text");
    assert!(!said.contains("secret") && said.contains(OWN_SIGNATURE), "{said}");
}

#[test]
fn calls_follow_each_other_whatever_order_their_pieces_come_in() {
    let whole = &[("text", "So:"), ("call_0", "{\"a\":1}"), ("call_1", "{\"b\":2}")];
    let sequential = [text("So:"), begins(0, ""), goes_on(0, "{\"a\":"), goes_on(0, "1}"), begins(1, "{\"b\":2}")];
    let mixed = [text("So:"), begins(0, "{\"a\""), begins(1, "{\"b\""), goes_on(0, ":1}"), goes_on(1, ":2}")];
    check_blocks(&[&sequential[..], &[finish()]].concat(), whole);
    check_blocks(&[&mixed[..], &[finish()]].concat(), whole);
    // Sequential calls are not held back: the second begins when the first is whole.
    let lines = lines(&sequential);
    let starts = lines.iter().filter(|(name, _)| name == "content_block_start").count();
    assert_eq!(starts, 3);
}

#[test]
fn nothing_is_lost_that_is_said_within_a_call() {
    let events = [begins(0, "{\"a\""), text("by the"), text(" way"), thought("hm"), goes_on(0, ":1}"), finish()];
    check_blocks(&events, &[("call_0", "{\"a\":1}"), ("text", "by the way"), ("thinking", "hm")]);
}

#[test]
fn a_call_without_arguments_is_a_block_without_deltas() {
    check_blocks(&[begins(0, ""), finish()], &[("call_0", "")]);
}

#[test]
fn an_answer_of_nothing_has_no_blocks() {
    check_blocks(&[text(""), finish()], &[]);
}

/// What each of three calls, the text and the thoughts say in all.
const SAID: [&str; 5] = [r#"{"a":1,"b":"}"}"#, r#"{"c":{"d":[]}}"#, "{}", "to be said", "to be thought"];

proptest! {
    /// However the pieces of calls, texts and thoughts mix, each block is whole and nothing is lost.
    #[test]
    fn blocks_never_interleave_and_nothing_is_lost(steps in prop::collection::vec((0usize..5, 1usize..6), 0..60)) {
        let mut left = SAID.map(|text| text.chars().collect::<VecDeque<char>>());
        let mut begun = [false; 3];
        let all = (0..5).flat_map(|source| std::iter::repeat_n((source, 5), 4));
        let mut events = Vec::new();
        for (source, length) in steps.into_iter().chain(all) {
            let length = length.min(left[source].len());
            let piece: String = left[source].drain(..length).collect();
            if piece.is_empty() {
                continue;
            }
            events.push(match source {
                3 => text(&piece),
                4 => thought(&piece),
                call => {
                    let index = u32::try_from(call).expect("it is small");
                    if std::mem::replace(&mut begun[call], true) { goes_on(index, &piece) } else { begins(index, &piece) }
                }
            });
        }
        events.push(finish());
        let blocks = blocks(&lines(&events));
        for (source, said) in ["call_0", "call_1", "call_2", "text", "thinking"].into_iter().zip(SAID) {
            let told: Vec<&str> = blocks.iter().filter(|(what, _)| what == source).map(|(_, text)| text.as_str()).collect();
            prop_assert_eq!(told.concat(), said);
            prop_assert!(!source.starts_with("call") || told.len() == 1);
        }
    }
}

#[test]
fn a_call_that_breaks_is_none_to_wait_for() {
    let reason = |arguments: &[&str], reason: FinishReason| {
        let mut events = vec![begins(0, "")];
        events.extend(arguments.iter().map(|arguments| goes_on(0, arguments)));
        events.push(Event::Finish { choice: 0, reason, matched: None });
        let lines = lines(&events);
        lines[lines.len() - 2].1["delta"]["stop_reason"].clone()
    };
    assert_eq!(reason(&["{\"a\"", ": 1}"], FinishReason::Stop), "tool_use");
    assert_eq!(reason(&[""], FinishReason::Stop), "tool_use");
    assert_eq!(reason(&["{\"a\": "], FinishReason::Stop), "end_turn");
    assert_eq!(reason(&["{\"a\": "], FinishReason::Length), "max_tokens");
}
