//! What a finished request leaves behind.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::{BackendId, DataClass, FailureKind, NanoUsd, Usage};

/// What a request used and cost, however it ended. One for each request; it holds no contents.
#[derive(Clone, Debug, PartialEq)]
pub struct Receipt {
    /// The request's id.
    pub request_id: Arc<str>,
    /// When it came.
    pub received_at: SystemTime,
    /// Who asked; `None` where the gateway is open.
    pub caller: Option<Arc<str>>,
    /// The model as the caller named it.
    pub model: String,
    /// The route that took it; `None` when it was refused before.
    pub route: Option<Arc<str>>,
    /// Its data class; `None` when it was refused before.
    pub class: Option<DataClass>,
    /// The backend that answered, or was answering when it ended.
    pub backend: Option<BackendId>,
    /// Every attempt, in order.
    pub attempts: Vec<AttemptRecord>,
    /// Whether the answer was streamed.
    pub stream: bool,
    /// How it ended.
    pub outcome: Outcome,
    /// The HTTP status that the caller saw.
    pub status: u16,
    /// Tokens used by the backend that answered.
    pub usage: Usage,
    /// What that cost.
    pub cost: NanoUsd,
    /// From its arrival to the first event.
    pub time_to_first_token: Option<Duration>,
    /// From its arrival to its end.
    pub duration: Duration,
}

/// One attempt of a request.
#[derive(Clone, Debug, PartialEq)]
pub struct AttemptRecord {
    /// Who was asked.
    pub backend: BackendId,
    /// What went wrong; `None` where it answered.
    pub failure: Option<FailureKind>,
    /// How long it took, to its failure or to its end.
    pub duration: Duration,
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The answer was sent whole.
    Completed,
    /// It was refused before any attempt: wrong, not allowed, or no backend is eligible.
    Refused,
    /// Every attempt failed, the answer broke off, or a request failed that came as one with it.
    Failed,
    /// The client went away.
    Cancelled,
    /// The gateway was stopped before the answer was whole.
    Stopped,
}

impl Outcome {
    /// One word for records and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Refused => "refused",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Stopped => "stopped",
        }
    }
}
