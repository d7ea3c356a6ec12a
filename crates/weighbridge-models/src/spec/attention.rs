//! How tokens look at each other.

use super::{Choosing, CompressedSpec, DeltaSpec, IndexSpec, RopeSpec};

/// What mixes the tokens of a layer.
#[derive(Clone, Debug, PartialEq)]
pub enum MixerSpec {
    /// Grouped-query attention.
    Attention(AttentionSpec),
    /// Attention over compressed keys and values.
    Latent(LatentSpec),
    /// A memory of fixed size in place of keys and values.
    Delta(DeltaSpec),
    /// Attention over a window and over summaries of what lies before it.
    Compressed(CompressedSpec),
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
    /// Where keys and values come from.
    pub keys_values: KeysValues,
    /// Whether each value head is normalised by its root mean square, without a weight.
    pub value_norm: bool,
    /// How positions enter, if they do.
    pub rope: Option<RopeSpec>,
    /// How far back a token looks.
    pub span: Span,
    /// Whether the projections to query, key and value have biases.
    pub qkv_bias: bool,
    /// Whether the projection back has a bias.
    pub output_bias: bool,
    /// How queries and keys are normalised, if they are.
    pub head_norm: Option<HeadNorm>,
    /// Queries, keys and values are cut off at ± this.
    pub clip: Option<f32>,
    /// What products of query and key are multiplied by, mostly `head_dim^-½`.
    pub scale: f32,
    /// Scores are kept within ± this, softly: `cap · tanh(score / cap)`.
    pub score_cap: Option<f32>,
    /// How queries grow with their position.
    pub temperature: Option<TemperatureSpec>,
    /// Whether each query head has a learned score that takes attention and gives nothing.
    pub sinks: bool,
    /// Whether what attention gives is multiplied by a gate between 0 and 1, which each query head's projection gives
    /// behind the query.
    pub gated: bool,
}

/// Where keys and values come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeysValues {
    /// Each from a projection of its own.
    Apart,
    /// Both from one projection; values are what keys are before they are normalised and turned.
    Same,
    /// They are those of the earlier layer of this number.
    Of(usize),
}

impl KeysValues {
    /// Whether there is a projection to keys.
    pub fn has_keys(self) -> bool {
        !matches!(self, Self::Of(_))
    }

    /// Whether there is a projection to values.
    pub fn has_values(self) -> bool {
        self == Self::Apart
    }
}

/// How queries and keys are normalised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadNorm {
    /// Each head by itself, with one weight for all of them.
    Shared,
    /// Each head by itself, with a weight of its own.
    Each,
    /// All heads together.
    Whole,
    /// Each head by itself, without a weight and after the rotary embedding.
    AfterRope,
}

/// Queries at `position` are multiplied by `1 + strength · ln(1 + ⌊(position + offset) / every⌋)`, against attention
/// that thins out over long contexts (<https://arxiv.org/abs/2501.19399>).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TemperatureSpec {
    /// How much.
    pub strength: f64,
    /// Positions between two steps.
    pub every: f64,
    /// Added to the position.
    pub offset: f64,
}

impl TemperatureSpec {
    /// What a query at `position` is multiplied by.
    pub fn at(&self, position: usize) -> f32 {
        (1.0 + self.strength * ((position as f64 + self.offset) / self.every).floor().ln_1p()) as f32
    }
}

/// How far back a token looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Span {
    /// To the first token.
    Full,
    /// At this many tokens, itself included.
    Sliding(usize),
    /// To the start of its chunk of this many tokens.
    Chunked(usize),
}

impl Span {
    /// The most tokens that it sees, itself included, where these are fewer than `context`: what lies further back is
    /// never looked at again.
    pub fn window(self, context: usize) -> Option<usize> {
        match self {
            Self::Full => None,
            Self::Sliding(width) | Self::Chunked(width) => Some(width.max(1)).filter(|&width| width < context),
        }
    }
}

