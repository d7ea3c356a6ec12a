//! What the demo model answers, whole.

use harness::{Weighbridge, ask, demo_model, goldens};
use serde_json::{Value, json};

#[tokio::test]
async fn the_demo_model_answers_every_question_of_its_readme_word_for_word() {
    let program = Weighbridge::start(demo_model()).await;
    for golden in goldens().iter().filter(|golden| golden.tools.is_null()) {
        let reply = program.post_chat(&golden.body()).await;
        reply.assert_says(&golden.answer, "demo");
        let body = reply.json();
        assert_eq!(body["choices"][0]["finish_reason"], "stop", "{}", golden.question());
        assert_eq!(body["usage"]["prompt_tokens"], golden.tokens.len(), "{}", golden.question());
        assert_eq!(body["usage"]["completion_tokens"], golden.greedy.len(), "{}", golden.question());
    }
}

#[tokio::test]
async fn the_demo_model_calls_the_tool_that_fits() {
    let program = Weighbridge::start(demo_model()).await;
    let golden = goldens().iter().find(|golden| !golden.tools.is_null()).expect("one question comes with tools");
    let reply = program.post_chat(&golden.body()).await;
    let choice = &reply.json()["choices"][0];
    assert_eq!((reply.status, &choice["finish_reason"]), (200, &json!("tool_calls")), "{}", reply.body);
    let call = &choice["message"]["tool_calls"][0];
    assert_eq!((&call["type"], &call["function"]["name"]), (&json!("function"), &json!("get_weather")));
    let arguments = call["function"]["arguments"].as_str().unwrap_or_default();
    assert_eq!(serde_json::from_str::<Value>(arguments).ok(), Some(json!({"city": "Oslo"})));
    assert!(call["id"].as_str().is_some_and(|id| !id.is_empty()) && choice["message"]["content"].is_null());
}

#[tokio::test]
async fn a_call_is_forced_in_whatever_a_model_writes_calls() {
    let parameters = json!({
        "type": "object",
        "properties": {"city": {"type": "string", "maxLength": 12}, "unit": {"enum": ["celsius", "fahrenheit"]}},
        "required": ["city", "unit"],
        "additionalProperties": false
    });
    let function = json!({"name": "get_weather", "strict": true, "parameters": parameters});
    let mut body = ask("demo", "What is the weather in Oslo?");
    body["tools"] = json!([{"type": "function", "function": function}]);
    body["tool_choice"] = "required".into();
    body["parallel_tool_calls"] = false.into();
    for format in ["hermes", "qwen_xml", "glm", "pythonic", "gemma", "kimi", "llama"] {
        let program = Weighbridge::start(format!("{}tool_format = {format:?}\n", demo_model())).await;
        let reply = program.post_chat(&body).await;
        let choice = &reply.json()["choices"][0];
        assert_eq!((reply.status, &choice["finish_reason"]), (200, &json!("tool_calls")), "{format}: {}", reply.body);
        let function = &choice["message"]["tool_calls"][0]["function"];
        let arguments = function["arguments"].as_str().unwrap_or_default();
        let arguments: Value = serde_json::from_str(arguments).expect(arguments);
        assert_eq!(function["name"], "get_weather");
        let unit = arguments["unit"].as_str().unwrap_or_default();
        assert!(arguments["city"].is_string() && ["celsius", "fahrenheit"].contains(&unit), "{format}: {arguments}");
    }
}

#[tokio::test]
async fn tools_may_be_kept_from_the_model() {
    let program = Weighbridge::start(demo_model()).await;
    let golden = goldens().iter().find(|golden| !golden.tools.is_null()).expect("one question comes with tools");
    let mut body = golden.body();
    body["tool_choice"] = "none".into();
    let choice = &program.post_chat(&body).await.json()["choices"][0];
    assert!(choice["message"]["tool_calls"].is_null() && choice["finish_reason"] != "tool_calls", "{choice}");
}

#[tokio::test]
async fn every_answer_says_where_it_went() {
    let program = Weighbridge::start(demo_model()).await;
    let reply = program.post_chat(&ask("demo", "Hello")).await;
    for (name, value) in [
        ("x-weighbridge-route", "default"),
        ("x-weighbridge-backend", "demo"),
        ("x-weighbridge-class", "internal"),
        ("content-type", "application/json"),
    ] {
        assert_eq!(reply.header(name), value, "{name}");
    }
    let decision = reply.header("x-weighbridge-decision");
    assert!(!decision.is_empty() && reply.header("x-request-id") == decision);
    assert_eq!(reply.header("x-weighbridge-cost-usd").parse(), Ok(0.0));
    let body = reply.json();
    assert_eq!((&body["object"], &body["model"]), (&json!("chat.completion"), &json!("demo")));
    assert!(body["id"].as_str().is_some_and(|id| id.starts_with("chatcmpl-")) && body["created"].is_u64());
    assert!(body["choices"][0]["logprobs"].is_null() && body["choices"][0]["message"]["refusal"].is_null());
}

