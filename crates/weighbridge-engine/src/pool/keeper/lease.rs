//! Models held by requests, and requests that wait for one.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::oneshot;
use weighbridge_backend::Failure;

use super::state::Verdict;
use super::{Keeper, words};
use crate::life::shutting_down;
use crate::local::LocalModel;
use crate::pool::residents::{Arrival, ModelIndex, Ticket};

/// A loaded model, held for one request: it is not unloaded meanwhile.
pub(in crate::pool) struct Lease {
    pub(super) keeper: Arc<Keeper>,
    pub(super) index: ModelIndex,
    pub(in crate::pool) local: Arc<LocalModel>,
}

impl Drop for Lease {
    fn drop(&mut self) {
        let index = self.index;
        self.keeper.turn(|state, now, actions| state.residents.released(index, now, actions));
    }
}

/// Withdraws a request that is dropped while it waits.
struct Waiting<'a> {
    keeper: &'a Arc<Keeper>,
    ticket: Ticket,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let ticket = self.ticket;
        self.keeper.turn(|state, now, actions| {
            if state.waiters.remove(&ticket).is_some() {
                state.residents.withdrawn(ticket, now, actions);
            }
        });
    }
}

impl Keeper {
    /// A model for a request, loaded first where it is not there. Dropping the future stops the waiting.
    pub(in crate::pool) async fn lease(
        self: &Arc<Self>,
        index: ModelIndex,
        insistent: bool,
        deadline: Option<Instant>,
    ) -> Result<Lease, Failure> {
        enum Now {
            There(Arc<LocalModel>),
            Waits(Ticket, oneshot::Receiver<Verdict>),
        }
        let now = self.turn(|state, now, actions| {
            if state.stopping {
                return Err(shutting_down());
            }
            state.tickets += 1;
            let ticket = Ticket(state.tickets);
            match state.residents.arrive((index, ticket), insistent, now, actions) {
                Arrival::Admitted => Ok(Now::There(state.local(index)?)),
                Arrival::Refused(why) => Err(state.failure(&self.pool, index, why, now)),
                Arrival::Waits => {
                    let (sender, receiver) = oneshot::channel();
                    state.waiters.insert(ticket, sender);
                    Ok(Now::Waits(ticket, receiver))
                }
            }
        });
        match now? {
            Now::There(local) => Ok(Lease { keeper: Arc::clone(self), index, local }),
            Now::Waits(ticket, verdict) => {
                let _waiting = Waiting { keeper: self, ticket };
                let verdict = match deadline {
                    Some(deadline) => {
                        let in_time = tokio::time::timeout_at(deadline.into(), verdict).await;
                        in_time.map_err(|_| words::out_of_time())?
                    }
                    None => verdict.await,
                };
                verdict.unwrap_or_else(|_| Err(shutting_down()))
            }
        }
    }
}
