//! How the program starts, and how it ends.

use std::time::{Duration, Instant};

use harness::{Act, Upstream, Weighbridge, ask, demo_folder, demo_model, eventually, provider, route, run};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Pieces of an answer that takes a second and a half.
fn slow_answer() -> Act {
    Act::SaysSlowly(vec!["one", " two", " three", " four", " five"], Duration::from_millis(300))
}

fn with_grace(grace_ms: u64, upstream: &Upstream) -> String {
    format!("[server]\ngrace_ms = {grace_ms}\n{}{}", provider("up", upstream, ""), route(&["up/large"], ""))
}

#[tokio::test]
async fn it_says_where_it_listens_what_it_serves_and_how_to_go_on() {
    let program = Weighbridge::start(demo_model()).await;
    let curl = format!("curl {}/v1/chat/completions", program.url());
    assert!(eventually(async || program.stdout().contains(&curl)).await, "{}", program.stdout());
    for piece in ["demo", "w.toml", "ledger"] {
        assert!(program.stdout().contains(piece), "{}", program.stdout());
    }
}

#[tokio::test]
async fn when_told_to_stop_it_lets_a_stream_end() {
    let upstream = Upstream::start([slow_answer()]).await;
    let mut program = Weighbridge::start(with_grace(20_000, &upstream)).await;
    let mut stream = program.open_stream(&ask("up/large", "Hello")).await;
    stream.read_texts(1).await;
    program.terminate().await;
    let stream = stream.finish().await;
    assert_eq!((stream.text().as_str(), stream.done), ("one two three four five", true));
    let ended = program.wait().await;
    assert!(ended.success(), "{ended}: {}", program.stderr());
    assert!(program.stdout().contains("1 requests were under way and all of them ended"), "{}", program.stdout());
    assert_eq!(program.ledger().column::<String>("SELECT outcome FROM receipts"), ["completed"]);
}

#[tokio::test]
async fn when_told_to_stop_it_takes_no_more_requests() {
    let upstream = Upstream::start([slow_answer()]).await;
    let mut program = Weighbridge::start(with_grace(20_000, &upstream)).await;
    let mut stream = program.open_stream(&ask("up/large", "Hello")).await;
    stream.read_texts(1).await;
    program.terminate().await;
    assert!(eventually(async || program.stderr().contains("stopping")).await, "{}", program.stderr());
    // A new connection is refused, or a request on it is.
    let body = ask("up/large", "Hello").to_string();
    let request = program.post("/v1/chat/completions").header("content-type", "application/json").body(body);
    let answer = request.send().await;
    assert!(answer.as_ref().map_or(true, |answer| answer.status() == 503), "{answer:?}");
    assert!(stream.finish().await.done && program.wait().await.success());
    assert_eq!(upstream.count(), 1);
}

#[tokio::test]
async fn when_its_grace_is_over_it_cuts_what_is_left_and_says_so() {
    let upstream = Upstream::start([Act::StallsAfter(vec!["half an"])]).await;
    let mut program = Weighbridge::start(with_grace(300, &upstream)).await;
    let mut stream = program.open_stream(&ask("up/large", "Hello")).await;
    stream.read_texts(1).await;
    let started = Instant::now();
    program.terminate().await;
    let stream = stream.finish().await;
    assert_eq!((stream.error_code().as_str(), stream.done, stream.broken), ("shutting_down", false, false));
    program.wait().await;
    assert!(started.elapsed() < Duration::from_secs(10), "it took {:?}", started.elapsed());
    assert!(program.stdout().contains("1 of them were cut off"), "{}", program.stdout());
    assert_eq!(program.ledger().column::<String>("SELECT outcome FROM receipts"), ["stopped"]);
}

#[tokio::test]
async fn when_its_grace_is_over_it_cuts_an_answer_that_has_not_begun() {
    let upstream = Upstream::start([Act::Hangs]).await;
    let mut program = Weighbridge::start(with_grace(300, &upstream)).await;
    let body = ask("up/large", "Hello").to_string();
    let request = program.post("/v1/chat/completions").header("content-type", "application/json").body(body);
    let asking = tokio::spawn(request.send());
    assert!(eventually(async || upstream.count() == 1).await);
    let started = Instant::now();
    program.terminate().await;
    program.wait().await;
    assert!(started.elapsed() < Duration::from_secs(10), "it took {:?}", started.elapsed());
    let answer = asking.await.ok().and_then(Result::ok);
    assert_eq!(answer.map(|answer| answer.status().as_u16()), Some(503), "{}", program.stderr());
    assert_eq!(program.ledger().column::<String>("SELECT outcome FROM receipts"), ["stopped"]);
}

#[tokio::test]
async fn an_idle_program_stops_at_once() {
    let mut program = Weighbridge::start(demo_model()).await;
    // A kept connection holds nobody up.
    assert_eq!(program.post_chat(&ask("demo", "Hello")).await.status, 200);
    let started = Instant::now();
    assert!(program.stop().await.success());
    assert!(started.elapsed() < Duration::from_secs(5), "it took {:?}", started.elapsed());
}

