//! The engine with the bundled demo model: what its README promises, through the seam.

use std::error::Error;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use serde_json::Value;
use weighbridge_backend::{
    Backend, BackendId, Capability, Event, Failure, FailureKind, FinishReason, Health, Json, Load, Message, Part,
    PromptCount, Request, Role, Sampling, Tool, ToolChoice, ToolKind, Usage,
};
use weighbridge_engine::{LoadError, LocalModel, ModelOptions, UnloadedModel};
use weighbridge_models::{Checkpoint, Compute, Precision};

type Outcome = Result<(), Box<dyn Error>>;

const STORY: &str = "Tell me a story about a fox and a lamp.";

fn demo_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/demo")
}

/// On the kernels, where sequences share their steps.
fn options() -> Result<ModelOptions, Box<dyn Error>> {
    let by_candle = ModelOptions::new(BackendId::new("demo"), Checkpoint::open(&demo_folder())?);
    Ok(ModelOptions { compute: Compute::cpu(Precision::F32), ..by_candle })
}

fn demo() -> Result<Arc<LocalModel>, Box<dyn Error>> {
    Ok(LocalModel::load(options()?, &mut |_| {})?)
}

/// A greedy request with one question.
fn ask(question: &str) -> Request {
    Request {
        sampling: Sampling { temperature: Some(0.0), ..Sampling::default() },
        stream: true,
        ..Request::new("r-1", "demo", vec![Message::of_text(Role::User, question)])
    }
}

/// A request whose text is drawn.
fn drawn(question: &str, seed: i64) -> Request {
    let sampling = Sampling { temperature: Some(1.5), seed: Some(seed), ..Sampling::default() };
    Request { sampling, ..ask(question) }
}

/// One whole answer of several.
#[derive(Clone, Debug, Default, PartialEq)]
struct Whole {
    text: String,
    /// Name and arguments.
    calls: Vec<(String, String)>,
    reason: Option<FinishReason>,
}

/// Reads an answer to its end, holding the events to their order.
async fn read(model: &LocalModel, request: Request) -> Result<(Vec<Whole>, Usage), Failure> {
    let mut wholes = vec![Whole::default(); request.choices.get() as usize];
    let mut answering = model.answer(Arc::new(request)).await?;
    let mut used = None;
    while let Some(event) = answering.events.next().await {
        assert_eq!(used, None, "usage is the last event");
        match event? {
            Event::Text { choice, text, logprobs } => {
                assert!(!text.is_empty() && logprobs.is_none());
                assert_eq!(wholes[choice as usize].reason, None, "nothing follows a finish");
                wholes[choice as usize].text += &text;
            }
            Event::ToolCall { choice, delta } => {
                let calls = &mut wholes[choice as usize].calls;
                if let Some(name) = delta.name {
                    assert!(delta.id.is_some_and(|id| id.starts_with("call_")));
                    calls.push((name, String::new()));
                }
                if let Some((_, arguments)) = calls.get_mut(delta.index as usize) {
                    *arguments += &delta.arguments;
                }
            }
            Event::Finish { choice, reason, .. } => wholes[choice as usize].reason = Some(reason),
            Event::Usage(usage) => used = Some(usage),
            Event::Reasoning { .. } | Event::Refusal { .. } => unreachable!("the demo model has neither"),
        }
    }
    assert!(wholes.iter().all(|whole| whole.reason.is_some()));
    assert_eq!(Some(answering.meter.usage()), used);
    Ok((wholes, used.unwrap_or_default()))
}

/// The only answer to a request.
async fn read_one(model: &LocalModel, request: Request) -> Result<Whole, Failure> {
    Ok(read(model, request).await?.0.remove(0))
}

async fn failure_of(model: &LocalModel, request: Request) -> Result<Failure, Box<dyn Error>> {
    Ok(read(model, request).await.err().ok_or("it was answered")?)
}

#[tokio::test]
async fn the_demo_model_answers_word_for_word_as_its_readme_says() -> Outcome {
    for compute in [Compute::cpu(Precision::F32), Compute::Float32] {
        check_readme(&*LocalModel::load(ModelOptions { compute, ..options()? }, &mut |_| {})?).await?;
    }
    Ok(())
}