#[tokio::test]
async fn several_answers_are_given_where_several_are_asked_for() {
    let program = Weighbridge::start(demo_model()).await;
    let mut body = ask("demo", "Tell me a story about a fox and a lamp.");
    (body["n"], body["temperature"], body["seed"], body["max_tokens"]) = (3.into(), 1.into(), 7.into(), 24.into());
    let reply = program.post_chat(&body).await;
    let answer = reply.json();
    let choices = answer["choices"].as_array().cloned().unwrap_or_default();
    let text = |choice: &Value| choice["message"]["content"].as_str().unwrap_or_default().to_owned();
    let texts: std::collections::BTreeSet<String> = choices.iter().map(text).collect();
    assert_eq!((choices.len(), texts.len()), (3, 3), "{}", reply.body);
    let tokens = answer["usage"]["completion_tokens"].as_u64().unwrap_or_default();
    assert!((30..=72).contains(&tokens), "three answers of up to 24 tokens have {tokens}");
    // The same seed gives the same answers.
    assert_eq!(program.post_chat(&body).await.json()["choices"], answer["choices"]);
}

#[tokio::test]
async fn a_stop_text_ends_the_answer_and_is_not_part_of_it() {
    let program = Weighbridge::start(demo_model()).await;
    let mut body = ask("demo", "What is the capital of Japan?");
    for stop in [json!(" is"), json!(["Paris", " is"])] {
        body["stop"] = stop;
        let reply = program.post_chat(&body).await;
        reply.assert_says("The capital of Japan", "demo");
        assert_eq!(reply.json()["choices"][0]["finish_reason"], "stop");
    }
}

#[tokio::test]
async fn the_answer_is_no_longer_than_it_may_be() {
    let program = Weighbridge::start(demo_model()).await;
    for name in ["max_tokens", "max_completion_tokens"] {
        let mut body = ask("demo", "Repeat: river moon stone");
        body[name] = 2.into();
        let reply = program.post_chat(&body).await;
        reply.assert_says("river moon", "demo");
        let body = reply.json();
        assert_eq!(
            (&body["choices"][0]["finish_reason"], &body["usage"]["completion_tokens"]),
            (&json!("length"), &json!(2))
        );
    }
}

#[tokio::test]
async fn every_way_to_sample_is_taken() {
    let program = Weighbridge::start(demo_model()).await;
    let mut body = ask("demo", "Hello");
    for (name, value) in [
        ("temperature", json!(0.7)),
        ("top_p", json!(0.9)),
        ("top_k", json!(40)),
        ("min_p", json!(0.05)),
        ("seed", json!(-3)),
        ("frequency_penalty", json!(0.5)),
        ("presence_penalty", json!(-0.5)),
        ("max_tokens", json!(20)),
    ] {
        body[name] = value;
        let reply = program.post_chat(&body).await;
        assert!(reply.status == 200 && !reply.text().is_empty(), "{name}: {}", reply.body);
    }
}

#[tokio::test]
async fn a_hint_that_is_not_used_is_named() {
    let program = Weighbridge::start(demo_model()).await;
    let mut body = ask("demo", "Hello");
    assert_eq!(program.post_chat(&body).await.header("x-weighbridge-unused-hints"), "");
    (body["user"], body["metadata"]) = ("anna".into(), json!({"job": "7"}));
    let reply = program.post_chat(&body).await;
    let hints: Vec<&str> = reply.header("x-weighbridge-unused-hints").split(", ").collect();
    assert_eq!((reply.status, hints), (200, vec!["user", "metadata"]));
}

#[tokio::test]
async fn null_counts_as_absent() {
    let program = Weighbridge::start(demo_model()).await;
    let mut body = ask("demo", "Hello");
    for name in
        ["stop", "n", "max_tokens", "seed", "stream", "tools", "response_format", "logprobs", "user", "stream_options"]
    {
        body[name] = Value::Null;
    }
    program.post_chat(&body).await.assert_says("Hello! How can I help you today?", "demo");
}

#[tokio::test]
async fn messages_may_come_in_parts() {
    let program = Weighbridge::start(demo_model()).await;
    let content = json!([{"type": "text", "text": "Hel"}, {"type": "text", "text": "lo"}]);
    let body = json!({"model": "demo", "messages": [{"role": "user", "content": content}], "temperature": 0});
    assert!(!program.post_chat(&body).await.text().is_empty());
}
