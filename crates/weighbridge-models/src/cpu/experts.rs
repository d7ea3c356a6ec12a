//! A mixture of experts: the twin of `blocks::experts`.
//!
//! The rows of a step are sorted into runs, one for each expert, and the experts' first products are one piece of work,
//! their last products another. What a row gets is added in the order of the experts, so that it does not depend on
//! other rows.

use std::mem;
use std::ops::Range;

use weighbridge_kernels::{Cpu, Needs, Part, Rows as Activations, vector};

use super::feed_forward::Mlp;
use super::projection::Projection;
use super::{Cost, Scratch};
use crate::blocks::experts as reference;
use crate::blocks::router::Chooser;
use crate::spec::RouterSpec;

#[derive(Debug)]
pub(super) struct Experts {
    router: RouterSpec,
    chosen: usize,
    gate: Projection,
    choice_bias: Option<Vec<f32>>,
    experts: Vec<Mlp>,
    /// What the experts' own rows are rounded for, and what meets their last matrices.
    expert_needs: [Needs; 2],
    shared: Option<Mlp>,
    shared_scale: f32,
    shared_gate: Option<Projection>,
}

/// Which rows go through which experts, and what they compute; kept for its memory.
#[derive(Debug, Default)]
pub(super) struct Mixture {
    chooser: Chooser,
    scores: Vec<f32>,
    /// For each row the experts that were chosen, in their order, and their weights: `[rows, chosen]`.
    choices: Vec<(usize, f32)>,
    /// For each of those its place among the rows of all experts.
    places: Vec<usize>,
    /// The rows of the first expert, then those of the second, and so on, each with its expert and weight.
    runs: Vec<Routed>,
    /// Where the rows of each expert end in `runs`.
    ends: Vec<usize>,
    of_experts: Computed,
    of_shared: Computed,
    /// What the shared expert's answer is multiplied by, for each row.
    shares: Vec<f32>,
}

/// A row on its way through an expert.
#[derive(Clone, Copy, Debug, Default)]
struct Routed {
    row: usize,
    expert: usize,
    weight: f32,
}

#[derive(Debug, Default)]
struct Computed {
    rows: Activations,
    gate: Vec<f32>,
    up: Vec<f32>,
    inner: Activations,
    given: Vec<f32>,
}

