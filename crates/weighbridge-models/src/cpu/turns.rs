//! The rotary turns of the rows of a step.

use weighbridge_kernels::{Cpu, vector};

use crate::blocks::rope::Rope;
use crate::decoder::Step;
use crate::spec::RopeStyle;

/// `[rows, width / 2]` each.
pub(super) struct Turns {
    cos: Vec<f32>,
    sin: Vec<f32>,
    half: usize,
    style: RopeStyle,
}

impl Turns {
    pub(super) fn of(rope: &Rope, steps: &[Step<'_>]) -> Self {
        let (mut cos, mut sin) = (Vec::new(), Vec::new());
        for step in steps {
            let past = step.cache.len();
            let length = step.cache.rope_length(step.tokens.len());
            rope.angles(past..past + step.tokens.len(), length, &mut cos, &mut sin);
        }
        Self { cos, sin, half: rope.width() / 2, style: rope.style() }
    }

    /// Turns the first dimensions of each head of a row.
    pub(super) fn apply(&self, cpu: &Cpu, row: usize, heads: &mut [f32], head_dim: usize) {
        let part = row * self.half..(row + 1) * self.half;
        let (cos, sin) = (&self.cos[part.clone()], &self.sin[part]);
        for head in heads.chunks_exact_mut(head_dim) {
            let turning = &mut head[..2 * self.half];
            match self.style {
                RopeStyle::Neox => vector::rope(cpu, turning, cos, sin),
                RopeStyle::Interleaved => vector::rope_interleaved(cpu, turning, cos, sin),
            }
        }
    }
}
