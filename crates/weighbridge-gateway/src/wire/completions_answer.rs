//! Text completions out: a whole `text_completion`, or chunks of it as server-sent events.

use serde::Deserialize;
use serde_json::{Map, Value, json};
use weighbridge_backend::{Event, FinishReason, Json, Usage};

use super::{UsageIn, usage_json};
use crate::surface::Head;

/// Log-probabilities in the form of completions, made of the form that chat has.
#[derive(Default)]
struct Logprobs {
    tokens: Vec<Value>,
    token_logprobs: Vec<Value>,
    top_logprobs: Vec<Value>,
    text_offset: Vec<usize>,
}

#[derive(Deserialize)]
struct ChatLogprobs {
    #[serde(default)]
    content: Vec<ChatLogprob>,
}

#[derive(Deserialize)]
struct ChatLogprob {
    token: String,
    /// None for the first token of a prompt.
    logprob: Option<f64>,
    #[serde(default)]
    top_logprobs: Vec<Likely>,
}

#[derive(Deserialize)]
struct Likely {
    token: String,
    logprob: f64,
}

impl Logprobs {
    /// Appends the tokens of one event. `offset` counts the characters before them, and these with them.
    fn extend(&mut self, chat: &Json, offset: &mut usize) {
        let Ok(ChatLogprobs { content }) = serde_json::from_str(&chat.0) else { return };
        for ChatLogprob { token, logprob, top_logprobs } in content {
            let mut likeliest = Map::new();
            likeliest.extend(top_logprobs.into_iter().map(|likely| (likely.token, likely.logprob.into())));
            if let Some(logprob) = logprob {
                // The token that was drawn is told also where it is none of the likeliest.
                likeliest.entry(token.clone()).or_insert_with(|| logprob.into());
            }
            self.text_offset.push(*offset);
            *offset += token.chars().count();
            self.tokens.push(token.into());
            self.token_logprobs.push(logprob.map_or(Value::Null, Value::from));
            self.top_logprobs.push(if logprob.is_some() { likeliest.into() } else { Value::Null });
        }
    }

    fn into_json(self) -> Value {
        if self.tokens.is_empty() {
            return Value::Null;
        }
        let Self { tokens, token_logprobs, top_logprobs, text_offset } = self;
        json!({
            "tokens": tokens, "token_logprobs": token_logprobs, "top_logprobs": top_logprobs,
            "text_offset": text_offset,
        })
    }
}

/// The text that an event adds to a choice.
fn text_of(event: &Event) -> Option<(u32, &str, Option<&Json>)> {
    match event {
        Event::Text { choice, text, logprobs } => Some((*choice, text, logprobs.as_ref())),
        // A bare prompt has no roles and no thoughts: all is text.
        Event::Reasoning { choice, text } | Event::Refusal { choice, text } => Some((*choice, text, None)),
        _ => None,
    }
}

/// Gathers the events of an answer.
pub(crate) struct CompletionAnswer(Vec<Choice>);

#[derive(Default)]
struct Choice {
    text: String,
    logprobs: Logprobs,
    offset: usize,
    finish: Option<FinishReason>,
}

impl CompletionAnswer {
    /// An answer of so many choices.
    pub(crate) fn new(choices: u32) -> Self {
        Self((0..choices).map(|_| Choice::default()).collect())
    }

    /// Takes the next event. One of a choice that was not asked for is dropped.
    pub(crate) fn push(&mut self, event: &Event) {
        if let Some((index, text, logprobs)) = text_of(event)
            && let Some(choice) = self.0.get_mut(index as usize)
        {
            choice.text.push_str(text);
            if let Some(logprobs) = logprobs {
                choice.logprobs.extend(logprobs, &mut choice.offset);
            }
        }
        if let Event::Finish { choice, reason, .. } = event
            && let Some(choice) = self.0.get_mut(*choice as usize)
        {
            choice.finish = Some(*reason);
        }
    }

