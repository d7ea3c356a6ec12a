//! Errors in Anthropic's words.

use serde_json::{Value, json};

/// Anthropic's type for a status.
fn kind(status: u16) -> &'static str {
    match status {
        401 => "authentication_error",
        402 => "billing_error",
        403 => "permission_error",
        404 => "not_found_error",
        409 => "conflict_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        529 => "overloaded_error",
        408 | 504 => "timeout_error",
        500.. => "api_error",
        _ => "invalid_request_error",
    }
}

/// Anthropic's status for ours: where we are not available for now, it is overloaded.
pub(crate) fn messages_status(status: u16) -> u16 {
    if status == 503 { 529 } else { status }
}

/// The error object, as a body or as the data of a stream's last event. `error` is OpenAI's error object.
pub(crate) fn messages_error(status: u16, error: &Value, request_id: &str) -> Value {
    let error = &error["error"];
    let mut told = json!({"type": kind(messages_status(status)), "message": error["message"]});
    for (key, ours) in [("error_code", "code"), ("param", "param"), ("upstream_code", "upstream_code")] {
        if let Some(detail) = error.get(ours).filter(|detail| !detail.is_null()) {
            told["details"][key] = detail.clone();
        }
    }
    json!({"type": "error", "error": told, "request_id": request_id})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_status_has_its_type() {
        for (status, word) in [
            (400, "invalid_request_error"),
            (405, "invalid_request_error"),
            (401, "authentication_error"),
            (403, "permission_error"),
            (404, "not_found_error"),
            (413, "request_too_large"),
            (429, "rate_limit_error"),
            (500, "api_error"),
            (502, "api_error"),
            (503, "overloaded_error"),
            (504, "timeout_error"),
        ] {
            let error = messages_error(status, &json!({"error": {"message": "so", "code": "c", "param": null}}), "r-1");
            assert_eq!(error["error"]["type"], word, "{status}");
            assert_eq!((&error["request_id"], &error["error"]["details"]["error_code"]), (&json!("r-1"), &json!("c")));
        }
    }
}
