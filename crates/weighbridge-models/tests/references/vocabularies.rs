//! Published vocabularies in GGUF metadata against the ids of their reference tokenizers.

use std::fs;
use std::path::{Path, PathBuf};

use weighbridge_models::Tokenizer;

use crate::support::{Outcome, shared};

/// The vocabularies whose texts lose case, accents and spaces on their way.
const LOSSY: [&str; 1] = ["bert-bge"];

fn vocabularies() -> Outcome<Vec<PathBuf>> {
    let Some(folder) = shared("vocab") else { return Ok(Vec::new()) };
    let files = fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.path())).collect::<Result<Vec<_>, _>>()?;
    Ok(files.into_iter().filter(|path| path.extension().is_some_and(|it| it == "gguf")).collect())
}

fn name(path: &Path) -> String {
    path.file_stem().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// Texts with their ids. A separator ends each text, the last one too.
fn cases(path: &Path) -> Outcome<Vec<(String, Vec<u32>)>> {
    let texts = fs::read_to_string(path.with_extension("inp"))?;
    let ids = fs::read_to_string(path.with_extension("out"))?;
    let texts: Vec<_> = texts.split_terminator("\n__ggml_vocab_test__\n").map(str::to_owned).collect();
    let ids = ids.lines().map(|ids| ids.split_whitespace().map(str::parse).collect::<Result<Vec<u32>, _>>());
    let ids = ids.collect::<Result<Vec<_>, _>>()?;
    assert_eq!(texts.len(), ids.len(), "{}", path.display());
    Ok(texts.into_iter().zip(ids).collect())
}

#[test]
fn every_vocabulary_gives_the_reference_ids_and_its_texts_back() -> Outcome {
    for path in vocabularies()? {
        let (name, tokenizer) = (name(&path), Tokenizer::open(&path)?);
        for (text, ids) in cases(&path)? {
            assert_eq!(tokenizer.encode(&text)?, ids, "{name}: {text:?}");
            if !LOSSY.contains(&name.as_str()) {
                assert_eq!(tokenizer.decode(&ids), text, "{name}");
                check_stream(&tokenizer, &ids, &text);
            }
        }
    }
    Ok(())
}

/// Whatever comes one by one is whole characters, and in all the text.
fn check_stream(tokenizer: &Tokenizer, ids: &[u32], text: &str) {
    let mut stream = tokenizer.stream();
    let mut streamed = String::new();
    for &id in ids {
        streamed.extend(stream.push(id));
        assert!(text.starts_with(&streamed), "{streamed:?} is no beginning of {text:?}");
    }
    assert_eq!(stream.finish(), None);
    assert_eq!(streamed, text);
}

#[test]
fn a_text_from_outside_has_no_markers_and_is_else_the_same() -> Outcome {
    // One of each kind.
    for name in ["llama-bpe", "phi-3", "bert-bge"] {
        let Some(path) = shared(&format!("vocab/{name}.gguf")) else { return Ok(()) };
        let tokenizer = Tokenizer::open(&path)?;
        for (text, ids) in cases(&path)? {
            assert_eq!(tokenizer.encode_text(&text)?, ids, "{name}: {text:?}");
        }
        let markers = tokenizer.markers();
        for marker in markers.iter().take(40) {
            let text = format!("a{marker}b");
            let ids = tokenizer.encode_text(&text)?;
            assert!(ids.iter().all(|&id| tokenizer.token(id).as_ref() != Some(marker)), "{name}: {text:?} as {ids:?}");
            if !LOSSY.contains(&name) {
                assert_eq!(tokenizer.decode(&ids), text, "{name}");
            }
        }
    }
    Ok(())
}
