//! How positions enter attention.

/// Rotary position embedding (RoFormer, <https://arxiv.org/abs/2104.09864>).
#[derive(Clone, Debug, PartialEq)]
pub struct RopeSpec {
    /// Dimensions of a head that turn, from the first; even. The others stay as they are.
    pub width: usize,
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
    /// The first half with the second, as most Hugging Face checkpoints store them.
    Neox,
    /// Neighbours, as Cohere, DeepSeek and GGUF files of the Llama architecture store them.
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
    /// Long waves divided by the factor, short ones kept, a ramp over the dimensions between (YaRN,
    /// <https://arxiv.org/abs/2309.00071>).
    Yarn {
        /// What long waves are divided by.
        factor: f64,
        /// The context before stretching.
        original_context: f64,
        /// Waves that turn more often than this in the original context are kept.
        beta_fast: f64,
        /// Waves that turn less often than this are stretched in full.
        beta_slow: f64,
        /// Whether the ramp starts and ends at whole dimensions.
        truncate: bool,
        /// What query and key grow by.
        magnitude: f64,
    },
    /// Each frequency divided by a factor of its own, another one once a sequence is longer than the original context
    /// (<https://arxiv.org/abs/2402.13753>). Like a dynamic base, it goes by the length of the whole prompt.
    Long {
        /// Up to the original context; one for every two dimensions.
        short: Vec<f32>,
        /// Beyond it.
        long: Vec<f32>,
        /// The context before stretching.
        original_context: f64,
        /// What query and key grow by up to the original context.
        short_magnitude: f64,
        /// What they grow by beyond it.
        long_magnitude: f64,
    },
    /// All divided by the factor, and of the pairs of dimensions only the first turn, as if all did (Gemma 4).
    Proportional {
        /// At least 1.
        factor: f64,
        /// Pairs that turn.
        pairs: usize,
    },
    /// Each frequency divided by its own factor: what GGUF files store of `Llama3`. One for every two dimensions.
    Factors(Vec<f32>),
}
