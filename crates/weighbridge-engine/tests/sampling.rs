//! How tokens are drawn and told of, by the demo model.

mod support;

use support::{Outcome, ask, demo, drawn, failure_of, read, read_one};
use weighbridge_backend::{Backend, Capability, FailureKind, FinishReason, Request, Sampling};

const STORY: &str = "Tell me a story about a fox and a lamp.";

#[tokio::test]
async fn log_probabilities_are_told_of_every_token_with_its_very_bytes() -> Outcome {
    let model = demo()?;
    let mut request = drawn(STORY, 1.5, 3);
    request.sampling.logprobs = Some(3);
    request.max_output_tokens = Some(60);
    let (wholes, usage) = read(&model, request.clone()).await?;
    let whole = &wholes[0];
    let ended = u64::from(whole.reason == Some(FinishReason::Stop));
    assert_eq!(whole.entries.len() as u64 + ended, usage.completion_tokens);
    let bytes: Vec<u8> = whole
        .entries
        .iter()
        .flat_map(|it| it["bytes"].as_array().cloned().unwrap_or_default())
        .map(|byte| byte.as_u64().unwrap_or(256) as u8)
        .collect();
    assert_eq!(String::from_utf8_lossy(&bytes), whole.text);
    for entry in &whole.entries {
        let best = entry["top_logprobs"].as_array().ok_or("no list")?;
        assert_eq!(best.len(), 3);
        let logprob = |entry: &serde_json::Value| entry["logprob"].as_f64().unwrap_or(1.0);
        assert!(best.windows(2).all(|pair| logprob(&pair[0]) >= logprob(&pair[1])));
        assert!(logprob(entry) <= logprob(&best[0]) + 1e-9 && logprob(&best[0]) <= 1e-6);
    }
    request.sampling.logprobs = None;
    let without = read_one(&model, request).await?;
    assert_eq!((without.text.as_str(), without.entries.len()), (whole.text.as_str(), 0), "they change no draw");
    Ok(())
}

#[tokio::test]
async fn held_back_text_holds_back_its_entries_and_a_cut_takes_them_along() -> Outcome {
    let model = demo()?;
    let mut request = ask("What is the capital of Japan?");
    request.sampling =
        Sampling { stop: vec!["of Jap".into(), "unheard of".into()], logprobs: Some(0), ..request.sampling };
    let whole = read_one(&model, request).await?;
    assert_eq!((whole.text.as_str(), whole.matched.as_deref()), ("The capital ", Some("of Jap")));
    let told: String = whole.entries.iter().filter_map(|entry| entry["token"].as_str()).collect();
    assert!(told.starts_with(whole.text.trim_end()) && told.len() <= whole.text.len() + 3, "{told:?}");
    Ok(())
}

#[tokio::test]
async fn a_bias_bans_and_forces_and_names_a_token_that_is_not_there() -> Outcome {
    let model = demo()?;
    let plain = read_one(&model, ask("Hello")).await?;
    let first = model.tokenizer().encode_text("Hello")?[0];
    let mut request = ask("Hello");
    request.sampling.logit_bias = vec![(first, -100.0)];
    assert_ne!(read_one(&model, request.clone()).await?.text, plain.text);
    request.sampling.logit_bias = vec![(first, 100.0)];
    request.max_output_tokens = Some(3);
    assert_eq!(read_one(&model, request.clone()).await?.text, "HelloHelloHello");
    request.sampling.logit_bias = vec![(u32::MAX, 1.0)];
    let failure = failure_of(&model, request).await?;
    assert_eq!((failure.kind, failure.param.as_deref()), (FailureKind::InvalidRequest, Some("logit_bias")));
    assert!(failure.message.contains("4294967295"), "{failure}");
    Ok(())
}

#[tokio::test]
async fn an_answer_has_the_least_tokens_asked_for() -> Outcome {
    let model = demo()?;
    let (_, plain) = read(&model, ask("Hello")).await?;
    let mut request = Request { max_output_tokens: Some(60), ..ask("Hello") };
    request.sampling.min_tokens = Some(40);
    let (wholes, usage) = read(&model, request.clone()).await?;
    assert!(plain.completion_tokens < 40 && usage.completion_tokens >= 40, "{usage:?}");
    assert!(wholes[0].text.starts_with("Hello! How can I help you today?"));
    request.sampling.stop = vec!["e".into()];
    let (wholes, usage) = read(&model, request).await?;
    assert!(usage.completion_tokens > 40 && wholes[0].text.contains('e'), "no stop text is honoured before");
    Ok(())
}

#[tokio::test]
async fn end_tokens_end_nothing_where_they_are_ignored() -> Outcome {
    let model = demo()?;
    let mut request = Request { max_output_tokens: Some(64), ..ask("Hello") };
    request.sampling.ignore_eos = true;
    request.sampling.logprobs = Some(0);
    let (wholes, usage) = read(&model, request).await?;
    assert_eq!((wholes[0].reason, usage.completion_tokens), (Some(FinishReason::Length), 64));
    assert_eq!(wholes[0].entries.len(), 64);
    let ends = wholes[0].entries.iter().filter(|entry| entry["bytes"].is_null());
    assert!(ends.clone().count() > 0 && ends.clone().all(|entry| entry["token"] != ""), "they are told by name");
    Ok(())
}

#[tokio::test]
async fn a_repetition_penalty_counts_the_prompt() -> Outcome {
    let model = demo()?;
    let plain = read_one(&model, ask("Hello")).await?;
    let mut request = ask("Hello");
    request.sampling.repetition_penalty = Some(1.0);
    assert_eq!(read_one(&model, request.clone()).await?, plain);
    request.sampling.repetition_penalty = Some(50.0);
    request.max_output_tokens = Some(20);
    assert!(!read_one(&model, request).await?.text.contains("Hello"));
    Ok(())
}

#[test]
fn what_it_draws_by_is_offered_and_its_fingerprint_too() -> Outcome {
    let model = demo()?;
    let offer = model.offer();
    for capability in [Capability::Logprobs, Capability::LogitBias, Capability::MinTokens, Capability::IgnoreEos] {
        assert!(offer.capabilities.contains(&capability));
    }
    assert!(offer.fingerprint.as_ref().is_some_and(|fingerprint| fingerprint.starts_with("fp_")));
    Ok(())
}
