//! Keeping a response, where that is wanted and allowed.

use std::sync::Arc;
use std::time::SystemTime;

use weighbridge_backend::DataClass;
use weighbridge_ledger::{Ledger, StoredResponse};

use crate::background::Job;
use crate::respond::Refusal;
use crate::wire::{Finished, Restated, WireError, restated};

/// The most bytes of a response, with what came in, that is kept.
const MAX_KEPT_BYTES: usize = 32 << 20;

pub(super) struct Keeper {
    pub(super) ledger: Ledger,
    pub(super) caller: Option<String>,
    /// As the caller says.
    pub(super) wanted: bool,
    /// As the operator says.
    pub(super) allowed: bool,
    pub(super) class: DataClass,
    pub(super) previous: Option<String>,
    pub(super) input: String,
    /// One that is made in the background is kept already, and again as it ends.
    pub(super) job: Option<Arc<Job>>,
}

impl Keeper {
    /// The most bytes that the response may have to be kept; `None` where it is not to be. What is restricted is written
    /// to no disk, whatever anybody says.
    pub(super) fn room(&self) -> Option<usize> {
        let room = MAX_KEPT_BYTES.checked_sub(self.input.len())?;
        (self.wanted && self.allowed && self.class < DataClass::Restricted).then_some(room)
    }

    /// The same for one that is made in the background.
    ///
    /// # Errors
    /// When it is not to be kept, and why.
    pub(super) fn room_in_background(&self) -> Result<usize, Refusal> {
        self.room().ok_or_else(|| {
            let why = if !self.allowed {
                "this gateway keeps none ([responses] store)"
            } else if self.class >= DataClass::Restricted {
                "what is restricted is never kept"
            } else if !self.wanted {
                "what it goes on from is not kept"
            } else {
                "what came in has more bytes than are kept"
            };
            let message = format!(
                "Unsupported value: 'background' cannot be true, for a response in the background is kept, and {why}. Send the same without it."
            );
            WireError::at("background", "unsupported_value", message).into()
        })
    }

    /// What is kept of a response with this id and this object, JSON. What came in goes with it.
    pub(super) fn stored(&mut self, id: String, response: String) -> StoredResponse {
        StoredResponse {
            id,
            caller: self.caller.clone(),
            class: self.class,
            created_at: SystemTime::now(),
            previous: self.previous.clone(),
            response,
            input: std::mem::take(&mut self.input),
        }
    }

    pub(super) fn keep(&mut self, finished: &Finished) {
        if let Some(job) = &self.job {
            job.settle(|queued| match finished.stored {
                true => finished.text.clone(),
                false => restated(queued, &Restated::Failed("The response has more bytes than are kept, and is lost.")),
            });
        } else if finished.stored {
            // A ledger that cannot take it says so in the log; the answer has gone out.
            let stored = self.stored(finished.id.clone(), finished.text.clone());
            self.ledger.keep(stored);
        }
    }
}
