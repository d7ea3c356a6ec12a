//! Models from a hub, as users get them: the program against a hub that keeps its promises, and one that does not.

mod proxy;
#[path = "../../crates/weighbridge-hub/tests/simulator/mod.rs"]
mod simulator;

use std::path::PathBuf;
use std::process::Stdio;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use harness::{Finished, Weighbridge, demo_folder, demo_gguf, eventually, goldens, program_path, run};
use serde_json::json;
use tempfile::TempDir;
use tokio::process::{Child, Command};

use self::proxy::Proxy;
use self::simulator::{Simulator, lock, sha256};

const MIB: usize = 1 << 20;
/// Of the pieces that the program fetches a file in.
const PIECE: usize = 8 * MIB;

/// A hub with one repository, and a data folder to pull into.
struct Bench {
    hub: Simulator,
    data: TempDir,
}

impl Bench {
    async fn new() -> Self {
        Self { hub: Simulator::start().await, data: tempfile::tempdir().expect("a temporary folder can be made") }
    }

    /// With the demo model, as a folder and as a file.
    async fn with_demo() -> Self {
        let bench = Self::new().await;
        for file in ["config.json", "tokenizer.json", "tokenizer_config.json", "generation_config.json"] {
            bench.hub.small(file, &std::fs::read(demo_folder().join(file)).expect("the demo model has it"));
        }
        let weights = std::fs::read(demo_folder().join("model.safetensors")).expect("the demo model has weights");
        bench.hub.large("model.safetensors", &weights);
        bench.hub.large("tiny-BF16.gguf", &std::fs::read(demo_gguf()).expect("the demo model is a file as well"));
        bench
    }

    /// With a file of three pieces that is no model.
    async fn with_pieces() -> Self {
        let bench = Self::new().await;
        bench.hub.large("big-Q8_0.gguf", &pieces());
        bench
    }

    fn data(&self) -> String {
        self.data.path().display().to_string()
    }

    fn folder(&self) -> PathBuf {
        self.data.path().join("models/org/name")
    }

    /// Runs the program with the hub and the data folder, and what else is in `environment`.
    async fn run_with(&self, arguments: &[&str], environment: &[(&str, &str)]) -> Finished {
        let data = self.data();
        let mut all = vec![("HF_ENDPOINT", self.hub.endpoint.as_str()), ("WEIGHBRIDGE_DATA_DIR", data.as_str())];
        all.extend(environment);
        run(arguments.iter().copied(), "", &all).await
    }

    async fn run(&self, arguments: &[&str]) -> Finished {
        self.run_with(arguments, &[]).await
    }

    async fn pull(&self, source: &str) -> Finished {
        self.run(&["models", "pull", source]).await
    }

    /// Starts a pull, to be killed or dropped.
    fn start(&self, source: &str, environment: &[(&str, &str)]) -> Child {
        let mut command = Command::new(program_path());
        command.args(["models", "pull", source]).current_dir(self.data.path()).env_remove("WEIGHBRIDGE_CONFIG");
        command.env("HF_ENDPOINT", &self.hub.endpoint).env("WEIGHBRIDGE_DATA_DIR", self.data.path());
        command.envs(environment.iter().copied());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
        command.spawn().expect("the program can be started")
    }

    /// Holds a pull to a failure that says `piece`, and leaves no model behind.
    async fn check_refused(&self, arguments: &[&str], environment: &[(&str, &str)], code: i32, piece: &str) {
        let refused = self.run_with(arguments, environment).await.assert_code(code);
        assert!(refused.stderr.contains(piece), "\"{}\" does not say \"{piece}\"", refused.stderr);
        assert!(!refused.said().contains("signature"), "a signed address is a secret: {}", refused.said());
        let left: Vec<String> = files(&self.folder());
        assert!(left.iter().all(|name| name.starts_with(".parts/")), "something is in place: {left:?}");
        let list = self.run(&["models", "list"]).await.assert_code(0);
        assert!(!list.stdout.contains("org/name"), "{}", list.stdout);
    }

    fn bytes_sent(&self) -> u64 {
        self.hub.world.cdn_bytes.load(Ordering::Relaxed)
    }
}

/// Bytes of three pieces.
fn pieces() -> Vec<u8> {
    (0..2 * PIECE as u64 + MIB as u64).map(|i| (i * i % 251) as u8).collect()
}

/// The files below a folder, by their paths in it.
fn files(folder: &std::path::Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(&next).into_iter().flatten().flatten() {
            if entry.path().is_dir() {
                folders.push(entry.path());
            } else {
                found.push(entry.path().strip_prefix(folder).unwrap_or(&entry.path()).display().to_string());
            }
        }
    }
    found
}

