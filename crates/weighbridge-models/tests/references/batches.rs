//! On the kernels a sequence computes the same to the last bit whatever shares its step, and however it is cut.

use weighbridge_models::{Checkpoint, Compute, Decoder, KvCache, Precision, Rows, Step, Tier};

use crate::support::{Outcome, load, repository, shared};

/// All logits of `tokens`, in steps of `chunk`.
fn alone(decoder: &Decoder, tokens: &[u32], chunk: usize) -> Outcome<Vec<f32>> {
    let mut cache = decoder.new_cache();
    cache.announce(tokens.len());
    let mut logits = Vec::new();
    for chunk in tokens.chunks(chunk) {
        logits.extend(decoder.forward(chunk, &mut cache, Rows::All)?.rows().flatten());
    }
    Ok(logits)
}

/// The same for several sequences in the same steps, each in chunks of its own size.
fn together(decoder: &Decoder, sequences: &[Vec<u32>], chunks: &[usize]) -> Outcome<Vec<Vec<f32>>> {
    let mut caches: Vec<KvCache> = sequences.iter().map(|_| decoder.new_cache()).collect();
    for (cache, tokens) in caches.iter_mut().zip(sequences) {
        cache.announce(tokens.len());
    }
    let mut logits = vec![Vec::new(); sequences.len()];
    loop {
        let mut steps = Vec::new();
        let mut numbers = Vec::new();
        for (number, (cache, tokens)) in caches.iter_mut().zip(sequences).enumerate() {
            let past = cache.len();
            let end = tokens.len().min(past + chunks[number]);
            if past < end {
                steps.push(Step { tokens: &tokens[past..end], cache, rows: Rows::All });
                numbers.push(number);
            }
        }
        if steps.is_empty() {
            return Ok(logits);
        }
        for (found, number) in decoder.step(&mut steps)?.iter().zip(numbers) {
            logits[number].extend(found.rows().flatten());
        }
    }
}

fn check(what: &str, checkpoint: &Checkpoint, precision: Precision) -> Outcome {
    let decoder = load(checkpoint, Compute::cpu(precision))?;
    let vocabulary = decoder.spec().vocabulary as u32;
    let sequences: Vec<Vec<u32>> = [70, 3, 41, 1, 90]
        .iter()
        .enumerate()
        .map(|(number, &length)| (0..length).map(|at| (at * 37 + number as u32 * 11 + 5) % vocabulary).collect())
        .collect();
    let whole: Vec<_> = sequences.iter().map(|tokens| alone(&decoder, tokens, tokens.len())).collect::<Outcome<_>>()?;
    for (tokens, whole) in sequences.iter().zip(&whole) {
        assert_eq!(&alone(&decoder, tokens, 7)?, whole, "{what}, {precision:?}: in chunks");
        assert_eq!(&alone(&decoder, tokens, 1)?, whole, "{what}, {precision:?}: token by token");
    }
    assert_eq!(together(&decoder, &sequences, &[7, 1, 64, 1, 9])?, whole, "{what}, {precision:?}: in a batch");
    let plain = load(checkpoint, Compute::Cpu { precision, tier: Some(Tier::Scalar), kv: None })?;
    assert_eq!(alone(&plain, &sequences[2], 41)?, whole[2], "{what}, {precision:?}: on the scalar tier");
    Ok(())
}

#[test]
fn the_demo_model_gives_the_same_bits_however_it_is_batched() -> Outcome {
    let checkpoint = Checkpoint::open(&repository("models/demo"))?;
    check("demo", &checkpoint, Precision::F32)?;
    check("demo", &checkpoint, Precision::Exact)
}

#[test]
fn quantised_weights_give_the_same_bits_however_they_are_batched() -> Outcome {
    for file in ["llama/llama-Q4_K_M", "qwen3/qwen3-Q8_0", "gemma3/gemma3-IQ4_XS", "qwen3_moe/qwen3_moe-Q6_K"] {
        let Some(path) = shared(&format!("goldens/gguf/{file}.gguf")) else { return Ok(()) };
        for precision in [Precision::Exact, Precision::Fast] {
            check(file, &Checkpoint::open(&path)?, precision)?;
        }
    }
    Ok(())
}

#[test]
fn every_mixer_gives_the_same_bits_however_it_is_batched() -> Outcome {
    for family in ["deepseek_v3", "gpt_oss", "llama4_text", "cohere2", "phimoe"] {
        let Some(path) = shared(&format!("goldens/core/{family}")) else { return Ok(()) };
        check(family, &Checkpoint::open(&path)?, Precision::Exact)?;
    }
    Ok(())
}
