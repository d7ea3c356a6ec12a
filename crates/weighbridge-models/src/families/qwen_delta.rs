//! Qwen 3 Next (transformers' `modeling_qwen3_next.py`): a gated delta net in three of four layers, attention behind a
//! gate in the others, norms that add one, many small experts beside a shared one behind a gate. Qwen 3.5
//! (`modeling_qwen3_5.py`): the same with one feed-forward part for all tokens.

use serde_json::{Value as Json, json};

use super::config::{Config, each_attention};
use super::{Described, Family, SpecError, delta, qwen, text_of};
use crate::parts::{Fusion, Names};
use crate::spec::{DecoderSpec, DeltaKind, DeltaSpec, HeadNorm, MixerSpec, MlpSpec, Norm};

pub(super) const NEXT: Family = Family { architecture: "qwen3_next", from_config: next, from_gguf: None };
pub(super) const QWEN3_5: Family = Family { architecture: "qwen3_5_text", from_config: qwen3_5, from_gguf: None };
/// Published with a vision tower; text alone is computed.
pub(super) const QWEN3_5_WRAPPED: Family =
    Family { architecture: "qwen3_5", from_config: qwen3_5_wrapped, from_gguf: None };

const WRAPPED_NAMES: Names = Names {
    embedding: "model.language_model.embed_tokens",
    final_norm: "model.language_model.norm",
    layer: "model.language_model.layers",
    ..qwen::QWEN2_MOE_NAMES
};

fn next(config: &Json) -> Result<Described, SpecError> {
    let own = json!({
        "num_key_value_heads": 2, "num_experts": 512, "num_experts_per_tok": 10, "moe_intermediate_size": 512,
        "shared_expert_intermediate_size": 512, "norm_topk_prob": true, "decoder_sparse_step": 1,
    });
    let config = Config::new(config, defaults(own))?;
    let mut spec = decoder(&config)?;
    if config.count("num_experts")? > 0 {
        let mut mixture = qwen::mixture(&config)?;
        let inner = config.size("shared_expert_intermediate_size")?;
        mixture.shared = Some(MlpSpec { inner, ..mixture.expert });
        mixture.shared_gate = true;
        qwen::sparse(&config, &mut spec, &mixture)?;
    }
    Ok(Described { spec, names: Names { delta: Fusion::Fused, ..qwen::QWEN2_MOE_NAMES } })
}

fn qwen3_5(config: &Json) -> Result<Described, SpecError> {
    let config = Config::new(config, defaults(json!({"num_key_value_heads": 4})))?;
    Ok(Described { spec: decoder(&config)?, names: qwen::QWEN2_MOE_NAMES })
}

fn qwen3_5_wrapped(config: &Json) -> Result<Described, SpecError> {
    Ok(Described { names: WRAPPED_NAMES, ..qwen3_5(&text_of(config)?)? })
}

fn defaults(own: Json) -> Json {
    let mut defaults = json!({
        "rms_norm_eps": 1e-6, "head_dim": 256, "partial_rotary_factor": 0.25, "full_attention_interval": 4,
        "linear_conv_kernel_dim": 4, "linear_key_head_dim": 128, "linear_value_head_dim": 128,
        "linear_num_key_heads": 16, "linear_num_value_heads": 32, "attn_output_gate": true,
    });
    if let (Json::Object(defaults), Json::Object(own)) = (&mut defaults, own) {
        defaults.extend(own);
    }
    defaults
}

fn decoder(config: &Config) -> Result<DecoderSpec, SpecError> {
    if !config.flag("attn_output_gate")? {
        return Err(SpecError::field("attn_output_gate", "is false; supported: true"));
    }
    let mut spec = config.decoder()?;
    spec.norm = Norm::RmsPlusOne;
    each_attention(&mut spec, |_, attention| {
        attention.head_norm = Some(HeadNorm::Shared);
        attention.gated = true;
    });
    let every = config.size("full_attention_interval")?;
    let layers = spec.layers.len();
    let delta = delta::checked(
        config,
        DeltaSpec {
            kind: DeltaKind::Gated,
            key_heads: config.size("linear_num_key_heads")?,
            value_heads: config.size("linear_num_value_heads")?,
            key_dim: config.size("linear_key_head_dim")?,
            value_dim: config.size("linear_value_head_dim")?,
            kernel: config.size("linear_conv_kernel_dim")?,
            norm_eps: spec.norm_eps,
        },
    )?;
    let of_delta = config.layers_of_type("linear_attention", layers)?;
    let of_delta = of_delta.unwrap_or_else(|| (0..layers).map(|index| !(index + 1).is_multiple_of(every)).collect());
    for (layer, _) in spec.layers.iter_mut().zip(of_delta).filter(|(_, is_delta)| *is_delta) {
        layer.mixer = MixerSpec::Delta(delta.clone());
    }
    Ok(spec)
}
