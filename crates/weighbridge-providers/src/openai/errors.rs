//! Errors of a provider to failures.
//!
//! Codes and types come before the status, for they say more, and inside a stream there is nothing else.
//! Where neither is known, the status decides.

use std::time::{Duration, SystemTime};

use reqwest::StatusCode;
use reqwest::header::{HeaderMap, LOCATION};
use serde_json::Value;
use weighbridge_backend::{Failure, FailureKind};

use crate::peer::Peer;
use crate::retry_after::retry_after;

/// Characters of a provider's text in a message of ours.
const MOST_TEXT: usize = 300;

/// How the many servers say that a prompt is too long, in lower case. There is no code that all share.
const CONTEXT_PHRASES: [&str; 11] = [
    "maximum context length is",
    "prompt is too long",
    "exceed context limit",
    "maximum context limit",
    "input tokens exceed the configured limit",
    "exceeds the maximum number of tokens allowed",
    "exceeds the available context size",
    "is longer than the model's context length",
    "too many tokens",
    "input is too long",
    "while limit is",
];

/// The failure that a response with an error status is. `body` is the beginning of its body.
pub(crate) fn failure_of_response(peer: &Peer, status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Failure {
    if status.is_redirection() {
        return redirected(peer, status, headers);
    }
    let facts = serde_json::from_slice(body).map(|body| Facts::of_body(&body)).unwrap_or_default();
    failure(peer, Some(status.as_u16()), retry_after(headers, SystemTime::now()), &facts)
}

/// The failure that an error object inside a stream, or in a body with status 200, is.
pub(super) fn failure_in_stream(peer: &Peer, error: &Value) -> Failure {
    let facts = Facts::of_error(error);
    // OpenRouter's code there is the status that it would have answered with.
    let status = facts.code.as_deref().and_then(|code| code.parse().ok()).filter(|code| (400..600).contains(code));
    failure(peer, status, None, &facts)
}

fn failure(peer: &Peer, status: Option<u16>, retry_after: Option<Duration>, facts: &Facts) -> Failure {
    let kind = facts.kind().or_else(|| status.map(kind_of_status)).unwrap_or_else(|| facts.kind_without_status());
    let code = facts.code.as_deref().or(facts.kind.as_deref()).and_then(word);
    let mut what = match status {
        Some(status) => format!("answered {status}"),
        None => "broke off with an error".to_owned(),
    };
    if let Some(code) = &code {
        what.push_str(&format!(" ({code})"));
    }
    // The provider's text may echo the request; it is shown only where the caller can act on it.
    if let Some(text) = facts.message.as_deref().filter(|_| tells_the_caller(kind)) {
        what.push_str(&format!(": {}", peer.clean(text, MOST_TEXT)));
    }
    Failure {
        retry_after,
        upstream_status: status,
        upstream_code: code,
        param: facts.param.as_deref().map(|param| peer.clean(param, 100)),
        ..peer.failure(kind, what)
    }
}

fn tells_the_caller(kind: FailureKind) -> bool {
    use FailureKind as Kind;
    matches!(kind, Kind::InvalidRequest | Kind::ContextLengthExceeded | Kind::ContentRefused | Kind::ModelNotFound)
}

fn redirected(peer: &Peer, status: StatusCode, headers: &HeaderMap) -> Failure {
    let target = headers.get(LOCATION).and_then(|target| target.to_str().ok());
    // A path or a query may hold anything; the host is what the operator has to look at.
    let host = target.and_then(|target| reqwest::Url::parse(target).ok()?.host_str().map(str::to_owned));
    let host = host.map_or_else(|| "another path".to_owned(), |host| peer.clean(&host, 100));
    let what = format!(
        "answered {} with a redirect to {host}, which is not followed; set base_url to where it should go",
        status.as_u16()
    );
    Failure { upstream_status: Some(status.as_u16()), ..peer.failure(FailureKind::ServerError, what) }
}

fn kind_of_status(status: u16) -> FailureKind {
    match status {
        401 | 403 => FailureKind::Auth,
        // 412 is what Fireworks answers for a suspended account.
        402 | 412 => FailureKind::QuotaExhausted,
        404 | 410 => FailureKind::ModelNotFound,
        429 => FailureKind::RateLimited,
        // 498 is Groq's word for a tier without capacity.
        498 | 503 | 529 => FailureKind::Overloaded,
        // 405 is a base_url that is no API; 408 and 409 are worth another try.
        405 | 408 | 409 | 499 => FailureKind::ServerError,
        400..=499 => FailureKind::InvalidRequest,
        _ => FailureKind::ServerError,
    }
}

/// What an error body says, in whichever of the usual shapes.
#[derive(Debug, Default)]
struct Facts {
    message: Option<String>,
    kind: Option<String>,
    code: Option<String>,
    inner_code: Option<String>,
    param: Option<String>,
    flagged: bool,
}

impl Facts {
    /// Reads `{"error":{…}}`, `{"error":"text"}`, a list of one of these, or an error object without a cover.
    fn of_body(body: &Value) -> Self {
        let body = body.get(0).unwrap_or(body);
        Self::of_error(body.get("error").filter(|error| !error.is_null()).unwrap_or(body))
    }

    fn of_error(error: &Value) -> Self {
        let text = |path: &str| match error.pointer(path) {
            Some(Value::String(text)) => Some(text.clone()),
            Some(Value::Number(number)) => Some(number.to_string()),
            _ => None,
        };
        Self {
            message: error.as_str().map(str::to_owned).or_else(|| ["/message", "/detail"].into_iter().find_map(text)),
            kind: text("/type"),
            code: text("/code"),
            inner_code: text("/innererror/code"),
            param: text("/param"),
            flagged: error.pointer("/metadata/flagged_input").is_some(),
        }
    }

    fn is_one_of(&self, words: &[&str]) -> bool {
        [&self.code, &self.kind, &self.inner_code].into_iter().flatten().any(|word| words.contains(&word.as_str()))
    }

    /// The kind, where the words alone tell it.
    fn kind(&self) -> Option<FailureKind> {
        if self.is_one_of(&["insufficient_quota", "billing_not_active", "billing_hard_limit_reached"]) {
            Some(FailureKind::QuotaExhausted)
        } else if self.is_one_of(&["rate_limit_exceeded", "rate_limit_error"]) {
            Some(FailureKind::RateLimited)
        } else if self.is_too_long() {
            Some(FailureKind::ContextLengthExceeded)
        } else if self.flagged
            || self.is_one_of(&[
                "content_filter",
                "content_policy_violation",
                "moderation_blocked",
                "cyber_policy",
                "invalid_prompt",
                "ResponsibleAIPolicyViolation",
            ])
        {
            Some(FailureKind::ContentRefused)
        } else if self.is_one_of(&["model_not_found", "DeploymentNotFound"]) {
            Some(FailureKind::ModelNotFound)
        } else if self.is_one_of(&["invalid_api_key", "authentication_error", "permission_error"]) {
            Some(FailureKind::Auth)
        } else if self.is_one_of(&["overloaded_error", "unavailable_error", "capacity_exceeded"]) {
            Some(FailureKind::Overloaded)
        } else {
            None
        }
    }

    /// The phrases are trusted only where no code says something else, for a rate limit speaks of too many
    /// tokens, too.
    fn is_too_long(&self) -> bool {
        let phrase = || {
            let message = self.message.as_deref().unwrap_or_default().to_lowercase();
            CONTEXT_PHRASES.iter().any(|phrase| message.contains(phrase))
        };
        let is_status = |words: &[&str]| self.code.as_deref().is_some_and(|code| words.contains(&code));
        self.is_one_of(&["context_length_exceeded", "exceed_context_size_error"])
            || (!self.is_one_of(&["string_above_max_length", "requests", "tokens"])
                && !is_status(&["429", "500", "502", "503"])
                && phrase())
    }

    /// The kind of an error inside a stream that no status and no word explains.
    fn kind_without_status(&self) -> FailureKind {
        if self.is_one_of(&["invalid_request_error", "BadRequestError"]) {
            FailureKind::InvalidRequest
        } else {
            FailureKind::ServerError
        }
    }
}

/// A code as it may stand in messages and records: one plain word. Anything else might be contents.
fn word(code: &str) -> Option<String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    (!code.is_empty() && code.len() <= 64 && code.chars().all(plain)).then(|| code.to_owned())
}

#[cfg(test)]
mod tests;
