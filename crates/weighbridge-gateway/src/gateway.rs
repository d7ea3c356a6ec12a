//! What the gateway holds: routes, backends, callers, and where accounts go.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use weighbridge_backend::{Backend, BackendId, Models};
use weighbridge_ledger::Ledger;
use weighbridge_policy::{Known, Route};

use crate::account::Books;
use crate::admission::Admission;
use crate::background::{Background, BackgroundLimits};
use crate::callers::Callers;
use crate::edges::{COMPRESSED_STREAMS, Compression, Cors, Repeats};
use crate::metrics::Metrics;
use crate::responses::Sockets;
use crate::world::Experience;

/// How the gateway is set up.
pub struct Options {
    /// The routes, in the order in which they are tried.
    pub routes: Vec<Route>,
    /// Everything that can answer.
    pub backends: Vec<Arc<dyn Backend>>,
    /// The local models among them, where there are some that can be loaded and unloaded.
    pub models: Option<Arc<dyn Models>>,
    /// The names of the providers, of which `NAME/…` is a model.
    pub providers: Vec<String>,
    /// Who may ask.
    pub callers: Callers,
    /// Where receipts go.
    pub ledger: Ledger,
    /// The bounds.
    pub limits: Limits,
}

/// What bounds a request.
#[derive(Clone, Debug)]
pub struct Limits {
    /// The most bytes of a body.
    pub body_bytes: usize,
    /// How long a body may take to arrive.
    pub body_timeout: Duration,
    /// The most connections at once; further ones wait in the system's queue.
    pub connections: usize,
    /// How long the head of a request may take to arrive, and how long a connection may be idle.
    pub head_timeout: Duration,
    /// The most bytes of such a head; HTTP/1 takes at least 8 KiB.
    pub head_bytes: usize,
    /// The most requests under way on one connection of HTTP/2.
    pub streams: u32,
    /// The most requests inside at once.
    pub in_flight: usize,
    /// How often a backend that failed for a moment is asked again, after the others were.
    pub retries: u32,
    /// The wait before the first such retry; it doubles, and a `Retry-After` replaces it.
    pub backoff: Duration,
    /// The longest wait for which a retry is worth it.
    pub longest_wait: Duration,
    /// How long all attempts together may take to the first event.
    pub first_event: Duration,
    /// How long a stream may be silent before a comment is sent, and how long its status waits for the first event.
    pub keep_alive: Duration,
    /// How long an answer may take from when its request was read, whoever makes it; a header may ask for less.
    pub request_timeout: Option<Duration>,
    /// How long an answer is kept for who asks again with its `Idempotency-Key`.
    pub repeat_window: Duration,
    /// The most bytes of all answers that are kept so, in memory; one takes a sixteenth at most.
    pub repeat_bytes: usize,
    /// How many tokens an answer is expected to have where the caller sets no bound.
    pub expected_output_tokens: u64,
    /// Whether `/metrics` wants a key where `/v1` does.
    pub metrics_need_key: bool,
    /// Whether only requests that name this machine in `Host` are taken: what keeps a web page from
    /// reaching an open gateway on loopback through a name of its own.
    pub local_host_only: bool,
    /// Whether responses are kept for later requests, where their callers do not say otherwise.
    pub store_responses: bool,
    /// The bounds of responses that are made in the background.
    pub background: BackgroundLimits,
    /// Whether, where there are no keys, whoever reaches the gateway may load and unload models.
    pub open_admin: bool,
    /// Which pages of other origins may ask; none where it is missing.
    pub cors: Option<Cors>,
    /// What of the answers is compressed.
    pub compression: Compression,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            // 16 MiB of content in its envelope.
            body_bytes: 18 << 20,
            body_timeout: Duration::from_secs(60),
            connections: 4096,
            head_timeout: Duration::from_secs(60),
            head_bytes: 64 << 10,
            streams: 128,
            in_flight: 1024,
            retries: 2,
            backoff: Duration::from_millis(250),
            longest_wait: Duration::from_secs(5),
            first_event: Duration::from_secs(600),
            keep_alive: Duration::from_secs(15),
            request_timeout: None,
            repeat_window: Duration::from_secs(24 * 3600),
            repeat_bytes: 64 << 20,
            expected_output_tokens: 256,
            metrics_need_key: false,
            local_host_only: false,
            store_responses: true,
            background: BackgroundLimits::default(),
            open_admin: false,
            cors: None,
            compression: Compression::default(),
        }
    }
}

/// The gateway. Cheap to clone; clones are the same gateway.
#[derive(Clone)]
pub struct Gateway(pub(crate) Arc<Core>);

/// What every handler works with.
pub(crate) struct Core {
    pub(crate) routes: Vec<Route>,
    backends: BTreeMap<BackendId, Registered>,
    ids: Vec<BackendId>,
    pub(crate) models: Option<Arc<dyn Models>>,
    providers: Vec<String>,
    pub(crate) callers: Callers,
    pub(crate) limits: Limits,
    /// Places for streams that are compressed.
    pub(crate) compressing: Arc<Semaphore>,
    /// Answers that are kept for who asks again.
    pub(crate) repeats: Repeats,
    /// Answers that are made without their callers.
    pub(crate) background: Arc<Background>,
    pub(crate) sockets: Sockets,
    pub(crate) books: Books,
    pub(crate) admission: Admission,
    pub(crate) started: std::time::SystemTime,
}

/// A backend and what was learnt about it.
pub(crate) struct Registered {
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) experience: Experience,
}

impl Gateway {
    /// A gateway that takes requests as soon as it is served.
    pub fn new(options: Options) -> Self {
        let Options { routes, backends, models, providers, callers, ledger, limits } = options;
        let registered = |backend: Arc<dyn Backend>| {
            (backend.offer().id.clone(), Registered { backend, experience: Experience::default() })
        };
        let backends: BTreeMap<_, _> = backends.into_iter().map(registered).collect();
        Self(Arc::new(Core {
            routes,
            ids: backends.keys().cloned().collect(),
            backends,
            models,
            providers,
            callers,
            admission: Admission::new(limits.in_flight),
            sockets: Sockets::new(limits.connections),
            repeats: Repeats::new(limits.repeat_window, limits.repeat_bytes),
            background: Arc::new(Background::new(limits.background)),
            limits,
            compressing: Arc::new(Semaphore::new(COMPRESSED_STREAMS)),
            books: Books { ledger, metrics: Arc::new(Metrics::new()) },
            started: std::time::SystemTime::now(),
        }))
    }
}

impl Core {
    pub(crate) fn known(&self) -> Known<'_> {
        Known { backends: &self.ids, providers: &self.providers }
    }

    pub(crate) fn backend(&self, id: &BackendId) -> Option<&Registered> {
        self.backends.get(id)
    }

    pub(crate) fn backends(&self) -> impl Iterator<Item = &Registered> {
        self.backends.values()
    }
}
