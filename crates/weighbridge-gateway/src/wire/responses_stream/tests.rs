//! Events in, events and objects out.

use weighbridge_backend::{NanoUsd, Usage};

use super::*;

fn echo(summary: bool) -> Echo {
    Echo { summary, ..Echo::default() }
}

fn bill() -> Bill {
    let usage =
        Usage { prompt_tokens: 9, cached_tokens: 4, completion_tokens: 3, reasoning_tokens: 1, estimated: false };
    Bill { usage, cost: NanoUsd(5) }
}

/// The events of a stream, each with its `event:` line held against its type and its number against its place.
fn read(out: Vec<u8>) -> Vec<Value> {
    let text = String::from_utf8(out).expect("events are text");
    let event = |(number, event): (usize, &str)| {
        let (kind, data) = event.split_once('\n').expect("an event has two lines");
        let data: Value = serde_json::from_str(&data["data: ".len()..]).expect(data);
        assert_eq!((&data["type"], &data["sequence_number"]), (&kind["event: ".len()..].into(), &number.into()));
        data
    };
    text.split_terminator("\n\n").enumerate().map(event).collect()
}

fn stream(summary: bool, events: &[Event]) -> Vec<Value> {
    let mut stream = ResponseStream::new(&Head::example(), echo(summary), Some(1 << 20));
    let mut out = Vec::new();
    stream.begin(&mut out);
    events.iter().for_each(|event| stream.write(event, &mut out));
    stream.end(&bill(), &mut out);
    read(out)
}

fn kinds(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["type"].as_str().unwrap_or_default().trim_start_matches("response.")).collect()
}

fn text(text: &str) -> Event {
    Event::Text { choice: 0, text: text.into(), logprobs: None }
}

fn thought(text: &str) -> Event {
    Event::Reasoning { choice: 0, text: text.into() }
}

fn call(index: u32, id: Option<&str>, arguments: &str, custom: bool) -> Event {
    let (id, name) = (id.map(str::to_owned), id.map(|_| "add".to_owned()));
    Event::ToolCall { choice: 0, delta: ToolCallDelta { index, id, name, arguments: arguments.into(), custom } }
}

fn finish(reason: FinishReason) -> Event {
    Event::Finish { choice: 0, reason, matched: None }
}

#[test]
fn a_text_comes_as_openai_sends_it() {
    let events = stream(false, &[text("\"Hi\"\n"), text("!"), finish(FinishReason::Stop)]);
    assert_eq!(
        kinds(&events),
        [
            "created",
            "in_progress",
            "output_item.added",
            "content_part.added",
            "output_text.delta",
            "output_text.delta",
            "output_text.done",
            "content_part.done",
            "output_item.done",
            "completed",
        ]
    );
    assert_eq!(
        (&events[0]["response"]["status"], &events[0]["response"]["output"]),
        (&json!("in_progress"), &json!([]))
    );
    assert_eq!((&events[4]["delta"], &events[4]["logprobs"]), (&json!("\"Hi\"\n"), &json!([])));
    assert_eq!(events[6]["text"], "\"Hi\"\n!");
    let last = &events[9]["response"];
    assert_eq!(last["output"][0], events[8]["item"]);
    assert_eq!((&last["id"], &last["status"], &last["store"]), (&json!("resp_ab"), &json!("completed"), &json!(true)));
    assert_eq!(last["output"][0]["content"][0]["text"], "\"Hi\"\n!");
    assert_eq!(last["usage"]["input_tokens_details"]["cached_tokens"], 4);
    assert_eq!(last["usage"]["total_tokens"], 12);
    assert_eq!(events[9]["weighbridge"]["backend"], "demo");
    let ids: std::collections::BTreeSet<&str> = events[2..8]
        .iter()
        .filter_map(|event| event.get("item_id").or(event.get("item")?.get("id"))?.as_str())
        .collect();
    assert_eq!(ids.into_iter().collect::<Vec<_>>(), ["msg_ab00000000"]);
}

