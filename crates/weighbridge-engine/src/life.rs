//! Whether an engine lives, as seen from outside its thread.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use weighbridge_backend::{Failure, FailureKind, Health};

/// The state of one engine. It starts alive, and never comes back.
#[derive(Debug, Default)]
pub(crate) struct Life(AtomicU8);

const RUNNING: u8 = 0;
const STOPPING: u8 = 1;
const DIED: u8 = 2;

impl Life {
    /// Asks the loop to end within one share of a step. It may sleep: wake it with a message.
    pub(crate) fn stop(&self) {
        // One that has died stays dead, so that the reason is told as it was.
        _ = self.0.compare_exchange(RUNNING, STOPPING, Ordering::AcqRel, Ordering::Acquire);
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.0.load(Ordering::Acquire) == STOPPING
    }

    pub(crate) fn health(&self) -> Health {
        match self.0.load(Ordering::Acquire) {
            RUNNING => Health::Ready,
            STOPPING => Health::Out("the model is stopped".into()),
            _ => Health::Out("the engine of the model has died; its log says why".into()),
        }
    }

    /// What an answer fails with that can never be completed.
    pub(crate) fn failure(&self) -> Failure {
        if self.is_stopping() {
            return shutting_down();
        }
        Failure::new(FailureKind::Internal, "the engine of the model has died; its log says why")
    }
}

/// Held by the thread: notes when it ends by a panic.
pub(crate) struct EndOfLife(pub(crate) Arc<Life>);

impl Drop for EndOfLife {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.0.store(DIED, Ordering::Release);
            tracing::error!("the engine has died");
        }
    }
}

/// What an answer fails with that is cut by a stop.
pub(crate) fn shutting_down() -> Failure {
    Failure::new(FailureKind::ShuttingDown, "the model is being stopped")
}
