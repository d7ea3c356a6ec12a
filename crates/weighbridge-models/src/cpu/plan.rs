//! What can be told of the `cpu` computation before any weight is read.

use crate::spec::{Activation, Choosing, DecoderSpec, FeedForwardSpec, KeysValues, LayerSpec, MixerSpec, MlpSpec};

/// Whether the kernels have all that a decoder of this spec needs, so that it computes on pages. Where matrices are of a
/// kind that cannot be packed, or an adapter is kept beside them, it may not all the same.
pub(crate) fn is_paged(spec: &DecoderSpec) -> bool {
    spec.per_layer.is_none() && spec.streams.is_none() && spec.hyper.is_none() && spec.layers.iter().all(layer)
}

fn layer(layer: &LayerSpec) -> bool {
    let mixer = match &layer.mixer {
        MixerSpec::Attention(spec) => spec.keys_values == KeysValues::Apart && !spec.value_norm,
        MixerSpec::Latent(spec) => spec.rank.is_multiple_of(8) && matches!(spec.choosing, Choosing::All),
        MixerSpec::Delta(_) | MixerSpec::Compressed(_) => false,
    };
    let feed_forward = match &layer.feed_forward {
        FeedForwardSpec::Dense(dense) => mlp(dense),
        FeedForwardSpec::Experts(experts) => !experts.router.by_token && mlp(&experts.expert),
        FeedForwardSpec::Beside(..) => false,
    };
    mixer && feed_forward && layer.laurel.is_none() && !layer.output_scale
}

fn mlp(spec: &MlpSpec) -> bool {
    !matches!(spec.activation, Activation::GeluTanhAbove { .. } | Activation::ClampedSilu { .. })
}
