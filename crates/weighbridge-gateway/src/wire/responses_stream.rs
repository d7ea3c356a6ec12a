//! An answer as a response: its events, and the object that it is in the end.
//!
//! Thoughts, texts and calls are items of their own. Thoughts and texts end where something else begins; calls stay open
//! to the end, since pieces of several may come by turns and none may be lost.

mod items;
mod lines;
mod logprobs;
mod object;

use std::collections::BTreeMap;

use serde::de::IgnoredAny;
use serde_json::{Value, json};
use weighbridge_backend::{Event, FinishReason, Json, ToolCallDelta};

use super::responses_body::{Echo, item_id};
use crate::surface::{Bill, Head};
use items::{Content, Item, Part};
use lines::Lines;
pub(crate) use lines::error_event;
use logprobs::entries;
pub(super) use object::usage_json;
pub(crate) use object::{Restated, restated};
use object::{State, response};

/// Writes the events of one response, and builds it.
pub(crate) struct ResponseStream {
    head: Head,
    echo: Echo,
    /// The most bytes that the response may have to be kept; `None` where it is not to be.
    store: Option<usize>,
    lines: Lines,
    items: Vec<Item>,
    open: Option<Open>,
    /// Which item each call is.
    calls: BTreeMap<u32, usize>,
    finish: Option<FinishReason>,
    /// It has been announced, and nobody answers yet.
    queued: bool,
}

/// The item that thoughts or texts go to.
struct Open {
    item: usize,
    /// Where its deltas stand, as JSON fields: alike for all of them.
    place: String,
}

/// A response that is over.
pub(crate) struct Finished {
    /// Its id.
    pub(crate) id: String,
    /// The object, JSON.
    pub(crate) text: String,
    /// Whether it says that it is kept.
    pub(crate) stored: bool,
}

impl ResponseStream {
    /// A response that begins. Where `store` says so it is kept if it has no more than these bytes.
    pub(crate) fn new(head: &Head, echo: Echo, store: Option<usize>) -> Self {
        Self {
            head: head.clone(),
            echo,
            store,
            lines: Lines::default(),
            items: Vec::new(),
            open: None,
            calls: BTreeMap::new(),
            finish: None,
            queued: false,
        }
    }

    /// Appends the events that announce it before anybody answers, and returns the object, JSON.
    pub(crate) fn queue(&mut self, out: &mut Vec<u8>) -> String {
        self.queued = true;
        let queued = json!({"response": self.response(&State::under_way("queued"))});
        self.lines.event(out, "response.created", &queued);
        self.lines.event(out, "response.queued", &queued);
        queued["response"].to_string()
    }

    /// It is known who answers one that was announced before.
    pub(crate) fn answered_by(&mut self, head: &Head) {
        self.head = Head { created: self.head.created, ..head.clone() };
    }

    /// Appends the events that open it.
    pub(crate) fn begin(&mut self, out: &mut Vec<u8>) {
        let begun = json!({"response": self.response(&State::under_way("in_progress"))});
        if !std::mem::take(&mut self.queued) {
            self.lines.event(out, "response.created", &begun);
        }
        self.lines.event(out, "response.in_progress", &begun);
    }

    /// Appends what one event of the answer comes to.
    pub(crate) fn write(&mut self, event: &Event, out: &mut Vec<u8>) {
        match event {
            Event::Text { choice: 0, text, logprobs } => self.text(text, logprobs.as_ref(), out),
            Event::Refusal { choice: 0, text } => self.refusal(text, out),
            Event::Reasoning { choice: 0, text } => self.think(text, out),
            Event::ToolCall { choice: 0, delta } => self.call(delta, out),
            Event::Finish { choice: 0, reason, .. } => self.finish = Some(*reason),
            // One answer was asked for; usage comes with the bill.
            _ => {}
        }
    }

    /// Appends its end.
    pub(crate) fn end(&mut self, bill: &Bill, out: &mut Vec<u8>) -> Finished {
        if self.items.is_empty() {
            self.enter_part(false, out);
        }
        let (kind, status, cut) = match self.finish {
            Some(FinishReason::Length) => ("response.incomplete", "incomplete", Some("max_output_tokens")),
            Some(FinishReason::ContentFilter) => ("response.incomplete", "incomplete", Some("content_filter")),
            _ => ("response.completed", "completed", None),
        };
        self.close_all(status, out);
        let about = bill.about(&self.head);
        let finished = self.finished(&State::ended(status, cut, &bill.usage));
        self.last_event(kind, &finished, &about, out);
        finished
    }

    /// Appends the end of one that broke off. `error` is an OpenAI error object.
    pub(crate) fn fail(&mut self, error: &Value, out: &mut Vec<u8>) -> Finished {
        self.close_all("incomplete", out);
        let backend = (!self.queued).then(|| self.head.backend.as_str());
        let about = json!({"backend": backend, "code": error["error"]["code"]});
        let finished = self.finished(&State::failed(error));
        self.last_event("response.failed", &finished, &about, out);
        finished
    }

