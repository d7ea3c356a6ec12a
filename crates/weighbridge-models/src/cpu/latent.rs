//! Multi-head latent attention over pages of latent rows: the twin of `blocks::latent`.

use std::sync::Arc;

use candle_core::Tensor;
use weighbridge_kernels::{AttentionOptions, Cpu, KvType, Layout, PackedMatrix, PageShape, Pages, Rounding};

use super::attention::{look, write};
use super::norm::{Norm, numbers};
use super::projection::Projection;
use super::{Cost, Scratch, StepRows};
use crate::blocks::latent as reference;
use crate::spec::LatentSpec;

#[derive(Debug)]
pub(super) struct Latent {
    spec: LatentSpec,
    query_down: Option<(Projection, Norm)>,
    query: Projection,
    latent: Projection,
    latent_norm: Norm,
    /// For each head from plain query to latent, `[rank, plain_dim]`.
    to_latent: Vec<Projection>,
    /// For each head from latent to value, `[value_dim, rank]`.
    to_value: Vec<Projection>,
    output: Projection,
}

impl Latent {
    pub(super) fn of(latent: &reference::Latent) -> Option<Self> {
        // A page's values come in eights.
        if !latent.spec.rank.is_multiple_of(8) || latent.growth.is_some() || latent.indexer.is_some() {
            return None;
        }
        let (to_row, row_norm) = latent.latent.as_ref()?;
        let cpu = latent.output.cpu()?;
        let head = |tensor: &Tensor, head: usize, transposed: bool| {
            let matrix = tensor.get(head).ok()?;
            let matrix = if transposed { matrix.t().ok()?.contiguous().ok()? } else { matrix };
            dense(cpu, &matrix)
        };
        let heads = 0..latent.spec.heads;
        Some(Self {
            query_down: match &latent.query_down {
                Some((down, norm)) => Some((Projection::of(down)?, Norm::of(norm)?)),
                None => None,
            },
            query: Projection::of(&latent.query)?,
            latent: Projection::of(to_row)?,
            latent_norm: Norm::of(row_norm)?,
            to_latent: heads.clone().map(|at| head(&latent.key, at, true)).collect::<Option<_>>()?,
            to_value: heads.map(|at| head(&latent.value, at, false)).collect::<Option<_>>()?,
            output: Projection::of(&latent.output)?,
            spec: latent.spec.clone(),
        })
    }

    pub(super) fn cost(&self) -> Cost {
        let down = self.query_down.iter().map(|(down, _)| down);
        let own = [&self.query, &self.latent, &self.output];
        Cost::of_all(down.chain(own).chain(&self.to_latent).chain(&self.to_value))
    }

    /// Keys are latent rows with the position behind, values the rows without it.
    pub(super) fn page_shape(&self, kind: KvType) -> PageShape {
        PageShape { heads: 1, key_dim: self.spec.cached_width(), value_dim: self.spec.rank, kind }
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
        let LatentSpec { heads, rank, plain_dim, rope_dim, value_dim, .. } = self.spec;
        let (cpu, count, width) = (step.cpu, step.rows.len(), self.spec.cached_width());
        let turns = rope.map(|rope| &step.turns[rope]);

        let Scratch { normed, inner, other, query, key, value, gate, up, .. } = scratch;
        key.resize(count * width, 0.0);
        self.latent.round(cpu, normed);
        cpu.product(normed, &mut [self.latent.product(key)]);
        cpu.each_row(key, width, |row, key| {
            let (plain, place) = key.split_at_mut(rank);
            self.latent_norm.parts(cpu, plain, &mut Vec::new());
            if let Some(turns) = turns {
                turns.apply(cpu, row, place, rope_dim);
            }
        });
        value.resize(count * rank, 0.0);
        let latent_rows = &*key;
        cpu.each_row(value, rank, |row, value| value.copy_from_slice(&latent_rows[row * width..][..rank]));
        write(step, pages, key, value);

        let query_width = plain_dim + rope_dim;
        gate.resize(count * heads * query_width, 0.0);
        match &self.query_down {
            Some((down, norm)) => {
                up.resize(count * down.outputs(), 0.0);
                Projection::round_for(cpu, normed, &[down]);
                cpu.product(normed, &mut [down.product(up)]);
                let (compressed, rank) = (&*up, down.outputs());
                cpu.each_row(other.prepare(count, rank), rank, |row, to| {
                    norm.row(cpu, &compressed[row * rank..][..rank], to);
                });
                self.query.round(cpu, other);
                cpu.product(other, &mut [self.query.product(gate)]);
            }
            None => {
                self.query.round(cpu, normed);
                cpu.product(normed, &mut [self.query.product(gate)]);
            }
        }
        cpu.each_row(gate, heads * query_width, |row, query| {
            let scale = self.spec.scale * self.spec.temperature.map_or(1.0, |it| it.at(step.rows[row].1));
            query.iter_mut().for_each(|x| *x *= scale);
            for head in query.chunks_exact_mut(query_width) {
                if let Some(turns) = turns {
                    turns.apply(cpu, row, &mut head[plain_dim..], rope_dim);
                }
            }
        });
        // Each head's plain query goes through its matrix. // [rows, heads, rank + rope_dim]
        query.resize(count * heads * width, 0.0);
        let projected = &*gate;
        each_head(cpu, &self.to_latent, count, (projected, query_width), (query, width), other, up);
        cpu.each_row(query, width, |at, query| {
            query[rank..].copy_from_slice(&projected[at * query_width + plain_dim..][..rope_dim]);
        });

        let span = step.spans[span];
        let looks: Vec<_> =
            step.rows.iter().map(|&(sequence, position)| look(step, span, sequence, position)).collect();
        gate.resize(count * heads * rank, 0.0);
        let options = AttentionOptions { heads, cap: None, sinks: None };
        cpu.attend(pages, options, &looks, query, gate);
        let to = inner.prepare(count, heads * value_dim);
        each_head(cpu, &self.to_value, count, (gate, rank), (to, value_dim), other, up);
        &self.output
    }
}

/// Takes the rows of each head through the matrix of that head: `from` is `[rows, heads, from_width]`, of which the
/// first numbers are taken, and `to` `[rows, heads, to_width]`, of which the first are written.
fn each_head(
    cpu: &Cpu,
    matrices: &[Projection],
    count: usize,
    (from, from_width): (&[f32], usize),
    (to, to_width): (&mut [f32], usize),
    rows: &mut weighbridge_kernels::Rows,
    given: &mut Vec<f32>,
) {
    let heads = matrices.len();
    for (head, matrix) in matrices.iter().enumerate() {
        let (inputs, outputs) = (matrix.inputs(), matrix.outputs());
        let prepared = rows.prepare(count, inputs);
        for (row, place) in prepared.chunks_exact_mut(inputs).enumerate() {
            place.copy_from_slice(&from[(row * heads + head) * from_width..][..inputs]);
        }
        given.resize(count * outputs, 0.0);
        cpu.product(rows, &mut [matrix.product(given)]);
        for (row, given) in given.chunks_exact(outputs).enumerate() {
            to[(row * heads + head) * to_width..][..outputs].copy_from_slice(given);
        }
    }
}

fn dense(cpu: &Cpu, matrix: &Tensor) -> Option<Projection> {
    let (outputs, inputs) = matrix.dims2().ok()?;
    let bytes: Vec<u8> = numbers(matrix)?.iter().flat_map(|number| number.to_le_bytes()).collect();
    let matrix = PackedMatrix::pack(Layout::F32, outputs, inputs, &bytes, cpu).ok()?;
    Some(Projection::new(Arc::new(matrix), None, Rounding::None))
}