#[test]
fn thoughts_a_text_and_calls_are_items_of_their_own() {
    let events = stream(
        false,
        &[
            thought("hm"),
            text("Let me see."),
            call(0, Some("call_1"), "", false),
            call(1, Some("call_2"), "{\"b\"", false),
            // Pieces of an earlier call may still come.
            call(0, None, "{}", false),
            call(1, None, ":1}", false),
            finish(FinishReason::ToolCalls),
        ],
    );
    assert_eq!(
        kinds(&events),
        [
            "created",
            "in_progress",
            "output_item.added",
            "content_part.added",
            "reasoning_text.delta",
            "reasoning_text.done",
            "content_part.done",
            "output_item.done",
            "output_item.added",
            "content_part.added",
            "output_text.delta",
            "output_text.done",
            "content_part.done",
            "output_item.done",
            "output_item.added",
            "output_item.added",
            "function_call_arguments.delta",
            "function_call_arguments.delta",
            "function_call_arguments.delta",
            "function_call_arguments.done",
            "output_item.done",
            "function_call_arguments.done",
            "output_item.done",
            "completed",
        ]
    );
    let output = &events[23]["response"]["output"];
    let kinds: Vec<&Value> = output.as_array().into_iter().flatten().map(|item| &item["type"]).collect();
    assert_eq!(kinds, ["reasoning", "message", "function_call", "function_call"]);
    assert_eq!(output[0]["content"], json!([{"type": "reasoning_text", "text": "hm"}]));
    assert_eq!((&output[2]["call_id"], &output[2]["arguments"]), (&json!("call_1"), &json!("{}")));
    assert_eq!((&output[3]["name"], &output[3]["arguments"]), (&json!("add"), &json!("{\"b\":1}")));
    assert_eq!(events[2]["item"]["content"], json!([]), "what has just begun is empty");
}

#[test]
fn thoughts_go_out_as_a_summary_where_one_is_asked_for() {
    let events = stream(true, &[thought("h"), thought("m"), text("Yes."), finish(FinishReason::Stop)]);
    assert_eq!(
        kinds(&events)[2..9],
        [
            "output_item.added",
            "reasoning_summary_part.added",
            "reasoning_summary_text.delta",
            "reasoning_summary_text.delta",
            "reasoning_summary_text.done",
            "reasoning_summary_part.done",
            "output_item.done",
        ]
    );
    assert_eq!(events[6]["text"], "hm");
    assert_eq!(events[8]["item"]["summary"], json!([{"type": "summary_text", "text": "hm"}]));
}

#[test]
fn a_custom_tool_takes_a_text() {
    let events = stream(false, &[call(0, Some("call_1"), "ls", true), finish(FinishReason::ToolCalls)]);
    assert_eq!(kinds(&events)[3..5], ["custom_tool_call_input.delta", "custom_tool_call_input.done"]);
    let item = &events[6]["response"]["output"][0];
    assert_eq!(
        (&item["type"], &item["input"], &item["name"]),
        (&json!("custom_tool_call"), &json!("ls"), &json!("add"))
    );
}

#[test]
fn a_call_that_breaks_is_incomplete() {
    let statuses = |calls: &[Event], reason: FinishReason| {
        let events = stream(false, &[calls, &[finish(reason)]].concat());
        let last = &events[events.len() - 1]["response"];
        let items = last["output"].as_array().into_iter().flatten();
        let statuses: Vec<String> = items.map(|item| item["status"].as_str().unwrap_or_default().to_owned()).collect();
        (statuses.join(" "), last["status"].as_str().unwrap_or_default().to_owned())
    };
    let broken = call(0, Some("call_1"), "{\"a\": ", false);
    let good = call(1, Some("call_2"), "{}", false);
    let told = |items: &str, response: &str| (items.to_owned(), response.to_owned());
    let both = [broken, good.clone()];
    assert_eq!(statuses(&both, FinishReason::Stop), told("incomplete completed", "completed"));
    assert_eq!(statuses(&[good], FinishReason::Stop), told("completed", "completed"));
    let custom = [call(0, Some("call_1"), "{\"input\": \"l", true)];
    assert_eq!(statuses(&custom, FinishReason::Stop), told("incomplete", "completed"));
}

