//! Arrivals in, timeline out, over a house that takes its time with loads, answers and unloads.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use proptest::prelude::*;

use super::*;

const PATIENCE: Duration = Duration::from_millis(1000);

fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

fn terms(bytes: u64) -> Terms {
    Terms { bytes, pinned: false, keep_alive: None, most_waiting: usize::MAX }
}

/// What will happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Coming {
    Arrives(usize),
    Loaded(usize),
    Unloaded(usize),
    Ends(usize),
    Leaves(u64),
    /// An operator unloads it.
    Unloads(usize),
    /// Its engine dies, with what it answers; some of those are released only later.
    Dies(usize),
    /// The program is about to stop.
    Closes,
}

impl Coming {
    /// The same with one of so many models.
    fn of(self, models: usize) -> Self {
        match self {
            Self::Unloads(model) => Self::Unloads(model % models),
            Self::Dies(model) => Self::Dies(model % models),
            other => other,
        }
    }
}

/// What one request does: when it comes, for which model, how long its answer takes, and after which wait it leaves.
#[derive(Clone, Copy, Debug)]
struct Visit {
    at: Time,
    model: usize,
    takes: Duration,
    leaves: Option<Duration>,
}

/// The world around the residents.
struct House {
    residents: Residents,
    budget: u64,
    /// How long a load takes, an unload taking half as long, and whether loads fail.
    loads: Vec<(Duration, bool)>,
    visits: Vec<Visit>,
    coming: BTreeSet<(Time, u64, Coming)>,
    number: u64,
    now: Time,
    /// Which visit a ticket is of, for those that wait.
    waiting: HashMap<Ticket, usize>,
    /// What became of each visit, and after which wait.
    outcomes: BTreeMap<usize, (Outcome, Duration)>,
    users: Vec<usize>,
    log: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Answered,
    Refused(Why),
    Left,
}

impl House {
    fn new(budget: u64, terms: &[Terms], loads: &[(Duration, bool)], visits: &[Visit]) -> Self {
        let mut house = Self {
            residents: Residents::new(budget, PATIENCE, terms.iter().copied()),
            budget,
            loads: loads.to_vec(),
            visits: visits.to_vec(),
            coming: BTreeSet::new(),
            number: 0,
            now: Time::ZERO,
            waiting: HashMap::new(),
            outcomes: BTreeMap::new(),
            users: vec![0; terms.len()],
            log: Vec::new(),
        };
        for (index, terms) in terms.iter().enumerate().filter(|(_, terms)| terms.pinned) {
            house.residents.begin(ModelIndex(index));
            assert!(terms.bytes <= budget);
            house.expect(house.loads[index].0, Coming::Loaded(index));
        }
        for (number, visit) in visits.iter().enumerate() {
            house.coming.insert((visit.at, number as u64, Coming::Arrives(number)));
        }
        house.number = visits.len() as u64;
        house
    }

    /// Something that happens at a time, whatever comes.
    fn will(mut self, at: u64, coming: Coming) -> Self {
        self.number += 1;
        self.coming.insert((ms(at), self.number, coming));
        self
    }

    fn expect(&mut self, after: Duration, coming: Coming) {
        self.number += 1;
        self.coming.insert((self.now + after, self.number, coming));
    }

    /// Lets everything happen that will, up to a time.
    fn run_until(&mut self, end: Time) {
        loop {
            let next = self.coming.first().map(|(at, ..)| *at);
            let change = self.residents.next_change();
            let Some(at) = next.into_iter().chain(change).min().filter(|&at| at <= end) else { return };
            self.now = self.now.max(at);
            let mut actions = Vec::new();
            // Time is told late where something else happens at the same moment: that is allowed.
            match self.coming.pop_first() {
                Some((at, _, coming)) if at <= self.now => self.happens(coming, &mut actions),
                other => {
                    self.coming.extend(other);
                    self.residents.passed(self.now, &mut actions);
                }
            }
            self.act(actions);
            self.check();
        }
    }

    fn run(&mut self) {
        self.run_until(ms(10_000_000));
    }

