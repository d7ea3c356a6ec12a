//! Model families: each one short file that turns a checkpoint's own description, a `config.json` or GGUF metadata, into
//! a [`DecoderSpec`] and the names of its tensors, and states only what sets the family apart.
//!
//! What a family cannot describe in full it refuses by name: a feature left out would not fail, it would talk nonsense.

mod cohere;
mod config;
mod deepseek;
mod deepseek_v4;
mod delta;
mod experts;
#[cfg(test)]
mod fields;
mod gemma;
mod gemma3n;
mod gemma4;
mod gguf;
mod glm4;
mod gpt_oss;
mod granite;
mod kimi;
mod llama;
mod llama4;
mod minimax;
mod ministral3;
mod mistral;
mod mistral4;
mod mistral_large4;
mod mixtral;
mod olmo;
mod phi;
mod qwen;
mod qwen_delta;
mod rope;
mod smollm3;
mod wrapped;

pub(crate) use self::gguf::NAMES as GGUF_NAMES;
use serde_json::Value as Json;
use thiserror::Error;

use crate::gguf::{Gguf, GgufError};
use crate::parts::Names;
use crate::spec::DecoderSpec;

/// Why a checkpoint's description of itself was refused.
#[derive(Debug, Error)]
pub enum SpecError {
    /// A family that is not here.
    #[error("architecture `{name}` is not supported yet; supported: {supported}")]
    Architecture {
        /// As the checkpoint names it.
        name: String,
        /// Those that are.
        supported: String,
    },
    /// A field is missing, of a wrong type or out of bounds, or asks for what is not supported.
    #[error("`{field}` {problem}")]
    Field {
        /// In `config.json` or in the metadata.
        field: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The config is no object of the expected fields.
    #[error("`config.json` does not describe a decoder: {0}")]
    Config(String),
    /// The metadata cannot be read.
    #[error(transparent)]
    Gguf(#[from] GgufError),
}

impl SpecError {
    fn field(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Field { field: field.into(), problem: problem.into() }
    }
}

/// A decoder as its checkpoint describes it.
pub(crate) struct Described {
    pub(crate) spec: DecoderSpec,
    pub(crate) names: Names,
}

/// How a family reads GGUF metadata.
type FromGguf = fn(&Gguf) -> Result<Described, SpecError>;

struct Family {
    /// `model_type` in a config, `general.architecture` in GGUF metadata.
    architecture: &'static str,
    from_config: fn(&Json) -> Result<Described, SpecError>,
    /// None where GGUF files go by another family's name.
    from_gguf: Option<FromGguf>,
}

const FAMILIES: &[Family] = &[
    llama::FAMILY,
    llama4::FAMILY,
    wrapped::LLAMA4,
    mistral::FAMILY,
    ministral3::FAMILY,
    mistral4::FAMILY,
    mistral_large4::FAMILY,
    wrapped::MISTRAL3,
    mixtral::FAMILY,
    deepseek::V2,
    deepseek::V3,
    deepseek::V32,
    deepseek_v4::FAMILY,
    qwen::QWEN2,
    qwen::QWEN2_MOE,
    qwen::QWEN3,
    qwen::QWEN3_MOE,
    qwen::QWEN3MOE,
    qwen_delta::NEXT,
    qwen_delta::QWEN3_5,
    qwen_delta::QWEN3_5_WRAPPED,
    kimi::LINEAR,
    cohere::COHERE,
    cohere::COHERE2,
    cohere::COHERE2_MOE,
    phi::PHI,
    phi::PHI3,
    phi::PHIMOE,
    gemma::GEMMA,
    gemma::GEMMA2,
    gemma::GEMMA3,
    gemma::GEMMA3_GGUF,
    gemma3n::TEXT,
    gemma4::TEXT,
    gemma4::GEMMA4,
    olmo::OLMO,
    olmo::OLMO2,
    olmo::OLMO3,
    olmo::OLMOE,
    gpt_oss::FAMILY,
    granite::FAMILY,
    smollm3::FAMILY,
    glm4::FAMILY,
    glm4::MOE,
    minimax::M2,
];

/// How GGUF files name the families that they do not call by their `model_type`.
const OTHER_NAMES: &[(&str, FromGguf)] = &[
    ("llama4", llama4::from_gguf),
    ("mistral3", ministral3::from_gguf),
    ("deepseek2", deepseek::from_gguf),
    ("qwen2moe", qwen::qwen2_moe_gguf),
    ("command-r", cohere::cohere_gguf),
    ("phi2", phi::phi_gguf),
    ("gpt-oss", gpt_oss::from_gguf),
];

/// The largest count or width of anything; bounds what is computed from a config before its tensors confirm it.
const SIZE_MAX: u64 = 1 << 24;
/// More layers than any model has.
const LAYERS_MAX: u64 = 1 << 12;
/// Wider heads than any model has. Every layer keeps the factors of its rope.
const HEAD_DIM_MAX: usize = 1 << 13;

/// The decoder that a `config.json` describes.
pub(crate) fn from_config(config: &Json) -> Result<Described, SpecError> {
    let Some(name) = config.get("model_type").and_then(Json::as_str) else {
        return Err(SpecError::field("model_type", "is missing from config.json"));
    };
    let family = FAMILIES.iter().find(|family| family.architecture == name);
    let family = family.ok_or_else(|| unknown(name, FAMILIES.iter().map(|family| family.architecture)))?;
    (family.from_config)(config)
}

/// The decoder that GGUF metadata describes.
pub(crate) fn from_gguf(file: &Gguf) -> Result<Described, SpecError> {
    const KEY: &str = "general.architecture";
    let name = file.string(KEY)?.ok_or_else(|| GgufError::Missing(KEY.to_owned()))?;
    let own = FAMILIES.iter().filter_map(|family| Some((family.architecture, family.from_gguf?)));
    let all = || own.clone().chain(OTHER_NAMES.iter().copied());
    let (_, from_gguf) = all()
        .find(|&(architecture, _)| architecture == name)
        .ok_or_else(|| unknown(name, all().map(|(architecture, _)| architecture)))?;
    from_gguf(file)
}

fn unknown<'a>(name: &str, supported: impl Iterator<Item = &'a str>) -> SpecError {
    let supported: Vec<_> = supported.collect();
    // Of a name from outside a start is enough.
    SpecError::Architecture { name: name.chars().take(64).collect(), supported: supported.join(", ") }
}

/// The config of the language model within one that sees or hears as well. How weights are packed, and whether the head
/// is the embedding, may stand outside.
fn text_of(config: &Json) -> Result<Json, SpecError> {
    const FIELD: &str = "text_config";
    let Some(Json::Object(text)) = config.get(FIELD) else {
        return Err(SpecError::field(FIELD, "is missing from config.json"));
    };
    let mut text = text.clone();
    for field in ["quantization_config", "tie_word_embeddings"] {
        if let Some(value) = config.get(field) {
            text.insert(field.to_owned(), value.clone());
        }
    }
    Ok(Json::Object(text))
}

/// A size from outside, from 1 to `most`.
fn size(field: &str, value: u64, most: u64) -> Result<usize, SpecError> {
    if value == 0 || value > most {
        return Err(SpecError::field(field, format!("is {value}; 1 to {most} are allowed")));
    }
    usize::try_from(value).map_err(|_| SpecError::field(field, format!("is {value}, too large for this machine")))
}

/// A number from outside that must be above zero.
fn positive(field: &str, value: f64) -> Result<f64, SpecError> {
    if value.is_finite() && value > 0.0 {
        return Ok(value);
    }
    Err(SpecError::field(field, format!("is {value}, where a number above 0 is expected")))
}

/// Checks that heads come in whole groups and in even widths.
fn check_heads(heads: usize, kv_heads: usize, head_dim: usize) -> Result<(), SpecError> {
    if !heads.is_multiple_of(kv_heads) {
        let problem = format!("are {heads}, which is no multiple of {kv_heads} key-value heads");
        return Err(SpecError::field("attention heads", problem));
    }
    if head_dim > HEAD_DIM_MAX {
        return Err(SpecError::field("head_dim", format!("is {head_dim}; up to {HEAD_DIM_MAX} are allowed")));
    }
    if !head_dim.is_multiple_of(2) {
        return Err(SpecError::field("head_dim", format!("is {head_dim}, where an even number is expected")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::spec::Span;

    #[test]
    fn an_unknown_architecture_is_named_with_those_that_are_known() {
        let error = from_config(&json!({"model_type": "rwkv"})).err().map(|error| error.to_string());
        let expected = "architecture `rwkv` is not supported yet; supported: llama, ";
        assert!(error.is_some_and(|error| error.starts_with(expected)));
    }

    /// A config of few fields, which the family's defaults complete.
    pub(super) fn small(model_type: &str, own: &Json) -> Json {
        let mut config = json!({
            "model_type": model_type, "vocab_size": 100, "hidden_size": 64, "intermediate_size": 32,
            "num_hidden_layers": 4, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16,
            "max_position_embeddings": 512,
        });
        if let (Json::Object(config), Json::Object(own)) = (&mut config, own.clone()) {
            config.extend(own);
        }
        config
    }

    fn check_spans(model_type: &str, own: &Json, expected: [Span; 4]) {
        let described = from_config(&small(model_type, own));
        let spans = described.map(|it| it.spec.layers.iter().map(|layer| layer.mixer.span()).collect::<Vec<_>>());
        assert_eq!(spans.map_err(|error| error.to_string()), Ok(expected.to_vec()), "{model_type} with {own}");
    }

    pub(super) fn check_refused(model_type: &str, own: &Json, expected: &str) {
        let error = from_config(&small(model_type, own)).err().map_or_else(String::new, |error| error.to_string());
        assert!(error.contains(expected), "`{error}` does not say `{expected}`");
    }

    #[test]
    fn windows_are_where_config_and_family_say() {
        const WINDOW: Span = Span::Sliding(20);
        let window = json!({"sliding_window": 20});
        check_spans("mistral", &window, [WINDOW; 4]);
        check_spans("mistral", &json!({"sliding_window": null}), [Span::Full; 4]);
        check_spans("mistral", &json!({}), [Span::Sliding(4096); 4]);
        check_spans("gemma2", &window, [WINDOW, Span::Full, WINDOW, Span::Full]);
        check_spans("cohere2", &window, [WINDOW, WINDOW, WINDOW, Span::Full]);
        check_spans("qwen2", &window, [Span::Full; 4]);
        let used = json!({"sliding_window": 20, "use_sliding_window": true, "max_window_layers": 3});
        check_spans("qwen2", &used, [Span::Full, Span::Full, Span::Full, WINDOW]);
        let types = json!({
            "sliding_window": 20,
            "layer_types": ["full_attention", "sliding_attention", "full_attention", "full_attention"],
        });
        check_spans("olmo3", &types, [Span::Full, WINDOW, Span::Full, Span::Full]);
    }

    #[test]
    fn what_would_change_the_numbers_and_is_not_computed_is_refused_by_name() {
        check_refused("mistral", &json!({"sliding_window": 0}), "`sliding_window` is 0");
        check_refused("mistral", &json!({"sliding_window": "wide"}), "`sliding_window` is \"wide\"");
        check_refused("llama", &json!({"partial_rotary_factor": 0.5}), "`partial_rotary_factor` is 0.5");
        check_refused("phi3", &json!({"partial_rotary_factor": 0.05}), "`partial_rotary_factor` is 0.05");
        check_refused("deepseek_v2", &json!({"norm_topk_prob": true}), "`norm_topk_prob` asks for");
        let own = json!({"rope_parameters": {"full_attention": {"rope_theta": 1e6}}});
        check_refused("qwen3", &own, "`rope_parameters` differ between types of layers");
        check_refused("gemma3_text", &json!({"use_bidirectional_attention": true}), "`use_bidirectional_attention`");
        check_refused(
            "gemma2",
            &json!({"layer_types": ["full_attention"]}),
            "`layer_types` has 1 entries for 4 layers",
        );
        check_refused("gemma2", &json!({"layer_types": [1, 2, 3, 4]}), "`layer_types` has 1; supported");
        check_refused("gpt_oss", &json!({"quantization_config": {"quant_method": "awq"}}), "supported: mxfp4");
        check_refused("qwen3_moe", &json!({"num_experts_per_tok": 200}), "`num_experts_per_tok` is 200; 1 to 128");
        check_refused("phimoe", &json!({"num_experts_per_tok": 1}), "`num_experts_per_tok` is 1");
        check_refused("deepseek_v3", &json!({"scoring_func": "softmax"}), "`scoring_func` is `softmax`");
        check_refused("deepseek_v3", &json!({"n_group": 7}), "`n_group` is 7");
        check_refused("deepseek_v2", &json!({"moe_layer_freq": 2, "num_experts_per_tok": 2}), "`moe_layer_freq` is 2");
        check_refused("deepseek_v32", &json!({"q_lora_rank": null}), "`q_lora_rank` is null");
        check_refused("deepseek_v32", &json!({"index_head_dim": 8}), "`index_head_dim` is 8");
        let kinds =
            json!({"num_key_value_heads": 1, "o_groups": 4, "layer_types": ["linear_attention", "a", "b", "c"]});
        check_refused("deepseek_v4", &kinds, "`layer_types` has \"linear_attention\"");
        let ratios = json!({"num_key_value_heads": 1, "o_groups": 4, "compress_ratios": [0, 4, 8, 4]});
        check_refused("deepseek_v4", &ratios, "`compress_ratios` has 8");
        check_refused("minimax_m2", &json!({"use_qk_norm": false}), "`use_qk_norm` is false");
        check_refused("minimax_m2", &json!({"attn_type_list": [1, 0, 1, 1]}), "`attn_type_list` asks for");
        check_refused("mistral4", &json!({"partial_rotary_factor": 0.25}), "`partial_rotary_factor` is 0.25");
        check_refused("cohere2_moe", &json!({"expert_selection_fn": "top"}), "`expert_selection_fn` is `top`");
        check_refused("gemma4_text", &json!({"use_bidirectional_attention": "all"}), "`use_bidirectional_attention`");
        check_refused("gemma4_text", &json!({"num_kv_shared_layers": 9}), "`num_kv_shared_layers` is 9");
        check_refused("gemma3n_text", &json!({"altup_active_idx": 4}), "`altup_active_idx` is 4");
        check_refused("gemma3n_text", &json!({"activation_sparsity_pattern": [1.0]}), "`activation_sparsity_pattern`");
        check_refused("qwen3_next", &json!({"linear_num_value_heads": 17}), "value heads of linear attention` are 17");
        check_refused("qwen3_5_text", &json!({"attn_output_gate": false}), "`attn_output_gate` is false");
        let linear = json!({"linear_attn_config": {"full_attn_layers": [1], "kda_layers": [2, 3]}});
        check_refused("kimi_linear", &linear, "does not say of layer 4");
        let sources = json!({"text_config": small("mistral_large4_text", &json!({"kv_source_layers": [0, 1, 0, 1]}))});
        check_refused("mistral_large4", &sources, "`kv_source_layers` has 0 for layer 2");
        check_refused("mistral_large4", &json!({}), "`text_config` is missing");
        let long = json!({"rope_scaling": {"type": "longrope", "short_factor": [1.0], "long_factor": [1.0]}});
        check_refused("phi3", &long, "`short_factor` has 1 numbers, where 8 are expected");
    }

    #[test]
    fn a_config_without_a_model_type_is_refused() {
        assert!(from_config(&json!([])).is_err());
    }
}
