//! Folders written as GGUF files, and read back.

use std::fs;
use std::path::Path;

use serde::Deserialize;
use serde_json::{Value as Json, json};
use weighbridge_models::{Checkpoint, Compute, QuantizedType, evaluate, quantize};

use crate::demo::cases;
use crate::support::{Outcome, error, json, load, repository, shared};

#[derive(Deserialize)]
struct Golden {
    inputs: Vec<Vec<u32>>,
    tolerance: f32,
}

/// A folder of the references with some fields of its config changed; none where there are no references.
fn copy(family: &str, changes: &Json) -> Outcome<Option<(tempfile::TempDir, Golden)>> {
    let Some(folder) = shared(&format!("goldens/core/{family}")) else { return Ok(None) };
    let copy = tempfile::tempdir()?;
    let mut config: Json = json(&folder.join("config.json"))?;
    for (field, value) in changes.as_object().into_iter().flatten() {
        config[field] = value.clone();
    }
    fs::write(copy.path().join("config.json"), config.to_string())?;
    fs::copy(folder.join("model.safetensors"), copy.path().join("model.safetensors"))?;
    Ok(Some((copy, json(&folder.join("golden.json"))?)))
}

fn write(folder: &Path, target: QuantizedType) -> Result<std::path::PathBuf, weighbridge_models::QuantizeError> {
    let file = folder.join("out.gguf");
    quantize(folder, &file, target, &mut |_| {})?;
    Ok(file)
}

/// Holds what the file computes against the folder it was made of.
fn check(family: &str, changes: &Json) -> Outcome {
    let Some((folder, golden)) = copy(family, changes)? else { return Ok(()) };
    let file = write(folder.path(), QuantizedType::F32)?;
    let (plain, written) = (Checkpoint::open(folder.path())?, Checkpoint::open(&file)?);
    assert_eq!(written.summary().parameters, plain.summary().parameters, "{family}");
    let (plain, written) = (load(&plain, Compute::Float32)?, load(&written, Compute::Float32)?);
    for tokens in &golden.inputs {
        let expected = evaluate(&plain, tokens, None, 0, &[])?;
        let found = evaluate(&written, tokens, None, 0, &[])?;
        let worst = error(&found.logits_last, &expected.logits_last);
        assert!(worst <= golden.tolerance, "{family}: a logit is off by {worst}");
        assert_eq!(found.argmax, expected.argmax, "{family}");
    }
    Ok(())
}

fn check_refused(family: &str, changes: &Json, expected: &str) -> Outcome {
    let Some((folder, _)) = copy(family, changes)? else { return Ok(()) };
    let message = write(folder.path(), QuantizedType::Q8_0).err().map_or_else(String::new, |error| error.to_string());
    assert!(message.contains(expected), "{family}: `{message}` does not say `{expected}`");
    Ok(())
}

#[test]
fn written_as_gguf_a_folder_computes_the_same() -> Outcome {
    check("llama", &json!({}))?;
    check("llama_linear", &json!({}))?;
    check("mistral", &json!({"sliding_window": null}))?;
    check("mixtral", &json!({}))?;
    check("qwen2", &json!({"use_sliding_window": false}))?;
    check("qwen3", &json!({}))?;
    check("qwen3_moe", &json!({"num_hidden_layers": 1, "mlp_only_layers": []}))?;
    check("phi3", &json!({}))?;
    let pattern = json!({"query_pre_attn_scalar": 24, "sliding_window_pattern": 6});
    check("gemma3_text", &pattern)
}

#[test]
fn what_gguf_files_cannot_say_is_refused_by_name() -> Outcome {
    check_refused("llama_dynamic", &json!({}), "how positions are stretched is something that gguf files of `llama`")?;
    check_refused("mistral", &json!({}), "which layers look back over a window is something")?;
    check_refused("qwen3_moe", &json!({}), "a layer without experts is something that gguf files of `qwen3moe`")?;
    check_refused("gemma2", &json!({}), "the scale of scores is something that gguf files of `gemma2`")?;
    check_refused("olmo2", &json!({}), "architecture `olmo2` cannot be written as gguf yet; supported: llama, ")
}

