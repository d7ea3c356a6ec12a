//! GGUF files that llama.cpp's converter made of tiny checkpoints, computed as transformers computes the checkpoints.
//!
//! The files are not kept with the project. `WEIGHBRIDGE_GGUFS` names a folder of them: `NAME.gguf` as
//! `convert_hf_to_gguf.py --outtype f32` writes it, and beside it `NAME.json`, the `golden.json` of the checkpoint.

use std::path::Path;

use weighbridge_models::{Checkpoint, Compute, evaluate};

use crate::core::Golden;
use crate::support::{Outcome, check, json, load};

#[test]
fn converted_files_are_computed_as_their_checkpoints() -> Outcome {
    let Some(folder) = std::env::var_os("WEIGHBRIDGE_GGUFS") else {
        eprintln!("skipped: WEIGHBRIDGE_GGUFS names no folder of converted files");
        return Ok(());
    };
    let mut files: Vec<_> = std::fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<Outcome<_>>()?;
    files.retain(|file| file.extension().is_some_and(|ending| ending == "gguf"));
    files.sort();
    assert!(!files.is_empty(), "WEIGHBRIDGE_GGUFS holds no .gguf files");
    for file in files {
        eprintln!("{}", file.display());
        check_file(&file)?;
    }
    Ok(())
}

fn check_file(file: &Path) -> Outcome {
    let golden: Golden = json(&file.with_extension("json"))?;
    let decoder = load(&Checkpoint::open(file)?, Compute::Float32)?;
    for prompt in 0..golden.inputs.len() {
        let (tokens, expected) = golden.case(prompt);
        let found = evaluate(&decoder, tokens, Some(7), expected.greedy.len(), &[])?;
        check(&format!("{}, prompt {prompt}", file.display()), &found, &expected);
    }
    Ok(())
}
