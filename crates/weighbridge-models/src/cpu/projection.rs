//! A projection on packed weights.

use std::sync::Arc;

use weighbridge_kernels::{Cpu, PackedMatrix, Product, Rounding, Rows, Then};

use crate::blocks::linear::Linear;

/// `x Wᵀ + b`.
#[derive(Clone, Debug)]
pub(crate) struct Projection {
    matrix: Arc<PackedMatrix>,
    bias: Option<Vec<f32>>,
    rounding: Rounding,
}

impl Projection {
    /// Of a packed matrix, with how activations are rounded where it is one of blocks.
    pub(crate) fn new(matrix: Arc<PackedMatrix>, bias: Option<Vec<f32>>, rounding: Rounding) -> Self {
        let rounding = if matrix.layout().is_float() { Rounding::None } else { rounding };
        Self { matrix, bias, rounding }
    }

    /// The same projection, where it is packed and has no adapter beside it.
    pub(super) fn of(linear: &Linear) -> Option<Self> {
        linear.projection().cloned()
    }

    /// Bytes that are read and products for one row.
    pub(super) fn cost(&self) -> (u64, u64) {
        (self.matrix.bytes() as u64, (self.matrix.inputs() * self.matrix.outputs()) as u64)
    }

    pub(super) fn inputs(&self) -> usize {
        self.matrix.inputs()
    }

    pub(crate) fn outputs(&self) -> usize {
        self.matrix.outputs()
    }

    /// Rounds rows for this one.
    pub(crate) fn round(&self, cpu: &Cpu, rows: &mut Rows) {
        rows.round(self.rounding, cpu);
    }

    /// Makes `rows` so many, each written by a call of `write`, and rounds them for this one.
    pub(super) fn fill(&self, cpu: &Cpu, rows: &mut Rows, count: usize, write: impl Fn(usize, &mut [f32]) + Sync) {
        rows.fill(cpu, count, self.inputs(), self.rounding, write);
    }

    pub(crate) fn product<'a>(&'a self, to: &'a mut [f32]) -> Product<'a> {
        Product { matrix: &self.matrix, bias: self.bias.as_deref(), to, then: Then::Store }
    }

    pub(super) fn added<'a>(&'a self, to: &'a mut [f32], scale: f32) -> Product<'a> {
        Product { then: Then::Add(scale), ..self.product(to) }
    }
}

/// What rows have to be rounded for: all projections that meet them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Needs {
    rounding: Rounding,
}

impl Needs {
    /// Of projections with the same inputs.
    pub(super) fn of<'a>(projections: impl IntoIterator<Item = &'a Projection>) -> Self {
        let mut roundings = projections.into_iter().map(|projection| projection.rounding);
        Self { rounding: roundings.find(|&rounding| rounding != Rounding::None).unwrap_or(Rounding::None) }
    }

    /// Those of two sets.
    pub(super) fn and(self, other: Self) -> Self {
        if self.rounding == Rounding::None { other } else { self }
    }

    /// Makes `rows` so many of so many numbers, each written by a call of `write`, and rounds them.
    pub(super) fn fill(
        self,
        cpu: &Cpu,
        rows: &mut Rows,
        (count, width): (usize, usize),
        write: impl Fn(usize, &mut [f32]) + Sync,
    ) {
        rows.fill(cpu, count, width, self.rounding, write);
    }
}
