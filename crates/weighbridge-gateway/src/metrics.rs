//! `GET /metrics`: Prometheus figures. Labels are names from the config, so their number is bounded by it.

mod engine;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use weighbridge_backend::{BackendId, Computation, Load, Receipt};

use self::engine::EngineMetrics;
use crate::model_metrics::ModelMetrics;

/// Upper bounds in seconds, from a token of a small model to a long wait.
const BUCKETS: [f64; 16] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0];

/// Upper bounds in seconds for what lies between two threads.
const DELAYS: [f64; 10] = [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.25, 1.0];

/// What a prediction is divided into: half as long, as long, twice as long.
const RATIOS: [f64; 9] = [0.25, 0.5, 0.75, 0.9, 1.1, 1.33, 2.0, 4.0, 8.0];

/// One backend at the moment of a scrape.
pub(crate) struct Now<'a> {
    pub(crate) backend: &'a BackendId,
    pub(crate) load: Load,
    pub(crate) ready: bool,
    pub(crate) computation: Option<Computation>,
}

/// The gateway's figures.
pub(crate) struct Metrics {
    registry: Registry,
    requests: Family<RequestLabels, Counter>,
    attempts: Family<AttemptLabels, Counter>,
    tokens: Family<TokenLabels, Counter>,
    cost_nano_usd: Family<BackendLabel, Counter>,
    first_token: Family<BackendLabel, Histogram>,
    between_tokens: Family<BackendLabel, Histogram>,
    chunk_delay: Family<BackendLabel, Histogram>,
    duration: Family<BackendLabel, Histogram>,
    waiting: Family<BackendLabel, Gauge>,
    running: Family<BackendLabel, Gauge>,
    ready: Family<BackendLabel, Gauge>,
    predicted_first_token: Family<BackendLabel, Histogram>,
    first_token_ratio: Family<BackendLabel, Histogram>,
    engine: EngineMetrics,
    in_flight: Gauge,
    pub(crate) models: ModelMetrics,
}

/// The figures of one backend that are written for every token, found once a stream.
#[derive(Clone)]
pub(crate) struct TokenTimes {
    between_tokens: Histogram,
    chunk_delay: Histogram,
}

impl TokenTimes {
    /// An event was made so long before it was written for the client.
    pub(crate) fn waited(&self, time: Duration) {
        self.chunk_delay.observe(time.as_secs_f64());
    }

