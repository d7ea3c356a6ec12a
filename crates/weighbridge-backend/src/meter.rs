//! What an answer has used so far.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::Usage;

/// A counter that the backend advances and the gateway reads, so that an answer that is cancelled or cut
/// is accounted for to the token. Clones count together.
#[derive(Clone, Debug, Default)]
pub struct Meter(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    prompt: AtomicU64,
    cached: AtomicU64,
    completion: AtomicU64,
    reasoning: AtomicU64,
    estimated: AtomicBool,
    published: Published,
}

/// When the oldest event that nobody took yet was published.
#[derive(Debug)]
struct Published {
    /// What the other counts from.
    since: Instant,
    /// Nanoseconds; 0 where there is none.
    at: AtomicU64,
}

impl Default for Published {
    fn default() -> Self {
        Self { since: Instant::now(), at: AtomicU64::new(0) }
    }
}

impl Published {
    fn now(&self) -> u64 {
        u64::try_from(self.since.elapsed().as_nanos()).unwrap_or(u64::MAX).max(1)
    }
}

impl Meter {
    /// Counts tokens of the prompt as they are computed.
    pub fn add_prompt(&self, tokens: u64) {
        self.0.prompt.fetch_add(tokens, Ordering::Relaxed);
    }

    /// Counts tokens of the prompt that a cache had.
    pub fn add_cached(&self, tokens: u64) {
        self.0.prompt.fetch_add(tokens, Ordering::Relaxed);
        self.0.cached.fetch_add(tokens, Ordering::Relaxed);
    }

    /// Counts tokens of the answer as they are made.
    pub fn add_completion(&self, tokens: u64) {
        self.0.completion.fetch_add(tokens, Ordering::Relaxed);
    }

    /// Counts those tokens of the answer that were reasoning, which [`Meter::add_completion`] counts too.
    pub fn add_reasoning(&self, tokens: u64) {
        self.0.reasoning.fetch_add(tokens, Ordering::Relaxed);
    }

    /// Replaces the counts, as when a provider states its own.
    pub fn set(&self, usage: Usage) {
        self.0.prompt.store(usage.prompt_tokens, Ordering::Relaxed);
        self.0.cached.store(usage.cached_tokens, Ordering::Relaxed);
        self.0.completion.store(usage.completion_tokens, Ordering::Relaxed);
        self.0.reasoning.store(usage.reasoning_tokens, Ordering::Relaxed);
        self.0.estimated.store(usage.estimated, Ordering::Relaxed);
    }

    /// An event was made and waits for its reader.
    pub fn publish(&self) {
        // One that waits already is the older.
        let at = &self.0.published.at;
        _ = at.compare_exchange(0, self.0.published.now(), Ordering::Relaxed, Ordering::Relaxed);
    }

    /// What waits was read. Returns how long the oldest of it had waited; `None` where nothing says so. One that is
    /// published at this very moment may be taken for the one that was read.
    pub fn read(&self) -> Option<Duration> {
        let at = self.0.published.at.swap(0, Ordering::Relaxed);
        (at > 0).then(|| Duration::from_nanos(self.0.published.now().saturating_sub(at)))
    }

    /// How long the oldest event that nobody has read has waited. `None` where all was read.
    pub fn waits(&self) -> Option<Duration> {
        let at = self.0.published.at.load(Ordering::Relaxed);
        (at > 0).then(|| Duration::from_nanos(self.0.published.now().saturating_sub(at)))
    }

    /// What was used so far.
    pub fn usage(&self) -> Usage {
        Usage {
            prompt_tokens: self.0.prompt.load(Ordering::Relaxed),
            cached_tokens: self.0.cached.load(Ordering::Relaxed),
            completion_tokens: self.0.completion.load(Ordering::Relaxed),
            reasoning_tokens: self.0.reasoning.load(Ordering::Relaxed),
            estimated: self.0.estimated.load(Ordering::Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clones_count_together() {
        let meter = Meter::default();
        meter.clone().add_prompt(7);
        meter.add_cached(5);
        meter.add_completion(2);
        meter.add_reasoning(1);
        let expected = Usage {
            prompt_tokens: 12,
            cached_tokens: 5,
            completion_tokens: 2,
            reasoning_tokens: 1,
            ..Usage::default()
        };
        assert_eq!(meter.usage(), expected);
    }

    #[test]
    fn the_oldest_of_what_waits_says_how_long() {
        let meter = Meter::default();
        assert_eq!(meter.read(), None);
        meter.publish();
        std::thread::sleep(Duration::from_millis(20));
        meter.publish();
        assert!(meter.waits() >= Some(Duration::from_millis(20)));
        assert!(meter.read().is_some_and(|waited| waited >= Duration::from_millis(20)));
        assert_eq!((meter.read(), meter.waits()), (None, None));
    }
}
