//! A body sent step by step, that notices when its reader goes away.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::body::Body;
use futures_util::stream;

/// One step of a body.
pub(super) enum Step {
    /// Sends this.
    Send(String),
    /// Waits.
    Pause(Duration),
    /// Waits for good.
    Stall,
    /// Breaks the connection.
    Break,
}

/// Sets a flag when it is dropped before it was told that all is well.
pub(super) struct HangUp {
    flag: Arc<AtomicBool>,
    whole: bool,
}

impl HangUp {
    pub(super) fn watch(flag: Arc<AtomicBool>) -> Self {
        Self { flag, whole: false }
    }

    fn all_is_well(mut self) {
        self.whole = true;
    }
}

impl Drop for HangUp {
    fn drop(&mut self) {
        if !self.whole {
            self.flag.store(true, Ordering::SeqCst);
        }
    }
}

/// A body that takes these steps.
pub(super) fn body(steps: Vec<Step>, hung_up: Arc<AtomicBool>) -> Body {
    let state = (steps.into_iter(), HangUp::watch(hung_up));
    Body::from_stream(stream::unfold(state, |(mut steps, mut hang_up)| async move {
        loop {
            match steps.next() {
                Some(Step::Send(text)) => return Some((Ok(text), (steps, hang_up))),
                Some(Step::Pause(pause)) => tokio::time::sleep(pause).await,
                Some(Step::Stall) => std::future::pending().await,
                Some(Step::Break) => {
                    hang_up.whole = true;
                    return Some((Err(io::Error::other("broken by script")), (steps, hang_up)));
                }
                None => {
                    hang_up.all_is_well();
                    return None;
                }
            }
        }
    }))
}
