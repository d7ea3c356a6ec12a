//! GGUF files that llama.cpp's converter made of tiny checkpoints, computed as transformers computes the checkpoints.
//!
//! A file for each family is in `tests/fixtures/gguf`, with the recipe. `WEIGHBRIDGE_GGUFS` names a folder of more:
//! `NAME.gguf` as `convert_hf_to_gguf.py --outtype f32` writes it, and beside it `NAME.json`, the `golden.json` of the
//! checkpoint.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use weighbridge_models::{Checkpoint, Compute, evaluate};

use crate::core::Golden;
use crate::support::{Outcome, check, error, json, load, repository};

/// Of logits whose spread is a few units, against transformers in float32.
const TOLERANCE: f32 = 2e-4;

#[derive(Deserialize)]
struct Fixture {
    tokens: Vec<u32>,
    /// After the last of them.
    logits: Vec<f32>,
}

#[test]
fn a_file_of_each_family_is_computed_as_its_checkpoint() -> Outcome {
    let mut wrong = Vec::new();
    for file in files(&repository("crates/weighbridge-models/tests/fixtures/gguf"))? {
        let fixture: Fixture = json(&file.with_extension("json"))?;
        let decoder = load(&Checkpoint::open(&file)?, Compute::Float32)?;
        for chunk in [None, Some(7)] {
            let found = evaluate(&decoder, &fixture.tokens, chunk, 0, &[])?;
            let worst = error(&found.logits_last, &fixture.logits);
            if worst > TOLERANCE {
                wrong.push(format!("{}, chunks of {chunk:?}: off by {worst}", file.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    Ok(())
}

#[test]
fn converted_goldens_are_computed_as_their_checkpoints() -> Outcome {
    let Some(folder) = std::env::var_os("WEIGHBRIDGE_GGUFS") else {
        println!("skipped: WEIGHBRIDGE_GGUFS names no folder of converted files");
        return Ok(());
    };
    files(Path::new(&folder))?.iter().try_for_each(|file| check_golden(file))
}

/// The GGUF files of a folder, at least one.
fn files(folder: &Path) -> Outcome<Vec<PathBuf>> {
    let mut files: Vec<_> = std::fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<Outcome<_>>()?;
    files.retain(|file| file.extension().is_some_and(|ending| ending == "gguf"));
    assert!(!files.is_empty(), "{} holds no .gguf files", folder.display());
    Ok(files)
}

fn check_golden(file: &Path) -> Outcome {
    let golden: Golden = json(&file.with_extension("json"))?;
    let decoder = load(&Checkpoint::open(file)?, Compute::Float32)?;
    for prompt in 0..golden.inputs.len() {
        let (tokens, expected) = golden.case(prompt);
        let found = evaluate(&decoder, tokens, Some(7), expected.greedy.len(), &[])?;
        check(&format!("{}, prompt {prompt}", file.display()), &found, &expected);
    }
    Ok(())
}
