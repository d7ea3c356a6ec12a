//! Which tokens stay in the draw: the best k, the nucleus, and what is not too light.
//!
//! They are found by partial selection among the few that are heavy enough to be of them: the vocabulary is never
//! sorted, and the buffer of candidates is used again for every token of every sequence.

use std::cmp::Ordering;

use super::settings::Settings;
use super::weights::Weights;

/// A token in the draw. Candidates are ranked by weight, the greater first; among equals the lower id.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Candidate {
    weight: f32,
    token: u32,
}

impl Candidate {
    /// The token.
    pub(super) fn token(&self) -> u32 {
        self.token
    }
}

fn rank(a: &Candidate, b: &Candidate) -> Ordering {
    b.weight.total_cmp(&a.weight).then(a.token.cmp(&b.token))
}

/// How many candidates the nucleus looks at first; most answers need fewer.
const FIRST_LOOK: usize = 64;

/// Makes `candidates` those that stay, in the order of their ids: of the best `top_k` (0: of all) the fewest whose share
/// reaches `top_p` (1 or more: all of them), without those that weigh less than `min_p`.
pub(super) fn keep(weights: &Weights, settings: &Settings, candidates: &mut Vec<Candidate>) {
    let (top_k, top_p) = (settings.top_k, settings.top_p);
    // 0 where it is not a number.
    let min_p = settings.min_p.max(0.0);
    let limits_count = top_k > 0 && top_k < weights.len();
    let limits_share = top_p < 1.0;
    let least = match (limits_count, limits_share) {
        (true, _) => least_of_best(weights.greatest(), top_k, candidates),
        // Tokens lighter than this hold, all together, less than half the share that may be left out (half, so
        // that rounding does not matter).
        (false, true) => (0.5 * (1.0 - f64::from(top_p.max(0.0))) * weights.total() / weights.len() as f64) as f32,
        (false, false) => min_p,
    };
    candidates.clear();
    candidates.extend(weights.at_least(least).map(|(token, weight)| Candidate { weight, token: token as u32 }));
    if limits_count && top_k < candidates.len() {
        candidates.select_nth_unstable_by(top_k, rank);
        candidates.truncate(top_k);
    }
    if limits_share {
        let total = if limits_count { sum(candidates) } else { weights.total() };
        let kept = nucleus(candidates, f64::from(top_p) * total);
        candidates.truncate(kept);
    }
    candidates.retain(|candidate| candidate.weight >= min_p);
    candidates.sort_unstable_by_key(|candidate| candidate.token);
}

/// Makes `candidates` the best `count`, the best first.
pub(super) fn best(weights: &Weights, count: usize, candidates: &mut Vec<Candidate>) {
    candidates.clear();
    if count == 0 {
        return;
    }
    let least = least_of_best(weights.greatest(), count, candidates);
    candidates.clear();
    candidates.extend(weights.at_least(least).map(|(token, weight)| Candidate { weight, token: token as u32 }));
    if count < candidates.len() {
        candidates.select_nth_unstable_by(count, rank);
        candidates.truncate(count);
    }
    candidates.sort_unstable_by(rank);
}

fn sum(candidates: &[Candidate]) -> f64 {
    candidates.iter().map(|candidate| f64::from(candidate.weight)).sum()
}

/// A weight that the best `count` tokens reach: so many blocks have one that does.
fn least_of_best(greatest: &[f32], count: usize, space: &mut Vec<Candidate>) -> f32 {
    if count > greatest.len() {
        return 0.0;
    }
    space.clear();
    space.extend(greatest.iter().map(|&weight| Candidate { weight, token: 0 }));
    space.select_nth_unstable_by(count - 1, rank).1.weight
}

/// How many candidates it takes until their weights, summed from the best down, reach `enough`. They come first then.
fn nucleus(candidates: &mut [Candidate], enough: f64) -> usize {
    let all = candidates.len();
    let mut rest = candidates;
    let mut look = FIRST_LOOK;
    let mut sum = 0.0;
    while !rest.is_empty() {
        if look < rest.len() {
            rest.select_nth_unstable_by(look - 1, rank);
        }
        let before = all - rest.len();
        let (best, others) = rest.split_at_mut(look.min(rest.len()));
        best.sort_unstable_by(rank);
        for (at, candidate) in best.iter().enumerate() {
            sum += f64::from(candidate.weight);
            if sum >= enough {
                return before + at + 1;
            }
        }
        rest = others;
        look *= 4;
    }
    all
}

/// The candidate at which the weights, summed in order, pass the share `at` of their total, as [`Weights::draw`].
pub(super) fn draw(candidates: &[Candidate], at: f64) -> Option<usize> {
    let target = at * sum(candidates);
    let mut sum = 0.0;
    let drawn = candidates.iter().find(|candidate| {
        sum += f64::from(candidate.weight);
        sum > target
    });
    drawn.map(|candidate| candidate.token as usize)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use weighbridge_backend::Sampling;
    use weighbridge_models::GenerationDefaults;

    use super::*;

    /// The same by sorting everything.
    fn kept_by_sorting(weights: &[f32], top_k: usize, top_p: f32) -> Vec<u32> {
        let mut sorted: Vec<_> =
            weights.iter().enumerate().map(|(token, &w)| Candidate { weight: w, token: token as u32 }).collect();
        sorted.sort_by(rank);
        if top_k > 0 {
            sorted.truncate(top_k);
        }
        let total: f64 = sorted.iter().map(|c| f64::from(c.weight)).sum();
        let mut sum = 0.0;
        let mut kept = Vec::new();
        for candidate in sorted {
            kept.push(candidate.token);
            sum += f64::from(candidate.weight);
            if top_p < 1.0 && sum >= f64::from(top_p) * total {
                break;
            }
        }
        kept.sort_unstable();
        kept
    }

    fn kept(weights: &[f32], top_k: usize, top_p: f32) -> Vec<u32> {
        let plain = Settings::new(&Sampling::default(), &GenerationDefaults::default());
        let settings = Settings { top_k, top_p, ..plain };
        let mut candidates = Vec::new();
        keep(&Weights::of(weights), &settings, &mut candidates);
        candidates.iter().map(|candidate| candidate.token).collect()
    }

    #[test]
    fn equals_stay_by_their_lower_id() {
        assert_eq!(kept(&[1.0, 1.0, 1.0], 2, 1.0), [0, 1]);
        assert_eq!(kept(&[1.0, 1.0, 1.0, 1.0], 0, 0.5), [0, 1]);
    }

    #[test]
    fn the_best_token_always_stays() {
        assert_eq!(kept(&[0.1, 1.0, 0.5], 0, 1e-9), [1]);
        assert_eq!(kept(&[0.1, 1.0, 0.5], 1, 0.0), [1]);
    }

    proptest! {
        #[test]
        fn partial_selection_keeps_what_sorting_keeps(
            // Eighths add up exactly in any order, so that both ways see the same sums.
            weights in prop::collection::vec((0u8..=8).prop_map(|eighths| f32::from(eighths) / 8.0), 1..600),
            best in any::<prop::sample::Index>(),
            top_k in prop_oneof![Just(0usize), 1usize..700],
            top_p in prop_oneof![Just(1.0f32), 0.01f32..1.0],
        ) {
            let mut weights = weights;
            let best = best.index(weights.len());
            weights[best] = 1.0;
            prop_assert_eq!(kept(&weights, top_k, top_p), kept_by_sorting(&weights, top_k, top_p));
        }
    }
}
