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

    /// Rounds rows for this one.
    pub(crate) fn round(&self, cpu: &Cpu, rows: &mut Rows) {
        rows.round(self.rounding, [self.matrix.layout()], cpu);
    }

    /// Rounds rows for several that share them.
    pub(super) fn round_for(cpu: &Cpu, rows: &mut Rows, projections: &[&Self]) {
        for projection in projections {
            projection.round(cpu, rows);
        }
    }

    pub(crate) fn product<'a>(&'a self, to: &'a mut [f32]) -> Product<'a> {
        Product { matrix: &self.matrix, bias: self.bias.as_deref(), to, then: Then::Store }
    }

    pub(super) fn added<'a>(&'a self, to: &'a mut [f32], scale: f32) -> Product<'a> {
        Product { then: Then::Add(scale), ..self.product(to) }
    }
}
