//! One answer being made: its tokens, its keys and values, its draws and its text.

use std::sync::Arc;
use std::time::Instant;

use weighbridge_backend::{Failure, FailureKind, FinishReason, Priority, Stage};
use weighbridge_models::{Decoder, KvCache, LentPage, Logits, PAGE_TOKENS, Rows, Step};

use crate::pages::Realm;
use crate::places::Place;
use crate::reply::Reply;
use crate::sampler::{Penalties, Sampler, Settings};
use crate::scheduler::{Arrival, Caller, SequenceId, Work};
use crate::text::AnswerText;

/// What the answers of one request have in common.
#[derive(Debug)]
pub(crate) struct Commission {
    /// The prompt, at least one token.
    pub(crate) prompt: Vec<u32>,
    /// How tokens are drawn.
    pub(crate) settings: Settings,
    /// The most tokens that each answer may have, at least 1.
    pub(crate) max_tokens: u32,
    /// Where the events go.
    pub(crate) reply: Arc<Reply>,
    /// Who waits for them.
    pub(crate) caller: Caller,
    pub(crate) priority: Priority,
    /// Within which computed prefixes are shared; `None` shares none.
    pub(crate) realm: Option<Arc<Realm>>,
    /// When nobody wants them any more.
    pub(crate) deadline: Option<Instant>,
}

/// One answer of a request.
pub(crate) struct Sequence {
    commission: Arc<Commission>,
    choice: u32,
    place: Place,
    /// Made when its first tokens are computed, so that a waiting sequence holds no memory for it.
    cache: Option<KvCache>,
    /// Tokens of the prompt that were counted as used.
    counted: usize,
    /// Tokens drawn.
    drawn: u32,
    penalties: Penalties,
    text: AnswerText,
}

/// What a sequence needs of the engine to draw a token.
pub(crate) struct Means<'a> {
    pub(crate) sampler: &'a mut Sampler,
    pub(crate) stop_tokens: &'a [u32],
}

/// What became of a sequence in a step.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// It goes on, with the token that it drew, if any.
    GoesOn(Option<u32>),
    /// It has its last token.
    Ended {
        /// How its tokens ended.
        reason: FinishReason,
        /// A stop text ended it.
        by_stop_text: bool,
    },
}

impl Sequence {
    pub(crate) fn new(commission: Arc<Commission>, choice: u32, place: Place, text: AnswerText) -> Self {
        let settings = &commission.settings;
        let penalties = Penalties::new(settings.frequency_penalty, settings.presence_penalty);
        Self { commission, choice, place, cache: None, counted: 0, drawn: 0, penalties, text }
    }

    /// What the scheduler is to know of it.
    pub(crate) fn arrival(&self, id: SequenceId) -> Arrival {
        let Commission { prompt, caller, priority, realm, .. } = &*self.commission;
        Arrival { id, caller: caller.clone(), priority: *priority, realm: realm.clone(), prompt: prompt.clone() }
    }

    /// Whether other answers to the same prompt find pages of it once it is computed.
    pub(crate) fn leaves_prompt(&self) -> bool {
        self.commission.realm.is_some() && self.commission.prompt.len() > PAGE_TOKENS
    }

    /// What it fails with where its time is over.
    pub(crate) fn out_of_time(&self, now: Instant) -> Option<Failure> {
        let over = self.commission.deadline.is_some_and(|deadline| deadline <= now);
        over.then(|| Failure::new(FailureKind::Timeout(Stage::Total), "the deadline of the request has passed"))
    }

    /// Where its events go.
    pub(crate) fn reply(&self) -> &Reply {
        &self.commission.reply
    }

    /// A share of a step: these tokens of it, on these pages where it is computed on pages.
    pub(crate) fn ask<'a>(
        &'a mut self,
        work: Work,
        tokens: &'a [u32],
        (full, windowed): (impl Iterator<Item = LentPage>, impl Iterator<Item = Option<LentPage>>),
        decoder: &Decoder,
    ) -> Step<'a> {
        self.place.begin();
        let prompt_tokens = self.commission.prompt.len();
        let cache = self.cache.get_or_insert_with(|| {
            let mut cache = decoder.lent_cache().unwrap_or_else(|| decoder.new_cache());
            // Some models turn positions by the length of the whole prompt, of which they see a chunk at a time.
            cache.announce(prompt_tokens);
            cache
        });
        cache.lend(full, windowed, work.first);
        Step { tokens, cache, rows: if work.draws { Rows::Last } else { Rows::None } }
    }

    /// Takes what was computed of it, and draws the next token of the answer where there is one to draw.
    ///
    /// # Errors
    /// When the logits are of no use; and so is the sequence then.
    pub(crate) fn take(&mut self, work: Work, logits: Logits, means: Means<'_>) -> Result<Progress, Failure> {
        self.count(work);
        if !work.draws {
            return Ok(Progress::GoesOn(None));
        }
        self.draw(&logits, means)
    }

    /// Counts the prompt as it is used: once for all answers, and once though it be computed again.
    fn count(&mut self, work: Work) {
        if self.choice != 0 {
            return;
        }
        let end = (work.first + work.count).min(self.commission.prompt.len());
        let meter = self.commission.reply.meter();
        let cached = work.first.min(end).saturating_sub(self.counted);
        if cached > 0 {
            meter.add_cached(cached as u64);
            self.counted += cached;
        }
        let computed = end.saturating_sub(self.counted);
        meter.add_prompt(computed as u64);
        self.counted += computed;
    }

    /// Publishes the end of the answer. Its place is free before its reader can know that it has ended.
    pub(crate) fn finish(self, reason: FinishReason, by_stop_text: bool) {
        let Self { commission, choice, place, text, .. } = self;
        let reason = text.finish(reason, by_stop_text, &commission.reply);
        drop(place);
        commission.reply.finish(choice, reason);
    }

    /// Publishes that the request has failed.
    pub(crate) fn fail(self, failure: Failure) {
        let Self { commission, place, .. } = self;
        drop(place);
        commission.reply.fail(failure);
    }

    fn draw(&mut self, logits: &Logits, means: Means<'_>) -> Result<Progress, Failure> {
        let Commission { settings, max_tokens, reply, .. } = &*self.commission;
        let token = means
            .sampler
            .pick(logits.last(), settings, &self.penalties, self.choice, u64::from(self.drawn))
            .ok_or_else(|| Failure::new(FailureKind::Internal, "the model computed no finite logits"))?;
        self.penalties.note(token);
        self.drawn += 1;
        reply.meter().add_completion(1);
        let ended = |reason, by_stop_text| Ok(Progress::Ended { reason, by_stop_text });
        if means.stop_tokens.contains(&token) {
            return ended(FinishReason::Stop, false);
        }
        if self.text.push(token, reply) {
            return ended(FinishReason::Stop, true);
        }
        if self.drawn >= *max_tokens { ended(FinishReason::Length, false) } else { Ok(Progress::GoesOn(Some(token))) }
    }
}
