//! The goldens' models as other folders store them: saved without a head, within a model that sees images, in shards,
//! with experts in stacks, with a head beside the embedding that it is.

use std::collections::HashMap;
use std::fs;

use candle_core::{Device, Tensor, safetensors};
use serde_json::{Value as Json, json};

use crate::core::check_folder;
use crate::support::{self, Outcome, shared};

type Tensors = HashMap<String, Tensor>;

/// Stores a golden's model again, its config and tensors changed, and asserts that its outputs are the same.
fn check(family: &str, change: impl FnOnce(Json, Tensors) -> Outcome<(Json, Tensors)>) -> Outcome {
    let Some(folder) = shared(&format!("goldens/core/{family}")) else { return Ok(()) };
    let tensors = safetensors::load(folder.join("model.safetensors"), &Device::Cpu)?;
    let (config, tensors) = change(support::json(&folder.join("config.json"))?, tensors)?;
    let other = tempfile::tempdir()?;
    fs::write(other.path().join("config.json"), config.to_string())?;
    fs::copy(folder.join("golden.json"), other.path().join("golden.json"))?;
    safetensors::save(&tensors, other.path().join("model.safetensors"))?;
    check_folder(family, other.path())
}

fn renamed(tensors: Tensors, rename: impl Fn(&str) -> String) -> Tensors {
    tensors.into_iter().map(|(name, tensor)| (rename(&name), tensor)).collect()
}

/// The decoder as part of a model that sees images, with something of its tower.
fn within(whole: &str, config: &Json, tensors: Tensors, prefix: &str) -> Outcome<(Json, Tensors)> {
    let tied = config["tie_word_embeddings"].as_bool();
    let config = json!({"model_type": whole, "tie_word_embeddings": tied, "text_config": config});
    let mut tensors = renamed(tensors, |name| match name.strip_prefix("model.") {
        Some(rest) => format!("{prefix}{rest}"),
        None if prefix.starts_with("language_model.") => format!("language_model.{name}"),
        None => name.to_owned(),
    });
    tensors.insert("vision_tower.layers.0.weight".to_owned(), Tensor::new(&[1.0_f32], &Device::Cpu)?);
    Ok((config, tensors))
}

#[test]
fn a_model_saved_without_its_head_is_found() -> Outcome {
    check("gemma2", |config, tensors| {
        Ok((config, renamed(tensors, |name| name.trim_start_matches("model.").to_owned())))
    })
}

#[test]
fn a_head_that_is_the_embedding_may_be_stored_in_place_of_it() -> Outcome {
    check("qwen2", |config, tensors| {
        Ok((config, renamed(tensors, |name| name.replace("model.embed_tokens", "lm_head"))))
    })
}

#[test]
fn a_head_of_its_own_counts_even_where_the_config_ties_it() -> Outcome {
    check("llama", |mut config, tensors| {
        config["tie_word_embeddings"] = true.into();
        Ok((config, tensors))
    })
}

#[test]
fn the_text_model_of_gemma_3_is_loaded_as_published() -> Outcome {
    check("gemma3_text", |mut config, tensors| {
        config["tie_word_embeddings"] = true.into();
        within("gemma3", &config, tensors, "language_model.model.")
    })
}

#[test]
fn the_text_model_of_llama_4_is_loaded_as_published() -> Outcome {
    check("llama4_text", |config, tensors| within("llama4", &config, tensors, "language_model.model."))
}

#[test]
fn the_text_model_of_mistral_3_is_loaded_as_transformers_5_writes_it() -> Outcome {
    check("mistral", |config, tensors| within("mistral3", &config, tensors, "model.language_model."))
}

#[test]
fn experts_in_stacks_are_those_of_one_by_one() -> Outcome {
    const OWN: &str = "block_sparse_moe";
    check("mixtral", |config, mut tensors| {
        let experts = config["num_local_experts"].as_u64().unwrap_or_default();
        for layer in 0..config["num_hidden_layers"].as_u64().unwrap_or_default() {
            let mut all = |part: &str| {
                let name = |expert| format!("model.layers.{layer}.{OWN}.experts.{expert}.{part}.weight");
                (0..experts).filter_map(|expert| tensors.remove(&name(expert))).collect::<Vec<_>>()
            };
            let (gate, up, down) = (all("w1"), all("w3"), all("w2"));
            let gate_up = Tensor::cat(&[Tensor::stack(&gate, 0)?, Tensor::stack(&up, 0)?], 1)?;
            let name = |part: &str| format!("model.layers.{layer}.mlp.experts.{part}");
            tensors.insert(name("gate_up_proj"), gate_up);
            tensors.insert(name("down_proj"), Tensor::stack(&down, 0)?);
        }
        Ok((config, renamed(tensors, |name| name.replace(OWN, "mlp"))))
    })
}
