//! Logits: one number for each token of the vocabulary, for each token that was asked for.

/// The logits of a step, row by row in the order of its tokens.
#[derive(Clone, Debug, PartialEq)]
pub struct Logits {
    numbers: Vec<f32>,
    vocabulary: usize,
}

impl Logits {
    pub(crate) fn new(numbers: Vec<f32>, vocabulary: usize) -> Self {
        Self { numbers, vocabulary }
    }

    pub(crate) fn none(vocabulary: usize) -> Self {
        Self { numbers: Vec::new(), vocabulary }
    }

    /// Each row, `vocabulary` numbers long.
    pub fn rows(&self) -> impl Iterator<Item = &[f32]> {
        self.numbers.chunks_exact(self.vocabulary)
    }

    /// The row of the last token; empty where no rows were asked for.
    pub fn last(&self) -> &[f32] {
        &self.numbers[self.numbers.len().saturating_sub(self.vocabulary)..]
    }

    /// The row of the last token, without a copy where it is the only one.
    pub fn into_last(mut self) -> Vec<f32> {
        let others = self.numbers.len().saturating_sub(self.vocabulary);
        self.numbers.drain(..others);
        self.numbers
    }

    /// Numbers in a row.
    pub fn vocabulary(&self) -> usize {
        self.vocabulary
    }
}
