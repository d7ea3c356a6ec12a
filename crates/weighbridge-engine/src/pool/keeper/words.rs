//! What requests are told that do not get their model: why, in figures, and what to do.

use std::time::Duration;

use weighbridge_backend::{Failure, FailureKind, Stage as Waited};

use super::state::{Fault, Slot, State};
use crate::options::LoadError;
use crate::pool::residents::{ModelIndex, Time};
use crate::pool::{PoolOptions, mib_up};

/// Room is wanted that other models hold.
pub(super) fn no_room(state: &State, pool: &PoolOptions, index: ModelIndex) -> Failure {
    let slot = &state.slots[index.0];
    let holders = state.slots.iter().zip(0..).filter_map(|(slot, other)| {
        let resident = state.residents.model(ModelIndex(other));
        let what = match resident.users() {
            0 if resident.terms().pinned => "pinned".to_owned(),
            0 => "on its way".to_owned(),
            users => format!("{users} answers under way"),
        };
        let size = mib_up(slot.footprint.total());
        resident.holds_room().then(|| format!("{} {size} MiB, {what}", slot.options.id))
    });
    let holders = holders.collect::<Vec<_>>().join("; ");
    let message = format!(
        "the model \"{}\" takes {} MiB and found no room within {} s: other models hold {} of {} MiB ({holders}); try \
         again later, or give the models more memory ([engine] memory_budget_mib)",
        slot.options.id,
        mib_up(slot.footprint.total()),
        pool.load_wait.as_secs_f32(),
        mib_up(state.residents.held()),
        pool.budget.unwrap_or_default() >> 20,
    );
    let wait = (pool.load_wait / 4).clamp(Duration::from_secs(1), Duration::from_secs(60));
    again_after(wait, Failure::new(FailureKind::Unavailable, message))
}

/// The model is on its way, and its way is longer than the bound.
pub(super) fn too_slow(slot: &Slot, pool: &PoolOptions, now: Time) -> Failure {
    let (done, total) = slot.progress.get();
    let message = format!(
        "the model \"{}\" is being loaded and was not there within {} s: {} of {} MiB are read; try again later, or \
         let requests wait longer ([engine] load_wait_ms)",
        slot.options.id,
        pool.load_wait.as_secs_f32(),
        done >> 20,
        mib_up(total)
    );
    let rest = if done == 0 { 1.0 } else { (total - done.min(total)) as f32 / done as f32 };
    let left = now.saturating_sub(slot.began).mul_f32(rest.min(1e6)).min(Duration::from_secs(60));
    again_after(left.max(Duration::from_secs(1)), Failure::new(FailureKind::Unavailable, message))
}

pub(super) fn crowded(slot: &Slot, waiting: usize) -> Failure {
    let message = format!(
        "{waiting} requests wait for the model \"{}\" to be loaded, as many as may; try again later, or raise its \
         bounds",
        slot.options.id
    );
    again_after(Duration::from_secs(5), Failure::new(FailureKind::Overloaded, message))
}

/// Its load was cancelled by whoever runs the gateway.
pub(super) fn cancelled(slot: &Slot) -> Failure {
    let message = format!(
        "the load of the model \"{}\" was cancelled by an unload; ask again to have it loaded",
        slot.options.id
    );
    Failure::new(FailureKind::Unavailable, message)
}

/// The program is on its way out.
pub(super) fn closing(slot: &Slot) -> Failure {
    let message = format!(
        "the model \"{}\" is not in memory, and as the gateway is being stopped it is not loaded any more; ask again \
         once it is started",
        slot.options.id
    );
    again_after(Duration::from_secs(5), Failure::new(FailureKind::ShuttingDown, message))
}

pub(super) fn unavailable(slot: &Slot, retry_in: Duration) -> Failure {
    again_after(retry_in, Failure::new(FailureKind::Unavailable, failed(slot, retry_in)))
}

/// A model that could not be loaded or has died, why, and what to do.
pub(super) fn failed(slot: &Slot, retry_in: Duration) -> String {
    let what = match slot.failure {
        Fault::Load(_) => "could not be loaded",
        Fault::Died => "is out",
    };
    format!(
        "the model \"{id}\" {what}: {}; it is tried again in {} s, or at once by `weighbridge models load {id}`",
        fault(slot),
        retry_in.as_secs() + 1,
        id = slot.options.id
    )
}

/// What is wrong with a model that is not there.
pub(super) fn fault(slot: &Slot) -> &str {
    match &slot.failure {
        Fault::Load(reason) => reason,
        Fault::Died => "its engine has died, and the log says why",
    }
}

pub(super) fn out_of_time() -> Failure {
    Failure::new(FailureKind::Timeout(Waited::Total), "the deadline of the request passed as it waited for its model")
}

/// Why a load failed, for callers: without the checkpoint's path, which is nobody's business but the operator's.
pub(super) fn reason(error: &LoadError) -> String {
    match error {
        LoadError::Checkpoint(error) => error.problem().to_string(),
        other => other.to_string(),
    }
}

fn again_after(wait: Duration, failure: Failure) -> Failure {
    Failure { retry_after: Some(wait), ..failure }
}
