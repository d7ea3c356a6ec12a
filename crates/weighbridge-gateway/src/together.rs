//! Several requests that came as one and are answered as one: the prompts of a text completion. Each has a plan, an
//! account and a receipt of its own; all are asked at once, and their events come as one stream, in which the choices
//! of each follow those of the one before. Where one fails, the others are broken off: their receipts say that they failed
//! by no fault of their own attempts.

use std::sync::Arc;

use futures_util::stream::{self, BoxStream, SelectAll};
use futures_util::{Stream, StreamExt};
use weighbridge_backend::{Event, Events, Failure, NanoUsd, Request};
use weighbridge_policy::Plan;

use crate::account::Account;
use crate::dispatch::Dispatched;
use crate::gateway::Core;
use crate::inference::Attempts;

/// A request beside the first one.
pub(crate) struct Companion {
    pub(crate) request: Arc<Request>,
    pub(crate) plan: Plan,
    pub(crate) account: Account,
}

/// The events of a companion, from before it is asked to its end. A failure brings the account that it is to be
/// written down in.
type CompanionEvents = BoxStream<'static, Result<Event, Box<(Account, Failure)>>>;

/// Begins with the attempts of a request and of its companions.
pub(crate) fn attempts(
    gateway: &Arc<Core>,
    plan: Plan,
    request: Arc<Request>,
    account: Account,
    companions: Vec<Companion>,
) -> Attempts {
    if companions.is_empty() {
        return gateway.attempts(plan, request, account);
    }
    let (choices, whole) = (request.choices.get(), !request.stream);
    let estimates = companions.iter().filter_map(|companion| companion.plan.attempts.first());
    let expected: NanoUsd = estimates.map(|choice| choice.estimated_cost).sum();
    let first = gateway.attempts(plan, request, account);
    let events = (1..).zip(companions).map(|(place, companion)| {
        let Companion { request, plan, account } = companion;
        let attempts = gateway.attempts(plan, request, account);
        companion_events(attempts, choices.saturating_mul(place), whole)
    });
    Box::pin(begin(first, events.collect(), whole, expected))
}

/// Waits for the first event of the first request, or, where the `whole` answer is wanted, for all events of all. What
/// companions say meanwhile is kept: they must not wait for a reader with places that the first needs.
async fn begin(
    mut first: Attempts,
    mut companions: SelectAll<CompanionEvents>,
    whole: bool,
    expected: NanoUsd,
) -> (Account, Result<Dispatched, Failure>) {
    let (mut begun, mut early) = (None, Vec::new());
    loop {
        tokio::select! {
            (account, dispatched) = &mut first, if begun.is_none() => match dispatched {
                Ok(dispatched) if whole => begun = Some((account, dispatched)),
                Ok(dispatched) => {
                    begun = Some((account, dispatched));
                    break;
                }
                Err(failure) => {
                    account.fails_others();
                    return (account, Err(failure));
                }
            },
            Some(event) = companions.next() => match event {
                Ok(event) => early.push(event),
                Err(failed) => {
                    failed.0.fails_others();
                    return (failed.0, Err(failed.1));
                }
            },
            else => break,
        }
    }
    let (account, mut dispatched) = begun.expect("the loop ends once the first has begun");
    dispatched.begun.append(&mut early);
    dispatched.choice.estimated_cost = dispatched.choice.estimated_cost + expected;
    let companions = companions.map(|event| {
        event.map_err(|failed| {
            let (mut account, failure) = *failed;
            // The stream is open, whether this one had begun or not.
            account.has_status(200);
            account.break_off(failure.kind);
            failure
        })
    });
    dispatched.rest = Box::pin(stream::select(dispatched.rest, companions));
    (account, Ok(dispatched))
}

fn companion_events(attempts: Attempts, shift: u32, whole: bool) -> CompanionEvents {
    let events = stream::once(attempts).flat_map(move |(account, dispatched)| match dispatched {
        Err(failure) => stream::iter([Err(Box::new((account, failure)))]).boxed(),
        Ok(Dispatched { begun, rest, .. }) => {
            account.counts_beside();
            let events = stream::iter(begun).map(Ok).chain(rest);
            kept_in(account, Box::pin(events), whole).map(move |event| event.map(|event| shifted(event, shift))).boxed()
        }
    });
    Box::pin(events)
}

/// Events, with the account that they are kept in, which closes when they end; where the `whole` answer is wanted, with
/// those of the others, for nobody has seen them.
fn kept_in(
    account: Account,
    events: Events,
    whole: bool,
) -> impl Stream<Item = Result<Event, Box<(Account, Failure)>>> + Send {
    stream::unfold(Some((account, events)), move |running| async move {
        let (mut account, mut events) = running?;
        match events.next().await {
            Some(Ok(event)) => Some((Ok(event), Some((account, events)))),
            Some(Err(failure)) => {
                account.attempt_broke(failure.kind);
                Some((Err(Box::new((account, failure))), None))
            }
            None => {
                if whole {
                    account.complete_with_others();
                } else {
                    account.complete();
                }
                None
            }
        }
    })
}

/// An event of a choice, counted behind those of the requests before.
fn shifted(mut event: Event, shift: u32) -> Event {
    match &mut event {
        Event::Text { choice, .. }
        | Event::Reasoning { choice, .. }
        | Event::Refusal { choice, .. }
        | Event::ToolCall { choice, .. }
        | Event::Finish { choice, .. } => *choice = choice.saturating_add(shift),
        Event::Usage(_) => {}
    }
    event
}

#[cfg(test)]
mod tests;
