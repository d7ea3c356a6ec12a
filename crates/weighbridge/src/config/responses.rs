//! `[responses]`: what is kept of responses, and for how long.

use std::time::Duration;

use weighbridge_ledger::Retention;

use super::reader::Table;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// How responses are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ResponsesConfig {
    /// Whether they are, where their callers do not say otherwise.
    pub(crate) store: bool,
    pub(crate) retention: Retention,
}

impl Default for ResponsesConfig {
    fn default() -> Self {
        Self { store: true, retention: Retention::default() }
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
        }
    }
}
