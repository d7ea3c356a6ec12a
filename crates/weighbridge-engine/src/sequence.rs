//! One answer being made: its tokens, its keys and values, its draws and its text.

use std::sync::Arc;
use std::time::Instant;

use serde_json::Value;
use weighbridge_backend::{Event, Failure, FailureKind, FinishReason, Priority, Stage};
use weighbridge_dialogue::{Mask, Matcher};
use weighbridge_models::{Decoder, KvCache, LentPage, Logits, PAGE_TOKENS, Rows, Step, Tokenizer};

use crate::logprobs;
use crate::masks::Masked;
use crate::pages::Realm;
use crate::places::Place;
use crate::reply::Reply;
use crate::sampler::{Draw, Penalties, Sampler, Settings};
use crate::scheduler::{Arrival, Caller, SequenceId, Work};
use crate::text::{AnswerText, Ending, Token};

/// Tokens of a prompt that a step computes where each gets its logits, which are the size of the vocabulary.
const SCORED_IN_STEP: usize = 64;

/// What the answers of one request have in common.
#[derive(Debug)]
pub(crate) struct Commission {
    /// The prompt, at least one token.
    pub(crate) prompt: Vec<u32>,
    /// How tokens are drawn.
    pub(crate) settings: Settings,
    /// The most tokens that each answer may have; 0 only where it begins with the prompt.
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
    /// The text of the prompt, where each answer begins with it.
    pub(crate) echo: Option<String>,
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
    /// Whether it is held to a form.
    held: bool,
    /// What holds it; lent out while its next mask is computed.
    matcher: Option<Box<Matcher>>,
    /// Of the prompt, as far as the answer begins with it and they are wanted.
    prompt_entries: Vec<Value>,
    text: AnswerText,
}

/// What a sequence needs of the engine to draw a token.
pub(crate) struct Means<'a> {
    pub(crate) sampler: &'a mut Sampler,
    pub(crate) stop_tokens: &'a [u32],
    pub(crate) tokenizer: &'a Tokenizer,
    /// The sequence's matcher with its mask, where it has one.
    pub(crate) masked: Option<Masked>,
}

/// What became of a sequence in a step.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// It goes on, with the token that it drew, if any.
    GoesOn(Option<u32>),
    /// It has its last token.
    Ended(Ending),
}

impl Sequence {
    pub(crate) fn new(
        commission: Arc<Commission>,
        choice: u32,
        place: Place,
        matcher: Option<Box<Matcher>>,
        text: AnswerText,
    ) -> Self {
        let penalties = Penalties::new(&commission.settings, &commission.prompt);
        Self {
            commission,
            choice,
            place,
            cache: None,
            counted: 0,
            drawn: 0,
            penalties,
            held: matcher.is_some(),
            matcher,
            prompt_entries: Vec::new(),
            text,
        }
    }

    /// What the scheduler is to know of it.
    pub(crate) fn arrival(&self, id: SequenceId) -> Arrival {
        let Commission { prompt, caller, priority, realm, .. } = &*self.commission;
        let most_in_step = if self.commission.scores_prompt() { SCORED_IN_STEP } else { usize::MAX };
        let (caller, realm, prompt) = (caller.clone(), realm.clone(), prompt.clone());
        Arrival { id, caller, priority: *priority, realm, prompt, most_in_step }
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
        let rows = match work.draws {
            _ if self.commission.scores_prompt() && self.prompt_entries.len() < prompt_tokens => Rows::All,
            true => Rows::Last,
            false => Rows::None,
        };
        Step { tokens, cache, rows }
    }

    /// Its matcher, for the mask of the token that is drawn next.
    pub(crate) fn lend_matcher(&mut self) -> Option<Box<Matcher>> {
        self.matcher.take()
    }

    /// Takes what was computed of it, and draws the next token of the answer where there is one to draw.
    ///
    /// # Errors
    /// When the logits are of no use; and so is the sequence then.
    pub(crate) fn take(&mut self, work: Work, logits: Logits, mut means: Means<'_>) -> Result<Progress, Failure> {
        self.count(work);
        if self.commission.scores_prompt() {
            self.score_prompt(work, &logits, &mut means)?;
        }
        if !work.draws {
            return Ok(Progress::GoesOn(None));
        }
        if self.drawn == 0
            && let Some(text) = &self.commission.echo
        {
            let entries = std::mem::take(&mut self.prompt_entries);
            let logprobs = logprobs::object(entries);
            self.commission.reply.send(Event::Text { choice: self.choice, text: text.clone(), logprobs });
        }
        if self.commission.max_tokens == 0 {
            return Ok(Progress::Ended(Ending { reason: FinishReason::Length, matched: None }));
        }
        self.draw(&logits, means)
    }