    fn happens(&mut self, coming: Coming, actions: &mut Vec<Action>) {
        let now = self.now;
        match coming {
            Coming::Arrives(number) => {
                let visit = self.visits[number];
                let ticket = Ticket(number as u64);
                let arrival = self.residents.arrive((ModelIndex(visit.model), ticket), false, now, actions);
                match arrival {
                    Arrival::Admitted => self.answer(number),
                    Arrival::Waits => {
                        self.waiting.insert(ticket, number);
                        if let Some(after) = visit.leaves {
                            self.expect(after, Coming::Leaves(ticket.0));
                        }
                    }
                    Arrival::Refused(why) => self.ends(number, Outcome::Refused(why)),
                }
            }
            Coming::Loaded(model) if self.residents.model(ModelIndex(model)).stage() == Stage::Unloading => {
                self.log.push(format!("{model} cancelled"));
                self.residents.unloaded(ModelIndex(model), now, actions);
            }
            Coming::Loaded(model) if self.loads[model].1 => {
                self.residents.load_failed(ModelIndex(model), now, actions);
            }
            Coming::Loaded(model) => {
                self.log.push(format!("{} loaded", model));
                self.residents.loaded(ModelIndex(model), now, actions);
            }
            Coming::Unloaded(model) => self.residents.unloaded(ModelIndex(model), now, actions),
            Coming::Ends(model) => {
                self.users[model] -= 1;
                self.residents.released(ModelIndex(model), now, actions);
            }
            Coming::Unloads(model) => _ = self.residents.unload(ModelIndex(model), actions),
            Coming::Dies(model) => {
                let model = ModelIndex(model);
                let is_there = self.residents.model(model).stage() == Stage::Ready;
                self.residents.died(model, now, actions);
                assert_eq!(actions.contains(&Action::Clear(model)), is_there, "it goes at once, whoever holds it");
            }
            Coming::Closes => self.residents.load_no_more(now, actions),
            Coming::Leaves(ticket) => {
                if let Some(number) = self.waiting.remove(&Ticket(ticket)) {
                    self.ends(number, Outcome::Left);
                    self.residents.withdrawn(Ticket(ticket), now, actions);
                }
            }
        }
    }

    fn act(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Load(model) => self.expect(self.loads[model.0].0, Coming::Loaded(model.0)),
                Action::Unload(model) => {
                    assert_eq!(self.users[model.0], 0, "a model that is in use is unloaded");
                    assert!(!self.residents.model(model).terms().pinned, "a pinned model is unloaded");
                    self.log.push(format!("{} unloaded", model.0));
                    self.expect(self.loads[model.0].0 / 2, Coming::Unloaded(model.0));
                }
                Action::Clear(model) => {
                    self.log.push(format!("{} died", model.0));
                    self.expect(self.loads[model.0].0 / 2, Coming::Unloaded(model.0));
                }
                // Its load ends in its own time, and says then that it was cancelled.
                Action::Cancel(model) => {
                    assert_eq!(self.residents.model(model).stage(), Stage::Unloading, "it holds its room until then");
                }
                Action::Admit(ticket, model) => {
                    let number = self.waiting.remove(&ticket).expect("who is admitted waits");
                    assert_eq!(self.visits[number].model, model.0);
                    self.answer(number);
                }
                Action::Refuse(ticket, _, why) => {
                    let number = self.waiting.remove(&ticket).expect("who is refused waits");
                    self.ends(number, Outcome::Refused(why));
                }
            }
        }
    }

    fn answer(&mut self, number: usize) {
        let Visit { model, takes, .. } = self.visits[number];
        assert_eq!(self.residents.model(ModelIndex(model)).stage(), Stage::Ready, "an answer by a model that is away");
        self.users[model] += 1;
        self.expect(takes, Coming::Ends(model));
        self.ends(number, Outcome::Answered);
    }

    fn ends(&mut self, number: usize, outcome: Outcome) {
        let before = self.outcomes.insert(number, (outcome, self.now - self.visits[number].at));
        assert_eq!(before, None, "a request ends once");
    }

    fn check(&self) {
        assert!(self.residents.held() <= self.budget, "over the budget");
        for (index, &users) in self.users.iter().enumerate() {
            let resident = self.residents.model(ModelIndex(index));
            assert_eq!(resident.users(), users);
            let waiting = self.waiting.values().filter(|&&number| self.visits[number].model == index).count();
            assert_eq!(resident.waiting(), waiting);
        }
    }

    fn outcomes(&self) -> Vec<Outcome> {
        self.outcomes.values().map(|(outcome, _)| *outcome).collect()
    }
}