#[tokio::test]
async fn a_model_is_pulled_looked_at_served_by_its_name_and_removed() {
    let bench = Bench::with_demo().await;
    for (source, kind) in [("hf:org/name", "folder"), ("hf:org/name:bf16", "file")] {
        let pulled = bench.pull(source).await.assert_code(0);
        assert!(pulled.stdout.contains("apache-2.0") && pulled.stdout.contains(source), "{}", pulled.stdout);
        assert!(pulled.stderr.contains("fetching "), "a log learns of no file: {}", pulled.stderr);
        let json = bench.run(&["models", "inspect", source, "--json"]).await.assert_code(0).json();
        assert_eq!((&json["architecture"], &json["vocabulary"]), (&json!("llama"), &json!(1801)), "of the {kind}");
    }
    let again = bench.pull("hf:org/name:BF16").await.assert_code(0);
    assert!(again.stdout.contains("is here already"), "{}", again.stdout);
    let list = bench.run(&["models", "list"]).await.assert_code(0);
    assert!(list.stdout.contains("hf:org/name:tiny-BF16.gguf"), "{}", list.stdout);
    let verified = bench.run(&["models", "verify"]).await.assert_code(0);
    assert!(verified.stdout.contains("6 files are what was pulled"), "{}", verified.stdout);

    for path in ["hf:org/name", "hf:org/name:BF16"] {
        let config = format!("[[models]]\nname = \"pulled\"\npath = {path:?}\n");
        let program = Weighbridge::with(config).with_variable("WEIGHBRIDGE_DATA_DIR", &bench.data()).start().await;
        let golden = &goldens()[1];
        let mut question = harness::ask("pulled", golden.question());
        question["temperature"] = 0.into();
        assert_eq!(program.post_chat(&question).await.text(), golden.answer, "{path}");
    }

    bench.run(&["models", "remove", "hf:org/name"]).await.assert_code(0);
    assert!(!bench.folder().exists());
    bench.run(&["models", "inspect", "hf:org/name"]).await.assert_code(2);
}

#[tokio::test]
async fn conditions_of_a_known_model_are_told_by_whatever_name_it_is_pulled() {
    let bench = Bench::with_demo().await;
    for name in ["gemma-3-270m-it", "hf:google/gemma-3-270m-it"] {
        let pulled = bench.pull(name).await.assert_code(0);
        assert!(
            pulled.stderr.contains("Gemma Terms of Use") && pulled.stderr.contains("flows down"),
            "{}",
            pulled.stderr
        );
    }
}

#[tokio::test]
async fn a_quantisation_brings_all_its_parts_and_no_other() {
    let bench = Bench::new().await;
    for name in ["m-Q4_K_M.gguf", "m-Q8_0-00001-of-00002.gguf", "m-Q8_0-00002-of-00002.gguf"] {
        bench.hub.large(name, name.as_bytes());
    }
    bench.check_refused(&["models", "pull", "hf:org/name"], &[], 2, "add which one, as in :Q4_K_M").await;
    bench.check_refused(&["models", "pull", "hf:org/name:Q2_K"], &[], 2, "m-Q4_K_M.gguf, m-Q8_0-00001").await;
    bench.pull("hf:org/name:Q8_0").await.assert_code(0);
    let mut here = files(&bench.folder());
    here.sort();
    assert_eq!(here, ["m-Q8_0-00001-of-00002.gguf", "m-Q8_0-00002-of-00002.gguf", "weighbridge-model.toml"]);
}

#[tokio::test]
async fn a_large_file_comes_in_pieces_at_once() {
    let bench = Bench::with_pieces().await;
    bench.pull("hf:org/name:Q8_0").await.assert_code(0);
    assert!(bench.hub.world.most_in_flight.load(Ordering::Relaxed) >= 2);
    let record = std::fs::read_to_string(bench.folder().join("weighbridge-model.toml")).expect("there is a record");
    assert!(record.contains(&sha256(&pieces())), "{record}");
}

#[tokio::test]
async fn a_pull_that_was_killed_goes_on_where_it_was() {
    let bench = Bench::with_pieces().await;
    bench.hub.world.stall_after.store(MIB as u64 / 2, Ordering::Relaxed);
    bench.hub.world.stalls_left.store(1, Ordering::Relaxed);
    let mut first = bench.start("hf:org/name:Q8_0", &[]);
    // All but the piece that stands still, and time for their last bytes to be written.
    let parts = bench.folder().join(".parts/big-Q8_0.gguf.part.state");
    let done = || async {
        let state: serde_json::Value =
            serde_json::from_slice(&std::fs::read(&parts).unwrap_or_default()).unwrap_or_default();
        let done: u64 = state["done"].as_array().into_iter().flatten().filter_map(serde_json::Value::as_u64).sum();
        done >= (PIECE + MIB) as u64
    };
    assert!(eventually(done).await, "the first pull does not get on");
    first.kill().await.expect("it runs");
    bench.check_refused(&["models", "inspect", "hf:org/name:Q8_0"], &[], 2, "has not been pulled").await;
    let before = bench.bytes_sent();
    bench.pull("hf:org/name:Q8_0").await.assert_code(0);
    assert!(bench.bytes_sent() - before <= PIECE as u64, "what was here came again");
    bench.run(&["models", "verify"]).await.assert_code(0);
}

