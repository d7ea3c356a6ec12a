//! Recorded errors of many servers, and the failures that they are.

use std::time::Duration;

use reqwest::header::HeaderValue;
use serde_json::json;
use weighbridge_backend::FailureKind as Kind;

use super::*;

#[test]
fn a_status_without_a_word_decides_by_itself() {
    for (status, kind) in [
        (400, Kind::InvalidRequest),
        (401, Kind::Auth),
        (402, Kind::QuotaExhausted),
        (403, Kind::Auth),
        (404, Kind::ModelNotFound),
        (408, Kind::ServerError),
        (413, Kind::InvalidRequest),
        (418, Kind::InvalidRequest),
        (422, Kind::InvalidRequest),
        (429, Kind::RateLimited),
        (498, Kind::Overloaded),
        (500, Kind::ServerError),
        (502, Kind::ServerError),
        (503, Kind::Overloaded),
        (504, Kind::ServerError),
        (529, Kind::Overloaded),
    ] {
        for body in ["", "<html>no</html>", "{}", r#"{"error":null}"#, r#"{"error":{"message":"no"}}"#] {
            check(status, body, kind);
        }
    }
}

#[test]
fn a_word_says_more_than_its_status() {
    for (status, body, kind) in [
        (
            429,
            r#"{"error":{"message":"m","type":"insufficient_quota","code":"insufficient_quota"}}"#,
            Kind::QuotaExhausted,
        ),
        (
            429,
            r#"{"error":{"message":"too many tokens","type":"tokens","code":"rate_limit_exceeded"}}"#,
            Kind::RateLimited,
        ),
        (
            400,
            r#"{"error":{"message":"m","code":"context_length_exceeded","param":"messages"}}"#,
            Kind::ContextLengthExceeded,
        ),
        (
            400,
            r#"{"error":{"message":"This model's maximum context length is 8 tokens","code":400}}"#,
            Kind::ContextLengthExceeded,
        ),
        (400, r#"{"object":"error","message":"Prompt is too long","code":400}"#, Kind::ContextLengthExceeded),
        (400, r#"{"error":{"message":"prompt is too long","code":"string_above_max_length"}}"#, Kind::InvalidRequest),
        (
            400,
            r#"{"error":{"code":"content_filter","innererror":{"code":"ResponsibleAIPolicyViolation"}}}"#,
            Kind::ContentRefused,
        ),
        (403, r#"{"error":{"code":403,"message":"m","metadata":{"flagged_input":"x"}}}"#, Kind::ContentRefused),
        (400, r#"{"error":{"message":"m","code":"model_not_found"}}"#, Kind::ModelNotFound),
        (503, r#"{"error":{"code":503,"message":"Loading model","type":"unavailable_error"}}"#, Kind::Overloaded),
        (404, r#"[{"error":{"message":"not here"}}]"#, Kind::ModelNotFound),
    ] {
        check(status, body, kind);
    }
}

#[test]
fn a_failure_carries_what_the_provider_said() {
    let mut headers = HeaderMap::new();
    headers.insert("retry-after", HeaderValue::from_static("7"));
    let body = br#"{"error":{"message":"m","type":"requests","param":"n","code":"rate_limit_exceeded"}}"#;
    let failure = failure_of_response(&peer(), StatusCode::TOO_MANY_REQUESTS, &headers, body);
    assert_eq!(failure.message, "openai answered 429 (rate_limit_exceeded)");
    assert_eq!((failure.retry_after, failure.upstream_status), (Some(Duration::from_secs(7)), Some(429)));
    assert_eq!(failure.upstream_code.as_deref(), Some("rate_limit_exceeded"));
    assert_eq!(failure.param.as_deref(), Some("n"));
}

#[test]
fn only_a_caller_who_can_act_on_it_sees_the_providers_text() {
    let text = format!("your key sk-secret and your prompt: {}", "x".repeat(400));
    let body = json!({ "error": { "message": text, "code": "a code with your prompt" } }).to_string();
    let of = |status| failure_of_response(&peer(), status, &HeaderMap::new(), body.as_bytes());

    let shown = of(StatusCode::BAD_REQUEST);
    assert!(shown.message.starts_with("openai answered 400: your key *** and your prompt: xxx"), "{shown}");
    assert!(shown.message.chars().count() < 330, "{shown}");
    assert_eq!(shown.upstream_code, None);
    for status in [StatusCode::UNAUTHORIZED, StatusCode::TOO_MANY_REQUESTS, StatusCode::BAD_GATEWAY] {
        assert_eq!(of(status).message, format!("openai answered {}", status.as_u16()));
    }
}

#[test]
fn a_redirect_names_the_host_and_nothing_else_of_its_target() {
    let mut headers = HeaderMap::new();
    headers.insert(LOCATION, HeaderValue::from_static("https://elsewhere.example/path?q=secret"));
    let failure = failure_of_response(&peer(), StatusCode::TEMPORARY_REDIRECT, &headers, b"");
    assert_eq!(failure.kind, Kind::ServerError);
    assert!(failure.message.contains("elsewhere.example") && !failure.message.contains("secret"), "{failure}");
}

#[test]
fn an_error_in_a_stream_is_told_by_its_words() {
    for (error, kind) in [
        (json!({ "message": "m", "type": "server_error" }), Kind::ServerError),
        (json!({ "code": 502, "message": "m" }), Kind::ServerError),
        (json!({ "code": 429, "message": "m" }), Kind::RateLimited),
        (json!({ "code": "rate_limit_exceeded" }), Kind::RateLimited),
        (json!({ "type": "overloaded_error" }), Kind::Overloaded),
        (json!({ "type": "invalid_request_error", "message": "m" }), Kind::InvalidRequest),
        (json!({ "code": "content_filter" }), Kind::ContentRefused),
        (json!("out of memory"), Kind::ServerError),
        (json!([]), Kind::ServerError),
    ] {
        assert_eq!(failure_in_stream(&peer(), &error).kind, kind, "{error}");
    }
}

fn check(status: u16, body: &str, kind: Kind) {
    let code = StatusCode::from_u16(status).unwrap_or_default();
    let failure = failure_of_response(&peer(), code, &HeaderMap::new(), body.as_bytes());
    assert_eq!((failure.kind, failure.upstream_status), (kind, Some(status)), "{status} {body}");
}

fn peer() -> Peer {
    Peer::new("openai".to_owned(), ["sk-secret".to_owned()])
}
