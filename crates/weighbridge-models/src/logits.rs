//! Logits: one number for each token of the vocabulary, for each token that was asked for.

use std::ops::Range;
use std::sync::Arc;

/// The logits of a step, row by row in the order of its tokens.
///
/// Their memory is used again for a later step once it is dropped.
#[derive(Clone, Debug)]
pub struct Logits {
    /// Those of all that shared the step.
    numbers: Arc<Vec<f32>>,
    own: Range<usize>,
    vocabulary: usize,
}

impl Logits {
    pub(crate) fn new(numbers: Vec<f32>, vocabulary: usize) -> Self {
        Self { own: 0..numbers.len(), numbers: Arc::new(numbers), vocabulary }
    }

    /// Some of the rows of a step.
    pub(crate) fn of_rows(numbers: &Arc<Vec<f32>>, rows: Range<usize>, vocabulary: usize) -> Self {
        let own = rows.start * vocabulary..rows.end * vocabulary;
        Self { numbers: Arc::clone(numbers), own, vocabulary }
    }

    pub(crate) fn none(vocabulary: usize) -> Self {
        Self::new(Vec::new(), vocabulary)
    }

    /// Each row, `vocabulary` numbers long.
    pub fn rows(&self) -> impl DoubleEndedIterator<Item = &[f32]> {
        self.own().chunks_exact(self.vocabulary)
    }

    /// The row of the last token; empty where no rows were asked for.
    pub fn last(&self) -> &[f32] {
        self.rows().next_back().unwrap_or_default()
    }

    /// Numbers in a row.
    pub fn vocabulary(&self) -> usize {
        self.vocabulary
    }

    fn own(&self) -> &[f32] {
        &self.numbers[self.own.clone()]
    }
}

impl PartialEq for Logits {
    fn eq(&self, other: &Self) -> bool {
        self.vocabulary == other.vocabulary && self.own() == other.own()
    }
}
