//! What an engine tells of itself: its queue, pages, speed and totals, for whoever asks from outside its thread.
//!
//! The engine writes it once a step, as the step begins, and once more when it has nothing left to do. So nobody who
//! asks waits for a step; what they read is as old as the step under way.

mod first_token;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use weighbridge_backend::{Computation, PageCounts, Priority, TokenTime};

use crate::pages::{Realm, WindowedCounts};
use crate::prefixes::Prefixes;
use crate::scheduler::{Caller, Pending, Scheduler, Speed, Totals};

/// Shared by an engine and its desk.
#[derive(Debug)]
pub(crate) struct Board {
    posted: Mutex<Posted>,
    prefixes: Arc<Prefixes>,
    /// Whether its sequences are computed on pages that can be counted.
    has_pages: bool,
}

/// What an engine was like as its latest step began.
#[derive(Debug, Default)]
struct Posted {
    /// Sequences that have tokens to compute before they draw, less those of the step under way, in order of arrival.
    pending: Vec<Pending>,
    /// Sequences that have pages, of at most so many.
    running: usize,
    max_running: usize,
    /// Answers and tokens of prompts in the step under way.
    step: (usize, usize),
    /// Tokens of interactive prompts in the row after which a batch has its turn.
    in_a_row: usize,
    speed: Speed,
    pages: PageCounts,
    windowed: Option<WindowedCounts>,
    totals: Totals,
}

/// Who is about to ask.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Newcomer<'a> {
    pub(crate) caller: &'a Caller,
    pub(crate) priority: Priority,
    /// Tokens of its prompt that are to be computed, at least 1.
    pub(crate) tokens: usize,
    /// Pages that they take.
    pub(crate) pages: usize,
    /// Pages of the whole prompt.
    pub(crate) all_pages: usize,
}

impl Board {
    /// Of an engine that has not begun.
    pub(crate) fn new(scheduler: &Scheduler, has_pages: bool) -> Self {
        let prefixes = Arc::clone(scheduler.pages().prefixes());
        let board = Self { posted: Mutex::default(), prefixes, has_pages };
        board.post(scheduler);
        board
    }

    /// Writes down what there is now.
    pub(crate) fn post(&self, scheduler: &Scheduler) {
        let pages = scheduler.pages();
        let mut posted = self.lock();
        let Posted { pending, .. } = &mut *posted;
        scheduler.pending(pending);
        (posted.running, posted.max_running) = scheduler.running();
        (posted.step, posted.speed) = (scheduler.under_way(), scheduler.speed());
        posted.in_a_row = scheduler.in_a_row();
        let used = pages.capacity() - pages.available();
        posted.pages = PageCounts { capacity: pages.capacity(), used, cached: pages.cached() };
        posted.windowed = pages.windowed();
        posted.totals = scheduler.totals();
    }

    /// Notes somebody on the way to the engine, who counts until that has seen them.
    pub(crate) fn announce(&self, newcomer: &Newcomer<'_>) {
        let Newcomer { caller, priority, tokens, .. } = *newcomer;
        self.lock().pending.push(Pending { caller: caller.clone(), priority, tokens, waits: true, order: u64::MAX });
    }

    /// How many tokens of a prompt are computed already, but for its last.
    pub(crate) fn cached_tokens(&self, realm: &Realm, prompt: &[u32]) -> usize {
        self.prefixes.cached_tokens(realm, prompt)
    }

    /// From now to the first token of a newcomer, a place coming free every so often. `None` where too little is known.
    pub(crate) fn first_token(&self, newcomer: &Newcomer<'_>, places: Option<Duration>) -> Option<Duration> {
        self.lock().first_token(newcomer, places)
    }

    /// What it holds and has done.
    pub(crate) fn computation(&self) -> Computation {
        let posted = self.lock();
        let Totals { steps, prefix_hit_tokens, preemptions } = posted.totals;
        Computation {
            pages: self.has_pages.then_some(posted.pages),
            windowed_pages: posted.windowed.map(|WindowedCounts { capacity, used, cached, .. }| PageCounts {
                capacity,
                used,
                cached,
            }),
            token_time: posted.token_time(),
            steps,
            prefix_hit_tokens,
            preemptions,
        }
    }

    /// What a token takes.
    pub(crate) fn token_time(&self) -> TokenTime {
        self.lock().token_time()
    }

    fn lock(&self) -> MutexGuard<'_, Posted> {
        self.posted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Posted {
    fn token_time(&self) -> TokenTime {
        let time = |seconds: Option<f64>| seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        TokenTime { prompt: time(self.speed.token), answer: time(self.speed.answer) }
    }
}

#[cfg(test)]
mod tests;
