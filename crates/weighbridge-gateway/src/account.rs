//! The account of one request: opened when it is admitted, closed however it ends, and then a receipt in
//! the ledger, a count in the metrics and a line in the log. Dropping an open account says that the client
//! went away: that is what dropping a request's future or body means.

mod beside;

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tracing::info;
use weighbridge_backend::{
    AttemptRecord, BackendId, DataClass, FailureKind, Meter, NanoUsd, Outcome, Price, Receipt, Usage,
};
use weighbridge_ledger::Ledger;

pub(crate) use self::beside::Beside;
use self::beside::Dropped;
use crate::admission::Admitted;
use crate::metrics::SharedMetrics;
use crate::respond::Refusal;
use crate::surface::Bill;

/// What nginx writes when the client went away before any status was sent.
const CLIENT_CLOSED: u16 = 499;

/// Where receipts go.
#[derive(Clone)]
pub(crate) struct Books {
    pub(crate) ledger: Ledger,
    pub(crate) metrics: SharedMetrics,
}

/// An open account.
pub(crate) struct Account {
    receipt: Receipt,
    started: Instant,
    meter: Option<Meter>,
    price: Price,
    attempt_started: Instant,
    beside: Beside,
    books: Books,
    _admitted: Option<Admitted>,
    closed: bool,
    /// Told when somebody begins to answer.
    begun: Option<Box<dyn Fn() + Send + Sync>>,
}

impl Account {
    pub(crate) fn open(
        request_id: Arc<str>,
        caller: Option<Arc<str>>,
        books: Books,
        admitted: Option<Admitted>,
    ) -> Self {
        let receipt = Receipt {
            request_id,
            received_at: SystemTime::now(),
            caller,
            model: String::new(),
            route: None,
            class: None,
            backend: None,
            attempts: Vec::new(),
            stream: false,
            outcome: Outcome::Cancelled,
            status: CLIENT_CLOSED,
            usage: Usage::default(),
            cost: NanoUsd::ZERO,
            time_to_first_token: None,
            duration: Duration::ZERO,
        };
        let (started, price) = (Instant::now(), Price::default());
        Self {
            receipt,
            started,
            meter: None,
            price,
            attempt_started: started,
            beside: Beside::default(),
            books,
            _admitted: admitted,
            closed: false,
            begun: None,
        }
    }

    /// Has `begun` told when somebody begins to answer.
    pub(crate) fn when_begun(&mut self, begun: impl Fn() + Send + Sync + 'static) {
        self.begun = Some(Box::new(begun));
    }

    pub(crate) fn request_id(&self) -> &Arc<str> {
        &self.receipt.request_id
    }

    pub(crate) fn asked_for(&mut self, model: &str, stream: bool) {
        // A name comes from outside; the ledger keeps what a person can read.
        self.receipt.model = model.chars().take(256).collect();
        self.receipt.stream = stream;
    }

    pub(crate) fn routed(&mut self, route: &Arc<str>, class: DataClass) {
        self.receipt.route = Some(Arc::clone(route));
        self.receipt.class = Some(class);
    }

    /// The route, class and backend so far, for the headers of any answer.
    pub(crate) fn whereabouts(&self) -> (Option<&str>, Option<DataClass>, Option<&BackendId>) {
        (self.receipt.route.as_deref(), self.receipt.class, self.receipt.backend.as_ref())
    }

    /// An attempt begins.
    pub(crate) fn attempting(&mut self, backend: &BackendId) {
        self.attempt_started = Instant::now();
        self.receipt.backend = Some(backend.clone());
        self.receipt.attempts.push(AttemptRecord { backend: backend.clone(), failure: None, duration: Duration::ZERO });
    }

    /// The backend has accepted the attempt: from here on its meter counts.
    pub(crate) fn metered(&mut self, meter: Meter, price: Price) {
        (self.meter, self.price) = (Some(meter), price);
    }

    /// The attempt under way failed; nothing of it reached the client.
    pub(crate) fn attempt_failed(&mut self, failure: FailureKind) {
        self.meter = None;
        self.close_attempt(Some(failure));
    }

    /// The attempt under way broke off after it had begun; what it used counts.
    pub(crate) fn attempt_broke(&mut self, failure: FailureKind) {
        self.close_attempt(Some(failure));
    }

    /// The first event came. Returns how long the attempt took to it.
    pub(crate) fn first_event(&mut self) -> Duration {
        self.receipt.time_to_first_token = Some(self.started.elapsed());
        self.receipt.status = 200;
        if let Some(begun) = &self.begun {
            begun();
        }
        self.attempt_started.elapsed()
    }

    /// An event is on its way to the client: how long the oldest that waited had done so, where its backend says.
    pub(crate) fn event_waited(&self) -> Option<Duration> {
        self.meter.as_ref().and_then(Meter::read)
    }

    /// What has been used so far.
    pub(crate) fn used(&self) -> Usage {
        self.meter.as_ref().map(Meter::usage).unwrap_or_default()
    }

    /// The same, and what that costs.
    pub(crate) fn bill(&self) -> Bill {
        let usage = self.used();
        Bill { usage, cost: self.price.of(&usage) }
    }

    /// What it shares with the requests that came with it.
    pub(crate) fn beside(&self) -> Beside {
        self.beside.clone()
    }

