//! What is foretold beside what comes, on a scheduler whose steps take a known time.

use std::collections::HashMap;

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use super::*;
use crate::pages::PagePool;
use crate::scheduler::{Arrival, Limits, Pace, SequenceId, Work};

/// Seconds of a step of answers, and the least of any.
const STEP: f64 = 0.02;
/// Seconds that a token of a prompt adds.
const TOKEN: f64 = 0.001;

struct World {
    scheduler: Scheduler,
    board: Board,
    step: Vec<Work>,
    /// Tokens that each answer will still have.
    left: HashMap<SequenceId, usize>,
    arrived: u64,
}

#[derive(Clone, Debug)]
struct Case {
    caller: u8,
    batch: bool,
    prompt: usize,
    answer: usize,
}

impl Case {
    fn caller(&self) -> Caller {
        Some(self.caller.to_string().into())
    }

    fn priority(&self) -> Priority {
        if self.batch { Priority::Batch } else { Priority::Interactive }
    }
}

impl World {
    /// One that has answered before, so that it knows its pace.
    fn new(max_running: usize, budget: usize) -> Self {
        let limits = Limits { max_running, pace: Pace::fixed(budget), replays_singly: false };
        let scheduler = Scheduler::new(limits, PagePool::new(10_000, 32));
        let board = Board::new(&scheduler, true);
        let mut world = Self { scheduler, board, step: Vec::new(), left: HashMap::new(), arrived: 0 };
        world.arrive(&Case { caller: 0, batch: false, prompt: 4 * budget, answer: 20 });
        while !world.left.is_empty() {
            world.begin();
            world.end();
        }
        world.begin();
        world
    }

    fn arrive(&mut self, case: &Case) -> SequenceId {
        let id = SequenceId(self.arrived);
        self.arrived += 1;
        let prompt = vec![0; case.prompt];
        let (caller, priority) = (case.caller(), case.priority());
        self.scheduler.enqueue(Arrival { id, caller, priority, realm: None, prompt, most_in_step: usize::MAX });
        self.left.insert(id, case.answer);
        id
    }

    fn begin(&mut self) {
        self.scheduler.next_step(&mut self.step);
        self.board.post(&self.scheduler);
    }

    /// Ends the step under way: how long it took, and who drew a token.
    fn end(&mut self) -> (f64, Vec<SequenceId>) {
        let (answers, prompt_tokens) = self.scheduler.under_way();
        let prompts = TOKEN * prompt_tokens as f64;
        let seconds = match (answers, prompt_tokens) {
            (0, 0) => 0.0,
            (0, _) => prompts.max(STEP),
            _ => prompts + STEP,
        };
        self.scheduler.took(Duration::from_secs_f64(seconds));
        let drew: Vec<SequenceId> = self.step.iter().filter(|work| work.draws).map(|work| work.id).collect();
        for &id in &drew {
            self.scheduler.drawn(id, 1);
            let left = self.left.entry(id).or_default();
            *left = left.saturating_sub(1);
            if *left == 0 {
                self.left.remove(&id);
                self.scheduler.remove(id);
            }
        }
        (seconds, drew)
    }

    /// What is foretold of a prompt that comes now, and how long it then takes.
    fn ask(&mut self, case: &Case) -> (f64, f64) {
        let Case { prompt, .. } = *case;
        let (caller, priority) = (case.caller(), case.priority());
        let newcomer = Newcomer {
            caller: &caller,
            priority,
            tokens: prompt,
            pages: prompt.div_ceil(32),
            all_pages: prompt.div_ceil(32),
        };
        let foretold = self.board.first_token(&newcomer, None).expect("places are free and the pace is known");
        let id = self.arrive(case);
        let mut real = 0.0;
        loop {
            let (seconds, drew) = self.end();
            real += seconds;
            if drew.contains(&id) {
                return (foretold.as_secs_f64(), real);
            }
            self.begin();
        }
    }
}

fn case() -> impl Strategy<Value = Case> {
    (0u8..3, prop::bool::weighted(0.2), 1usize..600, 1usize..60).prop_map(|(caller, batch, prompt, answer)| Case {
        caller,
        batch,
        prompt,
        answer,
    })
}

