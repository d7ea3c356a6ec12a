//! The demo model and the goldens' models against candle-transformers' own code, a second opinion.
//!
//! Candle reads fewer configurations than there are goldens, so `changes` turns a golden's into one that both read; the
//! weights stay as they are. Left out are the families that candle 0.11.1 does not have (Ministral 3, Cohere, OLMo 3,
//! OLMoE, Phi-3.5-MoE, gpt-oss, SmolLM3, Llama 4, DeepSeek V3).

use std::collections::HashMap;
use std::fs;

use candle_core::{DType, Device, Result as Computed, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::llama::{Cache, Llama, LlamaConfig};
use candle_transformers::models::{
    deepseek2, gemma, gemma2, gemma3, glm4_new, granite, mistral, mixtral, olmo, olmo2, phi, phi3, qwen2, qwen2_moe,
    qwen3, qwen3_moe,
};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value as Json, json};
use weighbridge_models::{Checkpoint, Compute, Rows};

use crate::demo;
use crate::support::{self, Outcome, error, load, repository, shared};

/// Weights in float32, as candle's models take them.
fn weights(path: &std::path::Path) -> Outcome<VarBuilder<'static>> {
    let tensors = candle_core::safetensors::load(path, &Device::Cpu)?;
    let mut tensors: HashMap<_, _> =
        tensors.into_iter().map(|(name, tensor)| Ok((name, tensor.to_dtype(DType::F32)?))).collect::<Outcome<_>>()?;
    // Candle's Granite knows no tied head.
    if let Some(embedding) = tensors.get("model.embed_tokens.weight").cloned() {
        tensors.entry("lm_head.weight".to_owned()).or_insert(embedding);
    }
    Ok(VarBuilder::from_tensors(tensors, DType::F32, &Device::Cpu))
}

fn llama(config: Json, weights: VarBuilder<'static>, tokens: &Tensor) -> Outcome<Tensor> {
    let config = parsed::<LlamaConfig>(config)?.into_config(false);
    let mut cache = Cache::new(true, DType::F32, &config, &Device::Cpu)?;
    Ok(Llama::load(weights, &config)?.forward(tokens, 0, &mut cache)?)
}

fn parsed<T: DeserializeOwned>(config: Json) -> Outcome<T> {
    Ok(serde_json::from_value(config)?)
}

/// The last logits of a batch of one.
fn last(logits: &Tensor, vocabulary: usize) -> Computed<Vec<f32>> {
    let logits: Vec<f32> = logits.flatten_all()?.to_vec1()?;
    Ok(logits[logits.len().saturating_sub(vocabulary)..].to_vec())
}

#[test]
fn the_demo_model_is_computed_as_by_candle_transformers() -> Outcome {
    let decoder = load(&Checkpoint::open(&repository("models/demo"))?, Compute::Float32)?;
    for case in demo::cases()? {
        let mut config: Map<String, Json> = support::json(&repository("models/demo/config.json"))?;
        // This reader knows the older style alone.
        config.insert("rope_theta".to_owned(), 10_000.0.into());
        let tokens = Tensor::new(case.tokens.as_slice(), &Device::Cpu)?.unsqueeze(0)?;
        let expected = llama(config.into(), weights(&repository("models/demo/model.safetensors"))?, &tokens)?;
        let found = decoder.forward(&case.tokens, &mut decoder.new_cache(), Rows::Last)?;
        let worst = error(found.last(), &last(&expected, found.last().len())?);
        assert!(worst <= 1e-3, "the logits are off by {worst}");
    }
    Ok(())
}

