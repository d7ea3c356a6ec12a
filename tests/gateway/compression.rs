//! Answers and bodies that are compressed.

use std::io::{Read, Write};
use std::time::Duration;

use harness::{Act, Reply, Upstream, Weighbridge, ask, demo_model, provider, route};
use serde_json::Value;

const CODINGS: [&str; 3] = ["gzip", "br", "zstd"];

fn compressed(coding: &str, text: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    match coding {
        "gzip" => {
            let mut writer = flate2::write::GzEncoder::new(&mut bytes, flate2::Compression::fast());
            writer.write_all(text).expect("it can be compressed");
        }
        "br" => {
            let mut writer = brotli::CompressorWriter::new(&mut bytes, 4096, 4, 20);
            writer.write_all(text).expect("it can be compressed");
        }
        _ => bytes = zstd::stream::encode_all(text, 3).expect("it can be compressed"),
    }
    bytes
}

/// What can be read of a body that may go on.
fn read_so_far(coding: &str, bytes: &[u8]) -> String {
    let mut text = Vec::new();
    // The end is missed where there is none yet; what stands before it was read.
    let _ = match coding {
        "gzip" => flate2::read::GzDecoder::new(bytes).read_to_end(&mut text),
        "br" => brotli::Decompressor::new(bytes, 4096).read_to_end(&mut text),
        _ => zstd::stream::read::Decoder::new(bytes).and_then(|mut it| it.read_to_end(&mut text)),
    };
    String::from_utf8(text).expect("an answer is text")
}

fn read_whole(coding: &str, bytes: &[u8]) -> String {
    let mut text = String::new();
    let read = match coding {
        "gzip" => flate2::read::GzDecoder::new(bytes).read_to_string(&mut text),
        "br" => brotli::Decompressor::new(bytes, 4096).read_to_string(&mut text),
        _ => zstd::stream::read::Decoder::new(bytes).and_then(|mut it| it.read_to_string(&mut text)),
    };
    read.expect("the body is whole");
    text
}

fn request(program: &Weighbridge, body: &Value, coding: &str) -> reqwest::RequestBuilder {
    let request = program.post("/v1/chat/completions").header("content-type", "application/json");
    request.header("accept-encoding", coding).body(body.to_string())
}

async fn with_upstream(upstream: &Upstream, settings: &str) -> Weighbridge {
    let config = format!("{settings}{}{}", provider("up", upstream, ""), route(&["up/large"], ""));
    Weighbridge::start(config).await
}

#[tokio::test]
async fn every_event_of_a_stream_can_be_read_before_the_next_is_sent() {
    let words = ["one", " two", " three", " four"];
    for coding in CODINGS {
        for count in 1..=words.len() {
            // The upstream says so many words, and then nothing more on an open connection.
            let upstream = Upstream::start([Act::StallsAfter(words[..count].to_vec())]).await;
            let program = with_upstream(&upstream, "").await;
            let mut body = ask("up/large", "Hello");
            body["stream"] = true.into();
            let mut answer = request(&program, &body, coding).send().await.expect("it answers");
            assert_eq!(answer.headers()["content-encoding"], coding);
            let last = format!("{:?}", words[count - 1]);
            let (mut bytes, mut text) = (Vec::new(), String::new());
            while !text.contains(&last) {
                let chunk = tokio::time::timeout(Duration::from_secs(20), answer.chunk()).await;
                let chunk = chunk.unwrap_or_else(|_| unreachable!("{coding}: {last} is held back after {text}"));
                bytes.extend(chunk.expect("it goes on").expect("it has not ended"));
                text = read_so_far(coding, &bytes);
            }
            assert!(text.ends_with("\n\n"), "{coding}: an event is cut: {text}");
        }
    }
}

