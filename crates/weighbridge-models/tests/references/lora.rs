//! A low-rank adapter, merged and kept apart, as PEFT computes it.

use std::fs;

use serde::Deserialize;
use serde_json::{Value as Json, json};
use weighbridge_models::{AdapterMode, Checkpoint, Compute, evaluate};

use crate::core::Digest;
use crate::support::{Expected, Outcome, check, json, load, shared};

#[derive(Deserialize)]
struct Golden {
    inputs: Vec<Vec<u32>>,
    adapter: Adapted,
}

/// Of the model with the adapter applied.
#[derive(Deserialize)]
struct Adapted {
    logits_last: Vec<Vec<f32>>,
    logits_digest: Vec<Digest>,
    greedy: Vec<Vec<u32>>,
    tolerance: f32,
}

fn check_mode(mode: AdapterMode) -> Outcome {
    let Some(folder) = shared("goldens/lora/llama") else { return Ok(()) };
    let Golden { inputs, adapter } = json(&folder.join("golden.json"))?;
    let checkpoint = Checkpoint::open(&folder)?.with_adapter(&folder.join("adapter"), mode)?;
    let summary = checkpoint.adapter().ok_or("it has no adapter")?;
    assert_eq!((summary.mode, summary.modules, summary.rank), (mode, 14, 4));
    let decoder = load(&checkpoint, Compute::Float32)?;
    for (prompt, tokens) in inputs.iter().enumerate() {
        let expected = Expected {
            logits_last: &adapter.logits_last[prompt],
            argmax: &adapter.logits_digest[prompt].argmax,
            logsumexp: &adapter.logits_digest[prompt].logsumexp,
            greedy: &adapter.greedy[prompt],
            tolerance: adapter.tolerance,
        };
        for chunk in [None, Some(1)] {
            let found = evaluate(&decoder, tokens, chunk, expected.greedy.len(), &[])?;
            check(&format!("{mode}, prompt {prompt}, chunks of {chunk:?}"), &found, &expected);
        }
    }
    Ok(())
}

#[test]
fn merged_into_the_weights_an_adapter_gives_the_reference_logits() -> Outcome {
    check_mode(AdapterMode::Merged)
}

#[test]
fn kept_apart_an_adapter_gives_the_reference_logits() -> Outcome {
    check_mode(AdapterMode::Apart)
}

#[test]
fn an_adapter_for_another_model_is_refused_by_the_name_of_what_does_not_fit() -> Outcome {
    let Some(folder) = shared("goldens/lora/llama") else { return Ok(()) };
    let copy = tempfile::tempdir()?;
    let refused = |field: &str, value: Json, expected: &str| -> Outcome {
        let mut config: Json = json(&folder.join("adapter/adapter_config.json"))?;
        config[field] = value;
        fs::write(copy.path().join("adapter_config.json"), config.to_string())?;
        let error = Checkpoint::open(&folder)?.with_adapter(copy.path(), AdapterMode::Merged).err();
        let message = error.map_or_else(String::new, |error| error.to_string());
        assert!(message.contains(expected), "`{message}` does not say `{expected}`");
        Ok(())
    };
    refused("r", json!(4), "there is no adapter_model.safetensors in it; an adapter is a folder")?;
    fs::copy(folder.join("adapter/adapter_model.safetensors"), copy.path().join("adapter_model.safetensors"))?;
    refused("r", json!(8), "_proj` of the adapter has factors of [4, ")?;
    refused("target_modules", json!(["q_proj", "qkv_proj"]), "`target_modules` in adapter_config.json has `qkv_proj`")?;
    refused("use_dora", json!(true), "`use_dora` in adapter_config.json is true, which is not supported yet")?;
    let other = shared("goldens/core/phi3").ok_or("the set has no phi3")?;
    let error = Checkpoint::open(&other)?.with_adapter(&folder.join("adapter"), AdapterMode::Apart).err();
    let message = error.map_or_else(String::new, |error| error.to_string());
    assert!(message.contains("belongs to no matrix of the model"), "{message}");
    Ok(())
}
