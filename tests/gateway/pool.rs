//! Models that share a memory: loaded when they are asked, unloaded when their room is needed.

use std::path::Path;

use harness::{Reply, Starting, Weighbridge, ask, demo_folder, demo_model, eventually, goldens, run, run_in};
use serde_json::{Value, json};

/// Pages of each model here.
const PAGES_MIB: u64 = 4;

/// A demo model under another name, with further lines of its own.
fn model(name: &str, folder: &Path, settings: &str) -> String {
    let path = folder.display().to_string();
    format!("[[models]]\nname = {name:?}\npath = {path:?}\npage_memory_mib = {PAGES_MIB}\n{settings}\n")
}

/// Demo models under these names.
fn models(names: &[&str]) -> String {
    names.iter().map(|name| model(name, &demo_folder(), "")).collect()
}

/// What the program plans for one such model, rounded up to MiB.
async fn model_mib() -> u64 {
    let program = Weighbridge::start(format!("[engine]\nmemory_budget_mib = 4096\n{}", models(&["a"]))).await;
    let status = program.get("/admin/models/a").await.json();
    status["memory_bytes"].as_u64().unwrap_or_default().div_ceil(1 << 20)
}

async fn engine(room_for: u64, settings: &str) -> String {
    format!("[engine]\nmemory_budget_mib = {}\n{settings}\n", room_for * model_mib().await)
}

async fn told(program: &Weighbridge, path: &str) -> Reply {
    program.send(program.post(path)).await
}

async fn states(program: &Weighbridge) -> Vec<String> {
    let list = program.get("/admin/models").await.json();
    let models = list["data"].as_array().cloned().unwrap_or_default();
    models.iter().map(|model| model["state"].as_str().unwrap_or_default().to_owned()).collect()
}

/// The planned memory of all models that are there, and the budget.
async fn held(program: &Weighbridge) -> (u64, u64) {
    let list = program.get("/admin/models").await.json();
    let figure = |key: &str| list[key].as_u64().unwrap_or_default();
    (figure("memory_held_bytes"), figure("memory_budget_bytes"))
}

#[tokio::test]
async fn three_models_in_room_for_two_all_answer_and_never_take_more() {
    let config = format!("{}{}", engine(2, "").await, models(&["a", "b", "c"]));
    let program = Weighbridge::start(config).await;
    let golden = &goldens()[0];
    let before = program.memory_bytes();
    assert_eq!(states(&program).await, ["unloaded"; 3]);
    for round in 0..4 {
        // By turns, then all at once: who comes third waits until one of the others has ended.
        let bodies: Vec<Value> = ["a", "b", "c"]
            .iter()
            .map(|name| json!({"model": name, "messages": golden.messages, "temperature": 0}))
            .collect();
        let replies = if round % 2 == 0 {
            let mut replies = Vec::new();
            for body in &bodies {
                replies.push(program.post_chat(body).await);
            }
            replies
        } else {
            futures_util::future::join_all(bodies.iter().map(|body| program.post_chat(body))).await
        };
        for (reply, name) in replies.iter().zip(["a", "b", "c"]) {
            reply.assert_says(&golden.answer, name);
        }
        let (held, budget) = held(&program).await;
        assert!(0 < held && held <= budget, "{held} of {budget}");
        let taken = program.memory_bytes().saturating_sub(before);
        assert!(taken <= budget, "{taken} bytes are resident of a budget of {budget}");
    }
    let metrics = program.metrics().await;
    let sum = |name: &str, labels: &[(&str, &str)]| metrics.sum(&format!("weighbridge_{name}"), labels);
    assert!(sum("model_loads_total", &[("result", "loaded")]) > 3.0);
    assert_eq!(sum("model_loads_total", &[("result", "failed")]), 0.0);
    assert_eq!(
        sum("model_loads_total", &[]) - sum("model_unloads_total", &[]),
        sum("model_state", &[("state", "ready")])
    );
    assert_eq!(sum("model_state", &[]), 3.0);
    assert!(sum("model_memory_held_bytes", &[]) <= sum("model_memory_budget_bytes", &[]));
    for piece in ["loading", "loaded", "unloaded"] {
        assert!(program.stderr().contains(piece), "{}", program.stderr());
    }
}

