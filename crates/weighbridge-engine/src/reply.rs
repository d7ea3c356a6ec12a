//! The way back: events of one request, from its sequences to whoever reads them.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use futures_core::Stream;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use weighbridge_backend::{Event, Failure, FinishReason, Meter};

use crate::life::Life;

type Item = Result<Event, Failure>;

/// Where the sequences of one request publish. They share it.
///
/// The queue has no bound of its own, so that a slow reader never holds up the engine: what it can hold is
/// bounded by the tokens that the request's answers may have.
#[derive(Debug)]
pub(crate) struct Reply {
    events: UnboundedSender<Item>,
    meter: Meter,
    /// Answers not finished.
    open: AtomicUsize,
    failed: AtomicBool,
}

/// The reading end: ends after the usage or a failure, and fails where the engine falls silent.
pub(crate) struct ReplyEvents {
    events: UnboundedReceiver<Item>,
    life: Arc<Life>,
    over: bool,
}

impl Reply {
    /// The two ends for a request with so many answers.
    pub(crate) fn new(answers: usize, meter: Meter, life: Arc<Life>) -> (Arc<Self>, ReplyEvents) {
        let (sender, receiver) = unbounded_channel();
        let reply = Self { events: sender, meter, open: AtomicUsize::new(answers), failed: AtomicBool::new(false) };
        (Arc::new(reply), ReplyEvents { events: receiver, life, over: false })
    }

    /// What the request has used.
    pub(crate) fn meter(&self) -> &Meter {
        &self.meter
    }

    /// Publishes an event. Whether somebody still reads is asked with [`Reply::is_over`], between steps.
    pub(crate) fn send(&self, event: Event) {
        self.meter.publish();
        _ = self.events.send(Ok(event));
    }

    /// An answer is complete; after the last of them comes the usage.
    pub(crate) fn finish(&self, choice: u32, reason: FinishReason, matched: Option<Arc<str>>) {
        self.send(Event::Finish { choice, reason, matched });
        if self.open.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.send(Event::Usage(self.meter.usage()));
        }
    }

    /// The request has failed, and with it all its answers.
    pub(crate) fn fail(&self, failure: Failure) {
        if !self.failed.swap(true, Ordering::AcqRel) {
            _ = self.events.send(Err(failure));
        }
    }

    /// Whether nothing more is wanted: the reader has gone, or the request has failed.
    pub(crate) fn is_over(&self) -> bool {
        self.events.is_closed() || self.failed.load(Ordering::Acquire)
    }
}

impl Stream for ReplyEvents {
    type Item = Item;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Item>> {
        if self.over {
            return Poll::Ready(None);
        }
        let item = ready!(self.events.poll_recv(context)).unwrap_or_else(|| Err(self.life.failure()));
        self.over = matches!(item, Err(_) | Ok(Event::Usage(_)));
        Poll::Ready(Some(item))
    }
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt;
    use weighbridge_backend::{FailureKind, Usage};

    use super::*;

    fn pair(answers: usize) -> (Arc<Reply>, ReplyEvents) {
        Reply::new(answers, Meter::default(), Arc::default())
    }

    fn text(choice: u32) -> Event {
        Event::Text { choice, text: "x".into(), logprobs: None }
    }

    fn finish(choice: u32) -> Event {
        Event::Finish { choice, reason: FinishReason::Stop, matched: None }
    }

    #[tokio::test]
    async fn usage_comes_once_and_last() {
        let (reply, events) = pair(2);
        reply.send(text(0));
        reply.finish(1, FinishReason::Stop, None);
        reply.meter().add_completion(3);
        reply.finish(0, FinishReason::Stop, None);
        let usage = Usage { completion_tokens: 3, ..Usage::default() };
        let expected = [text(0), finish(1), finish(0), Event::Usage(usage)].map(Ok);
        assert_eq!(events.collect::<Vec<_>>().await, expected);
    }

    #[tokio::test]
    async fn a_failure_is_told_once_and_ends_it() {
        let (reply, events) = pair(2);
        reply.fail(Failure::new(FailureKind::Internal, "first"));
        reply.fail(Failure::new(FailureKind::Internal, "second"));
        assert!(reply.is_over());
        assert_eq!(events.collect::<Vec<_>>().await, [Err(Failure::new(FailureKind::Internal, "first"))]);
    }

    #[tokio::test]
    async fn silence_is_a_failure() {
        let (reply, events) = pair(1);
        reply.send(text(0));
        drop(reply);
        let items = events.collect::<Vec<_>>().await;
        assert_eq!(items.len(), 2);
        assert!(matches!(&items[1], Err(failure) if failure.kind == FailureKind::Internal));
    }

    #[test]
    fn a_reader_that_goes_is_noticed() {
        let (reply, events) = pair(1);
        assert!(!reply.is_over());
        drop(events);
        assert!(reply.is_over());
    }
}
