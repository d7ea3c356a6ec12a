//! Errors out: the one place that turns what went wrong into a status and an OpenAI error object.

use std::time::Duration;

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde_json::{Value, json};
use weighbridge_backend::{Failure, FailureKind};

use crate::wire::WireError;

/// The code of everything that a stop of the gateway breaks off.
pub(crate) const SHUTTING_DOWN: &str = "shutting_down";

/// An answer that is an error.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Refusal {
    status: StatusCode,
    kind: &'static str,
    code: Option<&'static str>,
    param: Option<Box<str>>,
    message: String,
    retry_after: Option<Duration>,
    /// The upstream's own code, in a key beside ours.
    upstream_code: Option<Box<str>>,
}

impl Refusal {
    fn new(status: StatusCode, kind: &'static str, code: Option<&'static str>, message: impl Into<String>) -> Self {
        let message = message.into();
        Self { status, kind, code, param: None, message, retry_after: None, upstream_code: None }
    }

    fn about(self, param: impl Into<Box<str>>) -> Self {
        Self { param: Some(param.into()), ..self }
    }

    fn invalid(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_request_error", Some(code), message)
    }

    /// 400: a parameter that no eligible backend honours, and why each is out.
    pub(crate) fn unsupported_parameter(parameter: &str, unknown: bool, why: &str) -> Self {
        let code = if unknown { "unknown_parameter" } else { "unsupported_parameter" };
        let what = if unknown { "Unknown" } else { "Unsupported" };
        Self::invalid(
            code,
            format!("{what} parameter: '{parameter}' cannot be honoured by any backend of this route ({why})."),
        )
        .about(parameter)
    }

    /// 400: the prompt, with the answer asked for, fits no eligible backend.
    pub(crate) fn context_length_exceeded(why: &str) -> Self {
        let message = format!(
            "The prompt and the answer asked for do not fit the context of any eligible backend: {why}. Shorten the messages or lower max_tokens."
        );
        Self::invalid("context_length_exceeded", message).about("messages")
    }

    /// 400: a header that we read and cannot understand.
    pub(crate) fn bad_header(name: &str, why: &str) -> Self {
        Self::invalid("invalid_header", format!("Invalid header '{name}': {why}."))
    }

    /// 401, as OpenAI says it.
    pub(crate) fn unauthorised(missing: bool) -> Self {
        if missing {
            let message = "You did not provide an API key. Send it in the header: Authorization: Bearer YOUR_KEY.";
            return Self::new(StatusCode::UNAUTHORIZED, "invalid_request_error", None, message);
        }
        let message = "Incorrect API key provided. It matches no caller of this gateway.";
        Self::new(StatusCode::UNAUTHORIZED, "invalid_request_error", Some("invalid_api_key"), message)
    }

