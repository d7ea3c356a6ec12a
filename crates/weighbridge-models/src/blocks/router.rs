//! Which experts a token goes through, and with what weight.

use crate::spec::{GroupsSpec, RouterSpec, Scoring};

/// What keeps a sum of weights from being zero, as DeepSeek's own code has it.
const SUM_MIN: f32 = 1e-20;

/// The experts of one token, given its score for each of them, or those of `table` weighed by the scores.
pub(crate) fn choose(
    spec: &RouterSpec,
    chosen: usize,
    scores: &[f32],
    choice_bias: Option<&[f32]>,
    table: Option<&[u32]>,
) -> Vec<(usize, f32)> {
    let mut chooser = Chooser::default();
    chooser.choose(spec, chosen, scores, choice_bias, table);
    chooser.chosen
}

/// Chooses for one token after the other, and keeps its memory.
#[derive(Debug, Default)]
pub(crate) struct Chooser {
    weights: Vec<f32>,
    merits: Vec<f32>,
    of_groups: Vec<f32>,
    places: Vec<usize>,
    taken: Vec<f32>,
    chosen: Vec<(usize, f32)>,
}

impl Chooser {
    /// What [`choose`] gives, which the next call changes.
    pub(crate) fn choose(
        &mut self,
        spec: &RouterSpec,
        chosen: usize,
        scores: &[f32],
        choice_bias: Option<&[f32]>,
        table: Option<&[u32]>,
    ) -> &mut [(usize, f32)] {
        if let Scoring::SparseMixer { jitter } = spec.scoring {
            return self.sparse_mixer(scores, chosen, jitter);
        }
        let Self { weights, merits, places, taken, .. } = self;
        copy(weights, scores);
        match spec.scoring {
            Scoring::Softmax => softmax(weights),
            Scoring::Sigmoid => weights.iter_mut().for_each(|score| *score = 1.0 / (1.0 + (-*score).exp())),
            Scoring::SqrtSoftplus => weights.iter_mut().for_each(|score| *score = softplus(*score).sqrt()),
            Scoring::SoftmaxOfChosen | Scoring::SparseMixer { .. } => {}
        }
        copy(merits, weights);
        for (merit, bias) in merits.iter_mut().zip(choice_bias.unwrap_or_default()) {
            *merit += bias;
        }
        if let Some(groups) = spec.groups {
            close_groups(merits, groups, &mut self.of_groups, places);
        }
        match table {
            Some(table) => {
                places.clear();
                places.extend(table.iter().map(|&expert| expert as usize));
            }
            None => best(merits, chosen, places),
        }
        taken.clear();
        taken.extend(places.iter().map(|&expert| weights[expert]));
        if spec.scoring == Scoring::SoftmaxOfChosen {
            softmax(taken);
        }
        let divisor = if spec.renormalise { taken.iter().sum::<f32>() + SUM_MIN } else { 1.0 };
        self.chosen.clear();
        let weighed = taken.iter().map(|weight| weight / divisor * spec.scale);
        self.chosen.extend(places.iter().copied().zip(weighed));
        &mut self.chosen
    }

    /// `sparsemixer` of transformers' `modeling_phimoe.py`, as it is when not training.
    fn sparse_mixer(&mut self, scores: &[f32], chosen: usize, jitter: f32) -> &mut [(usize, f32)] {
        let left = &mut self.merits;
        copy(left, scores);
        self.chosen.clear();
        best(scores, chosen, &mut self.places);
        for &expert in &self.places {
            let top = left[expert];
            let is_close = |score: f32| top - score <= 2.0 * jitter * score.abs().max(top);
            let close = scores.iter().zip(&*left).filter(|&(&score, &left)| left.is_finite() && is_close(score));
            let sum: f32 = close.map(|(score, _)| (score - top).exp()).sum();
            self.chosen.push((expert, 1.0 / sum));
            left[expert] = f32::NEG_INFINITY;
        }
        &mut self.chosen
    }
}

fn copy(to: &mut Vec<f32>, from: &[f32]) {
    to.clear();
    to.extend_from_slice(from);
}

