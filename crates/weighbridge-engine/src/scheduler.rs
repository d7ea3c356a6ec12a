//! Which sequence runs next, and how much of its prompt.
//!
//! Arithmetic on ids: no tensors, no clocks, no async. A sequence waits, then its prompt is computed in
//! chunks, then it decodes a token a step until it ends. A step holds first one token of every decoding
//! sequence and then prompt tokens up to a budget, so that a long prompt never holds up running answers for
//! longer than one chunk. Prompts take turns, chunk by chunk, so that a short one passes a long one.

use std::collections::VecDeque;

/// The name of a sequence within one engine; never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct SequenceId(pub(crate) u64);

/// A share of a step: what is to be computed for one sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    /// The next tokens of its prompt.
    Prompt {
        /// Whose.
        id: SequenceId,
        /// How many, at least 1.
        tokens: usize,
        /// They complete the prompt, and the first token of the answer follows from them.
        last: bool,
    },
    /// The token drawn last, which gives the next one.
    Decode {
        /// Whose.
        id: SequenceId,
    },
}

impl Work {
    /// Whose it is.
    pub(crate) fn id(self) -> SequenceId {
        let (Self::Prompt { id, .. } | Self::Decode { id }) = self;
        id
    }
}

/// Sequences by what they wait for. Each is in exactly one of the queues until it is removed.
#[derive(Debug)]
pub(crate) struct Scheduler {
    max_running: usize,
    prompt_budget: usize,
    waiting: VecDeque<Prompt>,
    prompts: VecDeque<Prompt>,
    decoding: VecDeque<SequenceId>,
}

#[derive(Debug)]
struct Prompt {
    id: SequenceId,
    tokens_left: usize,
}

impl Scheduler {
    /// At most `max_running` sequences make progress at once, and a step computes at most `prompt_budget`
    /// tokens of prompts. Both are taken as 1 where they are 0.
    pub(crate) fn new(max_running: usize, prompt_budget: usize) -> Self {
        Self {
            max_running: max_running.max(1),
            prompt_budget: prompt_budget.max(1),
            waiting: VecDeque::new(),
            prompts: VecDeque::new(),
            decoding: VecDeque::new(),
        }
    }

    /// Queues a sequence, in the order of arrival. An empty prompt counts as one token.
    pub(crate) fn enqueue(&mut self, id: SequenceId, prompt_tokens: usize) {
        self.waiting.push_back(Prompt { id, tokens_left: prompt_tokens.max(1) });
    }

    /// Takes a sequence out, wherever it stands: it has ended, or nobody waits for it any more.
    pub(crate) fn remove(&mut self, id: SequenceId) {
        self.decoding.retain(|&other| other != id);
        self.prompts.retain(|prompt| prompt.id != id);
        self.waiting.retain(|prompt| prompt.id != id);
    }

    /// Fills `step` with the next step, which is empty only when there is no sequence at all. A sequence
    /// appears in it at most once.
    pub(crate) fn next_step(&mut self, step: &mut Vec<Work>) {
        step.clear();
        self.admit();
        step.extend(self.decoding.iter().map(|&id| Work::Decode { id }));
        let mut budget = self.prompt_budget;
        for _ in 0..self.prompts.len() {
            let Some(mut prompt) = self.prompts.pop_front() else { break };
            let tokens = prompt.tokens_left.min(budget);
            budget -= tokens;
            prompt.tokens_left -= tokens;
            let last = prompt.tokens_left == 0;
            step.push(Work::Prompt { id: prompt.id, tokens, last });
            if last {
                self.decoding.push_back(prompt.id);
            } else {
                self.prompts.push_back(prompt);
            }
            if budget == 0 {
                break;
            }
        }
    }

    /// How many sequences run: have been admitted and not removed.
    pub(crate) fn running(&self) -> usize {
        self.prompts.len() + self.decoding.len()
    }

