//! `[responses]`: what is kept of responses, for how long, and how many are made in the background.

use std::time::Duration;

use weighbridge_gateway::BackgroundLimits;
use weighbridge_ledger::Retention;

use super::reader::Table;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// How responses are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ResponsesConfig {
    /// Whether they are, where their callers do not say otherwise.
    pub(crate) store: bool,
    pub(crate) retention: Retention,
    /// The bounds of those that are made in the background.
    pub(crate) background: BackgroundLimits,
}

impl Default for ResponsesConfig {
    fn default() -> Self {
        Self { store: true, retention: Retention::default(), background: BackgroundLimits::default() }
    }
}

impl ResponsesConfig {
    pub(super) fn read(table: &Table<'_, '_>) -> Self {
        let default = Self::default();
        let days = table.integer("keep_days", 1..36_501).and_then(|days| u32::try_from(days).ok());
        let max_mib = table.integer("max_mib", 1..(1 << 30) + 1);
        Self {
            store: table.boolean("store").unwrap_or(default.store),
            retention: Retention {
                term: days.map_or(default.retention.term, |days| DAY * days),
                max_bytes: max_mib.map_or(default.retention.max_bytes, |mib| mib << 20),
            },
            background: BackgroundLimits {
                most: table.size("max_background", 1..65_537).unwrap_or(default.background.most),
                most_per_caller: table
                    .size("max_background_per_caller", 1..65_537)
                    .unwrap_or(default.background.most_per_caller),
                event_bytes: table
                    .size("background_events_kib", 64..(1 << 20) + 1)
                    .map_or(default.background.event_bytes, |kib| kib << 10),
            },
        }
    }
}