    /// 403 with a reason.
    pub(crate) fn forbidden(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "invalid_request_error", Some(code), message)
    }

    /// 403: the caller may not load and unload models.
    pub(crate) fn not_an_admin(message: &str) -> Self {
        Self::forbidden("admin_required", message)
    }

    /// 404: there is no local model of this name.
    pub(crate) fn no_local_model(name: &str) -> Self {
        let name: String = name.chars().take(128).collect();
        let message = format!("There is no local model '{name}'. GET /admin/models lists those there are.");
        Self::new(StatusCode::NOT_FOUND, "invalid_request_error", Some("model_not_found"), message).about("model")
    }

    /// 404: nothing of this id is kept for this caller.
    pub(crate) fn not_kept(what: &str, id: &str) -> Self {
        let id: String = id.chars().take(128).collect();
        let message = format!("{what} with id '{id}' not found.");
        Self::new(StatusCode::NOT_FOUND, "invalid_request_error", Some("not_found"), message)
    }

    /// 400: what was asked for does not go with what it is asked of.
    pub(crate) fn not_possible(message: &str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_request_error", None, message)
    }

    /// The same, where an API knows parameters by other names: the whole name, or what stands before an index.
    pub(crate) fn renaming(mut self, names: &[(&str, &str)]) -> Self {
        if let Some(param) = &self.param {
            let renamed = |(from, to): &(&str, &str)| {
                let rest = param.strip_prefix(from)?;
                (rest.is_empty() || rest.starts_with('[')).then(|| format!("{to}{rest}").into())
            };
            self.param = names.iter().find_map(renamed).or(self.param);
        }
        self
    }

    /// 409: what was asked for does not go with what is under way.
    pub(crate) fn conflict(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, "invalid_request_error", Some(code), message)
    }

    /// 404: no route takes the model.
    pub(crate) fn model_not_found(model: &str, hint: &str) -> Self {
        let model: String = model.chars().take(128).collect();
        let message = format!("The model '{model}' does not exist here or no route takes it. {hint}");
        Self::new(StatusCode::NOT_FOUND, "invalid_request_error", Some("model_not_found"), message).about("model")
    }

    /// 400: the backend that would answer has no tokenizer here.
    pub(crate) fn no_tokenizer(backend: &str) -> Self {
        let message = format!(
            "'{backend}', which would answer, is not on this machine, so that its tokens are not known here. Name a local model."
        );
        Self::invalid("no_tokenizer", message).about("model")
    }

    /// 404: an address of OpenAI's or Anthropic's that is not served here.
    pub(crate) fn not_served(method: &str, path: &str) -> Self {
        let path: String = path.chars().take(256).collect();
        let message =
            format!("Weighbridge does not offer {path} yet ({method} {path}). docs/endpoint.md lists what it does.");
        Self::new(StatusCode::NOT_FOUND, "invalid_request_error", Some("not_found"), message)
    }

    /// 404: an address of the chat completions that OpenAI keeps, and nobody here.
    pub(crate) fn no_kept_completions(method: &str, path: &str) -> Self {
        let path: String = path.chars().take(256).collect();
        let message = format!(
            "No chat completions are kept here, so that none can be had by {method} {path}: 'store' is handed to the provider that answers. Responses are kept; docs/responses.md says how."
        );
        Self::new(StatusCode::NOT_FOUND, "invalid_request_error", Some("not_found"), message)
    }

    /// 404: no such address.
    pub(crate) fn unknown_url(method: &str, path: &str) -> Self {
        let path: String = path.chars().take(256).collect();
        let message = format!("Invalid URL ({method} {path})");
        Self::new(StatusCode::NOT_FOUND, "invalid_request_error", None, message)
    }

    /// 405: the address exists, the method does not.
    pub(crate) fn method_not_allowed(method: &str, path: &str) -> Self {
        let message = format!("Not allowed to {method} on {path}");
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "invalid_request_error", None, message)
    }

    /// 426: what is at the address by this method is a WebSocket.
    pub(crate) fn upgrade_required(path: &str) -> Self {
        let message = format!("{path} is a WebSocket by this method: upgrade the connection, or send a POST.");
        Self::new(StatusCode::UPGRADE_REQUIRED, "invalid_request_error", None, message)
    }

    /// 400: a WebSocket has been open for as long as one may.
    pub(crate) fn socket_is_old(longest: Duration) -> Self {
        let message = format!("A WebSocket may be open for {} minutes. Open a new one.", longest.as_secs() / 60);
        Self::invalid("websocket_connection_limit_reached", message)
    }

    /// 413: the body is over the limit.
    pub(crate) fn body_too_large(limit: usize) -> Self {
        let message = format!(
            "The request body is larger than {limit} bytes, the limit of this gateway ([server] max_body_bytes)."
        );
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "invalid_request_error", Some("request_too_large"), message)
    }

    /// 400: the body did not arrive whole.
    pub(crate) fn body_unreadable() -> Self {
        Self::invalid("invalid_body", "The request body did not arrive whole.")
    }

    /// 400: the body is not compressed as it says.
    pub(crate) fn body_garbled(coding: &str) -> Self {
        Self::invalid(
            "invalid_body",
            format!("The request body is no {coding}, as Content-Encoding says, or not whole."),
        )
    }

    /// 415: the body is compressed in a way that we do not read.
    pub(crate) fn unknown_encoding() -> Self {
        let message = "Unsupported content encoding. A body may be compressed once, as gzip, br or zstd.";
        let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
        Self::new(status, "invalid_request_error", Some("unsupported_content_encoding"), message)
    }

    /// 422: the idempotency key is that of another request.
    pub(crate) fn key_used_otherwise() -> Self {
        let message = "This Idempotency-Key came with another request before: another body or class. Make a new key for each request.";
        let status = StatusCode::UNPROCESSABLE_ENTITY;
        Self::new(status, "invalid_request_error", Some("idempotency_key_reused"), message)
    }

    /// 409: the first request with this idempotency key is under way, and there is no place to wait for it.
    pub(crate) fn still_underway() -> Self {
        let message =
            "The first request with this Idempotency-Key is still under way, and too many wait for such already.";
        let refusal = Self::conflict("idempotency_in_progress", message);
        Self { retry_after: Some(Duration::from_secs(1)), ..refusal }
    }

    /// 408: the body took too long.
    pub(crate) fn body_too_slow(limit: Duration) -> Self {
        let message = format!("The request body did not arrive within {} s.", limit.as_secs());
        Self::new(StatusCode::REQUEST_TIMEOUT, "invalid_request_error", Some("request_timeout"), message)
    }

    /// 415: not JSON.
    pub(crate) fn not_json() -> Self {
        let message = "Unsupported content type. Send JSON with the header: Content-Type: application/json.";
        Self::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "invalid_request_error",
            Some("unsupported_content_type"),
            message,
        )
    }

    /// 431: the head is over its limits.
    pub(crate) fn head_too_large(headers: usize, bytes: usize) -> Self {
        let message = format!(
            "The request has more than {headers} headers, or more than {bytes} bytes of them ([server] max_header_bytes)."
        );
        let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
        Self::new(status, "invalid_request_error", Some("headers_too_large"), message)
    }

    /// 429: the caller has to wait for something of its own, or of others, to end.
    pub(crate) fn too_many(message: impl Into<String>) -> Self {
        let refusal = Self::new(StatusCode::TOO_MANY_REQUESTS, "requests", Some("rate_limit_exceeded"), message);
        Self { retry_after: Some(Duration::from_secs(1)), ..refusal }
    }

    /// 503: nothing can take the request now.
    pub(crate) fn unavailable(code: &'static str, message: impl Into<String>, retry_after: Option<Duration>) -> Self {
        Self { retry_after, ..Self::new(StatusCode::SERVICE_UNAVAILABLE, "server_error", Some(code), message) }
    }

    /// 500: a fault of our own, which a log line explains.
    pub(crate) fn internal() -> Self {
        let message = "The gateway failed in itself; its log says why.";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "server_error", Some("server_error"), message)
    }

    pub(crate) fn status(&self) -> u16 {
        self.status.as_u16()
    }

    /// Whether it says that the gateway is being stopped.
    pub(crate) fn is_stop(&self) -> bool {
        self.code == Some(SHUTTING_DOWN)
    }

    #[cfg(test)]
    pub(crate) fn code(&self) -> &str {
        self.code.unwrap_or("none")
    }

    /// The error object, as a body or as the last event of a stream.
    pub(crate) fn to_json(&self) -> Value {
        let mut error = json!({"message": self.message, "type": self.kind, "param": self.param, "code": self.code});
        if let Some(code) = &self.upstream_code {
            error["upstream_code"] = (**code).into();
        }
        json!({"error": error})
    }
}

