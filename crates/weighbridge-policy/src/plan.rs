//! The plan of a request: the attempts in order, and who is out and why.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use weighbridge_backend::{BackendId, DataClass, NanoUsd, PromptCount};

use crate::exclude::Requirements;
use crate::order::{Candidate, sort, why};
use crate::{Asking, BackendFacts, FirstToken, Prefer, Reason, Route, class_of};

/// What policy decided on a request; pure data. Every backend of the route is in exactly one of `attempts`
/// and `excluded`.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// The route that took the request.
    pub route: Arc<str>,
    /// The class of the request; no attempt has a clearance below it.
    pub class: DataClass,
    /// What the route prefers.
    pub prefer: Prefer,
    /// The backends that may answer, in the order to ask them.
    pub attempts: Vec<Choice>,
    /// The backends that may not, as the route lists them.
    pub excluded: Vec<Exclusion>,
    /// Why nobody may answer, whoever could; there are no attempts then.
    pub refusal: Option<Refusal>,
}

/// A backend that may answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// Which one.
    pub backend: BackendId,
    /// What the request is expected to cost there.
    pub estimated_cost: NanoUsd,
    /// The tokens of the prompt there, where they could be counted.
    pub prompt_tokens: Option<PromptCount>,
    /// Of these, how many it has computed already.
    pub cached_tokens: u64,
    /// When the first token is expected, where anything is known of it.
    pub first_token: Option<FirstToken>,
    /// What the request is expected to take of this machine, where the backend computes here and has measured it.
    pub compute_time: Option<Duration>,
    /// The hints that it cannot use, as the caller wrote them.
    pub unused_hints: Vec<String>,
    /// Why it stands in this place: `cheapest at 0.0001 USD`, `1st in the route's order`.
    pub reason: String,
}

/// A backend that may not answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Exclusion {
    /// Which one.
    pub backend: BackendId,
    /// Everything that speaks against it, in the order of [`Reason`]; never empty.
    pub reasons: Vec<Reason>,
}

/// Why nobody may answer a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Its class is above what its caller may send.
    ClassAboveCaller {
        /// The class of the request.
        class: DataClass,
        /// The highest class that the caller may send.
        highest: DataClass,
    },
}

/// Decides on a request that `route` took.
///
/// `backends` are the facts on the route's backends, in any order; one without facts is out as unknown, and
/// facts on others are not looked at.
pub fn plan(route: &Route, asking: &Asking<'_>, backends: &[BackendFacts<'_>]) -> Plan {
    let class = class_of(route, asking);
    let refusal = refuse(asking, class);
    let named = route.backends.iter().find(|id| id.as_str() == asking.model);
    let requirements = Requirements { route, asking, class, refusal: refusal.as_ref(), named };
    let (mut candidates, mut excluded) = (Vec::new(), Vec::new());
    for (place, id) in route.backends.iter().enumerate() {
        if route.backends[..place].contains(id) {
            continue;
        }
        let facts = backends.iter().find(|facts| facts.offer.id == *id);
        let reasons = requirements.objections(id, facts);
        match facts {
            Some(facts) if reasons.is_empty() => candidates.push(Candidate {
                facts,
                place,
                cost: facts.estimated_cost(asking.choices),
                named: named == Some(id),
            }),
            _ => excluded.push(Exclusion { backend: id.clone(), reasons }),
        }
    }
    sort(route.prefer, &mut candidates);
    let attempts = choices(route.prefer, asking, &candidates);
    Plan { route: route.name.clone(), class, prefer: route.prefer, attempts, excluded, refusal }
}

fn refuse(asking: &Asking<'_>, class: DataClass) -> Option<Refusal> {
    let highest = asking.caller?.highest_class;
    (class > highest).then_some(Refusal::ClassAboveCaller { class, highest })
}

