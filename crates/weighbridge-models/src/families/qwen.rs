//! Qwen 2 and 2.5 (<https://arxiv.org/abs/2407.10671>): Llama with biases on query, key and value, and a window from some
//! layer on. Qwen 3 (<https://arxiv.org/abs/2505.09388>): norms on query and key heads instead of the biases.
//! Qwen 2 MoE and Qwen 3 MoE: experts in some or all layers, in Qwen 2 beside a shared one behind a gate.

use serde_json::{Value as Json, json};

use super::config::{Config, each_attention, slide};
use super::{Described, Family, SpecError, experts, gguf, llama};
use crate::gguf::Gguf;
use crate::parts::Names;
use crate::spec::{DecoderSpec, HeadNorm, MlpSpec, RopeStyle, RouterSpec, Scoring, Span};

pub(super) const QWEN2: Family = Family { architecture: "qwen2", from_config: qwen2, from_gguf: Some(qwen2_gguf) };
pub(super) const QWEN3: Family = Family { architecture: "qwen3", from_config: qwen3, from_gguf: Some(qwen3_gguf) };
pub(super) const QWEN2_MOE: Family = Family { architecture: "qwen2_moe", from_config: qwen2_moe, from_gguf: None };
pub(super) const QWEN3_MOE: Family = Family { architecture: "qwen3_moe", from_config: qwen3_moe, from_gguf: None };
/// As GGUF files call it.
pub(super) const QWEN3MOE: Family =
    Family { architecture: "qwen3moe", from_config: qwen3_moe, from_gguf: Some(qwen3_moe_gguf) };

pub(super) const QWEN2_MOE_NAMES: Names = Names {
    shared_gate: "mlp.shared_expert.gate_proj",
    shared_up: "mlp.shared_expert.up_proj",
    shared_down: "mlp.shared_expert.down_proj",
    ..llama::NAMES
};

fn qwen2(config: &Json) -> Result<Described, SpecError> {
    let own = json!({"intermediate_size": 22016, "num_hidden_layers": 32});
    let config = Config::new(config, defaults(own))?.without(&["mlp_bias"]);
    let mut spec = config.decoder()?;
    biases(&mut spec, true);
    windows(&config, &mut spec, |from| move |index| index >= from)?;
    Ok(Described { spec, names: llama::NAMES })
}

fn qwen3(config: &Json) -> Result<Described, SpecError> {
    let own = json!({"intermediate_size": 22016, "num_hidden_layers": 32, "head_dim": 128});
    let config = Config::new(config, defaults(own))?;
    let mut spec = config.decoder()?;
    head_norms(&mut spec);
    windows(&config, &mut spec, |from| move |index| index >= from)?;
    Ok(Described { spec, names: llama::NAMES })
}

fn qwen2_moe(config: &Json) -> Result<Described, SpecError> {
    let own = json!({
        "hidden_size": 2048, "intermediate_size": 5632, "num_attention_heads": 16, "num_key_value_heads": 16,
        "qkv_bias": true, "num_experts": 60, "num_experts_per_tok": 4, "moe_intermediate_size": 1408,
        "shared_expert_intermediate_size": 5632, "decoder_sparse_step": 1,
    });
    let config = Config::new(config, defaults(own))?.without(&["mlp_bias"]);
    let mut spec = config.decoder()?;
    biases(&mut spec, config.flag("qkv_bias")?);
    windows(&config, &mut spec, |until| move |index| index % 2 == 0 && index < until)?;
    let mut mixture = mixture(&config)?;
    let inner = config.size("shared_expert_intermediate_size")?;
    mixture.shared = Some(MlpSpec { inner, ..mixture.expert });
    mixture.shared_gate = true;
    sparse(&config, &mut spec, &mixture)?;
    Ok(Described { spec, names: QWEN2_MOE_NAMES })
}

