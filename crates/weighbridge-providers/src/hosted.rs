//! One model at a provider.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use weighbridge_backend::{Answer, Backend, Failure, Health, Load, Offer, PromptCount, Request};

use crate::client::{Account, Client};
use crate::{attempt, estimate};

/// A model at a provider that speaks OpenAI chat completions.
pub struct HostedModel {
    account: Arc<Account>,
    offer: Offer,
    upstream_model: Arc<str>,
    out: Option<String>,
    counts: Arc<Counts>,
}

impl HostedModel {
    /// The model that the provider knows as `upstream_model`. `out` is the reason why it cannot be used,
    /// where that is known from the start: `the key OPENAI_API_KEY is not set`.
    pub fn new(client: &Client, offer: Offer, upstream_model: String, out: Option<String>) -> Self {
        Self {
            account: Arc::clone(&client.0),
            offer,
            upstream_model: upstream_model.into(),
            out,
            counts: Arc::default(),
        }
    }
}

impl Backend for HostedModel {
    fn offer(&self) -> &Offer {
        &self.offer
    }

    /// Ready, unless it was out from the start: how the provider fares is seen by those who count failures.
    fn health(&self) -> Health {
        self.out.clone().map_or(Health::Ready, Health::Out)
    }

    fn load(&self) -> Load {
        Load {
            waiting: self.counts.waiting.load(Ordering::Relaxed),
            running: self.counts.running.load(Ordering::Relaxed),
        }
    }

    /// An estimate: a quarter of the bytes, and a few for each message.
    fn count_prompt(&self, request: &Request) -> Result<PromptCount, Failure> {
        Ok(PromptCount::Estimate(estimate::prompt_tokens(request)))
    }

    fn answer(&self, request: Arc<Request>) -> Answer {
        let account = Arc::clone(&self.account);
        let upstream_model = Arc::clone(&self.upstream_model);
        let counts = Arc::clone(&self.counts);
        Box::pin(async move { attempt::start(account, &upstream_model, &request, InFlight::begin(counts)).await })
    }
}

/// Attempts under way at one model.
#[derive(Default)]
struct Counts {
    waiting: AtomicUsize,
    running: AtomicUsize,
}

/// One attempt in the counts of its model, until it is dropped.
pub(crate) struct InFlight {
    counts: Arc<Counts>,
    accepted: bool,
}

impl InFlight {
    fn begin(counts: Arc<Counts>) -> Self {
        counts.waiting.fetch_add(1, Ordering::Relaxed);
        Self { counts, accepted: false }
    }

    /// Moves the attempt from those that wait to those that run.
    pub(crate) fn accepted(mut self) -> Self {
        self.counts.running.fetch_add(1, Ordering::Relaxed);
        self.counts.waiting.fetch_sub(1, Ordering::Relaxed);
        self.accepted = true;
        self
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let count = if self.accepted { &self.counts.running } else { &self.counts.waiting };
        count.fetch_sub(1, Ordering::Relaxed);
    }
}