#[test]
fn whoever_comes_to_an_idle_engine_waits_as_foretold() {
    let (foretold, real) = World::new(10, 100).ask(&Case { caller: 1, batch: false, prompt: 1000, answer: 1 });
    assert!((foretold - real).abs() < 0.01 * real, "{foretold} foretold, {real} came");
}

#[test]
fn a_short_prompt_passes_a_long_one_that_comes_to_stand_first() {
    let case = |prompt| Case { caller: 1, batch: false, prompt, answer: 1 };
    let others = [129, 229, 314, 93].map(case).to_vec();
    let (foretold, real) = compare(&(others, 3, 68, case(31)));
    assert!(foretold < 1.5 * real && real < 1.5 * foretold, "{foretold} foretold, {real} came");
}

#[test]
fn a_batch_that_passes_its_callers_first_is_not_told_to_wait_for_all_others() {
    let case = |caller, batch, prompt| Case { caller, batch, prompt, answer: 1 };
    let others = vec![case(0, true, 92), case(2, false, 309), case(0, false, 259), case(1, false, 487)];
    let (foretold, real) = compare(&(others, 17, 48, case(0, true, 6)));
    assert!(foretold <= 4.0 * real + 2.0 * (STEP + TOKEN * 48.0), "{foretold} foretold, {real} came");
}

#[test]
fn a_short_prompt_gets_more_of_a_step_than_what_whole_slices_leave() {
    let case = |caller, prompt, answer| Case { caller, batch: false, prompt, answer };
    // In steps of 65 tokens its turn would be the last one, of a single token, each time.
    let others = vec![case(2, 47, 13), case(2, 466, 27), case(0, 579, 33)];
    let (foretold, real) = compare(&(others, 5, 65, case(2, 21, 1)));
    assert!(real < 1.5 * foretold, "{foretold} foretold, {real} came");
}

#[test]
fn somebody_on_the_way_counts_until_the_engine_has_seen_them() {
    let mut world = World::new(10, 100);
    let foretold = |world: &World| {
        let newcomer =
            Newcomer { caller: &None, priority: Priority::Interactive, tokens: 500, pages: 16, all_pages: 16 };
        (world.board.first_token(&newcomer, None), newcomer)
    };
    let (alone, first) = foretold(&world);
    world.board.announce(&first);
    assert!(foretold(&world).0 > alone);
    world.begin();
    assert_eq!(foretold(&world).0, alone, "it never came");
}

/// Others who have come, the steps since then, the tokens of a step, and who asks.
fn crowd() -> impl Strategy<Value = (Vec<Case>, usize, usize, Case)> {
    (prop::collection::vec(case(), 0..12), 1usize..20, 40usize..200, case())
}

/// What is foretold and what comes, in seconds.
fn compare((others, steps, budget, asked): &(Vec<Case>, usize, usize, Case)) -> (f64, f64) {
    let mut world = World::new(64, *budget);
    others.iter().for_each(|case| _ = world.arrive(case));
    for _ in 0..*steps {
        world.end();
        world.begin();
    }
    world.ask(asked)
}

/// The same crowds each time.
#[test]
fn nine_in_ten_wait_as_foretold_to_a_third() {
    let mut runner = TestRunner::deterministic();
    let ratios = (0..1000).map(|_| {
        let crowd = crowd().new_tree(&mut runner).expect("nothing is filtered").current();
        let (foretold, real) = compare(&crowd);
        real / foretold
    });
    let mut ratios: Vec<f64> = ratios.collect();
    ratios.sort_by(f64::total_cmp);
    let right = ratios.iter().filter(|ratio| (0.75..=1.33).contains(*ratio)).count();
    let median = ratios[ratios.len() / 2];
    assert!(right >= 900 && (0.95..=1.1).contains(&median), "{right} of 1000, the median of real by foretold {median}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn nobody_waits_for_long_who_was_told_otherwise_nor_the_other_way_round(crowd in crowd()) {
        let (foretold, real) = compare(&crowd);
        let (_, _, budget, _) = crowd;
        let slack = 2.0 * (STEP + TOKEN * budget as f64);
        // Whoever ends or begins in between changes what a step holds.
        prop_assert!(foretold <= 4.0 * real + slack && real <= 4.0 * foretold + slack, "{foretold} foretold, {real} came");
    }
}
