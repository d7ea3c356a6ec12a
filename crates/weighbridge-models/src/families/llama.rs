//! Llama 1 to 3 and the many models of its shape (<https://arxiv.org/abs/2302.13971>,
//! <https://arxiv.org/abs/2407.21783>): RMS norm before each part, rotary positions, grouped queries, SwiGLU.

use serde::Deserialize;
use serde_json::Value as Json;

use super::rope::RopeConfig;
use super::{Described, Family, LAYERS_MAX, SIZE_MAX, SpecError, check_heads, positive, size};
use crate::gguf::{Gguf, GgufError};
use crate::parts::Names;
use crate::spec::{AttentionSpec, DecoderSpec, FeedForwardSpec, LayerSpec, RopeScaling, RopeSpec, RopeStyle, Span};

pub(super) const FAMILY: Family = Family { architecture: "llama", from_config, from_gguf: Some(from_gguf) };

/// As published on Hugging Face.
const CONFIG_NAMES: Names = Names {
    embedding: "model.embed_tokens",
    final_norm: "model.norm",
    head: "lm_head",
    layer: "model.layers",
    attention_norm: "input_layernorm",
    query: "self_attn.q_proj",
    key: "self_attn.k_proj",
    value: "self_attn.v_proj",
    output: "self_attn.o_proj",
    feed_forward_norm: "post_attention_layernorm",
    gate: "mlp.gate_proj",
    up: "mlp.up_proj",
    down: "mlp.down_proj",
};

/// As llama.cpp's converter writes them.
const GGUF_NAMES: Names = Names {
    embedding: "token_embd",
    final_norm: "output_norm",
    head: "output",
    layer: "blk",
    attention_norm: "attn_norm",
    query: "attn_q",
    key: "attn_k",
    value: "attn_v",
    output: "attn_output",
    feed_forward_norm: "ffn_norm",
    gate: "ffn_gate",
    up: "ffn_up",
    down: "ffn_down",
};

/// The fields of `config.json`, with the defaults of transformers' `LlamaConfig`.
#[derive(Deserialize)]
struct Config {
    model_type: String,
    vocab_size: u64,
    hidden_size: u64,
    intermediate_size: u64,
    num_hidden_layers: u64,
    num_attention_heads: u64,
    num_key_value_heads: Option<u64>,
    head_dim: Option<u64>,
    max_position_embeddings: u64,
    rms_norm_eps: f64,
    hidden_act: Option<String>,
    #[serde(default)]
    tie_word_embeddings: bool,
    #[serde(default)]
    attention_bias: bool,
    #[serde(default)]
    mlp_bias: bool,
    #[serde(flatten)]
    rope: RopeConfig,
    quantization_config: Option<Json>,
}

pub(super) fn from_config(config: &Json) -> Result<Described, SpecError> {
    let config = Config::deserialize(config).map_err(|reason| SpecError::Config(reason.to_string()))?;
    config.check_supported()?;
    let hidden = size("hidden_size", config.hidden_size, SIZE_MAX)?;
    let context = size("max_position_embeddings", config.max_position_embeddings, u32::MAX.into())?;
    let layers = size("num_hidden_layers", config.num_hidden_layers, LAYERS_MAX)?;
    let layer = LayerSpec {
        attention: config.attention(context)?,
        feed_forward: FeedForwardSpec {
            inner: size("intermediate_size", config.intermediate_size, SIZE_MAX)?,
            bias: config.mlp_bias,
        },
    };
    let spec = DecoderSpec {
        hidden,
        vocabulary: size("vocab_size", config.vocab_size, SIZE_MAX)?,
        context,
        norm_eps: positive("rms_norm_eps", config.rms_norm_eps)? as f32,
        tied_head: config.tie_word_embeddings,
        layers: vec![layer; layers],
        architecture: config.model_type,
    };
    Ok(Described { spec, names: CONFIG_NAMES })
}

impl Config {
    fn check_supported(&self) -> Result<(), SpecError> {
        if let Some(activation) = self.hidden_act.as_deref().filter(|&name| name != "silu") {
            return Err(SpecError::field("hidden_act", format!("is `{activation}`; supported: silu")));
        }
        if self.quantization_config.as_ref().is_some_and(|it| !it.is_null()) {
            return Err(SpecError::field(
                "quantization_config",
                "asks for packed weights, which are read from gguf only",
            ));
        }
        Ok(())
    }

    fn attention(&self, context: usize) -> Result<AttentionSpec, SpecError> {
        let heads = size("num_attention_heads", self.num_attention_heads, SIZE_MAX)?;
        let kv_heads = self.num_key_value_heads.unwrap_or(self.num_attention_heads);
        let kv_heads = size("num_key_value_heads", kv_heads, SIZE_MAX)?;
        let head_dim = self.head_dim.unwrap_or(self.hidden_size / self.num_attention_heads);
        let head_dim = size("head_dim", head_dim, SIZE_MAX)?;
        check_heads(heads, kv_heads, head_dim)?;
        Ok(AttentionSpec {
            heads,
            kv_heads,
            head_dim,
            rope: self.rope.spec(context)?,
            span: Span::Full,
            qkv_bias: self.attention_bias,
            output_bias: self.attention_bias,
        })
    }
}

