//! What the black-box tests are made of: the program, started on a port of its own and spoken to over real
//! sockets, and an upstream that answers by script and fails in every way that upstreams do.
//!
//! Nothing here knows the program's crates: what a test sees is what a user sees. A helper that cannot do its
//! work ends the test with what the program said, since that is what its reader wants to know.

mod binary;
mod command;
mod configs;
mod demo;
mod http;
mod ledger;
mod made;
mod metrics;
mod program;
mod sse;
mod upstream;

pub use binary::program_path;
pub use command::{Finished, run, run_in};
pub use configs::{demo_model, hosted_model, provider, route};
pub use demo::{Golden, ask, demo_folder, demo_gguf, goldens, repository};
pub use http::{Reply, client};
pub use ledger::LedgerFile;
pub use made::{MadeModel, Shape};
pub use metrics::Metrics;
pub use program::{Starting, Weighbridge};
pub use sse::{LiveStream, Streamed};
pub use upstream::{Act, Received, Upstream};

use std::io::Write;
use std::time::Duration;

/// How long anything may take before a test gives up: far above what is normal, for a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Says that a test does not run, and why. Written past the test runner, which keeps what a passing test prints.
pub fn skip(why: &str) {
    // Nobody is left to tell when standard error is closed.
    let _ = writeln!(std::io::stderr(), "skipped: {why}");
}

/// Waits until `holds` does, and says whether it ever did.
pub async fn eventually<F: Future<Output = bool>>(mut holds: impl FnMut() -> F) -> bool {
    let started = std::time::Instant::now();
    while started.elapsed() < PATIENCE {
        if holds().await {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    false
}
