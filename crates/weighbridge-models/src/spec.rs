//! One decoder, described by data.
//!
//! A family turns a checkpoint's config into a [`DecoderSpec`]; the blocks compute whatever the spec says and know no
//! families. What differs between layers is a list, never an `if` on a layer's number.

mod attention;
mod compressed;
mod delta;
mod extras;
mod feed_forward;
mod index;
mod rope;

pub use self::attention::{AttentionSpec, HeadNorm, KeysValues, LatentSpec, MixerSpec, Span, TemperatureSpec};
pub use self::compressed::{CompressedSpec, CompressionSpec, RowIndexSpec};
pub use self::delta::{DeltaKind, DeltaSpec};
pub use self::extras::{HyperSpec, PerLayerSpec, StreamsSpec};
pub use self::feed_forward::{Activation, ExpertsSpec, FeedForwardSpec, GroupsSpec, MlpSpec, RouterSpec, Scoring};
pub use self::index::{Choosing, IndexQueries, IndexSpec};
pub use self::rope::{RopeScaling, RopeSpec, RopeStyle};

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
    /// The kind of every norm.
    pub norm: Norm,
    /// Epsilon of every norm.
    pub norm_eps: f32,
    /// What embeddings are multiplied by; 1 in most.
    pub embedding_scale: f32,
    /// Whether the output head is the embedding itself.
    pub tied_head: bool,
    /// Whether the output head has a bias.
    pub head_bias: bool,
    /// What logits are multiplied by; 1 in most.
    pub logit_scale: f32,
    /// Logits are kept within ± this, softly: `cap · tanh(logit / cap)`.
    pub logit_cap: Option<f32>,
    /// A row for each token and layer, if there are any.
    pub per_layer: Option<PerLayerSpec>,
    /// Residual streams, where there are several.
    pub streams: Option<StreamsSpec>,
    /// Residual streams of another kind, where there are several.
    pub hyper: Option<HyperSpec>,
    /// Whether rotary frequencies are multiplied by e to the power of stored numbers, one for each.
    pub learned_rope: bool,
    /// From the first to the last.
    pub layers: Vec<LayerSpec>,
}

/// How activations are normalised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Norm {
    /// By their root mean square, times a weight (<https://arxiv.org/abs/1910.07467>).
    Rms,
    /// The same with one added to the stored weight, as Gemma does.
    RmsPlusOne,
    /// By mean and deviation, without weight (<https://arxiv.org/abs/1607.06450>).
    Plain,
    /// By mean and deviation, times a weight.
    Layer,
    /// By mean and deviation, times a weight, plus a bias.
    LayerBias,
}

impl Norm {
    /// Whether it has a stored weight.
    pub fn has_weight(self) -> bool {
        self != Self::Plain
    }

    /// Whether it has a stored bias.
    pub fn has_bias(self) -> bool {
        self == Self::LayerBias
    }
}

/// One layer: tokens look at each other, then each goes through the feed-forward part; both are added to the residual
/// stream.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerSpec {
    /// How tokens look at each other.
    pub mixer: MixerSpec,
    /// What each token goes through alone.
    pub feed_forward: FeedForwardSpec,
    /// Where the norms stand.
    pub placement: Placement,
    /// What both parts are multiplied by before they are added; 1 in most.
    pub residual_scale: f32,
    /// The narrowest width of what goes around attention beside the residual stream (LAuReL,
    /// <https://arxiv.org/abs/2411.07501>), if anything does.
    pub laurel: Option<usize>,
    /// Whether what leaves the layer is multiplied by a stored number.
    pub output_scale: bool,
}

/// Where the norms of a layer stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placement {
    /// One before each part.
    Before,
    /// One after each part.
    After,
    /// One before and one after each part.
    Around,
    /// One before both parts, which see the same input.
    Parallel,
}

impl Placement {
    /// Whether what goes into attention is normalised.
    pub fn before(self) -> bool {
        self != Self::After
    }

    /// Whether what comes out of both parts is normalised.
    pub fn after(self) -> bool {
        matches!(self, Self::After | Self::Around)
    }

    /// Whether what goes into the feed-forward part has a norm of its own.
    pub fn before_feed_forward(self) -> bool {
        matches!(self, Self::Before | Self::Around)
    }
}

impl DecoderSpec {
    /// Bytes that one token takes in a cache of float32 keys and values.
    pub fn kv_bytes_per_token(&self) -> u64 {
        self.layers.iter().map(|layer| 4 * layer.mixer.cached_width() as u64).sum()
    }

    /// The widest window of the layers that have one narrower than the context, in tokens; `None` where none has.
    pub fn window(&self) -> Option<usize> {
        self.layers.iter().filter_map(|layer| layer.mixer.span().window(self.context)).max()
    }

    /// Bytes that a sequence takes in a cache however many tokens it has.
    pub fn state_bytes(&self) -> u64 {
        self.layers.iter().map(|layer| 4 * layer.mixer.state_width() as u64).sum()
    }
}
