//! Published vocabularies in GGUF metadata against the ids of their reference tokenizers.

use std::fs;

use weighbridge_models::Tokenizer;

use crate::support::{Outcome, shared};

fn check(name: &str) -> Outcome {
    let Some(path) = shared(&format!("vocab/{name}.gguf")) else { return Ok(()) };
    let tokenizer = Tokenizer::open(&path)?;
    let texts = fs::read_to_string(path.with_extension("inp"))?;
    let ids = fs::read_to_string(path.with_extension("out"))?;
    // A separator ends each text, the last one too.
    let texts: Vec<_> = texts.split_terminator("\n__ggml_vocab_test__\n").collect();
    let ids: Vec<_> = ids.lines().collect();
    assert_eq!(texts.len(), ids.len(), "{name}");
    for (text, ids) in texts.iter().zip(ids) {
        let ids = ids.split_whitespace().map(str::parse).collect::<Result<Vec<u32>, _>>()?;
        assert_eq!(tokenizer.encode(text)?, ids, "{name}: {text:?}");
        assert_eq!(tokenizer.decode(&ids), *text, "{name}");
    }
    Ok(())
}

#[test]
fn byte_level_vocabularies_give_the_reference_ids() -> Outcome {
    for name in ["gpt-2", "llama-bpe", "qwen2", "deepseek-llm", "command-r"] {
        check(name)?;
    }
    Ok(())
}

#[test]
fn sentencepiece_vocabularies_give_the_reference_ids() -> Outcome {
    for name in ["llama-spm", "phi-3"] {
        check(name)?;
    }
    Ok(())
}

#[test]
fn a_vocabulary_of_another_kind_is_refused_by_name() -> Outcome {
    let Some(path) = shared("vocab/bert-bge.gguf") else { return Ok(()) };
    let message = Tokenizer::open(&path).err().map(|error| error.to_string()).unwrap_or_default();
    assert!(message.contains("`bert` is not supported yet; supported: gpt2, llama"), "{message}");
    Ok(())
}
