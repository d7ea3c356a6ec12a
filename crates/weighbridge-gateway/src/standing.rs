//! Whose a request is and how it is to be treated: what a local model goes by beside the request itself.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::HeaderMap;
use weighbridge_backend::{DataClass, Priority, Standing};

use crate::prepare::Arrival;
use crate::respond::Refusal;

/// The header by which a request lets others go before it. It lowers what its caller has, and never raises it.
const PRIORITY_HEADER: &str = "x-weighbridge-priority";
/// The header that says for how long an answer is wanted.
const DEADLINE_HEADER: &str = "x-weighbridge-deadline-ms";

/// The standing of a request of this class, whose answer is wanted for at most `longest`.
///
/// # Errors
/// When a header cannot be read.
pub(crate) fn standing(
    arrival: &Arrival<'_>,
    class: DataClass,
    longest: Option<Duration>,
) -> Result<Standing, Refusal> {
    // One beyond the end of time is none.
    let longest = longest.and_then(|longest| Instant::now().checked_add(longest));
    Ok(Standing {
        caller: arrival.caller.map(|caller| Arc::clone(&caller.name)),
        class,
        priority: priority(arrival)?,
        deadline: deadline(arrival.headers)?.into_iter().chain(longest).min(),
    })
}

/// The lowest of the caller's and of what the headers say.
fn priority(arrival: &Arrival<'_>) -> Result<Priority, Refusal> {
    let mut lowest = arrival.caller.map_or_else(Priority::default, |caller| caller.priority);
    for value in arrival.headers.get_all(PRIORITY_HEADER) {
        let word = value.to_str().unwrap_or_default().trim().to_ascii_lowercase();
        let said = word.parse::<Priority>();
        lowest = lowest.min(said.map_err(|unknown| Refusal::bad_header(PRIORITY_HEADER, &unknown.to_string()))?);
    }
    Ok(lowest)
}

fn deadline(headers: &HeaderMap) -> Result<Option<Instant>, Refusal> {
    let Some(value) = headers.get(DEADLINE_HEADER) else { return Ok(None) };
    let millis = value.to_str().ok().and_then(|word| word.trim().parse().ok()).filter(|&millis: &u64| millis > 0);
    let bad = || Refusal::bad_header(DEADLINE_HEADER, "expected milliseconds, a whole number above 0");
    Ok(Instant::now().checked_add(Duration::from_millis(millis.ok_or_else(bad)?)))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use weighbridge_policy::CallerFacts;

    use super::*;

    fn of(name: &'static str, value: &'static str) -> Result<Standing, u16> {
        let headers = [(http::HeaderName::from_static(name), HeaderValue::from_static(value))].into_iter().collect();
        let arrival = Arrival { path: "/", headers: &headers, caller: None, floor: None };
        standing(&arrival, DataClass::Internal, None).map_err(|refusal| refusal.status())
    }

    #[test]
    fn headers_say_how_soon_an_answer_is_wanted_and_for_how_long() {
        let plain =
            Standing { caller: None, class: DataClass::Internal, priority: Priority::Interactive, deadline: None };
        assert_eq!(of("x-other", "1"), Ok(plain.clone()));
        assert_eq!(of(PRIORITY_HEADER, "Batch"), Ok(Standing { priority: Priority::Batch, ..plain }));
        assert!(
            of(DEADLINE_HEADER, "5000").is_ok_and(|standing| standing.deadline.is_some_and(|at| at > Instant::now()))
        );
    }

    #[test]
    fn a_header_lowers_the_priority_of_a_caller_and_never_raises_it() {
        use Priority::{Batch, Interactive};
        for (own, headers, expected) in [
            (Interactive, &[][..], Interactive),
            (Interactive, &["batch"], Batch),
            (Interactive, &["batch", "interactive"], Batch),
            (Batch, &[], Batch),
            (Batch, &["interactive"], Batch),
        ] {
            let caller = CallerFacts {
                name: "team".into(),
                highest_class: DataClass::Restricted,
                class: None,
                routes: None,
                priority: own,
            };
            let mut map = HeaderMap::new();
            headers.iter().for_each(|value| _ = map.append(PRIORITY_HEADER, HeaderValue::from_static(value)));
            let arrival = Arrival { path: "/", headers: &map, caller: Some(&caller), floor: None };
            let found = standing(&arrival, DataClass::Internal, None).map(|standing| standing.priority);
            assert_eq!(found, Ok(expected), "{own:?} {headers:?}");
        }
    }

    #[test]
    fn the_sooner_of_two_deadlines_counts() {
        let left = |header: Option<&'static str>, longest: Option<u64>| {
            let name = http::HeaderName::from_static(DEADLINE_HEADER);
            let headers = header.map(|value| (name, HeaderValue::from_static(value))).into_iter().collect();
            let arrival = Arrival { path: "/", headers: &headers, caller: None, floor: None };
            let standing = standing(&arrival, DataClass::Internal, longest.map(Duration::from_secs));
            let deadline = standing.expect("the headers can be read").deadline;
            deadline.map(|at| at.saturating_duration_since(Instant::now()).as_secs_f64().ceil() as u64)
        };
        assert_eq!(left(None, None), None);
        assert_eq!(left(Some("5000"), None), Some(5));
        assert_eq!(left(None, Some(9)), Some(9));
        assert_eq!(left(Some("5000"), Some(9)), Some(5));
        assert_eq!(left(Some("20000"), Some(9)), Some(9));
        assert_eq!(left(None, Some(u64::MAX)), None);
    }

    #[test]
    fn what_they_cannot_say_is_refused() {
        for (name, value) in [
            (PRIORITY_HEADER, "urgent"),
            (PRIORITY_HEADER, ""),
            (DEADLINE_HEADER, "0"),
            (DEADLINE_HEADER, "-1"),
            (DEADLINE_HEADER, "soon"),
        ] {
            assert_eq!(of(name, value), Err(400), "{name}: {value}");
        }
    }
}