#[test]
fn a_refusal_is_a_part_of_the_message() {
    let refusal = Event::Refusal { choice: 0, text: "No.".into() };
    let events = stream(false, &[text("Well."), refusal, finish(FinishReason::Stop)]);
    assert_eq!(
        kinds(&events)[5..11],
        [
            "output_text.done",
            "content_part.done",
            "content_part.added",
            "refusal.delta",
            "refusal.done",
            "content_part.done"
        ]
    );
    assert_eq!((&events[8]["content_index"], &events[8]["delta"]), (&json!(1), &json!("No.")));
    assert_eq!(events[11]["item"]["content"][1], json!({"type": "refusal", "refusal": "No."}));
}

#[test]
fn an_answer_cut_short_is_incomplete_and_says_why() {
    for (reason, why) in [(FinishReason::Length, "max_output_tokens"), (FinishReason::ContentFilter, "content_filter")]
    {
        let events = stream(false, &[text("Once"), finish(reason)]);
        let last = &events[events.len() - 1];
        assert_eq!(last["type"], "response.incomplete");
        assert_eq!(last["response"]["incomplete_details"], json!({"reason": why}));
        assert_eq!(last["response"]["output"][0]["status"], "incomplete");
    }
}

#[test]
fn an_answer_without_a_word_is_an_empty_message() {
    let events = stream(false, &[finish(FinishReason::Stop)]);
    assert_eq!(events[events.len() - 1]["response"]["output"][0]["content"][0]["text"], "");
}

#[test]
fn a_response_that_breaks_off_has_failed() {
    let mut stream = ResponseStream::new(&Head::example(), echo(false), None);
    let mut out = Vec::new();
    stream.begin(&mut out);
    stream.write(&text("half an ans"), &mut out);
    let error = json!({"error": {"message": "cut", "type": "server_error", "param": null, "code": "upstream_cut"}});
    assert!(!stream.fail(&error, &mut out).stored);
    let events = read(out);
    let last = &events[events.len() - 1];
    assert_eq!((&last["type"], &last["response"]["status"]), (&json!("response.failed"), &json!("failed")));
    assert_eq!(last["response"]["error"], json!({"code": "server_error", "message": "cut"}));
    assert_eq!((&last["weighbridge"]["code"], &last["response"]["store"]), (&json!("upstream_cut"), &json!(false)));
    assert_eq!(last["response"]["output"][0]["content"][0]["text"], "half an ans");
}

#[test]
fn log_probabilities_have_their_bytes() {
    let object = r#"{"content":[{"token":"Hi","logprob":-0.5,"bytes":null,
        "top_logprobs":[{"token":"Hi","logprob":-0.5,"bytes":[72,105]}]}],"refusal":null}"#;
    let hi = Event::Text { choice: 0, text: "Hi".into(), logprobs: Some(Json(object.into())) };
    let events = stream(false, &[hi, finish(FinishReason::Stop)]);
    let token = json!({"token": "Hi", "bytes": [72, 105], "logprob": -0.5});
    let mut entry = token.clone();
    entry["top_logprobs"] = json!([token]);
    assert_eq!(events[4]["logprobs"], json!([entry]));
    assert_eq!(events[6]["part"]["logprobs"], json!([entry]));
}

#[test]
fn what_is_too_large_is_not_kept_and_says_so() {
    let mut stream = ResponseStream::new(&Head::example(), echo(false), Some(100));
    let finished = stream.end(&bill(), &mut Vec::new());
    assert!(!finished.stored && finished.text.contains("\"store\":false"));
}

