//! The commands.

use harness::{Finished, Golden, demo_folder, demo_gguf, goldens, run};
use serde_json::{Value, json};

#[tokio::test]
async fn help_names_every_command() {
    let help = run(["--help"], "", &[]).await.assert_code(0);
    for command in ["serve", "check", "explain", "models", "run", "logits", "bench", "keys"] {
        assert!(help.stdout.contains(command), "{command}");
        let own = run([command, "--help"], "", &[]).await.assert_code(0);
        assert!(own.stdout.contains("Usage:"), "{}", own.stdout);
    }
    assert!(run(["--version"], "", &[]).await.assert_code(0).stdout.starts_with("weighbridge "));
}

#[tokio::test]
async fn bad_usage_is_told_by_exit_code_2() {
    for arguments in [
        &["--no-such-flag"][..],
        &["dance"],
        &["logits", "demo"],
        &["logits", "demo", "--tokens", "one,two"],
        &["logits", "no-such-model", "--tokens", "1"],
        &["logits", "demo", "--tokens", "1", "--compute", "magic"],
        &["bench", "demo", "--pp", "5000"],
        &["bench", "demo", "--kv", "q3"],
        &["bench", "demo", "--streams", "0"],
        &["bench", "demo", "--tg", "0@8"],
        &["bench", "demo", "--tier", "avx9"],
        &["serve", "--listen", "everywhere"],
        &["models", "inspect", "no-such-model"],
        &["run", "no-such-model", "Hello"],
    ] {
        let refused = run(arguments.iter().copied(), "", &[]).await.assert_code(2);
        assert!(!refused.stderr.is_empty() && refused.stdout.is_empty(), "{arguments:?}");
    }
}

#[tokio::test]
async fn a_failure_is_told_by_exit_code_1() {
    let beyond = run(["logits", "demo", "--tokens", "1,999999"], "", &[]).await.assert_code(1);
    assert!(beyond.stderr.contains("999999"), "{}", beyond.stderr);
    let file = tempfile::NamedTempFile::with_suffix(".gguf").expect("a temporary file can be made");
    std::fs::write(file.path(), "no checkpoint").expect("it can be written");
    let path = file.path().display().to_string();
    let corrupt = run(["models", "inspect", &path], "", &[]).await.assert_code(1);
    assert!(corrupt.stderr.contains(&path) && corrupt.stderr.lines().count() == 1, "{}", corrupt.stderr);
}

/// Holds `logits` of a checkpoint against the reference.
async fn check_logits(model: &str, golden: &Golden, further: &[&str]) {
    let ids: Vec<String> = golden.tokens.iter().map(u32::to_string).collect();
    let (ids, greedy) = (ids.join(","), golden.greedy.len().to_string());
    let arguments = ["logits", model, "--tokens", &ids, "--greedy", &greedy, "--json"];
    let found = run(arguments.iter().chain(further).copied(), "", &[]).await.assert_code(0).json();
    assert_close(&found["logits_last"], &golden.logits_last, golden);
    assert_close(&found["logsumexp"], &golden.logsumexp, golden);
    assert_eq!(found["argmax"], json!(golden.argmax), "{}", golden.question());
    assert_eq!(found["greedy"], json!(golden.greedy), "{}", golden.question());
    assert!(found["loss"].is_number());
}

#[track_caller]
fn assert_close(found: &Value, expected: &[f64], golden: &Golden) {
    let found: Vec<f64> = found.as_array().into_iter().flatten().filter_map(Value::as_f64).collect();
    assert_eq!(found.len(), expected.len());
    let worst = found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    assert!(worst <= 1e-3, "{}: off by {worst}", golden.question());
}

#[tokio::test]
async fn logits_of_the_folder_equal_their_reference() {
    for golden in goldens() {
        check_logits(&demo_folder().display().to_string(), golden, &[]).await;
    }
}

