//! A mixture of experts: the twin of `blocks::experts`.

use weighbridge_kernels::{Cpu, Rows as Activations, vector};

use super::feed_forward::Mlp;
use super::projection::Projection;
use super::{Cost, Scratch};
use crate::blocks::experts as reference;
use crate::blocks::router;
use crate::spec::RouterSpec;

#[derive(Debug)]
pub(super) struct Experts {
    router: RouterSpec,
    chosen: usize,
    gate: Projection,
    choice_bias: Option<Vec<f32>>,
    experts: Vec<Mlp>,
    shared: Option<Mlp>,
    shared_scale: f32,
    shared_gate: Option<Projection>,
}

impl Experts {
    pub(super) fn of(experts: &reference::Experts) -> Option<Self> {
        if experts.table.is_some() || experts.scales.is_some() {
            return None;
        }
        Some(Self {
            router: experts.router,
            chosen: experts.chosen,
            gate: Projection::of(&experts.gate)?,
            choice_bias: experts.choice_bias.clone(),
            experts: experts.experts.iter().map(Mlp::of).collect::<Option<_>>()?,
            shared: match &experts.shared {
                Some(shared) => Some(Mlp::of(shared)?),
                None => None,
            },
            shared_scale: experts.shared_scale as f32,
            shared_gate: match &experts.shared_gate {
                Some(gate) => Some(Projection::of(gate)?),
                None => None,
            },
        })
    }

    /// Of the experts a token goes through.
    pub(super) fn cost(&self) -> Cost {
        let experts = self.experts.iter().take(self.chosen).map(Mlp::cost);
        let shared = self.shared.iter().map(Mlp::cost);
        experts.chain(shared).fold(Cost::of(&self.gate), Cost::plus)
    }

    /// From `normed` to `out`. Each expert computes the rows of its tokens at once; what a row gets is added in the
    /// order of the experts, so that it does not depend on other rows.
    pub(super) fn forward(&self, cpu: &Cpu, scratch: &mut Scratch) {
        let Scratch { normed, inner, other, gate, up, out, key, value, .. } = scratch;
        let (count, hidden) = (normed.count(), normed.width());
        let scores = key;
        scores.resize(count * self.gate.outputs(), 0.0);
        self.gate.round(cpu, normed);
        cpu.product(normed, &mut [self.gate.product(scores)]);
        let buckets = self.buckets(scores, count);

        out.clear();
        out.resize(count * hidden, 0.0);
        let given = value;
        let mut run = |mlp: &Mlp, rows: &mut Activations, given: &mut Vec<f32>| {
            mlp.between(cpu, rows, gate, up, inner);
            given.resize(rows.count() * hidden, 0.0);
            mlp.down().round(cpu, inner);
            cpu.product(inner, &mut [mlp.down().product(given)]);
        };
        for (expert, bucket) in self.experts.iter().zip(&buckets).filter(|(_, bucket)| !bucket.is_empty()) {
            let x = normed.plain_rows();
            cpu.each_row(other.prepare(bucket.len(), hidden), hidden, |at, to| {
                let (row, weight) = bucket[at];
                to.copy_from_slice(&x[row * hidden..][..hidden]);
                if self.router.weighs_input {
                    to.iter_mut().for_each(|x| *x *= weight);
                }
            });
            run(expert, other, given);
            for (&(row, weight), given) in bucket.iter().zip(given.chunks_exact(hidden)) {
                let weight = if self.router.weighs_input { 1.0 } else { weight };
                out[row * hidden..][..hidden].iter_mut().zip(given).for_each(|(out, given)| *out += weight * given);
            }
        }
        if let Some(shared) = &self.shared {
            let shares = self.shares(cpu, normed);
            run(shared, normed, given);
            for (row, (out, given)) in out.chunks_exact_mut(hidden).zip(given.chunks_exact(hidden)).enumerate() {
                let share = shares.as_ref().map_or(1.0, |shares| shares[row]) * self.shared_scale;
                out.iter_mut().zip(given).for_each(|(out, given)| *out += share * given);
            }
        }
    }

    /// For each expert its rows and their weights.
    fn buckets(&self, scores: &[f32], count: usize) -> Vec<Vec<(usize, f32)>> {
        let mut buckets = vec![Vec::new(); self.experts.len()];
        for (row, scores) in scores.chunks_exact(scores.len() / count).enumerate() {
            for (expert, weight) in router::choose(&self.router, self.chosen, scores, self.choice_bias.as_deref(), None)
            {
                buckets[expert].push((row, weight));
            }
        }
        buckets
    }

    /// What the shared expert's answer is multiplied by, for each row.
    fn shares(&self, cpu: &Cpu, normed: &mut Activations) -> Option<Vec<f32>> {
        let gate = self.shared_gate.as_ref()?;
        let mut shares = vec![0.0; normed.count()];
        gate.round(cpu, normed);
        cpu.product(normed, &mut [gate.product(&mut shares)]);
        vector::sigmoid(cpu, &mut shares);
        Some(shares)
    }
}
