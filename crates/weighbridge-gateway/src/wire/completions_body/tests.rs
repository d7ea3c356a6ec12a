//! Bodies in, faults and needs out.

use serde_json::json;

use super::*;

fn parse(fields: Value) -> Result<CompletionsBody, WireError> {
    let mut body = json!({"model": "demo", "prompt": "Once"});
    for (key, value) in fields.as_object().expect("fields are an object") {
        body[key] = value.clone();
    }
    CompletionsBody::parse("r-1".into(), || "r-2".into(), body.to_string().as_bytes())
}

fn names(request: &Request) -> Vec<&str> {
    request.asked.iter().map(|asked| asked.parameter.as_str()).collect()
}

#[test]
fn a_prompt_is_text_or_tokens_and_there_may_be_several() {
    let text = |text: &str| BarePrompt::Text(text.into());
    for (prompt, expected) in [
        (json!("a"), vec![text("a")]),
        (json!(["a"]), vec![text("a")]),
        (json!(["a", "b"]), vec![text("a"), text("b")]),
        (json!([1, 2]), vec![BarePrompt::Tokens(vec![1, 2])]),
        (json!([[1], [2, 3]]), vec![BarePrompt::Tokens(vec![1]), BarePrompt::Tokens(vec![2, 3])]),
    ] {
        let body = parse(json!({"prompt": prompt, "echo": true, "suffix": "!"})).expect("it is a good body");
        let all = std::iter::once(&body.request).chain(&body.beside);
        let found: Vec<_> = all.filter_map(|request| request.completion.clone()).collect();
        assert!(found.iter().all(|completion| completion.echo && completion.suffix.as_deref() == Some("!")));
        let prompts: Vec<_> = found.into_iter().map(|completion| completion.prompt).collect();
        assert!(prompts == expected, "{prompt}");
        assert!(body.beside.iter().all(|request| &*request.id == "r-2"));
    }
}

#[test]
fn each_parameter_is_noted() {
    let request = |fields| parse(fields).expect("it is a good body").request;
    let plain = request(json!({}));
    assert_eq!((names(&plain), plain.max_output_tokens), (vec!["prompt"], Some(16)));
    let full =
        request(json!({"logprobs": 2, "echo": true, "max_tokens": 0, "n": 2, "best_of": 2, "top_k": 4, "user": "u"}));
    assert_eq!(names(&full), ["prompt", "top_k", "logprobs", "echo", "max_tokens", "n", "user"]);
    assert_eq!((full.sampling.logprobs, full.max_output_tokens), (Some(2), Some(0)));
    assert_eq!(names(&request(json!({"brand_new": 1}))), ["prompt", "brand_new"]);
}

#[test]
fn every_fault_names_its_parameter_and_code() {
    for (fields, code, param) in [
        (json!({"prompt": null}), "missing_required_parameter", "prompt"),
        (json!({"prompt": 5}), "invalid_type", "prompt"),
        (json!({"prompt": []}), "empty_array", "prompt"),
        (json!({"prompt": ["a", 1]}), "invalid_type", "prompt[1]"),
        (json!({"prompt": [1, "a"]}), "invalid_type", "prompt[1]"),
        (json!({"prompt": [[1], []]}), "invalid_value", "prompt[1]"),
        (json!({"prompt": [[1.5]]}), "invalid_type", "prompt[0][0]"),
        (json!({"prompt": vec!["a"; 129]}), "array_above_max_length", "prompt"),
        (json!({"prompt": vec!["a"; 65], "n": 2}), "array_above_max_length", "prompt"),
        (json!({"logprobs": 6}), "integer_above_max_value", "logprobs"),
        (json!({"logprobs": true}), "invalid_type", "logprobs"),
        (json!({"max_tokens": 0}), "invalid_value", "max_tokens"),
        (json!({"best_of": 3}), "unsupported_value", "best_of"),
        (json!({"echo": "yes"}), "invalid_type", "echo"),
    ] {
        let error = parse(fields.clone()).expect_err(&fields.to_string());
        assert_eq!((error.code, error.param.as_deref()), (code, Some(param)), "{fields}");
    }
}
