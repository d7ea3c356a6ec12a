//! The hard requirements.

use weighbridge_backend::{Asked, BackendId, DataClass, Health, PromptCount};

use crate::{Asking, BackendFacts, Named, Reason, Refusal, Require, Route};

/// What every backend of a route is held against.
pub(crate) struct Requirements<'a> {
    pub(crate) route: &'a Route,
    pub(crate) asking: &'a Asking<'a>,
    pub(crate) class: DataClass,
    pub(crate) refusal: Option<&'a Refusal>,
    /// The backend that the caller named outright.
    pub(crate) named: Option<&'a BackendId>,
}

impl Requirements<'_> {
    /// Every reason that speaks against the backend `id`, in the order of [`Reason`]; none if it may answer.
    pub(crate) fn objections(&self, id: &BackendId, facts: Option<&BackendFacts<'_>>) -> Vec<Reason> {
        let mut reasons = Vec::new();
        let Some(facts) = facts else {
            reasons.push(Reason::Unknown);
            return reasons;
        };
        reasons.extend(self.refused());
        reasons.extend(self.clearance(facts));
        reasons.extend(region(&self.route.require, facts));
        reasons.extend(self.naming(id));
        reasons.extend(quality(&self.route.require, facts));
        reasons.extend(cannot_honour(self.asking, facts));
        reasons.extend(context_too_small(self.asking, facts));
        if let Health::Out(why) = &facts.health {
            reasons.push(Reason::Out(why.clone()));
        }
        reasons
    }

    fn refused(&self) -> Option<Reason> {
        self.refusal.map(|&Refusal::ClassAboveCaller { class, highest }| Reason::Caller { highest, class })
    }

    fn clearance(&self, facts: &BackendFacts<'_>) -> Option<Reason> {
        let (clearance, class) = (facts.offer.clearance, self.class);
        (clearance < class).then_some(Reason::Clearance { clearance, class })
    }

    fn naming(&self, id: &BackendId) -> Option<Reason> {
        let alone = self.route.named == Named::Only;
        (alone && self.named.is_some_and(|named| named != id)).then_some(Reason::NotNamed)
    }
}

/// A region that is not known could be any, so it satisfies no requirement.
fn region(require: &Require, facts: &BackendFacts<'_>) -> Option<Reason> {
    let region = &facts.offer.region;
    let is_right = require.regions.is_empty() || region.as_ref().is_some_and(|region| require.regions.contains(region));
    (!is_right).then(|| Reason::Region { region: region.clone(), allowed: require.regions.clone() })
}

/// A quality that is not known, or is not a number, satisfies no requirement.
fn quality(require: &Require, facts: &BackendFacts<'_>) -> Option<Reason> {
    let min_quality = require.min_quality?;
    let quality = facts.offer.quality;
    let is_right = quality.is_some_and(|quality| quality >= min_quality);
    (!is_right).then_some(Reason::Quality { quality, min_quality })
}

/// One reason for each need that is not met, with the first parameter that has it: a conversation with a
/// thousand images gives one, and the number of needs bounds the list.
fn cannot_honour(asking: &Asking<'_>, facts: &BackendFacts<'_>) -> Vec<Reason> {
    let mut unmet: Vec<&Asked> = Vec::new();
    for asked in asking.asked.iter().filter(|asked| !asked.hint && !facts.offer.meets(&asked.need)) {
        if unmet.iter().all(|before| before.need != asked.need) {
            unmet.push(asked);
        }
    }
    let reason = |asked: &Asked| Reason::CannotHonour { parameter: asked.parameter.clone(), need: asked.need.clone() };
    unmet.into_iter().map(reason).collect()
}

/// An exact prompt must fit with the answer beside it. An estimate may be off by more than the answer has, so
/// it counts alone; a prompt that could not be counted is for the backend to judge.
fn context_too_small(asking: &Asking<'_>, facts: &BackendFacts<'_>) -> Option<Reason> {
    let (context, prompt) = (facts.offer.context?, facts.prompt()?);
    let output = match prompt {
        PromptCount::Exact(_) => asking.max_output_tokens.unwrap_or(0),
        PromptCount::Estimate(_) => 0,
    };
    let needed = prompt.tokens().saturating_add(u64::from(output));
    (needed > u64::from(context)).then_some(Reason::ContextTooSmall { context, prompt, output })
}