impl Experts {
    pub(super) fn of(experts: &reference::Experts) -> Option<Self> {
        if experts.table.is_some() || experts.scales.is_some() {
            return None;
        }
        let mlps: Vec<_> = experts.experts.iter().map(Mlp::of).collect::<Option<_>>()?;
        let shape = |mlp: &Mlp| (mlp.width(), mlp.is_gated());
        if mlps.iter().any(|mlp| shape(mlp) != shape(&mlps[0])) {
            return None;
        }
        Some(Self {
            router: experts.router,
            chosen: experts.chosen,
            gate: Projection::of(&experts.gate)?,
            choice_bias: experts.choice_bias.clone(),
            expert_needs: [
                Projection::needs_of(mlps.iter().flat_map(Mlp::first)),
                Projection::needs_of(mlps.iter().map(Mlp::down)),
            ],
            experts: mlps,
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

    /// What its input is rounded for.
    pub(super) fn needs(&self) -> Needs {
        let shared = self.shared.iter().flat_map(Mlp::first);
        Projection::needs_of([&self.gate].into_iter().chain(&self.shared_gate).chain(shared)).and(self.expert_needs[0])
    }

    /// From `normed` to what [`Self::gather`] gives.
    pub(super) fn forward(&self, cpu: &Cpu, scratch: &mut Scratch) {
        let Scratch { normed, mixture, .. } = scratch;
        let (count, hidden) = (normed.count(), normed.width());
        self.route(cpu, normed, mixture);
        let Mixture { runs, ends, of_experts, of_shared, .. } = mixture;
        let Computed { rows, gate, up, inner, given } = of_experts;

        // One row meets its experts where it is, unless it comes to each with a weight of its own.
        let alone = count == 1 && !self.router.weighs_input;
        if !alone {
            let x = normed.plain_rows();
            rows.fill(cpu, (runs.len(), hidden), self.expert_needs[0], |at, to| {
                let Routed { row, weight, .. } = runs[at];
                to.copy_from_slice(&x[row * hidden..][..hidden]);
                if self.router.weighs_input {
                    to.iter_mut().for_each(|x| *x *= weight);
                }
            });
        }
        let rows = if alone { &*normed } else { &*rows };
        let width = self.experts[0].width();
        let gate_width = if self.experts[0].is_gated() { width } else { 0 };
        gate.resize(runs.len() * gate_width, 0.0);
        up.resize(runs.len() * width, 0.0);
        let (mut gates, mut ups) = (&mut gate[..], &mut up[..]);
        let first = non_empty(ends).flat_map(|(expert, run)| {
            let (gate, up) = (take(&mut gates, run.len() * gate_width), take(&mut ups, run.len() * width));
            self.experts[expert].parts(rows, if alone { 0..1 } else { run }, gate, up)
        });
        let Computed { gate: shared_gate, up: shared_up, inner: shared_inner, given: shared_given, .. } = of_shared;
        let of_shared = self.shared.as_ref().map(|shared| {
            shared_up.resize(count * shared.width(), 0.0);
            shared_gate.resize(if shared.is_gated() { shared_up.len() } else { 0 }, 0.0);
            shared.parts(normed, 0..count, shared_gate, shared_up)
        });
        cpu.products(first.chain(of_shared.into_iter().flatten()));

        inner.fill(cpu, (runs.len(), width), self.expert_needs[1], |at, to| {
            self.experts[runs[at].expert].activate(cpu, at, gate, up, to);
        });
        if let Some(shared) = &self.shared {
            let (gate, up) = (&*shared_gate, &*shared_up);
            shared.down().fill(cpu, shared_inner, count, |row, to| shared.activate(cpu, row, gate, up, to));
        }
        let (inner, shared_inner) = (&*inner, &*shared_inner);
        given.resize(runs.len() * hidden, 0.0);
        shared_given.resize(if self.shared.is_some() { count * hidden } else { 0 }, 0.0);
        let mut places = &mut given[..];
        let last = non_empty(ends).map(|(expert, run)| {
            let to = take(&mut places, run.len() * hidden);
            Part { rows: inner, range: run, product: self.experts[expert].down().product(to) }
        });
        let of_shared = self.shared.as_ref().map(|shared| Part {
            rows: shared_inner,
            range: 0..count,
            product: shared.down().product(shared_given),
        });
        cpu.products(last.chain(of_shared));
    }

    /// What a row gets from its experts and the shared one.
    pub(super) fn gather(&self, cpu: &Cpu, mixture: &Mixture, row: usize, to: &mut [f32]) {
        let Mixture { runs, places, of_experts, of_shared, shares, .. } = mixture;
        let hidden = to.len();
        to.fill(0.0);
        for &at in &places[row * self.each()..][..self.each()] {
            let weight = if self.router.weighs_input { 1.0 } else { runs[at].weight };
            vector::add_weighed(cpu, to, weight, &of_experts.given[at * hidden..][..hidden]);
        }
        if self.shared.is_some() {
            let share = shares.get(row).copied().unwrap_or(1.0) * self.shared_scale;
            vector::add_weighed(cpu, to, share, &of_shared.given[row * hidden..][..hidden]);
        }
    }

    /// Experts that each row goes through.
    fn each(&self) -> usize {
        self.chosen.min(self.experts.len())
    }

    /// Chooses the experts of each row, and sorts the rows by expert.
    fn route(&self, cpu: &Cpu, normed: &Activations, mixture: &mut Mixture) {
        let Mixture { chooser, scores, choices, places, runs, ends, shares, .. } = mixture;
        let (count, experts) = (normed.count(), self.gate.outputs());
        scores.resize(count * experts, 0.0);
        shares.resize(if self.shared_gate.is_some() { count } else { 0 }, 0.0);
        let product = |product| Part { rows: normed, range: 0..count, product };
        let of_shared = self.shared_gate.as_ref().map(|gate| product(gate.product(shares)));
        cpu.products([product(self.gate.product(scores))].into_iter().chain(of_shared));
        vector::sigmoid(cpu, shares);

        choices.clear();
        ends.clear();
        ends.resize(self.experts.len(), 0);
        for scores in scores.chunks_exact(experts) {
            let chosen = chooser.choose(&self.router, self.chosen, scores, self.choice_bias.as_deref(), None);
            chosen.sort_unstable_by_key(|&(expert, _)| expert);
            chosen.iter().for_each(|&(expert, _)| ends[expert] += 1);
            choices.extend_from_slice(chosen);
        }
        // From how many rows each has to where they start, which moves on to where they end as they come.
        let mut start = 0;
        for end in ends.iter_mut() {
            (start, *end) = (start + *end, start);
        }
        runs.resize(choices.len(), Routed::default());
        places.clear();
        for (at, &(expert, weight)) in choices.iter().enumerate() {
            let place = ends[expert];
            ends[expert] += 1;
            runs[place] = Routed { row: at / self.each(), expert, weight };
            places.push(place);
        }
    }
}

/// The experts that have rows, and which.
fn non_empty(ends: &[usize]) -> impl Iterator<Item = (usize, Range<usize>)> {
    let starts = [0].into_iter().chain(ends.iter().copied());
    starts.zip(ends).map(|(start, &end)| start..end).enumerate().filter(|(_, run)| !run.is_empty())
}

/// Takes the first numbers off.
fn take<'a>(rest: &mut &'a mut [f32], count: usize) -> &'a mut [f32] {
    let (first, others) = mem::take(rest).split_at_mut(count);
    *rest = others;
    first
}
