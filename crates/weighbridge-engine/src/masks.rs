//! Masks of constrained answers, computed beside the step that computes their logits.
//!
//! The loop leaves the matchers of a step to a thread of their own, computes the step, and takes them back with their
//! masks. What the thread has not come to by then, for a busy machine takes its time to wake a thread, the loop computes
//! itself; and all of them where steps are short, for waking one costs more than it spares then. The thread begins with
//! the first that is left to it.

use std::collections::{HashMap, VecDeque};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use weighbridge_dialogue::{GrammarError, Mask, Matcher};

use crate::scheduler::SequenceId;

/// Steps that take less are over before a thread that is woken has done much, and it takes a processor from them.
const SHORT_STEP: Duration = Duration::from_millis(2);

/// The masks under way of one engine.
#[derive(Debug, Default)]
pub(crate) struct Masks {
    helper: Option<Helper>,
    /// Left to the helper and not yet taken back.
    under_way: usize,
    /// Left to the loop.
    own: Vec<Job>,
}

/// A matcher with the mask of its next token.
#[derive(Debug)]
pub(crate) struct Masked {
    pub(crate) matcher: Box<Matcher>,
    pub(crate) mask: Result<Mask, GrammarError>,
}

type Job = (SequenceId, Box<Matcher>);

#[derive(Debug)]
struct Helper {
    queue: Arc<Queue>,
    done: Receiver<(SequenceId, Masked)>,
}

#[derive(Debug, Default)]
struct Queue {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    jobs: VecDeque<Job>,
    closed: bool,
}

impl Masks {
    /// Begins the mask of a sequence, beside a step that takes about so long.
    pub(crate) fn begin(&mut self, id: SequenceId, matcher: Box<Matcher>, step: Duration) {
        if step < SHORT_STEP {
            self.own.push((id, matcher));
            return;
        }
        if self.helper.is_none() {
            self.helper = Helper::start();
        }
        match &self.helper {
            Some(helper) => {
                helper.queue.lock().jobs.push_back((id, matcher));
                helper.queue.changed.notify_one();
                self.under_way += 1;
            }
            None => self.own.push((id, matcher)),
        }
    }

    /// All that were begun, once they are there. One whose computation died with its thread is missing.
    pub(crate) fn finish(&mut self) -> HashMap<SequenceId, Masked> {
        let mut masks: HashMap<_, _> = self.own.drain(..).map(masked).collect();
        let Some(helper) = &self.helper else { return masks };
        while let Some(job) = helper.queue.take_last() {
            masks.extend([masked(job)]);
            self.under_way -= 1;
        }
        for _ in 0..std::mem::take(&mut self.under_way) {
            match helper.done.recv() {
                Ok(done) => masks.extend([done]),
                Err(_) => {
                    self.helper = None;
                    break;
                }
            }
        }
        masks
    }
}

impl Helper {
    /// `None` where the system has no thread to spare.
    fn start() -> Option<Self> {
        let queue = Arc::new(Queue::default());
        let (finished, done) = channel();
        let jobs = Arc::clone(&queue);
        std::thread::Builder::new().name("masks".into()).spawn(move || work(&jobs, &finished)).ok()?;
        Some(Self { queue, done })
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        self.queue.lock().closed = true;
        self.queue.changed.notify_one();
    }
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it holds the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The job that the helper would come to last.
    fn take_last(&self) -> Option<Job> {
        self.lock().jobs.pop_back()
    }

    /// The job that has waited longest, once there is one; `None` when there will be none any more.
    fn wait(&self) -> Option<Job> {
        let state = self.lock();
        let nothing = |state: &mut State| state.jobs.is_empty() && !state.closed;
        let mut state = self.changed.wait_while(state, nothing).unwrap_or_else(PoisonError::into_inner);
        state.jobs.pop_front()
    }
}

fn work(queue: &Queue, finished: &Sender<(SequenceId, Masked)>) {
    while let Some(job) = queue.wait() {
        if finished.send(masked(job)).is_err() {
            return;
        }
    }
}

fn masked((id, mut matcher): Job) -> (SequenceId, Masked) {
    let mask = matcher.mask();
    (id, Masked { matcher, mask })
}

#[cfg(test)]
mod tests {
    use weighbridge_backend::Constraint;
    use weighbridge_dialogue::{Form, Grammars, VocabularyToken};

    use super::*;

    fn matcher(first: char) -> Box<Matcher> {
        let mut tokens: Vec<_> = (0..=255u8).map(|byte| VocabularyToken::Text(vec![byte])).collect();
        tokens.push(VocabularyToken::Marker("<end>".into()));
        let constraint = Constraint::Choice(vec![first.to_string()]);
        let grammars = Grammars::new(tokens, &[256]).expect("it has an end");
        let form = Form { constraint: Some(&constraint), ..Form::default() };
        Box::new(grammars.matcher(&form).expect("it can be enforced"))
    }

    #[test]
    fn each_sequence_gets_its_own_mask_whoever_computes_it() {
        let mut masks = Masks::default();
        let letters = ['a', 'b', 'c', 'd', 'e', 'f'];
        for round in 0..20 {
            for (id, letter) in (0..).zip(letters) {
                masks.begin(SequenceId(id), matcher(letter), SHORT_STEP * (round % 2));
            }
            let found = masks.finish();
            assert_eq!(found.len(), letters.len());
            for (id, letter) in (0..).zip(letters) {
                let mask = found[&SequenceId(id)].mask.as_ref().expect("there is a way");
                assert!(mask.allows(letter as u32) && mask.len() == 1);
            }
        }
        assert!(masks.finish().is_empty());
    }
}
