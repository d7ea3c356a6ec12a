//! How long an answer is wanted, whoever makes it: a local model keeps a deadline itself, a hosted one is held to it
//! here.

use std::future::Future;
use std::pin::Pin;
use std::time::Instant;

use futures_util::{StreamExt, stream};
use tokio::time::{Sleep, sleep_until, timeout_at};
use weighbridge_backend::{Events, Failure, FailureKind, Stage};

/// What an answer comes to that is no longer wanted.
fn passed() -> Failure {
    Failure::new(FailureKind::Timeout(Stage::Total), "the deadline of the request has passed")
}

/// What `work` comes to, or the failure where it takes longer.
pub(crate) async fn within<T>(
    deadline: Option<Instant>,
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    let Some(deadline) = deadline else { return work.await };
    timeout_at(deadline.into(), work).await.unwrap_or_else(|_| Err(passed()))
}

/// These events, and a failure where they go on beyond the deadline.
pub(crate) fn until(deadline: Option<Instant>, events: Events) -> Events {
    let Some(deadline) = deadline else { return events };
    // One timer for a whole stream, so that a token costs it nothing.
    let timer = Box::pin(sleep_until(deadline.into()));
    stream::unfold(Some((events, timer)), |state| async move {
        let (mut events, mut timer): (Events, Pin<Box<Sleep>>) = state?;
        tokio::select! {
            // The time first: events that are always there would pass it for good.
            biased;
            () = &mut timer => Some((Err(passed()), None)),
            event = events.next() => Some((event?, Some((events, timer)))),
        }
    })
    .boxed()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use weighbridge_backend::{Event, Usage};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn events_beyond_the_deadline_are_a_failure() {
        let events = || -> Events {
            let every_second = stream::unfold(0, |count| async move {
                tokio::time::sleep(Duration::from_secs(1)).await;
                (count < 5).then_some((Ok(Event::Usage(Usage::default())), count + 1))
            });
            every_second.boxed()
        };
        let seen = async |seconds: Option<u64>| {
            let deadline = seconds.map(|seconds| tokio::time::Instant::now() + Duration::from_secs(seconds));
            let events: Vec<_> = until(deadline.map(Into::into), events()).collect().await;
            (events.len(), events.last().is_some_and(Result::is_err))
        };
        assert_eq!(seen(None).await, (5, false));
        assert_eq!(seen(Some(60)).await, (5, false));
        // Two events, and the failure.
        let (count, failed) = seen(Some(3)).await;
        assert!(failed && (2..=4).contains(&count), "{count}");
    }
}