#[tokio::test]
async fn a_client_that_hangs_up_stops_its_generation() {
    let program = Weighbridge::start(demo_model()).await;
    let mut body = ask("demo", "Tell me a story about a fox and a lamp.");
    (body["n"], body["temperature"], body["seed"]) = (64.into(), 1.into(), 1.into());
    let mut stream = program.open_stream(&body).await;
    stream.read_texts(1).await;
    let running = async || program.metrics().await.sum("weighbridge_queue_running", &[("backend", "demo")]);
    assert!(running().await > 0.0);
    drop(stream);
    assert!(eventually(async || running().await == 0.0).await, "it goes on for nobody");
    let tokens = program.metrics().await.sum("weighbridge_tokens_total", &[("kind", "completion")]);
    assert!(tokens < 64.0 * 40.0, "it made {tokens} tokens for nobody");
}

#[tokio::test]
async fn a_busy_port_is_told_in_one_line() {
    let taken = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let address = taken.local_addr().expect("it is bound").to_string();
    let refused = Weighbridge::with(demo_model()).with_argument("--listen").with_argument(&address).fail().await;
    let refused = refused.assert_code(1);
    assert_eq!(refused.stderr.lines().count(), 1, "{}", refused.stderr);
    assert!(refused.stderr.contains(&address) && refused.stderr.contains("--listen"), "{}", refused.stderr);
}

#[tokio::test]
async fn a_missing_key_stops_the_start_and_is_named() {
    let upstream = Upstream::saying("never").await;
    let config = |settings: &str| {
        format!("{}{}{}", demo_model(), provider("up", &upstream, settings), route(&["up/large", "demo"], ""))
    };
    let refused = Weighbridge::with(config("key_env = \"NO_SUCH_KEY\"")).fail().await.assert_code(2);
    assert!(refused.stderr.contains("NO_SUCH_KEY") && refused.stderr.contains("optional"), "{}", refused.stderr);
    assert_eq!(refused.stderr.lines().count(), 1, "{}", refused.stderr);
    // With the key it starts, and where the provider is optional it starts without it.
    drop(Weighbridge::with(config("key_env = \"NO_SUCH_KEY\"")).with_variable("NO_SUCH_KEY", "k").start().await);
    let program = Weighbridge::start(config("key_env = \"NO_SUCH_KEY\"\noptional = true")).await;
    program.post_chat(&ask("auto", "Hello")).await.assert_says("Hello! How can I help you today?", "demo");
    let state = &program.get("/ready").await.json()["backends"]["up/large"];
    assert!(state["reason"].as_str().is_some_and(|reason| reason.contains("NO_SUCH_KEY")), "{state}");
    assert_eq!(upstream.count(), 0);
}

#[tokio::test]
async fn a_corrupt_model_is_told_in_one_line() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let whole = std::fs::read(demo_folder().join("model.safetensors")).expect("it is in the repository");
    for file in ["config.json", "tokenizer.json", "tokenizer_config.json", "generation_config.json"] {
        std::fs::copy(demo_folder().join(file), folder.path().join(file)).expect("it can be copied");
    }
    let gguf = std::fs::read(harness::demo_gguf()).expect("it is in the repository");
    let half = folder.path().join("half.gguf");
    std::fs::write(folder.path().join("model.safetensors"), &whole[..whole.len() / 2]).expect("it can be written");
    std::fs::write(&half, &gguf[..gguf.len() / 2]).expect("it can be written");
    for path in [folder.path(), &half] {
        let config = format!("[[models]]\nname = \"m\"\npath = {:?}\n", path.display().to_string());
        let refused = Weighbridge::with(config).fail().await.assert_code(1);
        let errors: Vec<&str> = refused.stderr.lines().filter(|line| line.starts_with("error")).collect();
        assert!(errors.len() == 1 && errors[0].contains(&path.display().to_string()), "{}", refused.stderr);
    }
}

#[tokio::test]
async fn checkpoints_are_served_without_a_config() {
    let gguf = harness::demo_gguf().display().to_string();
    let refused = run(["serve", "/no/such/model.gguf"], "", &[]).await.assert_code(2);
    assert!(refused.stderr.contains("/no/such/model.gguf"), "{}", refused.stderr);
    let program = Weighbridge::serving(&[&gguf, &demo_folder().display().to_string()]).await;
    let list = program.get("/v1/models").await.json();
    let ids: Vec<&str> =
        list["data"].as_array().into_iter().flatten().filter_map(|model| model["id"].as_str()).collect();
    assert_eq!(ids, ["auto", "demo", "demo-2"]);
    for model in ["demo", "demo-2"] {
        program.post_chat(&ask(model, "Hello")).await.assert_says("Hello! How can I help you today?", model);
    }
}

#[tokio::test]
async fn without_anything_it_serves_the_model_that_it_carries() {
    let program = Weighbridge::serving(&[]).await;
    program.post_chat(&ask("demo", "Hello")).await.assert_says("Hello! How can I help you today?", "demo");
    let says_so = async || program.stdout().contains("config   none");
    assert!(eventually(says_so).await, "{}", program.stdout());
}

#[tokio::test]
async fn a_connection_that_sends_half_a_head_is_closed_in_time() {
    let program = Weighbridge::start(format!("[server]\nhead_timeout_ms = 300\n{}", demo_model())).await;
    let address = program.url().trim_start_matches("http://");
    let mut connection = TcpStream::connect(address).await.expect("it listens");
    connection.write_all(b"GET /health HTTP/1.1\r\nhos").await.expect("half a head can be sent");
    let mut rest = Vec::new();
    let closed = tokio::time::timeout(Duration::from_secs(10), connection.read_to_end(&mut rest)).await;
    assert!(closed.is_ok(), "the connection is still open");
}
