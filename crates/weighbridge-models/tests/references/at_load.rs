//! Matrices put into blocks as they load are those of the file that `quantize` writes.

use std::str::FromStr;

use weighbridge_models::{AdapterMode, Checkpoint, Compute, Decoder, Evaluation, QuantizedType, evaluate, quantize};

use crate::demo::cases;
use crate::support::{Outcome, load, repository, shared};

/// A context to count memory for.
const CONTEXT: u32 = 64;

fn answers(decoder: &Decoder) -> Outcome<Vec<Evaluation>> {
    cases()?.iter().take(1).map(|case| Ok(evaluate(decoder, &case.tokens, None, 4, &[])?)).collect()
}

fn check(target: &str, made_of: &[&str]) -> Outcome {
    let target = QuantizedType::from_str(target)?;
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("small.gguf");
    quantize(&repository("models/demo/demo.gguf"), &file, target, &mut |_| {})?;
    let stored = Checkpoint::open(&file)?;
    // The folder's rows of query and key come in another order than the file's, and blocks lie within rows.
    for made in made_of {
        let plain = Checkpoint::open(&repository(made))?;
        let made = plain.quantized(target);
        assert_eq!(made.memory_needed(Compute::Quantized, CONTEXT), stored.memory_needed(Compute::Quantized, CONTEXT));
        assert_eq!(made.memory_needed(Compute::Float32, CONTEXT), plain.memory_needed(Compute::Float32, CONTEXT));
        assert!(made.memory_needed(Compute::Quantized, CONTEXT) < plain.memory_needed(Compute::Float32, CONTEXT));
        for compute in [Compute::Float32, Compute::Quantized] {
            let (found, expected) = (answers(&load(&made, compute)?)?, answers(&load(&stored, compute)?)?);
            for (found, expected) in found.iter().zip(&expected) {
                let worst = crate::support::error(&found.logits_last, &expected.logits_last);
                assert!(worst < 1e-3, "{target}, {compute}: a logit is off by {worst}");
                assert_eq!(found.greedy, expected.greedy, "{target}, {compute}");
            }
        }
    }
    Ok(())
}

#[test]
fn quantised_as_it_loads_a_model_is_the_one_that_a_quantised_file_holds() -> Outcome {
    check("q8_0", &["models/demo", "models/demo/demo.gguf"])?;
    check("q6_k", &["models/demo"])?;
    check("q4_k_m", &["models/demo"])?;
    check("q4_0", &["models/demo"])
}

#[test]
fn what_is_in_blocks_already_stays_in_those() -> Outcome {
    let Some(path) = shared("goldens/gguf/llama/llama-Q6_K.gguf") else { return Ok(()) };
    let stored = Checkpoint::open(&path)?;
    let made = stored.quantized(QuantizedType::Q4_0);
    let tokens = [1, 5, 9, 200];
    let of = |checkpoint: &Checkpoint| -> Outcome<_> {
        Ok(evaluate(&load(checkpoint, Compute::Float32)?, &tokens, None, 0, &[])?)
    };
    assert_eq!(of(&made)?, of(&stored)?);
    Ok(())
}

#[test]
fn an_adapter_is_merged_before_and_kept_apart_beside() -> Outcome {
    let Some(folder) = shared("goldens/lora/llama") else { return Ok(()) };
    let plain = Checkpoint::open(&folder)?;
    let tokens = [1, 164, 128, 186, 150, 224, 100, 64];
    let of = |mode, compute| -> Outcome<_> {
        let adapted = plain.with_adapter(&folder.join("adapter"), mode)?;
        let exact = evaluate(&load(&adapted, Compute::Float32)?, &tokens, None, 0, &[])?;
        let found = evaluate(&load(&adapted.quantized(QuantizedType::Q8_0), compute)?, &tokens, None, 0, &[])?;
        Ok(crate::support::error(&found.logits_last, &exact.logits_last))
    };
    for mode in [AdapterMode::Merged, AdapterMode::Apart] {
        for compute in [Compute::Float32, Compute::Quantized] {
            let worst = of(mode, compute)?;
            assert!(worst > 0.0 && worst < 0.5, "{mode}, {compute}: a logit is off by {worst}");
        }
    }
    Ok(())
}

#[test]
fn experts_that_are_stored_in_ways_of_their_own_are_put_into_blocks_as_well() -> Outcome {
    // Twice what eight bits of weights and activations were measured to cost, among logits from -10 to 10: 0.2 and 0.5.
    for (family, tolerance) in [("gpt_oss_mxfp4", 0.5), ("llama4_text", 1.0)] {
        let Some(folder) = shared(&format!("goldens/core/{family}")) else { return Ok(()) };
        let plain = Checkpoint::open(&folder)?;
        let made = plain.quantized(QuantizedType::Q8_0);
        let tokens = [1, 64, 28, 86, 50];
        let exact = evaluate(&load(&plain, Compute::Float32)?, &tokens, None, 0, &[])?;
        let found = evaluate(&load(&made, Compute::Quantized)?, &tokens, None, 0, &[])?;
        let worst = crate::support::error(&found.logits_last, &exact.logits_last);
        assert!(worst > 0.0 && worst < tolerance, "{family}: a logit is off by {worst}");
        assert!(
            made.memory_needed(Compute::Quantized, CONTEXT) < plain.memory_needed(Compute::Quantized, CONTEXT),
            "{family}"
        );
    }
    Ok(())
}
