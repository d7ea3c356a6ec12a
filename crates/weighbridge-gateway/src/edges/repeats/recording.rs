//! The body of a first answer on its way out, of which a copy is made. It is kept if all of it went, and it was a
//! good one.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::body::{Body, Bytes, HttpBody};
use axum::response::Response;
use bytes::BytesMut;
use http::{HeaderMap, StatusCode, header};
use hyper::body::{Frame, SizeHint};
use serde_json::Value;

use super::store::{Kept, Ticket};

pub(super) struct Recording {
    body: Body,
    /// Gone where there is nothing to keep any more: it was kept, is too large, or broke off.
    copy: Option<Copy>,
}

struct Copy {
    ticket: Ticket,
    status: StatusCode,
    headers: HeaderMap,
    bytes: BytesMut,
}

impl Recording {
    pub(super) fn of(response: Response, ticket: Ticket) -> Response {
        let (parts, body) = response.into_parts();
        let copy = Copy { ticket, status: parts.status, headers: parts.headers.clone(), bytes: BytesMut::new() };
        Response::from_parts(parts, Body::new(Self { body, copy: Some(copy) }))
    }

    fn saw(&mut self, frame: &Frame<Bytes>) {
        let (Some(copy), Some(piece)) = (&mut self.copy, frame.data_ref()) else { return };
        if copy.bytes.len() + piece.len() > copy.ticket.most_bytes() {
            self.copy = None;
            return;
        }
        copy.bytes.extend_from_slice(piece);
        // Nobody asks for more after the last byte of a body whose length is known.
        if self.body.is_end_stream() {
            self.end();
        }
    }

    fn end(&mut self) {
        let Some(Copy { ticket, status, headers, bytes }) = self.copy.take() else { return };
        let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        if !kind.starts_with("text/event-stream") || ended_well(&bytes) {
            ticket.keep(Kept { status, headers, body: bytes.freeze() });
        }
    }
}

impl HttpBody for Recording {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        match &frame {
            Some(Ok(frame)) => self.saw(frame),
            Some(Err(_)) => self.copy = None,
            None => self.end(),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Whether a stream of events does not end with an error: its status was sent before anybody knew.
fn ended_well(stream: &[u8]) -> bool {
    let text = String::from_utf8_lossy(stream);
    let Some(last) = text.rsplit("\n\n").find(|event| event.lines().any(|line| line.starts_with("data:"))) else {
        return false;
    };
    let is_error = |name: &str| matches!(name.trim(), "error" | "response.failed");
    if last.lines().filter_map(|line| line.strip_prefix("event:")).any(is_error) {
        return false;
    }
    let data: String = last.lines().filter_map(|line| line.strip_prefix("data:")).collect();
    match serde_json::from_str::<Value>(&data) {
        Ok(event) => event.get("error").is_none_or(Value::is_null) && !event["type"].as_str().is_some_and(is_error),
        // `[DONE]`.
        Err(_) => data.trim() == "[DONE]",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_that_ends_with_an_error_is_no_good_one() {
        for (stream, well) in [
            ("data: {\"choices\":[]}\n\ndata: [DONE]\n\n", true),
            ("data: {\"choices\":[]}\n\n: keep-alive\n\ndata: [DONE]\n\n", true),
            ("event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n", true),
            (
                "event: response.completed\ndata: {\"type\":\"response.completed\",\"response\":{\"error\":null}}\n\n",
                true,
            ),
            ("data: {\"choices\":[]}\n\ndata: {\"error\":{\"code\":\"upstream_cut\"}}\n\n", false),
            ("event: error\ndata: {\"type\":\"error\",\"error\":{}}\n\n", false),
            ("event: response.failed\ndata: {\"type\":\"response.failed\"}\n\n", false),
            ("data: {\"choices\":[\n\n", false),
            (": keep-alive\n\n", false),
            ("", false),
        ] {
            assert_eq!(ended_well(stream.as_bytes()), well, "{stream}");
        }
    }
}
