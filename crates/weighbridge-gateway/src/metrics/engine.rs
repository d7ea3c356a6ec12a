//! Figures of the backends that compute on this machine.

use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};
use weighbridge_backend::{Computation, TokenTime};

use super::{BackendLabel, gauge};

/// What engines hold and have done, as they tell when they are asked.
#[derive(Default)]
pub(super) struct EngineMetrics {
    pages: Family<PageLabels, Gauge>,
    page_capacity: Family<BackendLabel, Gauge>,
    windowed_pages: Family<PageLabels, Gauge>,
    windowed_page_capacity: Family<BackendLabel, Gauge>,
    token_time: Family<KindLabels, Gauge<f64, AtomicU64>>,
    steps: Family<BackendLabel, Counter>,
    prefix_hit_tokens: Family<BackendLabel, Counter>,
    preemptions: Family<BackendLabel, Counter>,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct PageLabels {
    backend: String,
    state: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct KindLabels {
    backend: String,
    kind: &'static str,
}

impl EngineMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        let help = "Pages of keys and values, by state: used by a sequence, cached for a prefix, free";
        registry.register("pages", help, self.pages.clone());
        registry.register("pages_capacity", "Pages of keys and values that there may be", self.page_capacity.clone());
        let help = "Pages of layers with a sliding window, by state: used by a sequence, cached for a prefix, free";
        registry.register("windowed_pages", help, self.windowed_pages.clone());
        let help = "Pages of layers with a sliding window that there may be";
        registry.register("windowed_pages_capacity", help, self.windowed_page_capacity.clone());
        let help = "What a token takes of the machine, of late, by kind (prompt, answer)";
        registry.register_with_unit("token_compute", help, Unit::Seconds, self.token_time.clone());
        registry.register("steps", "Steps computed", self.steps.clone());
        let help = "Tokens not computed, for an earlier prompt began alike";
        registry.register("prefix_hit_tokens", help, self.prefix_hit_tokens.clone());
        registry.register("preemptions", "Sequences that gave their pages back to others", self.preemptions.clone());
    }

    pub(super) fn set(&self, label: &BackendLabel, computation: &Computation) {
        let Computation { pages, windowed_pages, token_time, steps, prefix_hit_tokens, preemptions } = computation;
        let groups = [
            (pages, &self.pages, &self.page_capacity),
            (windowed_pages, &self.windowed_pages, &self.windowed_page_capacity),
        ];
        for (pages, by_state, capacity) in groups {
            let Some(pages) = pages else { continue };
            for (state, count) in [("used", pages.used), ("cached", pages.cached), ("free", pages.free())] {
                let labels = PageLabels { backend: label.backend.clone(), state };
                by_state.get_or_create(&labels).set(gauge(count));
            }
            capacity.get_or_create(label).set(gauge(pages.capacity));
        }
        let TokenTime { prompt, answer } = token_time;
        for (kind, time) in [("prompt", prompt), ("answer", answer)] {
            if let Some(time) = time {
                let labels = KindLabels { backend: label.backend.clone(), kind };
                self.token_time.get_or_create(&labels).set(time.as_secs_f64());
            }
        }
        // The engine counts, and begins anew when its model is loaded again, which scrapers take for a restart.
        for (family, total) in
            [(&self.steps, steps), (&self.prefix_hit_tokens, prefix_hit_tokens), (&self.preemptions, preemptions)]
        {
            family.get_or_create(label).inner().store(*total, Ordering::Relaxed);
        }
    }
}
