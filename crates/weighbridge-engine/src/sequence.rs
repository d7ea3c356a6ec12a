//! One answer being made: its tokens, its keys and values, its draws and its text.

use std::sync::Arc;

use weighbridge_backend::{Failure, FailureKind, FinishReason};
use weighbridge_models::{Decoder, KvCache, Logits, Rows, Step};

use crate::places::Place;
use crate::reply::Reply;
use crate::sampler::{Penalties, Sampler, Settings};
use crate::scheduler::Work;
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
}

/// One answer of a request.
pub(crate) struct Sequence {
    commission: Arc<Commission>,
    choice: u32,
    place: Place,
    /// Made when its first tokens are computed, so that a waiting sequence holds no memory for it.
    cache: Option<KvCache>,
    /// Tokens of the prompt that are computed.
    computed: usize,
    /// Tokens drawn, the last of them not computed yet.
    drawn: u32,
    last: u32,
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
    /// It goes on.
    GoesOn,
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
        Self { commission, choice, place, cache: None, computed: 0, drawn: 0, last: 0, penalties, text }
    }

    /// Tokens of its prompt.
    pub(crate) fn prompt_tokens(&self) -> usize {
        self.commission.prompt.len()
    }

    /// Where its events go.
    pub(crate) fn reply(&self) -> &Reply {
        &self.commission.reply
    }

    /// What it wants computed: the next tokens of its prompt, or the token drawn last.
    pub(crate) fn ask(&mut self, work: Work, decoder: &Decoder) -> Step<'_> {
        let prompt = &self.commission.prompt;
        let cache = self.cache.get_or_insert_with(|| {
            let mut cache = decoder.new_cache();
            // Some models turn positions by the length of the whole prompt, of which they see a chunk at a time.
            cache.announce(prompt.len());
            cache
        });
        match work {
            Work::Prompt { tokens, last, .. } => {
                self.place.begin();
                let end = (self.computed + tokens).min(prompt.len());
                let rows = if last { Rows::Last } else { Rows::None };
                Step { tokens: &prompt[self.computed..end], cache, rows }
            }
            Work::Decode { .. } => Step { tokens: std::slice::from_ref(&self.last), cache, rows: Rows::Last },
        }
    }

    /// Takes what was computed of it, and draws the next token of the answer where there is one to draw.
    ///
    /// # Errors
    /// When the logits are of no use; and so is the sequence then.
    pub(crate) fn take(&mut self, work: Work, logits: Logits, means: Means<'_>) -> Result<Progress, Failure> {
        if let Work::Prompt { tokens, last, .. } = work {
            let end = (self.computed + tokens).min(self.commission.prompt.len());
            if self.choice == 0 {
                // The prompt is computed for every answer, but used once.
                self.commission.reply.meter().add_prompt((end - self.computed) as u64);
            }
            self.computed = end;
            if !last {
                return Ok(Progress::GoesOn);
            }
        }
        self.draw(&logits, means)
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
        self.last = token;
        self.drawn += 1;
        reply.meter().add_completion(1);
        let ended = |reason, by_stop_text| Ok(Progress::Ended { reason, by_stop_text });
        if means.stop_tokens.contains(&token) {
            return ended(FinishReason::Stop, false);
        }
        if self.text.push(token, reply) {
            return ended(FinishReason::Stop, true);
        }
        if self.drawn >= *max_tokens { ended(FinishReason::Length, false) } else { Ok(Progress::GoesOn) }
    }
}
