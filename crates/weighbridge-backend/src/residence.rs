//! Models that come and go: where each stands with its weights, and who loads and unloads them at will.

use std::fmt;
use std::time::Duration;

use futures_core::future::BoxFuture;

use crate::{BackendId, Failure};

/// Where a local model stands with its weights.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ModelState {
    /// They are not in memory; the next request brings them.
    Unloaded,
    /// They are being brought.
    Loading {
        /// Bytes of the stored weights that were read.
        done_bytes: u64,
        /// Bytes to be read in all; 0 where that is not known yet.
        total_bytes: u64,
    },
    /// It answers.
    Ready,
    /// They are being let go of.
    Unloading,
    /// They could not be brought, or its engine has died.
    Failed {
        /// Why.
        reason: String,
        /// How much longer no request tries it again.
        retry_in: Duration,
    },
}

impl ModelState {
    /// The words for it in answers and metrics.
    pub const NAMES: [&'static str; 5] = ["unloaded", "loading", "ready", "unloading", "failed"];

    /// One word for it.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Unloaded => "unloaded",
            Self::Loading { .. } => "loading",
            Self::Ready => "ready",
            Self::Unloading => "unloading",
            Self::Failed { .. } => "failed",
        }
    }
}

/// What there is to know of one local model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelStatus {
    /// Its name as a backend.
    pub id: BackendId,
    /// Where it stands.
    pub state: ModelState,
    /// Bytes that are set aside for it while it is in memory: weights, pages, and what a step works in.
    pub memory_bytes: u64,
    /// Whether it stays whatever happens.
    pub pinned: bool,
    /// How long after its last request it is unloaded; `None` until its room is needed.
    pub keep_alive: Option<Duration>,
    /// Requests that it answers.
    pub answering: usize,
    /// Requests that wait for it to be there.
    pub waiting: usize,
    /// How long it has been in memory without one.
    pub idle: Option<Duration>,
    /// Times that it was loaded.
    pub loads: u64,
    /// Times that it could not be.
    pub failures: u64,
    /// Times that a load was cancelled.
    pub cancelled: u64,
    /// Times that its engine has died.
    pub deaths: u64,
    /// Times that it was unloaded, by death too.
    pub unloads: u64,
}

/// All local models and the memory that they share.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PoolStatus {
    /// The memory that they may take together; `None` where nobody set a bound.
    pub budget_bytes: Option<u64>,
    /// What is set aside for those in memory now.
    pub held_bytes: u64,
    /// Each of them, by name.
    pub models: Vec<ModelStatus>,
}

/// Why a model was not loaded or unloaded at will.
#[derive(Clone, Debug, PartialEq)]
pub enum ModelRefusal {
    /// There is no local model of that name.
    Unknown,
    /// It is pinned: the config says that it stays.
    Pinned,
    /// It is at work.
    Busy {
        /// Requests that it answers, and that wait for it.
        requests: usize,
    },
    /// It was tried and failed.
    Failed(Failure),
}

impl fmt::Display for ModelRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => f.write_str("there is no local model of that name"),
            Self::Pinned => f.write_str("the model is pinned (pinned = true in the config), so that it stays loaded"),
            Self::Busy { requests } => {
                write!(f, "the model is at work on {requests} requests; unload it once they have ended")
            }
            Self::Failed(failure) => failure.fmt(f),
        }
    }
}

impl std::error::Error for ModelRefusal {}

/// The local models, for whoever runs the gateway.
pub trait Models: Send + Sync {
    /// How they are now.
    fn status(&self) -> PoolStatus;

    /// Brings a model into memory, as a request for it would, also one that has just failed. Ready when it is there.
    /// Dropping the future stops the waiting; a load under way goes on until somebody unloads the model.
    fn load(&self, id: &BackendId) -> BoxFuture<'static, Result<(), ModelRefusal>>;

    /// Takes an idle model out of memory, or cancels its load, with which the requests that wait for it fail. Ready when
    /// its memory is free; a model that is not there is no error.
    fn unload(&self, id: &BackendId) -> BoxFuture<'static, Result<(), ModelRefusal>>;
}
