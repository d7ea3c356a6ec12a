//! One answer that is made in the background, as those see it who come back for it.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, stream};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::timeout;
use weighbridge_ledger::{Ledger, StoredResponse};

use super::events::Events;
use crate::wire::{Restated, response_error_event, restated};

/// What proxies keep a silent stream open for.
const KEEP_ALIVE: &[u8] = b": keep-alive\n\n";

pub(crate) struct Job {
    id: String,
    caller: Option<String>,
    ledger: Ledger,
    /// Whether its events are kept.
    streams: bool,
    state: watch::Sender<State>,
    cancel: watch::Sender<bool>,
}

struct State {
    /// As it was kept at first; gone once it is kept as it ended.
    queued: Option<StoredResponse>,
    /// Whether somebody has begun to answer.
    begun: bool,
    /// Whether nothing of it is under way any more.
    over: bool,
    events: Events,
}

impl Job {
    /// One that was kept in this state. Of its events so many bytes are kept, or none are.
    pub(super) fn new(ledger: Ledger, queued: StoredResponse, event_bytes: Option<usize>) -> Self {
        let (id, caller) = (queued.id.clone(), queued.caller.clone());
        let events = Events::new(event_bytes.unwrap_or(0));
        let state = State { queued: Some(queued), begun: false, over: false, events };
        Self {
            id,
            caller,
            ledger,
            streams: event_bytes.is_some(),
            state: watch::Sender::new(state),
            cancel: watch::Sender::new(false),
        }
    }

    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    pub(crate) fn is_of(&self, caller: Option<&str>) -> bool {
        self.caller.as_deref() == caller
    }

    pub(crate) fn streams(&self) -> bool {
        self.streams
    }

    /// The response as it is now; `None` once the ledger has it as it ended.
    pub(crate) fn stored(&self) -> Option<StoredResponse> {
        let (queued, begun) = {
            let state = self.state.borrow();
            (state.queued.clone()?, state.begun)
        };
        let response = if begun { restated(&queued.response, &Restated::InProgress) } else { queued.response };
        Some(StoredResponse { response, ..queued })
    }

    /// Somebody has begun to answer.
    pub(crate) fn begin(&self) {
        self.state.send_modify(|state| state.begun = true);
    }

    /// Takes what was written for a client that streams.
    pub(crate) fn push(&self, written: &[u8]) {
        if self.streams && !written.is_empty() {
            self.state.send_modify(|state| state.events.push(written));
        }
    }

    /// Keeps it as it ended, made of how it was kept at first. Whoever says so first is right; returns whether that was
    /// now.
    pub(crate) fn settle(&self, ended: impl FnOnce(&str) -> String) -> bool {
        self.state.send_if_modified(|state| {
            let Some(queued) = state.queued.take() else { return false };
            let response = ended(&queued.response);
            // A ledger that cannot take it says so in the log.
            self.ledger.keep(StoredResponse { response, ..queued });
            true
        })
    }

    /// Ends it before its time, for those who read along too.
    pub(super) fn break_off(&self, how: &Restated<'_>, code: &str, message: &str) {
        if self.settle(|queued| restated(queued, how)) {
            self.state.send_modify(|state| {
                let event = response_error_event(state.events.next(), &told(code, message));
                state.events.push(&event);
            });
        }
    }

    /// Tells who makes it to stop; nothing where it is over.
    pub(crate) fn cancel(&self) {
        self.cancel.send_replace(true);
    }

    pub(super) async fn cancelled(&self) {
        // The sender is alive as long as `self` is.
        let _ = self.cancel.subscribe().wait_for(|cancelled| *cancelled).await;
    }

    pub(super) fn end(&self) {
        self.state.send_modify(|state| state.over = true);
    }

    /// Ready once nothing of it is under way any more.
    pub(crate) async fn over(&self) {
        let _ = self.state.subscribe().wait_for(|state| state.over).await;
    }

    /// The number of the first event that is kept.
    pub(crate) fn first_event(&self) -> u64 {
        self.state.borrow().events.first()
    }

    /// Its events from this number on, those that are still to come among them, with a comment after each such silence.
    /// A reader that is so slow that the next event is not kept any more is told so.
    pub(crate) fn read(
        self: &Arc<Self>,
        from: u64,
        silence: Duration,
    ) -> impl Stream<Item = Result<Bytes, Infallible>> + Send + use<> {
        let (state, job) = (self.state.subscribe(), Arc::clone(self));
        let reader = Reader { state, next: from, silence, _job: job };
        stream::unfold(Some(reader), |reader| async move {
            let mut reader = reader?;
            let (piece, goes_on) = reader.read().await?;
            Some((Ok(piece), goes_on.then_some(reader)))
        })
    }
}

fn told(code: &str, message: &str) -> Value {
    json!({"error": {"type": "server_error", "code": code, "message": message, "param": null}})
}

struct Reader {
    state: watch::Receiver<State>,
    next: u64,
    silence: Duration,
    /// Holds the sender.
    _job: Arc<Job>,
}

enum Found {
    Piece(Vec<u8>),
    Nothing,
    Gone,
    End,
}

impl Reader {
    /// The next piece, and whether there may be more.
    async fn read(&mut self) -> Option<(Bytes, bool)> {
        loop {
            match self.look() {
                Found::Piece(piece) => return Some((piece.into(), true)),
                Found::End => return None,
                Found::Gone => {
                    let message = "The events were read too slowly, and the next one is not kept any more. The response itself goes on.";
                    let event = response_error_event(self.next, &told("events_not_kept", message));
                    return Some((event, false));
                }
                Found::Nothing => {
                    if timeout(self.silence, self.state.changed()).await.is_err() {
                        return Some((Bytes::from_static(KEEP_ALIVE), true));
                    }
                }
            }
        }
    }

    fn look(&mut self) -> Found {
        let state = self.state.borrow_and_update();
        match state.events.piece(self.next) {
            None => Found::Gone,
            Some((piece, _)) if piece.is_empty() && state.over => Found::End,
            Some((piece, _)) if piece.is_empty() => Found::Nothing,
            Some((piece, next)) => {
                self.next = next;
                Found::Piece(piece)
            }
        }
    }
}
