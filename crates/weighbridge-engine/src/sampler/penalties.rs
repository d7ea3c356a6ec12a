//! Penalties on what was written already, and biases.

use std::collections::{HashMap, HashSet};

use super::settings::Settings;

/// Changes the logits of tokens by what a request says of them, before anything else looks at them: in this order
/// divides by the repetition penalty what stands in the prompt or the answer (multiplies what is below 0; Keskar et
/// al., "CTRL"), subtracts the frequency penalty for each time that the answer has the token and the presence penalty
/// once (as OpenAI defines them), and adds the bias.
#[derive(Debug)]
pub(crate) struct Penalties {
    frequency: f32,
    presence: f32,
    repetition: f32,
    bias: Vec<(u32, f32)>,
    /// Tokens of the prompt; kept only where the repetition penalty asks for it.
    prompt: HashSet<u32>,
    /// How often the answer has each token; kept only where a penalty asks for it.
    written: HashMap<u32, u32>,
}

impl Penalties {
    /// Those of one answer to a prompt. A repetition penalty that is not above 0 changes nothing.
    pub(crate) fn new(settings: &Settings, prompt: &[u32]) -> Self {
        let asked = settings.repetition_penalty;
        let repetition = if asked > 0.0 && asked.is_finite() { asked } else { 1.0 };
        let prompt = if repetition == 1.0 { HashSet::new() } else { prompt.iter().copied().collect() };
        Self {
            frequency: settings.frequency_penalty,
            presence: settings.presence_penalty,
            repetition,
            bias: settings.logit_bias.clone(),
            prompt,
            written: HashMap::new(),
        }
    }

    /// Takes note of a token of the answer.
    pub(crate) fn note(&mut self, token: u32) {
        if self.count() {
            *self.written.entry(token).or_default() += 1;
        }
    }

    /// Changes the logits of `row` in place.
    pub(crate) fn apply(&self, row: &mut [f32]) {
        if self.repetition != 1.0 {
            let unwritten = self.prompt.iter().filter(|token| !self.written.contains_key(token));
            for &token in unwritten.chain(self.written.keys()) {
                if let Some(logit) = row.get_mut(token as usize) {
                    *logit = if *logit > 0.0 { *logit / self.repetition } else { *logit * self.repetition };
                }
            }
        }
        if self.frequency != 0.0 || self.presence != 0.0 {
            for (&token, &times) in &self.written {
                if let Some(logit) = row.get_mut(token as usize) {
                    *logit -= self.frequency * times as f32 + self.presence;
                }
            }
        }
        for &(token, bias) in &self.bias {
            if let Some(logit) = row.get_mut(token as usize) {
                *logit += bias;
            }
        }
    }

    /// Whether they change anything.
    pub(crate) fn are_set(&self) -> bool {
        self.count() || !self.bias.is_empty()
    }

    fn count(&self) -> bool {
        self.frequency != 0.0 || self.presence != 0.0 || self.repetition != 1.0
    }
}

#[cfg(test)]
mod tests {
    use weighbridge_backend::Sampling;
    use weighbridge_models::GenerationDefaults;

    use super::*;

    fn applied(sampling: Sampling, prompt: &[u32], written: &[u32], mut row: [f32; 3]) -> [f32; 3] {
        let mut penalties = Penalties::new(&Settings::new(&sampling, &GenerationDefaults::default()), prompt);
        written.iter().for_each(|&token| penalties.note(token));
        penalties.apply(&mut row);
        row
    }

    fn check(frequency: f32, presence: f32, written: &[u32], expected: [f32; 3]) {
        let penalties =
            Sampling { frequency_penalty: Some(frequency), presence_penalty: Some(presence), ..Sampling::default() };
        assert_eq!(applied(penalties, &[0, 1], written, [0.0; 3]), expected);
    }

    #[test]
    fn frequency_counts_each_time_and_presence_once_and_neither_the_prompt() {
        check(0.5, 0.0, &[1, 1, 2], [0.0, -1.0, -0.5]);
        check(0.0, 0.5, &[1, 1, 2], [0.0, -0.5, -0.5]);
        check(0.5, 0.25, &[1, 1], [0.0, -1.25, 0.0]);
        check(-0.5, 0.0, &[0], [0.5, 0.0, 0.0]);
        check(0.0, 0.0, &[0], [0.0; 3]);
    }

    #[test]
    fn repetition_counts_the_prompt_too_and_makes_either_sign_less_likely() {
        let penalty = |repetition| Sampling { repetition_penalty: Some(repetition), ..Sampling::default() };
        assert_eq!(applied(penalty(2.0), &[0], &[1, 1], [4.0, -4.0, 4.0]), [2.0, -8.0, 4.0]);
        assert_eq!(applied(penalty(2.0), &[1], &[1], [4.0, 4.0, 4.0]), [4.0, 2.0, 4.0]);
        for none in [1.0, 0.0, -1.0, f32::NAN, f32::INFINITY] {
            assert_eq!(applied(penalty(none), &[0], &[1], [4.0; 3]), [4.0; 3], "{none}");
        }
    }

    #[test]
    fn a_bias_is_added_and_a_token_beyond_the_row_is_no_matter() {
        let biased = Sampling { logit_bias: vec![(1, -100.0), (7, 1.0)], ..Sampling::default() };
        assert_eq!(applied(biased, &[], &[7], [1.0; 3]), [1.0, -99.0, 1.0]);
        check(1.0, 1.0, &[7], [0.0; 3]);
    }
}
