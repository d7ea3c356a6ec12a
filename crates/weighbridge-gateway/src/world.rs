//! What the gateway has learnt about each backend: how soon it begins to answer, and until when it asked
//! to be left alone. Policy gets this as values, beside what a backend foretells itself.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

/// The weight of the newest answer in the mean time to first token.
const NEWEST: f64 = 0.2;

/// The longest that a `Retry-After` is believed.
const LONGEST_REST: Duration = Duration::from_secs(60);

/// What is known of one backend. A lock guards a moment, once at the start of an attempt and once at its
/// first event, never for a token.
#[derive(Debug, Default)]
pub(crate) struct Experience(Mutex<Learnt>);

#[derive(Clone, Copy, Debug, Default)]
struct Learnt {
    first_token: Option<Duration>,
    rests_until: Option<Instant>,
}

impl Experience {
    /// It began to answer after `elapsed`.
    pub(crate) fn answered(&self, elapsed: Duration) {
        let mut learnt = self.learnt();
        let mean = learnt.first_token.map_or(elapsed, |mean| mean.mul_f64(1.0 - NEWEST) + elapsed.mul_f64(NEWEST));
        *learnt = Learnt { first_token: Some(mean), rests_until: None };
    }

    /// It asked not to be called for a while.
    pub(crate) fn asked_for_rest(&self, wait: Duration) {
        self.learnt().rests_until = Some(Instant::now() + wait.min(LONGEST_REST));
    }

    /// How much longer it wants to be left alone.
    pub(crate) fn rest(&self) -> Option<Duration> {
        let left = self.learnt().rests_until?.saturating_duration_since(Instant::now());
        (!left.is_zero()).then_some(left)
    }

    /// The mean time to its first token.
    pub(crate) fn first_token(&self) -> Option<Duration> {
        self.learnt().first_token
    }

    fn learnt(&self) -> std::sync::MutexGuard<'_, Learnt> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mean_follows_what_is_measured() {
        let experience = Experience::default();
        assert_eq!(experience.first_token(), None);
        experience.answered(Duration::from_millis(100));
        experience.answered(Duration::from_millis(200));
        assert_eq!(experience.first_token(), Some(Duration::from_millis(120)));
    }

    #[test]
    fn a_rest_is_bounded_and_ends_with_an_answer() {
        let experience = Experience::default();
        experience.asked_for_rest(Duration::from_secs(86_400));
        assert!(experience.rest().is_some_and(|rest| rest <= LONGEST_REST));
        experience.answered(Duration::ZERO);
        assert_eq!(experience.rest(), None);
    }
}
