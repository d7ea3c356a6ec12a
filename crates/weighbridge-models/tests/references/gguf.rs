//! GGUF files in each quantisation, computed exactly from the weights as stored.

use std::collections::BTreeMap;

use serde::Deserialize;
use weighbridge_models::{Checkpoint, Compute, Precision, Rows, evaluate};

use crate::support::{Outcome, error, json, load, shared};

#[derive(Deserialize)]
struct Golden {
    inputs: Vec<Vec<u32>>,
    /// Positions of the long prompt, by number of tokens read.
    probes: Vec<usize>,
    /// Of the weights before quantisation.
    probe_logits: Vec<Vec<f32>>,
    files: BTreeMap<String, File>,
}

#[derive(Deserialize)]
struct File {
    stored: Stored,
    llama_cpp: LlamaCpp,
}

#[derive(Deserialize)]
struct Stored {
    logits_last: Vec<Vec<f32>>,
    greedy: Vec<Vec<u32>>,
    tolerance: f32,
    kl_median: f64,
}

#[derive(Deserialize)]
struct LlamaCpp {
    kl_median: f64,
}

fn golden(family: &str) -> Outcome<Option<Golden>> {
    shared(&format!("goldens/gguf/{family}/golden.json")).map(|path| json(&path)).transpose()
}

fn check_file(family: &str, quantisation: &str) -> Outcome {
    let Some(golden) = golden(family)? else { return Ok(()) };
    let file = format!("{family}-{quantisation}.gguf");
    let Some(path) = shared(&format!("goldens/gguf/{family}/{file}")) else { return Ok(()) };
    let expected = &golden.files.get(&file).ok_or("the file has no reference")?.stored;
    let decoder = load(&Checkpoint::open(&path)?, Compute::Float32)?;
    for (prompt, tokens) in golden.inputs.iter().enumerate() {
        let greedy = &expected.greedy[prompt];
        let found = evaluate(&decoder, tokens, None, greedy.len(), &[])?;
        let worst = error(&found.logits_last, &expected.logits_last[prompt]);
        assert!(worst <= expected.tolerance, "{file}, prompt {prompt}: the last logits are off by {worst}");
        assert_eq!(found.greedy, *greedy, "{file}, prompt {prompt}");
    }
    Ok(())
}

/// Holds a product with packed weights to a tenth above the divergence that the reference has: the larger of what
/// storing the weights costs and of what llama.cpp adds.
fn check_packed(family: &str, quantisation: &str, compute: Compute) -> Outcome {
    let Some(golden) = golden(family)? else { return Ok(()) };
    let file = format!("{family}-{quantisation}.gguf");
    let Some(path) = shared(&format!("goldens/gguf/{family}/{file}")) else { return Ok(()) };
    let expected = golden.files.get(&file).ok_or("the file has no reference")?;
    let decoder = load(&Checkpoint::open(&path)?, compute)?;
    let long = golden.inputs.iter().max_by_key(|tokens| tokens.len()).ok_or("no prompts")?;
    // In one step, as the references do: the rope of a longer prompt may be another.
    let found = decoder.forward(long, &mut decoder.new_cache(), Rows::All)?;
    let found: Vec<_> = found.rows().collect();
    let probes = golden.probes.iter().zip(&golden.probe_logits);
    let mut divergences: Vec<_> = probes.map(|(&read, exact)| divergence(exact, found[read - 1])).collect();
    divergences.sort_by(f64::total_cmp);
    // Of an even number the lower of the two in the middle, as the references have it.
    let median = divergences[(divergences.len() - 1) / 2];
    let allowed = 1.1 * expected.stored.kl_median.max(expected.llama_cpp.kl_median);
    assert!(median <= allowed, "{file}, {compute:?}: the divergence is {median}, where {allowed} is allowed");
    Ok(())
}

/// Kullback-Leibler, in nats.
fn divergence(exact: &[f32], found: &[f32]) -> f64 {
    let (exact, found) = (log_softmax(exact), log_softmax(found));
    exact.iter().zip(&found).map(|(p, q)| p.exp() * (p - q)).sum()
}

fn log_softmax(logits: &[f32]) -> Vec<f64> {
    let sum: f64 = logits.iter().map(|&logit| f64::from(logit).exp()).sum();
    logits.iter().map(|&logit| f64::from(logit) - sum.ln()).collect()
}

#[test]
fn every_quantisation_expands_to_the_weights_as_stored() -> Outcome {
    for quantisation in ["BF16", "F16", "Q8_0", "Q4_0", "Q4_K_M", "Q5_K_M", "Q6_K", "Q2_K", "IQ4_XS"] {
        check_file("llama", quantisation)?;
    }
    Ok(())
}

#[test]
fn other_families_are_read_from_their_metadata() -> Outcome {
    for family in ["qwen3", "phi3", "gemma3", "qwen3_moe"] {
        for quantisation in ["BF16", "Q8_0", "Q4_K_M"] {
            check_file(family, quantisation)?;
        }
    }
    Ok(())
}

#[test]
fn kept_packed_a_quantisation_diverges_little_more_than_in_llama_cpp() -> Outcome {
    for quantisation in ["Q8_0", "Q4_0", "Q4_K_M", "Q5_K_M", "Q6_K", "Q2_K"] {
        check_packed("llama", quantisation, Compute::Quantized)?;
    }
    Ok(())
}

#[test]
fn on_the_kernels_a_quantisation_diverges_little_more_than_in_llama_cpp() -> Outcome {
    for family in ["llama", "qwen3", "phi3", "gemma3", "qwen3_moe"] {
        for quantisation in ["BF16", "F16", "Q8_0", "Q4_0", "Q4_K_M", "Q5_K_M", "Q6_K", "Q2_K", "IQ4_XS"] {
            for precision in [Precision::Exact, Precision::Fast] {
                check_packed(family, quantisation, Compute::cpu(precision))?;
            }
        }
    }
    Ok(())
}

#[test]
fn the_tokenizer_in_a_file_gives_the_reference_ids() -> Outcome {
    #[derive(Deserialize)]
    struct Text {
        text: String,
        ids: Vec<u32>,
    }
    let Some(path) = shared("goldens/gguf/tokenized.json") else { return Ok(()) };
    let Some(file) = shared("goldens/gguf/llama/llama-Q8_0.gguf") else { return Ok(()) };
    let tokenizer = Checkpoint::open(&file)?.tokenizer()?;
    for Text { text, ids } in json::<Vec<Text>>(&path)? {
        assert_eq!(tokenizer.encode(&text)?, ids, "{text:?}");
    }
    Ok(())
}
