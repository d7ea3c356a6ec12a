//! A whole answer: events gathered into one `chat.completion` body.

use std::collections::BTreeMap;

use serde_json::value::RawValue;
use serde_json::{Map, Value, json};
use weighbridge_backend::{Event, FinishReason, Usage};

use super::usage_json;
use crate::surface::Head;

/// Gathers the events of an answer.
#[derive(Default)]
pub(crate) struct ChatAnswer {
    choices: Vec<Choice>,
    usage: Usage,
}

#[derive(Default)]
struct Choice {
    text: String,
    reasoning: String,
    refusal: String,
    /// By their numbers, which some servers begin at 1 or leave gaps in.
    calls: BTreeMap<u32, Call>,
    logprobs: Vec<Value>,
    finish: Option<FinishReason>,
}

#[derive(Default)]
struct Call {
    id: String,
    name: String,
    arguments: String,
    custom: bool,
}

impl ChatAnswer {
    /// Takes the next event. `choices` bounds the choice indices that are believed.
    pub(crate) fn push(&mut self, event: Event, choices: u32) {
        let index = match &event {
            Event::Text { choice, .. }
            | Event::Reasoning { choice, .. }
            | Event::Refusal { choice, .. }
            | Event::ToolCall { choice, .. }
            | Event::Finish { choice, .. } => *choice,
            Event::Usage(usage) => return self.usage = *usage,
        };
        if index >= choices {
            return;
        }
        let index = index as usize;
        if self.choices.len() <= index {
            self.choices.resize_with(index + 1, Choice::default);
        }
        self.choices[index].push(event);
    }

    /// The body.
    pub(crate) fn into_json(self, head: &Head) -> Value {
        let choices: Vec<Value> =
            self.choices.into_iter().enumerate().map(|(index, choice)| choice.into_json(index)).collect();
        json!({
            "id": format!("chatcmpl-{}", head.bare_id()),
            "object": "chat.completion",
            "created": head.created,
            "model": head.backend.as_str(),
            "choices": choices,
            "usage": usage_json(&self.usage),
            "service_tier": "default",
            "system_fingerprint": head.fingerprint,
        })
    }
}

impl Choice {
    fn push(&mut self, event: Event) {
        match event {
            Event::Text { text, logprobs, .. } => {
                self.text.push_str(&text);
                if let Some(logprobs) = logprobs {
                    self.logprobs.extend(logprob_entries(&logprobs.0));
                }
            }
            Event::Reasoning { text, .. } => self.reasoning.push_str(&text),
            Event::Refusal { text, .. } => self.refusal.push_str(&text),
            Event::ToolCall { delta, .. } => {
                let call = self.calls.entry(delta.index).or_default();
                call.id.push_str(delta.id.as_deref().unwrap_or_default());
                call.name.push_str(delta.name.as_deref().unwrap_or_default());
                call.arguments.push_str(&delta.arguments);
                call.custom |= delta.custom;
            }
            Event::Finish { reason, .. } => self.finish = Some(reason),
            Event::Usage(_) => {}
        }
    }

    fn into_json(self, index: usize) -> Value {
        // With tool calls or a refusal the content is null unless the model also spoke.
        let silent = self.text.is_empty() && (!self.calls.is_empty() || !self.refusal.is_empty());
        let mut message = Map::new();
        message.insert("role".into(), "assistant".into());
        message.insert("content".into(), if silent { Value::Null } else { self.text.into() });
        message.insert("refusal".into(), if self.refusal.is_empty() { Value::Null } else { self.refusal.into() });
        message.insert("annotations".into(), json!([]));
        if !self.reasoning.is_empty() {
            message.insert("reasoning_content".into(), self.reasoning.into());
        }
        if !self.calls.is_empty() {
            let call = |call: Call| match call.custom {
                true => {
                    json!({"id": call.id, "type": "custom", "custom": {"name": call.name, "input": call.arguments}})
                }
                false => {
                    let function = json!({"name": call.name, "arguments": call.arguments});
                    json!({"id": call.id, "type": "function", "function": function})
                }
            };
            message.insert("tool_calls".into(), self.calls.into_values().map(call).collect());
        }
        let logprobs =
            if self.logprobs.is_empty() { Value::Null } else { json!({"content": self.logprobs, "refusal": null}) };
        let finish = self.finish.unwrap_or(FinishReason::Stop).as_str();
        json!({"index": index, "message": message, "logprobs": logprobs, "finish_reason": finish})
    }
}