    fn finished(&mut self, state: &State) -> Finished {
        let id = self.head.response_id();
        let text = self.response(state).to_string();
        match self.store {
            Some(most) if text.len() > most => {
                self.store = None;
                Finished { id, text: self.response(state).to_string(), stored: false }
            }
            store => Finished { id, text, stored: store.is_some() },
        }
    }

    fn response(&self, state: &State) -> Value {
        let output = self.items.iter().map(Item::to_json).collect();
        response(&self.head, &self.echo, self.store.is_some(), state, output)
    }

    fn text(&mut self, text: &str, logprobs: Option<&Json>, out: &mut Vec<u8>) {
        self.enter_part(false, out);
        let logprobs = logprobs.map(|object| entries(&object.0)).unwrap_or_default();
        let tail = format!(",\"logprobs\":{}", Value::from(logprobs.clone()));
        if let Some(part) = self.open_part() {
            part.text.push_str(text);
            part.logprobs.extend(logprobs);
        }
        self.delta(out, "response.output_text.delta", text, &tail);
    }

    fn refusal(&mut self, text: &str, out: &mut Vec<u8>) {
        self.enter_part(true, out);
        if let Some(part) = self.open_part() {
            part.text.push_str(text);
        }
        self.delta(out, "response.refusal.delta", text, "");
    }

    fn think(&mut self, text: &str, out: &mut Vec<u8>) {
        let thinking = self.open.as_ref().map(|open| &mut self.items[open.item].content);
        if let Some(Content::Reasoning { text: thoughts, .. }) = thinking {
            thoughts.push_str(text);
        } else {
            self.close_open("completed", out);
            let summary = self.echo.summary;
            let item = self.add("rs", Content::Reasoning { text: String::new(), summary }, out);
            let index = if summary { "summary_index" } else { "content_index" };
            let place = self.place(item, &format!(",\"{index}\":0"));
            self.open = Some(Open { item, place });
            let part = self.items[item].thoughts();
            self.part_event(out, if summary { "response.reasoning_summary_part.added" } else { PART_ADDED }, &part);
            if let Content::Reasoning { text: thoughts, .. } = &mut self.items[item].content {
                thoughts.push_str(text);
            }
        }
        let kind =
            if self.echo.summary { "response.reasoning_summary_text.delta" } else { "response.reasoning_text.delta" };
        self.delta(out, kind, text, "");
    }

    fn call(&mut self, delta: &ToolCallDelta, out: &mut Vec<u8>) {
        let item = match self.calls.get(&delta.index) {
            Some(&item) => item,
            None => {
                self.close_open("completed", out);
                let call_id = delta
                    .id
                    .clone()
                    .unwrap_or_else(|| format!("call_{}", item_id("", &self.head.request_id, delta.index)));
                let (name, custom) = (delta.name.clone().unwrap_or_default(), delta.custom);
                let (namespace, name) = match self.echo.namespaces.get(&name) {
                    Some((namespace, name)) => (Some(namespace.clone()), name.clone()),
                    None => (None, name),
                };
                let prefix = if custom { "ctc" } else { "fc" };
                let call = Content::Call { call_id, namespace, name, arguments: String::new(), custom };
                let item = self.add(prefix, call, out);
                self.calls.insert(delta.index, item);
                item
            }
        };
        if delta.arguments.is_empty() {
            return;
        }
        let place = self.place(item, "");
        if let Content::Call { arguments, custom, .. } = &mut self.items[item].content {
            arguments.push_str(&delta.arguments);
            let kind = if *custom {
                "response.custom_tool_call_input.delta"
            } else {
                "response.function_call_arguments.delta"
            };
            self.lines.delta_at(out, kind, &place, &delta.arguments, "");
        }
    }

    /// Makes a message with a part of this kind what is open.
    fn enter_part(&mut self, refusal: bool, out: &mut Vec<u8>) {
        let open = self.open.as_ref().map(|open| open.item);
        let message = open.filter(|&item| matches!(self.items[item].content, Content::Message(_)));
        let item = match message {
            Some(item) => {
                if self.open_part().is_some_and(|part| part.refusal == refusal) {
                    return;
                }
                self.close_part(out);
                item
            }
            None => {
                self.close_open("completed", out);
                self.add("msg", Content::Message(Vec::new()), out)
            }
        };
        let Content::Message(parts) = &mut self.items[item].content else { return };
        parts.push(Part { refusal, ..Part::default() });
        let (index, part) = (parts.len() - 1, parts[parts.len() - 1].to_json());
        let place = self.place(item, &format!(",\"content_index\":{index}"));
        self.open = Some(Open { item, place });
        self.part_event(out, PART_ADDED, &part);
    }

