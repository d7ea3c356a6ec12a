//! Several models under one memory budget: each comes when it is asked for and goes when its room is needed.
//!
//! What a model takes is planned before any is loaded (`footprint`), so that one that can never fit is refused at the
//! start. Which come and go is arithmetic (`residents`); the `keeper` carries it out: loads and unloads on threads of
//! their own, tells requests that wait, and watches the time. To the gateway each model is a backend that is always
//! there ([`PooledModel`]).

mod footprint;
mod keeper;
mod model;
mod residents;

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use futures_core::future::BoxFuture;
use weighbridge_backend::{BackendId, ModelRefusal, Models, PoolStatus};
use weighbridge_models::LoadProgress;

pub use self::footprint::Footprint;
use self::keeper::{Keeper, Slot};
pub use self::model::PooledModel;
use self::residents::{ModelIndex, Residents, Stays, Terms};
use crate::local::front;
use crate::options::{LoadError, ModelOptions};

/// How models share the memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolOptions {
    /// Bytes that all models in memory may take together. `None` loads all of them at the start.
    pub budget: Option<u64>,
    /// The longest that a request waits for its model to be there.
    pub load_wait: Duration,
}

impl Default for PoolOptions {
    /// No budget, and two minutes for a load.
    fn default() -> Self {
        Self { budget: None, load_wait: Duration::from_secs(120) }
    }
}

/// A model of a pool.
#[derive(Clone)]
pub struct PoolModel {
    /// What to load and how to serve it.
    pub options: ModelOptions,
    /// Loaded at the start, and never unloaded.
    pub pinned: bool,
    /// How long after its last request it is unloaded; `None` where its room is needed, and not before.
    pub keep_alive: Option<Duration>,
}

/// What each model takes, held against the budget.
pub struct PoolPlan {
    pool: PoolOptions,
    models: Vec<Planned>,
}

struct Planned {
    model: PoolModel,
    footprint: Footprint,
}

/// Why a pool cannot be.
#[derive(Debug, thiserror::Error)]
pub enum PoolError {
    /// A model cannot be planned, or not be loaded at the start.
    #[error("cannot load the model \"{id}\": {source}")]
    Model {
        /// Which.
        id: BackendId,
        /// Why.
        source: LoadError,
    },
    /// The models that are pinned do not fit together.
    #[error(
        "the memory budget is {} MiB, and the models that are pinned take {} MiB: {list}; raise [engine] \
         memory_budget_mib, pin fewer, or give them less (context, page_memory_mib, quantize)",
        mib(*.budget), mib_up(*.needed)
    )]
    Pinned {
        /// Bytes there are.
        budget: u64,
        /// Bytes that they take.
        needed: u64,
        /// Each with its figures.
        list: String,
    },
    /// A model does not fit beside those that are pinned.
    #[error(
        "the model \"{id}\" takes {footprint}, and the memory budget is {} MiB, of which pinned models hold {} MiB; \
         raise [engine] memory_budget_mib, or give it less (context, page_memory_mib, quantize)",
        mib(*.budget), mib_up(*.pinned)
    )]
    TooLarge {
        /// Which.
        id: BackendId,
        /// What it takes.
        footprint: Footprint,
        /// Bytes there are.
        budget: u64,
        /// Bytes that pinned models hold.
        pinned: u64,
    },
    /// The thread that keeps time could not be started.
    #[error("the thread of the model pool could not be started: {0}")]
    Thread(std::io::Error),
}

/// Whole MiB of what there is.
fn mib(bytes: u64) -> u64 {
    bytes >> 20
}

/// Whole MiB of what is needed.
fn mib_up(bytes: u64) -> u64 {
    bytes.div_ceil(1 << 20)
}

impl PoolPlan {
    /// Plans what each model takes, and settles its pages and context where there is a budget.
    ///
    /// # Errors
    /// [`PoolError`] where a model can never fit, with figures.
    pub fn new(pool: PoolOptions, models: Vec<PoolModel>) -> Result<Self, PoolError> {
        let Some(budget) = pool.budget else {
            let planned = models.into_iter().map(|model| Planned { footprint: footprint::now(&model.options), model });
            return Ok(Self { pool, models: planned.collect() });
        };
        let least = models.iter().map(PoolModel::least).collect::<Result<Vec<_>, _>>()?;
        let (pinned, others): (Vec<_>, Vec<_>) = (0..models.len()).partition(|&index| models[index].pinned);
        // What is pinned leaves room for what is pinned behind it, and for the largest of those that come and go.
        let mut kept = pinned.iter().fold(0_u64, |sum, &index| sum.saturating_add(least[index]));
        let comes = others.iter().map(|&index| least[index]).max().unwrap_or(0);
        let mut planned: Vec<Option<Planned>> = models.iter().map(|_| None).collect();
        let mut held = 0_u64;
        for index in pinned {
            kept = kept.saturating_sub(least[index]);
            let left = budget.saturating_sub(held);
            let room = left.saturating_sub(kept.saturating_add(comes)).max(least[index]).min(left);
            let one = Planned::within(models[index].clone(), room)?;
            held = held.saturating_add(one.footprint.total());
            planned[index] = Some(one);
        }
        if held > budget {
            let each = planned.iter().flatten().map(|one| format!("\"{}\" {}", one.model.options.id, one.footprint));
            let list = each.collect::<Vec<_>>().join(", ");
            return Err(PoolError::Pinned { budget, needed: held, list });
        }
        for index in others {
            let one = Planned::within(models[index].clone(), budget - held)?;
            if one.footprint.total() > budget - held {
                let id = one.model.options.id;
                return Err(PoolError::TooLarge { id, footprint: one.footprint, budget, pinned: held });
            }
            planned[index] = Some(one);
        }
        Ok(Self { pool, models: planned.into_iter().flatten().collect() })
    }

