//! Which program is tested.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use serde_json::Value;

/// The program: what `WEIGHBRIDGE_BIN` names, else the one of this workspace, built now with the profile that
/// the tests were built with, so that a test never meets a stale one.
pub fn program_path() -> &'static Path {
    static PROGRAM: OnceLock<Option<PathBuf>> = OnceLock::new();
    let program = PROGRAM.get_or_init(|| match std::env::var_os("WEIGHBRIDGE_BIN") {
        // Relative to the repository, where such a command is typed; cargo starts tests elsewhere.
        Some(path) => Some(crate::repository().join(path)),
        None => build(),
    });
    program.as_deref().expect("the program builds; where it does not, cargo says why on standard error")
}

/// `None` where it does not build: that is found out once, not by every test anew.
fn build() -> Option<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    // A test of the workspace beside the program, so that cargo picks the features of all dependencies as it
    // does for `cargo test --workspace`: what was built for that is used, and only the program is left to build.
    command.args(["build", "--workspace", "--bin", "weighbridge", "--test", "gateway"]);
    command.args(["--message-format", "json-render-diagnostics"]);
    command.args(["--profile", &profile()]).current_dir(crate::repository());
    // Cargo tells a test about its package, and the build of another one must not see that: build scripts that
    // watch these variables (ring's does) would run anew, and everything above them be built again.
    let about_this_package =
        |name: &str| ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_EXE_"].iter().any(|start| name.starts_with(start));
    let others = ["CARGO_CRATE_NAME", "CARGO_PRIMARY_PACKAGE", "CARGO_TARGET_TMPDIR", "OUT_DIR"];
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|name| about_this_package(name) || others.contains(&name)) {
            command.env_remove(name);
        }
    }
    let built = command.stderr(Stdio::inherit()).output().expect("cargo, which started this test, can be started");
    built.status.success().then(|| executable(&String::from_utf8_lossy(&built.stdout))).flatten()
}

/// The profile that this test was built with, from the folder that it lies in: `target/<profile>/deps/`.
fn profile() -> String {
    let path = std::env::current_exe().unwrap_or_default();
    let folder = path.ancestors().nth(2).and_then(Path::file_name).map(|name| name.to_string_lossy().into_owned());
    match folder.as_deref() {
        None | Some("debug") => "dev".to_owned(),
        Some(profile) => profile.to_owned(),
    }
}

/// The program's executable in cargo's messages, one JSON object a line.
fn executable(messages: &str) -> Option<PathBuf> {
    let mut objects = messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let program =
        objects.find(|object| object["target"]["name"] == "weighbridge" && object["executable"].is_string())?;
    program["executable"].as_str().map(PathBuf::from)
}
