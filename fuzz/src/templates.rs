//! Texts as chat templates: compiled, and rendered with a conversation that has something of everything.

use jiff::civil::DateTime;
use serde_json::{Map, Value, json};
use weighbridge_dialogue::{ChatTemplate, Conversation};

/// A chat template. It may be refused, and only a panic is wrong.
///
/// # Panics
/// Where the engine does, which is a finding.
pub fn chat_template(bytes: &[u8]) {
    let Ok(source) = std::str::from_utf8(bytes) else { return };
    // The engine repeats a list up to a hundred million times, which is bounded, but takes longer than an input may.
    if source.contains('*') {
        return;
    }
    let special = [("bos_token".to_owned(), "<s>".to_owned()), ("eos_token".to_owned(), "</s>".to_owned())];
    if let Ok(template) = ChatTemplate::new(source, &special) {
        for conversation in [plain(), full()] {
            let _ = template.render(&conversation);
        }
    }
}

fn plain() -> Conversation {
    conversation(json!([{"role": "user", "content": "Hello, wörld"}]), None)
}

fn full() -> Conversation {
    let messages = json!([
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "What is the weather?"}]},
        {"role": "assistant", "content": null, "reasoning_content": "A tool knows.", "tool_calls": [
            {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": {"city": "Köln", "days": 3}}},
        ]},
        {"role": "tool", "tool_call_id": "call_1", "name": "weather", "content": "{\"sun\": true}"},
        {"role": "assistant", "content": "<think>\nSun.\n</think>\n\nIt is sunny."},
        {"role": "user", "content": ""},
    ]);
    let tools = json!([{"type": "function", "function": {
        "name": "weather", "description": "Tells it.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    }}]);
    conversation(messages, tools.as_array().cloned())
}

fn conversation(messages: Value, tools: Option<Vec<Value>>) -> Conversation {
    let messages = messages.as_array().cloned().unwrap_or_default();
    let extra = Map::from_iter([("enable_thinking".to_owned(), Value::Bool(true))]);
    Conversation { messages, tools, add_generation_prompt: true, extra, now: DateTime::ZERO }
}
