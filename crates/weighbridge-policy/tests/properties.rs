//! What holds of every plan, whatever the route, the backends, their state, the caller and the headers are.

use std::collections::BTreeSet;
use std::time::Duration;

use proptest::prelude::*;
use proptest::sample::{Index, select};
use weighbridge_backend::{
    Asked, BackendId, Capability, DataClass, Dialect, Forecast, Health, NanoUsd, Need, Offer, Price, Priority,
    PromptCount,
};
use weighbridge_policy::{Asking, BackendFacts, CallerFacts, Match, Named, Plan, Prefer, Require, Route, plan};

/// Backends that may exist; the route lists some, and for some there are facts.
const IDS: [&str; 6] = ["demo", "local", "eu/large", "eu/small", "us/large", "us/small"];
const REGIONS: [&str; 3] = ["local", "eu", "us"];
const CAPABILITIES: [Capability; 4] = [Capability::Tools, Capability::TopK, Capability::Seed, Capability::User];

/// Everything that a plan depends on, owned.
#[derive(Clone, Debug)]
struct World {
    route: Route,
    backends: Vec<State>,
    caller: Option<CallerFacts>,
    header_class: Option<DataClass>,
    model: String,
    asked: Vec<Asked>,
    max_output_tokens: Option<u32>,
    choices: u32,
}

#[derive(Clone, Debug)]
struct State {
    offer: Offer,
    health: Health,
    prompt: Option<PromptCount>,
    expected_output_tokens: u64,
    first_token: Option<Duration>,
    predicted: Option<Duration>,
}

impl State {
    fn forecast(&self) -> Option<Forecast> {
        self.prompt.map(|prompt| Forecast { first_token: self.predicted, ..prompt.into() })
    }

    /// What counts by latency: a prediction comes with a prompt that was counted.
    fn first_token(&self) -> Option<Duration> {
        self.forecast().and_then(|forecast| forecast.first_token).or(self.first_token)
    }
}

impl World {
    fn plan(&self) -> Plan {
        let facts = self.backends.iter().map(|state| BackendFacts {
            offer: &state.offer,
            health: state.health.clone(),
            forecast: state.forecast(),
            expected_output_tokens: state.expected_output_tokens,
            mean_first_token: state.first_token,
        });
        let asking = Asking {
            model: &self.model,
            path: "/v1/chat/completions",
            headers: &[],
            caller: self.caller.as_ref(),
            header_class: self.header_class,
            asked: &self.asked,
            max_output_tokens: self.max_output_tokens,
            choices: self.choices,
        };
        plan(&self.route, &asking, &facts.collect::<Vec<_>>())
    }

    fn state(&self, id: &BackendId) -> Option<&State> {
        self.backends.iter().find(|state| state.offer.id == *id)
    }

    /// The rules told a second time, as plainly as can be: whether `id` may answer.
    fn may_answer(&self, id: &BackendId) -> bool {
        let Some(State { offer, health, prompt, .. }) = self.state(id) else { return false };
        let class = self.class();
        let caller_may = self.caller.as_ref().is_none_or(|caller| class <= caller.highest_class);
        let Require { regions, min_quality } = &self.route.require;
        let region_is_right = regions.is_empty() || regions.iter().any(|region| offer.region.as_ref() == Some(region));
        let is_good = min_quality.is_none_or(|least| offer.quality.is_some_and(|quality| quality >= least));
        let is_meant = self.route.named == Named::First
            || id.as_str() == self.model
            || !self.route.backends.iter().any(|id| id.as_str() == self.model);
        let honours = self.asked.iter().all(|asked| asked.hint || offer.meets(&asked.need));
        let fits = match (offer.context, prompt) {
            (Some(context), Some(PromptCount::Exact(tokens))) => {
                tokens + u64::from(self.max_output_tokens.unwrap_or(0)) <= u64::from(context)
            }
            (Some(context), Some(PromptCount::Estimate(tokens))) => *tokens <= u64::from(context),
            _ => true,
        };
        let is_cleared = offer.clearance >= class;
        caller_may
            && is_cleared
            && region_is_right
            && is_good
            && is_meant
            && honours
            && fits
            && *health == Health::Ready
    }

