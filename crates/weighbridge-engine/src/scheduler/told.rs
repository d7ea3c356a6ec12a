//! What a scheduler tells of itself: who waits for how much, what steps take, what it has done.

use weighbridge_backend::Priority;

use super::{Caller, Scheduler, Speed};

/// What a scheduler has done since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    /// Steps that were not empty.
    pub(crate) steps: u64,
    /// Tokens that sequences found computed as they began.
    pub(crate) prefix_hit_tokens: u64,
    /// How often one gave its pages back.
    pub(crate) preemptions: u64,
}

/// A sequence with tokens to compute before it draws: who waits for it, and for how much.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pending {
    /// Who waits.
    pub(crate) caller: Caller,
    /// Whether others go first.
    pub(crate) priority: Priority,
    /// Tokens to compute; while it has no pages, less what was computed of its prompt when it came, and less what another
    /// computes for it.
    pub(crate) tokens: usize,
    /// It has no pages yet.
    pub(crate) waits: bool,
    /// Whoever came later has more.
    pub(crate) order: u64,
}

impl Scheduler {
    /// What it has done so far.
    pub(crate) fn totals(&self) -> Totals {
        self.totals
    }

    /// Sequences that have pages, and how many may.
    pub(crate) fn running(&self) -> (usize, usize) {
        (self.running.len(), self.limits.max_running)
    }

    /// Answers and tokens of prompts in the step under way.
    pub(crate) fn under_way(&self) -> (usize, usize) {
        if self.running.is_empty() { (0, 0) } else { self.latest }
    }

    /// Tokens of interactive prompts in the row after which a batch has its turn.
    pub(crate) fn in_a_row(&self) -> usize {
        self.prompts.in_a_row()
    }

    /// What steps take and may hold, with somebody more who comes now.
    pub(crate) fn speed(&self) -> Speed {
        let (answers, _) = self.under_way();
        self.limits.pace.speed(answers, self.running.len().saturating_sub(answers) + 1)
    }

    /// Writes down every sequence that has tokens to compute before it draws, in order of arrival.
    pub(crate) fn pending(&self, pending: &mut Vec<Pending>) {
        pending.clear();
        pending.extend(self.sequences.iter().filter(|(_, entry)| !entry.decodes).map(|(id, entry)| Pending {
            caller: entry.caller.clone(),
            priority: entry.priority,
            tokens: entry.tokens.len() - entry.spared(),
            waits: entry.table.is_empty(),
            order: id.0,
        }));
        pending.sort_unstable_by_key(|pending| pending.order);
    }
}
