//! Draws the next token from a row of logits.
//!
//! In this order: penalties, temperature, top-k, top-p, min-p, draw. A temperature of 0 takes the best token
//! instead, the lowest id among equals. Nothing is kept from one token to the next but buffers, and random
//! numbers come by counter ([`random`]), so that a seed gives the same text whatever else runs.

mod cut;
mod penalties;
mod random;
mod settings;
mod weights;

use cut::Candidate;
pub(crate) use penalties::Penalties;
pub(crate) use settings::Settings;
use weighbridge_kernels::{Cpu, vector};
use weights::Weights;

/// The sampler of one engine thread: buffers that every sequence shares.
#[derive(Debug)]
pub(crate) struct Sampler {
    cpu: Cpu,
    penalised: Vec<f32>,
    weights: Weights,
    candidates: Vec<Candidate>,
}

impl Default for Sampler {
    fn default() -> Self {
        let cpu = Cpu::new(1, None).expect("a processor has the best tier that it has");
        Self { cpu, penalised: Vec::new(), weights: Weights::default(), candidates: Vec::new() }
    }
}

impl Sampler {
    /// The token at `position` (from 0) of the answer that is number `choice`, from its logits. `None` where the
    /// logits hold no number to go by: the computation went wrong.
    pub(crate) fn pick(
        &mut self,
        row: &[f32],
        settings: &Settings,
        penalties: &Penalties,
        choice: u32,
        position: u64,
    ) -> Option<u32> {
        let row = if penalties.are_set() {
            self.penalised.clear();
            self.penalised.extend_from_slice(row);
            penalties.apply(&mut self.penalised);
            &self.penalised[..]
        } else {
            row
        };
        let best = vector::arg_max(&self.cpu, row).filter(|&best| row[best].is_finite())?;
        if settings.is_greedy() {
            return u32::try_from(best).ok();
        }
        self.weights.fill(&self.cpu, row, row[best], settings.temperature);
        let at = random::uniform(settings.seed, choice, position);
        let drawn = if settings.leaves_out() {
            cut::keep(&self.weights, settings, &mut self.candidates);
            cut::draw(&self.candidates, at)
        } else {
            self.weights.draw(at)
        };
        u32::try_from(drawn.unwrap_or(best)).ok()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ROW: [f32; 5] = [0.0, 2.0, 1.0, 2.0, -1.0];

    fn settings() -> Settings {
        Settings {
            temperature: 1.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            frequency_penalty: 0.0,
            presence_penalty: 0.0,
            seed: 7,
        }
    }

    fn pick(row: &[f32], settings: &Settings, position: u64) -> Option<u32> {
        Sampler::default().pick(row, settings, &Penalties::new(0.0, 0.0), 0, position)
    }

    /// Which of five tokens come up in a thousand draws, and how often.
    fn histogram(settings: &Settings) -> [u32; 5] {
        let mut counts = [0; 5];
        for position in 0..1000 {
            if let Some(token) = pick(&ROW, settings, position) {
                counts[token as usize] += 1;
            }
        }
        counts
    }

    #[test]
    fn greedy_takes_the_lowest_id_among_equals() {
        assert_eq!(pick(&ROW, &Settings { temperature: 0.0, ..settings() }, 0), Some(1));
    }

    #[test]
    fn a_row_without_a_number_is_no_answer() {
        for row in [&[][..], &[f32::NAN], &[f32::NEG_INFINITY; 3], &[f32::INFINITY, 0.0]] {
            assert_eq!(pick(row, &settings(), 0), None, "{row:?}");
        }
        assert_eq!(pick(&[f32::NAN, 1.0, f32::NEG_INFINITY], &settings(), 0), Some(1));
    }

    #[test]
    fn tokens_come_up_as_often_as_their_probability_says() {
        let counts = histogram(&settings());
        let total: f32 = ROW.iter().map(|logit| logit.exp()).sum();
        for (count, logit) in counts.iter().zip(ROW) {
            let expected = 1000.0 * logit.exp() / total;
            assert!((*count as f32 - expected).abs() < 50.0, "{counts:?}");
        }
    }

    #[test]
    fn each_limit_leaves_the_rest_out() {
        let only = |settings: Settings| histogram(&settings).map(|count| count > 0);
        assert_eq!(only(Settings { top_k: 3, ..settings() }), [false, true, true, true, false]);
        assert_eq!(only(Settings { top_p: 0.5, ..settings() }), [false, true, false, true, false]);
        assert_eq!(only(Settings { min_p: 0.3, ..settings() }), [false, true, true, true, false]);
        assert_eq!(only(Settings { temperature: 1e-30, ..settings() }), [false, true, false, true, false]);
        assert_eq!(only(Settings { top_k: 1, temperature: 2.0, ..settings() }), [false, true, false, false, false]);
    }

    #[test]
    fn a_penalty_turns_greed_elsewhere() {
        let mut penalties = Penalties::new(0.0, 0.5);
        penalties.note(1);
        let greedy = Settings { temperature: 0.0, ..settings() };
        assert_eq!(Sampler::default().pick(&ROW, &greedy, &penalties, 0, 0), Some(3));
    }

    proptest! {
        #[test]
        fn a_draw_is_a_token_of_the_row_and_depends_on_nothing_before(
            row in prop::collection::vec(-20f32..20.0, 1..200),
            temperature in 0f32..3.0,
            top_k in 0usize..300,
            top_p in 0f32..1.2,
            min_p in 0f32..=1.0,
            seed: u64,
            position: u64,
        ) {
            let settings = Settings { temperature, top_k, top_p, min_p, seed, ..settings() };
            let mut used = Sampler::default();
            let nothing = Penalties::new(0.0, 0.0);
            used.pick(&[1.0, 2.0, 3.0], &settings, &nothing, 1, 9);
            let token = used.pick(&row, &settings, &nothing, 0, position);
            prop_assert!(token.is_some_and(|token| (token as usize) < row.len()));
            prop_assert_eq!(token, pick(&row, &settings, position));
        }
    }
}
