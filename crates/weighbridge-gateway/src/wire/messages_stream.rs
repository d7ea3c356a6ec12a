//! An answer as Anthropic's server-sent events. Blocks follow each other and never interleave: what comes of another
//! block while a call is being written waits until the call is whole.

use std::io::Write;

use serde::de::IgnoredAny;
use serde_json::{Value, json};
use weighbridge_backend::{Event, ToolCallDelta, Usage};

use super::messages_answer::{End, OWN_SIGNATURE, call_id, empty_message, final_usage_json};
use crate::surface::Head;

/// Keeps a silent stream open, as Anthropic's own do.
pub(crate) const PING: &[u8] = b"event: ping\ndata: {\"type\":\"ping\"}\n\n";

/// Writes the events of one answer.
pub(crate) struct MessagesStream {
    /// The block under way.
    open: Option<Kind>,
    /// The arguments of the call under way, so far.
    arguments: String,
    /// The index of the block under way, or of the next one.
    index: u32,
    /// The calls that were closed.
    closed: Vec<u32>,
    /// What waits for the call under way.
    waiting: Vec<Waiting>,
    end: End,
    shows_thinking: bool,
    has_pinged: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Thinking,
    Call(u32),
}

struct Waiting {
    kind: Kind,
    id: Option<String>,
    name: Option<String>,
    text: String,
}

impl MessagesStream {
    /// Begins a stream.
    pub(crate) fn open(head: &Head, shows_thinking: bool, out: &mut Vec<u8>) -> Self {
        event(out, "message_start", &json!({"type": "message_start", "message": empty_message(head)}));
        Self {
            open: None,
            arguments: String::new(),
            index: 0,
            closed: Vec::new(),
            waiting: Vec::new(),
            end: End::default(),
            shows_thinking,
            has_pinged: false,
        }
    }

    /// Appends what one event comes to.
    pub(crate) fn write(&mut self, event: &Event, out: &mut Vec<u8>) {
        self.end.note(event);
        match event {
            Event::Text { choice: 0, text, .. } | Event::Refusal { choice: 0, text } => self.say(Kind::Text, text, out),
            Event::Reasoning { choice: 0, text } => self.say(Kind::Thinking, text, out),
            Event::ToolCall { choice: 0, delta } => self.call(delta, out),
            Event::Finish { choice: 0, .. } => self.close_all(out),
            _ => {}
        }
    }

    /// Ends the stream. `about` is the `weighbridge` object of its last event but one.
    pub(crate) fn end(&mut self, usage: &Usage, about: &Value, out: &mut Vec<u8>) {
        self.close_all(out);
        let delta = json!({
            "type": "message_delta", "delta": self.end.json(), "usage": final_usage_json(usage), "weighbridge": about,
        });
        event(out, "message_delta", &delta);
        event(out, "message_stop", &json!({"type": "message_stop"}));
    }

    fn say(&mut self, kind: Kind, text: &str, out: &mut Vec<u8>) {
        if text.is_empty() {
            return;
        }
        if !self.turns_to(kind, out) {
            return self.wait(kind, None, None, text);
        }
        if self.open.is_none() {
            self.start(kind, None, None, out);
        }
        self.delta(kind, text, out);
    }

    fn call(&mut self, delta: &ToolCallDelta, out: &mut Vec<u8>) {
        let kind = Kind::Call(delta.index);
        let (id, name) = (delta.id.as_deref(), delta.name.as_deref());
        if self.closed.contains(&delta.index) {
            return; // Its object was whole: nothing that follows belongs to it.
        }
        if !self.turns_to(kind, out) || self.waiting.iter().any(|waiting| waiting.kind == kind) {
            return self.wait(kind, id, name, &delta.arguments);
        }
        if self.open.is_none() {
            self.start(kind, id, name, out);
        }
        self.delta(kind, &delta.arguments, out);
    }

    /// Whether what comes next may be of `kind`: it is under way, or what was is closed now.
    fn turns_to(&mut self, kind: Kind, out: &mut Vec<u8>) -> bool {
        if self.open == Some(kind) {
            return true;
        }
        let is_whole = match self.open {
            // A whole object cannot grow any more.
            Some(Kind::Call(_)) => self.is_object(),
            _ => true,
        };
        if is_whole && self.waiting.is_empty() {
            self.close(out);
        }
        is_whole && self.open.is_none()
    }