/// Asserts that candle's `model` and ours give the same last logits for the weights of a golden and its config with
/// `changes`.
fn check(
    family: &str,
    changes: &Json,
    model: impl FnOnce(Json, VarBuilder<'static>, &Tensor) -> Outcome<Tensor>,
) -> Outcome {
    let Some(folder) = shared(&format!("goldens/core/{family}")) else { return Ok(()) };
    let mut config: Map<String, Json> = support::json(&folder.join("config.json"))?;
    config.extend(changes.as_object().cloned().unwrap_or_default());
    let config = Json::from(config);
    let golden: Json = support::json(&folder.join("golden.json"))?;
    let tokens: Vec<u32> = parsed(golden["inputs"][1].clone())?;

    let changed = tempfile::tempdir()?;
    fs::write(changed.path().join("config.json"), config.to_string())?;
    fs::copy(folder.join("model.safetensors"), changed.path().join("model.safetensors"))?;
    let decoder = load(&Checkpoint::open(changed.path())?, Compute::Float32)?;
    let found = decoder.forward(&tokens, &mut decoder.new_cache(), Rows::Last)?;

    let batch = Tensor::new(tokens.as_slice(), &Device::Cpu)?.unsqueeze(0)?;
    let expected = model(config, weights(&folder.join("model.safetensors"))?, &batch)?;
    let worst = error(found.last(), &last(&expected, found.last().len())?);
    assert!(worst <= 1e-3, "{family}: the logits are off by {worst}");
    Ok(())
}

/// Wider than the prompt, where candle's own windows are missing or one token too wide.
const WIDE: usize = 4096;

#[test]
fn llama_is_computed_as_by_candle_transformers() -> Outcome {
    check("llama", &json!({}), llama)
}

#[test]
fn mistral_is_computed_as_by_candle_transformers() -> Outcome {
    check("mistral", &json!({"sliding_window": null}), |config, weights, tokens| {
        Ok(mistral::Model::new(&parsed(config)?, weights)?.forward(tokens, 0)?)
    })
}

#[test]
fn mixtral_is_computed_as_by_candle_transformers() -> Outcome {
    check("mixtral", &json!({"sliding_window": WIDE, "use_flash_attn": false}), |config, weights, tokens| {
        Ok(mixtral::Model::new(&parsed(config)?, weights)?.forward(tokens, 0)?)
    })
}

#[test]
fn qwen2_is_computed_as_by_candle_transformers() -> Outcome {
    check("qwen2", &json!({"use_sliding_window": false, "sliding_window": WIDE}), |config, weights, tokens| {
        Ok(qwen2::ModelForCausalLM::new(&parsed(config)?, weights)?.forward(tokens, 0)?)
    })
}

#[test]
fn qwen2_moe_is_computed_as_by_candle_transformers() -> Outcome {
    check("qwen2_moe", &json!({"sliding_window": WIDE}), |config, weights, tokens| {
        Ok(qwen2_moe::Model::new(&parsed(config)?, weights)?.forward(tokens, 0)?)
    })
}

#[test]
fn qwen3_is_computed_as_by_candle_transformers() -> Outcome {
    check("qwen3", &json!({"rope_scaling": null}), |config, weights, tokens| {
        Ok(qwen3::ModelForCausalLM::new(&parsed(config)?, weights)?.forward(tokens, 0)?)
    })
}

#[test]
fn qwen3_moe_is_computed_as_by_candle_transformers() -> Outcome {
    // Candle does not know `mlp_only_layers`, so only the layer before the dense one counts.
    let changes = json!({"num_hidden_layers": 1, "mlp_only_layers": [], "max_window_layers": 1});
    check("qwen3_moe", &changes, |config, weights, tokens| {
        Ok(qwen3_moe::ModelForCausalLM::new(&parsed(config)?, weights)?.forward(tokens, 0)?)
    })
}

#[test]
fn phi_is_computed_as_by_candle_transformers() -> Outcome {
    check("phi", &json!({}), |config, weights, tokens| Ok(phi::Model::new(&parsed(config)?, weights)?.forward(tokens)?))
}

#[test]
fn phi3_is_computed_as_by_candle_transformers() -> Outcome {
    check("phi3", &json!({"rope_scaling": null, "sliding_window": null}), |config, weights, tokens| {
        Ok(phi3::Model::new(&parsed(config)?, weights)?.forward(tokens, 0)?)
    })
}

#[test]
fn gemma_is_computed_as_by_candle_transformers() -> Outcome {
    let changes = json!({"hidden_act": "gelu_pytorch_tanh", "hidden_activation": null});
    check("gemma", &changes, |config, weights, tokens| {
        Ok(gemma::Model::new(false, &parsed(config)?, weights)?.forward(tokens, 0)?)
    })
}

#[test]
fn gemma2_is_computed_as_by_candle_transformers() -> Outcome {
    // Candle takes the root of the width of a head, which is 24, for `query_pre_attn_scalar`.
    check("gemma2", &json!({"sliding_window": WIDE, "query_pre_attn_scalar": 24}), |config, weights, tokens| {
        Ok(gemma2::Model::new(false, &parsed(config)?, weights)?.forward(tokens, 0)?)
    })
}

#[test]
fn gemma3_is_computed_as_by_candle_transformers() -> Outcome {
    let changes = json!({"sliding_window": WIDE, "query_pre_attn_scalar": 24, "rope_scaling": null});
    check("gemma3_text", &changes, |config, weights, tokens| {
        let mut model = gemma3::Model::new(false, &parsed(config)?, weights)?;
        // Its cache refuses what several tokens at once give it.
        let mut logits = model.forward(&tokens.narrow(1, 0, 1)?, 0)?;
        for position in 1..tokens.dim(1)? {
            logits = model.forward(&tokens.narrow(1, position, 1)?, position)?;
        }
        Ok(logits)
    })
}

#[test]
fn olmo_is_computed_as_by_candle_transformers() -> Outcome {
    check("olmo", &json!({}), |config, weights, tokens| {
        Ok(olmo::Model::new(&parsed(config)?, weights)?.forward(tokens, 0)?)
    })
}

#[test]
fn olmo2_is_computed_as_by_candle_transformers() -> Outcome {
    check("olmo2", &json!({}), |config, weights, tokens| {
        Ok(olmo2::Model::new(&parsed(config)?, weights)?.forward(tokens, 0)?)
    })
}

#[test]
fn deepseek_v2_is_computed_as_by_candle_transformers() -> Outcome {
    for family in ["deepseek_v2", "deepseek_v2_lite"] {
        // Candle chooses groups by the numbers of experts, which fails where there are more of them than groups.
        check(family, &json!({"topk_method": "greedy"}), |config, weights, tokens| {
            Ok(deepseek2::DeepSeekV2::new(&parsed(config)?, weights)?.forward(tokens, 0)?)
        })?;
    }
    Ok(())
}

#[test]
fn granite_is_computed_as_by_candle_transformers() -> Outcome {
    // Candle's has no multipliers: attention scales by the root of its 16 dimensions, the others are 1.
    let changes = json!({
        "embedding_multiplier": 1.0, "logits_scaling": 1.0, "residual_multiplier": 1.0, "attention_multiplier": 0.25,
    });
    check("granite", &changes, |config, weights, tokens| {
        let config = parsed::<granite::GraniteConfig>(config)?.into_config(false);
        let mut cache = granite::Cache::new(true, DType::F32, &config, &Device::Cpu)?;
        Ok(granite::Granite::load(weights, &config)?.forward(tokens, 0, &mut cache)?)
    })
}

#[test]
fn glm4_is_computed_as_by_candle_transformers() -> Outcome {
    check("glm4", &json!({}), |config, weights, tokens| {
        Ok(glm4_new::ModelForCausalLM::new(&parsed(config)?, weights)?.forward(tokens, 0)?)
    })
}
