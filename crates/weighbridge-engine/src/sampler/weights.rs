//! The weights of the tokens of a row, in blocks whose sums and maxima are known, so that few of them are looked at
//! again.

use weighbridge_kernels::Cpu;
use weighbridge_kernels::vector::{self, WEIGHTS_BLOCK};

/// Shares of the draw up to a common factor; the best token weighs 1.
#[derive(Debug, Default)]
pub(super) struct Weights {
    numbers: Vec<f32>,
    sums: Vec<f64>,
    greatest: Vec<f32>,
}

impl Weights {
    /// Makes them those of logits of which `best` is the greatest.
    pub(super) fn fill(&mut self, cpu: &Cpu, logits: &[f32], best: f32, temperature: f32) {
        let blocks = logits.len().div_ceil(WEIGHTS_BLOCK);
        self.numbers.resize(logits.len(), 0.0);
        self.sums.resize(blocks, 0.0);
        self.greatest.resize(blocks, 0.0);
        let Self { numbers, sums, greatest } = self;
        vector::softmax_weights(cpu, logits, best, temperature, numbers, sums, greatest);
    }

    /// Tokens there are.
    pub(super) fn len(&self) -> usize {
        self.numbers.len()
    }

    pub(super) fn total(&self) -> f64 {
        self.sums.iter().sum()
    }

    /// The greatest weight of each block.
    pub(super) fn greatest(&self) -> &[f32] {
        &self.greatest
    }

    /// The tokens that weigh so much or more, with their weights, in their order.
    pub(super) fn at_least(&self, least: f32) -> impl Iterator<Item = (usize, f32)> {
        let blocks = self.numbers.chunks(WEIGHTS_BLOCK).zip(&self.greatest).enumerate();
        let blocks = blocks.filter(move |(_, (_, greatest))| **greatest >= least);
        blocks.flat_map(move |(block, (weights, _))| {
            let tokens = weights.iter().enumerate().map(move |(at, &weight)| (block * WEIGHTS_BLOCK + at, weight));
            tokens.filter(move |&(_, weight)| weight >= least)
        })
    }

    /// The token at which the weights, summed in order, pass the share `at` of their total. `None` where they never do,
    /// as when rounding leaves the sum an ulp short.
    pub(super) fn draw(&self, at: f64) -> Option<usize> {
        let target = at * self.total();
        let mut sum = 0.0;
        for (block, (of_block, weights)) in self.sums.iter().zip(self.numbers.chunks(WEIGHTS_BLOCK)).enumerate() {
            if sum + of_block > target {
                let mut sum = sum;
                let found = weights.iter().position(|&weight| {
                    sum += f64::from(weight);
                    sum > target
                });
                if let Some(found) = found {
                    return Some(block * WEIGHTS_BLOCK + found);
                }
            }
            sum += of_block;
        }
        None
    }
}

#[cfg(test)]
impl Weights {
    /// These very weights.
    pub(super) fn of(numbers: &[f32]) -> Self {
        let blocks = || numbers.chunks(WEIGHTS_BLOCK);
        Self {
            numbers: numbers.to_vec(),
            sums: blocks().map(|block| block.iter().map(|&weight| f64::from(weight)).sum()).collect(),
            greatest: blocks().map(|block| block.iter().copied().fold(0.0, f32::max)).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_draw_passes_over_blocks_as_it_would_over_tokens() {
        let numbers: Vec<f32> = (0..300).map(|at| (at * 7 % 9) as f32 / 8.0).collect();
        let weights = Weights::of(&numbers);
        for step in 0..1000 {
            let at = f64::from(step) / 1000.0;
            let mut sum = 0.0;
            let plain = numbers.iter().position(|&weight| {
                sum += f64::from(weight);
                sum > at * weights.total()
            });
            assert_eq!(weights.draw(at), plain);
        }
    }
}
