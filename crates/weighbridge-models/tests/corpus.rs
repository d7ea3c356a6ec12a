//! Bytes from outside: what fuzzers begin with and what they found, in `fuzz/corpus/`, each read to its end or refused.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

use weighbridge_models::Checkpoint;

/// The very code of the fuzz targets.
#[path = "../../../fuzz/src/readers.rs"]
#[allow(unreachable_pub, reason = "the fuzz targets reach it")]
mod readers;

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

/// The inputs of a target, in order.
fn corpus(target: &str) -> Outcome<Vec<PathBuf>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target);
    let mut paths = fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<Outcome<Vec<_>>>()?;
    paths.sort();
    assert!(paths.len() > 20, "the corpus of {target} is not whole");
    Ok(paths)
}

fn replay(target: &str, read: fn(&[u8])) -> Outcome {
    for path in corpus(target)? {
        let bytes = fs::read(&path)?;
        let read = std::panic::catch_unwind(|| read(&bytes));
        assert!(read.is_ok(), "{} panics", path.display());
    }
    Ok(())
}

/// Writes an input as what it stands for, and says where.
type Write = fn(&[u8], &mut dyn FnMut(&Path));

/// Opens the seeds of a target that are sound models.
fn open_models(target: &str, least: usize, write: Write) -> Outcome {
    let mut models = 0;
    for seed in corpus(target)? {
        let name = seed.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.starts_with("seed-model-") {
            let mut problem = None;
            write(&fs::read(&seed)?, &mut |path| problem = Checkpoint::open(path).err());
            assert!(problem.is_none(), "{name}: {}", problem.map(|it| it.to_string()).unwrap_or_default());
            models += 1;
        }
    }
    assert!(models >= least, "only {models} of the seeds are models");
    Ok(())
}

#[test]
fn nothing_in_the_corpus_of_gguf_panics() -> Outcome {
    replay("gguf", readers::gguf)
}

#[test]
fn nothing_in_the_corpus_of_folders_panics() -> Outcome {
    replay("safetensors", readers::folder)
}

/// A seed that is refused at its first field leads a fuzzer nowhere.
#[test]
fn the_seeds_that_are_models_open_as_such() -> Outcome {
    open_models("gguf", 13, |bytes, with| readers::with_gguf(bytes, with))?;
    open_models("safetensors", 35, |bytes, with| readers::with_folder(bytes, with))
}
