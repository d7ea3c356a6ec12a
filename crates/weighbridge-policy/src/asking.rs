//! The facts that come in: what is asked, by whom, and how each backend is now.

use std::sync::Arc;
use std::time::Duration;

use weighbridge_backend::{Asked, DataClass, Forecast, Health, NanoUsd, Offer, Priority, PromptCount, Usage};

use crate::Route;

/// What a request is, as far as matching and planning have to know. Not `Debug`: its headers hold keys.
#[derive(Clone, Copy)]
pub struct Asking<'a> {
    /// The model as the caller named it.
    pub model: &'a str,
    /// The path of the endpoint: `/v1/chat/completions`.
    pub path: &'a str,
    /// The headers, as name and value; one that came twice is here twice.
    pub headers: &'a [(&'a str, &'a str)],
    /// Who asks; `None` where the gateway is open.
    pub caller: Option<&'a CallerFacts>,
    /// The class that the request claims for itself, which can only raise it.
    pub header_class: Option<DataClass>,
    /// What it asks for by name, and what that takes of a backend.
    pub asked: &'a [Asked],
    /// The most tokens that each choice may have.
    pub max_output_tokens: Option<u32>,
    /// How many answers are wanted.
    pub choices: u32,
}

/// What policy knows of a caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallerFacts {
    /// Its name.
    pub name: Arc<str>,
    /// The highest class of a request that it may send.
    pub highest_class: DataClass,
    /// The lowest class that its requests have, where it raises them.
    pub class: Option<DataClass>,
    /// The routes that it may use, by name; `None` allows all.
    pub routes: Option<Vec<Arc<str>>>,
    /// How soon its requests are answered where they do not say; none of them may ask for more.
    pub priority: Priority,
}

impl CallerFacts {
    /// Whether it may use the route of this name.
    pub fn may_use(&self, route: &str) -> bool {
        self.routes.as_ref().is_none_or(|routes| routes.iter().any(|name| &**name == route))
    }
}

/// What policy knows of a backend at the time of a request.
#[derive(Clone, Debug)]
pub struct BackendFacts<'a> {
    /// What it offers.
    pub offer: &'a Offer,
    /// How it is now.
    pub health: Health,
    /// What it expects of the request: the tokens of the prompt, and where it computes here more than that. `None`
    /// where the prompt could not be counted.
    pub forecast: Option<Forecast>,
    /// How many tokens each choice is expected to have: the caller's bound, or an estimate.
    pub expected_output_tokens: u64,
    /// Its mean time to the first token of any request, where it was measured.
    pub mean_first_token: Option<Duration>,
}

/// When the first token of an answer is expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FirstToken {
    /// As the backend foretells for this very request, with its queue and what it has computed already.
    Predicted(Duration),
    /// As others were answered of late.
    Mean(Duration),
}

impl FirstToken {
    /// How long it takes.
    pub fn time(self) -> Duration {
        match self {
            Self::Predicted(time) | Self::Mean(time) => time,
        }
    }
}

impl BackendFacts<'_> {
    /// How many tokens the prompt has for it.
    pub(crate) fn prompt(&self) -> Option<PromptCount> {
        self.forecast.map(|forecast| forecast.prompt)
    }

    /// What it foretells, else what was measured of others.
    pub(crate) fn first_token(&self) -> Option<FirstToken> {
        let predicted = self.forecast.and_then(|forecast| forecast.first_token).map(FirstToken::Predicted);
        predicted.or(self.mean_first_token.map(FirstToken::Mean))
    }

    /// What the request is expected to take of this machine.
    pub(crate) fn compute_time(&self, choices: u32) -> Option<Duration> {
        self.forecast?.compute_time(self.expected_output_tokens.saturating_mul(u64::from(choices)))
    }

    /// What the request is expected to cost here: the prompt once, the answer for each choice. A prompt
    /// that could not be counted adds nothing.
    pub(crate) fn estimated_cost(&self, choices: u32) -> NanoUsd {
        self.offer.price.of(&Usage {
            prompt_tokens: self.prompt().map_or(0, PromptCount::tokens),
            completion_tokens: self.expected_output_tokens.saturating_mul(u64::from(choices)),
            ..Usage::default()
        })
    }
}

/// The class of a request on a route: the highest of the route's, its caller's and its header's.
pub fn class_of(route: &Route, asking: &Asking<'_>) -> DataClass {
    let raised = [asking.caller.and_then(|caller| caller.class), asking.header_class];
    raised.into_iter().flatten().fold(route.class, DataClass::max)
}
