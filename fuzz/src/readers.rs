//! Bytes as checkpoints: opened, and where that succeeds used for all that a checkpoint is good for.
//!
//! An input is one file or several: after the first, each begins with a line `=== NAME`, and a line break before that
//! line belongs to it. So a fuzzer can cut and join whole files, and a person can write a folder with an editor.

use std::fs;
use std::path::Path;

use weighbridge_models::{Checkpoint, Compute, QuantizedType, Rows, Tokenizer, quantize};

/// What begins a further file.
const MARK: &[u8] = b"\n=== ";
const NAME_BYTES_MAX: usize = 64;
const FILES_MAX: usize = 16;
/// Larger models are opened and not loaded: a sound one may take this much and more.
const MEMORY_MAX: u64 = 32 << 20;
/// Characters of one byte to four, runs of spaces, digits, and the names of special tokens.
const TEXT: &str = "<s> Hello,  wörld!\n\t 12345 it's 日本語 🦊 <|im_end|>[INST]";

/// A GGUF file; `=== m-00002-of-00002.gguf` begins the second part of a split one.
///
/// # Panics
/// Where the reader does, which is a finding, or where no temporary file can be written.
pub fn gguf(bytes: &[u8]) {
    with_gguf(bytes, |path| {
        use_checkpoint(path);
        if let Ok(tokenizer) = Tokenizer::open(path) {
            use_tokenizer(&tokenizer);
        }
        if bytes.len() as u64 <= MEMORY_MAX / 8 {
            let _ = quantize(path, &path.with_extension("out"), QuantizedType::Q4KM, &mut |_| {});
        }
    });
}

/// A folder: `config.json`, then further files.
///
/// # Panics
/// As [`gguf`].
pub fn folder(bytes: &[u8]) {
    with_folder(bytes, |folder| {
        use_checkpoint(folder);
        if let Ok(tokenizer) = Tokenizer::open(&folder.join("tokenizer.json")) {
            use_tokenizer(&tokenizer);
        }
    });
}

/// Writes a GGUF file to a temporary folder, and says where it is.
///
/// # Panics
/// Where it cannot be written.
pub fn with_gguf(bytes: &[u8], then: impl FnOnce(&Path)) {
    const FIRST: &str = "m-00001-of-00002.gguf";
    written(FIRST, bytes, |folder| then(&folder.join(FIRST)));
}

/// The same of a folder.
///
/// # Panics
/// Where it cannot be written.
pub fn with_folder(bytes: &[u8], then: impl FnOnce(&Path)) {
    written("config.json", bytes, then);
}

fn written(first: &str, bytes: &[u8], then: impl FnOnce(&Path)) {
    let memory = Path::new("/dev/shm");
    let folder = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    let folder = folder.expect("a temporary folder can be made");
    for (name, content) in files(first, bytes) {
        fs::write(folder.path().join(name), content).expect("a temporary file can be written");
    }
    then(folder.path());
}

/// The files of an input. A mark without a name that is safe to write is content.
fn files<'a>(first: &'a str, bytes: &'a [u8]) -> Vec<(&'a str, &'a [u8])> {
    let mut files = vec![(first, bytes)];
    let mut from = 0;
    while let Some((_, rest)) = files.last().copied().filter(|_| files.len() < FILES_MAX) {
        let Some(at) = rest[from..].windows(MARK.len()).position(|window| window == MARK).map(|at| at + from) else {
            break;
        };
        let Some((name, content)) = name(&rest[at + MARK.len()..]) else {
            from = at + 1;
            continue;
        };
        files.last_mut().expect("there is one").1 = &rest[..at];
        files.push((name, content));
        from = 0;
    }
    files
}

/// A name up to the end of its line, and what follows.
fn name(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let end = bytes.iter().take(NAME_BYTES_MAX).position(|&byte| byte == b'\n')?;
    let name = std::str::from_utf8(&bytes[..end]).ok()?;
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    let safe = !name.is_empty() && !name.starts_with('.') && name.chars().all(allowed);
    safe.then_some((name, &bytes[end + 1..]))
}

fn use_checkpoint(path: &Path) {
    let checkpoint = match Checkpoint::open(path) {
        Ok(checkpoint) => checkpoint,
        Err(error) => {
            let message = error.to_string();
            assert!(message.len() < 64 << 10, "an error repeats what it was given: {} bytes", message.len());
            return;
        }
    };
    let summary = checkpoint.summary();
    let _ = (checkpoint.chat_template(), checkpoint.stop_tokens(), checkpoint.generation_defaults());
    if let Ok(tokenizer) = checkpoint.tokenizer() {
        use_tokenizer(&tokenizer);
    }
    for compute in [Compute::Float32, Compute::Quantized] {
        let _ = checkpoint.memory_needed(compute, summary.context);
        if checkpoint.memory_needed(compute, 8) > MEMORY_MAX {
            continue;
        }
        let Ok(decoder) = checkpoint.load(compute, &mut |_| {}) else { continue };
        let mut cache = decoder.new_cache();
        let last = summary.vocabulary.saturating_sub(1);
        let _ = decoder.forward(&[0, last, last / 2], &mut cache, Rows::All);
        let _ = decoder.forward(&[last], &mut cache, Rows::Last);
    }
}

fn use_tokenizer(tokenizer: &Tokenizer) {
    let _ = tokenizer.encode_with_bos(TEXT);
    if let Ok(tokens) = tokenizer.encode(TEXT) {
        let _ = tokenizer.decode(&tokens);
    }
    let size = u32::try_from(tokenizer.size()).unwrap_or(u32::MAX);
    let ids: Vec<u32> = (0..size.min(512)).chain([size, u32::MAX]).collect();
    let together = tokenizer.decode(&ids);
    let mut stream = tokenizer.stream();
    let mut one_by_one: String = ids.iter().filter_map(|&id| stream.push(id)).collect();
    one_by_one.extend(stream.finish());
    assert_eq!(one_by_one, together, "a stream decodes to another text");
}
