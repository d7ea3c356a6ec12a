//! The loop of a loaded model: admit, schedule, compute, draw, publish, one step a turn.
//!
//! It owns a thread and keeps its own pace. Between steps it reads messages and lets go of sequences that
//! nobody waits for; when there is nothing to do it sleeps.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::thread;
use std::time::{Duration, Instant};

use weighbridge_backend::{Failure, FailureKind};
use weighbridge_models::{ComputeError, Decoder, LentPage, PageGroup, Tokenizer};

use crate::board::Board;
use crate::life::{EndOfLife, Life, shutting_down};
use crate::masks::Masks;
use crate::pages::Table;
#[cfg(test)]
use crate::pages::WindowedCounts;
use crate::sampler::Sampler;
use crate::scheduler::{Scheduler, SequenceId, Work};
use crate::sequence::{Means, Progress, Sequence};

/// What a reader takes at least to come by.
const READER_COMES: Duration = Duration::from_micros(50);
/// And how long the loop waits for one at most.
const PATIENCE: Duration = Duration::from_millis(1);

/// A message to the loop.
pub(crate) enum Message {
    /// The answers of a request.
    Answer(Vec<Sequence>),
    /// Wakes a sleeping loop after [`Life::stop`].
    Stop,
    /// Ends the loop by a fault.
    #[cfg(test)]
    Die,
}

/// Everything that the thread of a model owns.
pub(crate) struct Engine {
    decoder: Decoder,
    tokenizer: Tokenizer,
    stop_tokens: Vec<u32>,
    inbox: Receiver<Message>,
    scheduler: Scheduler,
    sampler: Sampler,
    masks: Masks,
    sequences: HashMap<SequenceId, Sequence>,
    /// Other answers to the prompt of a sequence, which wait until that is computed, for they begin on its pages.
    followers: HashMap<SequenceId, Vec<Sequence>>,
    /// The decoder's page for each of the scheduler's, where it computes on pages.
    lent: Vec<LentPage>,
    /// The same of the layers with windows.
    lent_windowed: Vec<LentPage>,
    /// What the current step computes; kept for its memory.
    batch: Vec<Work>,
    next_id: u64,
    /// What the step before took.
    latest_step: Duration,
    /// What others may know of it.
    board: Arc<Board>,
    life: Arc<Life>,
}

