//! What GGUF metadata says, for the families whose files llama.cpp writes: the same keys under the name of each, and
//! the same names of tensors. Sources: llama.cpp's `gguf-py/gguf/constants.py` for keys and names, its `conversion/` for
//! what is stored, and its `src/models/` for what is in no file.
//!
//! What a layer is made of is read off its tensors: a layer with a router has experts, a projection with a bias has it.

mod experts;
mod meta;
mod rope;

#[cfg(test)]
mod tests;

pub(super) use self::meta::Meta;
pub(super) use self::rope::read as rope;
use super::{Described, LAYERS_MAX, SIZE_MAX, SpecError, check_heads, size};
use crate::parts::{Fusion, Names, Packing};
use crate::spec::{
    AttentionSpec, DecoderSpec, FeedForwardSpec, HeadNorm, KeysValues, LayerSpec, MixerSpec, MlpSpec, Norm, Placement,
    RopeStyle, RouterSpec, Scoring, Span,
};

/// As llama.cpp's converter writes them.
pub(crate) const NAMES: Names = Names {
    embedding: "token_embd",
    final_norm: "output_norm",
    head: "output",
    layer: "blk",
    attention_norm: "attn_norm",
    query: "attn_q",
    key: "attn_k",
    value: "attn_v",
    output: "attn_output",
    query_norm: "attn_q_norm",
    key_norm: "attn_k_norm",
    sinks: "attn_sinks.weight",
    query_down: "attn_q_a",
    query_down_norm: "attn_q_a_norm",
    query_up: "attn_q_b",
    latent: "attn_kv_a_mqa",
    latent_norm: "attn_kv_a_norm",
    latent_up: "attn_kv_b",
    latent_key: "attn_k_b",
    latent_value: "attn_v_b",
    latent_kv: Fusion::Fused,
    attention_after: "post_attention_norm",
    feed_forward_norm: "ffn_norm",
    feed_forward_after: "post_ffw_norm",
    gate: "ffn_gate",
    up: "ffn_up",
    down: "ffn_down",
    router: "ffn_gate_inp",
    choice_bias: "exp_probs_b.bias",
    expert_gate: "ffn_gate_exps",
    expert_up: "ffn_up_exps",
    expert_down: "ffn_down_exps",
    shared_gate: "ffn_gate_shexp",
    shared_up: "ffn_up_shexp",
    shared_down: "ffn_down_shexp",
    shared_switch: "ffn_gate_inp_shexp",
    qkv: Fusion::Apart,
    delta: Fusion::Apart,
    gate_up: Fusion::Apart,
    packing: Packing::Plain,
};

/// What a family fixes and metadata do not say.
#[derive(Clone, Copy)]
pub(super) struct Fixed {
    /// How heads turn, as they are stored: the converter reorders the rows of some families.
    pub(super) style: RopeStyle,
    pub(super) norm: Norm,
    /// How experts are chosen where the metadata leave it open.
    pub(super) router: RouterSpec,
}

impl Fixed {
    /// RMS norms, and the weights of the chosen experts divided by their sum.
    pub(super) const fn new(style: RopeStyle) -> Self {
        let router = RouterSpec { renormalise: true, ..RouterSpec::of(Scoring::Softmax) };
        Self { style, norm: Norm::Rms, router }
    }
}

/// The decoder of Llama's shape that the common keys describe.
pub(super) fn decoder(meta: &Meta<'_>, fixed: &Fixed) -> Result<Described, SpecError> {
    around(meta, fixed, &MixerSpec::Attention(attention(meta, fixed.style)?))
}