fn visit(at: u64, model: usize, takes: u64) -> Visit {
    Visit { at: ms(at), model, takes: ms(takes), leaves: None }
}

/// Models of 10 bytes each, loads of 100 ms.
fn house(budget: u64, models: usize, visits: &[Visit]) -> House {
    House::new(budget, &vec![terms(10); models], &vec![(ms(100), false); models], visits)
}

#[test]
fn requests_to_a_model_share_its_load() {
    let mut house = house(20, 2, &[visit(0, 0, 50), visit(30, 0, 50), visit(60, 0, 50)]);
    house.run();
    assert_eq!(house.log, ["0 loaded"]);
    assert_eq!(house.outcomes(), [Outcome::Answered; 3]);
}

#[test]
fn the_idle_model_that_was_used_longest_ago_goes() {
    let mut house = house(20, 3, &[visit(0, 0, 1), visit(200, 1, 1), visit(400, 0, 1), visit(600, 2, 1)]);
    house.run();
    assert_eq!(house.log, ["0 loaded", "1 loaded", "1 unloaded", "2 loaded"]);
}

#[test]
fn who_finds_all_room_in_use_waits_for_one_to_be_idle() {
    let mut house = house(20, 3, &[visit(0, 0, 400), visit(0, 1, 300), visit(200, 2, 1)]);
    house.run();
    assert_eq!(house.outcomes(), [Outcome::Answered; 3]);
    assert_eq!(house.log[2], "1 unloaded", "it ended first");
}

#[test]
fn who_waits_longer_than_the_bound_is_refused() {
    let mut house = house(10, 2, &[visit(0, 0, 5000), visit(200, 1, 1)]);
    house.run();
    assert_eq!(house.outcomes.get(&1), Some(&(Outcome::Refused(Why::NoRoom), PATIENCE)));
    // A load that takes longer than the bound is refused its requests and serves later ones.
    let slow = [(ms(1500), false)];
    let mut house = House::new(10, &[terms(10)], &slow, &[visit(0, 0, 1), visit(1600, 0, 1)]);
    house.run();
    assert_eq!(house.outcomes(), [Outcome::Refused(Why::TooSlow), Outcome::Answered]);
}

#[test]
fn a_model_in_steady_use_makes_room_for_who_has_waited_half_the_bound() {
    let mut visits: Vec<Visit> = (0..30).map(|number| visit(100 * number, 0, 150)).collect();
    visits.push(visit(500, 1, 10));
    let mut house = house(10, 2, &visits);
    house.run();
    let (outcome, wait) = house.outcomes[&30];
    assert_eq!(outcome, Outcome::Answered);
    // Half of the bound, then the answers that run, an unload and a load.
    assert!(ms(500) <= wait && wait <= ms(500 + 150 + 50 + 100), "{wait:?}");
    assert!(house.outcomes().iter().all(|outcome| *outcome == Outcome::Answered));
    assert_eq!(house.log, ["0 loaded", "0 unloaded", "1 loaded", "1 unloaded", "0 loaded"]);
}

#[test]
fn small_models_do_not_starve_a_large_one() {
    let mut visits = vec![visit(50, 2, 10)];
    for number in 0..60 {
        visits.push(visit(50 * number, (number % 2) as usize, 90));
    }
    let terms = [terms(5), terms(5), terms(10)];
    let mut house = House::new(10, &terms, &[(ms(20), false); 3], &visits);
    house.run();
    let (outcome, wait) = house.outcomes[&0];
    assert_eq!(outcome, Outcome::Answered);
    assert!(wait <= ms(500 + 90 + 10 + 20), "{wait:?}");
}

