//! The items of a response in the making.

use serde_json::{Value, json};

/// One item.
pub(super) struct Item {
    pub(super) id: String,
    pub(super) content: Content,
    pub(super) status: &'static str,
}

pub(super) enum Content {
    Message(Vec<Part>),
    /// Thoughts, as they are or in the place of a summary.
    Reasoning {
        text: String,
        summary: bool,
    },
    Call {
        call_id: String,
        /// The one that the tool is in, where it is in one.
        namespace: Option<String>,
        name: String,
        arguments: String,
        custom: bool,
    },
}

/// A part of a message.
#[derive(Default)]
pub(super) struct Part {
    pub(super) refusal: bool,
    pub(super) text: String,
    pub(super) logprobs: Vec<Value>,
}

impl Part {
    pub(super) fn to_json(&self) -> Value {
        if self.refusal {
            return json!({"type": "refusal", "refusal": self.text});
        }
        json!({"type": "output_text", "text": self.text, "annotations": [], "logprobs": self.logprobs})
    }
}

impl Item {
    pub(super) fn to_json(&self) -> Value {
        let (id, status) = (&self.id, self.status);
        match &self.content {
            Content::Message(parts) => {
                let content: Vec<Value> = parts.iter().map(Part::to_json).collect();
                json!({"id": id, "type": "message", "status": status, "role": "assistant", "content": content})
            }
            Content::Reasoning { summary, .. } => {
                // What has only just begun holds nothing yet.
                let thoughts = if status == "in_progress" { Vec::new() } else { vec![self.thoughts()] };
                let (summary, content) = if *summary { (thoughts, Vec::new()) } else { (Vec::new(), thoughts) };
                json!({"id": id, "type": "reasoning", "status": status, "summary": summary, "content": content})
            }
            Content::Call { call_id, namespace, name, arguments, custom } => {
                let (kind, text) = if *custom { ("custom_tool_call", "input") } else { ("function_call", "arguments") };
                let mut call = json!({
                    "id": id, "type": kind, "status": status, "call_id": call_id, "name": name, text: arguments,
                });
                if let Some(namespace) = namespace {
                    call["namespace"] = namespace.as_str().into();
                }
                call
            }
        }
    }

    /// The one part that thoughts are.
    pub(super) fn thoughts(&self) -> Value {
        match &self.content {
            Content::Reasoning { text, summary: true } => json!({"type": "summary_text", "text": text}),
            Content::Reasoning { text, summary: false } => json!({"type": "reasoning_text", "text": text}),
            _ => Value::Null,
        }
    }
}
