//! `GET /v1/responses/{id}?stream=true`: the events of a response that is made in the background, from any of them on.

use std::sync::Arc;

use axum::response::Response;
use futures_util::StreamExt;
use http::HeaderMap;

use super::addresses::{found, parameter, with_caller};
use crate::gateway::Core;
use crate::inference::event_stream;
use crate::respond::Refusal;
use crate::wire::WireError;

/// What is wanted of a response.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// The response as it is now.
    Whole,
    /// Its events from this number on.
    Events(u64),
}

impl Wanted {
    /// As the query says.
    ///
    /// # Errors
    /// When a parameter of it is no good.
    pub(super) fn of(query: Option<&str>) -> Result<Self, WireError> {
        let after = match parameter(query, "starting_after") {
            None => None,
            Some(word) => Some(word.parse::<u64>().map_err(|_| {
                let why = "expected the sequence number of an event, a whole number from 0";
                WireError::invalid("starting_after", why)
            })?),
        };
        match (parameter(query, "stream").as_deref(), after) {
            (Some("true"), after) => Ok(Self::Events(after.map_or(0, |after| after.saturating_add(1)))),
            (None | Some("false"), None) => Ok(Self::Whole),
            (None | Some("false"), Some(_)) => {
                Err(WireError::invalid("starting_after", "it is only allowed when 'stream' is true"))
            }
            (Some(_), _) => Err(WireError::invalid("stream", "expected true or false")),
        }
    }
}

/// The events of a response from this number on, those to come among them.
pub(super) async fn events(gateway: &Arc<Core>, id: &str, headers: &HeaderMap, from: u64) -> Result<Response, Refusal> {
    let caller = gateway.callers.identify(headers)?;
    let place = gateway.admission.enter()?;
    let job = gateway.background.find(id, caller.as_ref().map(|caller| &*caller.name));
    let Some(job) = job.filter(|job| job.streams()) else {
        // First whether it is there at all.
        let id = id.to_owned();
        with_caller(gateway, headers, move |gateway, caller| found(gateway, caller, &id)).await?;
        let message = "Invalid value for 'stream': the events of this response are not kept. They are of a response that was made with 'stream' and 'background', and for some minutes after it; get it without 'stream'.";
        return Err(WireError::at("stream", "unsupported_value", message.to_owned()).into());
    };
    let first = job.first_event();
    if from < first {
        let message = format!(
            "Invalid value for 'starting_after': of the events of this response those before {first} are not kept any more. Go on from there, or get it without 'stream'."
        );
        return Err(WireError::at("starting_after", "invalid_value", message).into());
    }
    let read = job.read(from, gateway.limits.keep_alive).map(move |piece| {
        // A reader is a request under way, as long as it reads.
        let _held = &place;
        piece
    });
    Ok(event_stream(read))
}

/// Stops making a response of this id for the caller who sent `headers`, and waits until nothing of it is under way.
pub(super) async fn stop(gateway: &Arc<Core>, id: &str, headers: &HeaderMap) -> Result<(), Refusal> {
    let caller = gateway.callers.identify(headers)?;
    if let Some(job) = gateway.background.find(id, caller.as_ref().map(|caller| &*caller.name)) {
        job.cancel();
        job.over().await;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_says_whether_events_are_wanted_and_from_where_on() {
        let of = |query: &str| Wanted::of(Some(query)).map_err(|error| error.param.unwrap_or_default());
        assert_eq!(Wanted::of(None), Ok(Wanted::Whole));
        assert_eq!(of("stream=false&include_obfuscation=false"), Ok(Wanted::Whole));
        assert_eq!(of("stream=true"), Ok(Wanted::Events(0)));
        assert_eq!(of("starting_after=41&stream=true"), Ok(Wanted::Events(42)));
        assert_eq!(of(&format!("starting_after={}&stream=true", u64::MAX)), Ok(Wanted::Events(u64::MAX)));
        for (query, param) in [
            ("stream=yes", "stream"),
            ("starting_after=3", "starting_after"),
            ("stream=true&starting_after=-1", "starting_after"),
            ("stream=true&starting_after=x", "starting_after"),
        ] {
            assert_eq!(of(query), Err(param.to_owned()), "{query}");
        }
    }
}