/// The same with another mixer in every layer.
pub(super) fn around(meta: &Meta<'_>, fixed: &Fixed, mixer: &MixerSpec) -> Result<Described, SpecError> {
    meta.refuse_unless("attention.causal", true, "describes an encoder, which is not supported yet")?;
    let blocks = meta.required("block_count", LAYERS_MAX)?;
    // Those that guess tokens ahead come last.
    let layers = blocks.saturating_sub(meta.optional("nextn_predict_layers")?.unwrap_or(0));
    let layers = size(&meta.key("nextn_predict_layers"), layers as u64, LAYERS_MAX)?;
    let residual_scale = meta.optional_number("residual_scale")?.unwrap_or(1.0) as f32;
    let layer = |index| {
        Ok::<_, SpecError>(LayerSpec {
            mixer: mixer.clone(),
            feed_forward: feed_forward(meta, fixed, index)?,
            placement: Placement::Before,
            residual_scale,
            laurel: None,
            output_scale: false,
        })
    };
    let spec = DecoderSpec {
        architecture: meta.architecture.to_owned(),
        hidden: meta.required("embedding_length", SIZE_MAX)?,
        vocabulary: meta.vocabulary()?,
        context: meta.required("context_length", u32::MAX.into())?,
        norm: fixed.norm,
        norm_eps: meta.eps(fixed.norm)? as f32,
        embedding_scale: meta.optional_number("embedding_scale")?.unwrap_or(1.0) as f32,
        tied_head: !meta.has("output.weight"),
        head_bias: meta.has("output.bias"),
        logit_scale: 1.0,
        logit_cap: meta.optional_number("final_logit_softcapping")?.map(|cap| cap as f32),
        per_layer: None,
        streams: None,
        hyper: None,
        learned_rope: false,
        layers: (0..layers).map(layer).collect::<Result<_, _>>()?,
    };
    Ok(Described { names: names(meta, layers), spec })
}

/// The names of a file that may keep query, key and value in one, and each expert by itself, as older files do.
fn names(meta: &Meta<'_>, layers: usize) -> Names {
    let mut names = NAMES;
    if meta.has("blk.0.attn_qkv.weight") {
        names = Names { query: "attn_qkv", qkv: Fusion::Fused, ..names };
    }
    if (0..layers).any(|index| meta.has_in(index, "ffn_gate.0.weight")) {
        names = Names { expert_gate: "ffn_gate.*", expert_up: "ffn_up.*", expert_down: "ffn_down.*", ..names };
    }
    names
}

fn attention(meta: &Meta<'_>, style: RopeStyle) -> Result<AttentionSpec, SpecError> {
    let heads = meta.required("attention.head_count", SIZE_MAX)?;
    let kv_heads = meta.optional("attention.head_count_kv")?.unwrap_or(heads);
    let head_dim = meta.head_dim()?;
    check_heads(heads, kv_heads, head_dim)?;
    let value_dim = meta.optional("attention.value_length")?.unwrap_or(head_dim);
    if value_dim != head_dim {
        let problem = format!("is {value_dim}; other than the head's {head_dim} is not supported yet");
        return Err(SpecError::field(meta.key("attention.value_length"), problem));
    }
    let number = |name| Ok::<_, SpecError>(meta.optional_number(name)?.map(|number| number as f32));
    Ok(AttentionSpec {
        heads,
        kv_heads,
        head_dim,
        rope: Some(rope::read(meta, head_dim, style)?),
        span: Span::Full,
        qkv_bias: meta.has("blk.0.attn_q.bias") || meta.has("blk.0.attn_qkv.bias"),
        output_bias: meta.has("blk.0.attn_output.bias"),
        head_norm: meta.has("blk.0.attn_q_norm.weight").then_some(HeadNorm::Shared),
        clip: number("attention.clamp_kqv")?,
        scale: number("attention.scale")?.unwrap_or_else(|| (head_dim as f64).powf(-0.5) as f32),
        score_cap: number("attn_logit_softcapping")?,
        temperature: None,
        sinks: meta.has("blk.0.attn_sinks.weight"),
        keys_values: KeysValues::Apart,
        value_norm: false,
        gated: false,
    })
}

fn feed_forward(meta: &Meta<'_>, fixed: &Fixed, index: usize) -> Result<FeedForwardSpec, SpecError> {
    if meta.has_in(index, "ffn_gate_inp.weight") {
        return experts::read(meta, fixed.router, index).map(FeedForwardSpec::Experts);
    }
    let inner = meta.required("feed_forward_length", SIZE_MAX)?;
    let mlp = MlpSpec { bias: meta.has_in(index, "ffn_up.bias"), ..experts::mlp(inner) };
    Ok(FeedForwardSpec::Dense(mlp))
}
