//! When the first token of a prompt is to be expected: arithmetic on what an engine has posted.
//!
//! It follows the scheduler with water in place of tokens. Callers take turns, so that until a prompt is computed no
//! other caller has got more than its own; the prompts of one caller go in order of arrival, but for one that is short
//! beside the first of them, which gets half; batches get one turn in nine while others wait. A step holds as many
//! tokens as the pace allows beside the answers that run.

use std::time::Duration;

use weighbridge_backend::Priority;

use super::{Newcomer, Posted};
use crate::scheduler::{Caller, INTERACTIVE_IN_A_ROW, Pending, SLICE, passes};

impl Posted {
    /// From now to the first token of a newcomer, a place coming free every so often. `None` where no prompt was
    /// computed yet, or where it has to wait for a place and none has come free yet.
    pub(super) fn first_token(&self, newcomer: &Newcomer<'_>, places: Option<Duration>) -> Option<Duration> {
        // A turn is a slice, also before somebody who needs less.
        let own = newcomer.tokens.next_multiple_of(SLICE);
        let mine = self.mine(newcomer, own);
        let ahead = self.ahead(newcomer, own, mine, self.in_a_row, |pending| pending.tokens);
        // Whoever has less to compute is there first, and goes on with its answer.
        let sooner = self.pending.iter().any(|pending| pending.tokens < newcomer.tokens);
        let beside = self.step.0 > 0 || sooner;
        let computed = self.computing(ahead + newcomer.tokens, beside)?;
        // While others end their answers, what is ahead is computed.
        let seated = match self.places_missing(newcomer) {
            0 => 0.0,
            missing => places?.as_secs_f64() * missing as f64 + self.computing(newcomer.tokens, true)?,
        };
        Duration::try_from_secs_f64(self.step_left() + computed.max(seated)).ok()
    }

    /// Seconds of the step under way that are left: half of it, for somebody who comes at any time.
    fn step_left(&self) -> f64 {
        let (answers, prompt_tokens) = self.step;
        let answers = if answers > 0 { self.speed.answers.unwrap_or(0.0) } else { 0.0 };
        0.5 * (answers + self.speed.token.unwrap_or(0.0) * prompt_tokens as f64)
    }

    /// Seconds in which so many tokens of prompts are computed, alone or beside answers.
    fn computing(&self, tokens: usize, beside: bool) -> Option<f64> {
        let prompts = self.speed.token? * tokens as f64;
        let budget = if beside { self.speed.beside } else { self.speed.alone };
        let answers = self.speed.answers.unwrap_or(0.0) * tokens.div_ceil(budget.max(1)) as f64;
        // A step goes by all weights once, and so takes no less than one of answers does.
        Some(if beside { prompts + answers } else { prompts.max(answers) })
    }

    /// How many places have to come free before the newcomer has one, and pages with it.
    fn places_missing(&self, newcomer: &Newcomer<'_>) -> usize {
        let waiting = |pending: &Pending| usize::from(pending.waits);
        let rank = 1 + self.ahead(newcomer, 1, self.of(newcomer).map(waiting).sum(), 0, waiting);
        let missing = rank.saturating_sub(self.max_running.saturating_sub(self.running));
        let available = self.pages.capacity - self.pages.used;
        let lacks_windowed = self.windowed.is_some_and(|it| newcomer.all_pages.min(it.most) > it.unpromised);
        let lacks_pages = self.running > 0 && (newcomer.pages + self.running > available || lacks_windowed);
        missing.max(usize::from(lacks_pages))
    }

    /// What the caller of a newcomer has waiting with it.
    fn of(&self, newcomer: &Newcomer<'_>) -> impl Iterator<Item = &Pending> {
        let Newcomer { caller, priority, .. } = *newcomer;
        self.pending.iter().filter(move |pending| pending.priority == priority && pending.caller == *caller)
    }