/// The places of the largest numbers, largest first; of equals the first.
fn best(merits: &[f32], count: usize, places: &mut Vec<usize>) {
    let order = |one: &usize, other: &usize| merits[*other].total_cmp(&merits[*one]).then(one.cmp(other));
    places.clear();
    places.extend(0..merits.len());
    if count < places.len() {
        places.select_nth_unstable_by(count, order);
        places.truncate(count);
    }
    places.sort_unstable_by(order);
}

/// Takes all experts but those of the best groups out of the choice.
fn close_groups(merits: &mut [f32], groups: GroupsSpec, of_groups: &mut Vec<f32>, places: &mut Vec<usize>) {
    let size = (merits.len() / groups.count).max(1);
    of_groups.clear();
    for group in merits.chunks(size) {
        best(group, groups.best, places);
        of_groups.push(places.iter().map(|&expert| group[expert]).sum());
    }
    best(of_groups, groups.chosen, places);
    for (group, merits) in merits.chunks_mut(size).enumerate() {
        if !places.contains(&group) {
            merits.fill(f32::NEG_INFINITY);
        }
    }
}

/// `ln(1 + e^x)`, which is `x` in float32 where it is large.
fn softplus(x: f32) -> f32 {
    if x > 20.0 { x } else { x.exp().ln_1p() }
}

fn softmax(scores: &mut [f32]) {
    let largest = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    scores.iter_mut().for_each(|score| *score = (*score - largest).exp());
    let sum: f32 = scores.iter().sum();
    scores.iter_mut().for_each(|power| *power /= sum);
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: RouterSpec = RouterSpec::of(Scoring::Softmax);

    fn check(spec: RouterSpec, scores: &[f32], bias: Option<&[f32]>, expected: &[(usize, f32)]) {
        let found = choose(&spec, expected.len(), scores, bias, None);
        for ((expert, weight), (wanted, wanted_weight)) in found.iter().zip(expected) {
            assert!(expert == wanted && (weight - wanted_weight).abs() < 1e-6, "{found:?}, not {expected:?}");
        }
    }

    #[test]
    fn the_likeliest_experts_are_chosen_and_weighed_among_all_or_the_chosen() {
        let scores = [1_f32.ln(), 5_f32.ln(), 2_f32.ln(), 2_f32.ln()];
        check(PLAIN, &scores, None, &[(1, 0.5), (2, 0.2)]);
        check(RouterSpec { renormalise: true, scale: 2.0, ..PLAIN }, &scores, None, &[(1, 10.0 / 7.0), (2, 4.0 / 7.0)]);
        check(
            RouterSpec { scoring: Scoring::SoftmaxOfChosen, ..PLAIN },
            &scores,
            None,
            &[(1, 5.0 / 7.0), (2, 2.0 / 7.0)],
        );
    }

    #[test]
    fn a_choice_bias_chooses_and_does_not_weigh() {
        let spec = RouterSpec { scoring: Scoring::Sigmoid, choice_bias: true, ..PLAIN };
        check(spec, &[0.0, 1.0], Some(&[1.0, 0.0]), &[(0, 0.5)]);
    }

    #[test]
    fn experts_of_groups_that_are_not_among_the_best_are_out() {
        let groups = Some(GroupsSpec { count: 2, chosen: 1, best: 2 });
        let spec = RouterSpec { scoring: Scoring::Sigmoid, groups, ..PLAIN };
        let weight = |score: f32| 1.0 / (1.0 + (-score).exp());
        check(spec, &[3.0, -3.0, 1.0, 1.5], None, &[(3, weight(1.5)), (2, weight(1.0))]);
    }

    #[test]
    fn a_sparse_mixer_weighs_an_expert_among_those_that_come_close() {
        let spec = RouterSpec { scoring: Scoring::SparseMixer { jitter: 0.1 }, ..PLAIN };
        let close = 1.0 / (1.0 + (-0.1_f32).exp());
        check(spec, &[1.0, 0.9, 0.0], None, &[(0, close), (1, 1.0)]);
    }
}
