//! Penalties on what was written already.

use std::collections::HashMap;

/// Lowers the logits of tokens that an answer holds already, as OpenAI defines it: by the frequency penalty
/// for each time the token was written, and by the presence penalty once.
///
/// Only tokens of the answer count, not those of the prompt.
#[derive(Debug)]
pub(crate) struct Penalties {
    frequency: f32,
    presence: f32,
    /// How often each token was written; kept only where a penalty asks for it.
    written: HashMap<u32, u32>,
}

impl Penalties {
    pub(crate) fn new(frequency: f32, presence: f32) -> Self {
        Self { frequency, presence, written: HashMap::new() }
    }

    /// Takes note of a token of the answer.
    pub(crate) fn note(&mut self, token: u32) {
        if self.are_set() {
            *self.written.entry(token).or_default() += 1;
        }
    }

    /// Lowers the logits of `row` in place.
    pub(crate) fn apply(&self, row: &mut [f32]) {
        if !self.are_set() {
            return;
        }
        for (&token, &times) in &self.written {
            if let Some(logit) = row.get_mut(token as usize) {
                *logit -= self.frequency * times as f32 + self.presence;
            }
        }
    }

    /// Whether they change anything.
    pub(crate) fn are_set(&self) -> bool {
        self.frequency != 0.0 || self.presence != 0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(frequency: f32, presence: f32, written: &[u32], expected: [f32; 3]) {
        let mut penalties = Penalties::new(frequency, presence);
        written.iter().for_each(|&token| penalties.note(token));
        let mut row = [0.0; 3];
        penalties.apply(&mut row);
        assert_eq!(row, expected);
    }

    #[test]
    fn frequency_counts_each_time_and_presence_once() {
        check(0.5, 0.0, &[1, 1, 2], [0.0, -1.0, -0.5]);
        check(0.0, 0.5, &[1, 1, 2], [0.0, -0.5, -0.5]);
        check(0.5, 0.25, &[1, 1], [0.0, -1.25, 0.0]);
        check(-0.5, 0.0, &[0], [0.5, 0.0, 0.0]);
        check(0.0, 0.0, &[0], [0.0; 3]);
    }

    #[test]
    fn a_token_beyond_the_row_is_no_matter() {
        check(1.0, 1.0, &[7], [0.0; 3]);
    }
}
