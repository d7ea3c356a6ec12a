//! The figures of local models: where each stands, how far a load has come, and the memory that they share.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};
use weighbridge_backend::{ModelState, ModelStatus, PoolStatus};

/// Gauges and counts by model, put in whenever the page is asked for.
#[derive(Default)]
pub(crate) struct ModelMetrics {
    state: Family<StateLabels, Gauge>,
    loaded: Family<ModelLabel, Gauge>,
    to_load: Family<ModelLabel, Gauge>,
    memory: Family<ModelLabel, Gauge>,
    answering: Family<ModelLabel, Gauge>,
    waiting: Family<ModelLabel, Gauge>,
    loads: Family<LoadLabels, Counter>,
    unloads: Family<ModelLabel, Counter>,
    deaths: Family<ModelLabel, Counter>,
    budget: Gauge,
    held: Gauge,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ModelLabel {
    backend: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct StateLabels {
    backend: String,
    state: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct LoadLabels {
    backend: String,
    result: &'static str,
}

impl ModelMetrics {
    pub(crate) fn register(&self, registry: &mut Registry) {
        registry.register("model_state", "1 for the state that a local model is in", self.state.clone());
        registry.register("model_answering", "Requests that hold a local model", self.answering.clone());
        registry.register("model_waiting", "Requests that wait for a local model to be there", self.waiting.clone());
        registry.register("model_loads", "Loads of a local model, by result", self.loads.clone());
        registry.register("model_unloads", "Times that a local model was unloaded", self.unloads.clone());
        registry.register("model_deaths", "Times that the engine of a local model has died", self.deaths.clone());
        let mut bytes = |name, help, family: &Family<ModelLabel, Gauge>| {
            registry.register_with_unit(name, help, Unit::Bytes, family.clone());
        };
        bytes("model_loaded", "Stored weights that the load under way has read", &self.loaded);
        bytes("model_to_load", "Stored weights that the load under way reads in all", &self.to_load);
        bytes("model_memory", "Memory set aside for a local model while it is there", &self.memory);
        let mut bytes = |name, help, gauge: &Gauge| registry.register_with_unit(name, help, Unit::Bytes, gauge.clone());
        bytes("model_memory_budget", "Memory that local models may take together; 0 without a bound", &self.budget);
        bytes("model_memory_held", "Memory set aside for the local models that are there now", &self.held);
    }

    /// Puts the moment's figures in.
    pub(crate) fn set(&self, status: &PoolStatus) {
        self.budget.set(gauge(status.budget_bytes.unwrap_or(0)));
        self.held.set(gauge(status.held_bytes));
        status.models.iter().for_each(|model| self.set_model(model));
    }

    fn set_model(&self, status: &ModelStatus) {
        let backend = status.id.as_str();
        for state in ModelState::NAMES {
            let labels = StateLabels { backend: backend.to_owned(), state };
            self.state.get_or_create(&labels).set(i64::from(status.state.as_str() == state));
        }
        let (done, total) = match status.state {
            ModelState::Loading { done_bytes, total_bytes } => (done_bytes, total_bytes),
            _ => (0, 0),
        };
        let label = ModelLabel { backend: backend.to_owned() };
        for (family, value) in [
            (&self.loaded, done),
            (&self.to_load, total),
            (&self.memory, status.memory_bytes),
            (&self.answering, status.answering as u64),
            (&self.waiting, status.waiting as u64),
        ] {
            family.get_or_create(&label).set(gauge(value));
        }
        for (result, count) in [("loaded", status.loads), ("failed", status.failures), ("cancelled", status.cancelled)]
        {
            let labels = LoadLabels { backend: backend.to_owned(), result };
            raise(&self.loads.get_or_create(&labels), count);
        }
        raise(&self.unloads.get_or_create(&label), status.unloads);
        raise(&self.deaths.get_or_create(&label), status.deaths);
    }
}

fn gauge(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// Brings a counter to what was counted elsewhere.
fn raise(counter: &Counter, count: u64) {
    counter.inner().fetch_max(count, std::sync::atomic::Ordering::Relaxed);
}
