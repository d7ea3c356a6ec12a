//! The program as a server: started on a port of its own, spoken to, and stopped.

use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use reqwest::RequestBuilder;
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::timeout;

use crate::sse::finish_all;
use crate::{Finished, LedgerFile, LiveStream, Metrics, PATIENCE, Reply, Streamed, client, program_path};

/// The chat endpoint.
const CHAT: &str = "/v1/chat/completions";

/// A program about to be started.
pub struct Starting {
    /// The text of its config; it is started without one where this is missing.
    config: Option<String>,
    environment: Vec<(String, String)>,
    arguments: Vec<String>,
}

/// The program, serving. Killed when dropped.
pub struct Weighbridge {
    child: Child,
    url: String,
    folder: TempDir,
    said: Said,
    client: reqwest::Client,
}

/// What it has written so far.
#[derive(Clone, Default)]
struct Said {
    stdout: Arc<Mutex<String>>,
    stderr: Arc<Mutex<String>>,
}

impl Starting {
    /// Sets a variable of its environment.
    pub fn with_variable(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Adds an argument after `serve --config FILE --listen 127.0.0.1:0`.
    pub fn with_argument(mut self, argument: &str) -> Self {
        self.arguments.push(argument.to_owned());
        self
    }

    /// Starts it, and waits until it says where it listens.
    pub async fn start(self) -> Weighbridge {
        let (program, mut addresses) = self.launch();
        let url = timeout(PATIENCE, addresses.recv()).await.ok().flatten();
        let url = url.unwrap_or_else(|| unreachable!("the program did not start:\n{}", program.said.all()));
        Weighbridge { url, ..program }
    }

    /// Starts it, and does not wait: it cannot be asked anything yet.
    pub fn begin(self) -> Weighbridge {
        self.launch().0
    }

    /// The program without an address, and the addresses that it will tell.
    fn launch(self) -> (Weighbridge, UnboundedReceiver<String>) {
        let (mut child, folder) = self.spawn();
        let said = Said::default();
        let (tell, addresses) = unbounded_channel();
        gather(child.stdout.take(), Arc::clone(&said.stdout), Some(tell));
        gather(child.stderr.take(), Arc::clone(&said.stderr), None);
        (Weighbridge { child, url: String::new(), folder, said, client: client() }, addresses)
    }

    /// Starts it in the hope that it refuses to serve, and waits for its end.
    pub async fn fail(self) -> Finished {
        let (child, _folder) = self.spawn();
        let output = timeout(PATIENCE, child.wait_with_output()).await.expect("the program refuses to serve");
        let output = output.expect("its output can be read");
        Finished {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    fn spawn(self) -> (Child, TempDir) {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let mut command = Command::new(program_path());
        command.arg("serve");
        if let Some(text) = self.config {
            let config = folder.path().join("w.toml");
            std::fs::write(&config, text).expect("a file can be written there");
            command.arg("--config").arg(config);
        }
        if !self.arguments.iter().any(|argument| argument == "--listen") {
            command.args(["--listen", "127.0.0.1:0"]);
        }
        // A folder of its own: a weighbridge.toml in the repository is its owner's business.
        command.args(self.arguments).current_dir(folder.path());
        command.env_remove("WEIGHBRIDGE_CONFIG").env("WEIGHBRIDGE_DATA_DIR", folder.path().join("data"));
        command.envs(self.environment);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        (command.spawn().expect("the program can be started"), folder)
    }
}

impl Weighbridge {
    /// A program with this config.
    pub fn with(config: impl Into<String>) -> Starting {
        Starting { config: Some(config.into()), environment: Vec::new(), arguments: Vec::new() }
    }

    /// Starts the program without a config, to serve the checkpoints at these paths.
    pub async fn serving(paths: &[&str]) -> Self {
        let arguments = paths.iter().map(|path| (*path).to_owned()).collect();
        Starting { config: None, environment: Vec::new(), arguments }.start().await
    }

    /// Starts the program with this config.
    pub async fn start(config: impl Into<String>) -> Self {
        Self::with(config).start().await
    }

    /// Where it listens, the first place: `http://127.0.0.1:43817`, `unix:/run/w.sock`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Speaks to it by another client from now on, at `url`.
    pub fn speaking(self, client: reqwest::Client, url: &str) -> Self {
        Self { client, url: url.to_owned(), ..self }
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id().expect("it has not been waited for")
    }

    /// A request that is not sent yet.
    pub fn post(&self, path: &str) -> RequestBuilder {
        self.client.post(format!("{}{path}", self.url))
    }

    /// Asks for a page.
    pub async fn get(&self, path: &str) -> Reply {
        self.send(self.client.get(format!("{}{path}", self.url))).await
    }

    /// Sends a request and reads the answer.
    pub async fn send(&self, request: RequestBuilder) -> Reply {
        match request.send().await {
            Ok(response) => Reply::read(response).await,
            Err(error) => unreachable!("the program does not answer: {error:?}\n{}", self.said.all()),
        }
    }

    /// Asks for a chat completion.
    pub async fn post_chat(&self, body: &Value) -> Reply {
        self.post_chat_with(body, &[]).await
    }

    /// Asks for a chat completion, with headers.
    pub async fn post_chat_with(&self, body: &Value, headers: &[(&str, &str)]) -> Reply {
        self.send(self.chat_request(body, headers)).await
    }

    /// Asks for a streamed chat completion and reads it to its end.
    pub async fn stream_chat(&self, body: &Value) -> Streamed {
        self.open_stream(body).await.finish().await
    }

    /// Asks for a streamed chat completion. Ready when its headers are there.
    pub async fn open_stream(&self, body: &Value) -> LiveStream {
        self.open_stream_with(body, &[]).await
    }

    /// The same, with headers.
    pub async fn open_stream_with(&self, body: &Value, headers: &[(&str, &str)]) -> LiveStream {
        let mut body = body.clone();
        body["stream"] = true.into();
        match self.chat_request(&body, headers).send().await {
            Ok(response) => LiveStream::of(response),
            Err(error) => unreachable!("the program does not answer: {error:?}\n{}", self.said.all()),
        }
    }

    /// Reads several streams to their ends at once.
    pub async fn finish_all(&self, streams: impl IntoIterator<Item = LiveStream>) -> Vec<Streamed> {
        finish_all(streams).await
    }

    fn chat_request(&self, body: &Value, headers: &[(&str, &str)]) -> RequestBuilder {
        let request = self.post(CHAT).header("content-type", "application/json").body(body.to_string());
        headers.iter().fold(request, |request, (name, value)| request.header(*name, *value))
    }

    /// Its figures now.
    pub async fn metrics(&self) -> Metrics {
        let page = self.get("/metrics").await;
        assert_eq!(page.status, 200, "{}", page.body);
        Metrics::parse(&page.body)
    }

    /// Memory that it holds now, in bytes (resident set).
    pub fn memory_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        line.and_then(|line| line.trim().trim_end_matches("kB").trim().parse::<u64>().ok()).unwrap_or(0) * 1024
    }

    /// Its receipts. Everything is in the file after [`Weighbridge::stop`], and little later than it happens
    /// before.
    pub fn ledger(&self) -> LedgerFile {
        LedgerFile { path: self.folder.path().join("data/ledger.sqlite") }
    }

    /// The folder of its config.
    pub fn folder(&self) -> PathBuf {
        self.folder.path().to_owned()
    }

    /// What it has written to standard output so far.
    pub fn stdout(&self) -> String {
        self.said.stdout()
    }

    /// What it has written to standard error so far.
    pub fn stderr(&self) -> String {
        self.said.stderr()
    }

    /// Sends SIGTERM.
    pub async fn terminate(&self) {
        let sent = Command::new("kill").arg("-TERM").arg(self.pid().to_string()).status().await;
        assert!(sent.is_ok_and(|status| status.success()), "the program runs no more:\n{}", self.said.all());
    }

    /// Waits for its end.
    pub async fn wait(&mut self) -> ExitStatus {
        let ended = timeout(PATIENCE, self.child.wait()).await;
        let ended = ended.unwrap_or_else(|_| unreachable!("the program does not end:\n{}", self.said.all()));
        // Its last words are read by other tasks, which see the end of the pipes a moment later.
        tokio::time::sleep(Duration::from_millis(50)).await;
        ended.expect("a child can be waited for")
    }

    /// Sends SIGTERM and waits for its end.
    pub async fn stop(&mut self) -> ExitStatus {
        self.terminate().await;
        self.wait().await
    }
}

impl Said {
    fn stdout(&self) -> String {
        self.stdout.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn stderr(&self) -> String {
        self.stderr.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn all(&self) -> String {
        format!("stdout:\n{}\nstderr:\n{}", self.stdout(), self.stderr())
    }
}

/// Gathers what is written to a pipe, and tells every address in it.
fn gather(
    pipe: Option<impl AsyncRead + Unpin + Send + 'static>,
    into: Arc<Mutex<String>>,
    tell: Option<UnboundedSender<String>>,
) {
    let pipe = pipe.expect("it was piped");
    tokio::spawn(async move {
        let mut lines = BufReader::new(pipe).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            if let (Some(tell), Some(url)) = (&tell, address_in(&line)) {
                // Only the first is waited for.
                let _ = tell.send(url);
            }
            let mut into = into.lock().unwrap_or_else(PoisonError::into_inner);
            into.push_str(&line);
            into.push('\n');
        }
    });
}

/// The first `http://HOST:PORT`, `https://HOST:PORT` or `unix:PATH` in a line.
fn address_in(line: &str) -> Option<String> {
    let begin = ["http://", "https://", "unix:/"].iter().filter_map(|scheme| line.find(scheme)).min()?;
    let end = line[begin..].find(|c: char| c.is_whitespace() || c == '"' || c == '\'').unwrap_or(line.len() - begin);
    let url = line[begin..begin + end].trim_end_matches(['/', '.', ',']);
    if !url.starts_with("unix:") {
        url.rsplit_once(':')?.1.parse::<u16>().ok()?;
    }
    Some(url.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_found_in_a_line() {
        let found = |line| address_in(line);
        assert_eq!(found("listening on http://127.0.0.1:43817").as_deref(), Some("http://127.0.0.1:43817"));
        assert_eq!(found("on https://127.0.0.1:8443").as_deref(), Some("https://127.0.0.1:8443"));
        assert_eq!(found("listening on unix:/run/w.sock").as_deref(), Some("unix:/run/w.sock"));
        assert_eq!(found("at http://[::1]:80/, model demo").as_deref(), Some("http://[::1]:80"));
        assert_eq!(found("curl http://127.0.0.1:80/v1/models"), None);
        assert_eq!(found("see http://example.org for more"), None);
    }
}