impl From<WireError> for Refusal {
    fn from(error: WireError) -> Self {
        Self { param: error.param.map(Into::into), ..Self::invalid(error.code, error.message) }
    }
}

/// The status class of the upstream is kept, but for its view of our own key: that is our trouble, not the
/// caller's, who would take a 401 for a fault of its own key.
impl From<&Failure> for Refusal {
    fn from(failure: &Failure) -> Self {
        use FailureKind as Kind;
        let (status, kind, code) = match failure.kind {
            Kind::InvalidRequest => (StatusCode::BAD_REQUEST, "invalid_request_error", "invalid_request"),
            Kind::ContentRefused => (StatusCode::BAD_REQUEST, "invalid_request_error", "content_policy_violation"),
            Kind::ContextLengthExceeded => {
                (StatusCode::BAD_REQUEST, "invalid_request_error", "context_length_exceeded")
            }
            Kind::RateLimited => (StatusCode::TOO_MANY_REQUESTS, "requests", "rate_limit_exceeded"),
            Kind::QuotaExhausted => (StatusCode::BAD_GATEWAY, "server_error", "upstream_quota_exhausted"),
            Kind::Overloaded => (StatusCode::SERVICE_UNAVAILABLE, "server_error", "overloaded"),
            Kind::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "server_error", "model_unavailable"),
            Kind::ShuttingDown => (StatusCode::SERVICE_UNAVAILABLE, "server_error", SHUTTING_DOWN),
            Kind::Unreachable => (StatusCode::BAD_GATEWAY, "server_error", "upstream_unreachable"),
            Kind::Timeout(_) => (StatusCode::GATEWAY_TIMEOUT, "server_error", "upstream_timeout"),
            Kind::ServerError => (StatusCode::BAD_GATEWAY, "server_error", "upstream_error"),
            Kind::Cut => (StatusCode::BAD_GATEWAY, "server_error", "upstream_cut"),
            Kind::Garbled => (StatusCode::BAD_GATEWAY, "server_error", "upstream_garbled"),
            Kind::Auth => (StatusCode::BAD_GATEWAY, "server_error", "upstream_auth_error"),
            Kind::ModelNotFound => (StatusCode::BAD_GATEWAY, "server_error", "upstream_model_not_found"),
            Kind::Internal => return Self::internal(),
        };
        Self {
            param: failure.param.as_deref().map(Into::into),
            retry_after: failure.retry_after,
            upstream_code: failure.upstream_code.as_deref().map(Into::into),
            ..Self::new(status, kind, Some(code), failure.message.as_str())
        }
    }
}

