//! Tiny random models in safetensors, computed by Hugging Face transformers.

use serde::Deserialize;
use weighbridge_models::{Checkpoint, Compute, evaluate};

use crate::support::{Expected, Outcome, check, json, load, shared};

#[derive(Deserialize)]
struct Golden {
    inputs: Vec<Vec<u32>>,
    logits_last: Vec<Vec<f32>>,
    logits_digest: Vec<Digest>,
    greedy: Vec<Vec<u32>>,
    tolerance: f32,
}

#[derive(Deserialize)]
struct Digest {
    argmax: Vec<u32>,
    logsumexp: Vec<f32>,
}

fn check_family(family: &str) -> Outcome {
    let Some(folder) = shared(&format!("goldens/core/{family}")) else { return Ok(()) };
    let golden: Golden = json(&folder.join("golden.json"))?;
    let decoder = load(&Checkpoint::open(&folder)?, Compute::Float32)?;
    for (prompt, tokens) in golden.inputs.iter().enumerate() {
        let expected = Expected {
            logits_last: &golden.logits_last[prompt],
            argmax: &golden.logits_digest[prompt].argmax,
            logsumexp: &golden.logits_digest[prompt].logsumexp,
            greedy: &golden.greedy[prompt],
            tolerance: golden.tolerance,
        };
        for chunk in [None, Some(7), Some(1)] {
            let found = evaluate(&decoder, tokens, chunk, expected.greedy.len(), &[])?;
            check(&format!("{family}, prompt {prompt}, chunks of {chunk:?}"), &found, &expected);
        }
    }
    Ok(())
}

#[test]
fn llama_with_its_third_generations_rope_is_computed_as_by_transformers() -> Outcome {
    check_family("llama")
}

#[test]
fn linear_rope_biases_and_a_tied_head_are_computed_as_by_transformers() -> Outcome {
    check_family("llama_linear")
}

#[test]
fn a_dynamic_rope_base_is_computed_as_by_transformers_however_the_prompt_is_cut() -> Outcome {
    check_family("llama_dynamic")
}

#[test]
fn a_sliding_window_is_computed_as_by_transformers() -> Outcome {
    check_family("mistral")
}
