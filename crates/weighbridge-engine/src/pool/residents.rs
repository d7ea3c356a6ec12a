//! Which models are in memory, which come next and which go, as numbers: no weights, no clocks, no async.
//!
//! Requests arrive for models, and each holds its model until it is released. What is asked for and is not there waits
//! in one queue, in the order of arrival, for at most a bound. Room is made by models that nobody uses, the one used
//! longest ago first, and only where that makes enough of it. Where the users of other models hold all room, a request
//! that has waited half of its bound closes the model that came in longest ago to new requests, which then wait behind
//! it: so a model under steady load keeps its place for that long, and nobody waits for ever. What is claimed so, no
//! later request can take.

mod resident;
mod room;

use std::time::Duration;

pub(crate) use self::resident::{Resident, Stage, Terms};

/// Time since the pool began.
pub(crate) type Time = Duration;

/// The wait before a model that could not be loaded is tried again by a request. It doubles with each failure in a row.
const BACKOFF: Duration = Duration::from_secs(5);
/// And before one whose engine has died is loaded anew: likely it was one request's doing.
const REST: Duration = Duration::from_secs(1);
/// The longest such wait. A model that has lived for as long does not count as dying again and again.
const LONGEST_BACKOFF: Duration = Duration::from_secs(300);

/// A model, by its place in the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ModelIndex(pub(crate) usize);

/// A request that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Ticket(pub(crate) u64);

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Bring the model into memory, then say [`Residents::loaded`] or [`Residents::load_failed`].
    Load(ModelIndex),
    /// Take it out of memory, then say [`Residents::unloaded`].
    Unload(ModelIndex),
    /// Take what is left of it out of memory, for its engine has died, then say [`Residents::unloaded`].
    Clear(ModelIndex),
    /// Break its load off, then say [`Residents::unloaded`], however far that has come by then.
    Cancel(ModelIndex),
    /// The request has its model, until [`Residents::released`].
    Admit(Ticket, ModelIndex),
    /// It will not have it.
    Refuse(Ticket, ModelIndex, Why),
}

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    /// Its time was over while other models held the room.
    NoRoom,
    /// Its time was over while the model was on its way.
    TooSlow,
    /// As many wait as may.
    Crowded,
    /// The model could not be loaded, or its engine has died, and it is not tried again before then.
    Failed(Time),
    /// Its load was cancelled at will.
    Cancelled,
    /// Nothing is loaded any more.
    Closing,
}

/// What becomes of a request as it arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// The model is there, and held until [`Residents::released`].
    Admitted,
    /// It waits, and an action will say what becomes of it.
    Waits,
    Refused(Why),
}

/// Why a model is not unloaded at will.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stays {
    Pinned,
    /// So many requests hold it or wait for it.
    Busy(usize),
}

#[derive(Clone, Copy, Debug)]
struct Waiter {
    ticket: Ticket,
    model: ModelIndex,
    since: Time,
    until: Time,
}

/// All models, and the requests that wait for one.
#[derive(Clone, Debug)]
pub(crate) struct Residents {
    /// What they may take together.
    budget: u64,
    /// The longest that a request waits.
    patience: Duration,
    models: Vec<Resident>,
    /// In the order of arrival.
    queue: Vec<Waiter>,
    /// When room was last given to who waits.
    settled_at: Time,
    /// Nothing is loaded any more.
    is_closing: bool,
}

impl Residents {
    /// Models that may take `budget` bytes together, all unloaded. Each fits beside all that are pinned.
    pub(crate) fn new(budget: u64, patience: Duration, models: impl IntoIterator<Item = Terms>) -> Self {
        let resident = |terms| Resident {
            terms,
            stage: Stage::Unloaded,
            users: 0,
            waiting: 0,
            closed: false,
            used_at: Time::ZERO,
            loaded_at: Time::ZERO,
            failures_in_a_row: 0,
            deaths_in_a_row: 0,
            rests_until: None,
        };
        Self {
            budget,
            patience,
            models: models.into_iter().map(resident).collect(),
            queue: Vec::new(),
            settled_at: Time::ZERO,
            is_closing: false,
        }
    }

    pub(crate) fn model(&self, model: ModelIndex) -> &Resident {
        &self.models[model.0]
    }