#[tokio::test]
async fn a_model_that_can_never_fit_stops_the_start_with_figures() {
    let pages = "context = 1024";
    let fourth = model("fourth", &demo_folder(), pages).replace("page_memory_mib = 4", "page_memory_mib = 4000");
    let config = format!("{}{}{fourth}", engine(2, "").await, models(&["a", "b", "c"]));
    let refused = Weighbridge::with(config.clone()).fail().await.assert_code(2);
    for piece in ["the model \"fourth\" takes ", "pages 4000", "the memory budget is ", "memory_budget_mib"] {
        assert!(refused.stderr.contains(piece), "{}", refused.stderr);
    }
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    std::fs::write(folder.path().join("w.toml"), config).expect("a file can be written there");
    let check = ["check", "--config", "w.toml"];
    let checked = run_in(folder.path(), check, "", &[]).await.assert_code(2);
    assert!(checked.stderr.contains("the model \"fourth\" takes "), "{}", checked.stderr);
    let fits = format!("{}{}", engine(2, "").await, models(&["a", "b", "c"]));
    std::fs::write(folder.path().join("w.toml"), fits).expect("a file can be written there");
    let checked = run_in(folder.path(), check, "", &[]).await.assert_code(0);
    for piece in ["until its room is needed", "1024 tokens", "memory for models together"] {
        assert!(checked.stdout.contains(piece), "{}", checked.stdout);
    }
}

#[tokio::test]
async fn a_model_that_cannot_be_loaded_is_a_503_and_the_others_answer() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    for file in ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"] {
        std::fs::copy(demo_folder().join(file), folder.path().join(file)).expect("it can be copied");
    }
    let weights = folder.path().join("model.safetensors");
    let config = format!("{}{}{}", engine(2, "").await, model("broken", folder.path(), ""), models(&["whole"]));
    let program = Weighbridge::start(config).await;
    let bytes = std::fs::read(&weights).expect("it was copied");
    let cut = |length| std::fs::File::options().write(true).open(&weights).and_then(|file| file.set_len(length));
    cut(1000).expect("it can be cut short");

    let failed = program.post_chat(&ask("broken", "Hello")).await;
    failed.assert_error(503, "model_unavailable", "was cut short");
    assert!(failed.message().contains("weighbridge models load broken"), "{}", failed.message());
    assert!((1..=6).contains(&failed.header("retry-after").parse::<u64>().unwrap_or(0)), "{:?}", failed.headers);
    // For a while the plan leaves it out, and says why.
    let left_out = program.post_chat(&ask("broken", "Hello")).await;
    left_out.assert_error(503, "no_backend_available", "was cut short");
    let ready = program.get("/ready").await.json();
    assert_eq!(ready["backends"]["broken"]["model"], "failed");
    assert_eq!(program.post_chat(&ask("whole", "Hello")).await.status, 200);
    let status = program.get("/admin/models/broken").await.json();
    assert_eq!((&status["state"], &status["load_failures"]), (&json!("failed"), &json!(1)));

    std::fs::write(&weights, bytes).expect("it can be put back");
    let loaded = told(&program, "/admin/models/broken/load").await;
    assert_eq!((loaded.status, &loaded.json()["state"]), (200, &json!("ready")), "{}", loaded.body);
    assert_eq!(program.post_chat(&ask("broken", "Hello")).await.status, 200);
}

