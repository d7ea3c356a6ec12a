use std::error::Error;
use std::path::Path;
use std::sync::Arc;

use futures_util::StreamExt;
use serde_json::{Value, json};
use weighbridge_backend::{BackendId, Json, Meter, Request, Tool, ToolCallDelta, ToolKind, Usage};
use weighbridge_dialogue::{ReasoningFormat, ToolFormat, ToolSchemas};
use weighbridge_models::{Checkpoint, Tokenizer};

use super::*;
use crate::formats::{Formats, answer_format};
use crate::local::tests::ask;
use crate::options::ModelOptions;

/// Special tokens of Command R7B, which the demo model's vocabulary gets for these tests.
const SPECIAL: [&str; 6] = [
    "<|START_THINKING|>",
    "<|END_THINKING|>",
    "<|START_ACTION|>",
    "<|END_ACTION|>",
    "<|START_RESPONSE|>",
    "<|END_RESPONSE|>",
];

fn demo() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../models/demo"))
}

fn tokenizer(name: &str) -> Result<Tokenizer, Box<dyn Error>> {
    let mut file: Value = serde_json::from_str(&std::fs::read_to_string(demo().join("tokenizer.json"))?)?;
    let first = Checkpoint::open(demo())?.tokenizer()?.size();
    let added = file["added_tokens"].as_array_mut().ok_or("the demo model has added tokens")?;
    added.extend(SPECIAL.iter().zip(first..).map(|(content, id)| {
        json!({"id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": true})
    }));
    let path = std::env::temp_dir().join(format!("weighbridge-text-{name}-{}.json", std::process::id()));
    std::fs::write(&path, file.to_string())?;
    let tokenizer = Tokenizer::open(&path);
    std::fs::remove_file(&path)?;
    Ok(tokenizer?)
}

fn now() -> Tool {
    let definition = r#"{"type":"function","function":{"name":"now","parameters":{"type":"object"}}}"#;
    Tool { definition: Json(definition.into()), name: "now".into(), kind: ToolKind::Function, strict: false }
}

/// The events of an answer that is this text, its special tokens written out, and that ends by itself.
async fn events(name: &str, request: Request, answer: &str) -> Result<(Vec<Event>, Usage), Box<dyn Error>> {
    let tokenizer = tokenizer(name)?;
    let options = ModelOptions {
        tool_format: Some(ToolFormat::Command),
        reasoning_format: Some(ReasoningFormat::Command),
        ..ModelOptions::new(BackendId::new("demo"), Checkpoint::open(demo())?)
    };
    let formats = Formats::new(answer_format(&options, None), &tokenizer);
    let tools = ToolSchemas::new(&request.tools);
    let reader = formats.reader(&request, &tools, false, "seed", &tokenizer);
    let stop = StopTexts::new(&request.sampling.stop);
    let mut text = AnswerText::new(0, reader, stop, CustomCalls::new(&request.tools));
    let (reply, events) = Reply::new(1, Meter::default(), Arc::default());
    let token = |id| Token { id, entry: None, may_stop: true };
    let matched = tokenizer.encode(answer)?.into_iter().find_map(|id| text.push(token(id), &reply));
    let ending = text.finish(Ending { reason: FinishReason::Stop, matched: matched.clone() }, &reply);
    assert_eq!(ending.matched, matched);
    reply.finish(0, ending.reason, None);
    let mut events = events.map(|event| event.map_err(|failure| failure.to_string())).collect::<Vec<_>>().await;
    let Some(Ok(Event::Usage(usage))) = events.pop() else { return Err("usage comes last".into()) };
    Ok((joined(events.into_iter().collect::<Result<_, _>>()?), usage))
}

/// Events with neighbours of a kind as one, as a reader joins them.
fn joined(events: Vec<Event>) -> Vec<Event> {
    let mut joined: Vec<Event> = Vec::new();
    for event in events {
        match (joined.last_mut(), event) {
            (Some(Event::Text { text, .. }), Event::Text { text: more, .. })
            | (Some(Event::Reasoning { text, .. }), Event::Reasoning { text: more, .. }) => text.push_str(&more),
            (Some(Event::ToolCall { delta, .. }), Event::ToolCall { delta: more, .. }) if more.name.is_none() => {
                delta.arguments.push_str(&more.arguments);
            }
            (_, event) => joined.push(event),
        }
    }
    joined
}

fn text(text: &str) -> Event {
    Event::Text { choice: 0, text: text.into(), logprobs: None }
}

fn reasoning(text: &str) -> Event {
    Event::Reasoning { choice: 0, text: text.into() }
}

fn finish(reason: FinishReason) -> Event {
    Event::Finish { choice: 0, reason, matched: None }
}

