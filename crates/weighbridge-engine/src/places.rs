//! Places for answers: how many there are, how many are taken, and by answers at which stage.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use weighbridge_backend::Load;

use crate::turnover::Turnover;

/// The places of one model. Clones share them.
#[derive(Clone, Debug)]
pub(crate) struct Places {
    state: Arc<Mutex<State>>,
    capacity: usize,
}

#[derive(Debug, Default)]
struct State {
    taken: Load,
    turnover: Turnover,
}

/// Every place is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Full {
    /// What takes them.
    pub(crate) load: Load,
    /// When one is expected to be free for whoever was turned away.
    pub(crate) retry_after: Duration,
}

/// A place taken by one answer, given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    places: Places,
    running: bool,
}

impl Places {
    /// As many as may run and wait together.
    pub(crate) fn new(capacity: usize) -> Self {
        Self { state: Arc::default(), capacity }
    }

    /// Places for all answers of one request, which wait at first. A request with several answers may exceed the
    /// capacity by them, or else it could never be served where the capacity is small.
    ///
    /// # Errors
    /// [`Full`] when every place is taken.
    pub(crate) fn take(&self, answers: usize) -> Result<Vec<Place>, Full> {
        let now = Instant::now();
        let mut state = self.lock();
        state.note(now, 0);
        let load = state.taken;
        if load.waiting + load.running >= self.capacity {
            return Err(Full { load, retry_after: state.turnover.promise(now) });
        }
        state.taken.waiting += answers;
        Ok((0..answers).map(|_| Place { places: self.clone(), running: false }).collect())
    }

    /// What is taken now.
    pub(crate) fn load(&self) -> Load {
        self.lock().taken
    }

    /// The mean time from one answer that ends to the next; `None` where none has yet.
    pub(crate) fn interval(&self) -> Option<Duration> {
        self.lock().turnover.interval()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing below can panic while it holds the lock, so that the counts are right even so.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn note(&mut self, now: Instant, freed: usize) {
        let busy = self.taken.waiting + self.taken.running > 0;
        self.turnover.note(now, busy, freed);
    }
}

impl Place {
    /// The answer has begun.
    pub(crate) fn begin(&mut self) {
        if !self.running {
            self.running = true;
            let taken = &mut self.places.lock().taken;
            taken.waiting -= 1;
            taken.running += 1;
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let now = Instant::now();
        let mut state = self.places.lock();
        // Whoever left the queue, or was refused for its prompt, held none for as long as an answer does.
        state.note(now, usize::from(self.running));
        if self.running {
            state.taken.running -= 1;
        } else {
            state.taken.waiting -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_waits_then_runs_and_is_given_back() {
        let places = Places::new(2);
        let mut taken = places.take(1).unwrap_or_default();
        assert_eq!(places.load(), Load { waiting: 1, running: 0 });
        taken.iter_mut().for_each(|place| {
            place.begin();
            place.begin();
        });
        assert_eq!(places.load(), Load { waiting: 0, running: 1 });
        drop(taken);
        assert_eq!(places.load(), Load::default());
    }

    #[test]
    fn when_all_are_taken_nobody_else_gets_one() {
        let places = Places::new(2);
        let first = places.take(3);
        assert!(first.is_ok(), "a request with more answers than places finds them when it comes first");
        let full = places.take(1).err();
        assert_eq!(full.map(|full| full.load), Some(Load { waiting: 3, running: 0 }));
        assert!(full.is_some_and(|full| full.retry_after <= Duration::from_secs(60)));
        drop(first);
        assert!(places.take(1).is_ok());
    }
}
