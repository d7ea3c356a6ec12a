//! Bare prompts, continued answers, and the way between text and tokens.

mod support;

use support::{Outcome, ask, demo, failure_of, options, read, read_one};
use weighbridge_backend::{
    Backend, BarePrompt, Capability, Completion, FailureKind, FinishReason, Message, Request, Role, Sampling, Texts,
};
use weighbridge_engine::UnloadedModel;

fn bare(prompt: BarePrompt, echo: bool) -> Request {
    Request { messages: Vec::new(), completion: Some(Completion { prompt, suffix: None, echo }), ..ask("") }
}

fn bare_text(prompt: &str, echo: bool) -> Request {
    bare(BarePrompt::Text(prompt.into()), echo)
}

#[tokio::test]
async fn a_bare_prompt_is_gone_on_with_as_text_and_as_tokens() -> Outcome {
    let model = demo()?;
    let texts = model.texts().ok_or("it has a tokenizer")?;
    let written = texts.render(&ask("What is the capital of Japan?"))?;
    let expected = read_one(&model, ask("What is the capital of Japan?")).await?;
    let by_text = read_one(&model, bare_text(&written, false)).await?;
    let tokens = texts.prompt_tokens(&ask("What is the capital of Japan?"))?;
    let by_tokens = read_one(&model, bare(BarePrompt::Tokens(tokens), false)).await?;
    assert_eq!((&by_text.text, &by_tokens.text), (&expected.text, &expected.text));
    Ok(())
}

#[tokio::test]
async fn an_echo_begins_with_the_prompt_and_its_log_probabilities() -> Outcome {
    let model = demo()?;
    const PROMPT: &str = "The capital of Japan is Tokyo and the lamp is lit.";
    let tokens = model.texts().ok_or("it has a tokenizer")?.tokenize(PROMPT, true)?;
    let with = |max_output_tokens, logprobs| Request {
        max_output_tokens: Some(max_output_tokens),
        sampling: Sampling { temperature: Some(0.0), logprobs, ..Sampling::default() },
        ..bare_text(PROMPT, true)
    };
    let (wholes, usage) = read(&model, with(0, None)).await?;
    assert_eq!((wholes[0].text.as_str(), wholes[0].reason), (PROMPT, Some(FinishReason::Length)));
    assert_eq!((usage.prompt_tokens, usage.completion_tokens), (tokens.len() as u64, 0));

    let scored = read_one(&model, with(0, Some(2))).await?;
    assert_eq!((scored.text.as_str(), scored.entries.len()), (PROMPT, tokens.len()));
    assert!(scored.entries[0]["logprob"].is_null());
    assert!(scored.entries[1..].iter().all(|entry| entry["logprob"].as_f64().is_some_and(|logprob| logprob < 0.0)));
    // Each is what the model says after the tokens before it.
    let before = bare(BarePrompt::Tokens(tokens[..7].to_vec()), false);
    let mut forced = Request { max_output_tokens: Some(1), sampling: with(1, Some(0)).sampling, ..before };
    forced.sampling.logit_bias = vec![(tokens[7], 100.0)];
    let alone = read_one(&model, forced).await?;
    let (found, expected) = (&scored.entries[7]["logprob"], &alone.entries[0]["logprob"]);
    assert!((found.as_f64().unwrap_or(1.0) - expected.as_f64().unwrap_or(2.0)).abs() < 1e-4, "{found} {expected}");

    let mut request = with(3, Some(0));
    request.sampling.ignore_eos = true;
    let more = read_one(&model, request).await?;
    assert!(more.text.starts_with(PROMPT));
    assert_eq!(more.entries.len(), tokens.len() + 3);
    Ok(())
}

#[tokio::test]
async fn an_echo_with_log_probabilities_is_computed_in_chunks_and_twice_alike() -> Outcome {
    let mut options = options()?;
    options.prefill_chunk = Some(5);
    let model = weighbridge_engine::LocalModel::load(options, &mut |_| {})?;
    let request = || Request {
        max_output_tokens: Some(0),
        sampling: Sampling { logprobs: Some(1), ..Sampling::default() },
        ..bare_text(&"The fox and the lamp. ".repeat(12), true)
    };
    let first = read_one(&model, request()).await?;
    assert_eq!(read_one(&model, request()).await?, first, "nothing is skipped for being there already");
    assert!(first.entries.len() > 40);
    Ok(())
}

#[tokio::test]
async fn what_is_no_prompt_is_refused() -> Outcome {
    let model = demo()?;
    let suffix = Completion { prompt: BarePrompt::Text("a".into()), suffix: Some("b".into()), echo: false };
    for (request, param) in [
        (bare(BarePrompt::Tokens(vec![u32::MAX]), false), "prompt"),
        (bare(BarePrompt::Tokens(Vec::new()), false), "prompt"),
        (Request { completion: Some(suffix), ..bare_text("", false) }, "suffix"),
        (Request { max_output_tokens: Some(0), ..bare_text("a", false) }, "max_tokens"),
        (Request { continues: true, ..ask("Hello") }, "continue_final_message"),
    ] {
        let failure = failure_of(&model, request).await?;
        assert_eq!((failure.kind, failure.param.as_deref()), (FailureKind::InvalidRequest, Some(param)), "{failure}");
    }
    assert!(!model.offer().capabilities.contains(&Capability::Suffix));
    Ok(())
}

#[tokio::test]
async fn an_answer_goes_on_from_the_last_message() -> Outcome {
    let model = demo()?;
    let whole = read_one(&model, ask("What is the capital of Japan?")).await?.text;
    let (said, rest) = whole.split_at(whole.find(" of").ok_or("it says of")?);
    let mut request = ask("What is the capital of Japan?");
    request.messages.push(Message::of_text(Role::Assistant, said));
    request.continues = true;
    let written = model.texts().ok_or("it has a tokenizer")?.render(&request)?;
    assert!(written.ends_with(said), "{written:?}");
    assert_eq!(read_one(&model, request).await?.text, rest);
    Ok(())
}

#[test]
fn texts_and_tokens_are_turned_into_each_other_without_the_weights() -> Outcome {
    let (unloaded, loaded) = (UnloadedModel::open(&options()?)?, demo()?);
    for texts in [unloaded.texts(), loaded.texts()] {
        check_texts(texts.ok_or("it has a tokenizer")?)?;
    }
    Ok(())
}

fn check_texts(texts: &dyn Texts) -> Outcome {
    let text = "A naïve fox, 東京 and <|im_end|>.";
    let tokens = texts.tokenize(text, false)?;
    assert_eq!(texts.detokenize(&tokens)?, text, "markers are written out");
    let strings = texts.token_strings(&tokens)?;
    assert_eq!(strings.len(), tokens.len());
    assert!(strings.contains(&"<|im_end|>".to_owned()));
    let failure = texts.detokenize(&[u32::MAX]).err().ok_or("there is such a token")?;
    assert_eq!((failure.kind, failure.param.as_deref()), (FailureKind::InvalidRequest, Some("prompt")));
    assert!(texts.tokenize(&"x".repeat(10_000_000), false).is_err());
    assert!(texts.render(&ask("Hello"))?.contains("Hello"));
    Ok(())
}
