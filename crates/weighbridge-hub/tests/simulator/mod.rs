//! A hub that lives in a test: a repository with an API, and a "CDN" at another address to which it redirects large
//! files. Both can be told to misbehave.

#![allow(dead_code, unreachable_pub, reason = "each test file uses its own part of it")]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::{HeaderMap, Response, StatusCode, Uri, header};
use axum::routing::get;
use futures_util::{StreamExt, stream};
use sha2::{Digest, Sha256};
use tokio::net::TcpListener;

pub const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
pub const NEWER: &str = "89abcdef0123456789abcdef0123456789abcdef";

/// A hub, its CDN, and what was seen of requests.
pub struct Simulator {
    pub endpoint: String,
    pub world: Arc<World>,
}

#[derive(Default)]
pub struct World {
    /// Files by commit and path; large ones live at the CDN.
    files: Mutex<BTreeMap<String, BTreeMap<String, Stored>>>,
    main: Mutex<String>,
    cdn: Mutex<String>,
    pub wants_token: Mutex<Option<String>>,
    /// Whoever asks the hub is refused with this status; 0 means nobody.
    pub refuses: AtomicU16,
    /// Requests that the hub puts off with 429 and a `Retry-After` of a second.
    pub busy: AtomicUsize,
    /// Answers of the CDN that stand still after this many bytes of body; 0 means none does.
    pub stall_after: AtomicU64,
    /// How many answers do.
    pub stalls_left: AtomicUsize,
    /// All sizes that are listed of large files; 0 means their own.
    pub listed_size: AtomicU64,
    /// Paths and authorization headers that the hub saw.
    pub seen: Mutex<Vec<(String, Option<String>)>>,
    /// Answers of the CDN are cut after this many bytes of body; 0 means never.
    pub cut_after: AtomicU64,
    /// How many answers are cut.
    pub cuts_left: AtomicUsize,
    pub no_ranges: AtomicBool,
    /// Added to each length that the CDN states.
    pub length_lie: AtomicU64,
    /// Content-Range states another range.
    pub range_lie: AtomicBool,
    /// x-linked-size states another size.
    pub redirect_lie: AtomicBool,
    /// The CDN swaps a byte.
    pub swap_byte: AtomicBool,
    pub unavailable: AtomicUsize,
    /// One file more in the list, of this name.
    pub listed_too: Mutex<Option<String>>,
    pub requests: AtomicUsize,
    pub cdn_requests: AtomicUsize,
    pub cdn_bytes: AtomicU64,
    /// Authorization headers that the CDN saw.
    pub cdn_saw_token: AtomicBool,
    pub in_flight: AtomicUsize,
    pub most_in_flight: AtomicUsize,
}

#[derive(Clone)]
struct Stored {
    bytes: Bytes,
    large: bool,
}

impl Simulator {
    pub async fn start() -> Self {
        let world = Arc::new(World::default());
        *lock(&world.main) = COMMIT.to_owned();
        let cdn = Router::new().route("/{commit}/{*path}", get(cdn)).with_state(Arc::clone(&world));
        let cdn = serve(cdn).await;
        *lock(&world.cdn) = cdn;
        let hub = Router::new()
            .route("/api/models/{org}/{name}/revision/{revision}", get(info))
            .route("/api/models/{org}/{name}/tree/{commit}", get(tree))
            .route("/{org}/{name}/resolve/{commit}/{*path}", get(resolve))
            .with_state(Arc::clone(&world));
        Self { endpoint: serve(hub).await, world }
    }

    pub fn small(&self, path: &str, bytes: &[u8]) {
        self.add(COMMIT, path, bytes, false);
    }

    pub fn large(&self, path: &str, bytes: &[u8]) {
        self.add(COMMIT, path, bytes, true);
    }

    pub fn add(&self, commit: &str, path: &str, bytes: &[u8], large: bool) {
        let stored = Stored { bytes: Bytes::copy_from_slice(bytes), large };
        lock(&self.world.files).entry(commit.to_owned()).or_default().insert(path.to_owned(), stored);
    }

    pub fn move_main(&self, commit: &str) {
        *lock(&self.world.main) = commit.to_owned();
    }
}

pub fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

