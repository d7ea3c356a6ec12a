//! `POST /v1/messages`: Anthropic's Messages API.

use axum::response::Response;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use weighbridge_backend::{Event, Usage};

use crate::respond::Refusal;
use crate::surface::{Arriving, Bill, Head, Inbound, Surface, Writer};
use crate::wire::{
    MessagesAnswer, MessagesBody, MessagesStream, PING, Purpose, Version, messages_error, messages_event,
    messages_status,
};

/// The header that names the rules.
pub(crate) const VERSION_HEADER: &str = "anthropic-version";
/// The header that Anthropic's clients find a request's id in.
const REQUEST_ID: HeaderName = HeaderName::from_static("request-id");

/// Anthropic's messages.
pub(crate) struct Messages;

impl Surface for Messages {
    fn path(&self) -> &'static str {
        "/v1/messages"
    }

    /// Agents ask for as much as Anthropic's models may write, which is more than many a local model has room for.
    fn may_be_cut(&self) -> bool {
        true
    }

    fn read(&self, arriving: &Arriving<'_>) -> Result<Inbound, Refusal> {
        let MessagesBody { request, shows_thinking } = read(arriving, Purpose::Answer)?;
        let id = arriving.id.to_string();
        let writer = MessagesWriter { id, shows_thinking, stream: None };
        Ok(Inbound { request, beside: Vec::new(), writer: Box::new(writer), floor: None, may_shorten: false })
    }

    fn refuse(&self, refusal: &Refusal, request_id: &str) -> Response {
        let status = StatusCode::from_u16(messages_status(refusal.status())).unwrap_or(StatusCode::BAD_GATEWAY);
        refusal.respond(status, &messages_error(refusal.status(), &refusal.to_json(), request_id))
    }

    fn mark(&self, response: &mut Response, request_id: &str) {
        if let Ok(id) = HeaderValue::from_str(request_id) {
            response.headers_mut().insert(REQUEST_ID, id);
        }
    }
}

/// Reads a body by the rules that its headers name.
pub(crate) fn read(arriving: &Arriving<'_>, purpose: Purpose) -> Result<MessagesBody, Refusal> {
    let version = version(arriving.headers)?;
    Ok(MessagesBody::parse(arriving.id.clone(), arriving.body, version, purpose)?)
}

/// A client that names no version keeps the rules that all versions began with.
fn version(headers: &HeaderMap) -> Result<Version, Refusal> {
    let Some(value) = headers.get(VERSION_HEADER) else { return Ok(Version::Of2023) };
    let named = value.to_str().ok().and_then(Version::named);
    named.ok_or_else(|| Refusal::bad_header(VERSION_HEADER, "expected 2023-06-01 or 2026-10-21"))
}

/// Whether a client asks by Anthropic's API: by one of its own addresses, or by naming a version of it.
pub(crate) fn are_asked_by(path: &str, headers: &HeaderMap) -> bool {
    let below = path.strip_prefix(Messages.path()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    below || headers.contains_key(VERSION_HEADER)
}

/// An error before anything is known of the request.
pub(crate) fn refuse_at_once(refusal: &Refusal) -> Response {
    let id = uuid::Uuid::now_v7().to_string();
    let mut response = Messages.refuse(refusal, &id);
    Messages.mark(&mut response, &id);
    response
}

struct MessagesWriter {
    id: String,
    shows_thinking: bool,
    /// Once it is open.
    stream: Option<(MessagesStream, Head)>,
}

impl Writer for MessagesWriter {
    fn whole(self: Box<Self>, head: &Head, events: Vec<Event>, bill: &Bill) -> Vec<u8> {
        let mut answer = MessagesAnswer::new(self.shows_thinking);
        events.into_iter().for_each(|event| answer.push(event));
        answer.into_json(head, &bill.usage).to_string().into_bytes()
    }

    fn open(&mut self, head: &Head, out: &mut Vec<u8>) {
        self.stream = Some((MessagesStream::open(head, self.shows_thinking, out), head.clone()));
    }

    fn write(&mut self, event: &Event, _: &Usage, out: &mut Vec<u8>) {
        if let Some((stream, _)) = &mut self.stream {
            stream.write(event, out);
        }
    }

    fn end(&mut self, bill: &Bill, out: &mut Vec<u8>) {
        if let Some((stream, head)) = &mut self.stream {
            stream.end(&bill.usage, &bill.about(head), out);
        }
    }

    fn fail(&mut self, refusal: &Refusal, out: &mut Vec<u8>) {
        messages_event(out, "error", &messages_error(refusal.status(), &refusal.to_json(), &self.id));
    }

    fn keep_alive(&self) -> Bytes {
        Bytes::from_static(PING)
    }
}
