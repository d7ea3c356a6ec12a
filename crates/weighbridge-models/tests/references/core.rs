//! Tiny random models in safetensors, computed by Hugging Face transformers.
//!
//! `WEIGHBRIDGE_GOLDENS` may name a folder of further ones, laid out alike: other configurations, drawn by the tool that
//! stands beside the references.

use std::path::{Path, PathBuf};
use std::{env, fs, panic};

use serde::Deserialize;
use weighbridge_models::{Checkpoint, Compute, Decoder, Precision, evaluate};

use crate::support::{Expected, Outcome, check, json, load, shared};

#[derive(Deserialize)]
pub(crate) struct Golden {
    pub(crate) inputs: Vec<Vec<u32>>,
    logits_last: Vec<Vec<f32>>,
    logits_digest: Vec<Digest>,
    greedy: Vec<Vec<u32>>,
    tolerance: f32,
}

#[derive(Deserialize)]
pub(crate) struct Digest {
    pub(crate) argmax: Vec<u32>,
    pub(crate) logsumexp: Vec<f32>,
}

impl Golden {
    /// A prompt and what follows it.
    pub(crate) fn case(&self, prompt: usize) -> (&[u32], Expected<'_>) {
        let expected = Expected {
            logits_last: &self.logits_last[prompt],
            argmax: &self.logits_digest[prompt].argmax,
            logsumexp: &self.logits_digest[prompt].logsumexp,
            greedy: &self.greedy[prompt],
            tolerance: self.tolerance,
        };
        (&self.inputs[prompt], expected)
    }
}

/// Holds the model in a folder of the references against its golden, in both computations: at once, in chunks of seven
/// and token by token.
pub(crate) fn check_family(family: &str) -> Outcome {
    let Some(folder) = shared(family) else { return Ok(()) };
    check_folder(family, &folder)
}

/// Asserts that the model in a folder is computed as its `golden.json` says, at once, in chunks and token by token.
pub(crate) fn check_folder(family: &str, folder: &Path) -> Outcome {
    let golden: Golden = json(&folder.join("golden.json"))?;
    let checkpoint = Checkpoint::open(folder)?;
    check_computation(&format!("{family} by candle"), &golden, &load(&checkpoint, Compute::Float32)?)?;
    check_computation(&format!("{family} on the kernels"), &golden, &load(&checkpoint, Compute::cpu(Precision::F32))?)
}

fn check_computation(family: &str, golden: &Golden, decoder: &Decoder) -> Outcome {
    for prompt in 0..golden.inputs.len() {
        let (tokens, expected) = golden.case(prompt);
        for chunk in [None, Some(7), Some(1)] {
            let found = evaluate(decoder, tokens, chunk, expected.greedy.len(), &[])?;
            check(&format!("{family}, prompt {prompt}, chunks of {chunk:?}"), &found, &expected);
        }
    }
    Ok(())
}

/// The folders with a golden below the one that `WEIGHBRIDGE_GOLDENS` names; none where it is not set.
fn further() -> Outcome<Vec<PathBuf>> {
    let Some(root) = env::var_os("WEIGHBRIDGE_GOLDENS") else {
        println!("skipped: WEIGHBRIDGE_GOLDENS names no folder of further goldens");
        return Ok(Vec::new());
    };
    let mut folders = fs::read_dir(root)?.map(|entry| Ok(entry?.path())).collect::<Outcome<Vec<_>>>()?;
    folders.retain(|folder| folder.join("golden.json").is_file());
    folders.sort();
    Ok(folders)
}

#[test]
fn further_goldens_are_computed_as_they_say() -> Outcome {
    let mut failed = Vec::new();
    for folder in further()? {
        let name = folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        // One that fails an assertion must not hide the others.
        match panic::catch_unwind(|| check_folder(&name, &folder).map_err(|error| error.to_string())) {
            Ok(Ok(())) => {}
            Ok(Err(problem)) => failed.push(format!("{name}: {problem}")),
            Err(_) => failed.push(format!("{name}: see above")),
        }
    }
    assert!(failed.is_empty(), "{} differ:\n{}", failed.len(), failed.join("\n"));
    Ok(())
}

/// A test for each family of a set.
macro_rules! families {
    ($set:literal: $($claim:ident: $family:literal,)*) => {
        $(
            #[test]
            fn $claim() -> Outcome {
                check_family(concat!($set, "/", $family))
            }
        )*
    };
}

pub(crate) use families;

// Each is computed as by transformers, at once, in chunks of seven and token by token.
families! { "goldens/core":
    llama_with_its_third_generations_rope: "llama",
    linear_rope_biases_and_a_tied_head: "llama_linear",
    a_dynamic_rope_base_however_the_prompt_is_cut: "llama_dynamic",
    mistral_with_a_sliding_window: "mistral",
    ministral3_with_yarn_and_queries_that_grow: "ministral3",
    qwen2_with_biases_and_a_window_in_some_layers: "qwen2",
    qwen3_with_head_norms_and_yarn: "qwen3",
    smollm3_with_layers_without_positions: "smollm3",
    granite_with_multipliers: "granite",
    olmo_with_clips_and_norms_without_weights: "olmo",
    olmo2_with_norms_after_each_part: "olmo2",
    olmo3_with_a_stretched_rope_in_full_layers_only: "olmo3",
    phi_with_both_parts_side_by_side: "phi",
    phi3_with_fused_projections_and_longrope: "phi3",
    gemma_with_scaled_embeddings: "gemma",
    gemma2_with_soft_caps: "gemma2",
    gemma3_with_two_rope_bases: "gemma3_text",
    glm4_with_partial_interleaved_rope: "glm4",
    cohere_with_a_norm_for_each_head: "cohere",
    cohere2_with_full_layers_without_positions: "cohere2",
    mixtral_with_two_of_six_experts: "mixtral",
    qwen2_moe_with_a_gated_shared_expert: "qwen2_moe",
    qwen3_moe_with_a_dense_layer: "qwen3_moe",
    olmoe_with_clips_and_whole_norms: "olmoe",
    phimoe_with_a_sparse_mixer: "phimoe",
    gpt_oss_with_sinks: "gpt_oss",
    gpt_oss_with_experts_in_mxfp4: "gpt_oss_mxfp4",
    llama4_with_chunks: "llama4_text",
    deepseek_v2_lite_with_plain_queries: "deepseek_v2_lite",
    deepseek_v2_with_groups: "deepseek_v2",
    deepseek_v3_with_a_choice_bias: "deepseek_v3",
}