async fn serve(router: Router) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let address = listener.local_addr().expect("it is bound");
    tokio::spawn(async move { axum::serve(listener, router).await });
    format!("http://{address}")
}

fn refused(world: &World, uri: &Uri, headers: &HeaderMap) -> Option<Response<Body>> {
    world.requests.fetch_add(1, Ordering::Relaxed);
    let sent = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    lock(&world.seen).push((uri.path().to_owned(), sent.map(str::to_owned)));
    if taken(&world.busy) {
        let mut response = answer(StatusCode::TOO_MANY_REQUESTS, "");
        response.headers_mut().insert(header::RETRY_AFTER, header::HeaderValue::from_static("1"));
        return Some(response);
    }
    if let Ok(status) = StatusCode::from_u16(world.refuses.load(Ordering::Relaxed)) {
        return Some(answer(status, ""));
    }
    let wanted = lock(&world.wants_token).clone()?;
    (sent != Some(&format!("Bearer {wanted}"))).then(|| answer(StatusCode::UNAUTHORIZED, ""))
}

/// Takes one of what is left, where something is.
fn taken(left: &AtomicUsize) -> bool {
    left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
}

fn answer(status: StatusCode, body: impl Into<Body>) -> Response<Body> {
    Response::builder().status(status).body(body.into()).expect("it is well-formed")
}

async fn info(
    State(world): State<Arc<World>>,
    Path((_, name, revision)): Path<(String, String, String)>,
    uri: Uri,
    headers: HeaderMap,
) -> Response<Body> {
    if let Some(refusal) = refused(&world, &uri, &headers) {
        return refusal;
    }
    let commit = if revision == "main" { lock(&world.main).clone() } else { revision };
    if name == "missing" || !lock(&world.files).contains_key(&commit) {
        return answer(StatusCode::NOT_FOUND, "");
    }
    answer(StatusCode::OK, format!("{{\"sha\":\"{commit}\",\"cardData\":{{\"license\":\"apache-2.0\"}},\"tags\":[]}}"))
}

/// The list in pages of two files, so that pages are followed.
async fn tree(
    State(world): State<Arc<World>>,
    Path((org, name, commit)): Path<(String, String, String)>,
    uri: Uri,
    headers: HeaderMap,
) -> Response<Body> {
    if let Some(refusal) = refused(&world, &uri, &headers) {
        return refusal;
    }
    let cursor = uri.query().and_then(|query| query.split_once("cursor=")).and_then(|(_, cursor)| cursor.parse().ok());
    let from: usize = cursor.unwrap_or(0);
    let files = lock(&world.files).get(&commit).cloned().unwrap_or_default();
    let mut entries: Vec<String> = files
        .iter()
        .map(|(path, file)| {
            let size = match world.listed_size.load(Ordering::Relaxed) {
                listed if listed > 0 && file.large => listed,
                _ => file.bytes.len() as u64,
            };
            let lfs = format!(",\"lfs\":{{\"oid\":\"{}\",\"size\":{size},\"pointerSize\":130}}", sha256(&file.bytes));
            let lfs = if file.large { lfs } else { String::new() };
            format!("{{\"type\":\"file\",\"oid\":\"0\",\"size\":{size},\"path\":\"{path}\"{lfs}}}")
        })
        .collect();
    entries.extend(
        lock(&world.listed_too)
            .as_ref()
            .map(|path| format!("{{\"type\":\"file\",\"oid\":\"0\",\"size\":3,\"path\":\"{path}\"}}")),
    );
    entries.insert(0, "{\"type\":\"directory\",\"oid\":\"0\",\"size\":0,\"path\":\"folder\"}".to_owned());
    let page: Vec<String> = entries.iter().skip(from).take(2).cloned().collect();
    let mut response = answer(StatusCode::OK, format!("[{}]", page.join(",")));
    if from + 2 < entries.len() {
        let next = format!("</api/models/{org}/{name}/tree/{commit}?recursive=true&cursor={}>; rel=\"next\"", from + 2);
        response.headers_mut().insert(header::LINK, next.parse().expect("it is a header"));
    }
    response
}

