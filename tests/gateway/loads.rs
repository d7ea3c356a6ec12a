//! Loads that nobody wants any more: cancelled, and not waited for when the program stops.

use std::time::{Duration, Instant};

use harness::{MadeModel, Shape, Weighbridge, ask, demo_model, eventually, run};
use serde_json::{Value, json};

/// A hundred and more matrices, each of which is widened to float32: so a load takes seconds, and a matrix a part of one.
const SLOW: Shape = Shape { hidden: 512, layers: 40, inner: 8192, vocabulary: 1801 };

/// Far longer than a matrix takes, on a busy machine too.
const A_MATRIX: Duration = Duration::from_secs(15);

/// What the program keeps of a load that was cancelled: tables, and pieces that the allocator keeps back.
const SLACK_BYTES: u64 = 96 << 20;

fn slow(model: &MadeModel, settings: &str) -> String {
    let path = model.path().display().to_string();
    format!("[[models]]\nname = \"slow\"\npath = {path:?}\nprecision = \"f32\"\npage_memory_mib = 512\n{settings}\n")
}

/// Room for both the slow model and the demo.
fn with_demo(model: &MadeModel) -> String {
    format!("[engine]\nmemory_budget_mib = 8192\n{}{}", slow(model, ""), demo_model())
}

async fn status(program: &Weighbridge) -> Value {
    program.get("/admin/models/slow").await.json()
}

/// Waits until a load has read something. How much there is to read.
async fn is_loading(program: &Weighbridge) -> u64 {
    let read = async || status(program).await["loaded_bytes"].as_u64() > Some(0);
    assert!(eventually(read).await, "{}", status(program).await);
    status(program).await["total_bytes"].as_u64().unwrap_or_default()
}

#[tokio::test]
async fn a_load_that_is_cancelled_ends_within_a_matrix_and_gives_back_what_was_read() {
    let model = MadeModel::hollow(SLOW);
    let program = Weighbridge::start(with_demo(&model)).await;
    assert_eq!(program.post_chat(&ask("demo", "Hello")).await.status, 200);
    let before = program.memory_bytes();
    let body = ask("slow", "Hello");
    let asks = program.post_chat(&body);
    let loads = program.send(program.post("/admin/models/slow/load"));
    let cancels = async {
        let total = is_loading(&program).await;
        assert!(total >= model.bytes(), "{total}");
        let began = Instant::now();
        let unloaded = program.send(program.post("/admin/models/slow/unload")).await;
        assert!(began.elapsed() < A_MATRIX, "it took {:?}", began.elapsed());
        assert_eq!((unloaded.status, &unloaded.json()["state"]), (200, &json!("unloaded")), "{}", unloaded.body);
    };
    let (asked, loaded, ()) = tokio::join!(asks, loads, cancels);
    for refused in [asked, loaded] {
        refused.assert_error(503, "model_unavailable", "was cancelled by an unload");
    }
    let freed = async || program.memory_bytes() <= before + SLACK_BYTES;
    assert!(eventually(freed).await, "{} bytes before, {} after", before, program.memory_bytes());
    assert_eq!(program.post_chat(&ask("demo", "Hello")).await.status, 200);

    // Whoever comes later has it loaded again, and the command line cancels that.
    let asks = program.post_chat(&body);
    let cancels = async {
        is_loading(&program).await;
        let unloaded = run(["models", "unload", "slow", "--url", program.url()], "", &[]).await.assert_code(0);
        assert!(unloaded.stdout.contains("slow is unloaded"), "{}", unloaded.stdout);
    };
    let (asked, ()) = tokio::join!(asks, cancels);
    asked.assert_error(503, "model_unavailable", "was cancelled by an unload");
    let metrics = program.metrics().await;
    let loads = |result| metrics.sum("weighbridge_model_loads_total", &[("backend", "slow"), ("result", result)]);
    assert_eq!((loads("cancelled"), loads("loaded"), loads("failed")), (2.0, 0.0, 0.0));
    let demo = metrics.sum("weighbridge_model_memory_bytes", &[("backend", "demo")]);
    assert_eq!(metrics.sum("weighbridge_model_memory_held_bytes", &[]), demo);
}

#[tokio::test]
async fn a_stop_does_not_wait_for_a_load() {
    let model = MadeModel::hollow(SLOW);
    let mut program = Weighbridge::start(with_demo(&model)).await;
    let body = ask("slow", "Hello");
    let stopped = {
        let asks = program.post_chat(&body);
        let stops = async {
            is_loading(&program).await;
            program.terminate().await;
            Instant::now()
        };
        let (asked, stopped) = tokio::join!(asks, stops);
        asked.assert_error(503, "shutting_down", "is not loaded any more");
        stopped
    };
    assert!(program.wait().await.success());
    assert!(stopped.elapsed() < A_MATRIX, "it took {:?}", stopped.elapsed());
    assert!(program.stdout().contains("all of them ended"), "{}", program.stdout());
}

#[tokio::test]
async fn a_stop_is_heard_while_models_are_loaded_at_the_start() {
    let model = MadeModel::hollow(SLOW);
    let mut program = Weighbridge::with(slow(&model, "")).begin();
    assert!(eventually(async || program.stderr().contains("loading")).await, "{}", program.stderr());
    let began = Instant::now();
    assert!(program.stop().await.success(), "{}", program.stderr());
    assert!(began.elapsed() < A_MATRIX, "it took {:?}", began.elapsed());
    assert!(program.stdout().contains("stopped before its models were loaded"), "{}", program.stdout());
}
