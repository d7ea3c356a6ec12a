//! Memory of a fixed size instead of keys and values.

/// A delta net: each head keeps a matrix that takes a key to a value, forgets a share of it with every token, and then
/// corrects what it gives for the token's key. A short convolution over the last tokens stands before it.
#[derive(Clone, Debug, PartialEq)]
pub struct DeltaSpec {
    /// What sets the published kinds apart.
    pub kind: DeltaKind,
    /// Query and key heads.
    pub key_heads: usize,
    /// Value heads, a multiple of `key_heads`; each has a memory.
    pub value_heads: usize,
    /// Width of a query and of a key.
    pub key_dim: usize,
    /// Width of a value.
    pub value_dim: usize,
    /// Tokens that the convolution sees, the last one included.
    pub kernel: usize,
    /// Epsilon of the norm of what the heads give.
    pub norm_eps: f32,
}

/// What sets delta nets apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeltaKind {
    /// A head forgets at one rate, and what it gives is multiplied by the SiLU of a projection
    /// (<https://arxiv.org/abs/2412.06464>).
    Gated,
    /// A head forgets at a rate for each dimension of its key, and what it gives is multiplied by the sigmoid of a
    /// projection (Kimi Linear, <https://arxiv.org/abs/2510.26692>).
    PerChannel {
        /// Width between the two matrices that each of the two comes from.
        rank: usize,
    },
}

impl DeltaSpec {
    /// Width of all keys together.
    pub fn key_width(&self) -> usize {
        self.key_heads * self.key_dim
    }

    /// Width of all values together.
    pub fn value_width(&self) -> usize {
        self.value_heads * self.value_dim
    }

    /// Width of what goes through the convolution: queries, keys and values.
    pub fn channels(&self) -> usize {
        2 * self.key_width() + self.value_width()
    }

    /// Numbers that a sequence keeps, however long it is.
    pub fn state_width(&self) -> usize {
        (self.kernel - 1) * self.channels() + self.value_heads * self.key_dim * self.value_dim
    }
}