#[tokio::test]
async fn a_model_that_answers_is_not_unloaded_and_who_waits_for_its_room_is_told() {
    let config = format!("{}{}", engine(1, "load_wait_ms = 400").await, models(&["a", "b"]));
    let program = Weighbridge::start(config).await;
    // A long answer that nobody reads on: it is under way until the client goes.
    let mut body = goldens()[0].body();
    body["model"] = "a".into();
    body["n"] = 64.into();
    body["temperature"] = 1.5.into();
    let mut stream = program.open_stream(&body).await;
    stream.read_texts(1).await;
    let busy = told(&program, "/admin/models/a/unload").await;
    busy.assert_error(409, "model_busy", "at work on 1 requests");
    let refused = program.post_chat(&ask("b", "Hello")).await;
    if refused.status == 503 {
        refused.assert_error(503, "model_unavailable", "found no room within 0.4 s");
        assert!(refused.message().contains("answers under way"), "{}", refused.message());
        assert!(!refused.header("retry-after").is_empty());
    } else {
        // On a fast machine the long answer has ended by then.
        assert_eq!(refused.status, 200, "{}", refused.body);
    }
    drop(stream);
    let answers = async || program.post_chat(&ask("b", "Hello")).await.status == 200;
    assert!(eventually(answers).await);
    assert_eq!(states(&program).await, ["unloaded", "ready"]);
}

#[tokio::test]
async fn a_model_is_kept_as_long_as_the_config_says_and_a_pinned_one_for_ever() {
    let engine = engine(3, "keep_alive_ms = 200").await;
    let pinned = model("pinned", &demo_folder(), "pinned = true");
    let kept = model("kept", &demo_folder(), "keep_alive_ms = 86400000");
    let program = Weighbridge::start(format!("{engine}{pinned}{kept}{}", models(&["short"]))).await;
    assert_eq!(states(&program).await, ["ready", "unloaded", "unloaded"]);
    for name in ["pinned", "kept", "short"] {
        assert_eq!(program.post_chat(&ask(name, "Hello")).await.status, 200);
    }
    let gone = async || states(&program).await == ["ready", "ready", "unloaded"];
    assert!(eventually(gone).await, "{:?}", states(&program).await);
    told(&program, "/admin/models/pinned/unload").await.assert_error(409, "model_pinned", "pinned");
    assert_eq!(program.post_chat(&ask("short", "Hello")).await.status, 200);
}

#[tokio::test]
async fn without_a_budget_all_models_are_there_from_the_start() {
    let program = Weighbridge::start(demo_model()).await;
    let list = program.get("/admin/models").await.json();
    assert_eq!((&list["memory_budget_bytes"], &list["data"][0]["state"]), (&Value::Null, &json!("ready")));
    assert_eq!(program.get("/ready").await.json()["backends"]["demo"]["model"], "ready");
    let unloaded = told(&program, "/admin/models/demo/unload").await;
    assert_eq!((unloaded.status, &unloaded.json()["state"]), (200, &json!("unloaded")));
    assert_eq!(program.get("/ready").await.status, 200, "the next request brings it");
    assert_eq!(program.post_chat(&ask("demo", "Hello")).await.status, 200);
    told(&program, "/admin/models/nobody/load").await.assert_error(404, "model_not_found", "nobody");
    program.get("/admin/models/nobody").await.assert_error(404, "model_not_found", "nobody");
}

#[tokio::test]
async fn an_unload_gives_the_memory_back() {
    let program = Weighbridge::start(demo_model()).await;
    let comes_and_goes = async || {
        assert_eq!(program.post_chat(&ask("demo", "Hello")).await.status, 200);
        let there = program.memory_bytes();
        assert_eq!(told(&program, "/admin/models/demo/unload").await.status, 200);
        (there, program.memory_bytes())
    };
    // The first time the program takes what it keeps for itself.
    let (_, before) = comes_and_goes().await;
    for round in 0..8 {
        let (there, after) = comes_and_goes().await;
        // Its weights take 13.8 MiB in float32. What the allocator keeps back in pieces is less, and grows no further.
        assert!(there >= before + (12 << 20), "{there} bytes with the model, {before} without");
        assert!(after <= before + (12 << 20), "{after} bytes after unload {round}, {before} before");
    }
}

