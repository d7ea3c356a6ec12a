//! Checkpoints that cannot be used, each refused with a message that says what is wrong, and odd ones that can.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value as Json, json};
use tempfile::TempDir;
use weighbridge_models::{Checkpoint, Compute, ComputeError, RopeScaling, Rows};

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

fn demo() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/demo")
}

/// A copy of the demo model's config and weights, to be spoilt.
fn copy() -> Outcome<TempDir> {
    let folder = tempfile::tempdir()?;
    for file in ["config.json", "model.safetensors"] {
        fs::copy(demo().join(file), folder.path().join(file))?;
    }
    Ok(folder)
}

fn set(folder: &TempDir, field: &str, value: Json) -> Outcome {
    let path = folder.path().join("config.json");
    let mut config: Json = serde_json::from_slice(&fs::read(&path)?)?;
    config[field] = value;
    Ok(fs::write(&path, config.to_string())?)
}

fn check(path: &Path, expected: &str) {
    let message = Checkpoint::open(path).err().map_or_else(|| "no error".to_owned(), |error| error.to_string());
    assert!(message.contains(expected), "`{message}` does not say `{expected}`");
}

fn check_config(field: &str, value: Json, expected: &str) -> Outcome {
    let folder = copy()?;
    set(&folder, field, value)?;
    check(folder.path(), expected);
    Ok(())
}

#[test]
fn a_tokenizer_in_another_format_is_refused_by_its_file() -> Outcome {
    for (file, expected) in
        [("tokenizer.model", "its tokenizer is in tokenizer.model"), ("tekken.json", "in tekken.json")]
    {
        let folder = copy()?;
        fs::write(folder.path().join(file), "?")?;
        let error = Checkpoint::open(folder.path())?.tokenizer().err().map(|error| error.to_string());
        assert!(error.as_ref().is_some_and(|error| error.contains(expected)), "{error:?}");
    }
    let error = Checkpoint::open(copy()?.path())?.tokenizer().err().map(|error| error.to_string());
    assert!(error.is_some_and(|error| error.contains("there is no tokenizer.json")));
    Ok(())
}

#[test]
fn what_is_not_there_is_named() -> Outcome {
    check(Path::new("/no/such/model.gguf"), "/no/such/model.gguf: there is no such file or folder");
    let folder = copy()?;
    fs::remove_file(folder.path().join("model.safetensors"))?;
    check(folder.path(), "there is no model.safetensors in it");
    fs::remove_file(folder.path().join("config.json"))?;
    check(folder.path(), "there is no config.json in it");
    Ok(())
}

#[test]
fn what_the_config_asks_for_and_is_not_supported_is_named() -> Outcome {
    check_config("model_type", json!("rwkv"), "architecture `rwkv` is not supported yet; supported: llama, ")?;
    check_config("hidden_act", json!("mish"), "`hidden_act` is `mish`; supported: silu, ")?;
    check_config("quantization_config", json!({"quant_method": "awq"}), "`quantization_config`")?;
    let spiral = json!({"rope_type": "spiral", "factor": 4.0});
    check_config("rope_parameters", spiral, "`rope_type` is `spiral`, which is not supported yet")?;
    check_config("partial_rotary_factor", json!(0.5), "`partial_rotary_factor` is 0.5")
}

#[test]
fn numbers_out_of_bounds_are_named() -> Outcome {
    check_config("num_hidden_layers", json!(0), "`num_hidden_layers` is 0; 1 to 4096 are allowed")?;
    check_config("num_hidden_layers", json!(1_u64 << 60), "`num_hidden_layers` is 1152921504606846976")?;
    check_config("num_attention_heads", json!(0), "`num_attention_heads` is 0")?;
    check_config("num_key_value_heads", json!(3), "no multiple of 3 key-value heads")?;
    check_config("head_dim", json!(31), "`head_dim` is 31, where an even number is expected")?;
    check_config("rms_norm_eps", json!(0.0), "`rms_norm_eps` is 0")?;
    check_config("vocab_size", json!(-1), "`vocab_size` is -1, where a whole number is expected")
}

#[test]
fn tensors_that_contradict_the_config_are_named() -> Outcome {
    check_config("num_hidden_layers", json!(5), "there is no tensor `model.layers.4.input_layernorm.weight`")?;
    check_config("tie_word_embeddings", json!(false), "there is no tensor `lm_head.weight`")?;
    check_config("intermediate_size", json!(512), "`model.layers.0.mlp.gate_proj.weight` has the shape [768, 256]")
}

