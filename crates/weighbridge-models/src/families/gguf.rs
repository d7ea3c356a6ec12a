//! What GGUF metadata says, for the families whose files llama.cpp writes: the same keys under the name of each, and
//! the same names of tensors. Source: `gguf-py/gguf/constants.py` of llama.cpp.

use super::{Described, LAYERS_MAX, SIZE_MAX, SpecError, check_heads, positive, size};
use crate::gguf::{Gguf, GgufError};
use crate::parts::{Fusion, Names, Packing};
use crate::spec::{
    Activation, AttentionSpec, DecoderSpec, ExpertsSpec, FeedForwardSpec, HeadNorm, KeysValues, LayerSpec, MixerSpec,
    MlpSpec, Norm, Placement, RopeScaling, RopeSpec, RopeStyle, RouterSpec, Scoring, Span,
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

/// The decoder of Llama's shape that the common keys describe.
pub(super) fn decoder(file: &Gguf, architecture: &'static str, style: RopeStyle) -> Result<Described, SpecError> {
    let meta = Meta { file, architecture };
    let hidden = meta.required("embedding_length", SIZE_MAX)?;
    let layers = meta.required("block_count", LAYERS_MAX)?;
    let layer = LayerSpec {
        mixer: MixerSpec::Attention(meta.attention(hidden, style)?),
        feed_forward: meta.feed_forward()?,
        placement: Placement::Before,
        residual_scale: 1.0,
        laurel: None,
        output_scale: false,
    };
    let spec = DecoderSpec {
        architecture: architecture.to_owned(),
        hidden,
        vocabulary: vocabulary(file)?,
        context: meta.required("context_length", u32::MAX.into())?,
        norm: Norm::Rms,
        norm_eps: meta.number("attention.layer_norm_rms_epsilon")? as f32,
        embedding_scale: 1.0,
        tied_head: !file.has_tensor("output.weight"),
        head_bias: file.has_tensor("output.bias"),
        logit_scale: 1.0,
        logit_cap: None,
        per_layer: None,
        streams: None,
        hyper: None,
        learned_rope: false,
        layers: vec![layer; layers],
    };
    Ok(Described { spec, names: NAMES })
}

/// The keys of one architecture.
pub(super) struct Meta<'a> {
    pub(super) file: &'a Gguf,
    pub(super) architecture: &'static str,
}

