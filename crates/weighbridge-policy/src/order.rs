//! The order among the backends that may answer, and the reason for each place.

use std::cmp::Ordering;
use std::time::Duration;

use weighbridge_backend::NanoUsd;

use crate::{BackendFacts, FirstToken, Prefer};

/// A backend that may answer.
pub(crate) struct Candidate<'a> {
    pub(crate) facts: &'a BackendFacts<'a>,
    /// Where the route lists it, from 0.
    pub(crate) place: usize,
    /// What the request is expected to cost there.
    pub(crate) cost: NanoUsd,
    /// Whether the caller named it outright.
    pub(crate) named: bool,
}

impl Candidate<'_> {
    /// The cost, where it is worth comparing: without the prompt it would look cheaper than it is.
    fn counted_cost(&self) -> Option<NanoUsd> {
        self.facts.prompt().map(|_| self.cost)
    }

    fn quality(&self) -> Option<f64> {
        self.facts.offer.quality.filter(|quality| !quality.is_nan())
    }

    fn first_token(&self) -> Option<Duration> {
        self.facts.first_token().map(FirstToken::time)
    }
}

/// Sorts candidates, which come as the route lists them: one that was named, then the best first. What is not
/// known comes last, and ties stay as they were.
pub(crate) fn sort(prefer: Prefer, candidates: &mut [Candidate<'_>]) {
    candidates.sort_by(|a, b| b.named.cmp(&a.named).then_with(|| compare(prefer, a, b)));
}

fn compare(prefer: Prefer, a: &Candidate<'_>, b: &Candidate<'_>) -> Ordering {
    match prefer {
        Prefer::Cost => known_first(a.counted_cost(), b.counted_cost(), NanoUsd::cmp),
        Prefer::Quality => known_first(a.quality(), b.quality(), |a, b| b.total_cmp(a)),
        Prefer::Latency => known_first(a.first_token(), b.first_token(), Ord::cmp),
        Prefer::Order => Ordering::Equal,
    }
}

fn known_first<T>(a: Option<T>, b: Option<T>, compare: impl Fn(&T, &T) -> Ordering) -> Ordering {
    match (a, b) {
        (Some(a), Some(b)) => compare(&a, &b),
        (a, b) => b.is_some().cmp(&a.is_some()),
    }
}

/// Why `candidate` stands where it does, right after `before`.
pub(crate) fn why(prefer: Prefer, before: Option<&Candidate<'_>>, candidate: &Candidate<'_>) -> String {
    if candidate.named {
        return "named by the caller".to_owned();
    }
    let (best, figure) = figure(prefer, candidate);
    let Some(best) = best else {
        return figure;
    };
    match before {
        None => format!("{best} {figure}"),
        Some(before) if before.named => format!("of the others {best} {figure}"),
        Some(before) if compare(prefer, before, candidate).is_eq() => {
            format!("{figure}, a tie that the route's order decides")
        }
        Some(_) => figure,
    }
}

/// What a preference goes by, and the word for the best of it where it can be compared.
fn figure(prefer: Prefer, candidate: &Candidate<'_>) -> (Option<&'static str>, String) {
    match prefer {
        Prefer::Cost => match candidate.counted_cost() {
            Some(cost) => (Some("cheapest at"), format!("{cost} USD")),
            None => (None, "cost not known: the prompt could not be counted".to_owned()),
        },
        Prefer::Quality => match candidate.quality() {
            Some(quality) => (Some("best:"), format!("quality {quality}")),
            None => (None, "quality not known".to_owned()),
        },
        Prefer::Latency => match candidate.facts.first_token() {
            Some(FirstToken::Predicted(time)) => (Some("fastest:"), predicted(candidate.facts, time)),
            Some(FirstToken::Mean(time)) => (Some("fastest:"), format!("first token in {} ms", time.as_millis())),
            None => (None, "time to first token not measured yet".to_owned()),
        },
        Prefer::Order => (None, format!("{} in the route's order", ordinal(candidate.place + 1))),
    }
}

/// A prediction, and what of the prompt is there already, as that makes it what it is.
fn predicted(facts: &BackendFacts<'_>, time: Duration) -> String {
    let cached = match facts.forecast.map_or(0, |forecast| forecast.cached_tokens) {
        0 => String::new(),
        cached => format!(", {cached} tokens of the prompt being computed already"),
    };
    format!("first token predicted in {} ms{cached}", time.as_millis())
}

/// `1st`, `2nd`, `11th`.
fn ordinal(number: usize) -> String {
    let ending = match (number % 10, number % 100) {
        (_, 11..=13) => "th",
        (1, _) => "st",
        (2, _) => "nd",
        (3, _) => "rd",
        _ => "th",
    };
    format!("{number}{ending}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinals_read_as_english() {
        let ordinals = [1, 2, 3, 4, 11, 12, 13, 21, 22, 101, 112].map(ordinal).join(" ");
        assert_eq!(ordinals, "1st 2nd 3rd 4th 11th 12th 13th 21st 22nd 101st 112th");
    }
}
