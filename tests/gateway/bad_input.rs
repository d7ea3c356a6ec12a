//! Bad input: each mistake gets its own clear error.

use harness::{Reply, Upstream, Weighbridge, ask, demo_model, provider, route};
use serde_json::{Value, json};

async fn send_raw(program: &Weighbridge, body: impl Into<String>, content_type: &str) -> Reply {
    let request = program.post("/v1/chat/completions").header("content-type", content_type).body(body.into());
    program.send(request).await
}

#[tokio::test]
async fn broken_json_is_told_from_other_mistakes() {
    let program = Weighbridge::start(demo_model()).await;
    for body in ["{\"model\": \"demo\", \"messages\": [", "", "not json", "{\"model\": 'demo'}"] {
        let reply = send_raw(&program, body, "application/json").await;
        reply.assert_error(400, "invalid_json", "could not parse the JSON body");
    }
    send_raw(&program, "[1]", "application/json").await.assert_error(400, "invalid_type", "must be a JSON object");
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    send_raw(&program, deep, "application/json").await.assert_error(400, "invalid_json", "");
}

/// Sends a good body with one field replaced, and holds the answer against a code and the field at fault.
async fn check_field(program: &Weighbridge, field: &str, value: Value, code: &str, param: &str) {
    let mut body = ask("demo", "Hello");
    body[field] = value;
    let reply = program.post_chat(&body).await;
    reply.assert_error(400, code, "");
    assert_eq!(reply.json()["error"]["param"], param, "{}", reply.body);
    assert_eq!(reply.json()["error"]["type"], "invalid_request_error");
}

#[tokio::test]
async fn a_field_of_a_wrong_type_is_named() {
    let program = Weighbridge::start(demo_model()).await;
    for (field, value, param) in [
        ("model", json!(5), "model"),
        ("messages", json!("Hello"), "messages"),
        ("messages", json!(["Hello"]), "messages[0]"),
        ("messages", json!([{"role": "user", "content": 5}]), "messages[0].content"),
        ("temperature", json!("hot"), "temperature"),
        ("max_tokens", json!(2.5), "max_tokens"),
        ("max_tokens", json!("2"), "max_tokens"),
        ("stream", json!("yes"), "stream"),
        ("stop", json!(5), "stop"),
        ("stop", json!([5]), "stop[0]"),
        ("tools", json!({}), "tools"),
        ("seed", json!("x"), "seed"),
        ("user", json!(5), "user"),
        ("metadata", json!("x"), "metadata"),
        ("response_format", json!("json"), "response_format"),
    ] {
        check_field(&program, field, value, "invalid_type", param).await;
    }
}

#[tokio::test]
async fn a_number_out_of_its_range_is_named() {
    let program = Weighbridge::start(demo_model()).await;
    for (field, value, code) in [
        ("temperature", json!(2.5), "decimal_above_max_value"),
        ("temperature", json!(-1), "decimal_below_min_value"),
        ("top_p", json!(1.5), "decimal_above_max_value"),
        ("min_p", json!(-0.5), "decimal_below_min_value"),
        ("frequency_penalty", json!(3), "decimal_above_max_value"),
        ("presence_penalty", json!(-3), "decimal_below_min_value"),
        ("max_tokens", json!(0), "integer_below_min_value"),
        ("max_completion_tokens", json!(-5), "integer_below_min_value"),
        ("n", json!(0), "integer_below_min_value"),
        ("n", json!(129), "integer_above_max_value"),
        ("top_k", json!(-1), "integer_below_min_value"),
        ("messages", json!([]), "empty_array"),
        ("stop", json!(vec!["x"; 100]), "array_above_max_length"),
    ] {
        check_field(&program, field, value, code, field).await;
    }
}