async fn resolve(
    State(world): State<Arc<World>>,
    Path((_, _, commit, path)): Path<(String, String, String, String)>,
    uri: Uri,
    headers: HeaderMap,
) -> Response<Body> {
    if let Some(refusal) = refused(&world, &uri, &headers) {
        return refusal;
    }
    let Some(file) = lock(&world.files).get(&commit).and_then(|files| files.get(&path)).cloned() else {
        return answer(StatusCode::NOT_FOUND, "");
    };
    if !file.large {
        return answer(StatusCode::OK, file.bytes);
    }
    let lie = usize::from(world.redirect_lie.load(Ordering::Relaxed));
    Response::builder()
        .status(StatusCode::FOUND)
        .header(header::LOCATION, format!("{}/{commit}/{path}?signature=secret", lock(&world.cdn)))
        .header("x-linked-etag", format!("\"{}\"", sha256(&file.bytes)))
        .header("x-linked-size", file.bytes.len() + lie)
        .body(Body::empty())
        .expect("it is well-formed")
}

async fn cdn(
    State(world): State<Arc<World>>,
    Path((commit, path)): Path<(String, String)>,
    headers: HeaderMap,
) -> Response<Body> {
    world.cdn_requests.fetch_add(1, Ordering::Relaxed);
    if headers.contains_key(header::AUTHORIZATION) {
        world.cdn_saw_token.store(true, Ordering::Relaxed);
    }
    let now = world.in_flight.fetch_add(1, Ordering::Relaxed) + 1;
    world.most_in_flight.fetch_max(now, Ordering::Relaxed);
    // Long enough for others to arrive meanwhile.
    tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    world.in_flight.fetch_sub(1, Ordering::Relaxed);
    if taken(&world.unavailable) {
        return answer(StatusCode::SERVICE_UNAVAILABLE, "");
    }
    let Some(file) = lock(&world.files).get(&commit).and_then(|files| files.get(&path)).cloned() else {
        return answer(StatusCode::NOT_FOUND, "");
    };
    let mut bytes = file.bytes.to_vec();
    let total = bytes.len();
    if world.swap_byte.load(Ordering::Relaxed) {
        bytes[total / 2] ^= 1;
    }
    let range = headers.get(header::RANGE).and_then(|value| value.to_str().ok()).and_then(parse_range);
    let mut response = Response::builder();
    let body = match range.filter(|_| !world.no_ranges.load(Ordering::Relaxed)) {
        None => bytes,
        Some((from, to)) => {
            let shift = usize::from(world.range_lie.load(Ordering::Relaxed));
            let stated = format!("bytes {}-{}/{total}", from + shift, to + shift);
            response = response.status(StatusCode::PARTIAL_CONTENT).header(header::CONTENT_RANGE, stated);
            bytes[from..=to].to_vec()
        }
    };
    let length = body.len() as u64 + world.length_lie.load(Ordering::Relaxed);
    let cut = usize::try_from(world.cut_after.load(Ordering::Relaxed)).unwrap_or(0);
    let is_cut = cut > 0 && cut < body.len() && taken(&world.cuts_left);
    let stall = usize::try_from(world.stall_after.load(Ordering::Relaxed)).unwrap_or(0);
    let is_stalled = !is_cut && stall > 0 && stall < body.len() && taken(&world.stalls_left);
    let sent = match (is_cut, is_stalled) {
        (true, _) => body[..cut].to_vec(),
        (_, true) => body[..stall].to_vec(),
        _ => body,
    };
    let sent_bytes = sent.len() as u64;
    world.cdn_bytes.fetch_add(sent_bytes, Ordering::Relaxed);
    // Of more than there is, the rest never comes.
    let rest = (is_cut || is_stalled || length > sent_bytes).then(|| Err(std::io::Error::other("cut")));
    let first = stream::iter([Ok(Bytes::from(sent))]);
    // What was sent has to leave before the connection breaks.
    let rest = stream::iter(rest).then(move |error| async move {
        let wait = if is_stalled { 3_600_000 } else { 20 };
        tokio::time::sleep(std::time::Duration::from_millis(wait)).await;
        error
    });
    response
        .header(header::CONTENT_LENGTH, length)
        .body(Body::from_stream(first.chain(rest)))
        .expect("it is well-formed")
}

fn parse_range(text: &str) -> Option<(usize, usize)> {
    let (from, to) = text.strip_prefix("bytes=")?.split_once('-')?;
    Some((from.parse().ok()?, to.parse().ok()?))
}
