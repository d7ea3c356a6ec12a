//! Gemma 3n, text (transformers' `modeling_gemma3n.py`): several residual streams of which layers see one, a narrow way
//! around attention, a row for each token and layer, and a gate that keeps only what stands out in the first layers. The
//! last layers use the keys and values of earlier ones.

use serde_json::{Value as Json, json};

use super::config::{Config, each_attention, slide};
use super::{Described, Family, SpecError, gemma, rope};
use crate::spec::{
    Activation, AttentionSpec, DecoderSpec, FeedForwardSpec, HeadNorm, KeysValues, PerLayerSpec, Placement, RopeSpec,
    StreamsSpec,
};

pub(super) const TEXT: Family = Family { architecture: "gemma3n_text", from_config, from_gguf: None };

/// Streams that there are names for.
const STREAMS_MAX: u64 = 8;

/// The layers, from the first, whose gates keep what stands out where the config does not say, and how much of a row
/// they then leave out; only in models of more layers.
const SPARSE_LAYERS: usize = 10;
const SPARSE_SHARE: f64 = 0.95;

fn from_config(config: &Json) -> Result<Described, SpecError> {
    let inner = widths(config)?;
    // Of the widths any will do here: each layer gets its own below.
    let config = Config::new(config, defaults())?.with("intermediate_size", json!(1));
    let mut spec = config.decoder()?;
    spec.embedding_scale = (spec.hidden as f64).sqrt() as f32;
    spec.logit_cap = config.optional_number("final_logit_softcapping")?.map(|cap| cap as f32);
    let layers = spec.layers.len();
    let activation = config.activation(&["hidden_activation"])?;
    let deviations = deviations(&config, layers)?;
    let laurel = config.size("laurel_rank")?;
    for (index, layer) in spec.layers.iter_mut().enumerate() {
        layer.placement = Placement::Around;
        layer.laurel = Some(laurel);
        let FeedForwardSpec::Dense(mlp) = &mut layer.feed_forward else { continue };
        mlp.inner = inner.of(index, layers)?;
        mlp.bias = false;
        mlp.activation = match deviations[index] {
            None => activation,
            Some(deviations) if activation == Activation::GeluTanh => Activation::GeluTanhAbove { deviations },
            Some(_) => {
                let problem = "is not gelu_pytorch_tanh, which a gate that keeps what stands out needs";
                return Err(SpecError::field("hidden_activation", problem));
            }
        };
    }
    spec.per_layer = Some(PerLayerSpec {
        width: config.size("hidden_size_per_layer_input")?,
        vocabulary: config.size("vocab_size_per_layer_input")?,
        activation,
    });
    spec.streams = Some(streams(&config)?);
    attention(&config, &mut spec)?;
    Ok(Described { spec, names: gemma::SANDWICH_NAMES })
}

fn attention(config: &Config, spec: &mut DecoderSpec) -> Result<(), SpecError> {
    let (layers, context) = (spec.layers.len(), spec.context);
    let sliding = config.sliding_layers(layers, |index| !(index + 1).is_multiple_of(5))?;
    slide(spec, &sliding, config.window()?);
    let head_dim = config.size("head_dim")?;
    let full = rope::read(config, Some(gemma::FULL), head_dim, context)?;
    let local = config.number("rope_local_base_freq")?;
    let local: RopeSpec = if rope::has_own(config, gemma::SLIDING) {
        rope::read(&config.with("rope_theta", json!(local)), Some(gemma::SLIDING), head_dim, context)?
    } else {
        rope::plain(&full, local)
    };
    each_attention(spec, |index, attention| {
        attention.rope = Some(if sliding[index] { local.clone() } else { full.clone() });
        normed(attention);
    });
    share(config, spec, &sliding)
}

/// What Gemma 3n and 4 share: norms on queries, keys and values, and scores that are not scaled.
pub(super) fn normed(attention: &mut AttentionSpec) {
    attention.head_norm = Some(HeadNorm::Shared);
    attention.value_norm = true;
    attention.scale = 1.0;
}

