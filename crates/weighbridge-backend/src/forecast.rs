//! What a backend knows of itself and of a request before it is asked: what policy weighs beside the offer.

use std::time::Duration;

use crate::PromptCount;

/// What a backend expects of one request, were it asked now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forecast {
    /// Tokens of the prompt.
    pub prompt: PromptCount,
    /// Of these, how many are computed already, for an earlier prompt began alike. 0 where the backend cannot tell.
    pub cached_tokens: u64,
    /// From now to the first token, with all that is to be computed before it. `None` where the backend cannot tell.
    pub first_token: Option<Duration>,
    /// What each token takes of this machine.
    pub token_time: TokenTime,
}

/// What a token takes of the machine, as it was measured of late: its share of a step's time, in which all its cores
/// compute.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TokenTime {
    /// A token of a prompt that has to be computed; `None` while none was.
    pub prompt: Option<Duration>,
    /// A token of an answer; `None` while none was made.
    pub answer: Option<Duration>,
}

/// What a backend that computes on this machine holds, and what it has done since it was loaded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Computation {
    /// Its pages of keys and values; `None` where each sequence has a cache of its own.
    pub pages: Option<PageCounts>,
    /// Those of its layers with windows, where it has such layers; the other ones are then of the other layers.
    pub windowed_pages: Option<PageCounts>,
    /// What each token takes of the machine.
    pub token_time: TokenTime,
    /// Steps that were computed.
    pub steps: u64,
    /// Tokens that were not computed because an earlier prompt began alike.
    pub prefix_hit_tokens: u64,
    /// How often a sequence gave its pages back to another.
    pub preemptions: u64,
}

/// Pages of keys and values. Those that are neither used nor cached are free, and cached ones can be had as well.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PageCounts {
    /// How many there may be.
    pub capacity: usize,
    /// Those that sequences have.
    pub used: usize,
    /// Those that nobody has, and that hold a prefix for others to begin with.
    pub cached: usize,
}

impl PageCounts {
    /// Those that hold nothing of use.
    pub fn free(&self) -> usize {
        self.capacity.saturating_sub(self.used).saturating_sub(self.cached)
    }
}

/// The tokens of the prompt, and nothing else known.
impl From<PromptCount> for Forecast {
    fn from(prompt: PromptCount) -> Self {
        Self { prompt, cached_tokens: 0, first_token: None, token_time: TokenTime::default() }
    }
}

impl Forecast {
    /// What the request is expected to take of this machine: tokens of the prompt that are not computed yet, and so
    /// many of its answers. `None` where it takes nothing of it, or that is not measured yet.
    pub fn compute_time(&self, answer_tokens: u64) -> Option<Duration> {
        let TokenTime { prompt, answer } = self.token_time;
        let uncached = self.prompt.tokens().saturating_sub(self.cached_tokens);
        let seconds = prompt?.as_secs_f64() * uncached as f64 + answer?.as_secs_f64() * answer_tokens as f64;
        Duration::try_from_secs_f64(seconds).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_cached_takes_no_time() {
        let token_time = TokenTime { prompt: Some(Duration::from_millis(2)), answer: Some(Duration::from_millis(50)) };
        let forecast = Forecast { cached_tokens: 900, token_time, ..PromptCount::Exact(1000).into() };
        assert_eq!(forecast.compute_time(10), Some(Duration::from_millis(700)));
        assert_eq!(Forecast::from(PromptCount::Exact(1000)).compute_time(10), None);
    }

    #[test]
    fn pages_are_used_cached_or_free() {
        assert_eq!(PageCounts { capacity: 10, used: 3, cached: 5 }.free(), 2);
    }
}
