//! Text completions.

use harness::{Reply, Upstream, Weighbridge, provider, route};
use serde_json::{Value, json};

async fn complete(program: &Weighbridge, body: &Value) -> Reply {
    let request = program.post("/v1/completions").header("content-type", "application/json");
    program.send(request.body(body.to_string())).await
}

#[tokio::test]
async fn a_bare_prompt_is_not_turned_into_a_chat() {
    let upstream = Upstream::saying("never").await;
    let config = format!("{}{}", provider("up", &upstream, ""), route(&["up/large"], ""));
    let program = Weighbridge::start(config).await;
    let reply = complete(&program, &json!({"model": "auto", "prompt": "Once upon a time"})).await;
    reply.assert_error(400, "unsupported_parameter", "up/large");
    assert_eq!(reply.json()["error"]["param"], "prompt");
    assert_eq!(upstream.count(), 0);
}

#[tokio::test]
async fn every_mistake_is_named() {
    let upstream = Upstream::saying("never").await;
    let config = format!("{}{}", provider("up", &upstream, ""), route(&["up/large"], ""));
    let program = Weighbridge::start(config).await;
    for (fields, code, param) in [
        (json!({}), "missing_required_parameter", "prompt"),
        (json!({"prompt": ["a", 5]}), "invalid_type", "prompt[1]"),
        (json!({"prompt": vec!["a"; 1000]}), "array_above_max_length", "prompt"),
        (json!({"prompt": "a", "best_of": 4}), "unsupported_value", "best_of"),
        (json!({"prompt": "a", "logprobs": 9}), "integer_above_max_value", "logprobs"),
        (json!({"prompt": "a", "max_tokens": 0}), "invalid_value", "max_tokens"),
    ] {
        let mut body = json!({"model": "auto"});
        fields.as_object().into_iter().flatten().for_each(|(key, value)| body[key] = value.clone());
        let reply = complete(&program, &body).await;
        reply.assert_error(400, code, "");
        assert_eq!(reply.json()["error"]["param"], param, "{}", reply.body);
    }
}
