//! Several prompts in one body, with a scripted model.

use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::response::Response;
use serde_json::{Value, json};

use super::*;
use crate::completions::Completions;
use crate::echo::{Stage, post, stage, text};

impl Stage {
    async fn ask(&self, fields: Value) -> Response {
        let mut body = json!({"model": "echo", "n": 2});
        for (key, value) in fields.as_object().expect("fields are an object") {
            body[key] = value.clone();
        }
        let request = post("/v1/completions", &body);
        crate::inference::serve(Arc::clone(&self.core), &Completions, request).await
    }
}

#[tokio::test]
async fn the_choices_of_each_prompt_follow_those_of_the_one_before() {
    let stage = stage();
    let response = stage.ask(json!({"prompt": ["a", "b", "c"]})).await;
    assert_eq!(response.headers()["x-weighbridge-cost-usd"], "0.000015", "3 times 5 tokens");
    let body: Value = serde_json::from_str(&text(response).await).expect("it is JSON");
    let choices = body["choices"].as_array().cloned().unwrap_or_default();
    let texts: Vec<&str> = choices.iter().filter_map(|choice| choice["text"].as_str()).collect();
    assert_eq!(texts, ["a0", "a1", "b0", "b1", "c0", "c1"]);
    assert!((0..).zip(&choices).all(|(index, choice)| choice["index"] == index));
    assert_eq!((&body["usage"]["prompt_tokens"], &body["usage"]["completion_tokens"]), (&json!(9), &json!(6)));
    assert_eq!(stage.outcomes(), ["completed", "completed", "completed"]);
    assert_eq!(stage.core.admission.inside(), 0);
}

#[tokio::test]
async fn a_stream_has_the_choices_of_all() {
    let stage = stage();
    let fields = json!({"prompt": ["a", "b", "c"], "stream": true, "stream_options": {"include_usage": true}});
    let said = text(stage.ask(fields).await).await;
    let mut texts = [const { String::new() }; 6];
    let mut ends = 0;
    for data in said.lines().filter_map(|line| line.strip_prefix("data: ")).filter(|data| *data != "[DONE]") {
        let chunk: Value = serde_json::from_str(data).expect(data);
        for choice in chunk["choices"].as_array().into_iter().flatten() {
            let index = choice["index"].as_u64().and_then(|index| usize::try_from(index).ok()).expect("it has one");
            texts[index].push_str(choice["text"].as_str().unwrap_or_default());
            ends += usize::from(!choice["finish_reason"].is_null());
        }
        if chunk["choices"] == json!([]) {
            assert_eq!(
                (&chunk["usage"]["total_tokens"], &chunk["weighbridge"]["cost_usd"]),
                (&json!(15), &json!("0.000015"))
            );
        }
    }
    assert_eq!((texts.join(" ").as_str(), ends), ("a0 a1 b0 b1 c0 c1", 6), "{said}");
    assert!(said.ends_with("data: [DONE]\n\n"));
    assert_eq!(stage.outcomes(), ["completed", "completed", "completed"]);
}

#[tokio::test(start_paused = true)]
async fn where_one_fails_the_others_are_broken_off_and_their_receipts_say_so() {
    for (prompts, stream, ends) in [
        // Nobody saw the answer to the second, though it was whole.
        (["hangs", "a", "fails"], false, ["failed 400 -", "failed 400 -", "failed 400 invalid_request"]),
        (["fails", "hangs", "hangs"], false, ["failed 400 -", "failed 400 -", "failed 400 invalid_request"]),
        (["fails", "hangs", "hangs"], true, ["failed 400 -", "failed 400 -", "failed 400 invalid_request"]),
    ] {
        let stage = stage();
        let response = stage.ask(json!({"prompt": prompts, "stream": stream})).await;
        let status = response.status().as_u16();
        let said = tokio::time::timeout(Duration::from_secs(60), text(response)).await.expect("it ends");
        assert!(said.contains("as the script says") && !said.contains("[DONE]"), "{status}: {said}");
        assert_eq!(stage.under_way.load(Ordering::SeqCst), 0, "nothing goes on");
        assert_eq!((status, stage.ends()), (400, ends.map(str::to_owned).to_vec()), "{prompts:?} {stream}");
    }
    // A stream whose first prompt has begun is open by then: it ends with the error.
    let stage = stage();
    let response = stage.ask(json!({"prompt": ["hangs", "fails", "hangs"], "stream": true})).await;
    let status = response.status().as_u16();
    let said = tokio::time::timeout(Duration::from_secs(60), text(response)).await.expect("it ends");
    assert!(said.contains("as the script says") && !said.contains("[DONE]"), "{status}: {said}");
    let end = |failure: &str| format!("failed {status} {failure}");
    assert_eq!(stage.ends(), [end("-"), end("-"), end("invalid_request")]);
}

#[tokio::test]
async fn a_stream_that_breaks_off_says_so_whichever_prompt_broke() {
    for prompts in [["breaks", "a"], ["a", "breaks"], ["hangs", "breaks"], ["breaks", "hangs"]] {
        let stage = stage();
        let response = stage.ask(json!({"prompt": prompts, "stream": true})).await;
        let status = response.status().as_u16();
        let said = text(response).await;
        assert!(said.contains("upstream_cut") && !said.contains("[DONE]"), "{said}");
        let (ends, broke) = (stage.ends(), format!("failed {status} cut"));
        // The other had ended by then, or was broken off, by no failure of its own.
        let other = ["completed 200 -".to_owned(), format!("failed {status} -")];
        assert_eq!((ends.len(), ends.iter().filter(|end| **end == broke).count()), (2, 1), "{prompts:?}: {ends:?}");
        assert!(ends.iter().any(|end| other.contains(end)), "{prompts:?}: {ends:?}");
    }
}

#[tokio::test]
async fn each_prompt_takes_a_place() {
    let stage = stage();
    let response = stage.ask(json!({"prompt": ["a", "b", "c", "d", "e"]})).await;
    assert_eq!(response.status(), 503);
    assert_eq!(stage.outcomes(), ["refused"]);
    assert_eq!((stage.core.admission.inside(), stage.under_way.load(Ordering::SeqCst)), (0, 0));
}

#[tokio::test]
async fn a_client_that_goes_away_cancels_all() {
    let stage = stage();
    let response = stage.ask(json!({"prompt": ["hangs", "hangs"], "stream": true})).await;
    let mut body = response.into_body().into_data_stream();
    assert!(body.next().await.is_some_and(|piece| piece.is_ok()));
    assert_eq!(stage.under_way.load(Ordering::SeqCst), 2);
    drop(body);
    assert_eq!(stage.under_way.load(Ordering::SeqCst), 0);
    assert_eq!(stage.outcomes(), ["cancelled", "cancelled"]);
}
