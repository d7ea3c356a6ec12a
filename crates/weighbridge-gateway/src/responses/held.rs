//! The last response of a WebSocket, where it is not kept: its caller may go on from it over the same connection.
//!
//! It is in memory alone, those of all connections within one bound. Where there is no room, or the connection is gone,
//! so is the response, and what goes on from it is told that it is not there.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::Value;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use weighbridge_backend::DataClass;

use crate::gateway::Core;
use crate::wire::Finished;

/// What all connections together may hold, in KiB.
pub(crate) const HELD_KIB: usize = 256 << 10;

/// The most bytes of one of them.
const MOST_BYTES: usize = 32 << 20;

/// The place of one connection.
#[derive(Clone, Default)]
pub(super) struct Held(Arc<Mutex<Option<Turn>>>);

/// A response with all that it goes on from.
#[derive(Clone)]
pub(super) struct Turn {
    pub(super) id: String,
    pub(super) class: DataClass,
    pub(super) items: Arc<Vec<Value>>,
    /// Of these items, as JSON.
    pub(super) bytes: usize,
    room: Option<Arc<OwnedSemaphorePermit>>,
}

impl Turn {
    pub(super) fn new(id: String, class: DataClass, items: Vec<Value>, bytes: usize) -> Self {
        Self { id, class, items: Arc::new(items), bytes, room: None }
    }
}

impl Held {
    /// The response of this id.
    pub(super) fn recall(&self, id: &str) -> Option<Turn> {
        self.place().as_ref().filter(|turn| turn.id == id).cloned()
    }

    /// Holds a response in the place of the one before, if there is room for it.
    pub(super) fn put(&self, room: &Arc<Semaphore>, mut turn: Turn) {
        let mut place = self.place();
        // The one before gives its room back first.
        *place = None;
        let kib = u32::try_from(turn.bytes / 1024 + 1).unwrap_or(u32::MAX);
        if turn.bytes <= MOST_BYTES
            && let Ok(room) = Arc::clone(room).try_acquire_many_owned(kib)
        {
            turn.room = Some(Arc::new(room));
            *place = Some(turn);
        }
    }

    /// Lets go of the response of this id.
    pub(super) fn forget(&self, id: &str) {
        let mut place = self.place();
        if place.as_ref().is_some_and(|turn| turn.id == id) {
            *place = None;
        }
    }

    fn place(&self) -> MutexGuard<'_, Option<Turn>> {
        // Whoever panicked left a whole turn or none.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A response in the making, to be held.
pub(super) struct Holding {
    held: Held,
    room: Arc<Semaphore>,
    /// All that it goes on from.
    items: Vec<Value>,
}

impl Holding {
    pub(super) fn new(held: &Held, gateway: &Core, earlier: &[Value]) -> Self {
        Self { held: held.clone(), room: Arc::clone(gateway.sockets.room()), items: earlier.to_vec() }
    }

    /// What came in with it.
    pub(super) fn with(mut self, input: &[Value]) -> Self {
        self.items.extend_from_slice(input);
        self
    }

    /// Holds it, where it is not kept.
    pub(super) fn hold(mut self, finished: &Finished, class: DataClass) {
        if finished.stored {
            return;
        }
        let response: Value = serde_json::from_str(&finished.text).unwrap_or_default();
        self.items.extend(response["output"].as_array().into_iter().flatten().cloned());
        let bytes = self.items.iter().map(|item| item.to_string().len()).sum();
        self.held.put(&self.room, Turn::new(finished.id.clone(), class, self.items, bytes));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_holds_its_last_response_while_there_is_room() {
        let (held, room) = (Held::default(), Arc::new(Semaphore::new(4)));
        let put = |id: &str, bytes| held.put(&room, Turn::new(id.into(), DataClass::Internal, Vec::new(), bytes));
        let check = |there: &[&str], gone: &[&str], free: usize| {
            assert!(there.iter().all(|id| held.recall(id).is_some()), "{there:?}");
            assert!(gone.iter().all(|id| held.recall(id).is_none()), "{gone:?}");
            assert_eq!(room.available_permits(), free);
        };
        put("resp_1", 2048);
        check(&["resp_1"], &["resp_2"], 1);
        put("resp_2", 3 * 1024);
        check(&["resp_2"], &["resp_1"], 0);
        put("resp_3", 4 * 1024);
        check(&[], &["resp_2", "resp_3"], 4);
        put("resp_4", 1);
        held.forget("resp_3");
        check(&["resp_4"], &[], 3);
        held.forget("resp_4");
        check(&[], &["resp_4"], 4);
    }
}