impl Refusal {
    /// An answer that is this error, in words of an API's own.
    pub(crate) fn respond(&self, status: StatusCode, error: &Value) -> Response {
        let body = error.to_string();
        let mut response = (status, [(header::CONTENT_TYPE, "application/json")], body).into_response();
        if let Some(wait) = self.retry_after {
            let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        self.respond(self.status, &self.to_json())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_object_has_its_four_keys() {
        let error = &Refusal::unauthorised(true).to_json()["error"];
        let keys: Vec<&String> = error.as_object().expect("it is an object").keys().collect();
        assert_eq!(keys, ["message", "type", "param", "code"]);
    }

    #[test]
    fn a_refused_key_of_ours_is_no_fault_of_the_caller() {
        let refusal = Refusal::from(&Failure::new(FailureKind::Auth, "openai refused our key"));
        assert_eq!((refusal.status(), refusal.code()), (502, "upstream_auth_error"));
        assert_eq!(refusal.to_json()["error"]["message"], "openai refused our key");
    }

    #[test]
    fn a_wait_is_rounded_up_to_whole_seconds() {
        let response = Refusal::unavailable("overloaded", "full", Some(Duration::from_millis(1200))).into_response();
        assert_eq!(response.headers()[header::RETRY_AFTER], "2");
    }
}
