//! Whose turn it is: callers take turns by deficit, and interactive requests go before batches.
//!
//! What one caller has waiting goes in order of arrival, so that the first of many has its answer early and not all of
//! them late; one that is short beside the first of them gets as much as that meanwhile, whatever size their turns have.
//!
//! Deficit round robin of Shreedhar and Varghese, *Efficient Fair Queuing Using Deficit Round Robin* (SIGCOMM 1995): a
//! caller whose turn comes may use a quantum more than before, and keeps what it could not use. So over any time in
//! which two callers wait, what they get differs by less than two quanta and twice the dearest of their sequences,
//! whatever they ask for and in however many requests.

use std::collections::VecDeque;
use std::sync::Arc;

use weighbridge_backend::Priority;

use super::SequenceId;

/// How many times a batch's turn interactive sequences have in a row while it waits; the next one is of a batch.
pub(crate) const INTERACTIVE_IN_A_ROW: usize = 8;

/// Who asks, as far as turns go: those without a name are one caller.
pub(crate) type Caller = Option<Arc<str>>;

/// Sequences that wait for their turn.
#[derive(Debug)]
pub(super) struct Turns {
    interactive: Ring,
    batch: Ring,
    /// What interactive sequences have had while a batch waits, less what that has had for it.
    in_a_row: usize,
}

/// Callers in turn.
#[derive(Debug)]
struct Ring {
    quantum: usize,
    callers: VecDeque<Line>,
}

/// What one caller has waiting, in order.
#[derive(Debug)]
struct Line {
    caller: Caller,
    /// What it may use of its turn.
    deficit: usize,
    /// Its turn has come, and has not gone by.
    has_turn: bool,
    /// In order of arrival.
    waiting: VecDeque<SequenceId>,
    /// What the first has had beyond what those have who passed it, by a quantum at most; below 0 what these had beyond.
    lead: isize,
    /// Whose turn it is.
    chosen: Option<SequenceId>,
}

impl Turns {
    /// Turns of so much, in the unit of costs.
    pub(super) fn new(quantum: usize) -> Self {
        let ring = || Ring { quantum: quantum.max(1), callers: VecDeque::new() };
        Self { interactive: ring(), batch: ring(), in_a_row: 0 }
    }

    /// Puts a sequence among those of its caller, in order of arrival, where it is not there already.
    pub(super) fn push(&mut self, caller: &Caller, priority: Priority, id: SequenceId) {
        self.ring(priority).push(caller, id);
    }

    /// Whose turn it is; the same until it is taken, or another is pushed or removed.
    pub(super) fn peek(&mut self, cost: impl Fn(SequenceId) -> usize) -> Option<SequenceId> {
        self.peek_by(cost, |_| 0)
    }

    /// The same where a turn takes a part of what a sequence still has to take.
    pub(super) fn peek_by(
        &mut self,
        cost: impl Fn(SequenceId) -> usize,
        left: impl Fn(SequenceId) -> usize,
    ) -> Option<SequenceId> {
        let priority = self.priority();
        self.ring(priority).peek(cost, left)
    }

    /// Takes the sequence that [`Turns::peek`] gave, at what its turn costs.
    pub(super) fn take(&mut self, cost: usize) -> Option<SequenceId> {
        let ring = self.spend(cost);
        let line = ring.callers.front_mut()?;
        let id = line.chosen.take()?;
        line.waiting.retain(|&other| other != id);
        if line.waiting.is_empty() {
            ring.callers.pop_front();
        }
        Some(id)
    }

    /// Leaves the sequence that [`Turns::peek_by`] gave where it is, at what its turn costs.
    pub(super) fn put_back(&mut self, cost: usize) {
        self.spend(cost);
    }

    fn spend(&mut self, cost: usize) -> &mut Ring {
        let priority = self.priority();
        self.in_a_row = match priority {
            Priority::Interactive if self.batch.callers.is_empty() => 0,
            Priority::Interactive => (self.in_a_row + cost).min(self.row()),
            Priority::Batch => self.in_a_row.saturating_sub(cost.saturating_mul(INTERACTIVE_IN_A_ROW)),
        };
        let ring = self.ring(priority);
        let quantum = ring.quantum.cast_signed();
        if let Some(line) = ring.callers.front_mut() {
            line.deficit = line.deficit.saturating_sub(cost);
            let cost = cost.min(ring.quantum).cast_signed();
            let change = if line.chosen == line.waiting.front().copied() { cost } else { -cost };
            line.lead = (line.lead + change).clamp(-quantum, quantum);
        }
        ring
    }

