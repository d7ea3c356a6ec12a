//! Masks of constrained answers, computed beside the step that computes their logits.
//!
//! The loop hands the matchers of a step to a thread of their own, computes the step, and takes them back with their
//! masks: it waits only where these take longer than the step does. The thread begins with the first constrained
//! answer.

use std::collections::HashMap;
use std::sync::mpsc::{Receiver, Sender, channel};

use weighbridge_dialogue::{GrammarError, Mask, Matcher};

use crate::scheduler::SequenceId;

/// The masks under way of one engine.
#[derive(Debug, Default)]
pub(crate) struct Masks {
    helper: Option<Helper>,
    /// Sent to the helper and not yet taken back.
    under_way: usize,
    /// Computed where there is no helper.
    done: Vec<(SequenceId, Masked)>,
}

/// A matcher with the mask of its next token.
#[derive(Debug)]
pub(crate) struct Masked {
    pub(crate) matcher: Box<Matcher>,
    pub(crate) mask: Result<Mask, GrammarError>,
}

#[derive(Debug)]
struct Helper {
    jobs: Sender<(SequenceId, Box<Matcher>)>,
    done: Receiver<(SequenceId, Masked)>,
}

impl Masks {
    /// Begins the mask of a sequence.
    pub(crate) fn begin(&mut self, id: SequenceId, matcher: Box<Matcher>) {
        if self.helper.is_none() {
            self.helper = Helper::start();
        }
        let unsent = match &self.helper {
            Some(helper) => helper.jobs.send((id, matcher)).err().map(|unsent| unsent.0),
            None => Some((id, matcher)),
        };
        match unsent {
            None => self.under_way += 1,
            Some((id, matcher)) => self.done.push((id, masked(matcher))),
        }
    }

    /// All that were begun, once they are there. One whose computation died with its thread is missing.
    pub(crate) fn finish(&mut self) -> HashMap<SequenceId, Masked> {
        let mut masks: HashMap<_, _> = self.done.drain(..).collect();
        for _ in 0..std::mem::take(&mut self.under_way) {
            match self.helper.as_ref().map(|helper| helper.done.recv()) {
                Some(Ok((id, masked))) => _ = masks.insert(id, masked),
                Some(Err(_)) | None => self.helper = None,
            }
        }
        masks
    }
}

impl Helper {
    /// `None` where the system has no thread to spare.
    fn start() -> Option<Self> {
        let (jobs, waiting) = channel::<(SequenceId, Box<Matcher>)>();
        let (finished, done) = channel();
        let work = move || {
            for (id, matcher) in waiting {
                if finished.send((id, masked(matcher))).is_err() {
                    return;
                }
            }
        };
        std::thread::Builder::new().name("masks".into()).spawn(work).ok()?;
        Some(Self { jobs, done })
    }
}

fn masked(mut matcher: Box<Matcher>) -> Masked {
    let mask = matcher.mask();
    Masked { matcher, mask }
}
