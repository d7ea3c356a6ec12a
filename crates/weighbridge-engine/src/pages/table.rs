//! The pages of one sequence.

use std::collections::VecDeque;

use super::PageId;
use super::windowed::WindowedId;

/// The pages of one sequence, in the order of its tokens. Made and changed by a [`PagePool`](super::PagePool), which
/// has to be given it back.
#[derive(Debug, Default)]
pub(crate) struct Table {
    /// Of the layers that see everything: of all its tokens.
    pub(super) full: Vec<PageId>,
    /// Of the layers with windows: of the tokens from its page `passed` on that are computed or about to be.
    pub(super) windowed: VecDeque<WindowedId>,
    pub(super) passed: usize,
    /// How many windowed ones are promised to it.
    pub(super) promised: usize,
}

impl Table {
    /// Pages of the layers that see everything.
    pub(crate) fn len(&self) -> usize {
        self.full.len()
    }

    /// It has none.
    pub(crate) fn is_empty(&self) -> bool {
        self.full.is_empty()
    }

    /// Those of the layers that see everything.
    pub(crate) fn full(&self) -> &[PageId] {
        &self.full
    }

    /// Those of the layers with windows, `None` for each that is behind them.
    pub(crate) fn windowed(&self) -> impl Iterator<Item = Option<WindowedId>> {
        let passed = std::iter::repeat_n(None, self.passed);
        passed.chain(self.windowed.iter().copied().map(Some))
    }

    /// Pages up to the last windowed one.
    pub(super) fn covered(&self) -> usize {
        self.passed + self.windowed.len()
    }
}
