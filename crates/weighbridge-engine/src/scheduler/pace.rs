//! How many tokens of prompts a step may hold, by what earlier steps took.
//!
//! A step that computes prompts beside running answers keeps these waiting for the next token. What prompts add to it is
//! held to what the answers alone take, so that the time between two tokens about doubles; where prompts crowd, to more of
//! it, since more people wait for a first token than for a next one and a few tokens in a step cost twice as much each as
//! a hundred; and to a bound from the settings. Without answers to keep waiting a step may take longer, so that prompts get the whole machine, and yet
//! not so long that a request that arrives or goes is noticed late.

use std::time::Duration;

/// The weight of the latest step in what steps are taken to last.
const LATEST: f64 = 0.25;
/// Tokens that a step may always hold: fewer cost so much each, on the way through weights and earlier tokens, that
/// prompts never end on a slow machine.
const LEAST: usize = 8;
/// And while nothing is known.
const FIRST: usize = 64;
/// How many times what the answers take prompts may add, for each prompt beside the first and by the answers that run.
const CROWD: f64 = 4.0;
/// How long a step may be where nobody waits for its answers, or as long as beside them where that is more.
const ALONE: Duration = Duration::from_millis(500);

/// The pace of one engine.
#[derive(Clone, Debug)]
pub(crate) struct Pace {
    /// The most tokens that a step may ever hold.
    most: usize,
    /// What prompts may add to a step at most; `None` where they come in steps of the same size always.
    bound: Option<Duration>,
    /// Seconds of a step of answers alone.
    answers: Option<f64>,
    /// Seconds that a token of a prompt adds.
    token: Option<f64>,
    /// Seconds of a token of an answer: its share of a step of answers alone.
    answer: Option<f64>,
}

/// What steps take, as far as that is known: what a prediction is made from.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Speed {
    /// Seconds of a step of answers alone, as many as there were of late.
    pub(crate) answers: Option<f64>,
    /// Seconds that a token of a prompt adds to a step.
    pub(crate) token: Option<f64>,
    /// Seconds of a token of an answer.
    pub(crate) answer: Option<f64>,
    /// Tokens of prompts that a step may hold where no answer runs.
    pub(crate) alone: usize,
    /// And beside answers.
    pub(crate) beside: usize,
}

/// A step that is over.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Took {
    /// Answers in it.
    pub(crate) answers: usize,
    /// Tokens of prompts in it.
    pub(crate) prompt_tokens: usize,
    /// From its start to its end.
    pub(crate) time: Duration,
}

impl Pace {
    /// At most `most` tokens, fewer where they would add more than `bound` to a step.
    pub(crate) fn bounded(most: usize, bound: Duration) -> Self {
        Self { bound: Some(bound), ..Self::fixed(most) }
    }

    /// Always so many tokens.
    pub(crate) fn fixed(tokens: usize) -> Self {
        Self { most: tokens.max(1), bound: None, answers: None, token: None, answer: None }
    }

    /// The most tokens that a step may ever hold.
    pub(crate) fn most(&self) -> usize {
        self.most
    }

    /// Tokens of prompts that a step with so many answers may hold, where so many prompts are under way.
    pub(super) fn prompt_tokens(&self, answers: usize, prompts: usize) -> usize {
        let Some(bound) = self.bound else { return self.most };
        let Some(token) = self.token else { return FIRST.min(self.most) };
        let seconds = match self.answers {
            _ if answers == 0 => bound.max(ALONE).as_secs_f64(),
            Some(seconds) => {
                let crowd = CROWD * prompts.saturating_sub(1) as f64 / answers as f64;
                (seconds * crowd.max(1.0)).min(bound.as_secs_f64())
            }
            None => bound.as_secs_f64(),
        };
        // Where it overflows the cast saturates.
        ((seconds / token) as usize).max(LEAST).min(self.most)
    }

    /// What steps take and may hold, where so many answers run and so many prompts are under way.
    pub(super) fn speed(&self, running: usize, prompts: usize) -> Speed {
        let Self { answers, token, answer, .. } = *self;
        let (alone, beside) = (self.prompt_tokens(0, prompts), self.prompt_tokens(running.max(1), prompts));
        Speed { answers, token, answer, alone, beside }
    }

    /// Learns from a step.
    pub(crate) fn note(&mut self, took: Took) {
        let seconds = took.time.as_secs_f64();
        if took.prompt_tokens == 0 {
            // A step of nothing at all tells nothing.
            if took.answers > 0 {
                learn(&mut self.answers, seconds, LATEST);
                learn(&mut self.answer, seconds / took.answers as f64, LATEST);
            }
        } else {
            let rest = if took.answers > 0 { self.answers.unwrap_or(0.0) } else { 0.0 };
            // A step that was quicker than its answers are taken to be tells nothing of prompts.
            let token = (seconds - rest).max(seconds * 0.1) / took.prompt_tokens as f64;
            // A few tokens alone take as long as the way through the weights does, and say as little as they are few.
            let share = if took.answers > 0 { 1.0 } else { (took.prompt_tokens as f64 / FIRST as f64).min(1.0) };
            learn(&mut self.token, token.max(1e-9), LATEST * share);
        }
    }
}

