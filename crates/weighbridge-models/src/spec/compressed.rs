//! Attention over a window and over summaries of what lies before it.

use super::RopeSpec;

/// DeepSeek V4's attention (transformers' `modeling_deepseek_v4.py`): all heads share one row a token, which is key and
/// value alike; beside the last tokens a query sees rows that each sum up a run of earlier ones.
#[derive(Clone, Debug, PartialEq)]
pub struct CompressedSpec {
    /// Query heads.
    pub heads: usize,
    /// Width of a query and of the row that all heads share.
    pub head_dim: usize,
    /// Width that queries are compressed to on their way.
    pub query_rank: usize,
    /// How positions enter: the last dimensions turn.
    pub rope: RopeSpec,
    /// How many tokens back a query sees, itself included.
    pub window: usize,
    /// How what lies further back is summed up, if it is.
    pub compression: Option<CompressionSpec>,
    /// Groups of heads whose answers are projected together.
    pub groups: usize,
    /// Width of what a group is projected to.
    pub output_rank: usize,
}

/// How runs of tokens are summed up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompressionSpec {
    /// Tokens in a run.
    pub every: usize,
    /// Whether a run's row also takes from the run before.
    pub overlapping: bool,
    /// How queries choose among the rows, if they do.
    pub index: Option<RowIndexSpec>,
}

/// An indexer over rows that are summed up in the same way, in a width of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowIndexSpec {
    /// Heads.
    pub heads: usize,
    /// Width of a head's query, and of a row.
    pub head_dim: usize,
    /// Rows that a query sees.
    pub chosen: usize,
}

impl CompressedSpec {
    /// Width of all queries together.
    pub fn query_width(&self) -> usize {
        self.heads * self.head_dim
    }

    /// Numbers that a token leaves in the cache, the mean of those that a run leaves included.
    pub fn cached_width(&self) -> usize {
        let of_runs =
            |it: CompressionSpec| (self.head_dim + it.index.map_or(0, |index| index.head_dim)).div_ceil(it.every);
        self.head_dim + self.compression.map_or(0, of_runs)
    }

    /// Numbers of the tokens whose run is not at its end, at most.
    pub fn state_width(&self) -> usize {
        self.compression.map_or(0, |it| {
            let series = it.series();
            let width = self.head_dim + it.index.map_or(0, |index| index.head_dim);
            series * it.every * 2 * series * width
        })
    }
}

impl CompressionSpec {
    /// Rows of numbers that each token gives: one for its own run, and one for the next where runs overlap.
    pub fn series(&self) -> usize {
        if self.overlapping { 2 } else { 1 }
    }
}
