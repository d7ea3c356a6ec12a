//! What tests of answers share: the demo model, requests to it, and whole answers.

#![allow(dead_code, reason = "each test takes what it needs")]

use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures_util::StreamExt;
use serde_json::Value;
use weighbridge_backend::{
    Backend, BackendId, Event, Failure, FinishReason, Json, Message, Request, Role, Sampling, Tool, ToolKind, Usage,
};
use weighbridge_engine::{LocalModel, ModelOptions};
use weighbridge_models::{Checkpoint, Compute, Precision};

pub(crate) type Outcome = Result<(), Box<dyn Error>>;

pub(crate) fn demo_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/demo")
}

/// On the kernels, where sequences share their steps.
pub(crate) fn options() -> Result<ModelOptions, Box<dyn Error>> {
    let by_candle = ModelOptions::new(BackendId::new("demo"), Checkpoint::open(&demo_folder())?);
    Ok(ModelOptions { compute: Compute::cpu(Precision::F32), ..by_candle })
}

pub(crate) fn demo() -> Result<Arc<LocalModel>, Box<dyn Error>> {
    Ok(LocalModel::load(options()?, &mut |_| {})?)
}

/// A greedy request with one question.
pub(crate) fn ask(question: &str) -> Request {
    Request {
        sampling: Sampling { temperature: Some(0.0), ..Sampling::default() },
        stream: true,
        ..Request::new("r-1", "demo", vec![Message::of_text(Role::User, question)])
    }
}

/// A request whose text is drawn at a temperature.
pub(crate) fn drawn(question: &str, temperature: f32, seed: i64) -> Request {
    let sampling = Sampling { temperature: Some(temperature), seed: Some(seed), ..Sampling::default() };
    Request { sampling, ..ask(question) }
}

pub(crate) fn tool(name: &str, parameters: Value, strict: bool) -> Tool {
    let function = serde_json::json!({"name": name, "parameters": parameters});
    let definition = serde_json::json!({"type": "function", "function": function}).to_string();
    Tool { definition: Json(definition.into()), name: name.into(), kind: ToolKind::Function, strict }
}

/// One whole answer of several.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Whole {
    pub(crate) text: String,
    /// Entries of log-probabilities.
    pub(crate) entries: Vec<Value>,
    /// Name and arguments.
    pub(crate) calls: Vec<(String, String)>,
    pub(crate) reason: Option<FinishReason>,
    pub(crate) matched: Option<String>,
}

/// Reads an answer to its end.
pub(crate) async fn read(model: &LocalModel, request: Request) -> Result<(Vec<Whole>, Usage), Failure> {
    let mut wholes = vec![Whole::default(); request.choices.get() as usize];
    let mut answering = model.answer(Arc::new(request)).await?;
    let mut used = Usage::default();
    while let Some(event) = answering.events.next().await {
        match event? {
            Event::Text { choice, text, logprobs } => {
                assert!(!text.is_empty() || logprobs.is_some());
                let whole = &mut wholes[choice as usize];
                whole.text += &text;
                let entries = logprobs.map(|json| serde_json::from_str::<Value>(&json.0).expect("it is JSON"));
                whole.entries.extend(entries.iter().flat_map(|it| it["content"].as_array().expect("a list").clone()));
            }
            Event::ToolCall { choice, delta } => {
                let calls = &mut wholes[choice as usize].calls;
                calls.extend(delta.name.map(|name| (name, String::new())));
                if let Some((_, arguments)) = calls.get_mut(delta.index as usize) {
                    *arguments += &delta.arguments;
                }
            }
            Event::Finish { choice, reason, matched } => {
                let whole = &mut wholes[choice as usize];
                (whole.reason, whole.matched) = (Some(reason), matched.map(|text| text.to_string()));
            }
            Event::Usage(usage) => used = usage,
            Event::Reasoning { .. } => {}
            Event::Refusal { .. } => unreachable!("the demo model has none"),
        }
    }
    Ok((wholes, used))
}

/// The only answer to a request.
pub(crate) async fn read_one(model: &LocalModel, request: Request) -> Result<Whole, Failure> {
    Ok(read(model, request).await?.0.remove(0))
}

pub(crate) async fn failure_of(model: &LocalModel, request: Request) -> Result<Failure, Box<dyn Error>> {
    Ok(read(model, request).await.err().ok_or("it was answered")?)
}
