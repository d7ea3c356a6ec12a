//! Log-probabilities, from the form that chat completions have.

use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize)]
struct Logprobs {
    content: Option<Vec<Entry>>,
}

#[derive(Deserialize)]
struct Entry {
    token: String,
    logprob: f64,
    bytes: Option<Vec<u8>>,
    #[serde(default)]
    top_logprobs: Vec<Entry>,
}

/// The entries of one event's `logprobs` object. What cannot be read has none.
pub(super) fn entries(object: &str) -> Vec<Value> {
    let read = serde_json::from_str::<Logprobs>(object).ok().and_then(|logprobs| logprobs.content);
    let entry = |entry: &Entry| {
        let mut json = token(entry);
        json["top_logprobs"] = entry.top_logprobs.iter().map(token).collect();
        json
    };
    read.unwrap_or_default().iter().map(entry).collect()
}

/// A token that came without its bytes has those of its text.
fn token(entry: &Entry) -> Value {
    let bytes = entry.bytes.as_deref().unwrap_or(entry.token.as_bytes());
    json!({"token": entry.token, "bytes": bytes, "logprob": entry.logprob})
}