#[tokio::test]
async fn logits_of_the_gguf_equal_their_reference() {
    for golden in goldens() {
        check_logits(&demo_gguf().display().to_string(), golden, &[]).await;
    }
}

#[tokio::test]
async fn logits_of_the_model_inside_equal_their_reference_in_chunks_too() {
    for chunk in ["1", "7"] {
        check_logits("demo", &goldens()[8], &["--chunk", chunk]).await;
    }
}

#[tokio::test]
async fn bench_prints_an_object_for_each_work() {
    let arguments = ["bench", "demo", "--pp", "8", "--tg", "2@4", "--streams", "2", "--answer", "2", "--repeat", "2"];
    let found = run(arguments.into_iter().chain(["--json"]), "", &[]).await.assert_code(0);
    let lines: Vec<Value> =
        found.stdout.lines().map(|line| serde_json::from_str(line).expect("a line is an object")).collect();
    let works: Vec<_> = lines.iter().filter_map(|line| line["work"].as_str()).collect();
    assert_eq!(works, ["limits", "load", "pp8", "tg2@4", "streams2"]);
    for line in &lines[2..] {
        assert_eq!(line["tokens_per_s"].as_array().map(Vec::len), Some(2), "{line}");
        assert!(line["median"].as_f64().is_some_and(|rate| rate > 0.0), "{line}");
    }
}

#[tokio::test]
async fn tokens_are_read_from_a_file() {
    let file = tempfile::NamedTempFile::new().expect("a temporary file can be made");
    std::fs::write(file.path(), "1, 293\n201 582\n").expect("it can be written");
    let from_file =
        run(["logits", "demo", "--tokens", &format!("@{}", file.path().display()), "--json"], "", &[]).await;
    let direct = run(["logits", "demo", "--tokens", "1,293,201,582", "--json"], "", &[]).await;
    assert_eq!(from_file.assert_code(0).json(), direct.assert_code(0).json());
    let table = run(["logits", "demo", "--tokens", "1,293"], "", &[]).await.assert_code(0);
    assert!(table.stdout.contains("perplexity"), "{}", table.stdout);
}

#[tokio::test]
async fn run_answers_a_prompt_once() {
    let golden = &goldens()[1];
    let argument = run(["run", "demo", golden.question(), "--temperature", "0"], "", &[]).await.assert_code(0);
    assert_eq!(argument.stdout.trim_end(), golden.answer);
    let input = format!("{}\n", golden.question());
    let piped =
        run(["run", &demo_gguf().display().to_string(), "--temperature", "0"], &input, &[]).await.assert_code(0);
    assert_eq!(piped.stdout.trim_end(), golden.answer);
}

#[tokio::test]
async fn run_tells_the_story_of_the_fox_and_the_lamp() {
    let golden = &goldens()[0];
    let told = run(["run", "demo", golden.question(), "--temperature", "0"], "", &[]).await.assert_code(0);
    assert_eq!(told.stdout.trim_end(), golden.answer);
}

#[tokio::test]
async fn models_are_listed_and_inspected() {
    let list = run(["models", "list"], "", &[]).await.assert_code(0);
    assert!(list.stdout.contains("demo"), "{}", list.stdout);
    for model in [demo_folder().display().to_string(), demo_gguf().display().to_string(), "demo".to_owned()] {
        let table = run(["models", "inspect", &model], "", &[]).await.assert_code(0);
        let json = run(["models", "inspect", &model, "--json"], "", &[]).await.assert_code(0).json();
        for piece in ["architecture", "parameters", "BF16", "context", "licence", "memory"] {
            assert!(table.stdout.contains(piece), "{model} does not say {piece}:\n{}", table.stdout);
        }
        let parameters = json["parameters"].as_u64().unwrap_or_default();
        assert!((3_500_000..3_800_000).contains(&parameters), "{model}: {parameters}");
        assert_eq!((&json["context"], &json["vocabulary"], &json["layers"]), (&json!(1024), &json!(1801), &json!(4)));
        assert!(json["memory_bytes"].as_u64().is_some_and(|bytes| bytes > 14_000_000), "{json}");
    }
}

