//! Answers compressed as their reader takes them: whole ones at once, streams event by event, so that an event is
//! with its reader before the next is made.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::body::{Body, BodyDataStream, Bytes, HttpBody, to_bytes};
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures_util::{Stream, StreamExt};
use http::{HeaderMap, HeaderValue, Method, header};
use tokio::sync::OwnedSemaphorePermit;
use tracing::warn;

use super::coding::Coding;
use super::encoder::{self, Encoder};
use crate::gateway::Core;
use crate::respond::Refusal;

/// A body below this many bytes is sent in one packet as it is.
const LEAST_BYTES: u64 = 1024;

/// A whole body above this many bytes is compressed on a thread where that keeps nobody waiting.
const LARGE_BODY: u64 = 64 << 10;

/// Streams that are compressed at once: each takes up to a megabyte while it lasts. Further ones go out as they are.
pub(crate) const COMPRESSED_STREAMS: usize = 256;

/// What of the answers is compressed, for who says that they take it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compression {
    /// Bodies from a kilobyte on, and streams.
    #[default]
    All,
    /// Bodies from a kilobyte on.
    Bodies,
    /// Nothing.
    None,
}

/// Compresses the answer where its reader takes it so.
pub(crate) async fn compress(State(gateway): State<Arc<Core>>, request: Request, next: Next) -> Response {
    let head = request.method() == Method::HEAD;
    let coding = Coding::accepted(request.headers());
    let mut response = next.run(request).await;
    let (size, headers) = (response.body().size_hint().exact(), response.headers());
    let wanted = match (gateway.limits.compression, size) {
        (Compression::None, _) | (Compression::Bodies, None) => false,
        (_, Some(bytes)) => bytes >= LEAST_BYTES,
        (Compression::All, None) => true,
    };
    if head || !wanted || !is_text(headers) || headers.contains_key(header::CONTENT_ENCODING) {
        return response;
    }
    // What stands between us and the reader must not hand one coding to who takes another.
    response.headers_mut().append(header::VARY, HeaderValue::from_static("accept-encoding"));
    let Some(coding) = coding else { return response };
    match size {
        Some(bytes) => whole(response, coding, bytes).await,
        None => match Arc::clone(&gateway.compressing).try_acquire_owned() {
            Ok(place) => stream(response, coding, place),
            Err(_) => response,
        },
    }
}

/// All that we answer is text; what is not is nothing that we know to be small when it is compressed.
fn is_text(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    kind.starts_with("text/")
        || kind.starts_with("application/json")
        || kind.starts_with("application/openmetrics-text")
}

async fn whole(response: Response, coding: Coding, bytes: u64) -> Response {
    let (mut parts, body) = response.into_parts();
    // It is in memory already, whole.
    let Ok(body) = to_bytes(body, usize::MAX).await else { return Refusal::internal().into_response() };
    let kept = body.clone();
    let work = move || encoder::whole(coding, &body);
    let compressed = if bytes < LARGE_BODY {
        work()
    } else {
        tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(io::Error::other(error)))
    };
    match compressed {
        Ok(compressed) => {
            announce(&mut parts.headers, coding);
            Response::from_parts(parts, Body::from(compressed))
        }
        Err(error) => {
            warn!(%error, "an answer is sent without compression");
            Response::from_parts(parts, Body::from(kept))
        }
    }
}

fn stream(response: Response, coding: Coding, place: OwnedSemaphorePermit) -> Response {
    let encoder = match Encoder::new(coding) {
        Ok(encoder) => encoder,
        Err(error) => {
            warn!(%error, "a stream is sent without compression");
            return response;
        }
    };
    let (mut parts, body) = response.into_parts();
    announce(&mut parts.headers, coding);
    let pieces = Pieces { body: body.into_data_stream(), encoder: Some(encoder), _place: place };
    Response::from_parts(parts, Body::from_stream(pieces))
}

fn announce(headers: &mut HeaderMap, coding: Coding) {
    headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(coding.as_str()));
    headers.remove(header::CONTENT_LENGTH);
}

/// A body, piece by piece, each flushed.
struct Pieces {
    body: BodyDataStream,
    /// Gone once the last bytes were given.
    encoder: Option<Encoder>,
    _place: OwnedSemaphorePermit,
}

impl Stream for Pieces {
    type Item = Result<Bytes, axum::Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        loop {
            let Some(encoder) = &mut this.encoder else { return Poll::Ready(None) };
            let given = match ready!(this.body.poll_next_unpin(cx)) {
                Some(Ok(piece)) => encoder.piece(&piece),
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => match this.encoder.take() {
                    Some(encoder) => encoder.finish(),
                    None => return Poll::Ready(None),
                },
            };
            match given {
                // An empty piece makes nothing, and an empty chunk would be taken for nothing as well.
                Ok(bytes) if bytes.is_empty() => {}
                given => return Poll::Ready(Some(given.map(Bytes::from).map_err(axum::Error::new))),
            }
        }
    }
}