#[test]
fn a_call_of_a_tool_in_a_namespace_says_both_apart() {
    let named = ("team".to_owned(), "add".to_owned());
    let echo = Echo { namespaces: [("team__add".to_owned(), named)].into(), ..Echo::default() };
    let mut stream = ResponseStream::new(&Head::example(), echo, None);
    let (id, name) = (Some("call_1".to_owned()), Some("team__add".to_owned()));
    let delta = ToolCallDelta { index: 0, id, name, arguments: "{}".into(), custom: false };
    let mut out = Vec::new();
    stream.write(&Event::ToolCall { choice: 0, delta }, &mut out);
    let added = &read(out)[0]["item"];
    assert_eq!((&added["namespace"], &added["name"]), (&json!("team"), &json!("add")));
}

#[test]
fn what_fails_before_there_is_a_response_is_an_error_event() {
    let error = json!({"error": {"type": "server_error", "code": "overloaded", "message": "full", "param": null}});
    let events = read(error_event(0, &error).to_vec());
    assert_eq!(
        (&events[0]["type"], &events[0]["code"], &events[0]["message"]),
        (&json!("error"), &json!("overloaded"), &json!("full"))
    );
    // Once more as an object, as OpenAI's service and the Open Responses specification have it.
    assert_eq!(events[0]["error"], error["error"]);
}

#[test]
fn one_that_is_announced_is_queued_until_somebody_answers() {
    let asked = Head { backend: weighbridge_backend::BackendId::new("auto"), created: 5, ..Head::example() };
    let mut stream = ResponseStream::new(&asked, echo(false), Some(1 << 20));
    let mut out = Vec::new();
    let queued: Value = serde_json::from_str(&stream.queue(&mut out)).expect("it is JSON");
    stream.answered_by(&Head::example());
    stream.begin(&mut out);
    [text("Hi"), finish(FinishReason::Stop)].iter().for_each(|event| stream.write(event, &mut out));
    stream.end(&bill(), &mut out);
    let events = read(out);
    assert_eq!(kinds(&events)[..4], ["created", "queued", "in_progress", "output_item.added"]);
    assert_eq!((&queued["status"], &queued["output"], &queued["store"]), (&json!("queued"), &json!([]), &json!(true)));
    assert_eq!((&events[0]["response"], &events[1]["response"]), (&queued, &queued));
    let last = &events[events.len() - 1]["response"];
    assert_eq!((&queued["model"], &last["model"]), (&json!("auto"), &json!("demo")));
    assert_eq!((&queued["created_at"], &last["created_at"]), (&json!(5), &json!(5)));
}

#[test]
fn one_that_nobody_answered_names_no_backend() {
    let mut stream = ResponseStream::new(&Head::example(), echo(false), Some(1 << 20));
    let mut out = Vec::new();
    stream.queue(&mut out);
    let error = json!({"error": {"message": "full", "type": "server_error", "param": null, "code": "overloaded"}});
    assert!(stream.fail(&error, &mut out).stored);
    let events = read(out);
    assert_eq!(kinds(&events), ["created", "queued", "failed"]);
    assert_eq!(events[2]["weighbridge"], json!({"backend": null, "code": "overloaded"}));
}

#[test]
fn what_was_kept_as_queued_is_said_again_in_another_state() {
    let kept = r#"{"id":"resp_1","status":"queued","error":null,"metadata":{"status":"queued"}}"#;
    let said = |how| serde_json::from_str::<Value>(&restated(kept, &how)).expect("it is JSON");
    let with = |status: &str, error: Value| json!({"id": "resp_1", "status": status, "error": error, "metadata": {"status": "queued"}});
    assert_eq!(said(Restated::InProgress), with("in_progress", Value::Null));
    assert_eq!(said(Restated::Cancelled), with("cancelled", Value::Null));
    assert_eq!(said(Restated::Failed("why")), with("failed", json!({"code": "server_error", "message": "why"})));
}