#[test]
fn a_claim_of_more_weights_than_memory_holds_ends_at_the_first_that_is_not_there() -> Outcome {
    let folder = copy()?;
    set(&folder, "model_type", json!("qwen3_moe"))?;
    for (field, value) in [("num_hidden_layers", 4096), ("num_experts", 4096), ("num_experts_per_tok", 1)] {
        set(&folder, field, json!(value))?;
    }
    check(folder.path(), "there is no tensor `model.layers.0.self_attn.q_norm.weight`");
    check_config("head_dim", json!(1 << 20), "`head_dim` is 1048576; up to 8192 are allowed")
}

#[test]
fn broken_files_are_named() -> Outcome {
    let folder = copy()?;
    let weights = folder.path().join("model.safetensors");
    let whole = fs::read(&weights)?;
    for length in [0, 7, 100, whole.len() - 1] {
        fs::write(&weights, &whole[..length])?;
        check(folder.path(), "model.safetensors is not a whole safetensors file");
    }
    let mut huge = whole;
    huge[..8].copy_from_slice(&u64::MAX.to_le_bytes());
    fs::write(&weights, huge)?;
    check(folder.path(), "model.safetensors is not a whole safetensors file");
    fs::write(folder.path().join("config.json"), "{")?;
    check(folder.path(), "config.json is not the json it should be");
    fs::write(folder.path().join("x.gguf"), "GGML")?;
    check(&folder.path().join("x.gguf"), "this is not a gguf file");
    Ok(())
}

/// The demo model's GGUF file with another number for the type of one of its tensors.
fn retyped(tensor: &str, number: u32) -> Outcome<TempDir> {
    let mut bytes = fs::read(demo().join("demo.gguf"))?;
    let place = bytes.windows(tensor.len()).position(|it| it == tensor.as_bytes()).ok_or("there is no such tensor")?;
    // The name is followed by the number of dimensions and two of them.
    let place = place + tensor.len() + 4 + 2 * 8;
    bytes[place..place + 4].copy_from_slice(&number.to_le_bytes());
    let folder = tempfile::tempdir()?;
    fs::write(folder.path().join("m.gguf"), bytes)?;
    Ok(folder)
}

#[test]
fn a_block_type_that_is_not_known_or_not_computed_is_named_with_its_tensor() -> Outcome {
    const TENSOR: &str = "blk.1.attn_q.weight";
    let file = |folder: &TempDir| folder.path().join("m.gguf");
    check(&file(&retyped(TENSOR, 77)?), "tensor `blk.1.attn_q.weight` has the unknown type 77");
    let eight_bits = "tensor `blk.1.attn_q.weight` is stored as Q8_1, which is not supported yet";
    check(&file(&retyped(TENSOR, 9)?), eight_bits);
    check(&file(&retyped(TENSOR, 25)?), "tensor `blk.1.attn_q.weight` is stored as I16, which is not supported yet");
    Ok(())
}

#[test]
fn block_types_that_cannot_be_computed_packed_are_told() -> Outcome {
    const IQ4_XS: u32 = 23;
    const Q8_0: u32 = 8;
    let expanded = |number| -> Outcome<_> {
        let folder = retyped("blk.1.attn_q.weight", number)?;
        let checkpoint = Checkpoint::open(&folder.path().join("m.gguf"))?;
        Ok((checkpoint.expanded(Compute::Quantized), checkpoint.expanded(Compute::Float32)))
    };
    assert_eq!(expanded(IQ4_XS)?, (vec![("IQ4_XS".to_owned(), 256 * 256)], vec![]));
    assert_eq!(expanded(Q8_0)?, (vec![], vec![]));
    Ok(())
}

#[test]
fn a_folder_without_a_tokenizer_loads_and_says_so_when_asked() -> Outcome {
    let folder = copy()?;
    let checkpoint = Checkpoint::open(folder.path())?;
    let message = checkpoint.tokenizer().err().map(|error| error.to_string()).unwrap_or_default();
    assert!(message.contains("there is no tokenizer.json in it"), "{message}");
    assert_eq!(checkpoint.chat_template(), None);
    checkpoint.load(Compute::Float32, &mut |_| {})?;
    Ok(())
}