    /// Tokens of other prompts of its caller that are computed before `own` of a newcomer.
    fn mine(&self, newcomer: &Newcomer<'_>, own: usize) -> usize {
        let (mut shorter, mut others, mut before, mut is_passed) = (0, 0, 0, false);
        for Pending { tokens, .. } in self.of(newcomer) {
            is_passed |= passes(newcomer.tokens, *tokens);
            if *tokens <= newcomer.tokens {
                shorter += tokens;
            } else {
                others += tokens;
                before += if is_passed { 0 } else { *tokens };
            }
        }
        if !is_passed {
            return shorter + others;
        }
        // It passes once the first is long enough; those that are shorter yet go before it, and meanwhile the others
        // get as much.
        shorter + others.min(before.max(shorter) + own)
    }

    /// What others get, in the unit of `size`, before the newcomer has had `own` of it, and other prompts of its caller
    /// `mine`. Of those who may go before the next batch, so much have had it.
    fn ahead(
        &self,
        newcomer: &Newcomer<'_>,
        own: usize,
        mine: usize,
        gone_by: usize,
        size: impl Fn(&Pending) -> usize,
    ) -> usize {
        let mut peers: Vec<(&Caller, usize)> = Vec::new();
        let mut others = 0;
        for pending in &self.pending {
            let size = size(pending);
            if pending.priority != newcomer.priority {
                others += size;
            } else if pending.caller == *newcomer.caller {
                // That is `mine`.
            } else if let Some((_, sum)) = peers.iter_mut().find(|(caller, _)| **caller == pending.caller) {
                *sum += size;
            } else {
                peers.push((&pending.caller, size));
            }
        }
        let of_peers: usize = peers.into_iter().map(|(_, sum)| sum.min(mine + own)).sum();
        let ahead = mine + of_peers;
        ahead
            + match newcomer.priority {
                Priority::Interactive => others.min((ahead + own) / INTERACTIVE_IN_A_ROW),
                Priority::Batch => others.min(((ahead + own) * INTERACTIVE_IN_A_ROW).saturating_sub(gone_by)),
            }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use weighbridge_backend::PageCounts;

    use Priority::{Batch, Interactive};

    use super::*;
    use crate::scheduler::Speed;

    fn pending(caller: &str, priority: Priority, tokens: usize) -> Pending {
        Pending { caller: Some(caller.into()), priority, tokens, waits: false, order: 0 }
    }

    /// A millisecond for a token of a prompt, 20 for a step of answers, 100 tokens in a step; nothing runs.
    fn posted(pending: Vec<Pending>) -> Posted {
        Posted {
            pending,
            max_running: 100,
            speed: Speed { answers: Some(0.02), token: Some(0.001), answer: Some(0.005), alone: 100, beside: 100 },
            pages: PageCounts { capacity: 1000, used: 0, cached: 0 },
            ..Posted::default()
        }
    }

    /// Milliseconds to the first token of a prompt of `me`.
    fn wait(posted: &Posted, priority: Priority, tokens: usize, places: Option<Duration>) -> Option<u128> {
        let newcomer = Newcomer { caller: &Some("me".into()), priority, tokens, pages: 1, all_pages: 1 };
        posted.first_token(&newcomer, places).map(|wait| (wait.as_secs_f64() * 1000.0).round() as u128)
    }

    #[test]
    fn alone_it_is_the_time_of_its_own_tokens_and_no_less_than_a_step() {
        assert_eq!(wait(&posted(vec![]), Interactive, 1000, None), Some(1000));
        assert_eq!(wait(&posted(vec![]), Interactive, 3, None), Some(20));
    }

    #[test]
    fn beside_answers_it_takes_the_steps_of_these_and_half_of_the_one_under_way() {
        let busy = Posted { running: 8, step: (8, 0), ..posted(vec![]) };
        assert_eq!(wait(&busy, Interactive, 1000, None), Some(1000 + 10 * 20 + 10));
        let step = Posted { step: (8, 40), ..busy };
        assert_eq!(wait(&step, Interactive, 50, None), Some(50 + 20 + (20 + 40) / 2));
    }

    #[test]
    fn whoever_has_more_to_compute_is_ahead_by_as_much_as_the_newcomer_has() {
        let others = || vec![pending("a", Interactive, 5000), pending("a", Interactive, 5000)];
        assert_eq!(wait(&posted(others()), Interactive, 100, None), Some(228), "in whole slices");
        let several = [others(), vec![pending("b", Interactive, 30), pending("me", Interactive, 400)]].concat();
        assert_eq!(
            wait(&posted(several), Interactive, 100, None),
            Some(256 + 128 + 30 + 100 + 6 * 20),
            "and who has less is answered meanwhile"
        );
    }

    #[test]
    fn what_a_caller_has_sent_before_is_computed_before_unless_it_is_far_longer() {
        let mine = |first| vec![pending("me", Interactive, first), pending("me", Interactive, 90)];
        assert_eq!(wait(&posted(mine(150)), Interactive, 100, None), Some(150 + 90 + 100 + 4 * 20));
        assert_eq!(wait(&posted(mine(500)), Interactive, 100, None), Some(90 + 90 + 128 + 100 + 5 * 20));
    }

    #[test]
    fn batches_wait_for_the_others_who_leave_them_a_turn_in_nine() {
        let batches = vec![pending("a", Batch, 5000)];
        assert_eq!(wait(&posted(batches.clone()), Interactive, 800, None), Some(900));
        assert_eq!(wait(&posted(batches), Batch, 800, None), Some(1600));
        assert_eq!(wait(&posted(vec![pending("a", Interactive, 5000)]), Batch, 100, None), Some(8 * 128 + 100));
    }

    #[test]
    fn where_all_places_are_taken_it_is_when_one_comes_free() {
        let waits = Pending { waits: true, ..pending("a", Interactive, 10) };
        let full = Posted { running: 100, ..posted(vec![waits]) };
        assert_eq!(wait(&full, Interactive, 100, Some(Duration::from_secs(2))), Some(4120));
        assert_eq!(wait(&full, Interactive, 100, None), None, "nothing has come free yet");
        let no_pages = Posted { running: 1, pages: PageCounts { capacity: 9, used: 8, cached: 0 }, ..posted(vec![]) };
        assert_eq!(wait(&no_pages, Interactive, 100, Some(Duration::from_secs(2))), Some(2120));
    }

    #[test]
    fn nothing_is_foretold_before_a_prompt_was_computed() {
        let unknown = Posted { speed: Speed { token: None, ..posted(vec![]).speed }, ..posted(vec![]) };
        assert_eq!(wait(&unknown, Interactive, 100, None), None);
    }

    fn any_pending() -> impl Strategy<Value = Pending> {
        (0u8..3, any::<bool>(), 0usize..3000, any::<bool>()).prop_map(|(who, batch, tokens, waits)| Pending {
            caller: ["me", "a", "b"].get(who as usize).map(|&name| name.into()),
            priority: if batch { Batch } else { Interactive },
            tokens,
            waits,
            order: 0,
        })
    }

    proptest! {
        #[test]
        fn a_prompt_waits_no_less_for_more_ahead_or_more_of_its_own_and_never_for_more_than_there_is(
            queue in prop::collection::vec(any_pending(), 0..20),
            more in any_pending(),
            tokens in 1usize..3000,
            batch in any::<bool>(),
        ) {
            let priority = if batch { Batch } else { Interactive };
            let newcomer = |tokens| Newcomer { caller: &None, priority, tokens, pages: 1, all_pages: 1 };
            let places = Some(Duration::from_millis(300));
            let of = |posted: &Posted, tokens| posted.first_token(&newcomer(tokens), places).unwrap_or(Duration::MAX);
            let fewer = posted(queue.clone());
            let found = of(&fewer, tokens);
            prop_assert!(of(&fewer, tokens + 100) >= found);
            prop_assert!(of(&posted([&queue[..], &[more]].concat()), tokens) >= found);
            let all = queue.iter().map(|pending| pending.tokens).sum::<usize>() + tokens;
            let most = Duration::from_millis((all + all.div_ceil(100) * 20) as u64);
            prop_assert!(found <= most && found >= Duration::from_millis(tokens as u64));
        }
    }
}
