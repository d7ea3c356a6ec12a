//! Arrivals in, timeline out, over a memory that knows what every place of every page holds.

use proptest::prelude::*;
use weighbridge_backend::DataClass;

use super::*;
use crate::pages::{PageId, Window, WindowedId};

mod together;

/// Tokens of a page here.
const PAGE: usize = 4;

fn limits(max_running: usize, budget: usize) -> Limits {
    Limits { max_running, pace: Pace::fixed(budget), replays_singly: false }
}

fn scheduler(max_running: usize, budget: usize, pages: usize) -> Scheduler {
    Scheduler::new(limits(max_running, budget), PagePool::new(pages, PAGE))
}

fn arrival(id: u64, prompt: &[u32]) -> Arrival {
    Arrival {
        id: SequenceId(id),
        caller: None,
        priority: Priority::Interactive,
        realm: Some(realm(0)),
        prompt: prompt.to_vec(),
        most_in_step: usize::MAX,
    }
}

fn realm(class: usize) -> Arc<Realm> {
    Arc::new(Realm { class: DataClass::ALL[class], caller: None })
}

/// Takes a step, draws a token where one is due, and gives (sequence, first, count, draws) of each share.
fn turn(scheduler: &mut Scheduler) -> Vec<(u64, usize, usize, bool)> {
    let mut step = Vec::new();
    scheduler.next_step(&mut step);
    for &work in &step {
        scheduler.computed(work);
        if work.draws {
            scheduler.drawn(work.id, 1000 + work.id.0 as u32);
        }
    }
    step.iter().map(|work| (work.id.0, work.first, work.count, work.draws)).collect()
}

fn different(id: u32, count: usize) -> Vec<u32> {
    (0..count as u32).map(|at| id * 100 + at).collect()
}

#[test]
fn a_prompt_that_takes_much_room_comes_in_small_steps_and_leaves_the_rest_to_others() {
    let mut scheduler = scheduler(4, 100, 100);
    scheduler.enqueue(Arrival { most_in_step: 10, ..arrival(0, &different(0, 25)) });
    scheduler.enqueue(arrival(1, &different(1, 60)));
    assert_eq!(turn(&mut scheduler), [(0, 0, 10, false), (1, 0, 60, true)]);
    assert_eq!(turn(&mut scheduler), [(1, 60, 1, true), (0, 10, 10, false)]);
    assert_eq!(turn(&mut scheduler), [(1, 61, 1, true), (0, 20, 5, true)]);
}

#[test]
fn a_prompt_comes_in_chunks_and_then_a_token_a_step() {
    let mut scheduler = scheduler(4, 10, 100);
    scheduler.enqueue(arrival(0, &different(0, 25)));
    assert_eq!(turn(&mut scheduler), [(0, 0, 10, false)]);
    assert_eq!(turn(&mut scheduler), [(0, 10, 10, false)]);
    assert_eq!(turn(&mut scheduler), [(0, 20, 5, true)]);
    assert_eq!(turn(&mut scheduler), [(0, 25, 1, true)]);
    assert_eq!(turn(&mut scheduler), [(0, 26, 1, true)]);
    scheduler.remove(SequenceId(0));
    assert_eq!(turn(&mut scheduler), []);
    assert_eq!(scheduler.pages().available(), 100);
}

#[test]
fn who_waits_for_how_much_can_be_told_and_what_was_done() {
    let mut scheduler = scheduler(1, 10, 100);
    scheduler.enqueue(arrival(0, &different(0, 25)));
    scheduler.enqueue(arrival(1, &different(1, 7)));
    turn(&mut scheduler);
    let mut pending = Vec::new();
    scheduler.pending(&mut pending);
    let mut told: Vec<_> = pending.iter().map(|pending| (pending.tokens, pending.waits)).collect();
    told.sort_unstable();
    assert_eq!(told, [(7, true), (15, false)]);
    assert_eq!((scheduler.running(), scheduler.under_way()), ((1, 1), (0, 10)));
    (0..3).for_each(|_| _ = turn(&mut scheduler));
    scheduler.remove(SequenceId(0));
    assert_eq!((scheduler.running().0, scheduler.under_way()), (0, (0, 0)));
    // The first 24 of its tokens are there.
    scheduler.enqueue(arrival(2, &different(0, 30)));
    scheduler.remove(SequenceId(1));
    scheduler.pending(&mut pending);
    assert_eq!(pending.iter().map(|pending| (pending.tokens, pending.waits)).collect::<Vec<_>>(), [(6, true)]);
    turn(&mut scheduler);
    let Totals { steps, prefix_hit_tokens, preemptions } = scheduler.totals();
    assert_eq!((steps, prefix_hit_tokens, preemptions), (5, 24, 0));
}