    fn class(&self) -> DataClass {
        let caller = self.caller.as_ref().and_then(|caller| caller.class);
        [Some(self.route.class), caller, self.header_class].into_iter().flatten().max().unwrap_or(DataClass::Restricted)
    }
}

fn class() -> impl Strategy<Value = DataClass> {
    select(&DataClass::ALL[..])
}

fn need() -> impl Strategy<Value = Need> {
    prop_oneof![
        4 => select(&CAPABILITIES[..]).prop_map(Need::Capability),
        1 => Just(Need::Dialect(Dialect::OpenAiChat)),
    ]
}

fn asked() -> impl Strategy<Value = Asked> {
    (0..20_u32, need(), any::<bool>()).prop_map(|(field, need, hint)| Asked {
        parameter: format!("field_{field}"),
        need,
        hint,
    })
}

/// Qualities with two digits, so that ties come up.
fn quality() -> impl Strategy<Value = f64> {
    (0..=10_u8).prop_map(|tenths| f64::from(tenths) / 10.0)
}

prop_compose! {
    fn offer(id: &'static str)(
        clearance in class(),
        region in proptest::option::of(select(&REGIONS[..])),
        price in (0..3_u64, 0..3_u64),
        quality in proptest::option::of(quality()),
        context in proptest::option::of(0..200_u32),
        capabilities in proptest::sample::subsequence(&CAPABILITIES[..], 0..=CAPABILITIES.len()),
        speaks in any::<bool>(),
    ) -> Offer {
        Offer {
            id: BackendId::new(id),
            local: !id.contains('/'),
            clearance,
            region: region.map(str::to_owned),
            price: Price { input: NanoUsd(price.0 * 1_000_000), cached_input: None, output: NanoUsd(price.1 * 1_000_000) },
            quality,
            context,
            capabilities: capabilities.into_iter().collect(),
            dialect: speaks.then_some(Dialect::OpenAiChat), fingerprint: None, licence: None,
        }
    }
}

prop_compose! {
    fn state(id: &'static str)(
        offer in offer(id),
        is_ready in prop::bool::weighted(0.8),
        prompt in proptest::option::of(prop_oneof![
            (0..200_u64).prop_map(PromptCount::Exact),
            (0..200_u64).prop_map(PromptCount::Estimate),
        ]),
        expected_output_tokens in 0..100_u64,
        first_token in proptest::option::of((0..5_u64).prop_map(Duration::from_millis)),
        predicted in proptest::option::of((0..5_u64).prop_map(Duration::from_millis)),
    ) -> State {
        let health = if is_ready { Health::Ready } else { Health::Out("it fails".to_owned()) };
        State { offer, health, prompt, expected_output_tokens, first_token, predicted }
    }
}

prop_compose! {
    fn route()(
        class in class(),
        // Each may be listed twice, so that also this is covered.
        backends in proptest::collection::vec(select(&IDS[..]), 0..=8),
        prefer in select(&Prefer::ALL[..]),
        regions in prop_oneof![2 => Just(vec![]), 1 => proptest::sample::subsequence(&REGIONS[..], 1..=2)],
        min_quality in proptest::option::weighted(0.3, quality()),
        first in any::<bool>(),
    ) -> Route {
        Route {
            name: "default".into(),
            matches: Match::default(),
            class,
            backends: backends.into_iter().map(BackendId::new).collect(),
            prefer,
            require: Require { regions: regions.into_iter().map(str::to_owned).collect(), min_quality },
            named: if first { Named::First } else { Named::Only },
        }
    }
}

prop_compose! {
    fn caller()(highest_class in class(), class in proptest::option::of(class())) -> CallerFacts {
        CallerFacts { name: "team".into(), highest_class, class, routes: None, priority: Priority::Interactive }
    }
}

