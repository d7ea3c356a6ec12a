//! Real weights: SmolLM2-135M-Instruct in Q4_1. The file is not in the repository, so these run only where
//! `WEIGHBRIDGE_SMOLLM2` names it; the suite under `tests/` fetches it and tests the whole program with it.

use std::env;
use std::path::PathBuf;
use std::time::Instant;

use serde::Deserialize;
use weighbridge_models::{Checkpoint, Compute, Decoder, Rows, evaluate};

use crate::support::{Outcome, error, json, load, shared};

#[derive(Deserialize)]
struct Golden {
    cases: Vec<Case>,
    text: Text,
}

#[derive(Deserialize)]
struct Case {
    prompt: String,
    tokens: Vec<u32>,
    top_ids: Vec<usize>,
    top_logits: Vec<f32>,
    argmax: Vec<u32>,
    logsumexp: Vec<f32>,
    greedy: Vec<u32>,
    margins: Vec<f32>,
}

#[derive(Deserialize)]
struct Text {
    tokens: Vec<u32>,
    mean_loss: f64,
}

/// A lead below which rounding may choose another token.
const MARGIN_LEAST: f32 = 0.02;

#[test]
fn smollm2_is_computed_as_its_reference() -> Outcome {
    let Some(file) = env::var_os("WEIGHBRIDGE_SMOLLM2").map(PathBuf::from) else {
        println!("skipped: WEIGHBRIDGE_SMOLLM2 does not name the file with the weights");
        return Ok(());
    };
    let Some(golden) = shared("goldens/real/smollm2-135m-instruct.json") else { return Ok(()) };
    let golden: Golden = json(&golden)?;
    let checkpoint = Checkpoint::open(&file)?;
    println!("{:#?}", checkpoint.summary());
    let tokenizer = checkpoint.tokenizer()?;
    let decoder = load(&checkpoint, Compute::Float32)?;
    for case in &golden.cases {
        assert_eq!(tokenizer.encode(&case.prompt)?, case.tokens);
        check_case(case, &decoder, checkpoint.stop_tokens())?;
    }
    let loss = evaluate(&decoder, &golden.text.tokens, Some(128), 0, &[])?.loss;
    println!("loss {loss}, reference {}", golden.text.mean_loss);
    assert!((loss - golden.text.mean_loss).abs() <= 1e-4);
    time("float32", &decoder)?;
    time("quantized", &load(&checkpoint, Compute::Quantized)?)
}

fn check_case(case: &Case, decoder: &Decoder, stop: &[u32]) -> Outcome {
    let found = evaluate(decoder, &case.tokens, None, case.greedy.len(), stop)?;
    let top: Vec<f32> = case.top_ids.iter().map(|&id| found.logits_last[id]).collect();
    let (logits, logsumexp) = (error(&top, &case.top_logits), error(&found.logsumexp, &case.logsumexp));
    println!("worst logit {logits:.5}, worst log-sum-exp {logsumexp:.5}");
    assert!(logits <= 0.01 && logsumexp <= 0.01);
    assert_eq!(found.argmax, case.argmax);
    let sure = case.margins.iter().position(|&margin| margin < MARGIN_LEAST).unwrap_or(case.greedy.len());
    assert_eq!(found.greedy[..sure], case.greedy[..sure]);
    Ok(())
}

fn time(what: &str, decoder: &Decoder) -> Outcome {
    const TOKENS: u32 = 32;
    let mut cache = decoder.new_cache();
    let prompt = vec![1; 256];
    let start = Instant::now();
    decoder.forward(&prompt, &mut cache, Rows::Last)?;
    println!("{what}: prefill {:.1} tokens/s", 256.0 / start.elapsed().as_secs_f64());
    let start = Instant::now();
    for token in 0..TOKENS {
        decoder.forward(&[token], &mut cache, Rows::Last)?;
    }
    println!("{what}: {:.2} ms a token", start.elapsed().as_secs_f64() * 1000.0 / f64::from(TOKENS));
    Ok(())
}
