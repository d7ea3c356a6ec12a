//! A local model without its weights: enough to plan with, as `explain` does, and to answer nothing.

use std::sync::Arc;

use weighbridge_backend::{Answer, Backend, Failure, FailureKind, Health, Load, Offer, PromptCount, Request, Texts};

use crate::local::front;
use crate::options::{LoadError, ModelOptions};
use crate::prompt::Prompter;

/// A model that is opened and not loaded. It offers and counts as [`LocalModel`](crate::LocalModel) does.
pub struct UnloadedModel {
    offer: Offer,
    prompter: Prompter,
}

impl UnloadedModel {
    /// Opens the tokenizer and the chat template.
    ///
    /// # Errors
    /// As [`LocalModel::load`](crate::LocalModel::load), but for the weights.
    pub fn open(options: &ModelOptions) -> Result<Self, LoadError> {
        let (offer, prompter) = front(options)?;
        Ok(Self { offer, prompter })
    }
}

impl Backend for UnloadedModel {
    fn offer(&self) -> &Offer {
        &self.offer
    }

    fn health(&self) -> Health {
        Health::Ready
    }

    fn load(&self) -> Load {
        Load::default()
    }

    fn count_prompt(&self, request: &Request) -> Result<PromptCount, Failure> {
        Ok(PromptCount::Exact(self.prompter.prompt(request)?.len() as u64))
    }

    fn texts(&self) -> Option<&dyn Texts> {
        Some(&self.prompter)
    }

    fn answer(&self, _: Arc<Request>) -> Answer {
        Box::pin(async {
            Err(Failure::new(FailureKind::Internal, "the model is not loaded: it can only be planned with"))
        })
    }
}