prop_compose! {
    fn world()(
        route in route(),
        states in IDS.map(state),
        are_known in IDS.map(|_| prop::bool::weighted(0.9)),
        caller in proptest::option::of(caller()),
        header_class in proptest::option::of(class()),
        model in prop_oneof![2 => Just("auto"), 1 => select(&IDS[..])],
        asked in proptest::collection::vec(asked(), 0..=3),
        max_output_tokens in proptest::option::of(0..100_u32),
        choices in 1..4_u32,
    ) -> World {
        let backends = states.into_iter().zip(are_known).filter(|(_, known)| *known).map(|(state, _)| state).collect();
        World { route, backends, caller, header_class, model: model.to_owned(), asked, max_output_tokens, choices }
    }
}

/// The backends that are asked, in order, when those at `failing` fail: what dispatch does, which knows the
/// plan alone. A failing backend may be asked again before the next.
fn walk(plan: &Plan, failing: &[(bool, usize)]) -> Vec<BackendId> {
    let mut visited = Vec::new();
    for (i, choice) in plan.attempts.iter().enumerate() {
        let (fails, retries) = failing.get(i).copied().unwrap_or((true, 0));
        visited.extend(std::iter::repeat_n(choice.backend.clone(), 1 + if fails { retries } else { 0 }));
        if !fails {
            break;
        }
    }
    visited
}