    /// Each model as it will be loaded, and what it takes.
    pub fn models(&self) -> impl Iterator<Item = (&PoolModel, Footprint)> {
        self.models.iter().map(|planned| (&planned.model, planned.footprint))
    }

    /// The budget.
    pub fn budget(&self) -> Option<u64> {
        self.pool.budget
    }
}

impl PoolModel {
    fn least(&self) -> Result<u64, PoolError> {
        footprint::least(&self.options).map_err(|source| PoolError::Model { id: self.options.id.clone(), source })
    }
}

impl Planned {
    /// A model with as many pages as it should have, fewer where there is less room.
    fn within(mut model: PoolModel, room: u64) -> Result<Self, PoolError> {
        let footprint = footprint::settle(&mut model.options, room)
            .map_err(|source| PoolError::Model { id: model.options.id.clone(), source })?;
        Ok(Self { model, footprint })
    }

    fn terms(&self) -> Terms {
        let PoolModel { options, pinned, keep_alive } = &self.model;
        Terms {
            bytes: self.footprint.total(),
            pinned: *pinned,
            keep_alive: *keep_alive,
            most_waiting: options.max_running.saturating_add(options.max_waiting),
        }
    }
}

/// Local models that share the memory. Dropping it stops them.
pub struct ModelPool {
    keeper: Arc<Keeper>,
    backends: Vec<Arc<PooledModel>>,
}

impl ModelPool {
    /// Loads the models that are to be there from the start: those that are pinned, and without a budget all. Of the
    /// others the tokenizer and the chat template. Blocks until all of that is done.
    ///
    /// # Errors
    /// [`PoolError::Model`] where one of these cannot be loaded.
    pub fn start(plan: PoolPlan, progress: &mut dyn FnMut(&BackendId, LoadProgress)) -> Result<Self, PoolError> {
        let PoolPlan { pool, models } = plan;
        let budget = pool.budget.unwrap_or(u64::MAX);
        let residents = Residents::new(budget, pool.load_wait, models.iter().map(Planned::terms));
        let slots = models.iter().map(|planned| Slot::new(planned.model.options.clone(), planned.footprint));
        let keeper = Keeper::start(pool, residents, slots.collect()).map_err(PoolError::Thread)?;
        // From here on dropping it stops what was loaded.
        let mut started = Self { keeper, backends: Vec::new() };
        let at_start = |planned: &Planned| planned.model.pinned || pool.budget.is_none();
        for (index, planned) in models.iter().enumerate().filter(|(_, planned)| at_start(planned)) {
            let id = &planned.model.options.id;
            let loaded = started.keeper.load_now(ModelIndex(index), &mut |at| progress(id, at));
            loaded.map_err(|source| PoolError::Model { id: id.clone(), source })?;
        }
        started.backends = started.open(&models)?;
        Ok(started)
    }

    /// The models as backends. Large vocabularies take seconds each, so they are read beside each other.
    fn open(&self, models: &[Planned]) -> Result<Vec<Arc<PooledModel>>, PoolError> {
        thread::scope(|scope| {
            let opening: Vec<_> = (0..models.len())
                .map(|index| {
                    let options = self.keeper.options(ModelIndex(index));
                    (options.id.clone(), index, scope.spawn(move || front(&options)))
                })
                .collect();
            let opened = opening.into_iter().map(|(id, index, front)| {
                let front = front.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
                let (offer, prompter) = front.map_err(|source| PoolError::Model { id, source })?;
                Ok(Arc::new(PooledModel::new(Arc::clone(&self.keeper), ModelIndex(index), offer, prompter)))
            });
            opened.collect()
        })
    }

    /// The models as backends, in the order of the plan.
    pub fn backends(&self) -> &[Arc<PooledModel>] {
        &self.backends
    }

    /// The models for whoever runs the gateway.
    pub fn models(&self) -> Arc<dyn Models> {
        Arc::new(Handle(Arc::clone(&self.keeper)))
    }

    /// Loads nothing from now on: a load under way is cancelled, and requests that wait for one fail as being shut down.
    /// Models that are there go on. For a program that lets what is under way end before it stops.
    pub fn close(&self) {
        self.keeper.close();
    }

    /// Stops all models: no new requests, those that run or wait fail as being shut down, threads are joined. A load
    /// that is under way is cancelled and not waited for. Stopping twice does nothing more.
    pub fn stop(&self) {
        self.keeper.stop();
    }
}

impl Drop for ModelPool {
    fn drop(&mut self) {
        self.stop();
    }
}

struct Handle(Arc<Keeper>);

impl Models for Handle {
    fn status(&self) -> PoolStatus {
        self.0.status()
    }

    fn load(&self, id: &BackendId) -> BoxFuture<'static, Result<(), ModelRefusal>> {
        let (keeper, index) = (Arc::clone(&self.0), self.0.find(id));
        Box::pin(async move {
            let lease = keeper.lease(index.ok_or(ModelRefusal::Unknown)?, true, None).await;
            lease.map(drop).map_err(ModelRefusal::Failed)
        })
    }

    fn unload(&self, id: &BackendId) -> BoxFuture<'static, Result<(), ModelRefusal>> {
        let (keeper, index) = (Arc::clone(&self.0), self.0.find(id));
        Box::pin(async move {
            let index = index.ok_or(ModelRefusal::Unknown)?;
            match keeper.unload(index).await {
                Ok(()) => Ok(()),
                Err(Stays::Pinned) => Err(ModelRefusal::Pinned),
                Err(Stays::Busy(requests)) => Err(ModelRefusal::Busy { requests }),
            }
        })
    }
}

#[cfg(test)]
mod tests;