const CALLS: &str = "<|START_THINKING|>Well.<|END_THINKING|><|START_ACTION|>[\n    {\"tool_name\": \"now\", \
                     \"parameters\": {\"a\": 1}}\n]<|END_ACTION|>";

#[tokio::test]
async fn special_tokens_reach_the_parser_and_not_the_reader() -> Result<(), Box<dyn Error>> {
    let request = Request { tools: vec![now()], ..ask("What time is it?") };
    let (events, usage) = events("calls", request, CALLS).await?;
    let [first, call, last] = &events[..] else { return Err(format!("{events:?}").into()) };
    assert_eq!((first, last), (&reasoning("Well."), &finish(FinishReason::ToolCalls)));
    let Event::ToolCall { delta: ToolCallDelta { index: 0, name, arguments, .. }, .. } = call else {
        return Err(format!("{call:?} is no call").into());
    };
    assert_eq!((name.as_deref(), arguments.as_str()), (Some("now"), "{\"a\": 1}"));
    // The two tokens of the tags, and those of "Well.".
    let thought = tokenizer("count")?.encode("Well.")?.len() as u64;
    assert_eq!(usage.reasoning_tokens, thought + 2);
    Ok(())
}

#[tokio::test]
async fn an_answer_without_tools_keeps_what_looks_like_a_call() -> Result<(), Box<dyn Error>> {
    let (events, _) = events("plain", ask("What time is it?"), CALLS).await?;
    let call = "[\n    {\"tool_name\": \"now\", \"parameters\": {\"a\": 1}}\n]";
    assert_eq!(events, [reasoning("Well."), text(call), finish(FinishReason::Stop)]);
    Ok(())
}

const BROKEN: &str = "<|START_ACTION|>[{\"tool_name\": \"now\", \"parameters\": {\"a\": oops}}]<|END_ACTION|>";

#[tokio::test]
async fn a_call_that_breaks_in_a_stream_is_none_to_wait_for() -> Result<(), Box<dyn Error>> {
    let request = Request { tools: vec![now()], ..ask("What time is it?") };
    let (events, _) = events("broken", request, BROKEN).await?;
    assert!(matches!(&events[0], Event::ToolCall { delta, .. } if delta.arguments == "{\"a\": "), "{events:?}");
    assert_eq!(events[1..], [text("oops}}]"), finish(FinishReason::Stop)]);
    Ok(())
}

#[tokio::test]
async fn a_call_that_breaks_in_a_whole_answer_is_text_and_nothing_of_it_is_lost() -> Result<(), Box<dyn Error>> {
    let request = || Request { tools: vec![now()], stream: false, ..ask("What time is it?") };
    let (alone, _) = events("broken-whole", request(), BROKEN).await?;
    let said = "[{\"tool_name\": \"now\", \"parameters\": {\"a\": oops}}]";
    assert_eq!(alone, [text(said), finish(FinishReason::Stop)]);
    // A good call beside it is one to wait for.
    let (both, _) = events("broken-second", request(), &format!("{CALLS}{BROKEN}")).await?;
    let [reasoning, Event::ToolCall { delta, .. }, rest, end] = &both[..] else {
        return Err(format!("{both:?}").into());
    };
    assert_eq!((reasoning, delta.arguments.as_str()), (&self::reasoning("Well."), "{\"a\": 1}"));
    assert_eq!((rest, end), (&text(said), &finish(FinishReason::ToolCalls)));
    Ok(())
}

#[tokio::test]
async fn a_call_that_a_whole_answer_ends_within_is_text() -> Result<(), Box<dyn Error>> {
    let request = Request { tools: vec![now()], stream: false, ..ask("What time is it?") };
    let cut = "<|START_ACTION|>[{\"tool_name\": \"now\", \"parameters\": {\"a\": 1";
    let (events, _) = events("broken-cut", request, cut).await?;
    assert_eq!(events, [text("[{\"tool_name\": \"now\", \"parameters\": {\"a\": 1"), finish(FinishReason::Stop)]);
    Ok(())
}

#[tokio::test]
async fn stop_texts_end_the_answer_and_no_thought() -> Result<(), Box<dyn Error>> {
    let mut request = ask("Count.");
    request.sampling.stop = vec!["two".into()];
    let answer = "<|START_THINKING|>one two<|END_THINKING|><|START_RESPONSE|>one two three<|END_RESPONSE|>";
    let (events, usage) = events("stop", request, answer).await?;
    assert_eq!(events, [reasoning("one two"), text("one "), finish(FinishReason::Stop)]);
    assert!(usage.reasoning_tokens > 0);
    Ok(())
}
