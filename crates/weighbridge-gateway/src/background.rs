//! Answers that are made without their callers: how many there may be, and where they are found.
//!
//! Each goes the road of any other request and is a task of its own, with an account that holds a place in the gateway:
//! a stop waits for them as for all others. Here is only what a caller can come back for, a [`Job`] each.

mod events;
mod job;
mod run;

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use weighbridge_ledger::{Ledger, StoredResponse};

pub(crate) use self::job::Job;
pub(crate) use self::run::Running;
use crate::respond::Refusal;

/// How many answers that are over are remembered with their events, and for how long: for who lost a stream shortly
/// before its end.
const MOST_OVER: usize = 16;
const OVER_FOR: Duration = Duration::from_secs(300);

/// The bounds of answers that are made in the background.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackgroundLimits {
    /// The most at once.
    pub most: usize,
    /// The most at once of one caller; where the gateway is open, all callers are one.
    pub most_per_caller: usize,
    /// The most bytes of events that are kept of one, for who goes on with its stream; the oldest go.
    pub event_bytes: usize,
}

impl Default for BackgroundLimits {
    fn default() -> Self {
        // An event of one token has some 240 bytes: two mebibytes are 8,000 of them, and the whole text at the end.
        Self { most: 64, most_per_caller: 16, event_bytes: 2 << 20 }
    }
}

/// All that there are.
pub(crate) struct Background {
    limits: BackgroundLimits,
    jobs: Mutex<Jobs>,
}

#[derive(Default)]
struct Jobs {
    running: BTreeMap<String, Arc<Job>>,
    /// Those that are over, the oldest first.
    over: VecDeque<(Instant, Arc<Job>)>,
}

impl Background {
    pub(crate) fn new(limits: BackgroundLimits) -> Self {
        Self { limits, jobs: Mutex::default() }
    }

    /// Takes one up: it is kept as `queued`, and its events too where it is one that `streams`.
    ///
    /// # Errors
    /// When there are too many, or the ledger cannot take it.
    pub(crate) fn take_up(
        self: &Arc<Self>,
        ledger: &Ledger,
        queued: StoredResponse,
        streams: bool,
    ) -> Result<Running, Refusal> {
        let mut jobs = self.jobs();
        let of_caller = jobs.running.values().filter(|job| job.is_of(queued.caller.as_deref())).count();
        if of_caller >= self.limits.most_per_caller {
            let bound = format!("{of_caller} responses of this caller are made in the background");
            return Err(too_many(&bound, "max_background_per_caller"));
        }
        if jobs.running.len() >= self.limits.most {
            let bound = format!("{} responses are made in the background", jobs.running.len());
            return Err(too_many(&bound, "max_background"));
        }
        if !ledger.keep(queued.clone()) {
            let message = "A response in the background is kept first, and nothing can be kept now.";
            return Err(Refusal::unavailable("storage_unavailable", message, None));
        }
        let (id, events) = (queued.id.clone(), streams.then_some(self.limits.event_bytes));
        let job = Arc::new(Job::new(ledger.clone(), queued, events));
        jobs.running.insert(id, Arc::clone(&job));
        Ok(Running::new(job, Arc::clone(self)))
    }

    /// The one of this id that is this caller's, be it over.
    pub(crate) fn find(&self, id: &str, caller: Option<&str>) -> Option<Arc<Job>> {
        let jobs = self.jobs();
        let over = || jobs.over.iter().map(|(_, job)| job).find(|job| job.id() == id);
        jobs.running.get(id).or_else(over).filter(|job| job.is_of(caller)).cloned()
    }

    /// Forgets the events of one that is over.
    pub(crate) fn forget(&self, id: &str, caller: Option<&str>) {
        self.jobs().over.retain(|(_, job)| !(job.id() == id && job.is_of(caller)));
    }

    /// It is over.
    fn let_go(&self, job: &Arc<Job>) {
        let mut jobs = self.jobs();
        jobs.running.remove(job.id());
        if job.streams() {
            jobs.over.push_back((Instant::now(), Arc::clone(job)));
        }
    }

    fn jobs(&self) -> MutexGuard<'_, Jobs> {
        let mut jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        while jobs.over.len() > MOST_OVER || jobs.over.front().is_some_and(|(since, _)| since.elapsed() > OVER_FOR) {
            jobs.over.pop_front();
        }
        jobs
    }
}

fn too_many(bound: &str, setting: &str) -> Refusal {
    Refusal::too_many(format!("{bound}, as many as may be ([responses] {setting}). Wait for one, or cancel one."))
}

#[cfg(test)]
mod tests;