fn learn(known: &mut Option<f64>, latest: f64, weight: f64) {
    *known = Some(known.map_or(latest, |known| known + weight * (latest - known)));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BOUND: Duration = Duration::from_millis(100);

    fn learnt(answers_ms: u64, token_us: u64) -> Pace {
        let mut pace = Pace::bounded(512, BOUND);
        pace.note(Took { answers: 8, prompt_tokens: 0, time: Duration::from_millis(answers_ms) });
        let time = Duration::from_millis(answers_ms) + Duration::from_micros(token_us * 100);
        pace.note(Took { answers: 8, prompt_tokens: 100, time });
        pace
    }

    #[test]
    fn prompts_add_no_more_than_their_share_and_the_bound() {
        assert_eq!(learnt(20, 1000).prompt_tokens(8, 1), 20, "as long as the answers");
        assert_eq!(learnt(20, 1000).prompt_tokens(1, 1), 20, "and no more than that for one of them");
        assert_eq!(learnt(20, 1000).prompt_tokens(8, 3), 20, "few are no crowd");
        assert_eq!(learnt(20, 1000).prompt_tokens(8, 7), 60, "a crowd, three times that");
        assert_eq!(learnt(200, 1000).prompt_tokens(8, 1), 100, "the bound");
        assert_eq!(learnt(20, 1000).prompt_tokens(0, 1), 500, "with nobody to keep waiting");
        assert_eq!(learnt(20, 100).prompt_tokens(0, 1), 512, "the most");
        assert_eq!(learnt(1, 10_000).prompt_tokens(8, 1), LEAST);
        let mut idle = learnt(20, 1000);
        idle.note(Took { answers: 0, prompt_tokens: 0, time: Duration::ZERO });
        assert_eq!(idle.prompt_tokens(8, 1), 20, "a step of nothing tells nothing");
    }

    #[test]
    fn a_few_tokens_alone_say_little_of_a_token() {
        let mut pace = learnt(20, 1000);
        pace.note(Took { answers: 0, prompt_tokens: 4, time: Duration::from_millis(20) });
        let token = pace.speed(0, 1).token.unwrap_or_default();
        assert!(token < 0.0011, "{token}");
    }

    #[test]
    fn what_it_measures_can_be_told() {
        let speed = learnt(20, 1000).speed(8, 1);
        let found = [speed.answers, speed.token, speed.answer].map(|seconds| seconds.map(|it| (it * 1e6).round()));
        assert_eq!(found, [20_000.0, 1000.0, 2500.0].map(Some));
        assert_eq!((speed.alone, speed.beside), (500, 20));
        assert_eq!(Pace::fixed(7).speed(8, 1), Speed { alone: 7, beside: 7, ..Speed::default() });
    }

    #[test]
    fn it_begins_with_care_and_stays_where_it_is_told() {
        assert_eq!(Pace::bounded(512, BOUND).prompt_tokens(3, 1), FIRST);
        let mut fixed = Pace::fixed(128);
        fixed.note(Took { answers: 0, prompt_tokens: 128, time: Duration::from_secs(9) });
        assert_eq!(fixed.prompt_tokens(3, 1), 128);
    }

    proptest! {
        #[test]
        fn whatever_it_learns_it_lets_some_tokens_through_and_never_too_many(
            steps in prop::collection::vec((0usize..40, 0usize..600, 0u64..10_000_000), 0..50),
            answers in 0usize..40,
            prompts in 0usize..200,
        ) {
            let mut pace = Pace::bounded(512, BOUND);
            for (answers, prompt_tokens, micros) in steps {
                pace.note(Took { answers, prompt_tokens, time: Duration::from_micros(micros) });
            }
            prop_assert!((LEAST..=512).contains(&pace.prompt_tokens(answers, prompts)));
        }

        #[test]
        fn a_machine_that_turns_slow_is_learnt_within_ten_steps(token_us in 10u64..5000) {
            let mut pace = Pace::bounded(1 << 20, BOUND);
            pace.note(Took { answers: 0, prompt_tokens: 64, time: Duration::from_micros(64) });
            for _ in 0..10 {
                let tokens = 100;
                pace.note(Took { answers: 0, prompt_tokens: tokens, time: Duration::from_micros(token_us * 100) });
            }
            let right = ALONE.as_secs_f64() / (token_us as f64 * 1e-6);
            let found = pace.prompt_tokens(0, 1) as f64;
            prop_assert!(found >= 0.9 * right && found <= 1.1 * right + 1.0, "{found} for {right}");
        }
    }
}
