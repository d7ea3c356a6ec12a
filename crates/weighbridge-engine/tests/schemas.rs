//! Schemas at random: what the demo model answers validates, by an implementation of JSON Schema that is not ours.

#[path = "schemas/generator.rs"]
mod generator;
mod support;

use std::sync::Arc;

use futures_util::StreamExt;
use generator::Random;
use serde_json::Value;
use support::{Outcome, demo, drawn, read_one};
use weighbridge_backend::{Constraint, FinishReason, Json, Request};
use weighbridge_engine::LocalModel;

/// Tokens that an answer may have; the generator's schemas mostly need far fewer.
const MOST: u32 = 400;

/// What came of some schemas.
#[derive(Debug, Default)]
struct Tally {
    whole: usize,
    cut: usize,
}

/// Answers the schemas of these seeds, each at another temperature than the one before, and validates every answer.
async fn check(model: &Arc<LocalModel>, seeds: std::ops::Range<u64>) -> Result<Tally, Box<dyn std::error::Error>> {
    let mut answers =
        futures_util::stream::iter(seeds.map(|seed| answer(Arc::clone(model), seed))).buffer_unordered(16);
    let mut tally = Tally::default();
    while let Some((seed, schema, outcome)) = answers.next().await {
        let (text, reason) = outcome.map_err(|failure| format!("seed {seed}, {schema}: {failure}"))?;
        if reason == Some(FinishReason::Length) {
            tally.cut += 1;
            continue;
        }
        let value = parsed(&text).map_err(|error| format!("seed {seed}, {schema}: {error} in {text:?}"))?;
        let validator = jsonschema::options().should_validate_formats(true).build(&schema)?;
        if let Err(error) = validator.validate(&value) {
            return Err(format!("seed {seed}, {schema}: {error} in {text}").into());
        }
        tally.whole += 1;
    }
    Ok(tally)
}

type Answered = (u64, Value, Result<(String, Option<FinishReason>), weighbridge_backend::Failure>);

async fn answer(model: Arc<LocalModel>, seed: u64) -> Answered {
    let schema = generator::schema(&mut Random(seed));
    let constraint = Some(Constraint::JsonSchema(Json(schema.to_string().into())));
    let temperature = [0.0, 1.0, 2.0][seed as usize % 3];
    let request = Request {
        constraint,
        max_output_tokens: Some(MOST),
        ..drawn("Tell me something about it.", temperature, seed as i64)
    };
    let outcome = read_one(&model, request).await.map(|whole| (whole.text, whole.reason));
    (seed, schema, outcome)
}

/// The value, also where it holds numbers beyond a double: they are JSON, and no schema of these forbids them.
fn parsed(text: &str) -> serde_json::Result<Value> {
    serde_json::from_str(text).or_else(|error| {
        if !error.to_string().contains("number out of range") {
            return Err(error);
        }
        let exponent = regex::Regex::new(r"([0-9])[eE]\+?[0-9]{3,}").expect("it is one");
        serde_json::from_str(&exponent.replace_all(text, "${1}e300"))
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_to_three_hundred_schemas_validate() -> Outcome {
    let model = demo()?;
    let tally = check(&model, 0..300).await?;
    assert!(tally.whole >= 240, "{tally:?}: most of them end by themselves");
    Ok(())
}

/// `cargo test --release -p weighbridge-engine --test schemas -- --ignored` (some minutes).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes: a named command"]
async fn answers_to_ten_thousand_schemas_validate() -> Outcome {
    let model = demo()?;
    let mut tally = Tally::default();
    for start in (300..10_300).step_by(500) {
        let Tally { whole, cut } = check(&model, start..start + 500).await?;
        tally = Tally { whole: tally.whole + whole, cut: tally.cut + cut };
    }
    println!("{tally:?}");
    Ok(())
}
