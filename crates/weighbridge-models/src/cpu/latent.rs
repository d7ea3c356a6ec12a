//! Multi-head latent attention over pages of latent rows: the twin of `blocks::latent`.

use std::sync::Arc;

use candle_core::Tensor;
use weighbridge_kernels::{AttentionOptions, Cpu, KvType, Layout, PackedMatrix, PageShape, Pages, Part, Rounding};

use super::attention::write;
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
        let (cpu, count, width) = (step.cpu, step.count, self.spec.cached_width());
        let (turns, query_width) = (rope.map(|rope| &step.turns[rope]), plain_dim + rope_dim);

        let Scratch { normed, inner, other, query, key, value, gate, up, .. } = scratch;
        key.resize(count * width, 0.0);
        gate.resize(count * heads * query_width, 0.0);
        match &self.query_down {
            Some((down, norm)) => {
                let rank = down.outputs();
                up.resize(count * rank, 0.0);
                cpu.product(normed, &mut [self.latent.product(key), down.product(up)]);
                self.query.fill(cpu, other, count, |row, to| norm.row(cpu, &up[row * rank..][..rank], to));
                cpu.product(other, &mut [self.query.product(gate)]);
            }
            None => cpu.product(normed, &mut [self.latent.product(key), self.query.product(gate)]),
        }
        value.resize(count * rank, 0.0);
        cpu.each_rows([key, value, gate], [width, rank, heads * query_width], |row, [key, value, query]| {
            let (plain, place) = key.split_at_mut(rank);
            self.latent_norm.parts(cpu, plain);
            value.copy_from_slice(plain);
            let scale = self.spec.scale * self.spec.temperature.map_or(1.0, |it| it.at(step.position(row)));
            query.iter_mut().for_each(|x| *x *= scale);
            if let Some(turns) = turns {
                turns.apply(cpu, row, place, rope_dim);
                for head in query.chunks_exact_mut(query_width) {
                    turns.apply(cpu, row, &mut head[plain_dim..], rope_dim);
                }
            }
        });
        let looks = step.looks(span);
        write(looks, pages, key, value);

        // Each head's plain query goes through its matrix. // [rows, heads, rank + rope_dim]
        query.resize(count * heads * width, 0.0);
        let projected = &*gate;
        each_head(cpu, &self.to_latent, count, (projected, query_width), (query, width), other, up);
        cpu.each_row(query, width, |at, query| {
            query[rank..].copy_from_slice(&projected[at * query_width + plain_dim..][..rope_dim]);
        });

        gate.resize(count * heads * rank, 0.0);
        let options = AttentionOptions { heads, cap: None, sinks: None };
        cpu.attend(pages, options, looks, query, gate);
        let to = inner.prepare(count, heads * value_dim);
        each_head(cpu, &self.to_value, count, (gate, rank), (to, value_dim), other, up);
        &self.output
    }

    /// The projections that meet what goes in.
    pub(super) fn first(&self) -> [&Projection; 2] {
        [&self.latent, self.query_down.as_ref().map_or(&self.query, |(down, _)| down)]
    }
}

/// Takes the rows of each head through the matrix of that head, all in one piece of work: `from` is
/// `[rows, heads, from_width]`, of which the first numbers are taken, and `to` `[rows, heads, to_width]`, of which the
/// first are written.
fn each_head(
    cpu: &Cpu,
    matrices: &[Projection],
    count: usize,
    (from, from_width): (&[f32], usize),
    (to, to_width): (&mut [f32], usize),
    rows: &mut weighbridge_kernels::Rows,
    given: &mut Vec<f32>,
) {
    let (heads, inputs, outputs) = (matrices.len(), matrices[0].inputs(), matrices[0].outputs());
    // Those of a head stand together. // [heads, rows, inputs]
    cpu.each_row(rows.prepare(heads * count, inputs), inputs, |at, place| {
        let (head, row) = (at / count, at % count);
        place.copy_from_slice(&from[(row * heads + head) * from_width..][..inputs]);
    });
    given.resize(heads * count * outputs, 0.0);
    let rows = &*rows;
    let of_heads = matrices.iter().zip(given.chunks_exact_mut(count * outputs)).enumerate();
    cpu.products(of_heads.map(|(head, (matrix, given))| Part {
        rows,
        range: head * count..(head + 1) * count,
        product: matrix.product(given),
    }));
    cpu.each_row(to, to_width, |at, to| {
        let (row, head) = (at / heads, at % heads);
        to[..outputs].copy_from_slice(&given[(head * count + row) * outputs..][..outputs]);
    });
}

fn dense(cpu: &Cpu, matrix: &Tensor) -> Option<Projection> {
    let (outputs, inputs) = matrix.dims2().ok()?;
    let bytes: Vec<u8> = numbers(matrix)?.iter().flat_map(|number| number.to_le_bytes()).collect();
    let matrix = PackedMatrix::pack(Layout::F32, outputs, inputs, &bytes, cpu).ok()?;
    Some(Projection::new(Arc::new(matrix), None, Rounding::None))
}