fn from_gguf(file: &Gguf) -> Result<Described, SpecError> {
    if let Some(experts) = file.unsigned("llama.expert_count")?.filter(|&experts| experts > 0) {
        return Err(SpecError::field("llama.expert_count", format!("is {experts}; experts are not supported yet")));
    }
    let hidden = required(file, "llama.embedding_length", SIZE_MAX)?;
    let layers = required(file, "llama.block_count", LAYERS_MAX)?;
    let layer = LayerSpec {
        attention: gguf_attention(file, hidden)?,
        feed_forward: FeedForwardSpec {
            inner: required(file, "llama.feed_forward_length", SIZE_MAX)?,
            bias: file.has_tensor("blk.0.ffn_gate.bias"),
        },
    };
    let eps = file.float("llama.attention.layer_norm_rms_epsilon")?;
    let eps = eps.ok_or_else(|| GgufError::Missing("llama.attention.layer_norm_rms_epsilon".to_owned()))?;
    let spec = DecoderSpec {
        architecture: "llama".to_owned(),
        hidden,
        vocabulary: gguf_vocabulary(file)?,
        context: required(file, "llama.context_length", u32::MAX.into())?,
        norm_eps: positive("llama.attention.layer_norm_rms_epsilon", eps)? as f32,
        tied_head: !file.has_tensor("output.weight"),
        layers: vec![layer; layers],
    };
    Ok(Described { spec, names: GGUF_NAMES })
}

fn gguf_attention(file: &Gguf, hidden: usize) -> Result<AttentionSpec, SpecError> {
    let heads = required(file, "llama.attention.head_count", SIZE_MAX)?;
    let kv_heads = optional(file, "llama.attention.head_count_kv", heads)?;
    let head_dim = optional(file, "llama.attention.key_length", hidden / heads)?;
    check_heads(heads, kv_heads, head_dim)?;
    for key in ["llama.attention.value_length", "llama.rope.dimension_count"] {
        let width = optional(file, key, head_dim)?;
        if width != head_dim {
            return Err(SpecError::field(
                key,
                format!("is {width}; other than the head's {head_dim} is not supported yet"),
            ));
        }
    }
    Ok(AttentionSpec {
        heads,
        kv_heads,
        head_dim,
        rope: gguf_rope(file, head_dim)?,
        span: Span::Full,
        qkv_bias: file.has_tensor("blk.0.attn_q.bias"),
        output_bias: file.has_tensor("blk.0.attn_output.bias"),
    })
}

/// The converter reorders the rows of query and key so that neighbours turn together.
fn gguf_rope(file: &Gguf, head_dim: usize) -> Result<RopeSpec, SpecError> {
    let theta = file.float("llama.rope.freq_base")?.unwrap_or(10_000.0);
    let scaling = match file.string("llama.rope.scaling.type")?.unwrap_or("none") {
        "none" => match file.small_tensor("rope_freqs.weight", head_dim / 2)? {
            Some(factors) => RopeScaling::Factors(factors),
            None => RopeScaling::None,
        },
        "linear" => {
            let factor = file.float("llama.rope.scaling.factor")?;
            let factor = factor.ok_or_else(|| GgufError::Missing("llama.rope.scaling.factor".to_owned()))?;
            RopeScaling::Linear { factor: positive("llama.rope.scaling.factor", factor)? }
        }
        other => {
            let problem = format!("is `{other}`, which is not supported yet");
            return Err(SpecError::field("llama.rope.scaling.type", problem));
        }
    };
    Ok(RopeSpec { theta: positive("llama.rope.freq_base", theta)?, style: RopeStyle::Interleaved, scaling })
}

/// The metadata may leave it out; the embedding cannot.
fn gguf_vocabulary(file: &Gguf) -> Result<usize, SpecError> {
    let embedding = file.tensors().iter().find(|tensor| tensor.name == "token_embd.weight");
    let embedding = embedding.ok_or_else(|| SpecError::field("token_embd.weight", "is missing from the tensors"))?;
    size("rows of token_embd.weight", embedding.shape[0] as u64, SIZE_MAX)
}

fn required(file: &Gguf, key: &str, most: u64) -> Result<usize, SpecError> {
    let value = file.unsigned(key)?.ok_or_else(|| GgufError::Missing(key.to_owned()))?;
    size(key, value, most)
}

fn optional(file: &Gguf, key: &str, default: usize) -> Result<usize, SpecError> {
    size(key, file.unsigned(key)?.unwrap_or(default as u64), SIZE_MAX)
}
