//! What can answer a request.

use std::collections::BTreeSet;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use futures_core::Stream;
use futures_core::future::BoxFuture;

use crate::{
    Capability, Computation, DataClass, Dialect, Event, Failure, Forecast, Meter, NanoUsd, Need, Request, Standing,
    Usage,
};

/// The events of one answer, in order. Dropping it cancels the attempt: an upstream connection closes, a
/// local sequence ends within one step. After an `Err` nothing follows.
pub type Events = Pin<Box<dyn Stream<Item = Result<Event, Failure>> + Send>>;

/// The future of an answer: ready when the backend has accepted the request, or failed to.
pub type Answer = BoxFuture<'static, Result<Answering, Failure>>;

/// An answer under way.
pub struct Answering {
    /// Its events.
    pub events: Events,
    /// What it has used so far: right also when the events are dropped before their end.
    pub meter: Meter,
}

/// One thing that can answer: a local model, or a model at a provider.
pub trait Backend: Send + Sync {
    /// What it offers; fixed for its lifetime.
    fn offer(&self) -> &Offer;

    /// How it is now, from what it knows by itself; cheap, called for every plan.
    fn health(&self) -> Health;

    /// How much it has to do now; a hosted backend counts only what passes through here.
    fn load(&self) -> Load;

    /// How many tokens the prompt has for this backend. Exact where the backend has the tokenizer.
    ///
    /// # Errors
    /// When the prompt cannot be rendered for this backend (a template that refuses the conversation).
    fn count_prompt(&self, request: &Request) -> Result<PromptCount, Failure>;

    /// What to expect of it, were it asked now on behalf of `standing`; the request's own is not looked at. Called for
    /// every plan: it keeps nobody waiting for longer than [`Backend::count_prompt`] does.
    ///
    /// # Errors
    /// As [`Backend::count_prompt`].
    fn forecast(&self, request: &Request, standing: &Standing) -> Result<Forecast, Failure> {
        _ = standing;
        self.count_prompt(request).map(Forecast::from)
    }

    /// Its text and tokens, where it has the tokenizer.
    fn texts(&self) -> Option<&dyn Texts> {
        None
    }

    /// What it holds and has done, where it computes on this machine; cheap.
    fn computation(&self) -> Option<Computation> {
        None
    }

    /// Starts one attempt. The future and the events are cancelled by dropping them.
    fn answer(&self, request: Arc<Request>) -> Answer;
}

/// A model's way between text and tokens. Nothing is computed by the model.
pub trait Texts: Send + Sync {
    /// The tokens of a text, with the tokens that stand before every prompt of the model where `add_special`.
    ///
    /// # Errors
    /// When the text is longer than any prompt of this model may be.
    fn tokenize(&self, text: &str, add_special: bool) -> Result<Vec<u32>, Failure>;

    /// The tokens of the prompt that a request comes to.
    ///
    /// # Errors
    /// As [`Backend::count_prompt`].
    fn prompt_tokens(&self, request: &Request) -> Result<Vec<u32>, Failure>;

    /// The text of tokens, markers written out.
    ///
    /// # Errors
    /// When one is no token of this model.
    fn detokenize(&self, tokens: &[u32]) -> Result<String, Failure>;

    /// What each token stands for, as it is written.
    ///
    /// # Errors
    /// As [`Texts::detokenize`].
    fn token_strings(&self, tokens: &[u32]) -> Result<Vec<String>, Failure>;

    /// The text of the prompt that a request comes to.
    ///
    /// # Errors
    /// As [`Backend::count_prompt`].
    fn render(&self, request: &Request) -> Result<String, Failure>;
}

/// The name of a backend in routes, headers, metrics and records: `demo`, `openai/gpt-5-mini`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BackendId(Arc<str>);

impl BackendId {
    /// A backend's id.
    pub fn new(name: &str) -> Self {
        Self(name.into())
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for BackendId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for BackendId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// What a backend offers: the facts about it that policy weighs.
#[derive(Clone, Debug)]
pub struct Offer {
    /// Its name.
    pub id: BackendId,
    /// Whether it runs in this process.
    pub local: bool,
    /// The highest data class that it may receive.
    pub clearance: DataClass,
    /// Where it runs (`us`, `eu`, `local`), where that is known.
    pub region: Option<String>,
    /// What it costs.
    pub price: Price,
    /// 0 to 1, as the operator judges it; `None` where nobody did.
    pub quality: Option<f64>,
    /// Tokens of prompt and answer together, where that is known.
    pub context: Option<u32>,
    /// What it can honour.
    pub capabilities: BTreeSet<Capability>,
    /// The dialect that it can be handed unknown fields in.
    pub dialect: Option<Dialect>,
    /// What the answers of a local model depend on beside the request, as one word; another build, file or precision
    /// has another (OpenAI's `system_fingerprint`).
    pub fingerprint: Option<String>,
    /// The licence of the model, an SPDX name or the maker's own, where that is known.
    pub licence: Option<String>,
}

impl Offer {
    /// Whether it can honour a need.
    pub fn meets(&self, need: &Need) -> bool {
        match need {
            Need::Capability(capability) => self.capabilities.contains(capability),
            Need::Dialect(dialect) => self.dialect == Some(*dialect),
        }
    }
}

/// A price list, for a million tokens each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Price {
    /// Tokens of the prompt.
    pub input: NanoUsd,
    /// Tokens of the prompt that came from a cache; `None` where they cost as others do.
    pub cached_input: Option<NanoUsd>,
    /// Tokens of the answer.
    pub output: NanoUsd,
}

impl Price {
    /// What `usage` costs.
    pub fn of(&self, usage: &Usage) -> NanoUsd {
        let cached = usage.cached_tokens.min(usage.prompt_tokens);
        self.input.for_tokens(usage.prompt_tokens - cached)
            + self.cached_input.unwrap_or(self.input).for_tokens(cached)
            + self.output.for_tokens(usage.completion_tokens)
    }
}

/// How a backend is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// It can answer.
    Ready,
    /// It cannot, and why: `the key OPENAI_API_KEY is not set`, `its queue is full`.
    Out(String),
}

/// How much a backend has to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Answers not begun.
    pub waiting: usize,
    /// Answers under way.
    pub running: usize,
}

/// The tokens of a prompt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PromptCount {
    /// Counted by the backend's own tokenizer and template.
    Exact(u64),
    /// Guessed from the length of the text.
    Estimate(u64),
}

impl PromptCount {
    /// The number, exact or not.
    pub fn tokens(self) -> u64 {
        match self {
            Self::Exact(tokens) | Self::Estimate(tokens) => tokens,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cached_tokens_have_their_own_price() {
        let price = Price {
            input: NanoUsd(1_000_000_000),
            cached_input: Some(NanoUsd(100_000_000)),
            output: NanoUsd(2_000_000_000),
        };
        let usage = Usage { prompt_tokens: 10, cached_tokens: 4, completion_tokens: 3, ..Usage::default() };
        assert_eq!(price.of(&usage), NanoUsd(6 * 1000 + 4 * 100 + 3 * 2000));
    }
}
