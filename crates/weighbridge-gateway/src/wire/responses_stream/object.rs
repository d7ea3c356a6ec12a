//! The `response` object.

use std::time::SystemTime;

use serde_json::{Map, Value, json};
use weighbridge_backend::Usage;

use super::Echo;
use crate::surface::Head;

/// How far a response is.
pub(super) struct State {
    status: &'static str,
    completed_at: Value,
    error: Value,
    incomplete_details: Value,
    usage: Value,
}

impl State {
    /// Not at its end: `queued` or `in_progress`.
    pub(super) fn under_way(status: &'static str) -> Self {
        Self {
            status,
            completed_at: Value::Null,
            error: Value::Null,
            incomplete_details: Value::Null,
            usage: Value::Null,
        }
    }

    /// Ended, and `cut` short for this reason where it was.
    pub(super) fn ended(status: &'static str, cut: Option<&str>, usage: &Usage) -> Self {
        let completed_at = match cut {
            None => json!(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())),
            Some(_) => Value::Null,
        };
        let incomplete_details = cut.map_or(Value::Null, |reason| json!({"reason": reason}));
        Self { completed_at, incomplete_details, usage: usage_json(usage), ..Self::under_way(status) }
    }

    /// Broken off with this OpenAI error object.
    pub(super) fn failed(error: &Value) -> Self {
        let error = &error["error"];
        let error = json!({"code": failure_code(error), "message": error["message"]});
        Self { error, ..Self::under_way("failed") }
    }
}

/// The nearest of the few codes that a failed response may have.
fn failure_code(error: &Value) -> &'static str {
    match (error["code"].as_str(), error["type"].as_str()) {
        (Some("rate_limit_exceeded"), _) => "rate_limit_exceeded",
        (_, Some("invalid_request_error")) => "invalid_prompt",
        _ => "server_error",
    }
}

/// What became of a response that was kept as `queued`, where nothing more is known of it.
pub(crate) enum Restated<'a> {
    /// Somebody answers.
    InProgress,
    /// Its caller had enough of it.
    Cancelled,
    /// It will never be whole, for this reason.
    Failed(&'a str),
}

/// The object that was kept, in another state.
pub(crate) fn restated(kept: &str, how: &Restated<'_>) -> String {
    // It was written here.
    let mut object: Map<String, Value> = serde_json::from_str(kept).unwrap_or_default();
    let status = match how {
        Restated::InProgress => "in_progress",
        Restated::Cancelled => "cancelled",
        Restated::Failed(why) => {
            object.insert("error".to_owned(), json!({"code": "server_error", "message": why}));
            "failed"
        }
    };
    object.insert("status".to_owned(), status.into());
    Value::Object(object).to_string()
}

/// The `usage` of a response.
pub(in crate::wire) fn usage_json(usage: &Usage) -> Value {
    json!({
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": {"cached_tokens": usage.cached_tokens, "cache_write_tokens": 0},
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
    })
}

/// The object in this state.
pub(super) fn response(head: &Head, echo: &Echo, store: bool, state: &State, output: Vec<Value>) -> Value {
    let mut object = Map::new();
    for (key, value) in [
        ("id", head.response_id().into()),
        ("object", "response".into()),
        ("created_at", head.created.into()),
        ("status", state.status.into()),
        ("background", false.into()),
        ("completed_at", state.completed_at.clone()),
        ("error", state.error.clone()),
        ("incomplete_details", state.incomplete_details.clone()),
        ("model", head.backend.as_str().into()),
        ("output", output.into()),
        ("store", store.into()),
        ("usage", state.usage.clone()),
    ] {
        object.insert(key.to_owned(), value);
    }
    object.extend(echo.fields.iter().map(|(key, value)| (key.clone(), value.clone())));
    Value::Object(object)
}