    /// Takes note of how likely the tokens of the prompt were, each by the logits of the one before it.
    fn score_prompt(&mut self, work: Work, logits: &Logits, means: &mut Means<'_>) -> Result<(), Failure> {
        let Commission { prompt, settings, .. } = &*self.commission;
        let (tokenizer, top) = (means.tokenizer, settings.logprobs.unwrap_or(0));
        if self.drawn > 0 {
            return Ok(());
        }
        if self.prompt_entries.is_empty() {
            self.prompt_entries.extend(prompt.first().map(|&token| logprobs::first_entry(tokenizer, token)));
        }
        for (at, row) in (work.first + 1..prompt.len()).zip(logits.rows()) {
            // What was computed before is computed again where pages were given back.
            if at == self.prompt_entries.len() {
                let scores = means.sampler.scores(row, prompt[at], top).ok_or_else(no_finite_logits)?;
                self.prompt_entries.push(logprobs::entry(tokenizer, prompt[at], &scores));
            }
        }
        Ok(())
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
    pub(crate) fn finish(self, ending: Ending) {
        let Self { commission, choice, place, text, .. } = self;
        let Ending { reason, matched } = text.finish(ending, &commission.reply);
        drop(place);
        commission.reply.finish(choice, reason, matched);
    }

    /// Publishes that the request has failed.
    pub(crate) fn fail(self, failure: Failure) {
        let Self { commission, place, .. } = self;
        drop(place);
        commission.reply.fail(failure);
    }

    fn draw(&mut self, logits: &Logits, means: Means<'_>) -> Result<Progress, Failure> {
        let Commission { settings, max_tokens, reply, .. } = &*self.commission;
        let Means { sampler, stop_tokens, tokenizer, masked } = means;
        let (matcher, mask) = match masked {
            None if self.held => return Err(no_mask(&"its thread has died")),
            None => (None, None),
            Some(Masked { matcher, mask }) => (Some(matcher), Some(mask.map_err(|error| no_mask(&error))?)),
        };
        let (row, position) = (logits.last(), u64::from(self.drawn));
        let early = self.drawn < settings.min_tokens || settings.ignore_eos && mask.is_some();
        let goes_on = mask.as_ref().is_none_or(|mask| mask.len() > ends_in(mask, stop_tokens));
        let banned = if early && goes_on { stop_tokens } else { &[] };
        let draw =
            Draw { settings, penalties: &self.penalties, banned, mask: mask.as_ref(), choice: self.choice, position };
        let id = sampler.pick(row, draw).ok_or_else(no_finite_logits)?;
        self.penalties.note(id);
        self.drawn += 1;
        reply.meter().add_completion(1);
        let ended = |reason, matched| Ok(Progress::Ended(Ending { reason, matched }));
        if stop_tokens.contains(&id) && (!settings.ignore_eos || mask.is_some()) {
            return ended(FinishReason::Stop, None);
        }
        let scores =
            settings.logprobs.map(|top| sampler.scores(row, id, top).ok_or_else(no_finite_logits)).transpose()?;
        let entry = scores.map(|scores| logprobs::entry(tokenizer, id, &scores));
        let token = Token { id, entry, may_stop: self.drawn > settings.min_tokens };
        if let Some(matched) = self.text.push(token, reply) {
            return ended(FinishReason::Stop, Some(matched));
        }
        if let Some(mut matcher) = matcher {
            matcher.take(id).map_err(|error| no_mask(&error))?;
            if matcher.is_complete() {
                return ended(FinishReason::Stop, None);
            }
            self.matcher = Some(matcher);
        }
        if self.drawn >= *max_tokens { ended(FinishReason::Length, None) } else { Ok(Progress::GoesOn(Some(id))) }
    }
}

impl Commission {
    /// Whether the tokens of the prompt are told with how likely they were.
    fn scores_prompt(&self) -> bool {
        self.echo.is_some() && self.settings.logprobs.is_some()
    }
}

/// How many of the end tokens a mask has.
fn ends_in(mask: &Mask, stop_tokens: &[u32]) -> usize {
    stop_tokens.iter().filter(|&&token| mask.allows(token)).count()
}

fn no_mask(error: &dyn std::fmt::Display) -> Failure {
    Failure::new(FailureKind::Internal, format!("the answer could not be held to its grammar any further: {error}"))
}

fn no_finite_logits() -> Failure {
    Failure::new(FailureKind::Internal, "the model computed no finite logits")
}