#[tokio::test]
async fn with_keys_it_takes_an_admins_and_an_open_gateway_serves_its_own_origin() {
    let hash = async |key: &str| run(["keys", "hash"], key, &[]).await.assert_code(0).stdout.trim().to_owned();
    let caller = async |name: &str, settings: &str| {
        format!(
            "[[callers]]\nname = {name:?}\nkey_sha256 = {:?}\n{settings}\n",
            hash(&format!("key-of-{name}-0123")).await
        )
    };
    let config = format!("{}{}{}", demo_model(), caller("web", "").await, caller("operator", "admin = true").await);
    let program = Weighbridge::start(config).await;
    let ask = async |method: &str, path: &str, key: Option<&str>| {
        let request = if method == "GET" {
            harness::client().get(format!("{}{path}", program.url()))
        } else {
            program.post(path)
        };
        program
            .send(
                key.map_or_else(|| request.try_clone(), |key| request.try_clone().map(|it| it.bearer_auth(key)))
                    .expect("it has no body"),
            )
            .await
    };
    for (method, path) in [
        ("GET", "/admin/models"),
        ("GET", "/admin/models/demo"),
        ("POST", "/admin/models/demo/unload"),
        ("POST", "/admin/models/demo/load"),
    ] {
        ask(method, path, None).await.assert_error(401, "", "API key");
        ask(method, path, Some("another-key")).await.assert_error(401, "invalid_api_key", "");
        ask(method, path, Some("key-of-web-0123")).await.assert_error(403, "admin_required", "admin = true");
        assert_eq!(ask(method, path, Some("key-of-operator-0123")).await.status, 200, "{method} {path}");
    }

    let open = Weighbridge::start(demo_model()).await;
    let from = async |origin: &str| open.send(open.post("/admin/models/demo/unload").header("origin", origin)).await;
    from("https://evil.example").await.assert_error(403, "admin_required", "another origin");
    assert_eq!(from(open.url()).await.status, 200);

    let config = format!("[server]\nauth = \"none\"\n{}", demo_model());
    let reachable = listening_everywhere(config).start().await;
    reachable.get("/admin/models").await.assert_error(403, "admin_required", "other machines");
}

fn listening_everywhere(config: String) -> Starting {
    Weighbridge::with(config).with_argument("--listen").with_argument("0.0.0.0:0")
}

#[tokio::test]
async fn the_command_line_shows_loads_and_unloads_what_a_gateway_has() {
    let config = format!("{}{}", engine(1, "").await, models(&["a", "b"]));
    let program = Weighbridge::start(config).await;
    let at = ["--url", program.url()];
    let models = async |arguments: &[&str]| {
        let all = ["models"].iter().chain(arguments).chain(&at);
        run(all.copied(), "", &[]).await
    };
    let shown = models(&["status"]).await.assert_code(0);
    for piece in ["a", "unloaded", "until its room is needed", "memory held: 0 B of"] {
        assert!(shown.stdout.contains(piece), "{}", shown.stdout);
    }
    assert!(models(&["load", "a"]).await.assert_code(0).stdout.contains("a is ready"));
    assert!(models(&["load", "b"]).await.assert_code(0).stdout.contains("b is ready"));
    assert_eq!(states(&program).await, ["unloaded", "ready"]);
    assert!(models(&["unload", "b"]).await.assert_code(0).stdout.contains("b is unloaded"));
    let one = models(&["status", "b", "--json"]).await.assert_code(0).json();
    assert_eq!((&one["id"], &one["state"]), (&json!("b"), &json!("unloaded")));
    let unknown = models(&["load", "nobody"]).await.assert_code(1);
    assert!(unknown.stderr.contains("no local model 'nobody'"), "{}", unknown.stderr);

    let nobody = run(["models", "status", "--url", "http://127.0.0.1:9"], "", &[]).await.assert_code(1);
    assert!(nobody.stderr.contains("no gateway answers at http://127.0.0.1:9"), "{}", nobody.stderr);
    let no_key = ["models", "status", "--url", program.url(), "--key-env", "NO_SUCH_KEY"];
    assert!(run(no_key, "", &[]).await.assert_code(2).stderr.contains("NO_SUCH_KEY"));
    let no_url = run(["models", "status", "--url", "nowhere"], "", &[]).await.assert_code(2);
    assert!(no_url.stderr.contains("is no address"), "{}", no_url.stderr);
}
