//! A step of the `cpu` computation takes next to no memory that the one before it had.
//!
//! A test binary of its own, since it counts what the whole process allocates.

use std::alloc::System;
use std::error::Error;
use std::path::PathBuf;

use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use weighbridge_models::{Checkpoint, Compute, Decoder, Precision, Rows, Step};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

/// Tokens of the longest prompt.
const PROMPT: usize = 5;
/// Steps that are counted: they end before the first page does, since a new page may take memory.
const STEPS: usize = 20;

fn load(path: &str, precision: Precision) -> Outcome<Decoder> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path);
    Ok(Checkpoint::open(&path)?.load(Compute::cpu(precision), &mut |_| ())?)
}

/// Allocations of [`STEPS`] steps that compute one token of each of `sequences` sequences.
fn allocations(decoder: &Decoder, sequences: usize) -> Outcome<usize> {
    let mut caches: Vec<_> = (0..sequences).map(|_| decoder.new_cache()).collect();
    for (number, cache) in caches.iter_mut().enumerate() {
        decoder.forward(&[1, 2, 3, 4, 5][..PROMPT - number % 3], cache, Rows::Last)?;
    }
    let mut step = || -> Outcome {
        let mut steps: Vec<_> = caches.iter_mut().map(|cache| Step { tokens: &[7], cache, rows: Rows::Last }).collect();
        let logits = decoder.step(&mut steps)?;
        assert!(logits.iter().all(|logits| logits.last().iter().all(|logit| logit.is_finite())));
        Ok(())
    };
    // The first one makes the lists and buffers as long as they have to be.
    step()?;
    step()?;
    let region = Region::new(ALLOCATOR);
    for _ in 0..STEPS {
        step()?;
    }
    let change = region.change();
    Ok(change.allocations + change.reallocations)
}

fn check(path: &str, precision: Precision) -> Outcome {
    let decoder = load(path, precision)?;
    assert!(decoder.computes_together(), "{path} is computed on the kernels");
    for sequences in [1, 3] {
        // The list of steps, which is ours, the list of logits, which the caller keeps, and what attention of a layer
        // cuts its rows into.
        let most = STEPS * (2 + decoder.spec().layers.len());
        let found = allocations(&decoder, sequences)?;
        assert!(found <= most, "{path}, {sequences} sequences: {found} allocations, not {most}");
    }
    Ok(())
}

#[test]
fn a_step_takes_no_memory_but_what_is_named() -> Outcome {
    check("../../models/demo", Precision::F32)?;
    check("../../models/demo", Precision::Exact)?;
    for model in ["llama", "gemma3", "mixtral", "deepseek2", "gpt-oss"] {
        check(&format!("tests/fixtures/gguf/{model}.gguf"), Precision::Fast)?;
    }
    Ok(())
}
