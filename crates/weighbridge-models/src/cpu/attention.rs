//! Grouped-query attention over pages: the twin of `blocks::attention`.

use weighbridge_kernels::{AttentionOptions, Cpu, KvType, Look, PAGE_TOKENS, PageShape, Pages, vector};

use super::norm::{Norm, numbers};
use super::projection::Projection;
use super::turns::Turns;
use super::{Cost, Scratch, StepRows};
use crate::blocks::attention as reference;
use crate::spec::{AttentionSpec, HeadNorm, KeysValues};

#[derive(Debug)]
pub(super) struct Attention {
    spec: AttentionSpec,
    query: Projection,
    key: Projection,
    value: Projection,
    output: Projection,
    query_norm: Option<HeadsNorm>,
    key_norm: Option<HeadsNorm>,
    sinks: Option<Vec<f32>>,
}

/// How queries or keys are normalised.
#[derive(Debug)]
struct HeadsNorm {
    norm: Norm,
    /// `[heads, head_dim]`, where each head has its own.
    weight: Option<Vec<f32>>,
    kind: HeadNorm,
}

impl Attention {
    pub(super) fn of(attention: &reference::Attention) -> Option<Self> {
        let spec = attention.spec.clone();
        if spec.keys_values != KeysValues::Apart || spec.value_norm {
            return None;
        }
        let norm = |norm: &Option<_>, weight: &Option<_>| match (norm, spec.head_norm) {
            (Some(norm), Some(kind)) => {
                let weight = weight.as_ref().map(|weight| numbers(weight).ok_or(())).transpose().ok()?;
                Some(Some(HeadsNorm { norm: Norm::of(norm)?, weight, kind }))
            }
            _ => Some(None),
        };
        Some(Self {
            query: Projection::of(&attention.query)?,
            key: Projection::of(attention.key.as_ref()?)?,
            value: Projection::of(attention.value.as_ref()?)?,
            output: Projection::of(&attention.output)?,
            query_norm: norm(&attention.query_norm, &attention.query_weight)?,
            key_norm: norm(&attention.key_norm, &attention.key_weight)?,
            sinks: match &attention.sinks {
                Some(sinks) => Some(numbers(sinks)?),
                None => None,
            },
            spec,
        })
    }

    pub(super) fn cost(&self) -> Cost {
        Cost::of_all([&self.query, &self.key, &self.value, &self.output])
    }

    pub(super) fn page_shape(&self, kind: KvType) -> PageShape {
        let AttentionSpec { kv_heads, head_dim, .. } = self.spec;
        PageShape { heads: kv_heads, key_dim: head_dim, value_dim: head_dim, kind }
    }

    /// From `normed` to `inner`, which then meets the projection that is given back.
    pub(super) fn forward(
        &self,
        step: &StepRows<'_>,
        rope: Option<usize>,
        span: usize,
        pages: &mut Pages,
        scratch: &mut Scratch,
    ) -> &Projection {
        let AttentionSpec { heads, head_dim, .. } = self.spec;
        let (cpu, count, width, kv_width) = (step.cpu, step.count, heads * head_dim, self.spec.kv_width());
        let Scratch { normed, inner, query, key, value, gate, .. } = scratch;
        let projected = if self.spec.gated { &mut *gate } else { &mut *query };
        projected.resize(count * self.query.outputs(), 0.0);
        key.resize(count * kv_width, 0.0);
        value.resize(count * kv_width, 0.0);
        cpu.product(normed, &mut [self.query.product(projected), self.key.product(key), self.value.product(value)]);

        let turns = rope.map(|rope| &step.turns[rope]);
        if self.spec.gated {
            query.resize(count * width, 0.0);
        }
        let projected = &*gate;
        cpu.each_rows([query, key, value], [width, kv_width, kv_width], |row, [query, key, value]| {
            if self.spec.gated {
                // Each head's gate stands behind its query.
                let projected = projected[2 * row * width..][..2 * width].chunks_exact(2 * head_dim);
                for (query, projected) in query.chunks_exact_mut(head_dim).zip(projected) {
                    query.copy_from_slice(&projected[..head_dim]);
                }
            }
            self.heads(cpu, row, query, self.query_norm.as_ref(), turns);
            let scale = self.spec.scale * self.spec.temperature.map_or(1.0, |it| it.at(step.position(row)));
            query.iter_mut().for_each(|x| *x *= scale);
            self.heads(cpu, row, key, self.key_norm.as_ref(), turns);
            self.clip(value);
        });
        let looks = step.looks(span);
        write(looks, pages, key, value);

        let to = inner.prepare(count, width);
        let options = AttentionOptions { heads, cap: self.spec.score_cap, sinks: self.sinks.as_deref() };
        cpu.attend(pages, options, looks, query, to);
        if self.spec.gated {
            cpu.each_rows([to, gate], [width, 2 * width], |_, [to, gate]| {
                for (to, gate) in to.chunks_exact_mut(head_dim).zip(gate.chunks_exact_mut(2 * head_dim)) {
                    let share = &mut gate[head_dim..];
                    vector::sigmoid(cpu, share);
                    to.iter_mut().zip(share).for_each(|(to, share)| *to *= *share);
                }
            });
        }
        &self.output
    }

    /// The projections that meet what goes in.
    pub(super) fn first(&self) -> [&Projection; 3] {
        [&self.query, &self.key, &self.value]
    }

    /// The queries or keys of one row, normalised and turned.
    fn heads(&self, cpu: &Cpu, row: usize, x: &mut [f32], norm: Option<&HeadsNorm>, turns: Option<&Turns>) {
        let normed = |x: &mut [f32], kinds: &[HeadNorm]| {
            if let Some(norm) = norm.filter(|norm| kinds.contains(&norm.kind)) {
                norm.norm.parts(cpu, x);
            }
        };
        normed(x, &[HeadNorm::Whole]);
        self.clip(x);
        normed(x, &[HeadNorm::Shared, HeadNorm::Each]);
        if let Some(weight) = norm.and_then(|norm| norm.weight.as_ref()) {
            x.iter_mut().zip(weight).for_each(|(x, weight)| *x *= weight);
        }
        if let Some(turns) = turns {
            turns.apply(cpu, row, x, self.spec.head_dim);
        }
        normed(x, &[HeadNorm::AfterRope]);
    }

    fn clip(&self, x: &mut [f32]) {
        if let Some(most) = self.spec.clip {
            x.iter_mut().for_each(|x| *x = x.clamp(-most, most));
        }
    }
}

/// Writes the keys and values of a step to the pages of their sequences.
pub(super) fn write(looks: &[Look<'_>], pages: &mut Pages, keys: &[f32], values: &[f32]) {
    let shape = pages.shape();
    let rows = keys.chunks_exact(shape.heads * shape.key_dim).zip(values.chunks_exact(shape.heads * shape.value_dim));
    for (look, (keys, values)) in looks.iter().zip(rows) {
        let position = look.seen.1;
        let page = look.table[position / PAGE_TOKENS];
        pages.write(page as usize, position % PAGE_TOKENS, keys, values);
    }
}
