//! One model of the residents: what does not change about it, and where it stands.

use std::time::Duration;

use super::Time;

/// What does not change about a model.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms {
    /// Bytes that it takes while it is in memory.
    pub(crate) bytes: u64,
    /// Whether it stays whatever happens.
    pub(crate) pinned: bool,
    /// How long after its last request it goes; `None` until its room is needed.
    pub(crate) keep_alive: Option<Duration>,
    /// The most requests that may wait for it.
    pub(crate) most_waiting: usize,
}

/// Where a model stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    Unloaded,
    Loading,
    Ready,
    Unloading,
    /// It could not be loaded, or its engine has died, and it is tried again from then on.
    Failed(Time),
}

/// One model.
#[derive(Clone, Debug)]
pub(crate) struct Resident {
    pub(super) terms: Terms,
    pub(super) stage: Stage,
    /// Requests that hold it.
    pub(super) users: usize,
    /// Requests that wait for it.
    pub(super) waiting: usize,
    /// No new request holds it: its room is claimed.
    pub(super) closed: bool,
    pub(super) used_at: Time,
    pub(super) loaded_at: Time,
    pub(super) failures_in_a_row: u32,
    pub(super) deaths_in_a_row: u32,
    /// Its engine has died, and it is loaded again from then on.
    pub(super) rests_until: Option<Time>,
}

impl Resident {
    pub(crate) fn terms(&self) -> &Terms {
        &self.terms
    }

    pub(crate) fn stage(&self) -> Stage {
        self.stage
    }

    /// Requests that hold it.
    pub(crate) fn users(&self) -> usize {
        self.users
    }

    /// Requests that wait for it.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting
    }

    /// Deaths of its engine, none of which it outlived for long.
    pub(crate) fn deaths_in_a_row(&self) -> u32 {
        self.deaths_in_a_row
    }

    /// Since when it is in memory and nobody uses it.
    pub(crate) fn idle_since(&self) -> Option<Time> {
        (self.stage == Stage::Ready && self.users == 0).then_some(self.used_at)
    }

    /// Whether it is in memory, on its way there or on its way out.
    pub(crate) fn holds_room(&self) -> bool {
        matches!(self.stage, Stage::Loading | Stage::Ready | Stage::Unloading)
    }

    pub(super) fn held(&self) -> u64 {
        if self.holds_room() { self.terms.bytes } else { 0 }
    }

    pub(super) fn may_go(&self) -> bool {
        self.may_be_closed() && self.users == 0
    }

    pub(super) fn may_be_closed(&self) -> bool {
        self.stage == Stage::Ready && !self.terms.pinned
    }

    /// When it has been idle for as long as it is kept.
    pub(super) fn goes_at(&self) -> Option<Time> {
        let keep_alive = self.terms.keep_alive.filter(|_| self.may_go() && self.waiting == 0)?;
        Some(self.used_at + keep_alive)
    }
}
