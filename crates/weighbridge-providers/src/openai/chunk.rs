//! A chunk of a stream or a whole completion, as servers send them: nearly everything may be absent or null.

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;
use serde_json::value::RawValue;
use weighbridge_backend::Json;

/// A `chat.completion.chunk` or a `chat.completion`; with a `message` in place of each `delta`, the second
/// is a stream of one chunk.
#[derive(Deserialize)]
pub(super) struct Chunk {
    pub(super) choices: Option<Vec<Choice>>,
    usage: Option<Value>,
    pub(super) error: Option<Value>,
    x_groq: Option<Value>,
    object: Option<Value>,
}

impl Chunk {
    /// Whether the chunk as a whole is an error, as some servers send it.
    pub(super) fn is_flat_error(&self) -> bool {
        self.choices.is_none() && self.object.as_ref().is_some_and(|object| object == "error")
    }

    /// The usage, wherever it is.
    pub(super) fn usage(&self) -> Option<Reported> {
        let groq = || self.x_groq.as_ref().and_then(|extra| extra.get("usage"));
        self.usage.as_ref().filter(|usage| usage.is_object()).or_else(groq).and_then(Reported::of)
    }
}

#[derive(Deserialize)]
pub(super) struct Choice {
    pub(super) index: Option<u32>,
    delta: Option<Delta>,
    message: Option<Delta>,
    logprobs: Option<Box<RawValue>>,
    pub(super) finish_reason: Option<String>,
}

impl Choice {
    /// What the choice says, and whether that is a whole message.
    pub(super) fn take_delta(&mut self) -> (Delta, bool) {
        match (self.delta.take(), self.message.take()) {
            (None, Some(message)) => (message, true),
            (delta, _) => (delta.unwrap_or_default(), false),
        }
    }

    /// The log-probabilities, where there is a token in them.
    pub(super) fn take_logprobs(&mut self) -> Option<Json> {
        #[derive(Deserialize)]
        struct Tokens {
            content: Option<Vec<IgnoredAny>>,
            refusal: Option<Vec<IgnoredAny>>,
        }
        let raw = self.logprobs.take()?;
        let is_empty = serde_json::from_str::<Tokens>(raw.get())
            .is_ok_and(|tokens| [tokens.content, tokens.refusal].iter().flatten().all(Vec::is_empty));
        (!is_empty).then(|| Json(Box::<str>::from(raw)))
    }
}

/// What a choice says. Annotations are left out knowingly: they point into what a provider searched, and nothing is
/// searched here.
#[derive(Default, Deserialize)]
pub(super) struct Delta {
    content: Option<Value>,
    reasoning_content: Option<Value>,
    reasoning: Option<Value>,
    pub(super) refusal: Option<String>,
    pub(super) tool_calls: Option<Vec<CallDelta>>,
    /// The form of calls before there were tools.
    pub(super) function_call: Option<FunctionDelta>,
}

impl Delta {
    /// Reasoning and text, in this order. Servers that send reasoning under both names repeat it.
    pub(super) fn take_texts(&mut self) -> (String, String) {
        let (mut reasoning, mut text) = (String::new(), String::new());
        let named = [self.reasoning_content.take(), self.reasoning.take()];
        if let Some(Value::String(named)) = named.into_iter().flatten().find(|value| value != "") {
            reasoning = named;
        }
        match self.content.take() {
            Some(Value::String(content)) => text = content,
            Some(Value::Array(parts)) => parts.iter().for_each(|part| read_part(part, &mut reasoning, &mut text)),
            _ => {}
        }
        (reasoning, text)
    }
}

/// Mistral's reasoning models send parts: `{"type":"text","text"}` and `{"type":"thinking","thinking":[…]}`.
fn read_part(part: &Value, reasoning: &mut String, text: &mut String) {
    if let Some(piece) = part.get("text").and_then(Value::as_str) {
        text.push_str(piece);
    }
    match part.get("thinking") {
        Some(Value::String(piece)) => reasoning.push_str(piece),
        Some(Value::Array(pieces)) => {
            pieces.iter().filter_map(|piece| piece.get("text")?.as_str()).for_each(|piece| reasoning.push_str(piece));
        }
        _ => {}
    }
}

#[derive(Deserialize)]
pub(super) struct CallDelta {
    pub(super) index: Option<u32>,
    pub(super) id: Option<String>,
    #[serde(rename = "type")]
    pub(super) kind: Option<String>,
    pub(super) function: Option<FunctionDelta>,
    pub(super) custom: Option<CustomDelta>,
}

/// A call of a custom tool, or a piece of it.
#[derive(Default, Deserialize)]
pub(super) struct CustomDelta {
    pub(super) name: Option<String>,
    pub(super) input: Option<String>,
}

#[derive(Default, Deserialize)]
pub(super) struct FunctionDelta {
    pub(super) name: Option<String>,
    arguments: Option<Value>,
}

impl FunctionDelta {
    /// The piece of the arguments' JSON text; some servers send the object itself.
    pub(super) fn arguments(&self) -> String {
        match &self.arguments {
            None | Some(Value::Null) => String::new(),
            Some(Value::String(text)) => text.clone(),
            Some(value) => value.to_string(),
        }
    }
}

/// The most tokens that we believe a provider has used: a figure above it is a fault.
const MOST_TOKENS: u64 = 1 << 32;

/// Usage as a provider states it; figures that it leaves out or that cannot be are `None`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reported {
    pub(super) prompt: Option<u64>,
    pub(super) cached: u64,
    pub(super) completion: Option<u64>,
    pub(super) reasoning: u64,
}

impl Reported {
    fn of(usage: &Value) -> Option<Self> {
        let figure = |path: &str| usage.pointer(path).and_then(tokens);
        let reported = Self {
            prompt: figure("/prompt_tokens"),
            // The second is DeepSeek's name, the third that of some self-hosted servers.
            cached: ["/prompt_tokens_details/cached_tokens", "/prompt_cache_hit_tokens", "/cached_tokens"]
                .into_iter()
                .find_map(figure)
                .unwrap_or(0),
            completion: figure("/completion_tokens"),
            reasoning: ["/completion_tokens_details/reasoning_tokens", "/reasoning_tokens"]
                .into_iter()
                .find_map(figure)
                .unwrap_or(0),
        };
        (reported.prompt.is_some() || reported.completion.is_some()).then_some(reported)
    }
}

fn tokens(value: &Value) -> Option<u64> {
    // A float such as 12.0 comes from servers written in languages that have no integers.
    let whole = |number: f64| (number >= 0.0 && number.fract() == 0.0).then_some(number as u64);
    value.as_u64().or_else(|| value.as_f64().and_then(whole)).filter(|&tokens| tokens <= MOST_TOKENS)
}