#[test]
fn a_model_that_fails_is_tried_again_after_a_while_and_harms_no_other() {
    let visits = [visit(0, 0, 1), visit(10, 0, 1), visit(20, 1, 1), visit(200, 0, 1), visit(5200, 0, 1)];
    let mut house = House::new(20, &[terms(10); 2], &[(ms(100), true), (ms(100), false)], &visits);
    house.run();
    let failed = |at| Outcome::Refused(Why::Failed(ms(at)));
    // The second back-off is twice as long.
    let expected = [failed(5100), failed(5100), Outcome::Answered, failed(5100), failed(5300 + 10_000)];
    assert_eq!(house.outcomes(), expected);
    assert_eq!(house.residents.held(), 10);
}

#[test]
fn an_operator_may_try_at_once_what_failed() {
    let mut residents = Residents::new(10, PATIENCE, [terms(10)]);
    let mut actions = Vec::new();
    let (model, now) = (ModelIndex(0), ms(0));
    assert_eq!(residents.arrive((model, Ticket(0)), false, now, &mut actions), Arrival::Waits);
    residents.load_failed(model, now, &mut actions);
    let refused = Arrival::Refused(Why::Failed(BACKOFF));
    assert_eq!(residents.arrive((model, Ticket(1)), false, now, &mut actions), refused);
    actions.clear();
    assert_eq!(residents.arrive((model, Ticket(2)), true, now, &mut actions), Arrival::Waits);
    assert_eq!(actions, [Action::Load(model)]);
}

#[test]
fn a_model_is_kept_for_as_long_as_it_is_to_be() {
    let kept = Terms { keep_alive: Some(ms(300)), ..terms(10) };
    let pinned = Terms { pinned: true, ..kept };
    let visits = [visit(0, 0, 50), visit(400, 0, 50), visit(2000, 0, 1)];
    let mut house = House::new(20, &[kept, pinned], &[(ms(100), false); 2], &visits);
    house.run_until(ms(749));
    assert_eq!(house.residents.model(ModelIndex(0)).idle_since(), Some(ms(450)));
    house.run();
    // It was used at 450 last, and at 2101 again; the pinned one stays.
    assert_eq!(house.log, ["1 loaded", "0 loaded", "0 unloaded", "0 loaded", "0 unloaded"]);
    assert_eq!(house.residents.model(ModelIndex(1)).stage(), Stage::Ready);
}

#[test]
fn at_will_only_an_idle_model_goes() {
    let pinned = Terms { pinned: true, ..terms(10) };
    let mut house = House::new(30, &[terms(10), pinned], &[(ms(100), false); 2], &[visit(0, 0, 500)]);
    let mut actions = Vec::new();
    house.run_until(ms(50));
    assert_eq!(house.residents.unload(ModelIndex(1), &mut actions), Err(Stays::Pinned), "it is loading");
    house.run_until(ms(300));
    assert_eq!(house.residents.unload(ModelIndex(0), &mut actions), Err(Stays::Busy(1)), "it answers");
    assert_eq!(house.residents.unload(ModelIndex(1), &mut actions), Err(Stays::Pinned));
    house.run_until(ms(700));
    assert_eq!(house.residents.unload(ModelIndex(0), &mut actions), Ok(()));
    assert_eq!(actions, [Action::Unload(ModelIndex(0))]);
    assert_eq!(house.residents.unload(ModelIndex(0), &mut actions), Ok(()), "it goes already");
    assert_eq!(actions.len(), 1);
}

#[test]
fn a_load_is_cancelled_at_will_and_holds_its_room_until_it_has_ended() {
    let visits = [visit(0, 0, 1), visit(10, 0, 1), visit(20, 1, 1), visit(60, 0, 1)];
    let mut house = house(10, 2, &visits).will(50, Coming::Unloads(0));
    house.run_until(ms(99));
    assert_eq!((house.residents.held(), house.outcomes()), (10, vec![Outcome::Refused(Why::Cancelled); 2]));
    house.run();
    assert_eq!(house.log, ["0 cancelled", "1 loaded", "1 unloaded", "0 loaded"]);
    assert_eq!(house.outcomes()[2..], [Outcome::Answered; 2], "who comes later has it loaded again");
}

