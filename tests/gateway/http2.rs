//! HTTP/2 without TLS, and the bounds of a connection in both protocols.

use std::time::Duration;

use harness::{Weighbridge, ask, client, demo_model};
use reqwest::{Client, Version};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// What a client of HTTP/2 sends first, with settings that say nothing.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// A client that speaks HTTP/2 without asking.
fn knowing() -> Client {
    drop(client());
    let client = Client::builder().no_proxy().timeout(harness::PATIENCE).http2_prior_knowledge();
    client.build().expect("a client can be built")
}

async fn speaking_http2(config: String) -> Weighbridge {
    let program = Weighbridge::start(config).await;
    let url = program.url().to_owned();
    program.speaking(knowing(), &url)
}

#[tokio::test]
async fn it_is_spoken_without_tls_to_whoever_begins_with_it() {
    let program = speaking_http2(demo_model()).await;
    let health = knowing().get(format!("{}/health", program.url())).send().await.expect("it answers");
    assert_eq!(health.version(), Version::HTTP_2);
    program.post_chat(&ask("demo", "Hello")).await.assert_says("Hello! How can I help you today?", "demo");
    let stream = program.stream_chat(&ask("demo", "Hello")).await;
    assert_eq!((stream.text().as_str(), stream.done), ("Hello! How can I help you today?", true));
}

#[tokio::test]
async fn streams_share_a_connection_and_more_than_it_takes_wait() {
    let program = speaking_http2(format!("[server]\nmax_streams_per_connection = 2\n{}", demo_model())).await;
    let story = ask("demo", "Tell me a story about a fox and a lamp.");
    let streams = [program.stream_chat(&story), program.stream_chat(&story), program.stream_chat(&story)];
    for stream in futures_util::future::join_all(streams).await {
        assert!(stream.done && !stream.broken, "{stream:?}");
    }
}

#[tokio::test]
async fn one_that_hangs_up_a_stream_stops_its_generation() {
    let program = speaking_http2(demo_model()).await;
    let mut body = ask("demo", "Tell me a story about a fox and a lamp.");
    (body["n"], body["temperature"], body["seed"]) = (64.into(), 1.into(), 1.into());
    let mut stream = program.open_stream(&body).await;
    stream.read_texts(1).await;
    drop(stream);
    let running = async || program.metrics().await.sum("weighbridge_queue_running", &[("backend", "demo")]);
    assert!(harness::eventually(async || running().await == 0.0).await, "it goes on for nobody");
}

#[tokio::test]
async fn an_open_gateway_looks_at_the_host_of_http2_too() {
    let program = Weighbridge::start(demo_model()).await;
    let address = program.url().trim_start_matches("http://").parse().expect("it is an address");
    let foreign = Client::builder().no_proxy().http2_prior_knowledge().resolve("evil.example", address);
    let client = foreign.timeout(harness::PATIENCE).build().expect("a client can be built");
    let port = program.url().rsplit(':').next().unwrap_or_default();
    let answer = client.get(format!("http://evil.example:{port}/health")).send().await.expect("it answers");
    assert_eq!((answer.version(), answer.status().as_u16()), (Version::HTTP_2, 403));
}

#[tokio::test]
async fn connections_on_which_nothing_happens_are_closed_whatever_they_speak() {
    let program = Weighbridge::start(format!("[server]\nhead_timeout_ms = 300\n{}", demo_model())).await;
    let address = program.url().trim_start_matches("http://");
    for beginning in [b"".as_slice(), b"PRI * HTTP", PREFACE, b"GET / HTTP/1.1\r\n"] {
        let mut connection = TcpStream::connect(address).await.expect("it listens");
        connection.write_all(beginning).await.expect("it can be sent");
        let mut rest = Vec::new();
        let closed = tokio::time::timeout(Duration::from_secs(10), connection.read_to_end(&mut rest)).await;
        assert!(closed.is_ok(), "still open after {:?}", String::from_utf8_lossy(beginning));
    }
}

#[tokio::test]
async fn heads_beyond_their_bounds_get_a_431() {
    let program = Weighbridge::start(format!("[server]\nmax_header_bytes = 16384\n{}", demo_model())).await;
    let url = format!("{}/health", program.url());
    for client in [client(), knowing()] {
        let with = |count: usize, bytes: usize| {
            let request = client.get(&url);
            (0..count).fold(request, |request, i| request.header(format!("x-{i}"), "v".repeat(bytes)))
        };
        let status = async |count, bytes| with(count, bytes).send().await.map(|answer| answer.status().as_u16()).ok();
        assert_eq!(status(1, 8000).await, Some(200));
        assert_eq!(status(1, 20_000).await, Some(431));
        assert_eq!(status(60, 10).await, Some(200));
        assert_eq!(status(120, 10).await, Some(431));
    }
    let request = knowing().post(format!("{}/v1/messages", program.url()));
    let request = (0..120).fold(request, |request, i| request.header(format!("x-{i}"), "v"));
    let reply = request.send().await.expect("it answers").text().await.expect("it arrives whole");
    let reply: Value = serde_json::from_str(&reply).expect(&reply);
    assert_eq!((&reply["type"], &reply["error"]["type"]), (&json!("error"), &json!("invalid_request_error")));
    assert_eq!(reply["error"]["details"]["error_code"], "headers_too_large");
}

#[tokio::test]
async fn an_idle_connection_of_http2_holds_up_no_stop() {
    let mut program = speaking_http2(demo_model()).await;
    assert_eq!(program.get("/health").await.status, 200);
    let started = std::time::Instant::now();
    assert!(program.stop().await.success());
    assert!(started.elapsed() < Duration::from_secs(5), "it took {:?}", started.elapsed());
}
