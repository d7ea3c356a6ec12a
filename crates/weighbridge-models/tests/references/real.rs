//! Real weights: SmolLM2-135M-Instruct in Q4_1. The file is not in the repository, so these run only where
//! `WEIGHBRIDGE_SMOLLM2` names it; the suite under `tests/` fetches it and tests the whole program with it.

use std::env;
use std::path::PathBuf;
use std::time::Instant;

use serde::Deserialize;
use weighbridge_models::{Checkpoint, Compute, Decoder, Precision, Rows, evaluate};

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
        let errors = errors(case, &decoder, checkpoint.stop_tokens(), 0.01)?;
        assert!(errors.logit <= 0.01 && errors.logsumexp <= 0.01 && errors.argmax == 0);
    }
    check_loss("float32", &golden, &decoder, 3e-5)?;
    time("float32", &decoder)?;
    time("quantized", &load(&checkpoint, Compute::Quantized)?)?;
    // The bounds are of the worst logit error, of arg-max that differ, and of the loss as a share.
    for (precision, logit, argmax, loss) in
        [(Precision::F32, 0.01, 0, 3e-5), (Precision::Exact, 0.05, 0, 2e-4), (Precision::Fast, 0.6, usize::MAX, 2e-3)]
    {
        let decoder = load(&checkpoint, Compute::cpu(precision))?;
        let mut worst = Errors::default();
        for case in &golden.cases {
            worst = worst.and(&errors(case, &decoder, checkpoint.stop_tokens(), logit)?);
        }
        println!("cpu, {precision}: {worst:?}");
        assert!(worst.logit <= logit && worst.argmax <= argmax, "{precision}: {worst:?}");
        check_loss(&precision.to_string(), &golden, &decoder, loss)?;
        time(&precision.to_string(), &decoder)?;
    }
    Ok(())
}

fn check_loss(what: &str, golden: &Golden, decoder: &Decoder, share: f64) -> Outcome {
    let loss = evaluate(decoder, &golden.text.tokens, Some(128), 0, &[])?.loss;
    println!("{what}: loss {loss}, reference {}", golden.text.mean_loss);
    assert!((loss / golden.text.mean_loss - 1.0).abs() <= share, "{what}: the loss is {loss}");
    Ok(())
}

/// The worst errors against the reference.
#[derive(Debug, Default)]
struct Errors {
    logit: f32,
    logsumexp: f32,
    /// Positions whose likeliest token differs.
    argmax: usize,
}

impl Errors {
    fn and(&self, other: &Self) -> Self {
        Self {
            logit: self.logit.max(other.logit),
            logsumexp: self.logsumexp.max(other.logsumexp),
            argmax: self.argmax + other.argmax,
        }
    }
}

/// What is found, and that the tokens are the reference's as long as their lead is more than two logits that are off by
/// `bound` could make up for.
fn errors(case: &Case, decoder: &Decoder, stop: &[u32], bound: f32) -> Outcome<Errors> {
    let found = evaluate(decoder, &case.tokens, None, case.greedy.len(), stop)?;
    let top: Vec<f32> = case.top_ids.iter().map(|&id| found.logits_last[id]).collect();
    let errors = Errors {
        logit: error(&top, &case.top_logits),
        logsumexp: error(&found.logsumexp, &case.logsumexp),
        argmax: found.argmax.iter().zip(&case.argmax).filter(|(one, other)| one != other).count(),
    };
    if errors.argmax == 0 {
        let sure = case.margins.iter().position(|&margin| margin < 2.0 * bound).unwrap_or(case.greedy.len());
        assert_eq!(found.greedy[..sure], case.greedy[..sure]);
    }
    Ok(errors)
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
