//! Which tokens stay in the draw: the best k, and the nucleus.
//!
//! Both come down to one worst token that still stays. It is found by partial selection: the vocabulary is
//! never sorted, and the buffer of candidates is used again for every token of every sequence.

use std::cmp::Ordering;

/// A token in the draw. Candidates are ranked by weight, the greater first; among equals the lower id.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Candidate {
    weight: f32,
    token: u32,
}

impl Candidate {
    pub(crate) fn new(weight: f32, token: usize) -> Self {
        Self { weight, token: token as u32 }
    }

    /// Whether it ranks as high as `worst` or higher.
    pub(crate) fn reaches(&self, worst: &Self) -> bool {
        rank(self, worst) != Ordering::Greater
    }
}

fn rank(a: &Candidate, b: &Candidate) -> Ordering {
    b.weight.total_cmp(&a.weight).then(a.token.cmp(&b.token))
}

/// How many candidates the nucleus looks at first; most answers need fewer.
const FIRST_LOOK: usize = 64;

/// The worst token that stays in the draw when only the best `top_k` of it stay (0: all of them), and of
/// these the fewest whose share reaches `top_p` (1 or more: all of them). `None` where every token stays.
///
/// `weights` are shares of the draw up to a common factor, none of them negative or not a number.
pub(crate) fn worst_kept(
    weights: &[f32],
    top_k: usize,
    top_p: f32,
    candidates: &mut Vec<Candidate>,
) -> Option<Candidate> {
    let limits_count = top_k > 0 && top_k < weights.len();
    let limits_share = top_p < 1.0;
    if !limits_count && !limits_share {
        return None;
    }
    candidates.clear();
    let total = if limits_count {
        candidates.extend(weights.iter().enumerate().map(|(token, &weight)| Candidate::new(weight, token)));
        candidates.select_nth_unstable_by(top_k - 1, rank);
        candidates.truncate(top_k);
        if !limits_share {
            return candidates.last().copied();
        }
        candidates.iter().map(|candidate| f64::from(candidate.weight)).sum()
    } else {
        let total: f64 = weights.iter().map(|&weight| f64::from(weight)).sum();
        // Tokens lighter than this hold, all together, less than half the share that may be left out (half, so
        // that rounding does not matter): a first sieve that leaves few to rank.
        let least = (0.5 * (1.0 - f64::from(top_p)) * total / weights.len() as f64) as f32;
        let all = weights.iter().enumerate().map(|(token, &weight)| Candidate::new(weight, token));
        candidates.extend(all.filter(|candidate| candidate.weight >= least));
        total
    };
    worst_of_nucleus(candidates, f64::from(top_p) * total)
}

/// The candidate at which the weights, summed from the best down, reach `enough`.
fn worst_of_nucleus(candidates: &mut [Candidate], enough: f64) -> Option<Candidate> {
    let mut rest = candidates;
    let mut look = FIRST_LOOK;
    let mut sum = 0.0;
    let mut worst = None;
    while !rest.is_empty() {
        if look < rest.len() {
            rest.select_nth_unstable_by(look - 1, rank);
        }
        let (best, others) = rest.split_at_mut(look.min(rest.len()));
        best.sort_unstable_by(rank);
        for candidate in best.iter() {
            worst = Some(*candidate);
            sum += f64::from(candidate.weight);
            if sum >= enough {
                return worst;
            }
        }
        rest = others;
        look *= 4;
    }
    worst
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The same by sorting everything.
    fn kept_by_sorting(weights: &[f32], top_k: usize, top_p: f32) -> Vec<u32> {
        let mut sorted: Vec<_> = weights.iter().enumerate().map(|(token, &w)| Candidate::new(w, token)).collect();
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
        let worst = worst_kept(weights, top_k, top_p, &mut Vec::new());
        let all = weights.iter().enumerate().map(|(token, &weight)| Candidate::new(weight, token));
        all.filter(|candidate| worst.is_none_or(|worst| candidate.reaches(&worst))).map(|c| c.token).collect()
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