#[tokio::test]
async fn a_value_that_makes_no_sense_is_named() {
    let program = Weighbridge::start(demo_model()).await;
    for (field, value, param) in [
        ("model", json!(""), "model"),
        ("messages", json!([{"role": "king", "content": "Hello"}]), "messages[0].role"),
        ("stream_options", json!({"include_usage": true}), "stream_options"),
        ("tool_choice", json!("auto!"), "tool_choice"),
        ("tool_choice", json!("required"), "tool_choice"),
        ("stop", json!(""), "stop"),
        ("top_logprobs", json!(3), "top_logprobs"),
    ] {
        check_field(&program, field, value, "invalid_value", param).await;
    }
}

#[tokio::test]
async fn a_missing_field_is_named() {
    let program = Weighbridge::start(demo_model()).await;
    for (body, param) in [
        (json!({}), "model"),
        (json!({"model": "demo"}), "messages"),
        (json!({"model": null, "messages": []}), "model"),
        (json!({"model": "demo", "messages": [{"content": "Hello"}]}), "messages[0].role"),
        (json!({"model": "demo", "messages": [{"role": "user"}]}), "messages[0].content"),
    ] {
        let reply = program.post_chat(&body).await;
        reply.assert_error(400, "missing_required_parameter", param);
        assert_eq!(reply.json()["error"]["param"], param);
    }
}

#[tokio::test]
async fn an_unknown_model_is_told_with_the_nearest_known() {
    let program = Weighbridge::start(demo_model()).await;
    let reply = program.post_chat(&ask("dmeo", "Hello")).await;
    reply.assert_error(404, "model_not_found", "Did you mean 'demo'?");
    program.post_chat(&ask("gpt-nine", "Hello")).await.assert_error(404, "model_not_found", "gpt-nine");
}

#[tokio::test]
async fn a_field_that_nobody_knows_is_refused_and_one_that_an_upstream_may_know_is_handed_on() {
    let upstream = Upstream::saying("fine").await;
    let config = format!("{}{}{}", demo_model(), provider("up", &upstream, ""), route(&["demo", "up/large"], ""));
    let program = Weighbridge::start(config).await;
    let mut body = ask("demo", "Hello");
    body["brand_new_field"] = json!({"deep": [1, 2.50, "x"]});
    let reply = program.post_chat(&body).await;
    reply.assert_error(400, "unknown_parameter", "brand_new_field");
    assert_eq!(reply.json()["error"]["param"], "brand_new_field");
    body["model"] = "auto".into();
    program.post_chat(&body).await.assert_says("fine", "up/large");
    let received = &upstream.received()[0];
    assert_eq!(received.body["brand_new_field"], body["brand_new_field"]);
    assert_eq!((&received.body["model"], received.path.as_str()), (&json!("large"), "/v1/chat/completions"));
}

#[tokio::test]
async fn a_parameter_that_no_backend_honours_is_named() {
    let program = Weighbridge::start(demo_model()).await;
    for (field, value, param) in [
        ("verbosity", json!("low"), "verbosity"),
        ("web_search_options", json!({}), "web_search_options"),
        ("service_tier", json!("flex"), "service_tier"),
        ("reasoning_effort", json!("low"), "reasoning_effort"),
        ("store", json!(true), "store"),
    ] {
        check_field(&program, field, value, "unsupported_parameter", param).await;
    }
    // What changes nothing is no reason to refuse.
    let mut body = ask("demo", "Hello");
    (body["response_format"], body["logprobs"], body["n"]) = (json!({"type": "text"}), json!(false), json!(1));
    assert_eq!(program.post_chat(&body).await.status, 200);
}