#[test]
fn who_stops_waits_for_no_load_and_lets_what_is_there_answer() {
    let visits =
        [visit(0, 0, 1), visit(150, 1, 1), visit(160, 0, 100), visit(170, 2, 1), visit(210, 0, 1), visit(210, 2, 1)];
    let mut house = house(20, 3, &visits).will(200, Coming::Closes);
    house.run();
    let closing = Outcome::Refused(Why::Closing);
    let answered = Outcome::Answered;
    assert_eq!(house.outcomes(), [answered, closing, answered, closing, answered, closing]);
    assert_eq!(house.log, ["0 loaded", "1 cancelled"]);
}

#[test]
fn a_model_whose_engine_died_goes_at_once_and_comes_back_after_a_rest_that_doubles() {
    let visits = [visit(0, 0, 5000), visit(220, 0, 1), visit(1100, 0, 1), visit(1201, 0, 1), visit(1500, 1, 1)];
    let mut house = house(10, 2, &visits).will(200, Coming::Dies(0)).will(1400, Coming::Dies(0));
    house.run_until(ms(250));
    assert_eq!((house.residents.held(), house.residents.users()), (0, 1), "an answer that has failed is read still");
    house.run_until(ms(1450));
    let resting = |until| Outcome::Refused(Why::Failed(ms(until)));
    let answered = Outcome::Answered;
    // Its room is the other's.
    house.run_until(ms(2000));
    assert_eq!(house.outcomes(), [answered, resting(1200), resting(1200), answered, answered]);
    assert_eq!(house.residents.model(ModelIndex(0)).stage(), Stage::Failed(ms(1400 + 2000)));
    assert_eq!(house.log, ["0 loaded", "0 died", "0 loaded", "0 died", "1 loaded"]);
}

#[test]
fn a_death_after_a_long_life_is_the_first() {
    let visits = [visit(0, 0, 1), visit(1300, 0, 1), visit(310_000, 0, 1)];
    let mut house = house(10, 1, &visits);
    for at in [200, 1500, 400_000] {
        house = house.will(at, Coming::Dies(0));
    }
    house.run_until(ms(2000));
    assert_eq!(house.residents.model(ModelIndex(0)).deaths_in_a_row(), 2);
    house.run_until(ms(500_000));
    assert_eq!(house.residents.model(ModelIndex(0)).deaths_in_a_row(), 3, "it had lived for a minute and a half");
    house.residents.models[0].stage = Stage::Ready;
    house.residents.died(ModelIndex(0), ms(900_000), &mut Vec::new());
    assert_eq!(house.residents.model(ModelIndex(0)).deaths_in_a_row(), 1);
}

#[test]
fn nobody_takes_the_room_of_a_pinned_model_that_died() {
    let pinned = Terms { pinned: true, ..terms(10) };
    let visits = [visit(200, 1, 5000), visit(600, 2, 5000), visit(1400, 0, 1)];
    let house = House::new(20, &[pinned, terms(10), terms(10)], &[(ms(100), false); 3], &visits);
    let mut house = house.will(350, Coming::Dies(0));
    // The third claims what the second has, and not what is kept for the first.
    house.run_until(ms(1700));
    assert_eq!(house.log, ["0 loaded", "1 loaded", "0 died", "0 loaded"]);
    assert_eq!(house.outcomes.get(&1), Some(&(Outcome::Refused(Why::NoRoom), PATIENCE)));
    assert_eq!(house.outcomes.get(&2), Some(&(Outcome::Answered, ms(100))));
}

#[test]
fn only_so_many_wait_for_a_model() {
    let crowded = Terms { most_waiting: 2, ..terms(10) };
    let visits = [visit(0, 0, 1), visit(1, 0, 1), visit(2, 0, 1), visit(300, 0, 1)];
    let mut house = House::new(10, &[crowded], &[(ms(100), false)], &visits);
    house.run();
    let answered = Outcome::Answered;
    assert_eq!(house.outcomes(), [answered, answered, Outcome::Refused(Why::Crowded), answered]);
}

fn visits(most: usize, models: usize, takes: u64) -> impl Strategy<Value = Vec<Visit>> {
    let leaves = prop_oneof![3 => Just(None), 1 => (0u64..1500).prop_map(Some)];
    let one = (0u64..120, 0..models, 1..takes, leaves);
    prop::collection::vec(one, 1..most).prop_map(|visits| {
        let mut at = 0;
        let visit = |(gap, model, takes, leaves): (u64, usize, u64, Option<u64>)| {
            at += gap;
            Visit { at: ms(at), model, takes: ms(takes), leaves: leaves.map(ms) }
        };
        visits.into_iter().map(visit).collect()
    })
}