    /// What interactive sequences have had of the row after which a batch has its turn.
    pub(super) fn in_a_row(&self) -> usize {
        self.in_a_row
    }

    /// What they have before that.
    fn row(&self) -> usize {
        self.batch.quantum.saturating_mul(INTERACTIVE_IN_A_ROW)
    }

    /// Takes a sequence out, wherever it stands.
    pub(super) fn remove(&mut self, id: SequenceId) {
        self.interactive.remove(id);
        self.batch.remove(id);
    }

    fn priority(&self) -> Priority {
        let batch = !self.batch.callers.is_empty() && self.in_a_row >= self.row();
        if batch || self.interactive.callers.is_empty() { Priority::Batch } else { Priority::Interactive }
    }

    fn ring(&mut self, priority: Priority) -> &mut Ring {
        match priority {
            Priority::Interactive => &mut self.interactive,
            Priority::Batch => &mut self.batch,
        }
    }
}

impl Ring {
    fn push(&mut self, caller: &Caller, id: SequenceId) {
        match self.callers.iter_mut().find(|line| line.caller == *caller) {
            Some(line) => {
                let at = line.waiting.partition_point(|&other| other < id);
                if line.waiting.get(at) != Some(&id) {
                    line.waiting.insert(at, id);
                }
            }
            None => self.callers.push_back(Line {
                caller: caller.clone(),
                deficit: 0,
                has_turn: false,
                waiting: [id].into(),
                lead: 0,
                chosen: None,
            }),
        }
    }

    fn peek(&mut self, cost: impl Fn(SequenceId) -> usize, left: impl Fn(SequenceId) -> usize) -> Option<SequenceId> {
        loop {
            let line = self.callers.front_mut()?;
            let first = line.choose(&left)?;
            if !line.has_turn {
                line.has_turn = true;
                line.deficit += self.quantum;
            }
            if line.deficit >= cost(first) {
                line.chosen = Some(first);
                return line.chosen;
            }
            line.has_turn = false;
            self.callers.rotate_left(1);
        }
    }

    fn remove(&mut self, id: SequenceId) {
        for line in &mut self.callers {
            line.waiting.retain(|&other| other != id);
        }
        self.callers.retain(|line| !line.waiting.is_empty());
    }
}

impl Line {
    /// The first, or for as much as that had before the shortest where it is short beside the first.
    fn choose(&self, left: impl Fn(SequenceId) -> usize) -> Option<SequenceId> {
        let first = *self.waiting.front()?;
        if self.lead <= 0 {
            return Some(first);
        }
        let shortest = self.waiting.iter().copied().min_by_key(|&id| left(id))?;
        Some(if passes(left(shortest), left(first)) { shortest } else { first })
    }
}