/// Lets the last layers use the keys and values of the last layer of their kind that has its own.
pub(super) fn share(config: &Config, spec: &mut DecoderSpec, sliding: &[bool]) -> Result<(), SpecError> {
    const FIELD: &str = "num_kv_shared_layers";
    let shared = config.count(FIELD)?;
    let Some(own) = sliding.len().checked_sub(shared) else {
        return Err(SpecError::field(FIELD, format!("is {shared} of {} layers", sliding.len())));
    };
    let last = |kind: bool| sliding[..own].iter().rposition(|&sliding| sliding == kind);
    if let Some(index) = (own..sliding.len()).find(|&index| last(sliding[index]).is_none()) {
        let problem = format!("is {shared}, which leaves no keys for layer {index} to use");
        return Err(SpecError::field(FIELD, problem));
    }
    each_attention(spec, |index, attention| {
        if let Some(source) = last(sliding[index]).filter(|_| index >= own) {
            attention.keys_values = KeysValues::Of(source);
        }
    });
    Ok(())
}

fn streams(config: &Config) -> Result<StreamsSpec, SpecError> {
    let count = config.size_up_to("altup_num_inputs", STREAMS_MAX)?;
    let active = config.count("altup_active_idx")?;
    if count < 2 || active >= count {
        let problem = format!("is {active} of {count} streams; two or more are needed, and one of them");
        return Err(SpecError::field("altup_active_idx", problem));
    }
    Ok(StreamsSpec { count, active, scaled: config.flag("altup_correct_scale")? })
}

/// The widths of the feed-forward parts: one for all layers, or a list.
enum Widths {
    One(usize),
    Each(Vec<usize>),
}

impl Widths {
    fn of(&self, index: usize, layers: usize) -> Result<usize, SpecError> {
        match self {
            Self::One(width) => Ok(*width),
            Self::Each(widths) if widths.len() == layers => Ok(widths[index]),
            Self::Each(widths) => {
                let problem = format!("has {} entries for {layers} layers", widths.len());
                Err(SpecError::field("intermediate_size", problem))
            }
        }
    }
}

fn widths(config: &Json) -> Result<Widths, SpecError> {
    const FIELD: &str = "intermediate_size";
    let config = Config::new(config, json!({"intermediate_size": 16384}))?;
    if !config.get(FIELD).is_some_and(Json::is_array) {
        return config.size(FIELD).map(Widths::One);
    }
    let widths = config.numbers(FIELD)?.unwrap_or_default();
    let widths = widths.into_iter().map(|width| super::size(FIELD, width, super::SIZE_MAX));
    widths.collect::<Result<_, _>>().map(Widths::Each)
}

/// By how many deviations a gate's number must exceed the mean of its row to be kept, where a layer leaves any out.
fn deviations(config: &Config, layers: usize) -> Result<Vec<Option<f32>>, SpecError> {
    const FIELD: &str = "activation_sparsity_pattern";
    let shares = match config.get(FIELD) {
        None => {
            let sparse = if layers > SPARSE_LAYERS { SPARSE_LAYERS } else { 0 };
            (0..layers).map(|index| if index < sparse { SPARSE_SHARE } else { 0.0 }).collect()
        }
        Some(value) => {
            let shares: Option<Vec<f64>> = value.as_array().and_then(|list| list.iter().map(Json::as_f64).collect());
            shares.ok_or_else(|| SpecError::field(FIELD, "is no list of numbers"))?
        }
    };
    if shares.len() != layers || shares.iter().any(|share| !(0.0..1.0).contains(share)) {
        let problem = format!("is no list of {layers} numbers from 0 to below 1");
        return Err(SpecError::field(FIELD, problem));
    }
    // The quantile of a normal distribution, of a share in float32.
    let quantile = |share: f64| candle_core::cpu::erf::erf_inv(2.0 * f64::from(share as f32) - 1.0) * 2_f64.sqrt();
    Ok(shares.into_iter().map(|share| (share > 0.0).then(|| quantile(share) as f32)).collect())
}

/// Those of `Gemma3nTextConfig`.
fn defaults() -> Json {
    json!({
        "rms_norm_eps": 1e-6, "num_key_value_heads": 2, "head_dim": 256, "tie_word_embeddings": true,
        "hidden_activation": "gelu_pytorch_tanh", "sliding_window": 512, "final_logit_softcapping": 30.0,
        "rope_theta": 1e6, "rope_local_base_freq": 1e4, "vocab_size_per_layer_input": 262144,
        "hidden_size_per_layer_input": 256, "altup_active_idx": 0, "altup_correct_scale": true,
        "altup_num_inputs": 4, "num_kv_shared_layers": 15, "laurel_rank": 64,
    })
}
