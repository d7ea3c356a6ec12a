//! Carries out what the residents decide: loads and unloads, tells requests that wait, watches the time.

mod lease;
mod state;
mod words;

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use weighbridge_backend::{Backend, BackendId, Forecast, Health, Load, PoolStatus, PromptCount};
use weighbridge_models::{LoadProgress, on_one_thread};

pub(super) use self::lease::Lease;
pub(super) use self::state::Slot;
use self::state::{Fault, Loading, Order, State};
use super::PoolOptions;
use super::residents::{Action, ModelIndex, Residents, Stage, Stays, Time};
use crate::life::shutting_down;
use crate::local::LocalModel;
use crate::options::{LoadError, ModelOptions};

/// Owns the models of a pool and the thread that watches the time.
pub(super) struct Keeper {
    began: Instant,
    pool: PoolOptions,
    state: Mutex<State>,
    /// Wakes the thread that watches the time.
    sooner: Condvar,
    /// Told after every unload, and every load that was cancelled.
    unloaded: Notify,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Keeper {
    pub(super) fn start(pool: PoolOptions, residents: Residents, slots: Vec<Slot>) -> std::io::Result<Arc<Self>> {
        let state = State {
            residents,
            slots,
            waiters: HashMap::new(),
            tickets: 0,
            looks_at: None,
            stopping: false,
            load_pace: None,
        };
        let keeper = Arc::new(Self {
            began: Instant::now(),
            pool,
            state: Mutex::new(state),
            sooner: Condvar::new(),
            unloaded: Notify::new(),
            thread: Mutex::default(),
        });
        let watching = Arc::clone(&keeper);
        let thread = thread::Builder::new().name("model-pool".to_owned()).spawn(move || watching.watch())?;
        *keeper.thread.lock().unwrap_or_else(PoisonError::into_inner) = Some(thread);
        Ok(keeper)
    }

    pub(super) fn find(&self, id: &BackendId) -> Option<ModelIndex> {
        self.lock().slots.iter().position(|slot| slot.options.id == *id).map(ModelIndex)
    }

    pub(super) fn options(&self, index: ModelIndex) -> ModelOptions {
        self.lock().slots[index.0].options.clone()
    }

    /// Loads a model on this thread, for whoever comes.
    pub(super) fn load_now(
        self: &Arc<Self>,
        index: ModelIndex,
        progress: &mut dyn FnMut(LoadProgress),
    ) -> Result<(), LoadError> {
        let options = self.turn(|state, now, _| {
            state.residents.begin(index);
            state.slots[index.0].began = now;
            state.slots[index.0].options.clone()
        });
        let began = Instant::now();
        tracing::info!(model = options.id.as_str(), "loading");
        let local = LocalModel::load(options, progress)?;
        self.came(index, local, began);
        Ok(())
    }

    /// Takes an idle model out of memory, or cancels its load. Ready once its memory is free.
    pub(super) async fn unload(self: &Arc<Self>, index: ModelIndex) -> Result<(), Stays> {
        self.turn(|state, _, actions| state.residents.unload(index, actions))?;
        loop {
            // Made before the look, so that no word between the two is lost.
            let unloaded = self.unloaded.notified();
            if self.lock().residents.model(index).stage() != Stage::Unloading {
                return Ok(());
            }
            unloaded.await;
        }
    }

    /// How a model is for the plan: one that can be loaded counts as ready.
    pub(super) fn health(&self, index: ModelIndex) -> Health {
        let state = self.lock();
        if state.stopping {
            return Health::Out("the model is stopped".into());
        }
        let now = self.began.elapsed();
        match (&state.slots[index.0].local, state.residents.model(index).stage()) {
            (_, Stage::Failed(until)) if now < until => Health::Out(words::failed(&state.slots[index.0], until - now)),
            (Some(local), Stage::Ready) => local.health(),
            _ => Health::Ready,
        }
    }

    /// What a model has to do, requests that wait for it among what waits.
    pub(super) fn load(&self, index: ModelIndex) -> Load {
        let state = self.lock();
        let mut load = state.slots[index.0].local.as_ref().map(|local| local.load()).unwrap_or_default();
        load.waiting += state.residents.model(index).waiting();
        load
    }

    /// The model where it is in memory.
    pub(super) fn loaded(&self, index: ModelIndex) -> Option<Arc<LocalModel>> {
        self.lock().slots[index.0].local.clone()
    }

    /// What to expect of a prompt where the model is not in memory: its load, and what tokens took when it was there.
    pub(super) fn foretell(&self, index: ModelIndex, prompt: PromptCount) -> Forecast {
        let (state, now) = (self.lock(), self.began.elapsed());
        let token_time = state.slots[index.0].token_time;
        let tokens = u32::try_from(prompt.tokens()).unwrap_or(u32::MAX);
        let computing = token_time.prompt.map(|time| time.saturating_mul(tokens));
        let first_token = state.load_left(index, now).zip(computing).map(|(load, it)| load.saturating_add(it));
        Forecast { first_token, token_time, ..Forecast::from(prompt) }
    }

    pub(super) fn status(&self) -> PoolStatus {
        let (state, now) = (self.lock(), self.began.elapsed());
        let models = (0..state.slots.len()).map(|index| state.status(ModelIndex(index), now));
        PoolStatus { budget_bytes: self.pool.budget, held_bytes: state.residents.held(), models: models.collect() }
    }

    /// Loads nothing from now on, and cancels what is being loaded.
    pub(super) fn close(self: &Arc<Self>) {
        self.turn(|state, now, actions| state.residents.load_no_more(now, actions));
    }

    /// Stops all models and the thread that watches the time.
    pub(super) fn stop(&self) {
        let (waiters, locals) = {
            let mut state = self.lock();
            state.stopping = true;
            state.slots.iter().for_each(|slot| slot.progress.stop());
            let locals: Vec<_> = state.slots.iter().filter_map(|slot| slot.local.clone()).collect();
            (std::mem::take(&mut state.waiters), locals)
        };
        self.sooner.notify_all();
        for (_, waiter) in waiters {
            // Whoever has gone needs no word.
            _ = waiter.send(Err(shutting_down()));
        }
        locals.iter().for_each(|local| local.stop());
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        _ = thread.map(JoinHandle::join);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the state, then does what comes of it.
    fn turn<T>(self: &Arc<Self>, change: impl FnOnce(&mut State, Time, &mut Vec<Action>) -> T) -> T {
        let mut actions = Vec::new();
        let mut state = self.lock();
        let now = self.began.elapsed();
        let answer = change(&mut state, now, &mut actions);
        if state.stopping {
            // Nothing is begun any more, and whoever waited was told.
            actions.clear();
        }
        let orders: Vec<Order> = actions.into_iter().filter_map(|action| state.order(self, action, now)).collect();
        let next = state.residents.next_change();
        let is_sooner = next.is_some_and(|next| state.looks_at.is_none_or(|looks| next < looks));
        drop(state);
        if is_sooner {
            self.sooner.notify_one();
        }
        orders.into_iter().for_each(|order| self.carry_out(order));
        answer
    }

    fn carry_out(self: &Arc<Self>, order: Order) {
        match order {
            // Where its reader has gone, the lease in it is dropped here, outside of any lock.
            Order::Tell(waiter, verdict) => _ = waiter.send(verdict),
            Order::Load(index, loading) => {
                let keeper = Arc::clone(self);
                let started = thread_for("load", &loading.options.id).spawn(move || keeper.bring(index, *loading));
                if let Err(error) = started {
                    self.failed(index, LoadError::Thread(error));
                }
            }
            Order::Unload(index, local) => {
                let (keeper, fallback) = (Arc::clone(self), Arc::clone(&local));
                let started = thread_for("unload", &local.offer().id).spawn(move || keeper.let_go(index, local));
                if started.is_err() {
                    self.let_go(index, fallback);
                }
            }
        }
    }

    /// Loads a model, beside whatever the others compute.
    fn bring(self: &Arc<Self>, index: ModelIndex, loading: Loading) {
        let (began, beside) = (Instant::now(), loading.beside);
        tracing::info!(model = loading.options.id.as_str(), "loading");
        let loaded =
            catch_unwind(AssertUnwindSafe(|| if beside { on_one_thread(|| loading.load()) } else { loading.load() }));
        match loaded {
            Ok(Ok(local)) => self.came(index, local, began),
            Ok(Err(error)) => self.failed(index, error),
            Err(_) => self.failed(index, LoadError::Panic),
        }
    }

    fn came(self: &Arc<Self>, index: ModelIndex, local: Arc<LocalModel>, began: Instant) {
        let (id, placed) = (local.offer().id.clone(), Arc::clone(&local));
        let unwanted = self.turn(|state, now, actions| {
            if state.is_cancelled(index) {
                return Some(local);
            }
            if self.pool.budget.is_none() {
                state.settled(index, &local);
            }
            let slot = &mut state.slots[index.0];
            slot.local = Some(local);
            slot.loads += 1;
            state.note_load(index, now);
            state.residents.loaded(index, now, actions);
            None
        });
        match unwanted {
            None => {
                tracing::info!(model = id.as_str(), seconds = began.elapsed().as_secs_f32(), "loaded");
                // It may have died by now, so that this is said outside of any lock.
                let keeper = Arc::downgrade(self);
                placed.when_dead(move || {
                    if let Some(keeper) = keeper.upgrade() {
                        keeper.died(index);
                    }
                });
            }
            Some(local) => {
                drop((local, placed));
                self.cancelled(index);
            }
        }
    }

    fn failed(self: &Arc<Self>, index: ModelIndex, error: LoadError) {
        let is_cancelled = self.turn(|state, now, actions| {
            if state.is_cancelled(index) {
                return true;
            }
            let slot = &mut state.slots[index.0];
            tracing::error!(model = slot.options.id.as_str(), error = %error, "the model could not be loaded");
            slot.failure = Fault::Load(words::reason(&error));
            slot.failures += 1;
            state.residents.load_failed(index, now, actions);
            false
        });
        if is_cancelled {
            self.cancelled(index);
        }
    }

    /// A load that was cancelled has ended, and its memory is free.
    fn cancelled(self: &Arc<Self>, index: ModelIndex) {
        self.turn(|state, now, actions| {
            let slot = &mut state.slots[index.0];
            tracing::info!(model = slot.options.id.as_str(), "the load was cancelled");
            slot.cancelled += 1;
            state.residents.unloaded(index, now, actions);
        });
        self.unloaded.notify_waiters();
    }

    /// The engine of a model has died: what is left of it goes, and a later request loads it anew.
    fn died(self: &Arc<Self>, index: ModelIndex) {
        self.turn(|state, now, actions| {
            let slot = &mut state.slots[index.0];
            // It may have been let go of meanwhile, and another be there in its place.
            if state.stopping || !slot.local.as_ref().is_some_and(|local| local.has_died()) {
                return;
            }
            slot.deaths += 1;
            slot.failure = Fault::Died;
            state.residents.died(index, now, actions);
            let deaths_in_a_row = state.residents.model(index).deaths_in_a_row();
            let model = slot.options.id.as_str();
            tracing::error!(model, deaths_in_a_row, "the engine of the model has died; a later request loads it anew");
        });
    }

    /// Ends a model's thread and frees its memory.
    fn let_go(self: &Arc<Self>, index: ModelIndex, local: Arc<LocalModel>) {
        let id = local.offer().id.clone();
        let token_time = local.computation().unwrap_or_default().token_time;
        local.stop();
        drop(local);
        tracing::info!(model = id.as_str(), "unloaded");
        self.turn(|state, now, actions| {
            state.slots[index.0].unloads += 1;
            state.slots[index.0].token_time = token_time;
            state.residents.unloaded(index, now, actions);
        });
        self.unloaded.notify_waiters();
    }

    /// Tells the residents that time passes, until the pool stops.
    fn watch(self: &Arc<Self>) {
        loop {
            {
                let mut state = self.lock();
                loop {
                    if state.stopping {
                        return;
                    }
                    let now = self.began.elapsed();
                    state.looks_at = state.residents.next_change();
                    let wait = state.looks_at.map(|at| at.saturating_sub(now));
                    state = match wait {
                        Some(Duration::ZERO) => break,
                        Some(wait) => self.sooner.wait_timeout(state, wait).unwrap_or_else(PoisonError::into_inner).0,
                        None => self.sooner.wait(state).unwrap_or_else(PoisonError::into_inner),
                    };
                }
            }
            self.turn(|state, now, actions| state.residents.passed(now, actions));
        }
    }
}

/// A thread for a model's coming and going; the name of one cannot hold a zero byte.
fn thread_for(what: &str, id: &BackendId) -> thread::Builder {
    thread::Builder::new().name(format!("{what} {id}").replace('\0', ""))
}
