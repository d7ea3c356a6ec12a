//! The loop of a loaded model: admit, schedule, compute, draw, publish, one step a turn.
//!
//! It owns a thread and keeps its own pace. Between steps it reads messages and lets go of sequences that
//! nobody waits for; when there is nothing to do it sleeps.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError};

use weighbridge_backend::{Failure, FailureKind};
use weighbridge_models::{ComputeError, Decoder};

use crate::life::{EndOfLife, Life, shutting_down};
use crate::sampler::Sampler;
use crate::scheduler::{Scheduler, SequenceId, Work};
use crate::sequence::{Means, Progress, Sequence};

/// A message to the loop.
pub(crate) enum Message {
    /// The answers of a request.
    Answer(Vec<Sequence>),
    /// Wakes a sleeping loop after [`Life::stop`].
    Stop,
}

/// Everything that the thread of a model owns.
pub(crate) struct Engine {
    decoder: Decoder,
    stop_tokens: Vec<u32>,
    inbox: Receiver<Message>,
    scheduler: Scheduler,
    sampler: Sampler,
    sequences: HashMap<SequenceId, Sequence>,
    /// What the current step computes; kept for its memory.
    batch: Vec<Work>,
    next_id: u64,
    life: Arc<Life>,
}

impl Engine {
    pub(crate) fn new(
        decoder: Decoder,
        stop_tokens: Vec<u32>,
        scheduler: Scheduler,
        inbox: Receiver<Message>,
        life: Arc<Life>,
    ) -> Self {
        Self {
            decoder,
            stop_tokens,
            inbox,
            scheduler,
            sampler: Sampler::default(),
            sequences: HashMap::new(),
            batch: Vec::new(),
            next_id: 0,
            life,
        }
    }

    /// Admits, schedules, computes and publishes, one step a turn, until it is stopped or its inbox closes.
    pub(crate) fn run(mut self) {
        let _end = EndOfLife(Arc::clone(&self.life));
        while self.admit_waiting() {
            self.step();
        }
        let cut = self.sequences.len();
        for (_, sequence) in self.sequences.drain() {
            sequence.fail(shutting_down());
        }
        tracing::debug!(cut, "the engine has stopped");
    }

    /// Computes one step and publishes what comes of it.
    pub(crate) fn step(&mut self) {
        self.let_go_of_abandoned();
        let mut batch = std::mem::take(&mut self.batch);
        self.scheduler.next_step(&mut batch);
        // Apart they are published as they come, and one that fails harms no other.
        let together = if self.decoder.computes_together() { batch.len() } else { 1 };
        for works in batch.chunks(together.max(1)) {
            if self.life.is_stopping() {
                break;
            }
            self.advance(works);
        }
        self.batch = batch;
    }

    /// Reads what has come, and sleeps until something does where there is nothing to do. Whether to go on.
    pub(crate) fn admit_waiting(&mut self) -> bool {
        if self.sequences.is_empty() {
            match self.inbox.recv() {
                Ok(message) => self.admit(message),
                Err(_) => return false,
            }
        }
        loop {
            match self.inbox.try_recv() {
                Ok(message) => self.admit(message),
                Err(TryRecvError::Empty) => return !self.life.is_stopping(),
                Err(TryRecvError::Disconnected) => return !self.life.is_stopping() && !self.sequences.is_empty(),
            }
        }
    }

    fn admit(&mut self, message: Message) {
        let Message::Answer(sequences) = message else { return };
        for sequence in sequences {
            let id = SequenceId(self.next_id);
            self.next_id += 1;
            self.scheduler.enqueue(id, sequence.prompt_tokens());
            self.sequences.insert(id, sequence);
        }
    }

    /// Frees what belongs to requests whose reader has gone, or that have failed in another answer.
    fn let_go_of_abandoned(&mut self) {
        self.sequences.retain(|&id, sequence| {
            let over = sequence.reply().is_over();
            if over {
                self.scheduler.remove(id);
            }
            !over
        });
    }

    /// Computes some sequences' share of a step. What each draws is its own affair and no other's.
    fn advance(&mut self, works: &[Work]) {
        let mut asking: Vec<(Work, Sequence)> = Vec::with_capacity(works.len());
        for &work in works {
            let Some(sequence) = self.sequences.remove(&work.id()) else { continue };
            // A step takes a while with many sequences: whoever has gone since it began is spared the work.
            if sequence.reply().is_over() {
                self.scheduler.remove(work.id());
            } else {
                asking.push((work, sequence));
            }
        }
        if asking.is_empty() {
            return;
        }
        let mut steps: Vec<_> = asking.iter_mut().map(|(work, sequence)| sequence.ask(*work, &self.decoder)).collect();
        let computed = self.decoder.step(&mut steps);
        drop(steps);
        match computed {
            Ok(logits) => {
                for ((work, mut sequence), logits) in asking.into_iter().zip(logits) {
                    let means = Means { sampler: &mut self.sampler, stop_tokens: &self.stop_tokens };
                    let progress = sequence.take(work, logits, means);
                    self.settle(work.id(), sequence, progress);
                }
            }
            Err(error) => {
                for (work, sequence) in asking {
                    self.settle(work.id(), sequence, Err(failed(&error)));
                }
            }
        }
    }

    /// Keeps a sequence that goes on, and publishes the end of one that does not.
    fn settle(&mut self, id: SequenceId, sequence: Sequence, progress: Result<Progress, Failure>) {
        match progress {
            Ok(Progress::GoesOn) => {
                self.sequences.insert(id, sequence);
            }
            Ok(Progress::Ended { reason, by_stop_text }) => {
                self.scheduler.remove(id);
                sequence.finish(reason, by_stop_text);
            }
            Err(failure) => {
                tracing::error!(%failure, "a sequence has failed");
                self.scheduler.remove(id);
                sequence.fail(failure);
            }
        }
    }
}

fn failed(error: &ComputeError) -> Failure {
    Failure::new(FailureKind::Internal, format!("the step could not be computed: {error}"))
}