#[test]
fn running_answers_come_first_and_a_short_prompt_passes_a_long_one() {
    let mut scheduler = scheduler(4, 40, 1000);
    scheduler.enqueue(arrival(0, &different(0, 2)));
    assert_eq!(turn(&mut scheduler), [(0, 0, 2, true)]);
    scheduler.enqueue(arrival(1, &different(1, 500)));
    scheduler.enqueue(arrival(2, &different(2, 8)));
    assert_eq!(turn(&mut scheduler), [(0, 2, 1, true), (1, 0, 32, false), (2, 0, 8, true)]);
    assert_eq!(turn(&mut scheduler), [(0, 3, 1, true), (2, 8, 1, true), (1, 32, 40, false)]);
}

#[test]
fn the_first_of_many_prompts_of_a_caller_has_its_answer_before_the_others_begin() {
    let mut scheduler = scheduler(20, 64, 1000);
    (0..16).for_each(|id| scheduler.enqueue(arrival(id, &different(id as u32, 90))));
    let mut firsts = Vec::new();
    for step in 0.. {
        let drawn = turn(&mut scheduler).into_iter().filter(|&(id, _, count, draws)| draws && (count > 1 || id > 99));
        firsts.extend(drawn.map(|(id, ..)| (id, step)));
        if firsts.len() == 16 {
            break;
        }
    }
    let in_order: Vec<_> = (0..16).map(|id| (id, (id as usize * 90 + 89) / 64)).collect();
    assert_eq!(firsts, in_order);
}

#[test]
fn a_caller_with_many_prompts_leaves_another_half_of_every_step() {
    let mut scheduler = scheduler(20, 64, 1000);
    for id in 0..5 {
        let many = Arrival { caller: Some("many".into()), ..arrival(id, &different(id as u32, 90)) };
        scheduler.enqueue(many);
    }
    scheduler.enqueue(Arrival { caller: Some("one".into()), ..arrival(9, &different(9, 90)) });
    let of_nine = |step: Vec<(u64, usize, usize, bool)>| -> usize {
        step.iter().filter(|(id, ..)| *id == 9).map(|(_, _, count, _)| count).sum()
    };
    assert_eq!(of_nine(turn(&mut scheduler)), 32);
    assert_eq!(of_nine(turn(&mut scheduler)), 32);
}

#[test]
fn whoever_finds_no_place_or_no_pages_waits() {
    let mut places = scheduler(1, 10, 100);
    let mut pages = scheduler(10, 10, 2);
    for scheduler in [&mut places, &mut pages] {
        scheduler.enqueue(arrival(0, &different(0, 5)));
        scheduler.enqueue(arrival(1, &different(1, 5)));
        assert_eq!(turn(scheduler), [(0, 0, 5, true)]);
        assert_eq!(turn(scheduler), [(0, 5, 1, true)]);
        scheduler.remove(SequenceId(0));
        assert_eq!(turn(scheduler), [(1, 0, 5, true)]);
    }
}

#[test]
fn a_prefix_that_is_there_is_not_computed_again() {
    let mut scheduler = scheduler(5, 100, 100);
    let prompt = different(0, 10);
    scheduler.enqueue(arrival(0, &prompt));
    assert_eq!(turn(&mut scheduler), [(0, 0, 10, true)]);
    scheduler.enqueue(arrival(1, &[&prompt[..9], &[7]].concat()));
    scheduler.enqueue(arrival(2, &prompt[..8]));
    scheduler.enqueue(Arrival { realm: Some(realm(1)), ..arrival(3, &prompt) });
    scheduler.enqueue(Arrival { realm: None, ..arrival(4, &prompt) });
    let expected = [(0, 10, 1, true), (1, 8, 2, true), (2, 4, 4, true), (3, 0, 10, true), (4, 0, 10, true)];
    assert_eq!(turn(&mut scheduler), expected, "the last token of a prompt is computed in any case");
}

