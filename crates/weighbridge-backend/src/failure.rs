//! How an attempt fails.

use std::fmt;
use std::time::Duration;

/// Why an attempt failed. Its message is for the caller: lower case, without a full stop, and never with a
/// key in it. Where the request is at fault it may quote the provider, who may quote the request; so logs
/// have the kind and the status, and no message.
#[derive(Clone, Debug, PartialEq)]
pub struct Failure {
    /// What went wrong, as far as dispatch has to know.
    pub kind: FailureKind,
    /// For people: what was attempted and what came back.
    pub message: String,
    /// How long the backend asked us to wait.
    pub retry_after: Option<Duration>,
    /// The status that an upstream answered with.
    pub upstream_status: Option<u16>,
    /// The upstream's own code for it, handed on to the caller in an extra key.
    pub upstream_code: Option<String>,
    /// The parameter of the request at fault, where one is.
    pub param: Option<String>,
}

/// What went wrong, in the terms that decide what happens next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FailureKind {
    /// The backend could not be reached.
    Unreachable,
    /// It did not answer in time; where it stood says which bound was passed.
    Timeout(Stage),
    /// It asks us to come back later.
    RateLimited,
    /// Our account there is used up; waiting does not help.
    QuotaExhausted,
    /// It is full: a queue has no place left.
    Overloaded,
    /// It cannot answer now, and asking again at once does not help: its model could not be loaded.
    Unavailable,
    /// It failed in itself.
    ServerError,
    /// The stream ended before the answer did.
    Cut,
    /// What it sent could not be read.
    Garbled,
    /// It refuses our key.
    Auth,
    /// It does not have the model.
    ModelNotFound,
    /// Prompt and answer do not fit its context.
    ContextLengthExceeded,
    /// It holds the request to be wrong.
    InvalidRequest,
    /// Its safety system refused the prompt.
    ContentRefused,
    /// It is being stopped.
    ShuttingDown,
    /// A fault of our own, which a log line explains.
    Internal,
}

/// Where an attempt stood when time ran out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stage {
    /// Opening the connection.
    Connect,
    /// Waiting for the first event.
    FirstToken,
    /// Waiting for the next event.
    BetweenTokens,
    /// The attempt as a whole.
    Total,
}

impl Failure {
    /// A failure with a message and nothing else.
    pub fn new(kind: FailureKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            retry_after: None,
            upstream_status: None,
            upstream_code: None,
            param: None,
        }
    }

    /// Whether the same backend may do better if asked again after a while.
    pub fn may_retry(&self) -> bool {
        use FailureKind as Kind;
        matches!(self.kind, Kind::Unreachable | Kind::RateLimited | Kind::Overloaded | Kind::ServerError | Kind::Cut)
    }

    /// Whether another backend may do better, as long as the client has seen nothing of this one: always,
    /// but where the request itself is at fault.
    pub fn may_fail_over(&self) -> bool {
        use FailureKind as Kind;
        !matches!(self.kind, Kind::InvalidRequest | Kind::ContentRefused | Kind::ContextLengthExceeded)
    }

    /// Whether it speaks against the backend's health.
    pub fn is_fault_of_backend(&self) -> bool {
        self.may_fail_over() && !matches!(self.kind, FailureKind::ShuttingDown)
    }
}

impl FailureKind {
    /// One word for records and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::Timeout(Stage::Connect) => "timeout_connect",
            Self::Timeout(Stage::FirstToken) => "timeout_first_token",
            Self::Timeout(Stage::BetweenTokens) => "timeout_between_tokens",
            Self::Timeout(Stage::Total) => "timeout_total",
            Self::RateLimited => "rate_limited",
            Self::QuotaExhausted => "quota_exhausted",
            Self::Overloaded => "overloaded",
            Self::Unavailable => "unavailable",
            Self::ServerError => "server_error",
            Self::Cut => "cut",
            Self::Garbled => "garbled",
            Self::Auth => "auth",
            Self::ModelNotFound => "model_not_found",
            Self::ContextLengthExceeded => "context_length_exceeded",
            Self::InvalidRequest => "invalid_request",
            Self::ContentRefused => "content_refused",
            Self::ShuttingDown => "shutting_down",
            Self::Internal => "internal",
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_fault_of_the_request_stays_where_it_is() {
        assert!(Failure::new(FailureKind::Auth, "").may_fail_over());
        assert!(!Failure::new(FailureKind::Auth, "").may_retry());
        assert!(!Failure::new(FailureKind::InvalidRequest, "").may_fail_over());
        assert!(Failure::new(FailureKind::Timeout(Stage::FirstToken), "").may_fail_over());
    }
}