    /// The request came with another, which these belong to.
    pub(crate) fn joins(&mut self, beside: Beside) {
        self.beside = beside;
    }

    /// Its answer has begun, beside that of the first request.
    pub(crate) fn counts_beside(&self) {
        if let Some(meter) = &self.meter {
            self.beside.add(meter.clone(), self.price);
        }
    }

    /// It has failed, and with it those that came with it: their caller is told of this one.
    pub(crate) fn fails_others(&self) {
        self.beside.fail();
    }

    /// The same, of this request and of those that came with it: what the client is told.
    pub(crate) fn bill_of_all(&self) -> Bill {
        let mut bill = self.bill();
        self.beside.add_to(&mut bill);
        bill
    }

    /// This status went out, before any event.
    pub(crate) fn has_status(&mut self, status: u16) {
        self.receipt.status = status;
    }

    /// The answer was sent whole.
    pub(crate) fn complete(mut self) {
        self.receipt.status = 200;
        self.close(Outcome::Completed, None);
    }

    /// The answer is whole, and sent with those of the requests that came with it.
    pub(crate) fn complete_with_others(mut self) {
        self.receipt.status = 200;
        self.wait_for_others(Outcome::Completed);
    }

    /// It was refused before any attempt, every attempt failed, or the gateway was stopped during one: this
    /// error went out with this status, and nothing else.
    pub(crate) fn refuse(mut self, refusal: &Refusal, status: u16) {
        self.receipt.status = status;
        let outcome = match self.receipt.attempts.last() {
            None => Outcome::Refused,
            Some(_) if refusal.is_stop() => return self.break_off(FailureKind::ShuttingDown),
            Some(_) => Outcome::Failed,
        };
        // Each attempt was closed when it failed.
        self.close(outcome, self.last_failure());
    }

    /// The answer broke off after the client had seen some of it.
    pub(crate) fn break_off(mut self, failure: FailureKind) {
        let stopped = failure == FailureKind::ShuttingDown;
        let outcome = if stopped { Outcome::Stopped } else { Outcome::Failed };
        // What another request failed by is none of this one's attempt.
        let own = (stopped || !self.beside.has_ended()).then_some(failure);
        self.close(outcome, own);
    }

    /// By what the last attempt failed, where it did.
    fn last_failure(&self) -> Option<FailureKind> {
        self.receipt.attempts.last().and_then(|attempt| attempt.failure)
    }

    fn close_attempt(&mut self, failure: Option<FailureKind>) {
        let duration = self.attempt_started.elapsed();
        if let Some(attempt) = self.receipt.attempts.last_mut() {
            (attempt.failure, attempt.duration) = (failure, duration);
        }
    }

    fn close(&mut self, outcome: Outcome, failure: Option<FailureKind>) {
        if std::mem::replace(&mut self.closed, true) {
            return;
        }
        self.fill(outcome, failure);
        self.books.enter(&self.receipt);
        for receipt in self.beside.end(outcome, self.receipt.status) {
            self.books.enter(&receipt);
        }
    }

    /// Closes it, but for what its caller got, which is known with the end of the others.
    fn wait_for_others(&mut self, outcome: Outcome) {
        self.closed = true;
        self.fill(outcome, self.last_failure());
        self.beside.wait(self.receipt.clone());
    }

    fn fill(&mut self, outcome: Outcome, failure: Option<FailureKind>) {
        self.close_attempt(failure);
        let Bill { usage, cost } = self.bill();
        let receipt = &mut self.receipt;
        (receipt.outcome, receipt.usage, receipt.cost, receipt.duration) =
            (outcome, usage, cost, self.started.elapsed());
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        if self.closed {
            return;
        }
        match self.beside.dropped() {
            Dropped::Cancelled => self.close(Outcome::Cancelled, self.last_failure()),
            Dropped::Waits => self.wait_for_others(Outcome::Failed),
            Dropped::Ended(outcome, status) => {
                self.receipt.status = status;
                self.close(outcome, self.last_failure());
            }
        }
    }
}

impl Books {
    /// Writes a receipt wherever one goes.
    fn enter(&self, receipt: &Receipt) {
        log(receipt);
        self.metrics.count(receipt);
        self.ledger.record(receipt.clone());
    }
}

/// One line a request, without contents.
fn log(receipt: &Receipt) {
    info!(
        request = &*receipt.request_id,
        caller = receipt.caller.as_deref().unwrap_or("-"),
        route = receipt.route.as_deref().unwrap_or("-"),
        class = receipt.class.map_or("-", DataClass::as_str),
        backend = receipt.backend.as_ref().map_or("-", BackendId::as_str),
        attempts = receipt.attempts.len(),
        outcome = receipt.outcome.as_str(),
        failure = receipt.attempts.last().and_then(|attempt| attempt.failure).map_or("-", FailureKind::as_str),
        status = receipt.status,
        prompt_tokens = receipt.usage.prompt_tokens,
        completion_tokens = receipt.usage.completion_tokens,
        cost_usd = %receipt.cost,
        first_token_ms = receipt.time_to_first_token.map_or(0, |elapsed| elapsed.as_millis() as u64),
        duration_ms = receipt.duration.as_millis() as u64,
        "request"
    );
}