#[test]
fn what_an_answer_computed_serves_the_next_turn_of_the_conversation() {
    let mut scheduler = scheduler(4, 100, 100);
    scheduler.enqueue(arrival(0, &different(0, 6)));
    (0..4).for_each(|_| _ = turn(&mut scheduler));
    scheduler.remove(SequenceId(0));
    scheduler.enqueue(arrival(1, &[different(0, 6), vec![1000, 1000, 1000, 5]].concat()));
    assert_eq!(turn(&mut scheduler), [(1, 8, 2, true)]);
}

#[test]
fn when_pages_run_out_the_youngest_gives_back_and_goes_on_later() {
    let mut scheduler = scheduler(4, 100, 5);
    scheduler.enqueue(arrival(0, &different(0, 7)));
    scheduler.enqueue(Arrival { realm: None, ..arrival(1, &different(1, 3)) });
    assert_eq!(turn(&mut scheduler), [(0, 0, 7, true), (1, 0, 3, true)]);
    assert_eq!(turn(&mut scheduler), [(0, 7, 1, true), (1, 3, 1, true)]);
    // The older one needs its third page, the younger its second: the last two.
    (0..3).for_each(|_| _ = turn(&mut scheduler));
    assert_eq!(turn(&mut scheduler), [(0, 11, 1, true), (1, 7, 1, true)]);
    assert_eq!(turn(&mut scheduler), [(0, 12, 1, true)], "and now there is none for its fourth");
    scheduler.enqueue(arrival(2, &different(2, 1)));
    assert_eq!(turn(&mut scheduler), [(0, 13, 1, true)], "nobody new begins before the one that gave back");
    scheduler.remove(SequenceId(0));
    assert_eq!(turn(&mut scheduler), [(1, 0, 9, true), (2, 0, 1, true)]);
}

#[test]
fn what_depends_on_it_is_computed_again_token_by_token_behind_the_prompt() {
    let limits = Limits { replays_singly: true, ..limits(4, 100) };
    let mut scheduler = Scheduler::new(limits, PagePool::new(3, PAGE));
    let singly = |id, prompt: &[u32]| Arrival { realm: None, ..arrival(id, prompt) };
    scheduler.enqueue(singly(0, &different(0, 4)));
    scheduler.enqueue(singly(1, &different(1, 2)));
    (0..5).for_each(|_| _ = turn(&mut scheduler));
    assert_eq!(scheduler.preempted, [SequenceId(1)]);
    scheduler.remove(SequenceId(0));
    let steps: Vec<_> = (0..4).flat_map(|_| turn(&mut scheduler)).collect();
    assert_eq!(steps, [(1, 0, 2, false), (1, 2, 1, false), (1, 3, 1, false), (1, 4, 1, true)]);
}

/// One generated sequence.
#[derive(Clone, Debug)]
struct Case {
    arrives: usize,
    caller: u8,
    batch: bool,
    class: Option<usize>,
    /// Which of a few texts it begins with, and for how long.
    text: u32,
    prompt: usize,
    answer: usize,
    /// It goes after so many shares of its own.
    cancelled: Option<usize>,
}

fn case() -> impl Strategy<Value = Case> {
    let who = (0usize..20, 0u8..4, any::<bool>(), prop::option::of(0usize..2));
    let what = (0u32..3, 1usize..40, 1usize..16, prop::option::of(1usize..6));
    (who, what).prop_map(|((arrives, caller, batch, class), (text, prompt, answer, cancelled))| Case {
        arrives,
        caller,
        batch,
        class,
        text,
        prompt,
        answer,
        cancelled,
    })
}

/// What a place of a page holds: the realm in which it was computed and all tokens up to its own.
type Held = (Option<Arc<Realm>>, Vec<u32>);

/// Runs sequences to their end and holds every step against the promises.
struct Simulation {
    scheduler: Scheduler,
    budget: usize,
    max_running: usize,
    living: HashMap<SequenceId, Life>,
    memory: HashMap<(PageId, usize), Held>,
    /// The same of the layers with windows of so many tokens.
    windowed: HashMap<(WindowedId, usize), Held>,
    window: Option<usize>,
}

