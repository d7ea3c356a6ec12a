//! `x-request-id`: a caller's own id for a request comes back with the answer and stands in the log beside ours,
//! which stays the id of the receipt.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use http::{HeaderMap, HeaderName, HeaderValue};
use hyper::body::{Frame, SizeHint};
use tracing::{Instrument, Span, info_span};

use crate::pages::in_words_of;
use crate::respond::Refusal;

/// OpenAI's header, and what Anthropic calls it.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const OTHER_REQUEST_ID: HeaderName = HeaderName::from_static("request-id");

/// The most bytes of a caller's id.
const MOST_BYTES: usize = 128;

/// Puts an id on every answer: the caller's, else the one that the answer has, else a new one.
pub(crate) async fn name_requests(request: Request, next: Next) -> Response {
    match callers_id(request.headers()) {
        Err(refusal) => name(in_words_of(&request, &refusal), None),
        Ok(None) => name(next.run(request).await, None),
        Ok(Some(id)) => {
            // Visible ASCII, as was looked at.
            let span = info_span!("asked", x_request_id = id.to_str().unwrap_or_default());
            let response = next.run(request).instrument(span.clone()).await;
            // A stream closes its account where its last bytes are asked for.
            let response = response.map(|body| Body::new(Spanned { body: Some(body), span }));
            name(response, Some(id))
        }
    }
}

fn callers_id(headers: &HeaderMap) -> Result<Option<HeaderValue>, Refusal> {
    let Some(id) = headers.get(&REQUEST_ID) else { return Ok(None) };
    let fits = (1..=MOST_BYTES).contains(&id.len()) && id.as_bytes().iter().all(u8::is_ascii_graphic);
    let why = format!("expected 1 to {MOST_BYTES} visible ASCII characters");
    if fits { Ok(Some(id.clone())) } else { Err(Refusal::bad_header(REQUEST_ID.as_str(), &why)) }
}

fn name(mut response: Response, id: Option<HeaderValue>) -> Response {
    let headers = response.headers_mut();
    let own = || [&REQUEST_ID, &OTHER_REQUEST_ID].into_iter().find_map(|name| headers.get(name).cloned());
    let id = id.or_else(own).or_else(new_id);
    if let Some(id) = id {
        headers.insert(OTHER_REQUEST_ID, id.clone());
        headers.insert(REQUEST_ID, id);
    }
    response
}

fn new_id() -> Option<HeaderValue> {
    HeaderValue::from_str(&uuid::Uuid::now_v7().to_string()).ok()
}

/// A body that is read, and dropped, within the span of its request.
struct Spanned {
    /// Taken out to be dropped.
    body: Option<Body>,
    span: Span,
}

impl HttpBody for Spanned {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = &mut *self;
        let _entered = this.span.enter();
        this.body.as_mut().map_or(Poll::Ready(None), |body| Pin::new(body).poll_frame(cx))
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), HttpBody::size_hint)
    }
}

impl Drop for Spanned {
    fn drop(&mut self) {
        let _entered = self.span.enter();
        drop(self.body.take());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_callers_id_is_short_and_visible() {
        let check = |id: &str, fits: bool| {
            let headers =
                HeaderMap::from_iter([(REQUEST_ID, HeaderValue::from_bytes(id.as_bytes()).expect("a value"))]);
            assert_eq!(callers_id(&headers).is_ok_and(|id| id.is_some()), fits, "{id:?}");
        };
        check("req-42/a", true);
        check(&"x".repeat(128), true);
        for wrong in ["", "two words", "tab\there", "größe", &"x".repeat(129)] {
            check(wrong, false);
        }
        assert_eq!(callers_id(&HeaderMap::new()), Ok(None));
    }
}