/// What comes in between: at a time, an operator who unloads a model, or the death of one.
fn mishaps() -> impl Strategy<Value = Vec<(u64, Coming)>> {
    let mishap = prop_oneof![(0usize..5).prop_map(Coming::Unloads), (0usize..5).prop_map(Coming::Dies)];
    prop::collection::vec((0u64..4000, mishap), 0..6)
}

/// Models that may all be loaded beside those that are pinned, and the budget.
fn models() -> impl Strategy<Value = (u64, Vec<Terms>, Vec<(Duration, bool)>)> {
    let keep_alive = prop_oneof![2 => Just(None), 1 => (0u64..800).prop_map(|it| Some(ms(it)))];
    let most_waiting = prop_oneof![3 => Just(usize::MAX), 1 => 1usize..4];
    let one = (1u64..20, prop::bool::weighted(0.2), keep_alive, most_waiting, 1u64..400, prop::bool::weighted(0.1));
    (prop::collection::vec(one, 1..6), 0u64..30).prop_map(|(models, spare)| {
        let terms: Vec<Terms> = models
            .iter()
            .map(|&(bytes, pinned, keep_alive, most_waiting, ..)| Terms { bytes, pinned, keep_alive, most_waiting })
            .collect();
        let pinned: u64 = terms.iter().filter(|terms| terms.pinned).map(|terms| terms.bytes).sum();
        let largest = terms.iter().filter(|terms| !terms.pinned).map(|terms| terms.bytes).max().unwrap_or(0);
        (pinned + largest + spare, terms, models.iter().map(|&(.., load, fails)| (ms(load), fails)).collect())
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// The house holds at every moment: never over the budget, no model in use and no pinned one unloaded, every
    /// request ended once.
    #[test]
    fn whatever_comes_every_request_is_answered_or_refused_within_its_bound(
        (budget, terms, loads) in models(),
        visits in visits(60, 5, 900),
        mishaps in mishaps(),
        closes in prop::option::weighted(0.2, 0u64..6000),
    ) {
        let visits: Vec<Visit> =
            visits.into_iter().map(|visit| Visit { model: visit.model % terms.len(), ..visit }).collect();
        let mut house = House::new(budget, &terms, &loads, &visits);
        for (at, mishap) in mishaps {
            house = house.will(at, mishap.of(terms.len()));
        }
        if let Some(at) = closes {
            house = house.will(at, Coming::Closes);
        }
        house.run();
        prop_assert_eq!(house.outcomes.len(), visits.len());
        for (number, (outcome, wait)) in &house.outcomes {
            prop_assert!(*wait <= PATIENCE, "{} waited {:?}: {:?}", number, wait, outcome);
        }
        // Nothing is left behind: nobody holds or waits, and what may go by time is gone.
        prop_assert!(house.users.iter().all(|&users| users == 0) && house.waiting.is_empty());
        prop_assert_eq!(house.residents.next_change(), None);
    }

    /// Where answers and loads are short beside the bound, nobody is ever refused, however steadily others come.
    #[test]
    fn nobody_starves(
        (budget, terms, _) in models(),
        visits in visits(120, 5, 30),
    ) {
        let terms: Vec<Terms> = terms.into_iter().map(|terms| Terms { most_waiting: usize::MAX, ..terms }).collect();
        // Half of the bound is 500: five models in turn, each of which drains (30), goes (5) and comes (10).
        let loads = vec![(ms(10), false); terms.len()];
        let visits: Vec<Visit> = visits
            .into_iter()
            .map(|visit| Visit { model: visit.model % terms.len(), at: visit.at / 8, ..visit })
            .collect();
        let mut house = House::new(budget, &terms, &loads, &visits);
        house.run();
        for (number, (outcome, wait)) in &house.outcomes {
            prop_assert!(!matches!(outcome, Outcome::Refused(_)), "{} after {:?}: {:?}", number, wait, outcome);
        }
    }
}