#[test]
fn weights_in_shards_are_found_through_their_index() -> Outcome {
    let folder = copy()?;
    let shard = "model-00001-of-00001.safetensors";
    fs::rename(folder.path().join("model.safetensors"), folder.path().join(shard))?;
    let bytes = fs::read(folder.path().join(shard))?;
    let header = u64::from_le_bytes(bytes[..8].try_into()?) as usize;
    let header: serde_json::Map<String, Json> = serde_json::from_slice(&bytes[8..8 + header])?;
    let map: Json = header.keys().map(|name| (name.clone(), json!(shard))).collect::<serde_json::Map<_, _>>().into();
    let index = folder.path().join("model.safetensors.index.json");
    fs::write(&index, json!({"weight_map": map}).to_string())?;
    assert_eq!(Checkpoint::open(folder.path())?.summary().parameters, Checkpoint::open(&demo())?.summary().parameters);

    fs::write(&index, json!({"weight_map": {"a": "absent.safetensors"}}).to_string())?;
    check(folder.path(), "there is no absent.safetensors in it");
    fs::write(&index, json!({"weight_map": {"a": "../absent.safetensors"}}).to_string())?;
    check(folder.path(), "lists a file that is no .safetensors file of the folder");
    Ok(())
}

#[test]
fn the_older_style_of_rope_settings_is_read() -> Outcome {
    let folder = copy()?;
    set(&folder, "rope_parameters", Json::Null)?;
    set(&folder, "rope_theta", json!(5000.0))?;
    set(&folder, "rope_scaling", json!({"type": "linear", "factor": 2.0}))?;
    let checkpoint = Checkpoint::open(folder.path())?;
    let rope = checkpoint.spec().layers[0].mixer.rope().ok_or("there is no rope")?;
    assert_eq!((rope.theta, &rope.scaling), (5000.0, &RopeScaling::Linear { factor: 2.0 }));
    Ok(())
}

#[test]
fn a_step_that_is_refused_leaves_the_cache_as_it_was() -> Outcome {
    let decoder = Checkpoint::open(&demo())?.load(Compute::Float32, &mut |_| {})?;
    let mut cache = decoder.new_cache();
    decoder.forward(&[5, 6, 7], &mut cache, Rows::None)?;
    let range = decoder.forward(&[5, 1801], &mut cache, Rows::Last);
    assert!(matches!(range, Err(ComputeError::TokenOutOfRange { token: 1801, vocabulary: 1801 })));
    assert!(matches!(decoder.forward(&[], &mut cache, Rows::Last), Err(ComputeError::NoTokens)));
    assert_eq!(cache.len(), 3);

    let after = decoder.forward(&[8], &mut cache, Rows::Last)?;
    let mut fresh = decoder.new_cache();
    let whole = decoder.forward(&[5, 6, 7, 8], &mut fresh, Rows::All)?;
    let worst = after.last().iter().zip(whole.last()).map(|(one, other)| (one - other).abs()).fold(0.0, f32::max);
    assert!(worst < 1e-4);
    assert_eq!((whole.rows().count(), after.rows().count(), whole.vocabulary()), (4, 1, 1801));
    Ok(())
}

#[test]
fn a_cache_grows_by_doubling_and_is_cleared_without_giving_back() -> Outcome {
    let decoder = Checkpoint::open(&demo())?.load(Compute::Float32, &mut |_| {})?;
    let mut cache = decoder.new_cache();
    assert!(cache.is_empty() && cache.bytes() == 0);
    decoder.forward(&[1], &mut cache, Rows::None)?;
    let of = |tokens: u64| tokens * decoder.spec().kv_bytes_per_token();
    assert_eq!(cache.bytes(), of(64));
    decoder.forward(&[1; 64], &mut cache, Rows::None)?;
    assert_eq!(cache.bytes(), of(128));
    decoder.forward(&[1; 1000], &mut cache, Rows::None)?;
    assert_eq!((cache.len(), cache.bytes()), (1065, of(1065)));
    cache.clear();
    assert_eq!((cache.len(), cache.bytes()), (0, of(1065)));
    Ok(())
}

#[test]
fn memory_grows_with_the_context_and_progress_ends_at_the_whole() -> Outcome {
    let checkpoint = Checkpoint::open(&demo().join("demo.gguf"))?;
    let (short, long) =
        (checkpoint.memory_needed(Compute::Float32, 100), checkpoint.memory_needed(Compute::Float32, 1000));
    assert!(short > 4 * checkpoint.summary().parameters);
    assert!(long - short >= 900 * checkpoint.spec().kv_bytes_per_token());
    let mut last = None;
    checkpoint.load(Compute::Float32, &mut |progress| last = Some(progress))?;
    let last = last.ok_or("no progress was reported")?;
    assert_eq!(last.done_bytes, last.total_bytes);
    Ok(())
}
