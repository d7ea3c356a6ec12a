//! One decoder, described by data.
//!
//! A family turns a checkpoint's config into a [`DecoderSpec`]; the blocks compute whatever the spec says and know no
//! families. What differs between layers is a list, never an `if` on a layer's number.

/// A decoder: what it computes, without its weights.
#[derive(Clone, Debug, PartialEq)]
pub struct DecoderSpec {
    /// The architecture as the checkpoint names it, such as `llama`.
    pub architecture: String,
    /// Width of the residual stream.
    pub hidden: usize,
    /// Rows of the embedding: token ids are below this.
    pub vocabulary: usize,
    /// Positions the model was trained for. The engine enforces it; [`Decoder`](crate::Decoder) does not.
    pub context: usize,
    /// Epsilon of every RMS norm.
    pub norm_eps: f32,
    /// Whether the output head is the embedding itself.
    pub tied_head: bool,
    /// From the first to the last.
    pub layers: Vec<LayerSpec>,
}

/// One layer: attention, then the feed-forward part, each behind an RMS norm and added to the residual stream.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerSpec {
    /// How tokens look at each other.
    pub attention: AttentionSpec,
    /// What each token goes through alone.
    pub feed_forward: FeedForwardSpec,
}

/// Grouped-query attention.
#[derive(Clone, Debug, PartialEq)]
pub struct AttentionSpec {
    /// Query heads, a multiple of `kv_heads`.
    pub heads: usize,
    /// Key and value heads.
    pub kv_heads: usize,
    /// Width of one head, even.
    pub head_dim: usize,
    /// How positions enter.
    pub rope: RopeSpec,
    /// How far back a token looks.
    pub span: Span,
    /// Whether the projections to query, key and value have biases.
    pub qkv_bias: bool,
    /// Whether the projection back has a bias.
    pub output_bias: bool,
}

/// How far back a token looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Span {
    /// To the first token.
    Full,
    /// At this many tokens, itself included.
    Sliding(usize),
}

/// Rotary position embedding over whole heads (RoFormer, <https://arxiv.org/abs/2104.09864>).
#[derive(Clone, Debug, PartialEq)]
pub struct RopeSpec {
    /// The base of the frequencies.
    pub theta: f64,
    /// Which dimensions turn together.
    pub style: RopeStyle,
    /// How the frequencies are stretched for longer contexts.
    pub scaling: RopeScaling,
}

/// Which two dimensions of a head turn together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RopeStyle {
    /// The first half with the second, as Hugging Face checkpoints store them.
    Neox,
    /// Neighbours, as GGUF files of the Llama architecture store them.
    Interleaved,
}

/// How the rotary frequencies are stretched.
#[derive(Clone, Debug, PartialEq)]
pub enum RopeScaling {
    /// Not at all.
    None,
    /// All positions divided by the factor.
    Linear {
        /// At least 1.
        factor: f64,
    },
    /// Long waves divided by the factor, short ones kept, a ramp between (Llama 3.1).
    Llama3 {
        /// At least 1.
        factor: f64,
        /// Waves longer than `original_context / low` are stretched in full.
        low: f64,
        /// Waves shorter than `original_context / high` are kept.
        high: f64,
        /// The context before stretching.
        original_context: f64,
    },
    /// The base grows once a sequence is longer than the context ("dynamic NTK"). The frequencies depend on the
    /// length of the sequence, so a prompt that comes in chunks needs [`KvCache::announce`](crate::KvCache::announce).
    Dynamic {
        /// At least 1.
        factor: f64,
        /// The context before stretching.
        original_context: f64,
    },
    /// Each frequency divided by its own factor: what GGUF files store of `Llama3`. One for every two dimensions.
    Factors(Vec<f32>),
}

/// A gated feed-forward part: `down(silu(gate(x)) * up(x))`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeedForwardSpec {
    /// Width between the projections.
    pub inner: usize,
    /// Whether its projections have biases.
    pub bias: bool,
}

impl AttentionSpec {
    /// Width of all query heads together.
    pub fn query_width(&self) -> usize {
        self.heads * self.head_dim
    }

    /// Width of all key heads together, and of all value heads.
    pub fn kv_width(&self) -> usize {
        self.kv_heads * self.head_dim
    }
}

impl DecoderSpec {
    /// Bytes that one token takes in a cache of float32 keys and values.
    pub fn kv_bytes_per_token(&self) -> u64 {
        self.layers.iter().map(|layer| 2 * 4 * layer.attention.kv_width() as u64).sum()
    }
}
