//! A projection on packed weights.

use std::sync::Arc;

use weighbridge_kernels::{Cpu, Needs, PackedMatrix, Product, Rounding, Rows, Then};

use crate::blocks::linear::Linear;

/// `x Wᵀ + b`.
#[derive(Clone, Debug)]
pub(crate) struct Projection {
    matrix: Arc<PackedMatrix>,
    bias: Option<Vec<f32>>,
    rounding: Rounding,
}

impl Projection {
    /// Of a packed matrix, with how activations are rounded for it.
    pub(crate) fn new(matrix: Arc<PackedMatrix>, bias: Option<Vec<f32>>, rounding: Rounding) -> Self {
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

    /// What rows that meet it are rounded for.
    pub(super) fn needs(&self) -> Needs {
        Needs::new(self.rounding, self.matrix.layout())
    }

    /// The same of several with the same inputs.
    pub(super) fn needs_of<'a>(projections: impl IntoIterator<Item = &'a Self>) -> Needs {
        projections.into_iter().map(Self::needs).fold(Needs::default(), Needs::and)
    }

    /// Rounds rows for this one.
    pub(crate) fn round(&self, cpu: &Cpu, rows: &mut Rows) {
        rows.round(self.needs(), cpu);
    }

    /// Makes `rows` so many, each written by a call of `write`, and rounds them for this one.
    pub(super) fn fill(&self, cpu: &Cpu, rows: &mut Rows, count: usize, write: impl Fn(usize, &mut [f32]) + Sync) {
        rows.fill(cpu, (count, self.inputs()), self.needs(), write);
    }

    pub(crate) fn product<'a>(&'a self, to: &'a mut [f32]) -> Product<'a> {
        Product { matrix: &self.matrix, bias: self.bias.as_deref(), to, then: Then::Store }
    }

    pub(super) fn added<'a>(&'a self, to: &'a mut [f32], scale: f32) -> Product<'a> {
        Product { then: Then::Add(scale), ..self.product(to) }
    }
}
