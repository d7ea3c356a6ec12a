//! A stream out: events in, server-sent events to the client, until the answer ends, breaks off, or the
//! client goes away.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::{FutureExt, Stream, StreamExt, stream};
use tokio::time::{Sleep, sleep};
use weighbridge_backend::{Event, Events, Failure, FailureKind, Request};

use crate::account::Account;
use crate::admission::CutSignal;
use crate::dispatch::Dispatched;
use crate::gateway::Core;
use crate::inference::Attempts;
use crate::metrics::TokenTimes;
use crate::respond::Refusal;
use crate::surface::{Head, Writer};

/// Events that are ready together go out in one piece up to about this size.
const PIECE_BYTES: usize = 8 * 1024;

/// What a stream is made with.
pub(crate) struct Relay {
    pub(crate) gateway: Arc<Core>,
    pub(crate) request: Arc<Request>,
    pub(crate) writer: Box<dyn Writer>,
}

/// How far the answer is when the stream begins.
pub(crate) enum Begun {
    /// It has its first event.
    Now(Box<(Account, Dispatched)>),
    /// Nobody has answered yet.
    Not(Waiting),
}

/// Attempts under way, none of which has begun to answer.
pub(crate) struct Waiting {
    attempts: Attempts,
}

impl Waiting {
    pub(crate) fn new(attempts: Attempts) -> Self {
        Self { attempts }
    }
}

enum State {
    Waiting(Box<(Relay, Waiting)>),
    Open(Box<Open>),
    Ended,
}

/// An answer under way.
struct Open {
    writer: Box<dyn Writer>,
    account: Account,
    times: TokenTimes,
    /// How the stream opens, until it has.
    opening: Vec<u8>,
    /// Events that had come when it was opened.
    first: std::vec::IntoIter<Event>,
    events: Events,
    last_event: Instant,
    longest_silence: Duration,
    silence: Pin<Box<Sleep>>,
    cut: CutSignal,
}

enum Next {
    Event(Option<Result<Event, Failure>>),
    Silence,
    Cut,
}

/// The body of a streamed answer.
pub(crate) fn relay(relay: Relay, begun: Begun) -> impl Stream<Item = Result<Bytes, Infallible>> + Send {
    let (first, state) = match begun {
        Begun::Now(begun) => {
            let (account, dispatched) = *begun;
            (None, State::Open(Box::new(Open::new(relay, account, dispatched))))
        }
        // The status has gone out without an event: a comment follows it at once.
        Begun::Not(waiting) => (Some(relay.writer.keep_alive()), State::Waiting(Box::new((relay, waiting)))),
    };
    let rest = stream::unfold(state, |state| async move {
        match state {
            State::Waiting(waiting) => wait(waiting).await,
            State::Open(open) => pass_on(open).await,
            State::Ended => None,
        }
    });
    stream::iter(first).chain(rest).map(Ok)
}

/// The next piece of a stream, and what the stream is then.
type Step = Option<(Bytes, State)>;

async fn wait(mut waiting: Box<(Relay, Waiting)>) -> Step {
    let longest_silence = waiting.0.gateway.limits.keep_alive;
    let (mut account, dispatched) = tokio::select! {
        dispatched = &mut waiting.1.attempts => dispatched,
        () = sleep(longest_silence) => {
            let comment = waiting.0.writer.keep_alive();
            return Some((comment, State::Waiting(waiting)));
        }
    };
    let (mut relay, _) = *waiting;
    match dispatched {
        Ok(dispatched) => pass_on(Box::new(Open::new(relay, account, dispatched))).await,
        Err(failure) => {
            let mut piece = Vec::new();
            relay.writer.fail(&Refusal::from(&failure), &mut piece);
            account.has_status(200);
            account.break_off(failure.kind);
            Some((piece.into(), State::Ended))
        }
    }
}

async fn pass_on(mut open: Box<Open>) -> Step {
    let mut piece = std::mem::take(&mut open.opening);
    piece.reserve(512);
    loop {
        match open.next().await {
            Next::Event(Some(Ok(event))) => {
                open.take(&event, &mut piece);
                let Some(end) = open.take_ready(&mut piece) else {
                    return Some((piece.into(), State::Open(open)));
                };
                open.finish(end, &mut piece);
                return Some((piece.into(), State::Ended));
            }
            Next::Event(end) => {
                open.finish(end.and_then(Result::err), &mut piece);
                return Some((piece.into(), State::Ended));
            }
            Next::Silence => {
                let longest = open.longest_silence;
                open.silence.as_mut().reset(tokio::time::Instant::now() + longest);
                if open.last_event.elapsed() >= longest {
                    piece.extend_from_slice(&open.writer.keep_alive());
                    return Some((piece.into(), State::Open(open)));
                }
            }
            Next::Cut => {
                let failure =
                    Failure::new(FailureKind::ShuttingDown, "the gateway was stopped before the answer was whole");
                open.finish(Some(failure), &mut piece);
                return Some((piece.into(), State::Ended));
            }
        }
    }
}

impl Open {
    fn new(relay: Relay, account: Account, dispatched: Dispatched) -> Self {
        let Relay { gateway, request, mut writer } = relay;
        let Dispatched { choice, begun, rest } = dispatched;
        let mut opening = Vec::with_capacity(512);
        writer.open(&Head::new(&gateway, &request, &choice, account.bill().usage), &mut opening);
        Self {
            writer,
            account,
            times: gateway.books.metrics.token_times(choice.backend.as_str()),
            opening,
            first: begun.into_iter(),
            events: rest,
            last_event: Instant::now(),
            longest_silence: gateway.limits.keep_alive,
            silence: Box::pin(sleep(gateway.limits.keep_alive)),
            cut: gateway.admission.cut_signal(),
        }
    }

    async fn next(&mut self) -> Next {
        if let Some(first) = self.first.next() {
            return Next::Event(Some(Ok(first)));
        }
        tokio::select! {
            biased;
            event = self.events.next() => Next::Event(event),
            () = &mut self.cut => Next::Cut,
            () = &mut self.silence => Next::Silence,
        }
    }

    fn take(&mut self, event: &Event, piece: &mut Vec<u8>) {
        let now = Instant::now();
        self.times.observe(now - self.last_event);
        if let Some(waited) = self.account.event_waited() {
            self.times.waited(waited);
        }
        self.last_event = now;
        self.writer.write(event, &self.account.used(), piece);
    }

    /// Takes what is ready already. `Some` when the stream ended with it: with a failure, or well.
    #[expect(clippy::option_option, reason = "whether it ended, and whether that was a failure, are two questions")]
    fn take_ready(&mut self, piece: &mut Vec<u8>) -> Option<Option<Failure>> {
        while piece.len() < PIECE_BYTES {
            let next = match self.first.next() {
                Some(event) => Some(Ok(event)),
                None => self.events.next().now_or_never()?,
            };
            match next {
                Some(Ok(event)) => self.take(&event, piece),
                Some(Err(failure)) => return Some(Some(failure)),
                None => return Some(None),
            }
        }
        None
    }

    /// Writes the end of the stream and closes the account.
    fn finish(self: Box<Self>, failure: Option<Failure>, piece: &mut Vec<u8>) {
        let Self { mut writer, account, .. } = *self;
        match failure {
            None => {
                writer.end(&account.bill_of_all(), piece);
                account.complete();
            }
            Some(failure) => {
                writer.fail(&Refusal::from(&failure), piece);
                account.break_off(failure.kind);
            }
        }
    }
}