struct Life {
    case: Case,
    realm: Option<Arc<Realm>>,
    tokens: Vec<u32>,
    drawn: usize,
    shares: usize,
}

impl Simulation {
    /// `window` is a number of tokens, and how many more pages there are for it than one sequence takes.
    fn run(cases: &[Case], max_running: usize, budget: usize, pages: usize, window: Option<(usize, usize)>) {
        let mut pool = PagePool::new(pages, PAGE);
        if let Some((window, more)) = window {
            pool = pool.with_windows(window, Window::new(window, PAGE).most_pages(budget) + more, budget);
        }
        let mut this = Self {
            scheduler: Scheduler::new(limits(max_running, budget), pool),
            budget,
            max_running,
            living: HashMap::new(),
            memory: HashMap::new(),
            windowed: HashMap::new(),
            window: window.map(|(window, _)| window),
        };
        let tokens: usize = cases.iter().map(|case| case.prompt + case.answer).sum();
        let mut step = Vec::new();
        for turn in 0.. {
            for (id, case) in cases.iter().enumerate().filter(|(_, case)| case.arrives == turn) {
                this.arrive(SequenceId(id as u64), case);
            }
            this.scheduler.next_step(&mut step);
            assert_eq!(step.is_empty(), this.living.is_empty());
            if this.living.is_empty() && turn > 20 {
                break;
            }
            assert!(turn < 100 + 20 * tokens, "somebody starves");
            this.check(&step);
            step.iter().for_each(|&work| this.compute(work));
            step.iter().for_each(|&work| this.compute_windowed(work));
            step.iter().for_each(|&work| this.finish(work));
        }
        assert_eq!(this.scheduler.pages().available(), pages, "all pages are free at the end");
        let windowed = this.scheduler.pages().windowed().unwrap_or_default();
        assert_eq!((windowed.used, windowed.unpromised), (0, windowed.capacity));
        assert!(this.scheduler.sequences.is_empty() && this.scheduler.running.is_empty());
    }

    fn arrive(&mut self, id: SequenceId, case: &Case) {
        let tokens: Vec<u32> = (0..case.prompt as u32).map(|at| case.text * 1000 + at).collect();
        let realm = case.class.map(realm);
        self.scheduler.enqueue(Arrival {
            id,
            caller: Some(case.caller.to_string().into()),
            priority: if case.batch { Priority::Batch } else { Priority::Interactive },
            realm: realm.clone(),
            prompt: tokens.clone(),
            most_in_step: usize::MAX,
        });
        self.living.insert(id, Life { case: case.clone(), realm, tokens, drawn: 0, shares: 0 });
    }

    fn check(&self, step: &[Work]) {
        let (mut prompt_tokens, mut seen) = (0, Vec::new());
        assert!(self.scheduler.running.len() <= self.max_running);
        for work in step {
            assert!(!seen.contains(&work.id) && work.count > 0);
            seen.push(work.id);
            let life = &self.living[&work.id];
            assert_eq!(self.scheduler.tokens(*work), &life.tokens[work.first..work.first + work.count]);
            assert_eq!(work.draws, work.first + work.count == life.tokens.len());
            if life.drawn > 0 && work.count == 1 && work.draws && prompt_tokens == 0 {
                continue;
            }
            prompt_tokens += work.count;
        }
        assert!(prompt_tokens <= self.budget, "{prompt_tokens} tokens of prompts");
    }

    /// Writes what is computed, on pages that no other sequence has, and reads what was before.
    fn compute(&mut self, work: Work) {
        let (life, table) = (&self.living[&work.id], self.table(work.id).full().to_vec());
        for at in 0..work.first + work.count {
            let (page, place) = (table[at / PAGE], at % PAGE);
            let held = (life.realm.clone(), life.tokens[..=at].to_vec());
            if at < work.first {
                assert_eq!(self.memory.get(&(page, place)), Some(&held), "token {at} of {:?}", work.id);
            } else {
                let others = self.living.keys().filter(|&&other| other != work.id);
                assert!(!others.into_iter().any(|&other| self.table(other).full().contains(&page)));
                self.memory.insert((page, place), held);
            }
        }
    }

