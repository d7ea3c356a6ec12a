//! A whole answer as Anthropic's `message`.

use serde_json::{Value, json};
use weighbridge_backend::{Event, FinishReason, Usage};

use crate::surface::Head;

/// What stands for Anthropic's seal on thinking that Anthropic's models did not think. It comes back with the
/// conversation, and tells that the block must not be sent to Anthropic.
pub(crate) const OWN_SIGNATURE: &str = "weighbridge-unsigned";

/// How an answer ended.
#[derive(Clone, Debug, Default)]
pub(super) struct End {
    finish: Option<FinishReason>,
    matched: Option<String>,
    called: bool,
    /// A call was sent whose arguments are no whole object.
    broke: bool,
    refused: bool,
}

impl End {
    /// Takes note of what an event says of the end.
    pub(super) fn note(&mut self, event: &Event) {
        match event {
            Event::ToolCall { .. } => self.called = true,
            Event::Refusal { .. } => self.refused = true,
            Event::Finish { reason, matched, .. } => {
                self.finish = Some(*reason);
                self.matched = matched.as_deref().map(str::to_owned);
            }
            Event::Text { .. } | Event::Reasoning { .. } | Event::Usage(_) => {}
        }
    }

    /// Takes note of a call whose arguments stay without an end: there is no result to wait for.
    pub(super) fn note_broken_call(&mut self) {
        self.broke = true;
    }

    /// Anthropic's word for it.
    fn reason(&self) -> &'static str {
        match self.finish {
            Some(FinishReason::ContentFilter) => "refusal",
            Some(FinishReason::Length) => "max_tokens",
            Some(FinishReason::ToolCalls) => "tool_use",
            // Some servers finish with stop where the answer calls a tool.
            Some(FinishReason::Stop) | None if self.called && !self.broke => "tool_use",
            Some(FinishReason::Stop) | None if self.refused => "refusal",
            Some(FinishReason::Stop) | None if self.matched.is_some() => "stop_sequence",
            Some(FinishReason::Stop) | None => "end_turn",
        }
    }

    /// `stop_reason`, `stop_sequence` and `stop_details`.
    pub(super) fn json(&self) -> Value {
        let reason = self.reason();
        let matched = self.matched.as_deref().filter(|_| reason == "stop_sequence");
        json!({"stop_reason": reason, "stop_sequence": matched, "stop_details": null})
    }
}

/// The `usage` object of a message.
pub(super) fn usage_json(usage: &Usage) -> Value {
    json!({
        "input_tokens": usage.prompt_tokens.saturating_sub(usage.cached_tokens),
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": usage.cached_tokens,
        "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0},
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"thinking_tokens": usage.reasoning_tokens},
        "service_tier": "standard",
    })
}

/// The `usage` object at the end of a stream, which leaves out what cannot have changed since its beginning.
pub(super) fn final_usage_json(usage: &Usage) -> Value {
    json!({
        "input_tokens": usage.prompt_tokens.saturating_sub(usage.cached_tokens),
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": usage.cached_tokens,
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"thinking_tokens": usage.reasoning_tokens},
    })
}

/// The message before anything is said.
pub(super) fn empty_message(head: &Head) -> Value {
    json!({
        "id": format!("msg_{}", head.bare_id()), "type": "message", "role": "assistant",
        "model": head.backend.as_str(), "content": [], "stop_reason": null, "stop_sequence": null,
        "stop_details": null, "usage": usage_json(&head.used),
    })
}

/// Gathers the events of an answer.
pub(crate) struct MessagesAnswer {
    blocks: Vec<Block>,
    end: End,
    shows_thinking: bool,
}

enum Block {
    Text(String),
    Thinking(String),
    Call { index: u32, id: String, name: String, input: String },
}

impl MessagesAnswer {
    pub(crate) fn new(shows_thinking: bool) -> Self {
        Self { blocks: Vec::new(), end: End::default(), shows_thinking }
    }

    /// Takes the next event.
    pub(crate) fn push(&mut self, event: Event) {
        self.end.note(&event);
        match event {
            Event::Text { choice: 0, text, .. } | Event::Refusal { choice: 0, text } => match self.blocks.last_mut() {
                Some(Block::Text(said)) => said.push_str(&text),
                _ if text.is_empty() => {}
                _ => self.blocks.push(Block::Text(text)),
            },
            Event::Reasoning { choice: 0, text } => match self.blocks.last_mut() {
                Some(Block::Thinking(thought)) => thought.push_str(&text),
                _ => self.blocks.push(Block::Thinking(text)),
            },
            Event::ToolCall { choice: 0, delta } => {
                let is_it = |block: &&mut Block| matches!(block, Block::Call { index, .. } if *index == delta.index);
                if let Some(Block::Call { input, .. }) = self.blocks.iter_mut().find(is_it) {
                    input.push_str(&delta.arguments);
                    return;
                }
                let id = delta.id.unwrap_or_else(|| call_id(delta.index));
                let (name, input) = (delta.name.unwrap_or_default(), delta.arguments);
                self.blocks.push(Block::Call { index: delta.index, id, name, input });
            }
            _ => {}
        }
    }