    /// The body.
    pub(crate) fn into_json(self, head: &Head, usage: &Usage) -> Value {
        let choice = |(index, choice): (usize, Choice)| {
            let finish = choice.finish.unwrap_or(FinishReason::Stop);
            json!({
                "index": index, "text": choice.text, "logprobs": choice.logprobs.into_json(),
                "finish_reason": finish.as_str(),
            })
        };
        let choices: Vec<Value> = self.0.into_iter().enumerate().map(choice).collect();
        let mut body = about(head);
        body["choices"] = choices.into();
        body["usage"] = usage_json(usage);
        body
    }
}

fn about(head: &Head) -> Value {
    json!({
        "id": format!("cmpl-{}", head.bare_id()), "object": "text_completion", "created": head.created,
        "model": head.backend.as_str(), "system_fingerprint": head.fingerprint,
    })
}

/// Writes the chunks of an answer.
///
/// As in chat, the last chunk carries a `weighbridge` object: the chunk of usage, else the end of the choice that ends
/// last, which is held back until the usage is known.
pub(crate) struct CompletionStream {
    about: Value,
    usage_in: UsageIn,
    /// What was used by the event that is written.
    so_far: Usage,
    /// Characters said, by choice.
    offsets: Vec<usize>,
    held: Option<Value>,
}

impl CompletionStream {
    /// Begins a stream of so many choices.
    pub(crate) fn new(head: &Head, choices: u32, usage_in: UsageIn) -> Self {
        let (offsets, so_far) = (vec![0; choices as usize], Usage::default());
        Self { about: about(head), usage_in, so_far, offsets, held: None }
    }

    /// Appends the chunks of one event, by which so much was used. An event of a choice that was not asked for is
    /// dropped.
    pub(crate) fn write(&mut self, event: &Event, so_far: &Usage, out: &mut Vec<u8>) {
        self.so_far = *so_far;
        if let Some((index, text, logprobs)) = text_of(event) {
            let Some(offset) = self.offsets.get_mut(index as usize) else { return };
            let mut told = Logprobs::default();
            if let Some(logprobs) = logprobs {
                told.extend(logprobs, offset);
            }
            let choice = json!({"index": index, "text": text, "logprobs": told.into_json(), "finish_reason": null});
            self.chunk(json!([choice]), None, out);
        }
        if let Event::Finish { choice, reason, .. } = event
            && (*choice as usize) < self.offsets.len()
        {
            let end = json!({"index": choice, "text": "", "logprobs": null, "finish_reason": reason.as_str()});
            if let Some(held) = self.held.replace(json!([end])) {
                self.chunk(held, None, out);
            }
        }
    }

    /// Appends the last chunk and the end of the stream. `weighbridge` is the object of that name.
    pub(crate) fn end(&mut self, usage: &Usage, weighbridge: &Value, out: &mut Vec<u8>) {
        let held = self.held.take().unwrap_or_else(|| json!([]));
        self.so_far = *usage;
        if self.usage_in != UsageIn::None {
            self.chunk(held, None, out);
            self.chunk(json!([]), Some((Some(usage), weighbridge)), out);
        } else {
            self.chunk(held, Some((None, weighbridge)), out);
        }
        out.extend_from_slice(b"data: [DONE]\n\n");
    }