#[tokio::test]
async fn a_form_that_cannot_be_enforced_is_refused_by_the_name_that_it_was_sent_by() {
    let program = Weighbridge::start(demo_model()).await;
    let schema = json!({"not": {}});
    let format = json!({"type": "json_schema", "json_schema": {"name": "n", "schema": schema}});
    for (field, value, param) in [
        ("guided_regex", json!("("), "guided_regex"),
        ("guided_grammar", json!("start: ["), "guided_grammar"),
        ("guided_json", schema.clone(), "guided_json"),
        ("guided_choice", json!(["x", "y", "z"].map(|text| text.repeat(900_000))), "guided_choice"),
        ("structured_outputs", json!({"regex": "("}), "structured_outputs.regex"),
        ("structured_outputs", json!({"json": schema}), "structured_outputs.json"),
        ("response_format", format, "response_format"),
    ] {
        check_field(&program, field, value, "invalid_request", param).await;
    }
    let post = async |path: &str, body: Value| {
        let request = program.post(path).header("content-type", "application/json").body(body.to_string());
        program.send(request).await.json()["error"].clone()
    };
    let format = json!({"type": "json_schema", "name": "n", "schema": schema});
    let response = json!({"model": "demo", "input": "Hello", "text": {"format": format}});
    assert_eq!(post("/v1/responses", response).await["param"], "text.format");
    let mut message = ask("demo", "Hello");
    (message["max_tokens"], message["output_config"]) = (8.into(), json!({"format": format}));
    assert_eq!(post("/v1/messages", message).await["details"]["param"], "output_config.format");
    let completion = json!({"model": "demo", "prompt": "Once", "guided_regex": "("});
    assert_eq!(post("/v1/completions", completion).await["param"], "guided_regex");
}

#[tokio::test]
async fn a_parameter_picks_the_backend_that_honours_it() {
    let upstream = Upstream::saying("{}").await;
    let config = format!("{}{}{}", demo_model(), provider("up", &upstream, ""), route(&["demo", "up/large"], ""));
    let program = Weighbridge::start(config).await;
    let mut body = ask("auto", "Hello");
    body["verbosity"] = json!("low");
    program.post_chat(&body).await.assert_says("{}", "up/large");
    assert_eq!(upstream.received()[0].body["verbosity"], body["verbosity"]);
}

#[tokio::test]
async fn a_body_of_sixteen_mebibytes_arrives_whole_and_one_of_twenty_is_refused() {
    let upstream = Upstream::saying("read").await;
    let config = format!("{}{}", provider("up", &upstream, ""), route(&["up/large"], ""));
    let program = Weighbridge::start(config).await;
    // 15 bytes each in JSON, where the quotes are escaped.
    let text = "weigh \"this\" ".repeat((16 << 20) / 15 + 1);
    program.post_chat(&ask("up/large", &text)).await.assert_says("read", "up/large");
    let received = upstream.received();
    assert!(received[0].body_bytes > 16 << 20);
    assert!(received[0].body["messages"][0]["content"] == text.as_str(), "the text is another one");
    let reply = program.post_chat(&ask("up/large", &"x".repeat(20 << 20))).await;
    reply.assert_error(413, "request_too_large", "max_body_bytes");
    assert_eq!(upstream.count(), 1);
}

#[tokio::test]
async fn the_limit_of_a_body_is_the_operators_to_set() {
    let program = Weighbridge::start(format!("[server]\nmax_body_bytes = 2048\n{}", demo_model())).await;
    assert_eq!(program.post_chat(&ask("demo", "Hello")).await.status, 200);
    program.post_chat(&ask("demo", &"x".repeat(2048))).await.assert_error(413, "request_too_large", "2048");
}

#[tokio::test]
async fn a_prompt_longer_than_the_context_is_told_so() {
    let program = Weighbridge::start(demo_model()).await;
    let reply = program.post_chat(&ask("demo", &"river moon stone ".repeat(500))).await;
    reply.assert_error(400, "context_length_exceeded", "1024");
    // A prompt that fits with an answer that does not.
    let mut body = ask("demo", "Hello");
    body["max_tokens"] = 2000.into();
    program.post_chat(&body).await.assert_error(400, "context_length_exceeded", "max_tokens");
}

#[tokio::test]
async fn a_long_prompt_goes_where_it_fits() {
    let upstream = Upstream::saying("read").await;
    let config = format!("{}{}{}", demo_model(), provider("up", &upstream, ""), route(&["demo", "up/large"], ""));
    let program = Weighbridge::start(config).await;
    program.post_chat(&ask("auto", &"river moon stone ".repeat(500))).await.assert_says("read", "up/large");
}