#[tokio::test]
async fn a_connection_that_breaks_is_taken_up_unseen() {
    let bench = Bench::with_pieces().await;
    bench.hub.world.cut_after.store(3 * MIB as u64, Ordering::Relaxed);
    bench.hub.world.cuts_left.store(2, Ordering::Relaxed);
    bench.pull("hf:org/name:Q8_0").await.assert_code(0);
    assert_eq!(bench.bytes_sent(), pieces().len() as u64, "what had arrived came again");
}

#[tokio::test]
async fn two_pulls_of_one_repository_do_not_meet() {
    let bench = Bench::with_pieces().await;
    bench.hub.world.stall_after.store(1, Ordering::Relaxed);
    bench.hub.world.stalls_left.store(1, Ordering::Relaxed);
    let _first = bench.start("hf:org/name:Q8_0", &[]);
    assert!(eventually(|| async { bench.bytes_sent() > 0 }).await, "the first pull does not begin");
    bench.check_refused(&["models", "pull", "hf:org/name:Q8_0"], &[], 1, "another pull of org/name is under way").await;
}

#[tokio::test]
async fn a_hub_that_asks_for_patience_gets_it() {
    let bench = Bench::with_demo().await;
    bench.hub.world.busy.store(1, Ordering::Relaxed);
    bench.hub.world.unavailable.store(1, Ordering::Relaxed);
    let started = Instant::now();
    bench.pull("hf:org/name:BF16").await.assert_code(0);
    assert!(started.elapsed() >= Duration::from_secs(1), "it did not wait for as long as Retry-After says");
}

#[tokio::test]
async fn what_cannot_be_right_is_refused_and_nothing_of_it_kept() {
    let bench = Bench::with_pieces().await;
    let (world, pull) = (&bench.hub.world, ["models", "pull", "hf:org/name:Q8_0"]);
    world.swap_byte.store(true, Ordering::Relaxed);
    bench.check_refused(&pull, &[], 1, "was promised (by the hub); it is deleted").await;
    assert_eq!(files(&bench.folder()), [".parts/lock"]);
    world.swap_byte.store(false, Ordering::Relaxed);
    world.length_lie.store(5, Ordering::Relaxed);
    bench.check_refused(&pull, &[], 1, "bytes were asked for, and it announces").await;
    world.length_lie.store(0, Ordering::Relaxed);
    world.range_lie.store(true, Ordering::Relaxed);
    bench.check_refused(&pull, &[], 1, "was asked for, and it is \"bytes").await;
    world.range_lie.store(false, Ordering::Relaxed);
    world.redirect_lie.store(true, Ordering::Relaxed);
    bench.check_refused(&pull, &[], 1, "its list says").await;
    world.redirect_lie.store(false, Ordering::Relaxed);
    bench.pull("hf:org/name:Q8_0").await.assert_code(0);
}

#[tokio::test]
async fn a_model_that_no_disk_holds_is_refused_with_figures_before_a_byte_of_it() {
    let bench = Bench::with_demo().await;
    bench.hub.world.listed_size.store(1 << 42, Ordering::Relaxed);
    let needed = (1_u64 << 42) + (64 << 20);
    let pull = ["models", "pull", "hf:org/name:BF16"];
    bench.check_refused(&pull, &[], 1, &format!("{needed} bytes are to come")).await;
    assert_eq!(bench.hub.world.cdn_requests.load(Ordering::Relaxed), 0);
    assert_eq!(files(&bench.folder()), [".parts/lock"]);
}

#[tokio::test]
async fn offline_nothing_leaves_the_machine() {
    let bench = Bench::with_demo().await;
    let config = bench.data.path().join("offline.toml").display().to_string();
    std::fs::write(&config, "[hub]\noffline = true\n\n[[models]]\nname = \"demo\"\npath = \"builtin:demo\"\n")
        .expect("a file can be written there");
    let pull = ["models", "pull", "hf:org/name"];
    bench
        .check_refused(&["models", "pull", "hf:org/name", "--config", &config], &[], 2, "offline = true in [hub]")
        .await;
    bench.check_refused(&pull, &[("HF_HUB_OFFLINE", "1")], 2, "HF_HUB_OFFLINE is 1").await;
    assert_eq!(bench.hub.world.requests.load(Ordering::Relaxed), 0);
    bench.pull("hf:org/name").await.assert_code(0);
    let asked = bench.hub.world.requests.load(Ordering::Relaxed);
    bench.run_with(&pull, &[("HF_HUB_OFFLINE", "1")]).await.assert_code(0);
    assert_eq!(bench.hub.world.requests.load(Ordering::Relaxed), asked);
}