    fn open_part(&mut self) -> Option<&mut Part> {
        match &mut self.items[self.open.as_ref()?.item].content {
            Content::Message(parts) => parts.last_mut(),
            _ => None,
        }
    }

    /// Ends the part of a message that is open.
    fn close_part(&mut self, out: &mut Vec<u8>) {
        let Some(part) = self.open_part() else { return };
        let whole = part.to_json();
        if part.refusal {
            let done = json!({"refusal": whole["refusal"]});
            self.placed(out, "response.refusal.done", &done);
        } else {
            let done = json!({"text": whole["text"], "logprobs": whole["logprobs"]});
            self.placed(out, "response.output_text.done", &done);
        }
        self.part_event(out, "response.content_part.done", &whole);
    }

    /// Ends the item that is open.
    fn close_open(&mut self, status: &'static str, out: &mut Vec<u8>) {
        let Some(item) = self.open.as_ref().map(|open| open.item) else { return };
        match &self.items[item].content {
            Content::Message(_) => self.close_part(out),
            Content::Reasoning { summary, .. } => {
                let (summary, part) = (*summary, self.items[item].thoughts());
                let done = json!({"text": part["text"]});
                let (text, part_done) = match summary {
                    true => ("response.reasoning_summary_text.done", "response.reasoning_summary_part.done"),
                    false => ("response.reasoning_text.done", "response.content_part.done"),
                };
                self.placed(out, text, &done);
                self.part_event(out, part_done, &part);
            }
            Content::Call { .. } => {}
        }
        self.open = None;
        self.item_done(item, status, out);
    }

    /// Ends everything, the last with this status.
    fn close_all(&mut self, status: &'static str, out: &mut Vec<u8>) {
        let status_of = |last: bool| if last { status } else { "completed" };
        self.close_open(status_of(true), out);
        let calls: Vec<usize> = std::mem::take(&mut self.calls).into_values().collect();
        let last = self.items.len().saturating_sub(1);
        for item in calls {
            let place = self.place(item, "");
            if let Content::Call { arguments, name, custom, .. } = &self.items[item].content {
                let (kind, done) = match custom {
                    true => ("response.custom_tool_call_input.done", json!({"input": arguments})),
                    false => ("response.function_call_arguments.done", json!({"arguments": arguments, "name": name})),
                };
                self.lines.event_at(out, kind, &place, &done);
            }
            let status = if self.is_whole(item) { status_of(item == last) } else { "incomplete" };
            self.item_done(item, status, out);
        }
    }

    /// Whether a call has all its arguments, as far as that can be seen. Of a text it cannot, and a backend that ends
    /// with no word of calls waits for the result of none.
    fn is_whole(&self, item: usize) -> bool {
        match &self.items[item].content {
            Content::Call { custom: true, .. } => self.finish == Some(FinishReason::ToolCalls),
            Content::Call { arguments, .. } => {
                arguments.trim().is_empty() || serde_json::from_str::<IgnoredAny>(arguments).is_ok()
            }
            _ => true,
        }
    }

    fn add(&mut self, prefix: &str, content: Content, out: &mut Vec<u8>) -> usize {
        let index = self.items.len();
        let id = item_id(prefix, &self.head.request_id, u32::try_from(index).unwrap_or(u32::MAX));
        self.items.push(Item { id, content, status: "in_progress" });
        let added = json!({"output_index": index, "item": self.items[index].to_json()});
        self.lines.event(out, "response.output_item.added", &added);
        index
    }

    fn item_done(&mut self, item: usize, status: &'static str, out: &mut Vec<u8>) {
        self.items[item].status = status;
        let done = json!({"output_index": item, "item": self.items[item].to_json()});
        self.lines.event(out, "response.output_item.done", &done);
    }

    fn place(&self, item: usize, index: &str) -> String {
        format!("\"item_id\":{},\"output_index\":{item}{index}", Value::from(self.items[item].id.as_str()))
    }

    fn part_event(&mut self, out: &mut Vec<u8>, kind: &str, part: &Value) {
        self.placed(out, kind, &json!({"part": part}));
    }

    /// An event about what is open.
    fn placed(&mut self, out: &mut Vec<u8>, kind: &str, fields: &Value) {
        if let Some(open) = &self.open {
            self.lines.event_at(out, kind, &open.place, fields);
        }
    }

    fn last_event(&mut self, kind: &str, finished: &Finished, about: &Value, out: &mut Vec<u8>) {
        self.lines.line(out, kind, format_args!("\"response\":{},\"weighbridge\":{about}", finished.text));
    }

    /// A piece of what is open: the path of every token.
    fn delta(&mut self, out: &mut Vec<u8>, kind: &str, text: &str, tail: &str) {
        if let Some(open) = &self.open {
            self.lines.delta_at(out, kind, &open.place, text, tail);
        }
    }
}

const PART_ADDED: &str = "response.content_part.added";

#[cfg(test)]
mod tests;