#[test]
fn the_demo_folder_becomes_a_file_with_its_tokenizer_and_template() -> Outcome {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("demo.gguf");
    quantize(&repository("models/demo"), &file, QuantizedType::Bf16, &mut |_| {})?;
    let (made, published) = (Checkpoint::open(&file)?, Checkpoint::open(&repository("models/demo/demo.gguf"))?);
    assert_eq!(made.spec(), published.spec());
    assert_eq!(made.stop_tokens(), published.stop_tokens());
    assert_eq!(made.chat_template().map(|it| it.template), published.chat_template().map(|it| it.template));
    let (tokenizer, case) = (made.tokenizer()?, cases()?.swap_remove(0));
    assert_eq!(tokenizer.encode(&case.prompt)?, case.tokens);
    assert_eq!(tokenizer.encode_with_bos("it's 12")?, published.tokenizer()?.encode_with_bos("it's 12")?);
    let found = evaluate(&load(&made, Compute::Float32)?, &case.tokens, None, 4, &[])?;
    let expected = evaluate(&load(&published, Compute::Float32)?, &case.tokens, None, 4, &[])?;
    assert_eq!(found, expected);
    Ok(())
}

/// A vocabulary as transformers makes it of SentencePiece, too small to speak with.
fn sentence_piece() -> Json {
    let vocabulary = ["<unk>", "<s>", "</s>", "▁", "a", "b", "c", "ab", "▁ab", "abc", "▁abc", "<0x0A>", "<call>"];
    let ids: Json = vocabulary.iter().enumerate().map(|(id, token)| ((*token).to_owned(), json!(id))).collect();
    let added = |id: usize, special| {
        json!({"id": id, "content": vocabulary[id], "special": special, "single_word": false, "lstrip": false,
               "rstrip": false, "normalized": false})
    };
    let piece = |id: &str| json!({"Sequence": {"id": id, "type_id": 0}});
    let start = json!({"SpecialToken": {"id": "<s>", "type_id": 0}});
    json!({
        "version": "1.0", "truncation": null, "padding": null,
        "added_tokens": [added(0, true), added(1, true), added(2, true), added(12, false)],
        "normalizer": {"type": "Sequence", "normalizers": [
            {"type": "Prepend", "prepend": "▁"},
            {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
        ]},
        "pre_tokenizer": null,
        "post_processor": {"type": "TemplateProcessing", "single": [start, piece("A")],
            "pair": [start, piece("A"), piece("B")],
            "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}}},
        "decoder": {"type": "Sequence", "decoders": [
            {"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"},
            {"type": "Strip", "content": " ", "start": 1, "stop": 0},
        ]},
        "model": {"type": "BPE", "dropout": null, "unk_token": "<unk>", "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": true, "byte_fallback": true, "ignore_merges": false,
            "vocab": ids, "merges": [["a", "b"], ["▁", "ab"], ["ab", "c"], ["▁ab", "c"], ["▁", "abc"]]},
    })
}

#[test]
fn a_sentence_piece_vocabulary_is_cut_alike_before_and_after() -> Outcome {
    let Some((folder, _)) = copy("mixtral", &json!({}))? else { return Ok(()) };
    fs::write(folder.path().join("tokenizer.json"), sentence_piece().to_string())?;
    let special = json!({"bos_token": "<s>", "eos_token": {"content": "</s>"}, "unk_token": "<unk>"});
    fs::write(folder.path().join("tokenizer_config.json"), special.to_string())?;
    let file = write(folder.path(), QuantizedType::F16)?;
    let (before, after) = (Checkpoint::open(folder.path())?.tokenizer()?, Checkpoint::open(&file)?.tokenizer()?);
    for text in ["abc ab", "c", " ab", "aabcb\n", "</s>ab", "x ab", "abcabc", "a<call>b"] {
        assert_eq!(after.encode(text)?, before.encode(text)?, "{text:?}");
        assert_eq!(after.encode_with_bos(text)?, before.encode_with_bos(text)?, "{text:?}");
    }
    let mut json = sentence_piece();
    json["model"]["type"] = json!("Unigram");
    fs::write(folder.path().join("tokenizer.json"), json.to_string())?;
    fs::remove_file(&file)?;
    let message = write(folder.path(), QuantizedType::F16).err().map_or_else(String::new, |error| error.to_string());
    assert!(!message.is_empty(), "a unigram model was written");
    Ok(())
}