#[tokio::test]
async fn a_compressed_stream_is_the_same_stream() {
    let program = Weighbridge::start(demo_model()).await;
    let mut body = ask("demo", "Tell me a story about a fox and a lamp.");
    let plain = program.stream_chat(&body).await;
    body["stream"] = true.into();
    for coding in CODINGS {
        let answer = request(&program, &body, coding).send().await.expect("it answers");
        assert_eq!(answer.headers()["content-encoding"], coding);
        assert_eq!(answer.headers()["vary"], "accept-encoding");
        let bytes = answer.bytes().await.expect("it ends");
        let text = read_whole(coding, &bytes);
        let events: Vec<&str> = text.split("\n\n").filter_map(|event| event.strip_prefix("data: ")).collect();
        assert_eq!((events.len(), events.last()), (plain.events.len() + 1, Some(&"[DONE]")), "{text}");
        let said: String = events
            .iter()
            .filter_map(|event| serde_json::from_str::<Value>(event).ok())
            .filter_map(|event| event["choices"][0]["delta"]["content"].as_str().map(str::to_owned))
            .collect();
        assert_eq!(said, plain.text());
        assert!(bytes.len() * 3 < text.len(), "{coding}: {} bytes of {}", bytes.len(), text.len());
    }
}

#[tokio::test]
async fn whole_answers_are_compressed_from_a_kilobyte_on() {
    let program = Weighbridge::start(demo_model()).await;
    let mut long = ask("demo", "Tell me a story about a fox and a lamp.");
    long["n"] = 8.into();
    let plain = program.post_chat(&long).await;
    assert_eq!((plain.status, plain.header("content-encoding"), plain.header("vary")), (200, "", "accept-encoding"));
    for coding in CODINGS {
        let answer = request(&program, &long, coding).send().await.expect("it answers");
        assert_eq!(answer.headers()["content-encoding"], coding);
        let announced = answer.headers()["content-length"].to_str().ok().and_then(|it| it.parse::<usize>().ok());
        let bytes = answer.bytes().await.expect("it ends");
        assert_eq!(announced, Some(bytes.len()));
        let whole: Value = serde_json::from_str(&read_whole(coding, &bytes)).expect("it is JSON");
        assert_eq!(whole["choices"], plain.json()["choices"]);
        let short = request(&program, &ask("demo", "Hello"), coding).send().await.expect("it answers");
        assert!(short.status() == 200 && short.headers().get("content-encoding").is_none());
    }
}

#[tokio::test]
async fn the_config_says_what_is_compressed() {
    let mut long = ask("demo", "Tell me a story about a fox and a lamp.");
    long["n"] = 8.into();
    let mut stream = ask("demo", "Hello");
    stream["stream"] = true.into();
    for (word, bodies, streams) in [("all", true, true), ("bodies", true, false), ("none", false, false)] {
        let program = Weighbridge::start(format!("[server]\ncompression = {word:?}\n{}", demo_model())).await;
        for (body, expected) in [(&long, bodies), (&stream, streams)] {
            let answer = request(&program, body, "gzip, br").send().await.expect("it answers");
            let found = answer.headers().get("content-encoding").map(|coding| coding.to_str().unwrap_or_default());
            assert_eq!(found, expected.then_some("br"), "{word}");
        }
    }
}

async fn post(program: &Weighbridge, coding: &str, body: Vec<u8>) -> Reply {
    let request = program.post("/v1/chat/completions").header("content-type", "application/json");
    program.send(request.header("content-encoding", coding).body(body)).await
}

#[tokio::test]
async fn bodies_may_come_compressed_and_keep_their_bound() {
    let program = Weighbridge::start(format!("[server]\nmax_body_bytes = 100000\n{}", demo_model())).await;
    let body = ask("demo", "Hello").to_string();
    let bomb = ask("demo", &" ".repeat(10_000_000)).to_string();
    for coding in CODINGS {
        let reply = post(&program, coding, compressed(coding, body.as_bytes())).await;
        reply.assert_says("Hello! How can I help you today?", "demo");
        let small = compressed(coding, bomb.as_bytes());
        assert!(small.len() < 100_000);
        post(&program, coding, small).await.assert_error(413, "request_too_large", "100000 bytes");
        post(&program, coding, body.clone().into_bytes()).await.assert_error(400, "invalid_body", coding);
    }
    for unknown in ["deflate", "gzip, br", "x"] {
        let reply = post(&program, unknown, compressed("gzip", body.as_bytes())).await;
        reply.assert_error(415, "unsupported_content_encoding", "gzip, br or zstd");
    }
    post(&program, "identity", body.into_bytes()).await.assert_says("Hello! How can I help you today?", "demo");
}