    /// Bytes of all models in memory, those that come and go among them.
    pub(crate) fn held(&self) -> u64 {
        self.models.iter().map(Resident::held).fold(0, u64::saturating_add)
    }

    /// Requests that hold a model.
    pub(crate) fn users(&self) -> usize {
        self.models.iter().map(Resident::users).sum()
    }

    /// How much a model takes, where nothing was planned with: there is no budget.
    pub(crate) fn takes(&mut self, model: ModelIndex, bytes: u64) {
        self.models[model.0].terms.bytes = bytes;
    }

    /// A model that is to be loaded at once and for whoever comes. It fits.
    pub(crate) fn begin(&mut self, model: ModelIndex) {
        self.models[model.0].stage = Stage::Loading;
    }

    /// A request for a model. The `insistent` one tries also a model that has just failed.
    pub(crate) fn arrive(
        &mut self,
        (model, ticket): (ModelIndex, Ticket),
        insistent: bool,
        now: Time,
        actions: &mut Vec<Action>,
    ) -> Arrival {
        let resident = &mut self.models[model.0];
        match resident.stage {
            Stage::Ready if !resident.closed => {
                resident.users += 1;
                resident.used_at = now;
                return Arrival::Admitted;
            }
            _ if self.is_closing => return Arrival::Refused(Why::Closing),
            Stage::Failed(until) if now < until && !insistent => return Arrival::Refused(Why::Failed(until)),
            Stage::Failed(_) => resident.stage = Stage::Unloaded,
            _ => {}
        }
        if let Some(until) = resident.rests_until.filter(|&until| now < until && !insistent) {
            return Arrival::Refused(Why::Failed(until));
        }
        if resident.waiting >= resident.terms.most_waiting {
            return Arrival::Refused(Why::Crowded);
        }
        resident.waiting += 1;
        self.queue.push(Waiter { ticket, model, since: now, until: now + self.patience });
        self.settle(now, actions);
        Arrival::Waits
    }

    /// A request that waits is not wanted any more.
    pub(crate) fn withdrawn(&mut self, ticket: Ticket, now: Time, actions: &mut Vec<Action>) {
        if let Some(place) = self.queue.iter().position(|waiter| waiter.ticket == ticket) {
            let waiter = self.queue.remove(place);
            self.models[waiter.model.0].waiting -= 1;
            self.settle(now, actions);
        }
    }

    /// A request that held a model has ended.
    pub(crate) fn released(&mut self, model: ModelIndex, now: Time, actions: &mut Vec<Action>) {
        let resident = &mut self.models[model.0];
        resident.users -= 1;
        resident.used_at = now;
        if resident.users == 0 {
            self.settle(now, actions);
        }
    }

    /// A load has succeeded. Whoever waited for the model gets it, also where its room is claimed by now.
    pub(crate) fn loaded(&mut self, model: ModelIndex, now: Time, actions: &mut Vec<Action>) {
        let resident = &mut self.models[model.0];
        *resident =
            Resident { stage: Stage::Ready, used_at: now, loaded_at: now, failures_in_a_row: 0, ..resident.clone() };
        self.admit(model, now, actions);
        self.settle(now, actions);
    }

    /// A load has failed, and so have the requests that waited for it.
    pub(crate) fn load_failed(&mut self, model: ModelIndex, now: Time, actions: &mut Vec<Action>) {
        let resident = &mut self.models[model.0];
        let until = now + backoff(BACKOFF, resident.failures_in_a_row);
        resident.failures_in_a_row += 1;
        resident.stage = Stage::Failed(until);
        self.refuse(actions, |waiter| (waiter.model == model).then_some(Why::Failed(until)));
        self.settle(now, actions);
    }

    /// A model is out of memory.
    pub(crate) fn unloaded(&mut self, model: ModelIndex, now: Time, actions: &mut Vec<Action>) {
        let resident = &mut self.models[model.0];
        resident.stage = match resident.rests_until.take() {
            // Whoever waits by now did not care that it was to rest, or came after that.
            Some(until) if resident.waiting == 0 => Stage::Failed(until),
            _ => Stage::Unloaded,
        };
        self.settle(now, actions);
    }