    /// The same in the layers with windows, where a sequence has what its tokens see and no more.
    fn compute_windowed(&mut self, work: Work) {
        let Some(window) = self.window else { return };
        let (life, table) = (&self.living[&work.id], self.table(work.id));
        let pages: Vec<Option<WindowedId>> = table.windowed().collect();
        let held = pages.iter().flatten().count();
        assert!(held <= (window + work.count).div_ceil(PAGE) + 1, "{held} pages for {} tokens", work.count);
        for at in (work.first + 1).saturating_sub(window)..work.first + work.count {
            let page = pages[at / PAGE].expect("what is seen is there");
            let held = (life.realm.clone(), life.tokens[..=at].to_vec());
            if at < work.first {
                assert_eq!(self.windowed.get(&(page, at % PAGE)), Some(&held), "token {at} of {:?}", work.id);
            } else {
                let mut others = self.living.keys().filter(|&&other| other != work.id);
                assert!(!others.any(|&other| self.table(other).windowed().any(|other| other == Some(page))));
                self.windowed.insert((page, at % PAGE), held);
            }
        }
    }

    fn table(&self, id: SequenceId) -> &Table {
        self.scheduler.table(id).expect("it is living")
    }

    fn finish(&mut self, work: Work) {
        self.scheduler.computed(work);
        let Some(life) = self.living.get_mut(&work.id) else { return };
        life.shares += 1;
        if work.draws {
            let token = 50_000 + work.id.0 as u32 % 2;
            life.tokens.push(token);
            life.drawn += 1;
            self.scheduler.drawn(work.id, token);
        }
        if life.drawn == life.case.answer || life.case.cancelled == Some(life.shares) {
            self.living.remove(&work.id);
            self.scheduler.remove(work.id);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn every_sequence_ends_on_pages_that_hold_its_own_tokens(
        cases in prop::collection::vec(case(), 1..24),
        max_running in 1usize..10,
        budget in 1usize..40,
        // One sequence alone fits 14 of them.
        pages in 14usize..40,
        window in prop::option::of((1usize..30, 0usize..20)),
    ) {
        Simulation::run(&cases, max_running, budget, pages, window);
    }

    #[test]
    fn a_caller_alone_is_not_held_up_by_all_that_another_sends(
        flood in 1usize..60,
        prompt in 1usize..80,
        budget in 32usize..128,
    ) {
        let mut scheduler = scheduler(1000, budget, 10_000);
        for id in 0..flood {
            let many = Arrival { caller: Some("many".into()), ..arrival(id as u64, &different(id as u32, 90)) };
            scheduler.enqueue(many);
        }
        let one = Arrival { caller: Some("one".into()), ..arrival(999, &different(9999, prompt)) };
        scheduler.enqueue(one);
        let steps = (0..).take_while(|_| !turn(&mut scheduler).iter().any(|&(id, .., draws)| id == 999 && draws));
        // It has every other slice.
        let most = (2 * prompt.div_ceil(SLICE) + 1) * SLICE;
        prop_assert!(steps.count() <= most.div_ceil(budget));
    }

    #[test]
    fn a_step_holds_what_the_pace_allows_whatever_steps_take(
        prompts in prop::collection::vec(1usize..300, 1..10),
        millis in prop::collection::vec(0u64..500, 60),
    ) {
        let pace = Pace::bounded(100, Duration::from_millis(50));
        let limits = Limits { pace, ..limits(10, 1) };
        let mut scheduler = Scheduler::new(limits, PagePool::new(1000, PAGE));
        for (id, &prompt) in prompts.iter().enumerate() {
            scheduler.enqueue(arrival(id as u64, &different(id as u32, prompt)));
        }
        for millis in millis {
            let answers = scheduler.sequences.values().filter(|entry| entry.decodes).count();
            let most = scheduler.limits.pace.prompt_tokens(answers, scheduler.sequences.len() - answers);
            let counts: Vec<usize> = turn(&mut scheduler).iter().map(|&(_, _, count, _)| count).collect();
            let prompt_tokens = counts.iter().sum::<usize>() - answers;
            prop_assert!(prompt_tokens <= most);
            prop_assert_eq!(scheduler.latest, (answers, prompt_tokens));
            scheduler.took(Duration::from_millis(millis));
        }
    }
}
