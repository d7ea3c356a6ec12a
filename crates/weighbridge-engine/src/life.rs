//! Whether an engine lives, as seen from outside its thread.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use weighbridge_backend::{Failure, FailureKind, Health};

/// The state of one engine. It starts alive, and never comes back.
#[derive(Default)]
pub(crate) struct Life {
    state: AtomicU8,
    end: Mutex<End>,
}

/// Its death as somebody is to be told of it.
#[derive(Default)]
enum End {
    #[default]
    Ahead,
    Awaited(Box<dyn FnOnce() + Send>),
    /// The engine is gone, and its memory is free.
    Over,
}

const RUNNING: u8 = 0;
const STOPPING: u8 = 1;
const DIED: u8 = 2;

impl Life {
    /// Asks the loop to end within one share of a step. It may sleep: wake it with a message.
    pub(crate) fn stop(&self) {
        // One that has died stays dead, so that the reason is told as it was.
        _ = self.state.compare_exchange(RUNNING, STOPPING, Ordering::AcqRel, Ordering::Acquire);
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.state.load(Ordering::Acquire) == STOPPING
    }

    pub(crate) fn has_died(&self) -> bool {
        self.state.load(Ordering::Acquire) == DIED
    }

    /// Has somebody told when the engine has died and its memory is free: at once where that is so.
    pub(crate) fn when_over(&self, tell: impl FnOnce() + Send + 'static) {
        {
            let mut end = self.end.lock().unwrap_or_else(PoisonError::into_inner);
            if !matches!(*end, End::Over) {
                *end = End::Awaited(Box::new(tell));
                return;
            }
        }
        tell();
    }

    /// The engine has died and is gone.
    pub(crate) fn over(&self) {
        let end = std::mem::replace(&mut *self.end.lock().unwrap_or_else(PoisonError::into_inner), End::Over);
        if let End::Awaited(tell) = end {
            tell();
        }
    }

    pub(crate) fn health(&self) -> Health {
        match self.state.load(Ordering::Acquire) {
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
            self.0.state.store(DIED, Ordering::Release);
            tracing::error!("the engine has died");
        }
    }
}

/// What an answer fails with that is cut by a stop.
pub(crate) fn shutting_down() -> Failure {
    Failure::new(FailureKind::ShuttingDown, "the model is being stopped")
}