#[tokio::test]
async fn a_body_that_is_not_called_json_is_refused() {
    let program = Weighbridge::start(demo_model()).await;
    let body = ask("demo", "Hello").to_string();
    for kind in ["text/plain", "application/x-www-form-urlencoded", "application/jsonp"] {
        send_raw(&program, body.clone(), kind).await.assert_error(415, "unsupported_content_type", "application/json");
    }
    let bare = program.send(program.post("/v1/chat/completions").body(body.clone())).await;
    bare.assert_error(415, "unsupported_content_type", "");
    assert_eq!(send_raw(&program, body, "application/json; charset=utf-8").await.status, 200);
}

#[tokio::test]
async fn a_class_that_is_none_is_refused() {
    let program = Weighbridge::start(demo_model()).await;
    for class in ["secret", "", "restricted, public"] {
        let reply = program.post_chat_with(&ask("demo", "Hello"), &[("x-weighbridge-class", class)]).await;
        reply.assert_error(400, "invalid_header", "x-weighbridge-class");
    }
}

#[tokio::test]
async fn a_priority_and_a_deadline_that_are_none_are_refused() {
    let program = Weighbridge::start(demo_model()).await;
    for (header, value) in [("x-weighbridge-priority", "urgent"), ("x-weighbridge-deadline-ms", "soon")] {
        let reply = program.post_chat_with(&ask("demo", "Hello"), &[(header, value)]).await;
        reply.assert_error(400, "invalid_header", header);
    }
    let late = program.post_chat_with(&ask("demo", "Tell me a story."), &[("x-weighbridge-deadline-ms", "1")]).await;
    late.assert_error(504, "upstream_timeout", "deadline");
}

#[tokio::test]
async fn an_unknown_address_and_a_wrong_method_are_told_apart() {
    let program = Weighbridge::start(demo_model()).await;
    program.get("/v1/nothing").await.assert_error(404, "", "Invalid URL (GET /v1/nothing)");
    program.send(program.post("/")).await.assert_error(404, "", "Invalid URL");
    program.get("/v1/completions").await.assert_error(405, "", "GET");
    program.send(program.post("/health")).await.assert_error(405, "", "POST");
}

#[tokio::test]
async fn chat_completions_are_not_kept_here_and_every_way_to_them_says_so() {
    let upstream = Upstream::saying("kept there").await;
    let config = format!("{}{}{}", demo_model(), provider("up", &upstream, ""), route(&["demo", "up/large"], ""));
    let program = Weighbridge::start(config).await;
    check_field(&program, "store", true.into(), "unsupported_parameter", "store").await;
    let mut body = ask("auto", "Hello");
    body["store"] = true.into();
    program.post_chat(&body).await.assert_says("kept there", "up/large");
    assert_eq!(upstream.received()[0].body["store"], true);
    let url = format!("{}/v1/chat/completions", program.url());
    for (method, path) in [
        ("GET", ""),
        ("GET", "?limit=2"),
        ("GET", "/chatcmpl-1"),
        ("POST", "/chatcmpl-1"),
        ("DELETE", "/chatcmpl-1"),
        ("GET", "/chatcmpl-1/messages"),
    ] {
        let request = harness::client().request(method.parse().expect("a method"), format!("{url}{path}"));
        program.send(request).await.assert_error(404, "not_found", "No chat completions are kept here");
    }
    program.send(harness::client().put(&url)).await.assert_error(405, "", "PUT");
}

#[tokio::test]
async fn a_web_page_of_another_origin_reaches_nothing() {
    let program = Weighbridge::start(demo_model()).await;
    let body = ask("demo", "Hello").to_string();
    let request =
        program.post("/v1/chat/completions").header("host", "evil.example").header("content-type", "application/json");
    program.send(request.body(body)).await.assert_error(403, "host_not_allowed", "");
}
