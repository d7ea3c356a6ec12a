//! Draws the next token from a row of logits.
//!
//! In this order: penalties and biases, what may not be drawn, temperature, top-k, top-p, min-p, draw. A temperature of 0 takes the best token
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
use weighbridge_dialogue::Mask;
use weighbridge_kernels::{Cpu, vector};
use weights::Weights;

/// The sampler of one engine thread: buffers that every sequence shares.
#[derive(Debug)]
pub(crate) struct Sampler {
    cpu: Cpu,
    changed: Vec<f32>,
    weights: Weights,
    candidates: Vec<Candidate>,
}

impl Default for Sampler {
    fn default() -> Self {
        let cpu = Cpu::new(1, None).expect("a processor has the best tier that it has");
        Self { cpu, changed: Vec::new(), weights: Weights::default(), candidates: Vec::new() }
    }
}

/// One draw of an answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Draw<'a> {
    pub(crate) settings: &'a Settings,
    pub(crate) penalties: &'a Penalties,
    /// Tokens that may not be drawn now: those that would end the answer too early.
    pub(crate) banned: &'a [u32],
    /// What a grammar allows.
    pub(crate) mask: Option<&'a Mask>,
    /// Which of the answers to the request it is for.
    pub(crate) choice: u32,
    /// Of the token in that answer, from 0.
    pub(crate) position: u64,
}

/// How likely the model holds a token to be, and which ones it holds to be likeliest.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Scores {
    /// Its natural logarithm.
    pub(crate) logprob: f64,
    /// Tokens with theirs, the likeliest first; among equals the lower id.
    pub(crate) best: Vec<(u32, f64)>,
}

impl Sampler {
    /// The token that comes next, from its logits. `None` where these hold no number to go by: the computation went
    /// wrong.
    pub(crate) fn pick(&mut self, row: &[f32], draw: Draw<'_>) -> Option<u32> {
        let Draw { settings, penalties, banned, mask, choice, position } = draw;
        let row = if penalties.are_set() || !banned.is_empty() || mask.is_some() {
            self.changed.clear();
            self.changed.extend_from_slice(row);
            penalties.apply(&mut self.changed);
            for &token in banned {
                if let Some(logit) = self.changed.get_mut(token as usize) {
                    *logit = f32::NEG_INFINITY;
                }
            }
            if let Some(mask) = mask {
                mask.apply(&mut self.changed);
            }
            &self.changed[..]
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

    /// How likely `token` is by the model's own distribution, which is the softmax of its logits before penalties,
    /// masks and temperature, and the `top` likeliest beside it. `None` where the row holds no number to go by.
    pub(crate) fn scores(&mut self, row: &[f32], token: u32, top: u32) -> Option<Scores> {
        let best = vector::arg_max(&self.cpu, row).filter(|&best| row[best].is_finite())?;
        let greatest = row[best];
        self.weights.fill(&self.cpu, row, greatest, 1.0);
        let normaliser = f64::from(greatest) + self.weights.total().ln();
        let logprob = |token: u32| row.get(token as usize).map(|&logit| f64::from(logit) - normaliser);
        cut::best(&self.weights, top as usize, &mut self.candidates);
        let best = self.candidates.iter().filter_map(|it| Some((it.token(), logprob(it.token())?))).collect();
        Some(Scores { logprob: logprob(token)?, best })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use weighbridge_backend::Sampling;
    use weighbridge_models::GenerationDefaults;

    use super::*;

    const ROW: [f32; 5] = [0.0, 2.0, 1.0, 2.0, -1.0];

    fn settings() -> Settings {
        Settings::new(&Sampling { seed: Some(7), ..Sampling::default() }, &GenerationDefaults::default())
    }

    fn pick(row: &[f32], settings: &Settings, position: u64) -> Option<u32> {
        pick_without(row, settings, position, &[])
    }

    fn pick_without(row: &[f32], settings: &Settings, position: u64, banned: &[u32]) -> Option<u32> {
        let penalties = Penalties::new(settings, &[]);
        let draw = Draw { settings, penalties: &penalties, banned, mask: None, choice: 0, position };
        Sampler::default().pick(row, draw)
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
        let greedy = Settings { temperature: 0.0, presence_penalty: 0.5, ..settings() };
        let mut penalties = Penalties::new(&greedy, &[]);
        penalties.note(1);
        let draw = Draw { settings: &greedy, penalties: &penalties, banned: &[], mask: None, choice: 0, position: 0 };
        assert_eq!(Sampler::default().pick(&ROW, draw), Some(3));
    }

    #[test]
    fn what_is_banned_is_never_drawn() {
        for position in 0..1000 {
            let drawn = pick_without(&ROW, &Settings { temperature: 2.0, ..settings() }, position, &[1, 3, 9]);
            assert!(matches!(drawn, Some(0 | 2 | 4)), "{drawn:?}");
        }
        assert_eq!(pick_without(&ROW, &settings(), 0, &[0, 1, 2, 3, 4]), None);
    }

    #[test]
    fn scores_are_the_softmax_of_the_logits() {
        let total: f64 = ROW.iter().map(|&logit| f64::from(logit).exp()).sum();
        let expected = |token: usize| (f64::from(ROW[token]).exp() / total).ln();
        let scores = Sampler::default().scores(&ROW, 4, 3).unwrap_or(Scores { logprob: 0.0, best: Vec::new() });
        assert!((scores.logprob - expected(4)).abs() < 1e-6);
        assert_eq!(scores.best.iter().map(|&(token, _)| token).collect::<Vec<_>>(), [1, 3, 2]);
        assert!(scores.best.iter().all(|&(token, logprob)| (logprob - expected(token as usize)).abs() < 1e-6));
        assert_eq!(Sampler::default().scores(&ROW, 0, 0).map(|scores| scores.best.len()), Some(0));
        assert_eq!(Sampler::default().scores(&ROW, 0, 9).map(|scores| scores.best.len()), Some(5));
        assert_eq!(Sampler::default().scores(&[f32::NAN], 0, 1), None);
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
            let nothing = Penalties::new(&settings, &[]);
            let draw = Draw { settings: &settings, penalties: &nothing, banned: &[], mask: None, choice: 0, position };
            used.pick(&[1.0, 2.0, 3.0], Draw { choice: 1, position: 9, ..draw });
            let token = used.pick(&row, draw);
            prop_assert!(token.is_some_and(|token| (token as usize) < row.len()));
            prop_assert_eq!(token, pick(&row, &settings, position));
        }
    }
}
