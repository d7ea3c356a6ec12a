//! An answer as server-sent events: `chat.completion.chunk` objects, each written straight into bytes,
//! since one is made for every token.

use std::io::Write;

use bytes::Bytes;
use serde_json::{Value, json};
use weighbridge_backend::{Event, FinishReason, Usage};

use super::{UsageIn, usage_json};
use crate::surface::Head;

/// The end of a stream.
const DONE: &[u8] = b"data: [DONE]\n\n";

/// Writes the chunks of one answer.
///
/// The last chunk carries a `weighbridge` object: where the usage is wanted that is its chunk, else
/// the finish chunk of the choice that ends last, which is therefore held back until the usage is known.
pub(crate) struct ChatStream {
    /// `data: {"id":…,"object":…,"created":…,"model":…,"choices":[` — alike in all chunks.
    prefix: Vec<u8>,
    usage_in: UsageIn,
    /// What was used by the event that is written.
    so_far: Usage,
    started: Vec<bool>,
    held_finish: Option<(u32, FinishReason)>,
}

impl ChatStream {
    pub(crate) fn new(head: &Head, choices: u32, usage_in: UsageIn) -> Self {
        let mut fields = json!({
            "id": format!("chatcmpl-{}", head.bare_id()), "object": "chat.completion.chunk", "created": head.created,
            "model": head.backend.as_str(), "service_tier": "default",
        });
        // OpenAI's description has no null for it.
        if let Some(fingerprint) = &head.fingerprint {
            fields["system_fingerprint"] = fingerprint.as_str().into();
        }
        let fields = fields.to_string();
        let fields = fields.trim_end_matches('}');
        Self {
            prefix: format!("data: {fields},\"choices\":[").into_bytes(),
            usage_in,
            so_far: Usage::default(),
            started: vec![false; choices as usize],
            held_finish: None,
        }
    }

    /// Appends the chunks of one event, by which so much was used. An event of a choice that was not asked for is
    /// dropped.
    pub(crate) fn write(&mut self, event: &Event, so_far: &Usage, out: &mut Vec<u8>) {
        self.so_far = *so_far;
        match event {
            Event::Text { choice, text, logprobs } => {
                self.delta(out, *choice, "content", text, logprobs.as_ref().map(|json| &*json.0));
            }
            Event::Reasoning { choice, text } => self.delta(out, *choice, "reasoning_content", text, None),
            Event::Refusal { choice, text } => self.delta(out, *choice, "refusal", text, None),
            Event::ToolCall { choice, delta } => {
                let (kind, text) = if delta.custom { ("custom", "input") } else { ("function", "arguments") };
                let mut call = json!({"index": delta.index});
                if let Some(id) = &delta.id {
                    call["id"] = id.as_str().into();
                    call["type"] = kind.into();
                }
                call[kind] = json!({text: delta.arguments});
                if let Some(name) = &delta.name {
                    call[kind] = json!({"name": name, text: delta.arguments});
                }
                if self.start(out, *choice) {
                    self.chunk(out, &json!({"index": choice, "delta": {"tool_calls": [call]}, "logprobs": null, "finish_reason": null}));
                }
            }
            Event::Finish { choice, reason, .. } => {
                if self.start(out, *choice)
                    && let Some(held) = self.held_finish.replace((*choice, *reason))
                {
                    self.chunk(out, &finish(held));
                }
            }
            Event::Usage(_) => {}
        }
    }

    /// Appends the last chunk and the end of the stream. `about` is the `weighbridge` object.
    pub(crate) fn end(&mut self, usage: &Usage, about: Value, out: &mut Vec<u8>) {
        let held = self.held_finish.take().map(finish);
        if self.usage_in != UsageIn::None {
            self.so_far = *usage;
            if let Some(held) = held {
                self.chunk(out, &held);
            }
            out.extend_from_slice(&self.prefix);
            write_json(out, format_args!("],\"usage\":{},\"weighbridge\":{about}}}\n\n", usage_json(usage)));
        } else {
            out.extend_from_slice(&self.prefix);
            let held = held.map(|choice| choice.to_string()).unwrap_or_default();
            write_json(out, format_args!("{held}],\"weighbridge\":{about}}}\n\n"));
        }
        out.extend_from_slice(DONE);
    }

    /// A chunk with one text field in its delta: the path of every token.
    fn delta(&mut self, out: &mut Vec<u8>, choice: u32, field: &str, text: &str, logprobs: Option<&str>) {
        if !self.start(out, choice) {
            return;
        }
        out.extend_from_slice(&self.prefix);
        write_json(out, format_args!("{{\"index\":{choice},\"delta\":{{\"{field}\":"));
        serde_json::to_writer(&mut *out, text).expect("a string is JSON, and a vector takes all bytes");
        let logprobs = logprobs.unwrap_or("null");
        write_json(out, format_args!("}},\"logprobs\":{logprobs},\"finish_reason\":null}}"));
        self.close(out);
    }

