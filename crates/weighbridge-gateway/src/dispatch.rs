//! Attempts: the plan's backends in order, until one begins to answer.
//!
//! A backend that failed for a moment (busy, unreachable, an error of its own) is put behind all others and
//! asked again once its back-off or its `Retry-After` has passed. The plan is the only source of backends, so
//! no failure can reach one that policy left out.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use tokio::time::{Instant, sleep_until, timeout};
use tracing::warn;
use weighbridge_backend::{
    Answering, Capability, Event, Events, Failure, FailureKind, NanoUsd, Need, Offer, Request, Stage,
};
use weighbridge_policy::{Choice, FirstToken, Plan};

use crate::account::Account;
use crate::deadline::within;
use crate::gateway::Core;

/// A backend that answers.
pub(crate) struct Dispatched {
    /// What was expected of it.
    pub(crate) choice: Choice,
    /// The first event, or, where the whole answer was wanted, all of them.
    pub(crate) begun: Vec<Event>,
    /// The events that follow.
    pub(crate) rest: Events,
}

impl Dispatched {
    pub(crate) fn estimated_cost(&self) -> NanoUsd {
        self.choice.estimated_cost
    }
}

/// How much of an answer has to be there before the client sees any of it, and until when another backend
/// may take over unseen.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Until {
    FirstEvent,
    Whole,
}

struct Turn<'p> {
    choice: &'p Choice,
    tries: u32,
    not_before: Option<Instant>,
}

impl Core {
    /// Asks the plan's backends in turn.
    ///
    /// # Errors
    /// What the last one said, when all have failed or the request itself is at fault.
    pub(crate) async fn dispatch(
        &self,
        plan: &Plan,
        request: Arc<Request>,
        until: Until,
        account: &mut Account,
    ) -> Result<Dispatched, Failure> {
        let first_turns = plan.attempts.iter().map(|choice| Turn { choice, tries: 0, not_before: None });
        let mut turns: VecDeque<Turn<'_>> = first_turns.collect();
        let deadline = Instant::now() + self.limits.first_event;
        let mut last = Failure::new(FailureKind::Internal, "the plan holds no attempt");
        while let Some(turn) = turns.pop_front() {
            let wanted = request.standing.deadline;
            if let Some(at) = turn.not_before {
                sleep_until(wanted.map_or(at, |wanted| at.min(wanted.into()))).await;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            // A whole answer takes as long as it takes; its backend bounds it.
            let left = if until == Until::Whole { Duration::MAX } else { left };
            let attempt = timeout(left, self.attempt(turn.choice, Arc::clone(&request), until, account));
            let attempt = within(wanted, async { attempt.await.unwrap_or_else(|_| Err(self.out_of_time())) });
            let failure = match attempt.await {
                Ok((begun, rest)) => {
                    let rest = crate::deadline::until(wanted, rest);
                    return Ok(Dispatched { choice: turn.choice.clone(), begun, rest });
                }
                Err(failure) => failure,
            };
            account.attempt_failed(failure.kind);
            self.learn(turn.choice, &failure);
            warn!(
                request = &*request.id,
                backend = turn.choice.backend.as_str(),
                failure = failure.kind.as_str(),
                status = failure.upstream_status,
                "attempt failed"
            );
            let unwanted = request.standing.deadline.is_some_and(|at| at <= std::time::Instant::now());
            if !failure.may_fail_over() || deadline <= Instant::now() || unwanted {
                return Err(failure);
            }
            if let Some(wait) = self.wait_before_retry(&failure, turn.tries, &request.id) {
                turns.push_back(Turn { tries: turn.tries + 1, not_before: Some(Instant::now() + wait), ..turn });
            }
            last = failure;
        }
        Err(last)
    }

    async fn attempt(
        &self,
        choice: &Choice,
        request: Arc<Request>,
        until: Until,
        account: &mut Account,
    ) -> Result<(Vec<Event>, Events), Failure> {
        let gone =
            || Failure::new(FailureKind::Internal, format!("the plan names an unknown backend {}", choice.backend));
        let registered = self.backend(&choice.backend).ok_or_else(gone)?;
        account.attempting(&choice.backend);
        let request = without_unused_effort(request, registered.backend.offer());
        let Answering { mut events, meter } = registered.backend.answer(request).await?;
        account.metered(meter, registered.backend.offer().price);
        let silent = || Failure::new(FailureKind::Cut, format!("{} ended its answer before it began", choice.backend));
        let first = events.next().await.ok_or_else(silent)??;
        let elapsed = account.first_event();
        registered.experience.answered(elapsed);
        if let Some(FirstToken::Predicted(predicted)) = choice.first_token {
            self.books.metrics.foretold(choice.backend.as_str(), predicted, elapsed);
        }
        let mut begun = vec![first];
        if until == Until::Whole {
            while let Some(event) = events.next().await {
                begun.push(event?);
            }
        }
        Ok((begun, events))
    }

    /// A provider that asks for rest gets it, from later requests too. A local model needs none: it knows its
    /// own queue, and the next request may find a place.
    fn learn(&self, choice: &Choice, failure: &Failure) {
        let busy = matches!(failure.kind, FailureKind::RateLimited | FailureKind::Overloaded);
        let hosted = self.backend(&choice.backend).filter(|registered| !registered.backend.offer().local);
        if let (Some(registered), Some(wait), true) = (hosted, failure.retry_after, busy) {
            registered.experience.asked_for_rest(wait);
        }
    }

    /// How long to wait before the same backend is asked again; `None` when it is not.
    fn wait_before_retry(&self, failure: &Failure, tries: u32, request_id: &str) -> Option<Duration> {
        if !failure.may_retry() || tries >= self.limits.retries {
            return None;
        }
        let backoff = self.limits.backoff.saturating_mul(1 << tries.min(16));
        // Up to a quarter more, by the random end of the id, so that callers do not come back in step.
        let jitter = request_id.bytes().next_back().map_or(0.0, |byte| f64::from(byte % 16) / 64.0);
        let wait = failure.retry_after.unwrap_or(backoff.mul_f64(1.0 + jitter));
        (wait <= self.limits.longest_wait).then_some(wait)
    }

    fn out_of_time(&self) -> Failure {
        let seconds = self.limits.first_event.as_secs();
        Failure::new(FailureKind::Timeout(Stage::Total), format!("no backend began to answer within {seconds} s"))
    }
}

/// Effort that was only a hint does not reach a backend that cannot use it: an upstream would refuse the request for it.
fn without_unused_effort(request: Arc<Request>, offer: &Offer) -> Arc<Request> {
    if request.effort.is_none() || offer.meets(&Need::Capability(Capability::ReasoningEffort)) {
        return request;
    }
    Arc::new(Request { effort: None, ..Request::clone(&request) })
}

#[cfg(test)]
mod tests;
