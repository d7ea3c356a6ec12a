//! Requests that came as one and are answered as one: what they use together, and how the others end where one fails.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use weighbridge_backend::{Meter, Outcome, Price, Receipt};

use crate::surface::Bill;

/// What the accounts of such requests share.
#[derive(Clone, Default)]
pub(crate) struct Beside(Arc<Mutex<Group>>);

#[derive(Default)]
struct Group {
    /// Of the answers beside the first, once they have begun.
    meters: Vec<(Meter, Price)>,
    /// One has failed, and it is not known yet what its caller is told.
    failing: bool,
    /// How all of it ended, where that was not well: the outcome, and the status that the caller saw.
    end: Option<(Outcome, u16)>,
    /// Receipts of requests that are over, and wait for that.
    waiting: Vec<Receipt>,
}

/// What dropping an account means.
pub(super) enum Dropped {
    /// The client went away.
    Cancelled,
    /// Another request has failed, and its caller is about to be told.
    Waits,
    /// All of it has ended so.
    Ended(Outcome, u16),
}

impl Beside {
    /// Counts an answer that has begun.
    pub(super) fn add(&self, meter: Meter, price: Price) {
        self.group().meters.push((meter, price));
    }

    /// Adds to a bill what the answers beside the first have used.
    pub(super) fn add_to(&self, bill: &mut Bill) {
        for (meter, price) in &self.group().meters {
            let usage = meter.usage();
            bill.cost = bill.cost + price.of(&usage);
            bill.usage.prompt_tokens += usage.prompt_tokens;
            bill.usage.cached_tokens += usage.cached_tokens;
            bill.usage.completion_tokens += usage.completion_tokens;
            bill.usage.reasoning_tokens += usage.reasoning_tokens;
            bill.usage.estimated |= usage.estimated;
        }
    }

    /// One has failed: the others are dropped before its caller is told.
    pub(super) fn fail(&self) {
        self.group().failing = true;
    }

    /// Whether one has failed, and its account is closed.
    pub(super) fn has_ended(&self) -> bool {
        self.group().end.is_some()
    }

    pub(super) fn dropped(&self) -> Dropped {
        let group = self.group();
        match group.end {
            Some((outcome, status)) => Dropped::Ended(outcome, status),
            None if group.failing => Dropped::Waits,
            None => Dropped::Cancelled,
        }
    }

    /// Keeps the receipt of a request that is over until it is known what its caller got.
    pub(super) fn wait(&self, receipt: Receipt) {
        self.group().waiting.push(receipt);
    }

    /// One has ended in this way. Returns the receipts that waited for that: nobody got the answer to one of them unless
    /// it ended well.
    pub(super) fn end(&self, outcome: Outcome, status: u16) -> Vec<Receipt> {
        let mut group = self.group();
        if matches!(outcome, Outcome::Failed | Outcome::Stopped) {
            group.end = Some((outcome, status));
        }
        let mut waited = std::mem::take(&mut group.waiting);
        if outcome != Outcome::Completed {
            waited.iter_mut().for_each(|receipt| (receipt.outcome, receipt.status) = (outcome, status));
        }
        waited
    }

    fn group(&self) -> MutexGuard<'_, Group> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