fn choices(prefer: Prefer, asking: &Asking<'_>, sorted: &[Candidate<'_>]) -> Vec<Choice> {
    let before = std::iter::once(None).chain(sorted.iter().map(Some));
    let choice = |(before, candidate): (Option<&Candidate<'_>>, &Candidate<'_>)| Choice {
        backend: candidate.facts.offer.id.clone(),
        estimated_cost: candidate.cost,
        prompt_tokens: candidate.facts.prompt(),
        cached_tokens: candidate.facts.forecast.map_or(0, |forecast| forecast.cached_tokens),
        first_token: candidate.facts.first_token(),
        compute_time: candidate.facts.compute_time(asking.choices),
        unused_hints: unused_hints(asking, candidate.facts),
        reason: why(prefer, before, candidate),
    };
    before.zip(sorted).map(choice).collect()
}

fn unused_hints(asking: &Asking<'_>, facts: &BackendFacts<'_>) -> Vec<String> {
    let unused = asking.asked.iter().filter(|asked| asked.hint && !facts.offer.meets(&asked.need));
    unused.map(|asked| asked.parameter.clone()).collect()
}

/// What to tell a caller whom nobody may answer. Each asks about the backends that are left when those before
/// it have spoken: first the operator's rules and the caller's naming, then parameters, context, health. So
/// at most one of them answers, and it names what the caller can do something about.
impl Plan {
    /// A parameter that keeps every backend out that the rules leave in: one that none of them can honour,
    /// else the first that one of them cannot.
    pub fn parameter_nobody_honours(&self) -> Option<String> {
        let left: Vec<_> = self.left_in_by_rules().map(Exclusion::parameters).collect();
        if left.iter().any(Vec::is_empty) {
            return None;
        }
        let first = left.first()?;
        let shared = first.iter().find(|parameter| left.iter().all(|others| others.contains(parameter)));
        shared.or(first.first()).map(|parameter| (*parameter).to_owned())
    }

    /// The [`Reason::ContextTooSmall`] of the largest context, where prompt and answer fit none of the
    /// backends that the rules leave in and that honour every parameter.
    pub fn context_too_small(&self) -> Option<&Reason> {
        let mut shortages = Vec::new();
        for exclusion in self.left_in_by_parameters() {
            shortages.push(exclusion.reasons.iter().find_map(|reason| match reason {
                Reason::ContextTooSmall { context, .. } => Some((*context, reason)),
                _ => None,
            })?);
        }
        shortages.into_iter().max_by_key(|(context, _)| *context).map(|(_, reason)| reason)
    }

    /// Whether there is a backend that could answer this request, and every such backend is out: it is worth
    /// asking again later.
    pub fn only_out(&self) -> bool {
        let is_out = |exclusion: &Exclusion| exclusion.reasons.iter().all(|reason| matches!(reason, Reason::Out(_)));
        self.attempts.is_empty() && self.excluded.iter().any(is_out)
    }

    /// The excluded that no rule of the operator and no naming keeps out; none while there are attempts.
    fn left_in_by_rules(&self) -> impl Iterator<Item = &Exclusion> {
        let excluded = if self.attempts.is_empty() { &self.excluded[..] } else { &[] };
        excluded.iter().filter(|exclusion| !exclusion.reasons.iter().any(Reason::is_by_rule))
    }

    fn left_in_by_parameters(&self) -> impl Iterator<Item = &Exclusion> {
        self.left_in_by_rules().filter(|exclusion| exclusion.parameters().is_empty())
    }
}

impl Exclusion {
    /// The parameters that it cannot honour.
    fn parameters(&self) -> Vec<&str> {
        let parameters = self.reasons.iter().filter_map(|reason| match reason {
            Reason::CannotHonour { parameter, .. } => Some(parameter.as_str()),
            _ => None,
        });
        parameters.collect()
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::ClassAboveCaller { class, highest } = self;
        write!(f, "the caller may send up to {highest}, the request is {class}")
    }
}

impl std::error::Error for Refusal {}