    /// The body.
    pub(crate) fn into_json(self, head: &Head, usage: &Usage) -> Value {
        let mut message = empty_message(head);
        let shows = self.shows_thinking;
        message["content"] = self.blocks.into_iter().map(|block| block.into_json(shows)).collect();
        message["usage"] = usage_json(usage);
        for (key, value) in self.end.json().as_object().into_iter().flatten() {
            message[key] = value.clone();
        }
        message
    }
}

impl Block {
    fn into_json(self, shows_thinking: bool) -> Value {
        match self {
            Self::Text(text) => json!({"type": "text", "text": text}),
            Self::Thinking(text) => {
                let text = if shows_thinking { text } else { String::new() };
                json!({"type": "thinking", "thinking": text, "signature": OWN_SIGNATURE})
            }
            Self::Call { id, name, input, .. } => {
                json!({"type": "tool_use", "id": id, "name": name, "input": input_json(&input)})
            }
        }
    }
}

/// The id of a call whose backend gave it none.
pub(super) fn call_id(index: u32) -> String {
    format!("toolu_{index}")
}

/// The arguments of a call as the object that `input` has to be. What the model wrote wrongly is handed on as text,
/// under the key that Anthropic's documentation has for it.
fn input_json(text: &str) -> Value {
    match serde_json::from_str(text) {
        Ok(Value::Object(input)) => Value::Object(input),
        _ if text.trim().is_empty() => json!({}),
        _ => json!({"INVALID_JSON": text}),
    }
}

#[cfg(test)]
mod tests {
    use weighbridge_backend::ToolCallDelta;

    use super::*;

    fn answer(events: Vec<Event>) -> Value {
        let mut answer = MessagesAnswer::new(true);
        events.into_iter().for_each(|event| answer.push(event));
        let usage = Usage { prompt_tokens: 9, cached_tokens: 4, completion_tokens: 2, ..Usage::default() };
        answer.into_json(&Head::example(), &usage)
    }

    fn text(text: &str) -> Event {
        Event::Text { choice: 0, text: text.into(), logprobs: None }
    }

    fn finish(reason: FinishReason, matched: Option<&str>) -> Event {
        Event::Finish { choice: 0, reason, matched: matched.map(Into::into) }
    }

    fn call(index: u32, arguments: &str) -> Event {
        let (id, name) = (Some(format!("call_{index}")), Some("add".into()));
        Event::ToolCall {
            choice: 0,
            delta: ToolCallDelta { index, id, name, arguments: arguments.into(), custom: false },
        }
    }

    #[test]
    fn a_message_has_every_field_of_anthropics() {
        let body = answer(vec![text("Hel"), text("lo"), finish(FinishReason::Stop, None)]);
        assert_eq!(
            body,
            json!({
                "id": "msg_ab", "type": "message", "role": "assistant", "model": "demo",
                "content": [{"type": "text", "text": "Hello"}],
                "stop_reason": "end_turn", "stop_sequence": null, "stop_details": null,
                "usage": {
                    "input_tokens": 5, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 4,
                    "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0},
                    "output_tokens": 2, "output_tokens_details": {"thinking_tokens": 0}, "service_tier": "standard",
                },
            })
        );
    }

    #[test]
    fn thoughts_texts_and_calls_are_blocks() {
        let thought = Event::Reasoning { choice: 0, text: "hm".into() };
        let events = vec![
            thought,
            text("So:"),
            call(0, "{\"a\":1}"),
            call(1, ""),
            call(2, "{a"),
            finish(FinishReason::Stop, None),
        ];
        let body = answer(events);
        assert_eq!(body["stop_reason"], "tool_use");
        assert_eq!(
            body["content"],
            json!([
                {"type": "thinking", "thinking": "hm", "signature": OWN_SIGNATURE},
                {"type": "text", "text": "So:"},
                {"type": "tool_use", "id": "call_0", "name": "add", "input": {"a": 1}},
                {"type": "tool_use", "id": "call_1", "name": "add", "input": {}},
                {"type": "tool_use", "id": "call_2", "name": "add", "input": {"INVALID_JSON": "{a"}},
            ])
        );
    }

    #[test]
    fn each_end_has_its_word() {
        for (reason, matched, word, sequence) in [
            (FinishReason::Stop, None, "end_turn", Value::Null),
            (FinishReason::Stop, Some("END"), "stop_sequence", json!("END")),
            (FinishReason::Length, None, "max_tokens", Value::Null),
            (FinishReason::ToolCalls, None, "tool_use", Value::Null),
            (FinishReason::ContentFilter, None, "refusal", Value::Null),
        ] {
            let body = answer(vec![finish(reason, matched)]);
            assert_eq!((&body["stop_reason"], &body["stop_sequence"]), (&json!(word), &sequence));
        }
        let refusal = Event::Refusal { choice: 0, text: "No.".into() };
        let body = answer(vec![refusal, finish(FinishReason::Stop, None)]);
        assert_eq!((&body["stop_reason"], &body["content"][0]["text"]), (&json!("refusal"), &json!("No.")));
    }
}
