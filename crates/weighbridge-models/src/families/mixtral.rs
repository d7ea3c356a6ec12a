//! Mixtral (<https://arxiv.org/abs/2401.04088>): Mistral with two of eight experts in every layer.

use serde_json::{Value as Json, json};

use super::config::{Config, each_attention};
use super::{Described, Family, SpecError, experts, llama};
use crate::parts::Names;
use crate::spec::{RouterSpec, Scoring};

pub(super) const FAMILY: Family = Family { architecture: "mixtral", from_config, from_gguf: None };

const NAMES: Names = Names {
    router: "block_sparse_moe.gate",
    expert_gate: "block_sparse_moe.experts.*.w1",
    expert_up: "block_sparse_moe.experts.*.w3",
    expert_down: "block_sparse_moe.experts.*.w2",
    ..llama::NAMES
};

fn from_config(config: &Json) -> Result<Described, SpecError> {
    let defaults = json!({
        "rms_norm_eps": 1e-5, "num_key_value_heads": 8, "rope_theta": 1e6, "num_experts_per_tok": 2,
        "num_local_experts": 8, "vocab_size": 32000, "hidden_size": 4096, "intermediate_size": 14336,
        "num_hidden_layers": 32, "num_attention_heads": 32, "max_position_embeddings": 131_072,
    });
    let config = Config::new(config, defaults)?.or_named("num_experts", "num_local_experts");
    let config = config.without(&["attention_bias", "mlp_bias"]);
    let mut spec = config.decoder()?;
    let window = config.window()?;
    each_attention(&mut spec, |_, attention| attention.span = window);
    let router = RouterSpec { renormalise: true, ..RouterSpec::of(Scoring::Softmax) };
    let mixture = experts::mixture(&config, "num_local_experts", "intermediate_size", router)?;
    experts::place(&mut spec, &mixture, |_| true);
    Ok(Described { spec, names: NAMES })
}