async fn check_readme(model: &LocalModel) -> Outcome {
    let cases: Vec<Value> = serde_json::from_slice(&std::fs::read(demo_folder().join("golden.json"))?)?;
    for case in cases {
        let question = case["messages"][0]["content"].as_str().ok_or("a case without a question")?;
        let mut request = ask(question);
        for tool in case["tools"].as_array().into_iter().flatten() {
            let name = tool["function"]["name"].as_str().ok_or("a tool without a name")?.into();
            request.tools.push(Tool {
                definition: Json(tool.to_string().into()),
                name,
                kind: ToolKind::Function,
                strict: false,
            });
        }
        let tokens = |key: &str| case[key].as_array().map_or(0, Vec::len) as u64;
        assert_eq!(model.count_prompt(&request)?, PromptCount::Exact(tokens("tokens")), "{question}");

        let with_tools = !request.tools.is_empty();
        let (wholes, usage) = read(model, request).await?;
        let expected = if with_tools {
            let calls = vec![("get_weather".to_owned(), r#"{"city": "Oslo"}"#.to_owned())];
            Whole { text: String::new(), calls, reason: Some(FinishReason::ToolCalls) }
        } else {
            let text = case["answer"].as_str().unwrap_or_default().into();
            Whole { text, calls: Vec::new(), reason: Some(FinishReason::Stop) }
        };
        check_whole(&wholes[0], &expected);
        let expected =
            Usage { prompt_tokens: tokens("tokens"), completion_tokens: tokens("greedy"), ..Usage::default() };
        assert_eq!(usage, expected, "{question}");
    }
    Ok(())
}

/// Equal, arguments being compared as JSON.
fn check_whole(whole: &Whole, expected: &Whole) {
    let parsed = |whole: &Whole| -> Vec<(String, Option<Value>)> {
        whole.calls.iter().map(|(name, text)| (name.clone(), serde_json::from_str(text).ok())).collect()
    };
    assert_eq!(parsed(whole), parsed(expected));
    assert_eq!((&whole.text, whole.reason), (&expected.text, expected.reason));
}

#[tokio::test]
async fn tools_that_must_not_be_called_are_not_told_of() -> Outcome {
    let model = demo()?;
    let definition = r#"{"type": "function", "function": {"name": "get_weather", "parameters": {}}}"#;
    let tool = Tool {
        definition: Json(definition.into()),
        name: "get_weather".into(),
        kind: ToolKind::Function,
        strict: false,
    };
    let request = Request { tools: vec![tool], tool_choice: ToolChoice::None, ..ask("Hello") };
    assert_eq!(model.count_prompt(&request)?, model.count_prompt(&ask("Hello"))?);
    assert_eq!(read_one(&model, request).await?.text, "Hello! How can I help you today?");
    Ok(())
}

#[tokio::test]
async fn the_same_seed_gives_the_same_text_also_beside_other_traffic() -> Outcome {
    let model = demo()?;
    let alone = read_one(&model, drawn(STORY, 7)).await?;
    let (first, second, other, greedy) = tokio::join!(
        read_one(&model, drawn(STORY, 7)),
        read_one(&model, drawn(STORY, 7)),
        read_one(&model, drawn(STORY, 8)),
        read_one(&model, ask("What are open weights?")),
    );
    assert_eq!(first?, alone);
    assert_eq!(second?, alone);
    assert_ne!(other?.text, alone.text);
    assert!(greedy?.text.starts_with("Open weights are model parameters"));
    Ok(())
}

#[tokio::test]
async fn among_many_others_a_seed_gives_the_same_text_to_the_last_token() -> Outcome {
    let model = demo()?;
    let alone = read_one(&model, drawn(STORY, 7)).await?;
    let crowd = (0..31).map(|seed| read_one(&model, drawn("What are open weights?", seed)));
    let (found, crowd) = tokio::join!(read_one(&model, drawn(STORY, 7)), futures_util::future::join_all(crowd));
    assert_eq!(found?, alone);
    crowd.into_iter().try_for_each(|answer| answer.map(|_| ()))?;
    Ok(())
}

#[tokio::test]
async fn without_a_seed_each_request_draws_anew() -> Outcome {
    let model = demo()?;
    let mut request = drawn(STORY, 0);
    request.sampling.seed = None;
    assert_ne!(read_one(&model, request.clone()).await?.text, read_one(&model, request).await?.text);
    Ok(())
}

#[tokio::test]
async fn several_answers_are_several_draws_of_one_prompt() -> Outcome {
    let model = demo()?;
    let request = Request { choices: NonZeroU32::MIN.saturating_add(2), ..drawn(STORY, 7) };
    let (wholes, usage) = read(&model, request).await?;
    assert_eq!(wholes.len(), 3);
    assert!(wholes[0].text != wholes[1].text && wholes[1].text != wholes[2].text);
    assert_eq!(wholes[0], read_one(&model, drawn(STORY, 7)).await?, "the first is what a request for one gets");
    assert_eq!(usage.prompt_tokens, 19);
    Ok(())
}

#[tokio::test]
async fn a_stop_text_ends_the_answer_and_is_not_part_of_it() -> Outcome {
    let model = demo()?;
    let mut request = ask("What is the capital of Japan?");
    request.sampling.stop = vec!["of Jap".into(), "unheard of".into()];
    let whole = read_one(&model, request).await?;
    assert_eq!(whole, Whole { text: "The capital ".into(), calls: Vec::new(), reason: Some(FinishReason::Stop) });
    Ok(())
}

#[tokio::test]
async fn an_answer_has_no_more_tokens_than_asked_for() -> Outcome {
    let model = demo()?;
    let (wholes, usage) = read(&model, Request { max_output_tokens: Some(5), ..ask(STORY) }).await?;
    assert_eq!((wholes[0].reason, usage.completion_tokens), (Some(FinishReason::Length), 5));
    assert!(!wholes[0].text.is_empty());
    Ok(())
}

#[tokio::test]
async fn the_end_of_the_context_ends_the_answer() -> Outcome {
    let model = LocalModel::load(ModelOptions { context: Some(25), ..options()? }, &mut |_| {})?;
    let (wholes, usage) = read(&model, ask(STORY)).await?;
    assert_eq!(wholes[0].reason, Some(FinishReason::Length));
    assert_eq!(usage.prompt_tokens + usage.completion_tokens, 25);
    Ok(())
}

#[tokio::test]
async fn what_does_not_fit_the_context_is_refused_with_figures() -> Outcome {
    let model = demo()?;
    let long = "a fox and a lamp ".repeat(1000);
    let beyond_counting = "a fox and a lamp ".repeat(100_000);
    for request in [ask(&long), ask(&beyond_counting), Request { max_output_tokens: Some(1010), ..ask(STORY) }] {
        let failure = failure_of(&model, request).await?;
        assert_eq!(failure.kind, FailureKind::ContextLengthExceeded);
        assert_eq!(failure.param.as_deref(), Some("messages"));
        assert!(failure.message.contains("1024 tokens"), "{failure}");
    }
    assert_eq!(model.load(), Load::default());
    Ok(())
}

#[tokio::test]
async fn what_cannot_be_rendered_is_the_requests_fault() -> Outcome {
    let model = demo()?;
    let mut picture = ask("What is this?");
    picture.messages[0].parts.push(Part::Image { url: "https://pictures.example/1.png".into(), detail: None });
    let failure = failure_of(&model, picture).await?;
    assert_eq!((failure.kind, failure.param.as_deref()), (FailureKind::InvalidRequest, Some("messages")), "{failure}");
    Ok(())
}

#[tokio::test]
async fn an_answer_that_is_dropped_gives_its_place_back() -> Outcome {
    let model = LocalModel::load(ModelOptions { max_running: 1, ..options()? }, &mut |_| {})?;
    let request = Request { choices: NonZeroU32::MIN.saturating_add(19), ..ask(STORY) };
    let mut answering = model.answer(Arc::new(request)).await?;
    assert!(answering.events.next().await.is_some());
    assert_ne!(model.load(), Load::default());
    drop(answering);
    let deadline = Instant::now() + Duration::from_secs(10);
    while model.load() != Load::default() {
        assert!(Instant::now() < deadline, "the places were never given back");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    Ok(())
}

#[tokio::test]
async fn a_full_model_asks_to_come_back_later() -> Outcome {
    let model = LocalModel::load(ModelOptions { max_running: 1, max_waiting: 1, ..options()? }, &mut |_| {})?;
    let many = Request { choices: NonZeroU32::MIN.saturating_add(49), ..ask(STORY) };
    let answering = model.answer(Arc::new(many)).await?;
    let failure = failure_of(&model, ask("Hello")).await?;
    assert_eq!(failure.kind, FailureKind::Overloaded);
    assert!(failure.retry_after.is_some() && failure.may_retry());
    drop(answering);
    Ok(())
}

#[tokio::test]
async fn a_stopped_model_fails_what_runs_and_takes_no_more() -> Outcome {
    let model = demo()?;
    assert_eq!(model.health(), Health::Ready);
    let many = Request { choices: NonZeroU32::MIN.saturating_add(19), ..ask(STORY) };
    let answering = model.answer(Arc::new(many)).await?;
    model.stop();
    model.stop();
    let last = answering.events.collect::<Vec<_>>().await.pop();
    assert!(matches!(last, Some(Err(failure)) if failure.kind == FailureKind::ShuttingDown));
    assert!(matches!(model.health(), Health::Out(_)));
    assert_eq!(failure_of(&model, ask("Hello")).await?.kind, FailureKind::ShuttingDown);
    assert_eq!(model.load(), Load::default());
    Ok(())
}

#[test]
fn a_model_offers_what_it_can_honour() -> Outcome {
    let model = demo()?;
    let offer = model.offer();
    assert!(offer.local && offer.dialect.is_none());
    assert_eq!(offer.context, Some(1024));
    assert!(offer.capabilities.contains(&Capability::Tools) && offer.capabilities.contains(&Capability::Seed));
    assert!(!offer.capabilities.contains(&Capability::ImageInput));
    Ok(())
}

#[test]
fn a_context_that_the_checkpoint_does_not_have_is_refused() -> Outcome {
    for asked in [0, 1025] {
        let refused = LocalModel::load(ModelOptions { context: Some(asked), ..options()? }, &mut |_| {});
        assert!(matches!(refused.err(), Some(LoadError::Context { own: 1024, .. })));
    }
    Ok(())
}

#[test]
fn a_model_can_be_planned_with_before_it_is_loaded() -> Outcome {
    let (unloaded, loaded) = (UnloadedModel::open(&options()?)?, demo()?);
    assert_eq!(unloaded.count_prompt(&ask(STORY))?, loaded.count_prompt(&ask(STORY))?);
    assert_eq!(unloaded.offer().context, loaded.offer().context);
    assert_eq!(unloaded.offer().capabilities, loaded.offer().capabilities);
    Ok(())
}