/// Multi-head latent attention (DeepSeek V2, <https://arxiv.org/abs/2405.04434>): keys and values of all heads come
/// from one short row, which is all that is cached, beside a key that carries the position.
#[derive(Clone, Debug, PartialEq)]
pub struct LatentSpec {
    /// Heads.
    pub heads: usize,
    /// Width that queries are compressed to on their way, if they are.
    pub query_rank: Option<usize>,
    /// Width that keys and values are compressed to.
    pub rank: usize,
    /// Width of a head's query and key without the position.
    pub plain_dim: usize,
    /// Width of what carries the position; may be 0.
    pub rope_dim: usize,
    /// Width of a head's value.
    pub value_dim: usize,
    /// How positions enter, if they do.
    pub rope: Option<RopeSpec>,
    /// What products of query and key are multiplied by.
    pub scale: f32,
    /// How queries grow with their position.
    pub temperature: Option<TemperatureSpec>,
    /// Whether queries also grow with the logarithm of their position, each head by numbers of its own.
    pub growth: bool,
    /// Which tokens it looks at.
    pub choosing: Choosing,
    /// The earlier layer whose latent rows it uses, where they are not its own.
    pub source: Option<usize>,
    /// Whether the projections from and to the residual stream have biases, that of plain queries aside.
    pub bias: bool,
    /// Epsilon of the norms within.
    pub norm_eps: f32,
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

impl LatentSpec {
    /// Width of a head's query.
    pub fn query_dim(&self) -> usize {
        self.plain_dim + self.rope_dim
    }

    /// Its own indexer.
    pub fn index(&self) -> Option<&IndexSpec> {
        match &self.choosing {
            Choosing::Own(index) => Some(index),
            Choosing::All | Choosing::Before => None,
        }
    }

    /// Width of what a token leaves in the cache.
    pub fn cached_width(&self) -> usize {
        self.rank + self.rope_dim
    }
}

impl MixerSpec {
    /// Query heads.
    pub fn heads(&self) -> usize {
        match self {
            Self::Attention(spec) => spec.heads,
            Self::Latent(spec) => spec.heads,
            Self::Delta(spec) => spec.value_heads,
            Self::Compressed(spec) => spec.heads,
        }
    }

    /// Width of all query heads together, as they are multiplied with what is cached.
    pub fn query_width(&self) -> usize {
        match self {
            Self::Attention(spec) => spec.query_width(),
            Self::Latent(spec) => spec.heads * spec.cached_width(),
            Self::Delta(spec) => spec.channels(),
            Self::Compressed(spec) => spec.query_width(),
        }
    }

    /// Numbers that a token leaves in the cache.
    pub fn cached_width(&self) -> usize {
        match self {
            Self::Attention(spec) if spec.keys_values.has_keys() => 2 * spec.kv_width(),
            Self::Attention(_) => 0,
            Self::Latent(spec) => {
                let rows = if spec.source.is_none() { spec.cached_width() } else { 0 };
                rows + spec.index().map_or(0, |index| index.head_dim)
            }
            Self::Delta(_) => 0,
            Self::Compressed(spec) => spec.cached_width(),
        }
    }

    /// Numbers that a sequence leaves in the cache however many tokens it has.
    pub fn state_width(&self) -> usize {
        match self {
            Self::Attention(_) | Self::Latent(_) => 0,
            Self::Delta(spec) => spec.state_width(),
            Self::Compressed(spec) => spec.state_width(),
        }
    }

    /// The layer whose keys and values it uses, where they are not its own.
    pub fn source(&self) -> Option<usize> {
        match self {
            Self::Attention(AttentionSpec { keys_values: KeysValues::Of(layer), .. }) => Some(*layer),
            Self::Latent(spec) => spec.source,
            _ => None,
        }
    }

    /// How positions enter, if they do.
    pub fn rope(&self) -> Option<&RopeSpec> {
        match self {
            Self::Attention(spec) => spec.rope.as_ref(),
            Self::Latent(spec) => spec.rope.as_ref(),
            Self::Delta(_) => None,
            Self::Compressed(spec) => Some(&spec.rope),
        }
    }

    /// How far back a token looks.
    pub fn span(&self) -> Span {
        match self {
            Self::Attention(spec) => spec.span,
            Self::Latent(_) | Self::Delta(_) => Span::Full,
            Self::Compressed(spec) => Span::Sliding(spec.window),
        }
    }
}
