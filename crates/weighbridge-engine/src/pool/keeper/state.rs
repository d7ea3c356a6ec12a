//! What the keeper holds: where each model stands, who waits, and what comes of a decision.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use weighbridge_backend::{Backend, Failure, ModelState, ModelStatus, TokenTime};
use weighbridge_models::LoadProgress;

use super::{Keeper, Lease, words};
use crate::life::shutting_down;
use crate::local::LocalModel;
use crate::options::{LoadError, ModelOptions};
use crate::pool::residents::{Action, ModelIndex, Residents, Stage, Ticket, Time, Why};
use crate::pool::{Footprint, PoolOptions};

/// How often a load under way is told in the log.
const TOLD_EVERY: Duration = Duration::from_secs(5);

/// What a turn changes.
pub(super) struct State {
    pub(super) residents: Residents,
    pub(super) slots: Vec<Slot>,
    pub(super) waiters: HashMap<Ticket, oneshot::Sender<Verdict>>,
    pub(super) tickets: u64,
    /// When the thread that watches the time looks again; `None` where it waits for a word.
    pub(super) looks_at: Option<Time>,
    pub(super) stopping: bool,
    /// What the latest load of any model took for each byte of its weights.
    pub(super) load_pace: Option<f64>,
}

/// A model and what has become of it.
pub(in crate::pool) struct Slot {
    pub(super) options: ModelOptions,
    pub(super) footprint: Footprint,
    pub(super) local: Option<Arc<LocalModel>>,
    pub(super) progress: Arc<Progress>,
    pub(super) began: Time,
    /// What its latest load took.
    pub(super) took: Option<Duration>,
    /// What a token took when it was last in memory.
    pub(super) token_time: TokenTime,
    pub(super) failure: Fault,
    pub(super) loads: u64,
    pub(super) failures: u64,
    pub(super) cancelled: u64,
    pub(super) deaths: u64,
    pub(super) unloads: u64,
}

/// Why a model is not there that should be.
pub(super) enum Fault {
    /// It could not be loaded, for this reason.
    Load(String),
    /// Its engine has died.
    Died,
}

/// How far a load has come, in bytes, and whether it is wanted still.
#[derive(Debug, Default)]
pub(super) struct Progress {
    done: AtomicU64,
    total: AtomicU64,
    stopped: AtomicBool,
}

/// What a request that waits is told.
pub(super) type Verdict = Result<Lease, Failure>;

/// What is to be done once the state is let go of.
pub(super) enum Order {
    Load(ModelIndex, Box<Loading>),
    Unload(ModelIndex, Arc<LocalModel>),
    Tell(oneshot::Sender<Verdict>, Verdict),
}

/// What a load takes.
pub(super) struct Loading {
    pub(super) options: ModelOptions,
    pub(super) progress: Arc<Progress>,
    /// Whether other models answer as it begins.
    pub(super) beside: bool,
}

impl Loading {
    pub(super) fn load(self) -> Result<Arc<LocalModel>, LoadError> {
        let id = self.options.id.clone();
        let mut told = Instant::now();
        LocalModel::load_while(self.options, &mut |at| {
            self.progress.set(at);
            if self.progress.stopped.load(Ordering::Relaxed) {
                return ControlFlow::Break(());
            }
            if told.elapsed() >= TOLD_EVERY {
                told = Instant::now();
                let percent = at.done_bytes * 100 / at.total_bytes.max(1);
                tracing::info!(model = id.as_str(), percent, "loading");
            }
            ControlFlow::Continue(())
        })
    }
}

impl Slot {
    pub(in crate::pool) fn new(options: ModelOptions, footprint: Footprint) -> Self {
        Self {
            options,
            footprint,
            local: None,
            progress: Arc::default(),
            began: Time::ZERO,
            took: None,
            token_time: TokenTime::default(),
            failure: Fault::Load(String::new()),
            loads: 0,
            failures: 0,
            cancelled: 0,
            deaths: 0,
            unloads: 0,
        }
    }
}

impl Progress {
    pub(super) fn set(&self, progress: LoadProgress) {
        self.done.store(progress.done_bytes, Ordering::Relaxed);
        self.total.store(progress.total_bytes, Ordering::Relaxed);
    }

    /// Nobody wants the load any more.
    pub(super) fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    pub(super) fn get(&self) -> (u64, u64) {
        (self.done.load(Ordering::Relaxed), self.total.load(Ordering::Relaxed))
    }
}

impl State {
    /// The model of a slot that is ready.
    pub(super) fn local(&self, index: ModelIndex) -> Result<Arc<LocalModel>, Failure> {
        self.slots[index.0].local.clone().ok_or_else(shutting_down)
    }

