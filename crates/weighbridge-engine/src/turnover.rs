//! How fast places come free, by what was seen of late, and when it is worth asking again for one.

use std::time::{Duration, Instant};

/// Seconds in which places were taken after which what was seen has 1/e of its weight.
const MEMORY: f64 = 30.0;
/// The longest wait that is told: what lies further ahead is not known.
const LONGEST: Duration = Duration::from_secs(60);

/// And the shortest: a place comes free between two steps, and asking more often than that finds none.
const SHORTEST: Duration = Duration::from_millis(50);

/// The rate at which the places of one model come free. Pure: the clock comes in with each call.
///
/// Places that came free, and the time that it took, fade alike as more of them come: so their quotient is the mean time
/// between two from the first one on, several that come free at once count as many, and hours without a request say
/// nothing.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Turnover {
    /// Places that came free.
    freed: f64,
    /// Seconds up to the last of them in which any were taken.
    busy: f64,
    /// Such seconds since then.
    since: f64,
    /// Until when all this is counted.
    seen: Option<Instant>,
    /// When the place comes free that was last promised.
    promised: Option<Instant>,
}

impl Turnover {
    /// At `now` so many places come free; `busy` where any was taken until then.
    pub(crate) fn note(&mut self, now: Instant, busy: bool, freed: usize) {
        let elapsed = self.seen.map_or(Duration::ZERO, |seen| now.saturating_duration_since(seen));
        self.seen = self.seen.max(Some(now));
        if busy {
            self.since += elapsed.as_secs_f64();
        }
        if freed > 0 {
            let kept = (-self.since / MEMORY).exp();
            self.freed = self.freed * kept + freed as f64;
            self.busy = self.busy * kept + self.since;
            self.since = 0.0;
        }
    }

    /// The mean time from one place that comes free to the next, and no less than none has come free for. `None` where
    /// none has yet.
    pub(crate) fn interval(&self) -> Option<Duration> {
        (self.freed > 0.0).then(|| bounded((self.busy / self.freed).max(self.since)))
    }

    /// When to ask again, for somebody who finds no place at `now`. Each is promised a place of its own, so that those
    /// turned away together do not come back together; where nothing has come free yet, after as long again as that
    /// has lasted. From a step to a minute.
    pub(crate) fn promise(&mut self, now: Instant) -> Duration {
        let interval = self.interval().unwrap_or_else(|| bounded(self.since));
        let behind = self.promised.map_or(Duration::ZERO, |last| last.saturating_duration_since(now));
        let wait = behind.saturating_add(interval).min(LONGEST);
        self.promised = now.checked_add(wait);
        wait.max(SHORTEST)
    }
}

/// Seconds as a time that can be told.
fn bounded(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).map_or(LONGEST, |time| time.min(LONGEST))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A place comes free every so often, for a while, with all places taken throughout.
    fn steady(every: Duration, times: u32) -> (Turnover, Instant) {
        let (mut turnover, mut now) = (Turnover::default(), Instant::now());
        turnover.note(now, false, 0);
        for _ in 0..times {
            now += every;
            turnover.note(now, true, 1);
        }
        (turnover, now)
    }

    fn near(found: Option<Duration>, expected: Duration) -> bool {
        found.is_some_and(|found| found >= expected.mul_f64(0.95) && found <= expected.mul_f64(1.05))
    }

    #[test]
    fn the_wait_is_what_was_measured_and_each_gets_a_place_of_its_own() {
        let (mut turnover, now) = steady(Duration::from_millis(500), 100);
        assert!(near(turnover.interval(), Duration::from_millis(500)));
        let waits: Vec<Duration> = (0..4).map(|_| turnover.promise(now)).collect();
        for (place, wait) in (1..).zip(&waits) {
            assert!(near(Some(*wait), Duration::from_millis(500 * place)), "{waits:?}");
        }
        let later = now + Duration::from_secs(10);
        assert!(near(Some(turnover.promise(later)), Duration::from_millis(500)), "the places promised have come");
    }

    #[test]
    fn what_comes_free_together_counts_as_often_as_it_is() {
        let (mut turnover, mut now) = (Turnover::default(), Instant::now());
        turnover.note(now, false, 0);
        for _ in 0..20 {
            now += Duration::from_secs(4);
            turnover.note(now, true, 1);
            (0..7).for_each(|_| turnover.note(now, true, 1));
        }
        assert!(near(turnover.interval(), Duration::from_millis(500)));
    }

    #[test]
    fn an_idle_day_says_nothing() {
        let (mut turnover, now) = steady(Duration::from_millis(200), 3);
        turnover.note(now + Duration::from_secs(60), false, 0);
        assert!(near(turnover.interval(), Duration::from_millis(200)));
    }

    #[test]
    fn where_nothing_came_free_it_is_as_long_again_and_never_beyond_a_minute() {
        let (mut turnover, mut now) = (Turnover::default(), Instant::now());
        assert_eq!((turnover.interval(), turnover.promise(now)), (None, SHORTEST));
        turnover.note(now, false, 0);
        now += Duration::from_secs(2);
        turnover.note(now, true, 0);
        assert!(near(Some(turnover.promise(now)), Duration::from_secs(2)));
        let (mut stuck, now) = steady(Duration::from_millis(200), 20);
        stuck.note(now + Duration::from_secs(9), true, 0);
        assert!(near(stuck.interval(), Duration::from_secs(9)), "it has stopped for so long");
        let (mut slow, now) = steady(Duration::from_secs(600), 2);
        assert_eq!(slow.promise(now), LONGEST);
        (0..100).for_each(|_| assert!(slow.promise(now) <= LONGEST));
    }

    #[test]
    fn a_change_of_pace_is_learnt_within_a_minute() {
        let (mut turnover, mut now) = steady(Duration::from_secs(5), 40);
        for _ in 0..120 {
            now += Duration::from_millis(500);
            turnover.note(now, true, 1);
        }
        let found = turnover.interval().unwrap_or_default();
        assert!(found < Duration::from_millis(620), "{found:?}");
    }

    proptest! {
        #[test]
        fn whatever_happens_a_wait_is_a_time_within_its_bound(
            steps in prop::collection::vec((0u64..100_000_000, any::<bool>(), 0usize..40, any::<bool>()), 0..60),
        ) {
            let (mut turnover, mut now) = (Turnover::default(), Instant::now());
            for (micros, busy, freed, asks) in steps {
                now += Duration::from_micros(micros);
                turnover.note(now, busy, freed);
                if asks {
                    prop_assert!((SHORTEST..=LONGEST).contains(&turnover.promise(now)));
                }
                prop_assert!(turnover.interval().is_none_or(|interval| interval <= LONGEST));
            }
        }
    }
}
