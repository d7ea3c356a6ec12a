//! How the tokens of a request are drawn, every default filled in.

use std::hash::{BuildHasher, Hasher, RandomState};

use weighbridge_backend::Sampling;
use weighbridge_models::GenerationDefaults;

/// The settings of one request. What is out of range does no harm: it draws as the nearest sensible value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Settings {
    /// 0 (or anything that is not above it) is greedy.
    pub(crate) temperature: f32,
    /// 0 is no limit.
    pub(crate) top_k: usize,
    /// 1 is no limit.
    pub(crate) top_p: f32,
    /// 0 is no limit.
    pub(crate) min_p: f32,
    pub(crate) frequency_penalty: f32,
    pub(crate) presence_penalty: f32,
    /// 1 changes nothing.
    pub(crate) repetition_penalty: f32,
    /// What is added to the logits of tokens, each of the vocabulary.
    pub(crate) logit_bias: Vec<(u32, f32)>,
    /// Fewer tokens than this do not end an answer.
    pub(crate) min_tokens: u32,
    /// End tokens are written like others.
    pub(crate) ignore_eos: bool,
    /// Log-probabilities are wanted, each beside so many likeliest ones.
    pub(crate) logprobs: Option<u32>,
    pub(crate) seed: u64,
}

impl Settings {
    /// What the request asks for, else what the checkpoint's makers advise, else OpenAI's defaults. Without a
    /// seed it draws one.
    pub(crate) fn new(asked: &Sampling, advised: &GenerationDefaults) -> Self {
        Self {
            temperature: asked.temperature.or(advised.temperature.map(|value| value as f32)).unwrap_or(1.0),
            top_k: asked.top_k.or(advised.top_k).unwrap_or(0) as usize,
            top_p: asked.top_p.or(advised.top_p.map(|value| value as f32)).unwrap_or(1.0),
            min_p: asked.min_p.unwrap_or(0.0),
            frequency_penalty: asked.frequency_penalty.unwrap_or(0.0),
            presence_penalty: asked.presence_penalty.unwrap_or(0.0),
            repetition_penalty: asked.repetition_penalty.unwrap_or(1.0),
            logit_bias: asked.logit_bias.clone(),
            min_tokens: asked.min_tokens.unwrap_or(0),
            ignore_eos: asked.ignore_eos,
            logprobs: asked.logprobs,
            seed: asked.seed.map_or_else(random_seed, |seed| seed as u64),
        }
    }

    /// Whether tokens may be left out of the draw.
    pub(crate) fn leaves_out(&self) -> bool {
        self.top_k > 0 || self.top_p < 1.0 || self.min_p > 0.0
    }

    pub(crate) fn is_greedy(&self) -> bool {
        // `max` takes 0 where the other is not a number.
        self.temperature.max(0.0) == 0.0
    }
}

/// The standard library keys its hash maps at random, differently each time: enough for a seed.
fn random_seed() -> u64 {
    RandomState::new().build_hasher().finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_request_says_goes_before_what_the_makers_advise() {
        let advised = GenerationDefaults { temperature: Some(0.5), top_p: Some(0.9), ..GenerationDefaults::default() };
        let asked = Sampling { temperature: Some(0.0), seed: Some(-1), ..Sampling::default() };
        let settings = Settings::new(&asked, &advised);
        assert_eq!((settings.temperature, settings.top_p, settings.top_k), (0.0, 0.9, 0));
        assert_eq!(settings.seed, u64::MAX);
        assert!(settings.is_greedy());
    }

    #[test]
    fn without_a_seed_each_request_draws_its_own() {
        let seed = || Settings::new(&Sampling::default(), &GenerationDefaults::default()).seed;
        assert_ne!(seed(), seed());
    }
}
