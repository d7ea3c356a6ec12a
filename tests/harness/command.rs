//! The program as a command: arguments and standard input in, output and exit code out.

use std::path::Path;
use std::process::Stdio;

use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::time::timeout;

use crate::{PATIENCE, program_path};

/// Variables that the program reads, beside its data folder's.
const READ: [&str; 9] = [
    "WEIGHBRIDGE_CONFIG",
    "HF_ENDPOINT",
    "HF_HUB_OFFLINE",
    "HTTP_PROXY",
    "http_proxy",
    "HTTPS_PROXY",
    "https_proxy",
    "ALL_PROXY",
    "all_proxy",
];

/// How a command ended.
#[derive(Debug)]
pub struct Finished {
    /// Its exit code; `None` where a signal ended it.
    pub code: Option<i32>,
    /// What it said on standard output.
    pub stdout: String,
    /// What it said on standard error.
    pub stderr: String,
}

impl Finished {
    /// Holds the exit code against `expected`, and shows everything that was said where it is another.
    #[track_caller]
    pub fn assert_code(self, expected: i32) -> Self {
        assert_eq!(self.code, Some(expected), "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }

    /// Standard output as JSON.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| {
            let begin: String = self.stdout.chars().take(500).collect();
            unreachable!("standard output is no JSON ({error}): {begin}")
        })
    }

    /// Everything that was said.
    pub fn said(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }
}

/// Runs the program in an empty folder, without any of the variables that it reads but those in `environment`.
pub async fn run<'a>(
    arguments: impl IntoIterator<Item = &'a str>,
    input: &str,
    environment: &[(&str, &str)],
) -> Finished {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    run_in(folder.path(), arguments, input, environment).await
}

/// Runs the program in this folder, with a data folder of its own.
pub async fn run_in<'a>(
    folder: &Path,
    arguments: impl IntoIterator<Item = &'a str>,
    input: &str,
    environment: &[(&str, &str)],
) -> Finished {
    let data = tempfile::tempdir().expect("a temporary folder can be made");
    let mut command = Command::new(program_path());
    command.args(arguments).current_dir(folder);
    command.env("WEIGHBRIDGE_DATA_DIR", data.path());
    for variable in READ {
        command.env_remove(variable);
    }
    command.envs(environment.iter().copied());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().expect("the program can be started");
    let mut stdin = child.stdin.take().expect("it was piped");
    let input = input.to_owned();
    let writing = tokio::spawn(async move {
        // A program that does not want its input may close it.
        let _ = stdin.write_all(input.as_bytes()).await;
    });
    let output = timeout(PATIENCE, child.wait_with_output()).await.expect("the command ends by itself");
    let output = output.expect("its output can be read");
    writing.abort();
    Finished {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}
