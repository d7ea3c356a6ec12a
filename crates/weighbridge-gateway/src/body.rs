//! A request's body, read within its bounds.

use std::time::Duration;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt};
use http::{HeaderMap, header};
use tokio::time::timeout;

use crate::edges::{Coding, Undecoded, decode};
use crate::gateway::Limits;
use crate::respond::Refusal;

/// How much of a body that is too large is read and thrown away, so that its sender gets to read why
/// instead of a connection that breaks while it is still writing.
const DISCARD_BYTES: usize = 64 << 20;

/// Compressed bodies from this size on are read on a thread where that keeps nobody waiting.
const LARGE_BODY: usize = 16 << 10;

const DISCARD_TIME: Duration = Duration::from_secs(10);

/// Reads a JSON body whole.
pub(crate) async fn read_body(headers: &HeaderMap, body: Body, limits: &Limits) -> Result<Bytes, Refusal> {
    let mut chunks = body.into_data_stream();
    if !is_json(headers) {
        discard(&mut chunks).await;
        return Err(Refusal::not_json());
    }
    let coding = match coding(headers) {
        Ok(coding) => coding,
        Err(refusal) => {
            discard(&mut chunks).await;
            return Err(refusal);
        }
    };
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    let body = if announced.is_some_and(|bytes| bytes > limits.body_bytes) {
        Err(Refusal::body_too_large(limits.body_bytes))
    } else {
        let whole = gather(&mut chunks, announced.unwrap_or(0), limits.body_bytes);
        timeout(limits.body_timeout, whole).await.unwrap_or_else(|_| Err(Refusal::body_too_slow(limits.body_timeout)))
    };
    if body.as_ref().is_err_and(|refusal| refusal.status() == 413) {
        discard(&mut chunks).await;
    }
    match coding {
        Some(coding) => decoded(coding, body?, limits.body_bytes).await,
        None => body,
    }
}

/// How a body is compressed; `None` where it is not.
fn coding(headers: &HeaderMap) -> Result<Option<Coding>, Refusal> {
    let mut values = headers.get_all(header::CONTENT_ENCODING).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let word = value.to_str().unwrap_or_default().trim();
    match Coding::parse(word) {
        _ if values.next().is_some() => Err(Refusal::unknown_encoding()),
        None if word.eq_ignore_ascii_case("identity") => Ok(None),
        None => Err(Refusal::unknown_encoding()),
        coding => Ok(coding),
    }
}

/// The body as it was before it was compressed, which has the same bound.
async fn decoded(coding: Coding, body: Bytes, most: usize) -> Result<Bytes, Refusal> {
    let large = body.len() >= LARGE_BODY;
    let work = move || decode(coding, &body, most);
    let decoded =
        if large { tokio::task::spawn_blocking(work).await.map_err(|_| Refusal::internal())? } else { work() };
    decoded.map_err(|problem| match problem {
        Undecoded::TooLarge => Refusal::body_too_large(most),
        Undecoded::Garbled => Refusal::body_garbled(coding.as_str()),
    })
}

async fn gather(
    chunks: &mut (impl Stream<Item = Result<Bytes, axum::Error>> + Unpin),
    announced: usize,
    most: usize,
) -> Result<Bytes, Refusal> {
    // An announced length is a promise of the sender; memory follows what has arrived.
    let mut body = BytesMut::with_capacity(announced.min(64 << 10));
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|_| Refusal::body_unreadable())?;
        if body.len() + chunk.len() > most {
            return Err(Refusal::body_too_large(most));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}

async fn discard(chunks: &mut (impl Stream<Item = Result<Bytes, axum::Error>> + Unpin)) {
    let mut left = DISCARD_BYTES;
    let all = async {
        while let Some(Ok(chunk)) = chunks.next().await {
            left = left.saturating_sub(chunk.len());
            if left == 0 {
                return;
            }
        }
    };
    // Whether it ended or ran out of time, the answer goes out now.
    let _ = timeout(DISCARD_TIME, all).await;
}

/// A web page can send other types across origins without asking first; JSON it cannot.
fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = kind.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case("application/json")
}
