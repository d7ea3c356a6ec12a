//! `GET /v1/responses` as a WebSocket: one response after the other over one connection.

use futures_util::{SinkExt, StreamExt};
use harness::{Act, Upstream, Weighbridge, demo_model, provider, route};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

use crate::callers::caller;
use crate::responses::{respond, text};

/// A client of one connection.
struct Client(WebSocketStream<TcpStream>);

impl Client {
    /// Opens a connection; the status of the answer where it is refused.
    async fn open(program: &Weighbridge, headers: &[(&'static str, &str)]) -> Result<Self, u16> {
        let address = program.url().trim_start_matches("http://");
        let mut request = format!("ws://{address}/v1/responses").into_client_request().expect("it is an address");
        for (name, value) in headers {
            request.headers_mut().insert(*name, HeaderValue::from_str(value).expect("a header"));
        }
        let stream = TcpStream::connect(address).await.expect("the program listens");
        match client_async(request, stream).await {
            Err(Error::Http(response)) => Err(response.status().as_u16()),
            other => Ok(Self(other.expect("it speaks WebSocket").0)),
        }
    }

    async fn send(&mut self, message: &Value) {
        self.0.send(Message::text(message.to_string())).await.expect("the connection is open");
    }

    /// The events up to the end of the next response, or its error.
    async fn read(&mut self) -> Vec<Value> {
        let mut events = Vec::new();
        loop {
            let message = tokio::time::timeout(harness::PATIENCE, self.0.next()).await.expect("it is not silent");
            let Message::Text(text) = message.expect("it goes on").expect("it is whole") else { continue };
            let event: Value = serde_json::from_str(&text).expect("events are JSON");
            let kind = event["type"].as_str().unwrap_or_default().to_owned();
            events.push(event);
            if ["response.completed", "response.incomplete", "response.failed", "error"].contains(&kind.as_str()) {
                return events;
            }
        }
    }

    async fn ask(&mut self, input: &str, extra: Value) -> Value {
        let mut message = json!({"type": "response.create", "model": "demo", "temperature": 0, "input": input});
        message.as_object_mut().zip(extra.as_object()).into_iter().for_each(|(message, extra)| {
            message.extend(extra.iter().map(|(key, value)| (key.clone(), value.clone())));
        });
        self.send(&message).await;
        self.read().await.pop().expect("there is a last event")
    }
}

#[tokio::test]
async fn responses_follow_each_other_over_one_connection() {
    let program = Weighbridge::start(demo_model()).await;
    let mut client = Client::open(&program, &[]).await.expect("it is open");
    let ask = json!({"type": "response.create", "model": "demo", "temperature": 0, "input": "Hello"});
    // The second waits until the first is answered.
    client.send(&ask).await;
    client.send(&ask).await;
    for _ in 0..2 {
        let events = client.read().await;
        assert_eq!(events[0]["type"], "response.created");
        assert!(events.iter().enumerate().all(|(number, event)| event["sequence_number"] == number), "{events:?}");
        let last = &events[events.len() - 1];
        assert_eq!(
            (&last["type"], text(&last["response"]).as_str()),
            (&json!("response.completed"), "Hello! How can I help you today?")
        );
        assert_eq!(last["weighbridge"]["backend"], "demo");
    }
    let kept = client.ask("Hello", json!({})).await["response"]["id"].clone();
    let next = respond(&program, &json!({"model": "demo", "input": "And?", "previous_response_id": kept})).await;
    assert_eq!(next.status, 200, "{}", next.body);
}

#[tokio::test]
async fn what_is_not_kept_is_gone_on_from_over_the_same_connection_alone() {
    let program = Weighbridge::start(demo_model()).await;
    let mut client = Client::open(&program, &[]).await.expect("it is open");
    let first = client.ask("Hello", json!({"store": false})).await;
    let id = first["response"]["id"].clone();
    let on = json!({"store": false, "previous_response_id": id});
    let mut other = Client::open(&program, &[]).await.expect("it is open");
    let elsewhere = other.ask("And?", on).await;
    assert_eq!(
        (&elsewhere["status"], &elsewhere["error"]["code"]),
        (&json!(400), &json!("previous_response_not_found"))
    );
    // It goes on there as if nothing had been.
    assert_eq!(other.ask("Hello", json!({"store": false})).await["type"], "response.completed");

    let second = client.ask("What is a gateway?", json!({"previous_response_id": id})).await;
    let whole = json!({"model": "demo", "temperature": 0, "input": [
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "Hello! How can I help you today?"},
        {"role": "user", "content": "What is a gateway?"},
    ]});
    let expected = respond(&program, &whole).await.json();
    assert_eq!(second["response"]["output"][0]["content"], expected["output"][0]["content"], "{second}");
    assert_eq!(second["response"]["usage"]["input_tokens"], expected["usage"]["input_tokens"]);
    assert_eq!((&second["response"]["store"], &second["response"]["previous_response_id"]), (&json!(false), &id));

    // A turn that fails lets go of what it went on from.
    let mut result = json!({"store": false, "previous_response_id": second["response"]["id"]});
    result["input"] = json!([{"type": "function_call_output", "call_id": "call_0", "output": "x"}]);
    let failed = client.ask("", result).await;
    assert_eq!((&failed["type"], &failed["error"]["param"]), (&json!("error"), &json!("input[0].call_id")), "{failed}");
    let gone = client.ask("And?", json!({"store": false, "previous_response_id": second["response"]["id"]})).await;
    assert_eq!(gone["error"]["code"], "previous_response_not_found", "{gone}");
}

#[tokio::test]
async fn what_is_wrong_with_a_message_is_said_and_the_connection_stays() {
    let program = Weighbridge::start(demo_model()).await;
    let mut client = Client::open(&program, &[]).await.expect("it is open");
    for (message, status, code) in [
        (json!({"model": "demo"}), 400, "missing_required_parameter"),
        (
            json!({"type": "response.create", "model": "demo", "input": "x", "stream": true}),
            400,
            "unsupported_parameter",
        ),
        (json!({"type": "response.create", "model": "nobody", "input": "x"}), 404, "model_not_found"),
        (
            json!({"type": "response.create", "model": "demo", "input": "x", "temperature": 9}),
            400,
            "decimal_above_max_value",
        ),
    ] {
        client.send(&message).await;
        let events = client.read().await;
        assert_eq!((&events[0]["status"], &events[0]["error"]["code"]), (&json!(status), &json!(code)), "{message}");
    }
    assert_eq!(client.ask("Hello", json!({})).await["type"], "response.completed");
}

#[tokio::test]
async fn a_connection_is_for_who_may_ask() {
    let program = Weighbridge::start(demo_model()).await;
    assert_eq!(Client::open(&program, &[("origin", "https://evil.example")]).await.err(), Some(403));
    program.get("/v1/responses").await.assert_error(426, "", "send a POST");
    let program = Weighbridge::start(format!("{}{}", demo_model(), caller("a", "key-a", "").await)).await;
    assert_eq!(Client::open(&program, &[]).await.err(), Some(401));
    let mut client = Client::open(&program, &[("authorization", "Bearer key-a")]).await.expect("it is open");
    assert_eq!(client.ask("Hello", json!({})).await["type"], "response.completed");
}

#[tokio::test]
async fn a_client_that_goes_away_costs_nothing_more_and_a_stop_closes_the_connection() {
    let upstream = Upstream::start([Act::Hangs]).await;
    let config = format!("{}{}{}", demo_model(), provider("up", &upstream, ""), route(&["demo", "up/large"], ""));
    let mut program = Weighbridge::start(config).await;
    let mut client = Client::open(&program, &[]).await.expect("it is open");
    client.send(&json!({"type": "response.create", "model": "up/large", "input": "x"})).await;
    assert!(
        harness::eventually(async || program.metrics().await.sum("weighbridge_requests_in_flight", &[]) == 1.0).await
    );
    drop(client);
    assert!(
        harness::eventually(async || program.metrics().await.sum("weighbridge_requests_in_flight", &[]) == 0.0).await
    );
    let mut idle = Client::open(&program, &[]).await.expect("it is open");
    assert!(program.stop().await.success());
    let mut told = idle.0.next().await;
    while let Some(Ok(Message::Ping(_))) = told {
        told = idle.0.next().await;
    }
    assert!(matches!(told, Some(Ok(Message::Close(Some(frame)))) if u16::from(frame.code) == 1001));
}
