//! The door: how many requests may be inside, and how it closes for good.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use weighbridge_backend::{Failure, FailureKind};

use crate::respond::{Refusal, SHUTTING_DOWN};

/// Counts who is inside and turns away who finds no place.
#[derive(Clone)]
pub(crate) struct Admission {
    state: Arc<watch::Sender<State>>,
    most: usize,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct State {
    inside: usize,
    closed: bool,
    cut: bool,
}

/// A place inside, given back when dropped.
pub(crate) struct Admitted {
    state: Arc<watch::Sender<State>>,
}

/// Ready when the gateway has run out of patience. One future for a whole stream, so that a token costs it
/// nothing.
pub(crate) type CutSignal = Pin<Box<dyn Future<Output = ()> + Send>>;

impl Admission {
    pub(crate) fn new(most: usize) -> Self {
        Self { state: Arc::new(watch::Sender::new(State::default())), most }
    }

    /// Takes a place.
    pub(crate) fn enter(&self) -> Result<Admitted, Refusal> {
        let mut refusal = None;
        self.state.send_if_modified(|state| {
            if state.closed {
                refusal = Some(stopping());
            } else if state.inside >= self.most {
                let message = format!(
                    "The gateway has {} requests in flight, as many as it takes ([server] max_in_flight).",
                    self.most
                );
                refusal = Some(Refusal::unavailable("overloaded", message, Some(Duration::from_secs(1))));
            } else {
                state.inside += 1;
            }
            // Nobody waits for the count to grow.
            false
        });
        match refusal {
            Some(refusal) => Err(refusal),
            None => Ok(Admitted { state: Arc::clone(&self.state) }),
        }
    }

    /// How many are inside.
    pub(crate) fn inside(&self) -> usize {
        self.state.borrow().inside
    }

    /// Whether the door is closed.
    pub(crate) fn closed(&self) -> bool {
        self.state.borrow().closed
    }

    /// Lets nobody in any more.
    pub(crate) fn close(&self) {
        self.state.send_modify(|state| state.closed = true);
    }

    /// Ready once nobody is inside.
    pub(crate) async fn empty(&self) {
        // The sender is alive as long as `self` is.
        let _ = self.state.subscribe().wait_for(|state| state.inside == 0).await;
    }

    /// Tells all inside to break off. Returns how many were.
    pub(crate) fn cut(&self) -> usize {
        let mut inside = 0;
        self.state.send_modify(|state| {
            state.cut = true;
            inside = state.inside;
        });
        inside
    }

    pub(crate) fn cut_signal(&self) -> CutSignal {
        self.once(|state| state.cut)
    }

    /// Ready once nobody is let in any more.
    pub(crate) fn closed_signal(&self) -> CutSignal {
        self.once(|state| state.closed)
    }

    fn once(&self, reached: fn(&State) -> bool) -> CutSignal {
        let mut state = self.state.subscribe();
        Box::pin(async move {
            if state.wait_for(reached).await.is_err() {
                std::future::pending::<()>().await;
            }
        })
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.state.send_if_modified(|state| {
            state.inside -= 1;
            state.inside == 0
        });
    }
}

/// How long to wait before asking whatever takes this gateway's place.
const COME_BACK: Duration = Duration::from_secs(5);

fn stopping() -> Refusal {
    let message = "The gateway is being stopped and takes no new requests.";
    Refusal::unavailable(SHUTTING_DOWN, message, Some(COME_BACK))
}

/// The gateway was stopped before there was an answer.
pub(crate) fn stopped() -> Failure {
    let failure = Failure::new(FailureKind::ShuttingDown, "The gateway was stopped before it could answer.");
    Failure { retry_after: Some(COME_BACK), ..failure }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_place_is_given_back_and_a_closed_door_stays_closed() {
        let door = Admission::new(1);
        let first = door.enter().ok();
        assert_eq!(door.enter().err().map(|refusal| refusal.status()), Some(503));
        drop(first);
        let second = door.enter().ok();
        assert!(second.is_some());
        door.close();
        drop(second);
        assert_eq!(door.enter().err().map(|refusal| refusal.code().to_owned()).as_deref(), Some("shutting_down"));
        door.empty().await;
        assert_eq!(door.cut(), 0);
    }
}
