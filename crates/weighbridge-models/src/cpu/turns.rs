//! The rotary turns of the rows of a step.

use weighbridge_kernels::{Cpu, vector};

use crate::blocks::rope::Rope;
use crate::decoder::Step;
use crate::spec::RopeStyle;

/// `[rows, width / 2]` each.
#[derive(Debug, Default)]
pub(super) struct Turns {
    cos: Vec<f32>,
    sin: Vec<f32>,
    half: usize,
    is_interleaved: bool,
}

impl Turns {
    /// Makes it those of a step.
    pub(super) fn fill(&mut self, rope: &Rope, steps: &[Step<'_>]) {
        (self.half, self.is_interleaved) = (rope.width() / 2, rope.style() == RopeStyle::Interleaved);
        self.cos.clear();
        self.sin.clear();
        for step in steps {
            let past = step.cache.len();
            let length = step.cache.rope_length(step.tokens.len());
            rope.angles(past..past + step.tokens.len(), length, &mut self.cos, &mut self.sin);
        }
    }

    /// Turns the first dimensions of each head of a row.
    pub(super) fn apply(&self, cpu: &Cpu, row: usize, heads: &mut [f32], head_dim: usize) {
        let part = row * self.half..(row + 1) * self.half;
        let (cos, sin) = (&self.cos[part.clone()], &self.sin[part]);
        for head in heads.chunks_exact_mut(head_dim) {
            let turning = &mut head[..2 * self.half];
            if self.is_interleaved {
                vector::rope_interleaved(cpu, turning, cos, sin);
            } else {
                vector::rope(cpu, turning, cos, sin);
            }
        }
    }
}
