//! The making of an answer in the background.

use std::pin::pin;
use std::sync::Arc;

use futures_util::StreamExt;

use super::{Background, Job};
use crate::inference::Attempts;
use crate::relay::{Begun, Relay, Waiting, relay};
use crate::respond::Refusal;
use crate::surface::Head;
use crate::wire::Restated;

/// A job that was taken up. However it ends, when this is dropped it has ended for those who wait for it too.
pub(crate) struct Running {
    job: Arc<Job>,
    background: Arc<Background>,
}

impl Running {
    pub(super) fn new(job: Arc<Job>, background: Arc<Background>) -> Self {
        Self { job, background }
    }

    pub(crate) fn job(&self) -> &Arc<Job> {
        &self.job
    }

    /// Makes the answer, in a task of its own. A stop of the gateway waits for it: its account holds a place inside.
    pub(crate) fn start(self, attempts: Attempts, relay: Relay) {
        tokio::spawn(async move {
            let mut answer = Box::pin(answer(Arc::clone(&self.job), attempts, relay));
            tokio::select! {
                () = &mut answer => {}
                () = self.job.cancelled() => {
                    self.job.break_off(&Restated::Cancelled, "response_cancelled", "The response was cancelled.");
                }
            }
            // First what is under way, then the word that nothing is.
            drop(answer);
            drop(self);
        });
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It has been settled, unless making it failed in itself.
        let message = "The gateway failed in itself; its log says why.";
        self.job.break_off(&Restated::Failed(message), "server_error", message);
        self.background.let_go(&self.job);
        self.job.end();
    }
}

/// The writer keeps the response as it ends; what it writes on the way is for who reads along.
async fn answer(job: Arc<Job>, attempts: Attempts, made: Relay) {
    if job.streams() {
        let mut pieces = pin!(relay(made, Begun::Not(Waiting::new(attempts))));
        while let Some(Ok(piece)) = pieces.next().await {
            job.push(&piece);
        }
        return;
    }
    let Relay { gateway, request, mut writer } = made;
    match attempts.await {
        (account, Ok(dispatched)) => {
            let bill = account.bill_of_all();
            let head = Head::new(&gateway, &request, &dispatched.choice, bill.usage);
            writer.whole(&head, dispatched.begun, &bill);
            account.complete();
        }
        (account, Err(failure)) => {
            writer.fail(&Refusal::from(&failure), &mut Vec::new());
            account.break_off(failure.kind);
        }
    }
}