/// The entries of one event's `logprobs` object.
fn logprob_entries(object: &str) -> Vec<Value> {
    #[derive(serde::Deserialize)]
    struct Logprobs {
        content: Option<Vec<Box<RawValue>>>,
    }
    let entries =
        serde_json::from_str::<Logprobs>(object).ok().and_then(|logprobs| logprobs.content).unwrap_or_default();
    entries.iter().filter_map(|entry| serde_json::from_str(entry.get()).ok()).collect()
}

#[cfg(test)]
mod tests {
    use weighbridge_backend::ToolCallDelta;

    use super::*;

    fn answer(events: impl IntoIterator<Item = Event>) -> Value {
        let head = Head::example();
        let mut answer = ChatAnswer::default();
        events.into_iter().for_each(|event| answer.push(event, 2));
        answer.into_json(&head)
    }

    fn text(choice: u32, text: &str) -> Event {
        Event::Text { choice, text: text.into(), logprobs: None }
    }

    #[test]
    fn texts_of_each_choice_are_joined() {
        let body = answer([text(0, "Hel"), text(1, "Bye"), text(0, "lo"), text(9, "ignored")]);
        assert_eq!(body["id"], "chatcmpl-ab");
        assert_eq!(body["choices"][0]["message"]["content"], "Hello");
        assert_eq!(body["choices"][1]["message"]["content"], "Bye");
        assert_eq!(body["choices"].as_array().map(Vec::len), Some(2));
    }

    #[test]
    fn a_call_is_put_together_from_its_pieces() {
        let piece = |id: Option<&str>, name: Option<&str>, arguments: &str| Event::ToolCall {
            choice: 0,
            delta: ToolCallDelta {
                index: 0,
                id: id.map(str::to_owned),
                name: name.map(str::to_owned),
                arguments: arguments.into(),
                custom: false,
            },
        };
        let finish = Event::Finish { choice: 0, reason: FinishReason::ToolCalls, matched: None };
        let body = answer([
            piece(Some("call_1"), Some("add"), ""),
            piece(None, None, "{\"a\":"),
            piece(None, None, "1}"),
            finish,
        ]);
        let choice = &body["choices"][0];
        assert_eq!(choice["message"]["content"], Value::Null);
        assert_eq!(choice["message"]["tool_calls"][0]["function"], json!({"name": "add", "arguments": "{\"a\":1}"}));
        assert_eq!(choice["finish_reason"], "tool_calls");
    }

    #[test]
    fn no_call_is_lost_whatever_its_number() {
        let call = |index: u32| {
            let (id, name) = (Some(format!("call_{index}")), Some("add".to_owned()));
            Event::ToolCall { choice: 0, delta: ToolCallDelta { index, id, name, ..ToolCallDelta::default() } }
        };
        let body = answer([call(3), call(1)]);
        let calls = body["choices"][0]["message"]["tool_calls"].as_array().cloned().unwrap_or_default();
        let ids: Vec<&str> = calls.iter().filter_map(|call| call["id"].as_str()).collect();
        assert_eq!(ids, ["call_1", "call_3"]);
    }

    #[test]
    fn a_call_of_a_custom_tool_has_a_text() {
        let delta = ToolCallDelta {
            id: Some("call_1".into()),
            name: Some("sh".into()),
            arguments: "ls".into(),
            custom: true,
            ..ToolCallDelta::default()
        };
        let body = answer([Event::ToolCall { choice: 0, delta }]);
        assert_eq!(
            body["choices"][0]["message"]["tool_calls"][0],
            json!({"id": "call_1", "type": "custom", "custom": {"name": "sh", "input": "ls"}})
        );
    }
}
