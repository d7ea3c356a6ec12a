//! An upstream that speaks OpenAI's dialect by script, and fails in every way that upstreams do.

mod answer;
mod body;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::response::Response;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// The most that a test sends.
const BODY_BYTES: usize = 64 << 20;

/// How it treats one request.
#[derive(Clone, Debug)]
pub enum Act {
    /// Answers with these pieces, and says what they used: 7 tokens in, one for each piece out.
    Says(Vec<&'static str>),
    /// Answers with these pieces, with a pause before each.
    SaysSlowly(Vec<&'static str>, Duration),
    /// Answers with these chunks as they are.
    SaysChunks(Vec<Value>),
    /// Answers with one JSON document where a stream was asked for.
    SaysWhole(&'static str),
    /// Streams without ever saying what it used.
    SaysWithoutUsage(Vec<&'static str>),
    /// Takes the request and never answers.
    Hangs,
    /// Announces an answer and never gives a word of it.
    StallsBeforeFirst,
    /// Says these pieces and nothing more, on an open connection.
    StallsAfter(Vec<&'static str>),
    /// Says these pieces, then breaks the connection.
    CutsAfter(Vec<&'static str>),
    /// Says these pieces, then ends the stream as if that were all.
    EndsAfter(Vec<&'static str>),
    /// Says these pieces, then what is no JSON.
    GarblesAfter(Vec<&'static str>),
    /// Says these pieces, then an error object.
    FailsAfter(Vec<&'static str>),
    /// Closes the connection without a byte.
    Closes,
    /// Ends a stream that it never began.
    SaysNothing,
    /// Answers with a web page.
    ShowsWebPage,
    /// Answers with this status, this JSON, and `Retry-After` where there is one.
    Refuses(u16, Value, Option<&'static str>),
}

/// A request that it was sent.
#[derive(Clone, Debug)]
pub struct Received {
    /// The path.
    pub path: String,
    /// The headers.
    pub headers: HeaderMap,
    /// The body; null where it is no JSON.
    pub body: Value,
    /// Bytes of the body.
    pub body_bytes: usize,
    /// When it came.
    pub at: Instant,
    hung_up: Arc<AtomicBool>,
}

impl Received {
    /// A header; empty where it is missing.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// Whether the client went away before the answer was whole.
    pub fn hung_up(&self) -> bool {
        self.hung_up.load(Ordering::SeqCst)
    }
}

/// The upstream. Gone when dropped.
pub struct Upstream {
    address: SocketAddr,
    stage: Arc<Stage>,
    serving: Option<JoinHandle<()>>,
}

struct Stage {
    /// Acts to come; the last one stays.
    acts: Mutex<VecDeque<Act>>,
    received: Mutex<Vec<Received>>,
}

impl Upstream {
    /// One that treats its first request by the first of `acts`, the next by the second, and all that follow
    /// by the last.
    pub async fn start(acts: impl IntoIterator<Item = Act>) -> Self {
        let acts: VecDeque<Act> = acts.into_iter().collect();
        assert!(!acts.is_empty(), "an upstream needs something to do");
        let stage = Arc::new(Stage { acts: Mutex::new(acts), received: Mutex::new(Vec::new()) });
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        let router = Router::new().fallback(serve).with_state(Arc::clone(&stage));
        let serving = tokio::spawn(async move {
            // It ends when it is dropped.
            let _ = axum::serve(listener, router).await;
        });
        Self { address, stage, serving: Some(serving) }
    }

    /// One that says this, whole, whatever it is asked.
    pub async fn saying(text: &'static str) -> Self {
        Self::start([Act::Says(vec![text])]).await
    }

    /// One that is not there: nobody listens on its port.
    pub async fn down() -> Self {
        let mut upstream = Self::saying("").await;
        if let Some(serving) = upstream.serving.take() {
            serving.abort();
            let _ = serving.await;
        }
        upstream
    }

    /// What a provider's `base_url` says.
    pub fn base_url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// What it was sent so far.
    pub fn received(&self) -> Vec<Received> {
        self.stage.received.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many requests it was sent so far.
    pub fn count(&self) -> usize {
        self.received().len()
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        if let Some(serving) = self.serving.take() {
            serving.abort();
        }
    }
}

impl Stage {
    fn next_act(&self) -> Option<Act> {
        let mut acts = self.acts.lock().unwrap_or_else(PoisonError::into_inner);
        if acts.len() > 1 { acts.pop_front() } else { acts.front().cloned() }
    }
}

async fn serve(State(stage): State<Arc<Stage>>, request: Request) -> Response {
    let at = Instant::now();
    let (parts, body) = request.into_parts();
    let bytes = to_bytes(body, BODY_BYTES).await.unwrap_or_default();
    let hung_up = Arc::new(AtomicBool::new(false));
    let received = Received {
        path: parts.uri.path().to_owned(),
        headers: parts.headers,
        body: serde_json::from_slice(&bytes).unwrap_or_default(),
        body_bytes: bytes.len(),
        at,
        hung_up: Arc::clone(&hung_up),
    };
    let model = received.body["model"].as_str().unwrap_or_default().to_owned();
    stage.received.lock().unwrap_or_else(PoisonError::into_inner).push(received);
    match stage.next_act() {
        Some(act) => answer::answer(act, &model, hung_up).await,
        None => Response::new(Body::empty()),
    }
}