    /// The engine of a model has died, and with it the answers that it was making, also where they are not released yet.
    /// What is left of it goes, pinned or not, and requests bring it back after a rest that doubles with each death in a
    /// row.
    pub(crate) fn died(&mut self, model: ModelIndex, now: Time, actions: &mut Vec<Action>) {
        let resident = &mut self.models[model.0];
        if resident.stage != Stage::Ready {
            return;
        }
        if now.saturating_sub(resident.loaded_at) >= LONGEST_BACKOFF {
            resident.deaths_in_a_row = 0;
        }
        let until = now + backoff(REST, resident.deaths_in_a_row);
        resident.deaths_in_a_row += 1;
        (resident.stage, resident.rests_until) = (Stage::Unloading, Some(until));
        actions.push(Action::Clear(model));
        self.refuse(actions, |waiter| (waiter.model == model).then_some(Why::Failed(until)));
        self.settle(now, actions);
    }

    /// Somebody wants a model out of memory. Where it is on its way there, whoever waits for it is refused.
    pub(crate) fn unload(&mut self, model: ModelIndex, actions: &mut Vec<Action>) -> Result<(), Stays> {
        let resident = &mut self.models[model.0];
        match resident.stage {
            Stage::Ready | Stage::Loading if resident.terms.pinned => Err(Stays::Pinned),
            Stage::Loading => {
                self.cancel(model, actions);
                self.refuse(actions, |waiter| (waiter.model == model).then_some(Why::Cancelled));
                Ok(())
            }
            Stage::Ready if resident.users + resident.waiting > 0 => {
                Err(Stays::Busy(resident.users + resident.waiting))
            }
            Stage::Ready => {
                resident.stage = Stage::Unloading;
                actions.push(Action::Unload(model));
                Ok(())
            }
            Stage::Unloaded | Stage::Unloading | Stage::Failed(_) => Ok(()),
        }
    }

    /// Nothing is loaded from now on: loads under way are cancelled, and whoever waits for one is refused. What is there
    /// stays, and serves whoever wants it.
    pub(crate) fn load_no_more(&mut self, now: Time, actions: &mut Vec<Action>) {
        self.is_closing = true;
        for model in (0..self.models.len()).map(ModelIndex) {
            match self.models[model.0].stage {
                Stage::Loading => self.cancel(model, actions),
                Stage::Ready => {
                    self.models[model.0].closed = false;
                    self.admit(model, now, actions);
                }
                Stage::Unloaded | Stage::Unloading | Stage::Failed(_) => {}
            }
        }
        self.refuse(actions, |_| Some(Why::Closing));
    }

    /// Until it is out of memory it holds its room.
    fn cancel(&mut self, model: ModelIndex, actions: &mut Vec<Action>) {
        self.models[model.0].stage = Stage::Unloading;
        actions.push(Action::Cancel(model));
    }

    /// Time has passed.
    pub(crate) fn passed(&mut self, now: Time, actions: &mut Vec<Action>) {
        let models = &self.models;
        let on_its_way = |model: ModelIndex| matches!(models[model.0].stage, Stage::Loading);
        let slow: Vec<bool> = self.queue.iter().map(|waiter| on_its_way(waiter.model)).collect();
        let mut slow = slow.into_iter();
        self.refuse(actions, |waiter| {
            let why = if slow.next().unwrap_or(false) { Why::TooSlow } else { Why::NoRoom };
            (waiter.until <= now).then_some(why)
        });
        for (index, resident) in self.models.iter_mut().enumerate() {
            if resident.goes_at().is_some_and(|at| at <= now) {
                resident.stage = Stage::Unloading;
                actions.push(Action::Unload(ModelIndex(index)));
            }
        }
        self.settle(now, actions);
    }

    /// When time is to be told next, where nothing else happens.
    pub(crate) fn next_change(&self) -> Option<Time> {
        let waits = self.queue.iter().map(|waiter| {
            let claims = self.claims_at(waiter);
            if claims > self.settled_at { claims.min(waiter.until) } else { waiter.until }
        });
        let goes = self.models.iter().filter_map(Resident::goes_at);
        waits.chain(goes).min()
    }

    /// From when on a request that waits closes other models.
    fn claims_at(&self, waiter: &Waiter) -> Time {
        waiter.since + self.patience / 2
    }
}

/// The wait after so many failures of a kind in a row before the latest.
fn backoff(first: Duration, before: u32) -> Duration {
    first.saturating_mul(1 << before.min(16)).min(LONGEST_BACKOFF)
}

#[cfg(test)]
mod tests;