impl Engine {
    pub(crate) fn new(
        decoder: Decoder,
        (tokenizer, stop_tokens): (Tokenizer, Vec<u32>),
        scheduler: Scheduler,
        inbox: Receiver<Message>,
        board: Arc<Board>,
        life: Arc<Life>,
    ) -> Self {
        Self {
            decoder,
            tokenizer,
            stop_tokens,
            inbox,
            scheduler,
            sampler: Sampler::default(),
            masks: Masks::default(),
            sequences: HashMap::new(),
            followers: HashMap::new(),
            lent: Vec::new(),
            lent_windowed: Vec::new(),
            batch: Vec::new(),
            next_id: 0,
            latest_step: Duration::ZERO,
            board,
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

    /// Pages that nobody has, of how many.
    #[cfg(test)]
    pub(crate) fn free_pages(&self) -> usize {
        self.scheduler.pages().available()
    }

    /// What becomes of the pages of layers with windows.
    #[cfg(test)]
    pub(crate) fn windowed(&self) -> WindowedCounts {
        self.scheduler.pages().windowed().unwrap_or_default()
    }

    /// What the decoder keeps of the tokens of a page.
    #[cfg(test)]
    pub(crate) fn page_bytes(&self) -> u64 {
        self.decoder.cost().map_or(0, |cost| cost.page_bytes)
    }

    /// Computes one step and publishes what comes of it.
    pub(crate) fn step(&mut self) {
        let began = Instant::now();
        self.let_go_of_abandoned(began);
        let mut batch = std::mem::take(&mut self.batch);
        self.scheduler.next_step(&mut batch);
        self.board.post(&self.scheduler);
        self.borrow_pages();
        // Apart they are published as they come, and one that fails harms no other.
        let together = if self.decoder.computes_together() { batch.len() } else { 1 };
        for works in batch.chunks(together.max(1)) {
            if self.life.is_stopping() {
                break;
            }
            self.advance(works);
        }
        let took = began.elapsed();
        self.let_readers_in(&batch, took);
        self.batch = batch;
        self.latest_step = took;
        self.scheduler.took(took);
        if self.sequences.is_empty() {
            // It sleeps from here on.
            self.board.post(&self.scheduler);
        }
    }

    /// Lets those in who pass on what the step has published, before the next one takes every processor: where there are
    /// as many threads as processors they would wait for one until the system takes it away. That is a 64th of the step
    /// at most, and nothing where the next one is over soon; whoever has not read for longer is not waited for.
    fn let_readers_in(&self, batch: &[Work], took: Duration) {
        let patience = (took / 64).min(PATIENCE);
        if patience < READER_COMES {
            return;
        }
        for sequence in batch.iter().filter_map(|work| self.sequences.get(&work.id)) {
            while sequence.reply().meter().waits().is_some_and(|waited| waited < patience) {
                thread::yield_now();
            }
        }
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
        let sequences = match message {
            Message::Answer(sequences) => sequences,
            Message::Stop => return,
            #[cfg(test)]
            Message::Die => std::panic::resume_unwind(Box::new("told to die")),
        };
        let mut sequences = sequences.into_iter();
        let Some(first) = sequences.next() else { return };
        let waits = first.leaves_prompt() && sequences.len() > 0;
        let id = self.enqueue(first);
        if waits {
            self.followers.insert(id, sequences.collect());
        } else {
            sequences.for_each(|sequence| _ = self.enqueue(sequence));
        }
    }

    fn enqueue(&mut self, sequence: Sequence) -> SequenceId {
        let id = SequenceId(self.next_id);
        self.next_id += 1;
        self.scheduler.enqueue(sequence.arrival(id));
        self.sequences.insert(id, sequence);
        id
    }

    /// Takes pages from the decoder for those that the scheduler has begun to use.
    fn borrow_pages(&mut self) {
        let Self { decoder, scheduler, lent, lent_windowed, .. } = self;
        let take = |lent: &mut Vec<LentPage>, made: usize, group| {
            let missing = made.saturating_sub(lent.len());
            lent.extend((0..missing).map_while(|_| decoder.take_page(group)));
        };
        take(lent, scheduler.pages().made(), PageGroup::Full);
        take(lent_windowed, scheduler.pages().windowed_made(), PageGroup::Windowed);
    }

    /// Frees what belongs to requests whose reader has gone, or that have failed in another answer, and fails those
    /// whose time is over.
    fn let_go_of_abandoned(&mut self, now: Instant) {
        let Self { sequences, scheduler, followers, .. } = self;
        let gone = sequences.extract_if(|_, sequence| {
            if let Some(failure) = sequence.out_of_time(now) {
                sequence.reply().fail(failure);
            }
            sequence.reply().is_over()
        });
        for (id, _) in gone {
            scheduler.remove(id);
            followers.remove(&id);
        }
    }

    /// Computes some sequences' share of a step. What each draws is its own affair and no other's.
    fn advance(&mut self, works: &[Work]) {
        let mut asking: Vec<(Work, Sequence)> = Vec::with_capacity(works.len());
        for &work in works {
            let Some(sequence) = self.sequences.remove(&work.id) else { continue };
            // A step takes a while with many sequences: whoever has gone since it began is spared the work.
            if sequence.reply().is_over() {
                self.scheduler.remove(work.id);
                self.followers.remove(&work.id);
            } else {
                asking.push((work, sequence));
            }
        }
        if asking.is_empty() {
            return;
        }
        for (work, sequence) in asking.iter_mut().filter(|(work, _)| work.draws) {
            if let Some(matcher) = sequence.lend_matcher() {
                self.masks.begin(work.id, matcher, self.latest_step);
            }
        }
        let Self { decoder, scheduler, lent, lent_windowed, .. } = &*self;
        let steps = asking.iter_mut().map(|(work, sequence)| {
            let table = scheduler.table(work.id);
            let full = table.into_iter().flat_map(Table::full).filter_map(|page| lent.get(page.0 as usize).copied());
            let windowed = table.into_iter().flat_map(Table::windowed);
            let windowed = windowed.map(|page| page.and_then(|page| lent_windowed.get(page.0 as usize).copied()));
            sequence.ask(*work, scheduler.tokens(*work), (full, windowed), decoder)
        });
        let mut steps: Vec<_> = steps.collect();
        let computed = self.decoder.step(&mut steps);
        drop(steps);
        let mut masks = self.masks.finish();
        match computed {
            Ok(logits) => {
                for ((work, mut sequence), logits) in asking.into_iter().zip(logits) {
                    self.scheduler.computed(work);
                    let Self { sampler, stop_tokens, tokenizer, .. } = &mut *self;
                    let means = Means { sampler, stop_tokens, tokenizer, masked: masks.remove(&work.id) };
                    let progress = sequence.take(work, logits, means);
                    self.settle(work.id, sequence, progress);
                    let followers = work.draws.then(|| self.followers.remove(&work.id)).flatten();
                    followers.into_iter().flatten().for_each(|sequence| _ = self.enqueue(sequence));
                }
            }
            Err(error) => {
                for (work, sequence) in asking {
                    self.settle(work.id, sequence, Err(failed(&error)));
                    self.followers.remove(&work.id);
                }
            }
        }
    }

    /// Keeps a sequence that goes on, and publishes the end of one that does not.
    fn settle(&mut self, id: SequenceId, sequence: Sequence, progress: Result<Progress, Failure>) {
        match progress {
            Ok(Progress::GoesOn(drawn)) => {
                drawn.into_iter().for_each(|token| self.scheduler.drawn(id, token));
                self.sequences.insert(id, sequence);
            }
            Ok(Progress::Ended(ending)) => {
                self.scheduler.remove(id);
                sequence.finish(ending);
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
