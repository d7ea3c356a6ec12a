//! On the kernels a sequence computes the same to the last bit whatever shares its step, and however it is cut.

use std::fs;

use weighbridge_models::{Checkpoint, Compute, Decoder, KvCache, PageGroup, Precision, Rows, Step, Tier};

use crate::support::{Outcome, json, load, repository, shared};

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
    for family in ["deepseek_v3", "gpt_oss", "llama4_text", "cohere2", "phimoe", "gemma2", "mistral", "olmo3"] {
        let Some(path) = shared(&format!("goldens/core/{family}")) else { return Ok(()) };
        check(family, &Checkpoint::open(&path)?, Precision::Exact)?;
    }
    Ok(())
}

/// Families with windows of 20 tokens: in some layers, in all, and in chunks.
const WINDOWED: [&str; 6] = ["gemma2", "gemma3_text", "gpt_oss", "mistral", "olmo3", "llama4_text"];

fn tokens(decoder: &Decoder, count: usize) -> Vec<u32> {
    (0..count).map(|at| ((at * 37 + 5) % decoder.spec().vocabulary) as u32).collect()
}

#[test]
fn behind_its_windows_a_sequence_gives_its_pages_back() -> Outcome {
    for family in WINDOWED {
        let Some(path) = shared(&format!("goldens/core/{family}")) else { return Ok(()) };
        let decoder = load(&Checkpoint::open(&path)?, Compute::cpu(Precision::F32))?;
        let cost = decoder.cost().ok_or("it is computed on pages")?;
        let window = decoder.window().ok_or("it has windows")?;
        let mut cache = decoder.new_cache();
        for step in tokens(&decoder, 200).chunks(9) {
            decoder.forward(step, &mut cache, Rows::None)?;
            let full = cache.len().div_ceil(32) as u64 * (cost.page_bytes - cost.windowed_bytes);
            let windowed = (cache.bytes() - full) / cost.windowed_bytes;
            assert!(windowed <= window.div_ceil(32) as u64 + 1, "{family}: {windowed} pages at {}", cache.len());
        }
        let held = cache.bytes();
        cache.clear();
        assert_eq!((cache.bytes(), cache.len()), (held, 0), "the memory is kept");
    }
    Ok(())
}

/// Where the context is no longer than the windows, their pages count as those of the other layers and are kept.
#[test]
fn rows_see_the_same_whether_pages_behind_the_windows_are_kept_or_used_again() -> Outcome {
    for family in WINDOWED {
        let Some(path) = shared(&format!("goldens/core/{family}")) else { return Ok(()) };
        let decoder = load(&Checkpoint::open(&path)?, Compute::cpu(Precision::Exact))?;
        let folder = tempfile::tempdir()?;
        for entry in fs::read_dir(&path)? {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                fs::copy(entry.path(), folder.path().join(entry.file_name()))?;
            }
        }
        let mut config: serde_json::Value = json(&path.join("config.json"))?;
        config["max_position_embeddings"] = decoder.window().into();
        fs::write(folder.path().join("config.json"), config.to_string())?;
        let keeps = load(&Checkpoint::open(folder.path())?, Compute::cpu(Precision::Exact))?;
        assert_eq!((keeps.window(), keeps.computes_together()), (None, true), "{family}");
        let sequences = [tokens(&decoder, 200), tokens(&decoder, 150)[50..].to_vec(), tokens(&decoder, 170)];
        let kept: Vec<_> = sequences.iter().map(|tokens| alone(&keeps, tokens, 64)).collect::<Outcome<_>>()?;
        assert_eq!(together(&decoder, &sequences, &[1, 64, 9])?, kept, "{family}");
    }
    Ok(())
}

#[test]
fn lent_pages_may_lack_what_is_behind_the_windows() -> Outcome {
    let Some(path) = shared("goldens/core/gemma3_text") else { return Ok(()) };
    let decoder = load(&Checkpoint::open(&path)?, Compute::cpu(Precision::F32))?;
    let tokens = tokens(&decoder, 100);
    let expected = alone(&decoder, &tokens, 100)?;
    let mut cache = decoder.lent_cache().ok_or("it is computed on pages")?;
    let take = |group| decoder.take_page(group).ok_or("it is computed on pages");
    let full = (0..4).map(|_| take(PageGroup::Full)).collect::<Result<Vec<_>, _>>()?;
    // Of two pages in turn, which hold 64 tokens.
    let two = [take(PageGroup::Windowed)?, take(PageGroup::Windowed)?];
    let mut found: Vec<f32> = Vec::new();
    for step in tokens.chunks(4) {
        let past = found.len() / decoder.spec().vocabulary;
        let windowed = (0..4).map(|at| ((past + 1).saturating_sub(20) / 32 <= at).then(|| two[at % 2]));
        cache.lend(full.iter().copied(), windowed, past);
        found.extend(decoder.forward(step, &mut cache, Rows::All)?.rows().flatten());
    }
    assert_eq!(found, expected);
    cache.lend(full[..3].iter().copied(), [], 96);
    assert!(
        decoder.forward(&tokens[96..], &mut cache, Rows::All).is_err_and(|error| error.to_string().contains("pages"))
    );
    Ok(())
}

#[test]
fn windows_are_planned_for_where_they_let_pages_go() -> Outcome {
    let Some(goldens) = shared("goldens/core") else { return Ok(()) };
    let compute = Compute::cpu(Precision::Exact);
    for entry in fs::read_dir(goldens)? {
        let path = entry?.path();
        if !path.join("config.json").exists() {
            continue;
        }
        let checkpoint = Checkpoint::open(&path)?;
        let (needs, decoder) = (checkpoint.memory_needs(compute, 100), load(&checkpoint, compute)?);
        assert_eq!(needs.window, decoder.window(), "{}", path.display());
        let bytes = decoder.cost().map_or(0, |cost| cost.windowed_bytes);
        assert_eq!(needs.windowed * 32, bytes, "{}", path.display());
    }
    Ok(())
}