#[tokio::test]
async fn a_key_is_hashed_without_its_line_end() {
    // The SHA-256 of `abc`, from FIPS 180-2.
    let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    for input in ["abc", "abc\n", "abc\r\n"] {
        assert_eq!(run(["keys", "hash"], input, &[]).await.assert_code(0).stdout.trim(), expected);
    }
    run(["keys", "hash"], "\n", &[]).await.assert_code(2);
}

/// Explains a request under a config with a hosted model, beside the demo model.
async fn explain(further: &[&str], body: &Value) -> Finished {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let file = folder.path().join("w.toml").display().to_string();
    let config = format!(
        "{}[[providers]]\nname = \"up\"\nkind = \"openai\"\nbase_url = \"http://127.0.0.1:9/v1\"\nclearance = \"internal\"\nmodels = [{}]\n{}",
        harness::demo_model(),
        harness::hosted_model("large"),
        harness::route(&["demo", "up/large"], "prefer = \"cost\"")
    );
    std::fs::write(&file, config).expect("a file can be written there");
    let arguments = ["explain", "--config", &file];
    run(arguments.iter().chain(further).copied(), &body.to_string(), &[]).await
}

#[tokio::test]
async fn explain_shows_every_backend_in_its_order_with_its_cost() {
    let body = harness::ask("auto", "Hello");
    let plan = explain(&["--json"], &body).await.assert_code(0).json();
    assert_eq!((&plan["route"], &plan["class"], &plan["prefer"]), (&json!("main"), &json!("internal"), &json!("cost")));
    let order: Vec<&str> =
        plan["attempts"].as_array().into_iter().flatten().filter_map(|a| a["backend"].as_str()).collect();
    assert_eq!(order, ["demo", "up/large"], "{plan}");
    let cost =
        |place: usize| plan["attempts"][place]["estimated_cost_usd"].as_str().and_then(|cost| cost.parse::<f64>().ok());
    assert!(cost(0) == Some(0.0) && cost(1) > Some(0.0), "{plan}");
    assert_eq!(plan["attempts"][0]["prompt_tokens"], 9);
    let table = explain(&[], &body).await.assert_code(0);
    for piece in ["demo", "up/large", "internal", "USD"] {
        assert!(table.stdout.contains(piece), "{}", table.stdout);
    }
}

#[tokio::test]
async fn explain_says_why_a_backend_is_out() {
    let mut body = harness::ask("auto", "Hello");
    let plan = explain(&["--json", "--class", "restricted"], &body).await.assert_code(0).json();
    assert_eq!((&plan["class"], &plan["attempts"][0]["backend"]), (&json!("restricted"), &json!("demo")));
    let out = &plan["excluded"][0];
    assert_eq!(out["backend"], "up/large");
    assert!(out["reasons"].to_string().contains("cleared for internal"), "{plan}");
    body["verbosity"] = json!("low");
    let plan = explain(&["--json"], &body).await.assert_code(0).json();
    assert!(plan["excluded"].to_string().contains("verbosity"), "{plan}");
}

#[tokio::test]
async fn explain_says_what_a_refused_caller_would_get() {
    let plan = explain(&["--json"], &harness::ask("nobody", "Hello")).await.json();
    assert_eq!(
        (&plan["refusal"]["status"], &plan["refusal"]["error"]["code"]),
        (&json!(404), &json!("model_not_found"))
    );
    let mut body = harness::ask("up/large", "Hello");
    body["model"] = "up/large".into();
    let plan = explain(&["--json", "--class", "restricted"], &body).await.json();
    assert_eq!(
        (&plan["refusal"]["status"], plan["attempts"].as_array().map(Vec::len)),
        (&json!(403), Some(0)),
        "{plan}"
    );
}