    fn admit(&mut self) {
        let places = self.max_running.saturating_sub(self.running()).min(self.waiting.len());
        self.prompts.extend(self.waiting.drain(..places));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    const A: SequenceId = SequenceId(0);
    const B: SequenceId = SequenceId(1);
    const C: SequenceId = SequenceId(2);

    fn prompt(id: SequenceId, tokens: usize) -> Work {
        Work::Prompt { id, tokens, last: false }
    }

    fn prompt_end(id: SequenceId, tokens: usize) -> Work {
        Work::Prompt { id, tokens, last: true }
    }

    fn decode(id: SequenceId) -> Work {
        Work::Decode { id }
    }

    fn check(scheduler: &mut Scheduler, timeline: &[&[Work]]) {
        let mut step = Vec::new();
        for (turn, expected) in timeline.iter().enumerate() {
            scheduler.next_step(&mut step);
            assert_eq!(step, *expected, "step {turn}");
        }
    }

    #[test]
    fn a_sequence_computes_its_prompt_in_chunks_and_then_decodes() {
        let mut scheduler = Scheduler::new(4, 10);
        scheduler.enqueue(A, 25);
        check(&mut scheduler, &[&[prompt(A, 10)], &[prompt(A, 10)], &[prompt_end(A, 5)], &[decode(A)], &[decode(A)]]);
        scheduler.remove(A);
        check(&mut scheduler, &[&[]]);
    }

    #[test]
    fn a_long_prompt_holds_up_nobody() {
        let mut scheduler = Scheduler::new(4, 10);
        scheduler.enqueue(A, 1);
        check(&mut scheduler, &[&[prompt_end(A, 1)]]);
        scheduler.enqueue(B, 30);
        scheduler.enqueue(C, 4);
        check(
            &mut scheduler,
            &[
                &[decode(A), prompt(B, 10)],
                &[decode(A), prompt_end(C, 4), prompt(B, 6)],
                &[decode(A), decode(C), prompt(B, 10)],
                &[decode(A), decode(C), prompt_end(B, 4)],
                &[decode(A), decode(C), decode(B)],
            ],
        );
    }

    #[test]
    fn short_prompts_share_a_step() {
        let mut scheduler = Scheduler::new(4, 10);
        [A, B, C].into_iter().for_each(|id| scheduler.enqueue(id, 4));
        check(
            &mut scheduler,
            &[&[prompt_end(A, 4), prompt_end(B, 4), prompt(C, 2)], &[decode(A), decode(B), prompt_end(C, 2)]],
        );
    }

    #[test]
    fn whoever_finds_no_place_waits_for_one() {
        let mut scheduler = Scheduler::new(1, 10);
        scheduler.enqueue(A, 1);
        scheduler.enqueue(B, 1);
        check(&mut scheduler, &[&[prompt_end(A, 1)], &[decode(A)]]);
        scheduler.remove(A);
        check(&mut scheduler, &[&[prompt_end(B, 1)]]);
    }

    #[test]
    fn a_sequence_can_leave_from_anywhere() {
        let mut scheduler = Scheduler::new(2, 10);
        scheduler.enqueue(A, 1);
        scheduler.enqueue(B, 100);
        scheduler.enqueue(C, 100);
        check(&mut scheduler, &[&[prompt_end(A, 1), prompt(B, 9)]]);
        [C, B, A].into_iter().for_each(|id| scheduler.remove(id));
        check(&mut scheduler, &[&[]]);
        assert_eq!(scheduler.running(), 0);
    }

    /// Runs sequences of (arrival step, prompt tokens, answer tokens, cancelled after so many steps of its
    /// own) to the end and holds every step against the promises.
    fn simulate(sequences: &[(usize, usize, usize, Option<usize>)], max_running: usize, budget: usize) {
        let mut scheduler = Scheduler::new(max_running, budget);
        let mut left: HashMap<SequenceId, (usize, usize, Option<usize>)> = HashMap::new();
        let mut arrivals: Vec<_> = sequences.iter().copied().enumerate().collect();
        arrivals.sort_by_key(|(_, (arrival, ..))| *arrival);
        let mut arrivals = VecDeque::from(arrivals);
        let total: usize = sequences.iter().map(|(_, prompt, answer, _)| prompt + answer + 1).sum();
        let mut step = Vec::new();
        for turn in 0.. {
            while arrivals.front().is_some_and(|(_, (arrival, ..))| *arrival <= turn) {
                let Some((number, (_, prompt, answer, cancelled))) = arrivals.pop_front() else { break };
                let id = SequenceId(number as u64);
                scheduler.enqueue(id, prompt);
                left.insert(id, (prompt, answer, cancelled));
            }
            if left.is_empty() && arrivals.is_empty() {
                return;
            }
            assert!(turn <= total + 20, "somebody starves");
            scheduler.next_step(&mut step);
            assert_eq!(step.is_empty(), left.is_empty());
            assert!(scheduler.running() <= max_running);
            let mut computed = 0;
            let mut seen = Vec::new();
            for work in &step {
                let id = match *work {
                    Work::Prompt { id, tokens, last } => {
                        computed += tokens;
                        let (prompt, ..) = left.get_mut(&id).expect("only living sequences are scheduled");
                        assert!(tokens > 0 && tokens <= *prompt);
                        *prompt -= tokens;
                        assert_eq!(last, *prompt == 0);
                        if !last { None } else { Some(id) }
                    }
                    Work::Decode { id } => {
                        assert_eq!(computed, 0, "decoding comes first");
                        Some(id)
                    }
                };
                let (Work::Prompt { id: whose, .. } | Work::Decode { id: whose }) = *work;
                assert!(!seen.contains(&whose));
                seen.push(whose);
                let (prompt, answer, cancelled) = left.get_mut(&whose).expect("only living sequences are scheduled");
                if id.is_some() {
                    assert_eq!(*prompt, 0);
                    *answer -= 1;
                }
                let gone = cancelled.as_mut().is_some_and(|steps| {
                    *steps -= 1;
                    *steps == 0
                });
                if *answer == 0 || gone {
                    left.remove(&whose);
                    scheduler.remove(whose);
                }
            }
            assert!(computed <= budget);
        }
    }

    proptest! {
        #[test]
        fn every_sequence_ends_and_nobody_starves(
            sequences in prop::collection::vec(
                (0usize..20, 1usize..60, 1usize..12, prop::option::of(1usize..6)), 1..30),
            max_running in 1usize..8,
            budget in 1usize..40,
        ) {
            simulate(&sequences, max_running, budget);
        }
    }
}
