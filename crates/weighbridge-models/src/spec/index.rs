//! Which tokens attention looks at, where it does not look at all.

use super::RopeStyle;

/// A lightning indexer (DeepSeek V3.2, <https://arxiv.org/abs/2512.02556>): small heads of its own score every earlier
/// token, and attention looks at the best alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexSpec {
    /// Where its queries come from.
    pub queries: IndexQueries,
    /// Heads.
    pub heads: usize,
    /// Width of a head's query, and of the key that all heads share.
    pub head_dim: usize,
    /// Tokens that attention looks at.
    pub chosen: usize,
    /// How the first dimensions turn, where attention has a rotary embedding: by the same turns in this style.
    pub style: RopeStyle,
}

/// Where an indexer's queries come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IndexQueries {
    /// From the compressed queries of attention.
    Compressed {
        /// Their width.
        rank: usize,
    },
    /// From the residual stream behind a norm of their own; they grow with the logarithm of their position, head by
    /// head (Mistral Large 4).
    Stream,
}

/// Whose choice a layer of latent attention goes by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Choosing {
    /// Nobody's: it looks at everything.
    All,
    /// Its own.
    Own(IndexSpec),
    /// That of the last layer before it that chose.
    Before,
}
