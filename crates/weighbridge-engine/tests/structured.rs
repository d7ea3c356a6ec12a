//! Answers held to a form, by the demo model.

mod support;

use std::error::Error;
use std::num::NonZeroU32;
use std::sync::Arc;

use serde_json::{Value, json};
use support::{Outcome, ask, demo, demo_folder, drawn, failure_of, options, read, read_one, tool};
use weighbridge_backend::{
    Asked, Backend, Capability, Constraint, FailureKind, FinishReason, Json, Need, Request, TextForm, Tool, ToolChoice,
    ToolKind,
};
use weighbridge_dialogue::{ReasoningFormat, ToolFormat};
use weighbridge_engine::{LocalModel, ModelOptions};

fn schema(schema: &Value) -> Option<Constraint> {
    Some(Constraint::JsonSchema(Json(schema.to_string().into())))
}

fn person() -> Value {
    json!({
        "type": "object",
        "properties": {
            "name": {"type": "string", "maxLength": 12},
            "age": {"type": "integer", "minimum": 0, "maximum": 130},
            "tags": {"type": "array", "items": {"enum": ["red", "green", "blue"]}, "maxItems": 3}
        },
        "required": ["name", "age", "tags"],
        "additionalProperties": false
    })
}

#[tokio::test]
async fn an_answer_follows_its_schema_at_any_temperature() -> Outcome {
    let model = demo()?;
    let validator = jsonschema::validator_for(&person())?;
    for seed in 0..20 {
        for temperature in [0.0, 1.0, 2.0] {
            let request = Request { constraint: schema(&person()), ..drawn("Who are you?", temperature, seed) };
            let whole = read_one(&model, request).await?;
            assert_eq!(whole.reason, Some(FinishReason::Stop), "{}", whole.text);
            let value: Value = serde_json::from_str(&whole.text)?;
            assert!(validator.is_valid(&value), "{value}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn every_kind_of_constraint_holds() -> Outcome {
    let model = demo()?;
    let answer = async |constraint: Constraint| {
        read_one(&model, Request { constraint: Some(constraint), ..drawn("Hello", 2.0, 1) }).await
    };
    let choice = answer(Constraint::Choice(vec!["left".into(), "right".into()])).await?;
    assert!(["left", "right"].contains(&choice.text.as_str()) && choice.reason == Some(FinishReason::Stop));
    let regex = answer(Constraint::Regex("[A-Z]{3}-[0-9]{4}".into())).await?.text;
    assert!(regex.len() == 8 && regex.as_bytes()[3] == b'-', "{regex}");
    let lark = "start: item (\", \" item){2}\nitem: \"fox\" | \"lamp\"";
    let list = answer(Constraint::Lark(lark.into())).await?.text;
    assert_eq!(list.split(", ").filter(|item| ["fox", "lamp"].contains(item)).count(), 3, "{list}");
    Ok(())
}

#[tokio::test]
async fn a_cut_says_length() -> Outcome {
    let model = demo()?;
    let request = Request { constraint: schema(&person()), max_output_tokens: Some(4), ..ask("Who are you?") };
    let (wholes, usage) = read(&model, request).await?;
    assert_eq!((wholes[0].reason, usage.completion_tokens), (Some(FinishReason::Length), 4));
    Ok(())
}

#[tokio::test]
async fn a_seed_gives_the_same_form_beside_others_and_in_several_answers() -> Outcome {
    let model = demo()?;
    let request = |seed| Request { constraint: schema(&person()), ..drawn("Who are you?", 2.0, seed) };
    let alone = read_one(&model, request(7)).await?;
    let three = Request { choices: NonZeroU32::MIN.saturating_add(2), ..request(7) };
    let crowd = (0..12).map(|seed| read_one(&model, request(seed)));
    let (found, three, free, crowd) = tokio::join!(
        read_one(&model, request(7)),
        read(&model, three),
        read_one(&model, ask("Hello")),
        futures_util::future::join_all(crowd),
    );
    assert_eq!(found?, alone);
    assert_eq!(three?.0[0], alone);
    assert_eq!(free?.text, "Hello! How can I help you today?", "others are held to nothing");
    assert_eq!(crowd.into_iter().nth(7).transpose()?, Some(alone));
    Ok(())
}

#[tokio::test]
async fn pages_given_back_and_computed_again_change_nothing() -> Outcome {
    let roomy = demo()?;
    let long = json!({"type": "array", "items": {"type": "string", "minLength": 5, "maxLength": 9}, "minItems": 12, "maxItems": 12});
    let request = |seed| Request { constraint: schema(&long), ..drawn("Hello", 2.0, seed) };
    let expected = futures_util::future::try_join_all((0..6).map(|seed| read_one(&roomy, request(seed)))).await?;
    // As few pages as its context needs, so that six answers cannot stay.
    let tight = ModelOptions { context: Some(512), page_memory: Some(page_bytes() * 17), ..options()? };
    let tight = LocalModel::load(tight, &mut |_| {})?;
    let found = futures_util::future::try_join_all((0..6).map(|seed| read_one(&tight, request(seed)))).await?;
    assert_eq!(found, expected);
    Ok(())
}

/// What the demo model keeps of 32 tokens, in float32.
fn page_bytes() -> u64 {
    let checkpoint = options().expect("the demo model is there").checkpoint;
    let compute = options().expect("the demo model is there").compute;
    checkpoint.memory_needs(compute, 512).token * 32
}

#[tokio::test]
async fn what_cannot_be_enforced_is_refused_before_anything_runs() -> Outcome {
    let model = demo()?;
    for (constraint, param, word) in [
        (schema(&json!({"not": {}})), "response_format", "not"),
        (schema(&json!({"type": "array", "uniqueItems": true})), "response_format", "uniqueItems"),
        (Some(Constraint::Regex("(".into())), "structured_outputs", "regex"),
    ] {
        let failure = failure_of(&model, Request { constraint, ..ask("Hello") }).await?;
        assert_eq!((failure.kind, failure.param.as_deref()), (FailureKind::InvalidRequest, Some(param)));
        assert!(failure.message.contains(word), "{failure}");
    }
    assert_eq!(model.load().running + model.load().waiting, 0);
    Ok(())
}

#[tokio::test]
async fn what_cannot_be_enforced_is_refused_by_the_name_that_the_caller_gave_it() -> Outcome {
    let model = demo()?;
    let asked_as =
        |name: &str, capability| Asked { parameter: name.into(), need: Need::Capability(capability), hint: false };
    for (name, capability, constraint) in [
        ("guided_regex", Capability::StructuredOutputs, Some(Constraint::Regex("(".into()))),
        ("guided_json", Capability::StructuredOutputs, schema(&json!({"not": {}}))),
        ("text.format", Capability::ResponseFormat, schema(&json!({"not": {}}))),
    ] {
        let asked = vec![asked_as("seed", Capability::Seed), asked_as(name, capability)];
        let failure = failure_of(&model, Request { constraint, asked, ..ask("Hello") }).await?;
        assert_eq!(failure.param.as_deref(), Some(name), "{failure}");
    }
    Ok(())
}

fn weather() -> Value {
    json!({
        "type": "object",
        "properties": {"city": {"type": "string", "maxLength": 20}, "days": {"type": "integer", "minimum": 1, "maximum": 7}},
        "required": ["city", "days"],
        "additionalProperties": false
    })
}

#[tokio::test]
async fn a_call_is_made_where_one_must_be() -> Outcome {
    let model = demo()?;
    let tools = || vec![tool("get_weather", weather(), true), tool("get_time", json!({"type": "object"}), false)];
    let validator = jsonschema::validator_for(&weather())?;
    for seed in 0..10 {
        for (tool_choice, parallel_tool_calls) in [
            (ToolChoice::Named("get_weather".into()), true),
            (ToolChoice::Required, false),
            (ToolChoice::Required, true),
        ] {
            let request = Request {
                tools: tools(),
                tool_choice: tool_choice.clone(),
                parallel_tool_calls,
                max_output_tokens: Some(600),
                ..drawn("What is the weather?", 1.5, seed)
            };
            let whole = read_one(&model, request).await?;
            if whole.reason == Some(FinishReason::Length) {
                continue;
            }
            assert_eq!((whole.text.as_str(), whole.reason), ("", Some(FinishReason::ToolCalls)), "{tool_choice:?}");
            assert!(!whole.calls.is_empty() && (parallel_tool_calls || whole.calls.len() == 1));
            for (name, arguments) in &whole.calls {
                let arguments: Value = serde_json::from_str(arguments)?;
                assert!(name == "get_time" || validator.is_valid(&arguments), "{arguments}");
                assert!(name == "get_weather" || tool_choice == ToolChoice::Required);
            }
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_call_that_the_model_begins_follows_the_schema_of_its_strict_tool() -> Outcome {
    let model = demo()?;
    let request = |question: &str| Request { tools: vec![tool("get_weather", weather(), true)], ..ask(question) };
    let called = read_one(&model, request("What is the weather in Oslo?")).await?;
    let [(name, arguments)] = &called.calls[..] else { return Err(format!("{called:?}").into()) };
    let arguments: Value = serde_json::from_str(arguments)?;
    assert_eq!(name, "get_weather");
    assert!(
        jsonschema::validator_for(&weather())?.is_valid(&arguments),
        "it would rather leave out the days: {arguments}"
    );
    let free = read_one(&model, request("Hello")).await?;
    assert!(free.calls.is_empty() && !free.text.is_empty(), "{free:?}");
    Ok(())
}

#[tokio::test]
async fn a_custom_tool_gets_a_text_of_its_form() -> Outcome {
    let model = demo()?;
    let form = TextForm::Regex("[a-z]{2,5}-\"[0-9]{2}\"".into());
    let run = Tool { kind: ToolKind::Custom(form), ..tool("run", json!({}), false) };
    let request = Request {
        tools: vec![run],
        tool_choice: ToolChoice::Required,
        parallel_tool_calls: false,
        ..drawn("Run it.", 2.0, 5)
    };
    let whole = read_one(&model, request).await?;
    let [(name, text)] = &whole.calls[..] else { return Err(format!("{whole:?}").into()) };
    assert_eq!(name, "run");
    assert!(
        text.ends_with('"') && text.split_once("-\"").is_some_and(|(word, _)| (2..=5).contains(&word.len())),
        "{text}"
    );
    Ok(())
}

/// The demo model, made to write its calls in a format.
fn writing(format: ToolFormat) -> Result<Arc<LocalModel>, Box<dyn Error>> {
    let reasoning_format = (format == ToolFormat::Harmony).then_some(ReasoningFormat::Harmony);
    let options = ModelOptions { tool_format: Some(format), reasoning_format, ..options()? };
    Ok(LocalModel::load(options, &mut |_| {})?)
}

/// Against tokens that begin with an `a`, as the name of the channel for thoughts does: the demo model has not learnt
/// that these end.
fn against_thinking() -> Result<Vec<(u32, f32)>, Box<dyn Error>> {
    let tokenizer: Value = serde_json::from_str(&std::fs::read_to_string(demo_folder().join("tokenizer.json"))?)?;
    let vocabulary = tokenizer["model"]["vocab"].as_object().ok_or("it has a vocabulary")?;
    let ids = vocabulary.iter().filter(|(text, _)| text.starts_with('a')).filter_map(|(_, id)| id.as_u64());
    Ok(ids.map(|id| (id as u32, -100.0)).collect())
}

#[tokio::test]
async fn a_call_is_made_in_every_way_of_writing_one() -> Outcome {
    let validator = jsonschema::validator_for(&weather())?;
    for &format in ToolFormat::ALL {
        let model = writing(format)?;
        assert!(model.offer().capabilities.contains(&Capability::ForcedToolChoice), "{format}");
        for seed in 0..3 {
            let mut request = Request {
                tools: vec![tool("get_weather", weather(), true), tool("get_time", json!({"type": "object"}), false)],
                tool_choice: ToolChoice::Named("get_weather".into()),
                max_output_tokens: Some(400),
                ..drawn("What is the weather?", 1.0, seed)
            };
            if format == ToolFormat::Harmony {
                request.sampling.logit_bias = against_thinking()?;
            }
            let whole = read_one(&model, request).await.map_err(|failure| format!("{format}: {failure}"))?;
            let [(name, arguments)] = &whole.calls[..] else { return Err(format!("{format}: {whole:?}").into()) };
            let arguments: Value = serde_json::from_str(arguments)?;
            assert!(name == "get_weather" && validator.is_valid(&arguments), "{format}: {arguments}");
            assert_eq!((whole.text.as_str(), whole.reason), ("", Some(FinishReason::ToolCalls)), "{format}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_model_that_writes_messages_answers_by_a_schema() -> Outcome {
    let model = writing(ToolFormat::Harmony)?;
    let validator = jsonschema::validator_for(&person())?;
    for seed in 0..5 {
        let mut request = Request { constraint: schema(&person()), ..drawn("Who are you?", 1.0, seed) };
        request.sampling.logit_bias = against_thinking()?;
        let answer = read_one(&model, request).await?;
        assert_eq!(answer.reason, Some(FinishReason::Stop), "{}", answer.text);
        let value: Value = serde_json::from_str(&answer.text)?;
        assert!(validator.is_valid(&value), "{value}");
    }
    Ok(())
}

#[tokio::test]
async fn what_a_way_of_writing_cannot_hold_is_refused_by_name() -> Outcome {
    let model = writing(ToolFormat::QwenXml)?;
    let parameters = json!({"type": "object", "properties": {"a": {"type": "string", "format": "iso-country"}}});
    let request = |strict| Request {
        tools: vec![tool("look", parameters.clone(), strict)],
        tool_choice: ToolChoice::Required,
        max_output_tokens: Some(300),
        ..drawn("Look.", 1.0, 1)
    };
    let failure = failure_of(&model, request(true)).await?;
    assert_eq!((failure.kind, failure.param.as_deref()), (FailureKind::InvalidRequest, Some("tools")));
    assert!(failure.message.contains("look") && failure.message.contains("iso-country"), "{failure}");
    assert!(!read_one(&model, request(false)).await?.calls.is_empty());
    Ok(())
}

#[test]
fn what_it_can_hold_answers_to_is_offered() -> Outcome {
    let model = demo()?;
    for capability in [
        Capability::ResponseFormat,
        Capability::StructuredOutputs,
        Capability::ForcedToolChoice,
        Capability::ParallelToolCalls,
    ] {
        assert!(model.offer().capabilities.contains(&capability), "{capability}");
    }
    Ok(())
}
