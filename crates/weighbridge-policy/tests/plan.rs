//! The plan, as a table of cases: a route, a request and the state of three backends in; who is asked, who is
//! not, and why out.

use std::collections::BTreeSet;
use std::time::Duration;

use weighbridge_backend::{
    Asked, BackendId, Capability, DataClass, Dialect, Forecast, Health, NanoUsd, Need, Offer, Price, Priority,
    PromptCount,
};
use weighbridge_policy::{
    Asking, BackendFacts, CallerFacts, FirstToken, Match, Named, Plan, Prefer, Reason, Refusal, Require, Route, plan,
};

/// A local model that is free and slow, one in Europe that is dear and good, one in America that is neither.
fn offers() -> [Offer; 3] {
    let usd = |dollars| NanoUsd::from_usd(dollars).unwrap_or_default();
    let offer =
        |id: &str, clearance, region: Option<&str>, price: (f64, f64), quality, capabilities: &[Capability]| Offer {
            id: BackendId::new(id),
            local: !id.contains('/'),
            clearance,
            region: region.map(str::to_owned),
            price: Price { input: usd(price.0), cached_input: None, output: usd(price.1) },
            quality,
            context: None,
            capabilities: capabilities.iter().copied().collect::<BTreeSet<_>>(),
            dialect: id.contains('/').then_some(Dialect::OpenAiChat),
            fingerprint: None,
            licence: None,
        };
    [
        offer("demo", DataClass::Restricted, Some("local"), (0.0, 0.0), None, &[Capability::TopK]),
        offer(
            "eu/large",
            DataClass::Confidential,
            Some("eu"),
            (2.0, 10.0),
            Some(0.9),
            &[Capability::Tools, Capability::Logprobs],
        ),
        offer("us/small", DataClass::Internal, None, (0.25, 2.0), Some(0.6), &[Capability::Tools]),
    ]
}

/// What a case changes of the plainest one.
struct Case {
    route: Route,
    offers: [Offer; 3],
    healths: [Health; 3],
    prompts: [Option<PromptCount>; 3],
    first_tokens: [Option<u64>; 3],
    /// Milliseconds to the first token of this request, and tokens of its prompt that are computed.
    forecasts: [Option<(u64, u64)>; 3],
    caller: Option<CallerFacts>,
    header_class: Option<DataClass>,
    model: &'static str,
    asked: Vec<Asked>,
    max_output_tokens: Option<u32>,
    choices: u32,
}

/// A prompt of 1000 tokens to an alias of a route that has all three, for an answer of 100.
fn plainest() -> Case {
    Case {
        route: Route {
            name: "default".into(),
            matches: Match::default(),
            class: DataClass::Public,
            backends: ["eu/large", "us/small", "demo"].map(BackendId::new).to_vec(),
            prefer: Prefer::Order,
            require: Require::default(),
            named: Named::Only,
        },
        offers: offers(),
        healths: [Health::Ready, Health::Ready, Health::Ready],
        prompts: [Some(PromptCount::Exact(1000)), Some(PromptCount::Estimate(1000)), Some(PromptCount::Estimate(1000))],
        first_tokens: [None, None, None],
        forecasts: [None, None, None],
        caller: None,
        header_class: None,
        model: "auto",
        asked: Vec::new(),
        max_output_tokens: None,
        choices: 1,
    }
}

impl Case {
    fn forecast(&self, i: usize, prompt: PromptCount) -> Forecast {
        let (first_token, cached_tokens) = self.forecasts[i].unzip();
        let first_token = first_token.map(Duration::from_millis);
        Forecast { first_token, cached_tokens: cached_tokens.unwrap_or(0), ..prompt.into() }
    }

    fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    fn plan(&self) -> Plan {
        let facts = (0..3).map(|i| BackendFacts {
            offer: &self.offers[i],
            health: self.healths[i].clone(),
            forecast: self.prompts[i].map(|prompt| self.forecast(i, prompt)),
            expected_output_tokens: 100,
            mean_first_token: self.first_tokens[i].map(Duration::from_millis),
        });
        let asking = Asking {
            model: self.model,
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
}

fn asks(parameter: &str, capability: Capability) -> Asked {
    Asked { parameter: parameter.to_owned(), need: Need::Capability(capability), hint: false }
}

fn caller(highest_class: DataClass, class: Option<DataClass>) -> Option<CallerFacts> {
    Some(CallerFacts { name: "team".into(), highest_class, class, routes: None, priority: Priority::Interactive })
}

/// One line for each backend: `id: reason`, or `not id: reasons`.
fn lines(plan: &Plan) -> Vec<String> {
    let attempts = plan.attempts.iter().map(|choice| format!("{}: {}", choice.backend, choice.reason));
    let excluded = plan.excluded.iter().map(|exclusion| {
        let reasons: Vec<_> = exclusion.reasons.iter().map(Reason::to_string).collect();
        format!("not {}: {}", exclusion.backend, reasons.join("; "))
    });
    attempts.chain(excluded).collect()
}

#[track_caller]
fn check(case: Case, expected: &[&str]) -> Plan {
    let plan = case.plan();
    assert_eq!(lines(&plan), expected);
    plan
}

#[test]
fn by_order_they_stand_as_the_route_lists_them() {
    let plan = check(
        plainest(),
        &["eu/large: 1st in the route's order", "us/small: 2nd in the route's order", "demo: 3rd in the route's order"],
    );
    assert_eq!(
        (&*plan.route, plan.class, plan.prefer, plan.refusal),
        ("default", DataClass::Public, Prefer::Order, None)
    );
}

#[test]
fn by_cost_the_estimate_of_this_request_decides() {
    let case = || plainest().with(|case| case.route.prefer = Prefer::Cost);
    let plan = check(case(), &["demo: cheapest at 0 USD", "us/small: 0.00045 USD", "eu/large: 0.003 USD"]);
    assert_eq!(plan.attempts[1].estimated_cost, NanoUsd(450_000));
    assert_eq!(plan.attempts[1].prompt_tokens, Some(PromptCount::Estimate(1000)));

    let three_answers = case().with(|case| case.choices = 3);
    check(three_answers, &["demo: cheapest at 0 USD", "us/small: 0.00085 USD", "eu/large: 0.005 USD"]);

    let same_price = case().with(|case| case.offers[2].price = case.offers[0].price);
    check(
        same_price,
        &["us/small: cheapest at 0 USD", "demo: 0 USD, a tie that the route's order decides", "eu/large: 0.003 USD"],
    );

    let uncounted = case().with(|case| case.prompts[0] = None);
    check(
        uncounted,
        &[
            "us/small: cheapest at 0.00045 USD",
            "eu/large: 0.003 USD",
            "demo: cost not known: the prompt could not be counted",
        ],
    );
}

#[test]
fn by_quality_the_best_leads_and_the_unjudged_come_last() {
    let case = plainest().with(|case| {
        case.route.prefer = Prefer::Quality;
        case.route.backends = ["demo", "us/small", "eu/large"].map(BackendId::new).to_vec();
    });
    check(case, &["eu/large: best: quality 0.9", "us/small: quality 0.6", "demo: quality not known"]);
}

#[test]
fn by_latency_the_measured_come_before_the_unmeasured() {
    let case = plainest().with(|case| {
        case.route.prefer = Prefer::Latency;
        case.first_tokens = [Some(120), None, Some(450)];
    });
    check(
        case,
        &[
            "demo: fastest: first token in 120 ms",
            "us/small: first token in 450 ms",
            "eu/large: time to first token not measured yet",
        ],
    );
}

#[test]
fn by_latency_what_is_foretold_of_this_request_goes_before_what_others_took() {
    let case = |forecast| {
        plainest().with(|case| {
            case.route.prefer = Prefer::Latency;
            case.first_tokens = [Some(50), None, Some(450)];
            case.forecasts = [Some(forecast), Some((300, 960)), None];
        })
    };
    check(
        case((900, 0)),
        &[
            "eu/large: fastest: first token predicted in 300 ms, 960 tokens of the prompt being computed already",
            "us/small: first token in 450 ms",
            "demo: first token predicted in 900 ms",
        ],
    );
    let attempts = case((20, 0)).plan().attempts;
    let first = attempts.first().map(|choice| (choice.backend.as_str(), choice.first_token, choice.cached_tokens));
    assert_eq!(first, Some(("demo", Some(FirstToken::Predicted(Duration::from_millis(20))), 0)));
}

#[test]
fn the_class_is_the_highest_of_route_caller_and_header() {
    use DataClass::{Confidential, Internal, Public, Restricted};
    for (route, caller_class, header, class) in [
        (Public, None, None, Public),
        (Internal, None, Some(Public), Internal),
        (Internal, None, Some(Confidential), Confidential),
        (Internal, Some(Restricted), Some(Public), Restricted),
        (Confidential, Some(Public), None, Confidential),
    ] {
        let case = plainest().with(|case| {
            case.route.class = route;
            case.caller = caller(Restricted, caller_class);
            case.header_class = header;
        });
        assert_eq!(case.plan().class, class);
    }
}

#[test]
fn a_class_above_the_clearance_keeps_a_backend_out() {
    let case = plainest().with(|case| case.header_class = Some(DataClass::Restricted));
    check(
        case,
        &[
            "demo: 3rd in the route's order",
            "not eu/large: cleared for confidential, the request is restricted",
            "not us/small: cleared for internal, the request is restricted",
        ],
    );
}

#[test]
fn a_class_above_what_the_caller_may_send_is_refused() {
    let case = plainest().with(|case| {
        case.route.class = DataClass::Confidential;
        case.caller = caller(DataClass::Internal, None);
    });
    let plan = check(
        case,
        &[
            "not eu/large: the caller may send up to internal, the request is confidential",
            "not us/small: the caller may send up to internal, the request is confidential; cleared for internal, the \
             request is confidential",
            "not demo: the caller may send up to internal, the request is confidential",
        ],
    );
    let refusal = Refusal::ClassAboveCaller { class: DataClass::Confidential, highest: DataClass::Internal };
    assert_eq!(plan.refusal, Some(refusal));
    assert_eq!(refusal.to_string(), "the caller may send up to internal, the request is confidential");
    assert!(!plan.only_out());
}

#[test]
fn what_is_not_known_satisfies_no_requirement() {
    let case = plainest().with(|case| {
        case.route.require = Require { regions: vec!["eu".into(), "ch".into()], min_quality: Some(0.7) };
    });
    check(
        case,
        &[
            "eu/large: 1st in the route's order",
            "not us/small: its region is not known, the route requires eu or ch; its quality is 0.6, the route \
             requires 0.7",
            "not demo: runs in local, the route requires eu or ch; its quality is not known, the route requires 0.7",
        ],
    );
}

#[test]
fn all_reasons_are_listed_those_of_privacy_first() {
    let case = plainest().with(|case| {
        case.route.class = DataClass::Restricted;
        case.route.require.regions = vec!["local".into()];
        case.route.backends = vec![BackendId::new("us/small")];
        case.offers[2].context = Some(100);
        case.healths[2] = Health::Out("its circuit is open".into());
        case.asked = vec![asks("top_k", Capability::TopK)];
    });
    check(
        case,
        &[
            "not us/small: cleared for internal, the request is restricted; its region is not known, the route requires \
           local; cannot honour top_k; its context holds 100 tokens, the prompt has about 1000; out: its circuit is \
           open",
        ],
    );
}

#[test]
fn a_backend_named_outright_is_asked_alone_or_first() {
    let named = |named| {
        plainest().with(|case| {
            case.model = "us/small";
            case.route.prefer = Prefer::Cost;
            case.route.named = named;
        })
    };
    check(
        named(Named::Only),
        &[
            "us/small: named by the caller",
            "not eu/large: the caller named another backend",
            "not demo: the caller named another backend",
        ],
    );
    check(
        named(Named::First),
        &["us/small: named by the caller", "demo: of the others cheapest at 0 USD", "eu/large: 0.003 USD"],
    );
    let out = named(Named::First).with(|case| case.healths[2] = Health::Out("no key".into()));
    check(out, &["demo: cheapest at 0 USD", "eu/large: 0.003 USD", "not us/small: out: no key"]);
}

#[test]
fn a_parameter_keeps_out_who_cannot_honour_it_and_a_hint_nobody() {
    let case = plainest().with(|case| {
        let hint = |parameter: &str, capability| Asked { hint: true, ..asks(parameter, capability) };
        case.asked = vec![
            asks("tools", Capability::Tools),
            hint("user", Capability::User),
            hint("logprobs", Capability::Logprobs),
        ];
    });
    let plan = check(
        case,
        &["eu/large: 1st in the route's order", "us/small: 2nd in the route's order", "not demo: cannot honour tools"],
    );
    let unused: Vec<_> = plan.attempts.iter().map(|choice| choice.unused_hints.join(" ")).collect();
    assert_eq!(unused, ["user", "user logprobs"]);
}

#[test]
fn an_unknown_field_needs_a_backend_of_its_dialect() {
    let case = plainest().with(|case| {
        let need = Need::Dialect(Dialect::OpenAiChat);
        case.asked = vec![Asked { parameter: "x_new".into(), need, hint: false }];
        case.route.backends.remove(1);
    });
    check(
        case,
        &[
            "eu/large: 1st in the route's order",
            "not demo: cannot be handed x_new, a field that only its own dialect has",
        ],
    );
}

#[test]
fn a_thousand_parameters_of_one_need_give_one_reason() {
    let case = plainest().with(|case| {
        let image = |i| asks(&format!("messages[{i}].content[0].image_url"), Capability::ImageInput);
        case.asked = (0..1000).map(image).collect();
        case.route.backends.truncate(1);
    });
    let plan = check(case, &["not eu/large: cannot honour messages[0].content[0].image_url (image_input)"]);
    assert_eq!(plan.parameter_nobody_honours().as_deref(), Some("messages[0].content[0].image_url"));
}

#[test]
fn an_exact_prompt_must_fit_with_its_answer_an_estimate_alone() {
    let fits = |context, prompt, output| {
        let case = plainest().with(|case| {
            case.route.backends = vec![BackendId::new("demo")];
            case.offers[0].context = Some(context);
            case.prompts[0] = prompt;
            case.max_output_tokens = output;
        });
        !case.plan().attempts.is_empty()
    };
    let (exact, estimate) = (Some(PromptCount::Exact(90)), Some(PromptCount::Estimate(90)));
    assert!(fits(100, exact, Some(10)));
    assert!(!fits(100, exact, Some(11)));
    assert!(fits(90, exact, None));
    assert!(!fits(89, exact, None));
    assert!(fits(90, estimate, Some(1000)));
    assert!(!fits(89, estimate, None));
    assert!(fits(1, None, Some(1000)));
    assert!(!fits(u32::MAX, Some(PromptCount::Exact(u64::MAX)), Some(u32::MAX)));
}

#[test]
fn a_backend_without_facts_is_unknown_and_one_listed_twice_counts_once() {
    let case = plainest().with(|case| {
        case.route.backends = ["demo", "gone", "demo"].map(BackendId::new).to_vec();
    });
    check(case, &["demo: 1st in the route's order", "not gone: no backend of this name is set up"]);
}

#[test]
fn a_parameter_is_blamed_where_it_is_what_keeps_everybody_out() {
    let blamed = |change: fn(&mut Case)| plainest().with(change).plan().parameter_nobody_honours();
    assert_eq!(blamed(|_| ()), None, "there are attempts");
    assert_eq!(blamed(|case| case.asked = vec![asks("seed", Capability::Seed)]).as_deref(), Some("seed"));
    let shared = blamed(|case| {
        case.asked = vec![asks("top_k", Capability::TopK), asks("seed", Capability::Seed)];
        case.route.backends.truncate(2);
    });
    assert_eq!(shared.as_deref(), Some("top_k"), "the first that both lack");
    let split = blamed(|case| case.asked = vec![asks("top_k", Capability::TopK), asks("tools", Capability::Tools)]);
    assert_eq!(split.as_deref(), Some("top_k"), "none is lacked by all, so the first");
    let shut_out = blamed(|case| {
        case.asked = vec![asks("tools", Capability::Tools)];
        case.route.class = DataClass::Restricted;
    });
    assert_eq!(shut_out.as_deref(), Some("tools"), "privacy leaves only the one that cannot");
    let out = blamed(|case| {
        case.asked = vec![asks("logprobs", Capability::Logprobs)];
        case.healths[1] = Health::Out("its queue is full".into());
    });
    assert_eq!(out, None, "one could, if it were not out");
    let nobody = blamed(|case| {
        case.asked = vec![asks("seed", Capability::Seed)];
        case.route.require.regions = vec!["mars".into()];
    });
    assert_eq!(nobody, None, "the region keeps everybody out");
}

#[test]
fn the_context_is_blamed_where_it_is_what_keeps_everybody_out() {
    let case =
        |contexts: [Option<u32>; 3]| plainest().with(|case| (0..3).for_each(|i| case.offers[i].context = contexts[i]));
    let blamed = |case: Case| case.plan().context_too_small().map(Reason::to_string);
    assert_eq!(
        blamed(case([Some(256), Some(300), Some(200)])).as_deref(),
        Some("its context holds 300 tokens, the prompt has about 1000")
    );
    assert_eq!(blamed(case([Some(256), None, Some(200)])), None, "one takes it");
    let asked = case([Some(256), None, None]).with(|case| {
        case.max_output_tokens = Some(50);
        case.asked = vec![asks("top_k", Capability::TopK)];
    });
    assert_eq!(
        blamed(asked).as_deref(),
        Some("its context holds 256 tokens, the prompt has 1000 and the answer up to 50"),
        "the parameter leaves one, and that is too small"
    );
    let out = case([Some(256), None, Some(200)]).with(|case| case.healths[1] = Health::Out("no key".into()));
    assert_eq!(blamed(out), None, "one would take it, if it were not out");
}

#[test]
fn it_is_worth_coming_back_where_somebody_is_only_out() {
    let all_out = || plainest().with(|case| case.healths = [1, 2, 3].map(|n| Health::Out(format!("reason {n}"))));
    assert!(!plainest().plan().only_out());
    assert!(all_out().plan().only_out());
    assert!(all_out().with(|case| case.route.class = DataClass::Restricted).plan().only_out());
    let nobody_could = all_out().with(|case| case.asked = vec![asks("seed", Capability::Seed)]);
    assert!(!nobody_could.plan().only_out());
}