fn qwen3_moe(config: &Json) -> Result<Described, SpecError> {
    let own = json!({
        "hidden_size": 2048, "intermediate_size": 6144, "num_key_value_heads": 4, "num_experts": 128,
        "num_experts_per_tok": 8, "moe_intermediate_size": 768, "decoder_sparse_step": 1,
    });
    let config = Config::new(config, defaults(own))?.or_named("num_local_experts", "num_experts");
    let mut spec = config.decoder()?;
    head_norms(&mut spec);
    if config.flag("use_sliding_window")? {
        let window = config.window()?;
        each_attention(&mut spec, |_, attention| attention.span = window);
    }
    let mixture = mixture(&config)?;
    sparse(&config, &mut spec, &mixture)?;
    Ok(Described { spec, names: llama::NAMES })
}

/// What most generations have where a config does not say, and `own`.
fn defaults(own: Json) -> Json {
    let mut defaults = json!({
        "rms_norm_eps": 1e-6, "vocab_size": 151_936, "hidden_size": 4096, "num_hidden_layers": 24,
        "num_attention_heads": 32, "num_key_value_heads": 32, "max_position_embeddings": 32768,
        "sliding_window": 4096, "max_window_layers": 28,
    });
    if let (Json::Object(defaults), Json::Object(own)) = (&mut defaults, own) {
        defaults.extend(own);
    }
    defaults
}

fn biases(spec: &mut DecoderSpec, qkv: bool) {
    each_attention(spec, |_, attention| {
        attention.qkv_bias = qkv;
        attention.output_bias = false;
    });
}

fn head_norms(spec: &mut DecoderSpec) {
    each_attention(spec, |_, attention| attention.head_norm = Some(HeadNorm::Shared));
}

/// The window of layers that have one: as `layer_types` says, else by `default`, which takes `max_window_layers`.
fn windows<F: Fn(usize) -> bool>(
    config: &Config,
    spec: &mut DecoderSpec,
    default: impl Fn(usize) -> F,
) -> Result<(), SpecError> {
    let window = if config.flag("use_sliding_window")? { config.window()? } else { Span::Full };
    let default = default(config.count("max_window_layers")?);
    let sliding = config.sliding_layers(spec.layers.len(), default)?;
    slide(spec, &sliding, window);
    Ok(())
}

pub(super) fn mixture(config: &Config) -> Result<crate::spec::ExpertsSpec, SpecError> {
    let router = RouterSpec { renormalise: config.flag("norm_topk_prob")?, ..RouterSpec::of(Scoring::Softmax) };
    experts::mixture(config, "num_experts", "moe_intermediate_size", router)
}

/// Experts in every layer that `mlp_only_layers` does not name and `decoder_sparse_step` divides.
pub(super) fn sparse(
    config: &Config,
    spec: &mut DecoderSpec,
    mixture: &crate::spec::ExpertsSpec,
) -> Result<(), SpecError> {
    let dense = config.numbers("mlp_only_layers")?.unwrap_or_default();
    let step = config.size("decoder_sparse_step")?;
    experts::place(spec, mixture, |index| !dense.contains(&(index as u64)) && (index + 1).is_multiple_of(step));
    Ok(())
}

fn qwen2_gguf(file: &Gguf) -> Result<Described, SpecError> {
    gguf::decoder(&gguf::Meta::new(file, "qwen2"), &gguf::Fixed::new(RopeStyle::Neox))
}

fn qwen3_gguf(file: &Gguf) -> Result<Described, SpecError> {
    gguf::decoder(&gguf::Meta::new(file, "qwen3"), &gguf::Fixed::new(RopeStyle::Neox))
}

/// Without a word about it, the weights of the chosen are not divided by their sum.
pub(super) fn qwen2_moe_gguf(file: &Gguf) -> Result<Described, SpecError> {
    let fixed = gguf::Fixed { router: RouterSpec::of(Scoring::Softmax), ..gguf::Fixed::new(RopeStyle::Neox) };
    gguf::decoder(&gguf::Meta::new(file, "qwen2moe"), &fixed)
}

fn qwen3_moe_gguf(file: &Gguf) -> Result<Described, SpecError> {
    gguf::decoder(&gguf::Meta::new(file, "qwen3moe"), &gguf::Fixed::new(RopeStyle::Neox))
}
