//! A stream out: events in, server-sent events to the client, until the answer ends, breaks off, or the
//! client goes away.

use std::pin::Pin;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::{FutureExt, Stream, StreamExt, stream};
use serde_json::json;
use tokio::time::{Sleep, sleep};
use weighbridge_backend::{Event, Events, Failure, FailureKind};

use crate::account::Account;
use crate::admission::CutSignal;
use crate::metrics::TokenTimes;
use crate::respond::Refusal;
use crate::wire::{ChatStream, error_event};

/// How long a stream is silent before a comment keeps proxies from closing it.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Events that are ready together go out in one piece up to about this size.
const PIECE_BYTES: usize = 8 * 1024;

/// One stream under way.
pub(crate) struct Relay {
    pub(crate) events: Events,
    pub(crate) chunks: ChatStream,
    pub(crate) account: Account,
    pub(crate) times: TokenTimes,
}

enum State {
    Open(Box<Open>),
    Ended,
}

struct Open {
    relay: Relay,
    first: Option<Event>,
    last_event: Instant,
    keep_alive: Pin<Box<Sleep>>,
    cut: CutSignal,
}

enum Next {
    Event(Option<Result<Event, Failure>>),
    Silence,
    Cut,
}

/// The body of a streamed answer, which begins with `first`.
pub(crate) fn relay(
    first: Event,
    relay: Relay,
    cut: CutSignal,
) -> impl Stream<Item = Result<Bytes, std::convert::Infallible>> + Send {
    let open =
        Open { relay, first: Some(first), last_event: Instant::now(), keep_alive: Box::pin(sleep(KEEP_ALIVE)), cut };
    stream::unfold(State::Open(Box::new(open)), |state| async move {
        let State::Open(mut open) = state else { return None };
        let mut piece = Vec::with_capacity(512);
        loop {
            match open.next().await {
                Next::Event(Some(Ok(event))) => {
                    open.take(&event, &mut piece);
                    let Some(end) = open.take_ready(&mut piece) else {
                        return Some((Ok(piece.into()), State::Open(open)));
                    };
                    open.finish(end, &mut piece);
                    return Some((Ok(piece.into()), State::Ended));
                }
                Next::Event(end) => {
                    open.finish(end.and_then(Result::err), &mut piece);
                    return Some((Ok(piece.into()), State::Ended));
                }
                Next::Silence => {
                    open.keep_alive.as_mut().reset(tokio::time::Instant::now() + KEEP_ALIVE);
                    if open.last_event.elapsed() >= KEEP_ALIVE {
                        return Some((Ok(Bytes::from_static(b": keep-alive\n\n")), State::Open(open)));
                    }
                }
                Next::Cut => {
                    let failure =
                        Failure::new(FailureKind::ShuttingDown, "the gateway was stopped before the answer was whole");
                    open.finish(Some(failure), &mut piece);
                    return Some((Ok(piece.into()), State::Ended));
                }
            }
        }
    })
}

impl Open {
    async fn next(&mut self) -> Next {
        if let Some(first) = self.first.take() {
            return Next::Event(Some(Ok(first)));
        }
        tokio::select! {
            biased;
            event = self.relay.events.next() => Next::Event(event),
            () = &mut self.cut => Next::Cut,
            () = &mut self.keep_alive => Next::Silence,
        }
    }

    fn take(&mut self, event: &Event, piece: &mut Vec<u8>) {
        let now = Instant::now();
        self.relay.times.observe(now - self.last_event);
        self.last_event = now;
        self.relay.chunks.write(event, piece);
    }

    /// Takes what is ready already. `Some` when the stream ended with it: with a failure, or well.
    #[expect(clippy::option_option, reason = "whether it ended, and whether that was a failure, are two questions")]
    fn take_ready(&mut self, piece: &mut Vec<u8>) -> Option<Option<Failure>> {
        while piece.len() < PIECE_BYTES {
            match self.relay.events.next().now_or_never()? {
                Some(Ok(event)) => self.take(&event, piece),
                Some(Err(failure)) => return Some(Some(failure)),
                None => return Some(None),
            }
        }
        None
    }

    /// Writes the end of the stream and closes the account.
    fn finish(self: Box<Self>, failure: Option<Failure>, piece: &mut Vec<u8>) {
        let Relay { mut chunks, account, .. } = self.relay;
        match failure {
            None => {
                let (usage, cost) = account.bill();
                let backend = account.whereabouts().2.map(ToString::to_string);
                let about =
                    json!({"backend": backend, "cost_usd": cost.to_string(), "usage_estimated": usage.estimated});
                chunks.end(&usage, about, piece);
                account.complete();
            }
            Some(failure) => {
                piece.extend_from_slice(&error_event(&Refusal::from(&failure).to_json()));
                account.break_off(failure.kind);
            }
        }
    }
}