impl Meta<'_> {
    pub(super) fn key(&self, name: &str) -> String {
        format!("{}.{name}", self.architecture)
    }

    pub(super) fn required(&self, name: &str, most: u64) -> Result<usize, SpecError> {
        let key = self.key(name);
        let value = self.file.unsigned(&key)?.ok_or_else(|| GgufError::Missing(key.clone()))?;
        size(&key, value, most)
    }

    pub(super) fn optional(&self, name: &str) -> Result<Option<usize>, SpecError> {
        let key = self.key(name);
        let value = self.file.unsigned(&key)?.filter(|&value| value > 0);
        value.map(|value| size(&key, value, SIZE_MAX)).transpose()
    }

    /// A number above 0.
    pub(super) fn number(&self, name: &str) -> Result<f64, SpecError> {
        let key = self.key(name);
        positive(&key, self.file.float(&key)?.ok_or_else(|| GgufError::Missing(key.clone()))?)
    }

    /// A number above 0 that need not be there.
    pub(super) fn optional_number(&self, name: &str) -> Result<Option<f64>, SpecError> {
        let key = self.key(name);
        self.file.float(&key)?.map(|number| positive(&key, number)).transpose()
    }

    fn attention(&self, hidden: usize, style: RopeStyle) -> Result<AttentionSpec, SpecError> {
        let heads = self.required("attention.head_count", SIZE_MAX)?;
        let kv_heads = self.optional("attention.head_count_kv")?.unwrap_or(heads);
        let head_dim = self.optional("attention.key_length")?.unwrap_or(hidden / heads);
        check_heads(heads, kv_heads, head_dim)?;
        let value_dim = self.optional("attention.value_length")?.unwrap_or(head_dim);
        if value_dim != head_dim {
            let problem = format!("is {value_dim}; other than the head's {head_dim} is not supported yet");
            return Err(SpecError::field(self.key("attention.value_length"), problem));
        }
        Ok(AttentionSpec {
            heads,
            kv_heads,
            head_dim,
            rope: Some(self.rope(head_dim, style)?),
            span: Span::Full,
            qkv_bias: self.file.has_tensor("blk.0.attn_q.bias"),
            output_bias: self.file.has_tensor("blk.0.attn_output.bias"),
            head_norm: self.file.has_tensor("blk.0.attn_q_norm.weight").then_some(HeadNorm::Shared),
            clip: None,
            scale: (head_dim as f64).powf(-0.5) as f32,
            score_cap: None,
            temperature: None,
            sinks: false,
            keys_values: KeysValues::Apart,
            value_norm: false,
            gated: false,
        })
    }

    fn rope(&self, head_dim: usize, style: RopeStyle) -> Result<RopeSpec, SpecError> {
        let width = self.optional("rope.dimension_count")?.unwrap_or(head_dim);
        if width > head_dim || !width.is_multiple_of(2) {
            let problem = format!("is {width}, where an even number up to the head's {head_dim} is expected");
            return Err(SpecError::field(self.key("rope.dimension_count"), problem));
        }
        let theta = self.optional_number("rope.freq_base")?.unwrap_or(10_000.0);
        let scaling = match self.file.string(&self.key("rope.scaling.type"))?.unwrap_or("none") {
            "none" => match self.file.small_tensor("rope_freqs.weight", width / 2)? {
                Some(factors) => RopeScaling::Factors(factors),
                None => RopeScaling::None,
            },
            "linear" => RopeScaling::Linear { factor: self.number("rope.scaling.factor")? },
            "yarn" => self.yarn()?,
            other => {
                let problem = format!("is `{other}`, which is not supported yet");
                return Err(SpecError::field(self.key("rope.scaling.type"), problem));
            }
        };
        Ok(RopeSpec { width, theta, style, scaling })
    }

    /// The factors of longrope, where the file has them.
    pub(super) fn long_rope(&self) -> Result<Option<RopeScaling>, SpecError> {
        let width = match self.optional("rope.dimension_count")? {
            Some(width) => width,
            None => self.required("embedding_length", SIZE_MAX)? / self.required("attention.head_count", SIZE_MAX)?,
        };
        let factors = |name| self.file.small_tensor(name, width / 2);
        let (Some(short), Some(long)) = (factors("rope_factors_short.weight")?, factors("rope_factors_long.weight")?)
        else {
            return Ok(None);
        };
        let magnitude = self.optional_number("rope.scaling.attn_factor")?.unwrap_or(1.0);
        Ok(Some(RopeScaling::Long {
            short,
            long,
            original_context: self.required("rope.scaling.original_context_length", u32::MAX.into())? as f64,
            short_magnitude: magnitude,
            long_magnitude: magnitude,
        }))
    }

    /// As `ggml_rope_ext` computes it; its magnitude grows by the logarithm of the factor.
    fn yarn(&self) -> Result<RopeScaling, SpecError> {
        let factor = self.number("rope.scaling.factor")?;
        let grown = self.optional_number("rope.scaling.attn_factor")?.unwrap_or(1.0);
        Ok(RopeScaling::Yarn {
            factor,
            original_context: self.required("rope.scaling.original_context_length", u32::MAX.into())? as f64,
            beta_fast: self.optional_number("rope.scaling.yarn_beta_fast")?.unwrap_or(32.0),
            beta_slow: self.optional_number("rope.scaling.yarn_beta_slow")?.unwrap_or(1.0),
            truncate: true,
            magnitude: grown * super::rope::yarn_magnitude(factor, 1.0),
        })
    }

    fn feed_forward(&self) -> Result<FeedForwardSpec, SpecError> {
        let mlp = |inner, bias| MlpSpec { inner, activation: Activation::Silu, gated: true, bias };
        let Some(count) = self.optional("expert_count")? else {
            let inner = self.required("feed_forward_length", SIZE_MAX)?;
            return Ok(FeedForwardSpec::Dense(mlp(inner, self.file.has_tensor("blk.0.ffn_gate.bias"))));
        };
        if self.architecture == "llama" && self.file.has_tensor("blk.0.ffn_gate.0.weight") {
            let problem = format!("is {count}, each in a tensor of its own, which is not supported yet");
            return Err(SpecError::field(self.key("expert_count"), problem));
        }
        let inner = self.optional("expert_feed_forward_length")?;
        let inner = inner.map_or_else(|| self.required("feed_forward_length", SIZE_MAX), Ok)?;
        let chosen = self.required("expert_used_count", count as u64)?;
        Ok(FeedForwardSpec::Experts(ExpertsSpec {
            count,
            chosen,
            expert: mlp(inner, false),
            router: RouterSpec { renormalise: true, ..RouterSpec::of(Scoring::Softmax) },
            shared: None,
            shared_scale: 1.0,
            shared_gate: false,
        }))
    }
}

/// The metadata may leave it out; the embedding cannot.
fn vocabulary(file: &Gguf) -> Result<usize, SpecError> {
    let embedding = file.tensors().iter().find(|tensor| tensor.name == "token_embd.weight");
    let embedding = embedding.ok_or_else(|| SpecError::field("token_embd.weight", "is missing from the tensors"))?;
    size("rows of token_embd.weight", embedding.shape[0] as u64, SIZE_MAX)
}