    /// Writes the chunk that opens a choice, once; false for a choice that was not asked for.
    fn start(&mut self, out: &mut Vec<u8>, choice: u32) -> bool {
        let Some(started) = self.started.get_mut(choice as usize) else { return false };
        if !std::mem::replace(started, true) {
            let delta = json!({"role": "assistant", "content": "", "refusal": null});
            self.chunk(out, &json!({"index": choice, "delta": delta, "logprobs": null, "finish_reason": null}));
        }
        true
    }

    /// What closes a chunk.
    fn close(&self, out: &mut Vec<u8>) {
        match self.usage_in {
            UsageIn::None => out.extend_from_slice(b"]}\n\n"),
            UsageIn::Last => out.extend_from_slice(b"],\"usage\":null}\n\n"),
            UsageIn::Every => write_json(out, format_args!("],\"usage\":{}}}\n\n", usage_json(&self.so_far))),
        }
    }

    fn chunk(&self, out: &mut Vec<u8>, choice: &Value) {
        out.extend_from_slice(&self.prefix);
        write_json(out, format_args!("{choice}"));
        self.close(out);
    }
}

fn finish((choice, reason): (u32, FinishReason)) -> Value {
    json!({"index": choice, "delta": {}, "logprobs": null, "finish_reason": reason.as_str()})
}

fn write_json(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("a vector takes all bytes");
}

/// An error inside an open stream: its last event.
pub(crate) fn error_event(error: &Value) -> Bytes {
    Bytes::from(format!("data: {error}\n\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(usage_in: UsageIn, choices: u32, events: &[Event]) -> Vec<Value> {
        let mut stream = ChatStream::new(&Head::example(), choices, usage_in);
        let mut out = Vec::new();
        for (tokens, event) in (1..).zip(events) {
            stream.write(event, &Usage { completion_tokens: tokens, ..Usage::default() }, &mut out);
        }
        stream.end(
            &Usage { prompt_tokens: 9, completion_tokens: 2, ..Usage::default() },
            json!({"backend": "demo"}),
            &mut out,
        );
        let text = String::from_utf8(out).expect("chunks are text");
        let mut chunks: Vec<&str> = text.split_terminator("\n\n").map(|event| &event["data: ".len()..]).collect();
        assert_eq!(chunks.pop(), Some("[DONE]"));
        chunks.into_iter().map(|chunk| serde_json::from_str(chunk).expect(chunk)).collect()
    }

    fn text(choice: u32, text: &str) -> Event {
        Event::Text { choice, text: text.into(), logprobs: None }
    }

    fn end(choice: u32) -> Event {
        Event::Finish { choice, reason: FinishReason::Stop, matched: None }
    }

    #[test]
    fn a_stream_opens_speaks_and_finishes() {
        let chunks = stream(UsageIn::None, 1, &[text(0, "\"Hi\"\n"), end(0)]);
        assert_eq!(chunks[0]["choices"][0]["delta"], json!({"role": "assistant", "content": "", "refusal": null}));
        assert_eq!(chunks[1]["choices"][0]["delta"]["content"], "\"Hi\"\n");
        assert_eq!(chunks[2]["choices"][0]["finish_reason"], "stop");
        assert_eq!(chunks[2]["weighbridge"]["backend"], "demo");
        assert!(chunks.len() == 3 && chunks.iter().all(|chunk| chunk.get("usage").is_none()));
    }

    #[test]
    fn usage_comes_in_a_chunk_of_its_own_when_asked_for() {
        let chunks = stream(UsageIn::Last, 1, &[text(0, "Hi"), end(0)]);
        let last = chunks.last().expect("there are chunks");
        assert_eq!((&last["choices"], &last["usage"]["total_tokens"]), (&json!([]), &json!(11)));
        assert_eq!(last["weighbridge"]["backend"], "demo");
        assert!(chunks[..chunks.len() - 1].iter().all(|chunk| chunk["usage"].is_null()));
    }

    #[test]
    fn usage_so_far_comes_in_every_chunk_when_asked_for() {
        let chunks = stream(UsageIn::Every, 1, &[text(0, "Hi"), text(0, "!"), end(0)]);
        let told: Vec<_> = chunks.iter().map(|chunk| &chunk["usage"]["completion_tokens"]).collect();
        // The first event opens the choice with a chunk of its own; the end is held back until all is known.
        assert_eq!(told, [1, 1, 2, 2, 2]);
    }

    #[test]
    fn choices_interleave_and_each_finishes() {
        let chunks =
            stream(UsageIn::None, 2, &[text(1, "b"), text(0, "a"), end(1), text(0, "a"), end(0), text(2, "stray")]);
        let finished: Vec<_> = chunks.iter().filter(|chunk| !chunk["choices"][0]["finish_reason"].is_null()).collect();
        assert_eq!(finished.len(), 2);
        assert!(finished[0].get("weighbridge").is_none() && finished[1].get("weighbridge").is_some());
    }
}
