//! What a grammar costs: answers of as many tokens with and without one, in turns. A named command (benches/NOTES.md):
//! `WEIGHBRIDGE_MODEL=PATH cargo test --release -p weighbridge-engine --test cost -- --ignored --nocapture`.

mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use serde_json::json;
use support::{Outcome, drawn, options};
use weighbridge_backend::{Backend, BackendId, BarePrompt, Completion, Constraint, Event, Json, Request};
use weighbridge_engine::{LocalModel, ModelOptions};
use weighbridge_models::{Checkpoint, Compute, Precision};

/// Tokens of an answer, and for how long answers take turns: short ones and many, of which the best counts, for the
/// machine has other things to do.
const TOKENS: u32 = 48;
const TIME: Duration = Duration::from_secs(45);

#[tokio::test]
#[ignore = "a measurement: a named command"]
async fn held_answers_against_free_ones() -> Outcome {
    let options = match std::env::var_os("WEIGHBRIDGE_MODEL") {
        None => options()?,
        Some(path) => ModelOptions::new(BackendId::new("m"), Checkpoint::open(path.as_ref())?),
    };
    let options = ModelOptions { compute: Compute::cpu(Precision::Exact), context: Some(1024), ..options };
    let model = LocalModel::load(options, &mut |_| {})?;
    let schema = json!({"type": "array", "minItems": 1000, "items": {
        "type": "object",
        "properties": {"name": {"type": "string"}, "size": {"type": "number"}, "kind": {"enum": ["small", "large"]}},
        "required": ["name", "size", "kind"],
        "additionalProperties": false
    }});
    let held = Some(Constraint::JsonSchema(Json(schema.to_string().into())));
    let (mut free_best, mut held_best) = (Duration::MAX, Duration::MAX);
    let began = Instant::now();
    for turn in (0..).take_while(|_| began.elapsed() < TIME) {
        free_best = free_best.min(decode(&model, None, turn).await?);
        held_best = held_best.min(decode(&model, held.clone(), turn).await?);
    }
    let cost = held_best.as_secs_f64() / free_best.as_secs_f64() - 1.0;
    println!("a token: free {free_best:?}, held {held_best:?}: {:+.1} %", 100.0 * cost);
    Ok(())
}

/// The time for a token between the first and the last of an answer.
async fn decode(
    model: &Arc<LocalModel>,
    constraint: Option<Constraint>,
    seed: i64,
) -> Result<Duration, Box<dyn std::error::Error>> {
    let completion = Completion { prompt: BarePrompt::Text("The list:\n".into()), suffix: None, echo: false };
    let mut request = Request {
        messages: Vec::new(),
        completion: Some(completion),
        constraint,
        max_output_tokens: Some(TOKENS),
        ..drawn("", 1.0, seed)
    };
    request.sampling.ignore_eos = true;
    let mut answering = model.answer(Arc::new(request)).await?;
    let (mut first, mut tokens) = (None, 0);
    while let Some(event) = answering.events.next().await {
        if first.is_none() && answering.meter.usage().completion_tokens > 0 {
            first = Some((Instant::now(), answering.meter.usage().completion_tokens));
        }
        if let Event::Usage(usage) = event? {
            tokens = usage.completion_tokens;
        }
    }
    let (began, before) = first.ok_or("no event came")?;
    Ok(began.elapsed() / u32::try_from(tokens - before)?.max(1))
}