fn ids(plan: &Plan) -> Vec<BackendId> {
    plan.attempts.iter().map(|choice| choice.backend.clone()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_attempt_goes_below_the_class(world in world()) {
        let plan = world.plan();
        for choice in &plan.attempts {
            let clearance = world.state(&choice.backend).map(|state| state.offer.clearance);
            prop_assert!(clearance >= Some(plan.class), "{} is cleared for {clearance:?}", choice.backend);
        }
    }

    #[test]
    fn whatever_fails_only_cleared_backends_are_visited(
        world in world(),
        failing in proptest::collection::vec((any::<bool>(), 0..3_usize), 0..6),
    ) {
        let class = world.class();
        for id in walk(&world.plan(), &failing) {
            prop_assert!(world.state(&id).is_some_and(|state| state.offer.clearance >= class));
            prop_assert!(world.may_answer(&id));
        }
    }

    #[test]
    fn whatever_failed_what_is_left_stays_among_the_eligible(
        world in world(),
        failed in proptest::collection::vec(any::<Index>(), 0..6),
    ) {
        let mut plan = world.plan();
        for index in failed {
            if !plan.attempts.is_empty() {
                plan.attempts.remove(index.index(plan.attempts.len()));
            }
            prop_assert!(ids(&plan).iter().all(|id| world.may_answer(id)));
        }
    }

    /// Planning anew after failures, as the next request will, reaches nobody new either.
    #[test]
    fn a_backend_that_goes_out_lets_nobody_else_in(world in world(), out in any::<Index>()) {
        let before = world.plan();
        let mut world = world;
        if !world.backends.is_empty() {
            let i = out.index(world.backends.len());
            world.backends[i].health = Health::Out("it failed".to_owned());
            let out = world.backends[i].offer.id.clone();
            let expected: Vec<_> = ids(&before).into_iter().filter(|id| *id != out).collect();
            prop_assert_eq!(ids(&world.plan()), expected);
        }
    }

    #[test]
    fn the_class_is_at_least_that_of_route_caller_and_header(world in world()) {
        let plan = world.plan();
        prop_assert!(plan.class >= world.route.class);
        prop_assert!(Some(plan.class) >= world.header_class);
        prop_assert!(Some(plan.class) >= world.caller.as_ref().and_then(|caller| caller.class));
        prop_assert_eq!(plan.class, world.class());
        let above = world.caller.as_ref().is_some_and(|caller| plan.class > caller.highest_class);
        prop_assert_eq!(plan.refusal.is_some(), above);
        prop_assert!(plan.refusal.is_none() || plan.attempts.is_empty());
    }

    #[test]
    fn every_backend_is_asked_or_excluded_never_both(world in world()) {
        let plan = world.plan();
        let excluded = plan.excluded.iter().map(|exclusion| exclusion.backend.clone());
        let all: Vec<_> = ids(&plan).into_iter().chain(excluded).collect();
        let listed: BTreeSet<_> = world.route.backends.iter().cloned().collect();
        prop_assert_eq!(all.len(), listed.len());
        prop_assert_eq!(all.into_iter().collect::<BTreeSet<_>>(), listed);
        prop_assert!(plan.excluded.iter().all(|exclusion| !exclusion.reasons.is_empty()));
    }

    #[test]
    fn exactly_those_that_may_answer_are_asked(world in world()) {
        let asked: BTreeSet<_> = ids(&world.plan()).into_iter().collect();
        let eligible = world.route.backends.iter().filter(|id| world.may_answer(id)).cloned().collect();
        prop_assert_eq!(asked, eligible);
    }

    #[test]
    fn the_same_facts_give_the_same_plan(world in world()) {
        let plan = world.plan();
        prop_assert_eq!(&plan, &world.plan());
        let mut turned = world;
        turned.backends.reverse();
        prop_assert_eq!(&plan, &turned.plan(), "the order of the facts is no fact");
    }

    #[test]
    fn a_hint_excludes_nobody(world in world()) {
        let plan = world.plan();
        let mut without = world.clone();
        without.asked.retain(|asked| !asked.hint);
        prop_assert_eq!(ids(&plan), ids(&without.plan()));
        let mut hints_only = world.clone();
        hints_only.asked.iter_mut().for_each(|asked| asked.hint = true);
        let all = hints_only.plan();
        for choice in &all.attempts {
            let Some(state) = world.state(&choice.backend) else { continue };
            let unused = world.asked.iter().filter(|asked| !state.offer.meets(&asked.need)).count();
            prop_assert_eq!(choice.unused_hints.len(), unused);
        }
    }

    #[test]
    fn a_header_never_widens(world in world(), raised in class()) {
        let (mut with, mut without) = (world.clone(), world);
        (with.header_class, without.header_class) = (Some(raised), None);
        let narrow: BTreeSet<_> = ids(&with.plan()).into_iter().collect();
        let wide: BTreeSet<_> = ids(&without.plan()).into_iter().collect();
        prop_assert!(narrow.is_subset(&wide));
    }

    #[test]
    fn the_best_comes_first_and_the_unknown_last(world in world()) {
        let plan = world.plan();
        let skip = usize::from(plan.attempts.first().is_some_and(|first| first.backend.as_str() == world.model));
        let sorted: Vec<_> = plan.attempts[skip..].iter().filter_map(|choice| world.state(&choice.backend)).collect();
        let is_sorted = match plan.prefer {
            Prefer::Cost => {
                let counted = plan.attempts[skip..].iter().filter(|choice| choice.prompt_tokens.is_some());
                counted.map(|choice| choice.estimated_cost).is_sorted()
                    && sorted.iter().map(|state| state.prompt.is_none()).is_sorted()
            }
            Prefer::Quality => sorted.iter().rev().map(|state| state.offer.quality).is_sorted(),
            Prefer::Latency => sorted.iter().map(|state| state.first_token().unwrap_or(Duration::MAX)).is_sorted(),
            Prefer::Order => {
                let place = |state: &&State| world.route.backends.iter().position(|id| *id == state.offer.id);
                sorted.iter().map(place).is_sorted()
            }
        };
        prop_assert!(is_sorted, "{plan:?}");
    }

    #[test]
    fn whom_nobody_may_answer_is_told_one_thing(world in world()) {
        let plan = world.plan();
        let told = [plan.parameter_nobody_honours().is_some(), plan.context_too_small().is_some(), plan.only_out()];
        let told = told.into_iter().filter(|told| *told).count();
        prop_assert!(told <= usize::from(plan.attempts.is_empty() && plan.refusal.is_none()));
    }
}