/// Whether what has so much left is short beside what has `first`.
pub(crate) fn passes(left: usize, first: usize) -> bool {
    left <= first / 2
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    fn caller(name: &str) -> Caller {
        Some(name.into())
    }

    fn order(turns: &mut Turns, cost: impl Fn(SequenceId) -> usize) -> Vec<u64> {
        std::iter::from_fn(|| {
            let id = turns.peek(&cost)?;
            assert_eq!(turns.take(cost(id)), Some(id));
            Some(id.0)
        })
        .collect()
    }

    #[test]
    fn callers_take_turns_and_one_with_many_waits_longer() {
        let mut turns = Turns::new(10);
        for id in 0..4 {
            turns.push(&caller("many"), Priority::Interactive, SequenceId(id));
        }
        turns.push(&caller("one"), Priority::Interactive, SequenceId(9));
        assert_eq!(order(&mut turns, |_| 10), [0, 9, 1, 2, 3]);
    }

    #[test]
    fn short_ones_pass_a_long_one_until_it_has_waited_enough() {
        let mut turns = Turns::new(10);
        turns.push(&caller("long"), Priority::Interactive, SequenceId(0));
        for id in 1..5 {
            turns.push(&caller("short"), Priority::Interactive, SequenceId(id));
        }
        assert_eq!(order(&mut turns, |id| if id.0 == 0 { 25 } else { 10 }), [1, 2, 0, 3, 4]);
    }

    #[test]
    fn a_batch_comes_after_eight_others_and_not_never() {
        let mut turns = Turns::new(1);
        turns.push(&None, Priority::Batch, SequenceId(100));
        for id in 0..10 {
            turns.push(&None, Priority::Interactive, SequenceId(id));
        }
        assert_eq!(order(&mut turns, |_| 1), [0, 1, 2, 3, 4, 5, 6, 7, 100, 8, 9]);
    }

    #[test]
    fn a_batch_gets_its_share_however_small_its_turns_are() {
        let mut turns = Turns::new(32);
        turns.push(&None, Priority::Interactive, SequenceId(0));
        turns.push(&None, Priority::Batch, SequenceId(1));
        let mut had = [0, 0];
        // Steps of 65 tokens, three turns each: by number the batch's would be the last of a step, of a single token.
        for most in [32, 32, 1].into_iter().cycle().take(300) {
            let id = turns.peek_by(|_| most, |_| 1000).expect("somebody waits");
            had[id.0 as usize] += most;
            turns.put_back(most);
        }
        assert!(had[1] * 10 >= had[0], "{had:?}");
    }

    /// Takes turns of one each, with so much to take of each sequence; gives who is through, in order.
    fn ends(turns: &mut Turns, left: &mut [usize]) -> Vec<u64> {
        let mut ends = Vec::new();
        while let Some(id) = turns.peek_by(|_| 1, |id| left[id.0 as usize]) {
            let left = &mut left[id.0 as usize];
            *left -= 1;
            if *left == 0 {
                turns.take(1);
                ends.push(id.0);
            } else {
                turns.put_back(1);
            }
        }
        ends
    }

    #[test]
    fn what_a_caller_sends_goes_in_order_of_arrival_and_a_short_one_passes_a_long_one() {
        let mut turns = Turns::new(1);
        for id in [0, 3, 1, 2] {
            turns.push(&None, Priority::Interactive, SequenceId(id));
        }
        assert_eq!(ends(&mut turns, &mut [10, 9, 6, 10]), [0, 1, 2, 3]);
        for id in 0..3 {
            turns.push(&None, Priority::Interactive, SequenceId(id));
        }
        let mut left = [10, 9, 3];
        (0..6).for_each(|_| {
            let id = turns.peek_by(|_| 1, |id| left[id.0 as usize]).expect("somebody waits");
            left[id.0 as usize] -= 1;
            turns.put_back(1);
        });
        assert_eq!(left, [7, 9, 0], "each got every other turn");
    }

    #[test]
    fn a_short_one_gets_as_much_as_a_long_one_however_small_its_turns_are() {
        let mut turns = Turns::new(32);
        (0..2).for_each(|id| turns.push(&None, Priority::Interactive, SequenceId(id)));
        let mut left = [1000, 300];
        // Steps of 33 tokens: a whole slice, and what is left of the step.
        for most in [32, 1].into_iter().cycle().take(16) {
            let id = turns.peek_by(|_| most, |id| left[id.0 as usize]).expect("somebody waits");
            left[id.0 as usize] -= most;
            turns.put_back(most);
        }
        let had = [1000 - left[0], 300 - left[1]];
        assert!(had[0].abs_diff(had[1]) <= 32, "{had:?}");
    }

    #[test]
    fn who_is_removed_has_no_turn() {
        let mut turns = Turns::new(1);
        for id in 0..3 {
            turns.push(&None, Priority::Interactive, SequenceId(id));
        }
        turns.remove(SequenceId(0));
        turns.remove(SequenceId(2));
        assert_eq!(order(&mut turns, |_| 1), [1]);
        assert_eq!(turns.peek(|_| 1), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1000))]

        #[test]
        fn what_waiting_callers_get_differs_by_a_bound(
            quantum in 1usize..50,
            costs in prop::collection::vec(prop::collection::vec(1usize..100, 1..30), 2..6),
        ) {
            let mut turns = Turns::new(quantum);
            let mut cost_of = HashMap::new();
            for (who, costs) in costs.iter().enumerate() {
                for &cost in costs {
                    let id = SequenceId(cost_of.len() as u64);
                    cost_of.insert(id, (who, cost));
                    turns.push(&caller(&who.to_string()), Priority::Interactive, id);
                }
            }
            let dearest = cost_of.values().map(|&(_, cost)| cost).max().unwrap_or(0);
            let (mut got, mut left) = (vec![0; costs.len()], costs.iter().map(Vec::len).collect::<Vec<_>>());
            while left.iter().all(|&left| left > 0) {
                let id = turns.peek(|id| cost_of[&id].1).expect("somebody waits");
                let (who, cost) = cost_of[&id];
                turns.take(cost);
                got[who] += cost;
                left[who] -= 1;
                let most = got.iter().max().copied().unwrap_or(0);
                let least = got.iter().min().copied().unwrap_or(0);
                prop_assert!(most - least <= 2 * (quantum + dearest), "{got:?}");
            }
        }
    }
}