#[tokio::test]
async fn a_token_goes_by_reference_to_the_hub_alone() {
    let bench = Bench::with_demo().await;
    *lock(&bench.hub.world.wants_token) = Some("hf_secret".to_owned());
    let plain = ["models", "pull", "hf:org/name:BF16"];
    let named = ["models", "pull", "hf:org/name:BF16", "--token-env", "MY_TOKEN"];
    // Not even one by a usual name is sent unasked.
    bench.check_refused(&plain, &[("HF_TOKEN", "hf_secret")], 1, "--token-env").await;
    bench.check_refused(&named, &[], 2, "MY_TOKEN is not set").await;
    bench.check_refused(&named, &[("MY_TOKEN", "hf_other")], 1, "accept its conditions").await;
    for status in [401, 403] {
        bench.hub.world.refuses.store(status, Ordering::Relaxed);
        let page = format!("{}/org/name", bench.hub.endpoint);
        bench.check_refused(&plain, &[], 1, "token_env in [hub]").await;
        bench.check_refused(&named, &[("MY_TOKEN", "hf_secret")], 1, &page).await;
    }
    bench.hub.world.refuses.store(0, Ordering::Relaxed);
    lock(&bench.hub.world.seen).clear();
    let pulled = bench.run_with(&named, &[("MY_TOKEN", "hf_secret")]).await.assert_code(0);
    assert!(!pulled.said().contains("hf_secret"), "{}", pulled.said());
    let seen = lock(&bench.hub.world.seen).clone();
    assert!(seen.iter().all(|(_, sent)| sent.as_deref() == Some("Bearer hf_secret")), "{seen:?}");
    assert!(bench.hub.world.cdn_requests.load(Ordering::Relaxed) > 0);
    assert!(!bench.hub.world.cdn_saw_token.load(Ordering::Relaxed), "the token went on to where the hub redirects");
}

#[tokio::test]
async fn hub_and_token_are_taken_from_the_config_too() {
    let bench = Bench::with_demo().await;
    *lock(&bench.hub.world.wants_token) = Some("hf_secret".to_owned());
    let config = bench.data.path().join("hub.toml").display().to_string();
    let text = format!("[hub]\nendpoint = {:?}\ntoken_env = \"MY_TOKEN\"\n", bench.hub.endpoint);
    std::fs::write(&config, text).expect("a file can be written there");
    let elsewhere = [("HF_ENDPOINT", "http://127.0.0.1:9"), ("MY_TOKEN", "hf_secret")];
    bench.run_with(&["models", "pull", "hf:org/name", "--config", &config], &elsewhere).await.assert_code(0);
}

#[tokio::test]
async fn proxies_of_the_environment_are_used() {
    let bench = Bench::new().await;
    bench.hub.small("config.json", b"{}");
    bench.hub.small("model.safetensors", b"no CDN is asked for what is small");
    let proxy = Proxy::start(&bench.hub.endpoint).await;
    let through = [("HF_ENDPOINT", "http://hub.invalid"), ("HTTP_PROXY", proxy.url.as_str())];
    bench.run_with(&["models", "pull", "hf:org/name"], &through).await.assert_code(0);
    let seen = proxy.seen();
    assert!(seen.iter().any(|line| line.starts_with("GET http://hub.invalid/api/models/org/name/")), "{seen:?}");

    let _pull = bench.start("hf:org/other", &[("HF_ENDPOINT", "https://hub.invalid"), ("HTTPS_PROXY", &proxy.url)]);
    let connects = || async { proxy.seen().iter().any(|line| line.starts_with("CONNECT hub.invalid:443 ")) };
    assert!(eventually(connects).await, "{:?}", proxy.seen());

    // An address of this machine that is not its loopback.
    let direct = bench.hub.endpoint.replace("127.0.0.1", "0.0.0.0");
    let asked = proxy.seen().len();
    let around = [("HF_ENDPOINT", direct.as_str()), ("HTTP_PROXY", &proxy.url), ("NO_PROXY", "0.0.0.0")];
    bench.run_with(&["models", "pull", "hf:org/third"], &around).await.assert_code(0);
    let seen = proxy.seen();
    assert!(seen[asked..].iter().all(|line| line.starts_with("CONNECT hub.invalid:443 ")), "{seen:?}");
}
