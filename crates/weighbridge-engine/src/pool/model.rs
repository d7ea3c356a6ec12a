//! A model of a pool as the gateway sees it: always there, its weights on demand.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_core::Stream;
use weighbridge_backend::{
    Answer, Answering, Backend, Computation, Event, Events, Failure, Forecast, Health, Load, Offer, PromptCount,
    Request, Standing, Texts,
};
use weighbridge_models::Tokenizer;

use super::keeper::{Keeper, Lease};
use super::residents::ModelIndex;
use crate::prompt::Prompter;

/// A local model that is loaded when it is asked.
///
/// Prompts are counted without its weights. An answer loads them first where they are not there, and waits for that up
/// to the pool's bound; while it is under way the model stays.
pub struct PooledModel {
    keeper: Arc<Keeper>,
    index: ModelIndex,
    offer: Offer,
    prompter: Prompter,
}

impl PooledModel {
    pub(super) fn new(keeper: Arc<Keeper>, index: ModelIndex, offer: Offer, prompter: Prompter) -> Self {
        Self { keeper, index, offer, prompter }
    }

    /// The model's tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.prompter.tokenizer
    }
}

impl Backend for PooledModel {
    fn offer(&self) -> &Offer {
        &self.offer
    }

    fn health(&self) -> Health {
        self.keeper.health(self.index)
    }

    fn load(&self) -> Load {
        self.keeper.load(self.index)
    }

    fn count_prompt(&self, request: &Request) -> Result<PromptCount, Failure> {
        Ok(PromptCount::Exact(self.prompter.prompt(request)?.len() as u64))
    }

    fn forecast(&self, request: &Request, standing: &Standing) -> Result<Forecast, Failure> {
        match self.keeper.loaded(self.index) {
            Some(local) => local.forecast(request, standing),
            None => Ok(self.keeper.foretell(self.index, self.count_prompt(request)?)),
        }
    }

    fn texts(&self) -> Option<&dyn Texts> {
        Some(&self.prompter)
    }

    fn computation(&self) -> Option<Computation> {
        self.keeper.loaded(self.index)?.computation()
    }

    fn answer(&self, request: Arc<Request>) -> Answer {
        let (keeper, index) = (Arc::clone(&self.keeper), self.index);
        Box::pin(async move {
            let lease = keeper.lease(index, false, request.standing.deadline).await?;
            let Answering { events, meter } = lease.local.answer(request).await?;
            Ok(Answering { events: Box::pin(Held { events, _lease: lease }), meter })
        })
    }
}

/// Events whose model stays for as long as somebody may read them.
struct Held {
    events: Events,
    _lease: Lease,
}

impl Stream for Held {
    type Item = Result<Event, Failure>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.events.as_mut().poll_next(context)
    }
}