    /// An event came this long after the one before it.
    pub(crate) fn observe(&self, gap: Duration) {
        self.between_tokens.observe(gap.as_secs_f64());
    }
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RequestLabels {
    route: String,
    backend: String,
    outcome: &'static str,
    status: u16,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct AttemptLabels {
    backend: String,
    result: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct TokenLabels {
    backend: String,
    kind: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct BackendLabel {
    backend: String,
}

fn gauge(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn histogram() -> Histogram {
    Histogram::new(BUCKETS)
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let metrics = Self {
            registry: Registry::with_prefix("weighbridge"),
            requests: Family::default(),
            attempts: Family::default(),
            tokens: Family::default(),
            cost_nano_usd: Family::default(),
            first_token: Family::new_with_constructor(histogram),
            between_tokens: Family::new_with_constructor(histogram),
            chunk_delay: Family::new_with_constructor(|| Histogram::new(DELAYS)),
            duration: Family::new_with_constructor(histogram),
            waiting: Family::default(),
            running: Family::default(),
            ready: Family::default(),
            predicted_first_token: Family::new_with_constructor(histogram),
            first_token_ratio: Family::new_with_constructor(|| Histogram::new(RATIOS)),
            engine: EngineMetrics::default(),
            in_flight: Gauge::default(),
            models: ModelMetrics::default(),
        };
        metrics.registered()
    }

    fn registered(mut self) -> Self {
        let registry = &mut self.registry;
        registry.register("requests", "Requests, by how they ended", self.requests.clone());
        registry.register("attempts", "Attempts at backends, by result", self.attempts.clone());
        registry.register("tokens", "Tokens, by kind (prompt, cached, completion, reasoning)", self.tokens.clone());
        registry.register("cost_nano_usd", "Cost in billionths of a US dollar", self.cost_nano_usd.clone());
        let seconds = |registry: &mut Registry, name, help, family: &Family<BackendLabel, Histogram>| {
            registry.register_with_unit(name, help, Unit::Seconds, family.clone());
        };
        seconds(registry, "time_to_first_token", "From a request's arrival to its first event", &self.first_token);
        let help = "From asking a backend to its first event, as it foretold";
        seconds(registry, "predicted_time_to_first_token", help, &self.predicted_first_token);
        let help = "The time from asking a backend to its first event, divided by what it foretold";
        registry.register("time_to_first_token_ratio", help, self.first_token_ratio.clone());
        seconds(registry, "time_between_tokens", "From one event of an answer to the next", &self.between_tokens);
        let help = "From an event of a local model to its being written for the client of a stream";
        seconds(registry, "stream_chunk_delay", help, &self.chunk_delay);
        seconds(registry, "request_duration", "From a request's arrival to its end", &self.duration);
        registry.register("queue_waiting", "Answers that wait in a backend's queue", self.waiting.clone());
        registry.register("queue_running", "Answers that a backend is making", self.running.clone());
        registry.register("backend_ready", "1 where a backend can answer", self.ready.clone());
        self.engine.register(registry);
        self.models.register(registry);
        registry.register("requests_in_flight", "Requests admitted and not ended", self.in_flight.clone());
        self
    }

    pub(crate) fn token_times(&self, backend: &str) -> TokenTimes {
        let label = backend_label(backend);
        TokenTimes {
            between_tokens: self.between_tokens.get_or_create(&label).clone(),
            chunk_delay: self.chunk_delay.get_or_create(&label).clone(),
        }
    }

    /// Counts a finished request.
    pub(crate) fn count(&self, receipt: &Receipt) {
        let backend = receipt.backend.as_ref().map_or("none", |backend| backend.as_str());
        let labels = RequestLabels {
            route: receipt.route.as_deref().unwrap_or("none").to_owned(),
            backend: backend.to_owned(),
            outcome: receipt.outcome.as_str(),
            status: receipt.status,
        };
        self.requests.get_or_create(&labels).inc();
        for attempt in &receipt.attempts {
            let result = attempt.failure.map_or("answered", |kind| kind.as_str());
            self.attempts.get_or_create(&AttemptLabels { backend: attempt.backend.to_string(), result }).inc();
        }
        if receipt.backend.is_none() {
            return;
        }
        let label = backend_label(backend);
        let usage = &receipt.usage;
        for (kind, tokens) in [
            ("prompt", usage.prompt_tokens),
            ("cached", usage.cached_tokens),
            ("completion", usage.completion_tokens),
            ("reasoning", usage.reasoning_tokens),
        ] {
            self.tokens.get_or_create(&TokenLabels { backend: backend.to_owned(), kind }).inc_by(tokens);
        }
        self.cost_nano_usd.get_or_create(&label).inc_by(receipt.cost.0);
        if let Some(elapsed) = receipt.time_to_first_token {
            self.first_token.get_or_create(&label).observe(elapsed.as_secs_f64());
        }
        self.duration.get_or_create(&label).observe(receipt.duration.as_secs_f64());
    }

    /// A backend that had foretold when its first token comes has begun to answer.
    pub(crate) fn foretold(&self, backend: &str, predicted: Duration, elapsed: Duration) {
        let label = backend_label(backend);
        self.predicted_first_token.get_or_create(&label).observe(predicted.as_secs_f64());
        if !predicted.is_zero() {
            self.first_token_ratio.get_or_create(&label).observe(elapsed.div_duration_f64(predicted));
        }
    }

    /// The page, with what the backends are like now put in first.
    pub(crate) fn page<'a>(
        &self,
        backends: impl Iterator<Item = Now<'a>>,
        in_flight: usize,
    ) -> Result<String, fmt::Error> {
        for Now { backend, load, ready, computation } in backends {
            let label = backend_label(backend.as_str());
            self.waiting.get_or_create(&label).set(gauge(load.waiting));
            self.running.get_or_create(&label).set(gauge(load.running));
            self.ready.get_or_create(&label).set(i64::from(ready));
            if let Some(computation) = computation {
                self.engine.set(&label, &computation);
            }
        }
        self.in_flight.set(gauge(in_flight));
        let mut page = String::new();
        text::encode(&mut page, &self.registry)?;
        Ok(page)
    }
}

fn backend_label(backend: &str) -> BackendLabel {
    BackendLabel { backend: backend.to_owned() }
}

/// Shared by the account of every request.
pub(crate) type SharedMetrics = Arc<Metrics>;