    fn chunk(&self, choices: Value, last: Option<(Option<&Usage>, &Value)>, out: &mut Vec<u8>) {
        let mut chunk = self.about.clone();
        chunk["choices"] = choices;
        let told = last.and_then(|(usage, _)| usage).or((self.usage_in == UsageIn::Every).then_some(&self.so_far));
        if self.usage_in != UsageIn::None {
            chunk["usage"] = told.map_or(Value::Null, usage_json);
        }
        if let Some((_, weighbridge)) = last {
            chunk["weighbridge"] = weighbridge.clone();
        }
        out.extend_from_slice(format!("data: {chunk}\n\n").as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(choice: u32, text: &str, logprobs: Option<Value>) -> Event {
        let logprobs = logprobs.map(|logprobs| Json(logprobs.to_string().into()));
        Event::Text { choice, text: text.into(), logprobs }
    }

    fn finish(choice: u32) -> Event {
        Event::Finish { choice, reason: FinishReason::Length, matched: None }
    }

    const USAGE: Usage =
        Usage { prompt_tokens: 3, cached_tokens: 0, completion_tokens: 2, reasoning_tokens: 0, estimated: false };

    fn whole(choices: u32, events: &[Event]) -> Value {
        let mut answer = CompletionAnswer::new(choices);
        events.iter().for_each(|event| answer.push(event));
        answer.into_json(&Head::example(), &USAGE)
    }

    fn chunks(choices: u32, usage_in: UsageIn, events: &[Event]) -> Vec<Value> {
        let mut stream = CompletionStream::new(&Head::example(), choices, usage_in);
        let mut out = Vec::new();
        events.iter().for_each(|event| stream.write(event, &USAGE, &mut out));
        stream.end(&USAGE, &json!({"backend": "demo"}), &mut out);
        let text = String::from_utf8(out).expect("chunks are text");
        let mut chunks: Vec<&str> = text.split_terminator("\n\n").map(|event| &event["data: ".len()..]).collect();
        assert_eq!(chunks.pop(), Some("[DONE]"));
        chunks.into_iter().map(|chunk| serde_json::from_str(chunk).expect(chunk)).collect()
    }

    #[test]
    fn choices_are_gathered_by_their_index() {
        let body =
            whole(2, &[text(1, "b", None), text(0, "a", None), text(1, "c", None), finish(0), text(7, "x", None)]);
        assert_eq!((&body["id"], &body["object"]), (&json!("cmpl-ab"), &json!("text_completion")));
        let choice =
            |index, text, finish| json!({"index": index, "text": text, "logprobs": null, "finish_reason": finish});
        assert_eq!(body["choices"], json!([choice(0, "a", "length"), choice(1, "bc", "stop")]));
        assert_eq!(body["usage"]["total_tokens"], 5);
    }

    #[test]
    fn logprobs_take_the_form_of_completions() {
        let echoed = json!({"content": [{"token": "Ö", "logprob": null, "top_logprobs": []}]});
        let likely = json!([{"token": "a", "logprob": -0.5}]);
        let drawn = json!({"content": [
            {"token": "b", "logprob": -1.5, "bytes": [98], "top_logprobs": likely},
            {"token": "a", "logprob": -0.5, "top_logprobs": likely}
        ]});
        let events = [text(0, "Ö", Some(echoed)), text(0, "ba", Some(drawn)), finish(0)];
        let expected = json!({
            "tokens": ["Ö", "b", "a"], "token_logprobs": [null, -1.5, -0.5],
            "top_logprobs": [null, {"a": -0.5, "b": -1.5}, {"a": -0.5}], "text_offset": [0, 1, 2],
        });
        assert_eq!(whole(1, &events)["choices"][0]["logprobs"], expected);
        let chunks = chunks(1, UsageIn::None, &events);
        assert_eq!(chunks[1]["choices"][0]["logprobs"]["text_offset"], json!([1, 2]));
    }

    #[test]
    fn a_stream_ends_with_what_it_cost() {
        let events = [text(0, "a", None), finish(0), text(1, "b", None), finish(1)];
        let plain = chunks(2, UsageIn::None, &events);
        let ends: Vec<&Value> = plain.iter().filter(|chunk| !chunk["choices"][0]["finish_reason"].is_null()).collect();
        assert_eq!((ends.len(), &ends[1]["weighbridge"]["backend"]), (2, &json!("demo")));
        assert!(ends[0].get("weighbridge").is_none() && plain.iter().all(|chunk| chunk.get("usage").is_none()));
        let counted = chunks(2, UsageIn::Last, &events);
        let (last, others) = counted.split_last().expect("there are chunks");
        assert_eq!((&last["choices"], &last["usage"]["completion_tokens"]), (&json!([]), &json!(2)));
        assert!(others.iter().all(|chunk| chunk["usage"].is_null() && chunk.get("usage").is_some()));
        let always = chunks(2, UsageIn::Every, &events);
        assert!(always.iter().all(|chunk| chunk["usage"]["completion_tokens"] == 2));
    }
}
