//! What a few decoders have beside layers of two parts.

use super::Activation;

/// A short row for each token and layer, which each layer adds to its stream: what the token is, and what its embedding
/// is projected to (Gemma 3n, <https://ai.google.dev/gemma/docs/gemma-3n#ple-caching>).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PerLayerSpec {
    /// Width of the row.
    pub width: usize,
    /// Tokens that have rows of their own; others take that of token 0.
    pub vocabulary: usize,
    /// What stands between the projections of a layer.
    pub activation: Activation,
}

/// Several residual streams side by side, of which each part of a layer reads a sum and writes to all (mHC,
/// <https://arxiv.org/abs/2512.24880>).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HyperSpec {
    /// Streams.
    pub count: usize,
    /// Rounds in which the mixing of streams is made doubly stochastic.
    pub iterations: usize,
    /// What keeps its sums from being zero.
    pub eps: f32,
}

/// Several residual streams side by side: a layer sees one of them, and the others follow by what it changes in it
/// (AltUp, <https://arxiv.org/abs/2301.13310>).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamsSpec {
    /// Streams, 2 or more.
    pub count: usize,
    /// The one that layers see.
    pub active: usize,
    /// Whether the active one is scaled before the token's row of the layer is looked at.
    pub scaled: bool,
}