    /// Without a budget a model takes what is free at its first load: what it serves then it serves after every further
    /// one.
    pub(super) fn settled(&mut self, index: ModelIndex, local: &LocalModel) {
        let slot = &mut self.slots[index.0];
        slot.options.context = local.offer().context;
        if local.page_memory() > 0 {
            (slot.options.page_memory, slot.footprint.pages) = (Some(local.page_memory()), local.page_memory());
        }
        self.residents.takes(index, slot.footprint.total());
    }

    /// Learns from a load that is over what the next will take.
    pub(super) fn note_load(&mut self, index: ModelIndex, now: Time) {
        let slot = &mut self.slots[index.0];
        let took = now.saturating_sub(slot.began);
        slot.took = Some(took);
        self.load_pace = Some(took.as_secs_f64() / slot.footprint.weights.max(1) as f64);
    }

    /// What is left of a model's load, or all of it where it has not begun: as long as its last one took, else as long
    /// as that of another for each byte. `None` before any was loaded.
    pub(super) fn load_left(&self, index: ModelIndex, now: Time) -> Option<Duration> {
        let slot = &self.slots[index.0];
        let by_size = || Duration::try_from_secs_f64(self.load_pace? * slot.footprint.weights as f64).ok();
        let whole = slot.took.or_else(by_size)?;
        Some(match self.residents.model(index).stage() {
            Stage::Loading => whole.saturating_sub(now.saturating_sub(slot.began)),
            _ => whole,
        })
    }

    /// Whether a load that comes to its end was cancelled meanwhile.
    pub(super) fn is_cancelled(&self, index: ModelIndex) -> bool {
        self.stopping || self.residents.model(index).stage() == Stage::Unloading
    }

    /// What an action takes to be carried out.
    pub(super) fn order(&mut self, keeper: &Arc<Keeper>, action: Action, now: Time) -> Option<Order> {
        match action {
            Action::Load(index) => {
                let beside = self.residents.users() > 0;
                let slot = &mut self.slots[index.0];
                (slot.began, slot.progress) = (now, Arc::default());
                let (options, progress) = (slot.options.clone(), Arc::clone(&slot.progress));
                Some(Order::Load(index, Box::new(Loading { options, progress, beside })))
            }
            Action::Unload(index) | Action::Clear(index) => {
                Some(Order::Unload(index, self.slots[index.0].local.take()?))
            }
            Action::Cancel(index) => {
                self.slots[index.0].progress.stop();
                None
            }
            Action::Admit(ticket, index) => {
                let waiter = self.waiters.remove(&ticket)?;
                let lease = self.local(index).map(|local| Lease { keeper: Arc::clone(keeper), index, local });
                Some(Order::Tell(waiter, lease))
            }
            Action::Refuse(ticket, index, why) => {
                let waiter = self.waiters.remove(&ticket)?;
                Some(Order::Tell(waiter, Err(self.failure(&keeper.pool, index, why, now))))
            }
        }
    }

    pub(super) fn failure(&self, pool: &PoolOptions, index: ModelIndex, why: Why, now: Time) -> Failure {
        let slot = &self.slots[index.0];
        match why {
            Why::NoRoom => words::no_room(self, pool, index),
            Why::TooSlow => words::too_slow(slot, pool, now),
            Why::Crowded => words::crowded(slot, self.residents.model(index).waiting()),
            Why::Failed(until) => words::unavailable(slot, until.saturating_sub(now)),
            Why::Cancelled => words::cancelled(slot),
            Why::Closing => words::closing(slot),
        }
    }

    pub(super) fn status(&self, index: ModelIndex, now: Time) -> ModelStatus {
        let (slot, resident) = (&self.slots[index.0], self.residents.model(index));
        let state = match resident.stage() {
            Stage::Unloaded => ModelState::Unloaded,
            Stage::Loading => {
                let (done_bytes, total_bytes) = slot.progress.get();
                ModelState::Loading { done_bytes, total_bytes }
            }
            Stage::Ready => ModelState::Ready,
            Stage::Unloading => ModelState::Unloading,
            Stage::Failed(until) => {
                ModelState::Failed { reason: words::fault(slot).to_owned(), retry_in: until.saturating_sub(now) }
            }
        };
        ModelStatus {
            id: slot.options.id.clone(),
            state,
            memory_bytes: slot.footprint.total(),
            pinned: resident.terms().pinned,
            keep_alive: resident.terms().keep_alive,
            answering: resident.users(),
            waiting: resident.waiting(),
            idle: resident.idle_since().map(|since| now.saturating_sub(since)),
            loads: slot.loads,
            failures: slot.failures,
            cancelled: slot.cancelled,
            deaths: slot.deaths,
            unloads: slot.unloads,
        }
    }
}
