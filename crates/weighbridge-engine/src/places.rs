//! Places for answers: how many there are, how many are taken, and by answers at which stage.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use weighbridge_backend::Load;

/// The places of one model. Clones share them.
#[derive(Clone, Debug)]
pub(crate) struct Places {
    taken: Arc<Mutex<Load>>,
    capacity: usize,
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
        Self { taken: Arc::default(), capacity }
    }

    /// Places for all answers of one request, which wait at first, or, when every place is taken, what takes
    /// them. A request with several answers may exceed the capacity by them, or else it could never be
    /// served where the capacity is small.
    pub(crate) fn take(&self, answers: usize) -> Result<Vec<Place>, Load> {
        let mut taken = self.lock();
        if taken.waiting + taken.running >= self.capacity {
            return Err(*taken);
        }
        taken.waiting += answers;
        Ok((0..answers).map(|_| Place { places: self.clone(), running: false }).collect())
    }

    /// What is taken now.
    pub(crate) fn load(&self) -> Load {
        *self.lock()
    }

    fn lock(&self) -> MutexGuard<'_, Load> {
        // Nothing below can panic while it holds the lock, so that the counts are right even so.
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// The answer has begun.
    pub(crate) fn begin(&mut self) {
        if !self.running {
            self.running = true;
            let mut taken = self.places.lock();
            taken.waiting -= 1;
            taken.running += 1;
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.lock();
        if self.running {
            taken.running -= 1;
        } else {
            taken.waiting -= 1;
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
        assert_eq!(places.take(1).err(), Some(Load { waiting: 3, running: 0 }));
        drop(first);
        assert!(places.take(1).is_ok());
    }
}