    /// Whether the arguments of the call under way are a whole object.
    fn is_object(&self) -> bool {
        self.arguments.trim_start().starts_with('{') && serde_json::from_str::<IgnoredAny>(&self.arguments).is_ok()
    }

    fn wait(&mut self, kind: Kind, id: Option<&str>, name: Option<&str>, text: &str) {
        // A call is one block, however its pieces come; texts are joined where they follow each other.
        let is_it = |waiting: &Waiting| waiting.kind == kind;
        let place = match kind {
            Kind::Call(_) => self.waiting.iter().position(is_it),
            _ => self.waiting.len().checked_sub(1).filter(|&last| is_it(&self.waiting[last])),
        };
        match place.and_then(|place| self.waiting.get_mut(place)) {
            Some(waiting) => waiting.text.push_str(text),
            None => {
                let (id, name) = (id.map(str::to_owned), name.map(str::to_owned));
                self.waiting.push(Waiting { kind, id, name, text: text.to_owned() });
            }
        }
    }

    fn close_all(&mut self, out: &mut Vec<u8>) {
        self.close(out);
        for Waiting { kind, id, name, text } in std::mem::take(&mut self.waiting) {
            self.start(kind, id.as_deref(), name.as_deref(), out);
            self.delta(kind, &text, out);
            self.close(out);
        }
    }

    fn start(&mut self, kind: Kind, id: Option<&str>, name: Option<&str>, out: &mut Vec<u8>) {
        let block = match kind {
            Kind::Text => json!({"type": "text", "text": ""}),
            Kind::Thinking => json!({"type": "thinking", "thinking": "", "signature": ""}),
            Kind::Call(index) => {
                let id = id.map_or_else(|| call_id(index), str::to_owned);
                json!({"type": "tool_use", "id": id, "name": name.unwrap_or_default(), "input": {}})
            }
        };
        let start = json!({"type": "content_block_start", "index": self.index, "content_block": block});
        event(out, "content_block_start", &start);
        self.open = Some(kind);
        if !std::mem::replace(&mut self.has_pinged, true) {
            out.extend_from_slice(PING);
        }
    }

    /// A piece of the block under way: the path of every token.
    fn delta(&mut self, kind: Kind, text: &str, out: &mut Vec<u8>) {
        let (delta, field) = match kind {
            Kind::Text => ("text_delta", "text"),
            Kind::Thinking if !self.shows_thinking => return,
            Kind::Thinking => ("thinking_delta", "thinking"),
            Kind::Call(_) if text.is_empty() => return,
            Kind::Call(_) => {
                self.arguments.push_str(text);
                ("input_json_delta", "partial_json")
            }
        };
        let index = self.index;
        write_json(
            out,
            format_args!(
                "event: content_block_delta\ndata: {{\"type\":\"content_block_delta\",\"index\":{index},\"delta\":{{\"type\":\"{delta}\",\"{field}\":"
            ),
        );
        serde_json::to_writer(&mut *out, text).expect("a string is JSON, and a vector takes all bytes");
        out.extend_from_slice(b"}}\n\n");
    }

    fn close(&mut self, out: &mut Vec<u8>) {
        let Some(kind) = self.open.take() else { return };
        let index = self.index;
        if kind == Kind::Thinking {
            let delta = json!({"type": "signature_delta", "signature": OWN_SIGNATURE});
            event(out, "content_block_delta", &json!({"type": "content_block_delta", "index": index, "delta": delta}));
        }
        event(out, "content_block_stop", &json!({"type": "content_block_stop", "index": index}));
        if let Kind::Call(call) = kind {
            self.closed.push(call);
            if !self.arguments.trim().is_empty() && !self.is_object() {
                self.end.note_broken_call();
            }
        }
        self.index += 1;
        self.arguments.clear();
    }
}

/// Appends an event with its name, without which the official clients pass it over.
pub(crate) fn event(out: &mut Vec<u8>, name: &str, data: &Value) {
    write_json(out, format_args!("event: {name}\ndata: {data}\n\n"));
}

fn write_json(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("a vector takes all bytes");
}

#[cfg(test)]
mod tests;
