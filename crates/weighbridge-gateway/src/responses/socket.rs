//! `GET /v1/responses`, upgraded to a WebSocket: responses one after the other over one connection, as OpenAI has them.
//!
//! Each `response.create` takes the road of a streamed request with the headers that the connection was opened with;
//! its events come as messages, without the framing of server-sent events.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, BodyDataStream, to_bytes};
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::extract::{FromRequestParts, Request, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::StreamExt;
use http::{HeaderMap, HeaderValue, Method, Request as HttpRequest, StatusCode, header};
use serde_json::{Value, json};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use super::held::{HELD_KIB, Held};
use super::{Responses, in_these_words};
use crate::gateway::Core;
use crate::inference;
use crate::respond::Refusal;
use crate::wire::{WireError, body_object};

/// The longest that a connection may last, as at OpenAI.
const LONGEST: Duration = Duration::from_secs(3600);

/// How often a client is asked whether it is there; one that says nothing for twice as long is taken to be gone.
const PING_EVERY: Duration = Duration::from_secs(30);

/// The most requests that may wait behind the one that is being answered.
const WAITING: usize = 8;

/// What is about one request over HTTP, and about none over a WebSocket.
const NOT_THERE: [&str; 3] = ["stream", "stream_options", "background"];

/// What of the connection's headers is not of its requests.
const OF_THE_CONNECTION: [header::HeaderName; 9] = [
    header::CONNECTION,
    header::UPGRADE,
    header::SEC_WEBSOCKET_KEY,
    header::SEC_WEBSOCKET_VERSION,
    header::SEC_WEBSOCKET_PROTOCOL,
    header::SEC_WEBSOCKET_EXTENSIONS,
    header::CONTENT_LENGTH,
    header::CONTENT_ENCODING,
    header::TRANSFER_ENCODING,
];

/// The open connections of a gateway, which are no longer counted among those of HTTP.
pub(crate) struct Sockets {
    places: Arc<Semaphore>,
    most: u32,
    /// What their responses may take in memory.
    room: Arc<Semaphore>,
}

impl Sockets {
    /// As many at a time.
    pub(crate) fn new(most: usize) -> Self {
        let most = u32::try_from(most.min(Semaphore::MAX_PERMITS)).unwrap_or(u32::MAX);
        let places = Arc::new(Semaphore::new(usize::try_from(most).unwrap_or(Semaphore::MAX_PERMITS)));
        Self { places, most, room: Arc::new(Semaphore::new(HELD_KIB)) }
    }

    pub(super) fn room(&self) -> &Arc<Semaphore> {
        &self.room
    }

    fn enter(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.places).try_acquire_owned().ok()
    }

    /// Ready once all are closed, which each does by itself when nobody is let in any more.
    pub(crate) async fn closed(&self) {
        // It is never closed itself.
        let _ = self.places.acquire_many(self.most).await;
    }
}

/// Opens the connection, or says why not.
pub(crate) async fn open(State(gateway): State<Arc<Core>>, request: Request) -> Response {
    let wanted = request.headers().get(header::UPGRADE);
    if !wanted.is_some_and(|protocol| protocol.as_bytes().eq_ignore_ascii_case(b"websocket")) {
        let upgrade = [(header::UPGRADE, "websocket"), (header::CONNECTION, "upgrade")];
        return (upgrade, Refusal::upgrade_required(request.uri().path())).into_response();
    }
    let (mut parts, _) = request.into_parts();
    let place = match admit(&gateway, &parts.headers) {
        Ok(place) => place,
        Err(refusal) => return refusal.into_response(),
    };
    let upgrade = match WebSocketUpgrade::from_request_parts(&mut parts, &()).await {
        Ok(upgrade) => upgrade,
        Err(rejection) => return Refusal::bad_header("upgrade", &rejection.body_text()).into_response(),
    };
    let most = gateway.limits.body_bytes;
    let session = Session {
        headers: own_headers(parts.headers),
        gateway,
        held: Held::default(),
        waiting: VecDeque::new(),
        _place: place,
    };
    upgrade.max_message_size(most).max_frame_size(most).on_upgrade(move |socket| session.run(socket))
}

/// Who may open a connection, while there are places.
fn admit(gateway: &Arc<Core>, headers: &HeaderMap) -> Result<OwnedSemaphorePermit, Refusal> {
    gateway.callers.identify(headers)?;
    // A page of any origin can open a WebSocket to this machine, and nobody asks first as for other requests.
    if let Some(origin) = headers.get(header::ORIGIN) {
        let let_in = gateway.limits.cors.as_ref().is_some_and(|cors| cors.lets_in(origin));
        if !let_in {
            let message = "Pages of this origin are not let in. [server.cors] allow_origins says which are.";
            return Err(Refusal::forbidden("origin_not_allowed", message));
        }
    }
    // Nobody is let in while all places inside are taken, or when the gateway is being stopped.
    drop(gateway.admission.enter()?);
    gateway.sockets.enter().ok_or_else(|| {
        let message = "As many WebSockets are open as connections may be ([server] max_connections).";
        Refusal::unavailable("overloaded", message, Some(Duration::from_secs(1)))
    })
}

fn own_headers(mut headers: HeaderMap) -> HeaderMap {
    OF_THE_CONNECTION.iter().for_each(|name| _ = headers.remove(name));
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers
}

/// An open connection.
struct Session {
    gateway: Arc<Core>,
    /// Those of each of its requests.
    headers: HeaderMap,
    held: Held,
    /// What came while another was being answered.
    waiting: VecDeque<String>,
    _place: OwnedSemaphorePermit,
}

/// Why a connection ends; `None` where its client went first.
type End = Option<(u16, &'static str)>;

impl Session {
    async fn run(mut self, mut socket: WebSocket) {
        let end = self.converse(&mut socket).await;
        if let Some((code, reason)) = end {
            // Whoever is gone does not hear it.
            let _ = socket.send(Message::Close(Some(CloseFrame { code, reason: reason.into() }))).await;
        }
    }

    async fn converse(&mut self, socket: &mut WebSocket) -> End {
        let mut closing = self.gateway.admission.closed_signal();
        let mut longest = Box::pin(sleep(LONGEST));
        let mut pings = interval(PING_EVERY);
        // None is made up for after a long answer.
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut heard = Instant::now();
        loop {
            if let Some(text) = self.waiting.pop_front() {
                if let Err(end) = self.turn(socket, &text).await {
                    return end;
                }
                heard = Instant::now();
                continue;
            }
            tokio::select! {
                message = socket.recv() => {
                    heard = Instant::now();
                    if let Err(end) = self.hear(message) {
                        return end;
                    }
                }
                () = &mut closing => return Some((close_code::AWAY, "the gateway is being stopped")),
                () = &mut longest => {
                    let refusal = Refusal::socket_is_old(LONGEST);
                    return match say(socket, failure(refusal.status(), &refusal.to_json())).await {
                        Ok(()) => Some((close_code::NORMAL, "a connection lasts an hour at most")),
                        Err(end) => end,
                    };
                }
                _ = pings.tick() => {
                    if heard.elapsed() > 2 * PING_EVERY || socket.send(Message::Ping(Bytes::new())).await.is_err() {
                        return None;
                    }
                }
            }
        }
    }

    /// Takes what came in.
    fn hear(&mut self, message: Option<Result<Message, axum::Error>>) -> Result<(), End> {
        match message {
            Some(Ok(Message::Text(_))) if self.waiting.len() == WAITING => {
                Err(Some((close_code::POLICY, "too many requests wait")))
            }
            Some(Ok(Message::Text(text))) => {
                self.waiting.push_back(text.as_str().to_owned());
                Ok(())
            }
            Some(Ok(Message::Binary(_))) => Err(Some((close_code::UNSUPPORTED, "expected text"))),
            // The library answers pings.
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => Ok(()),
            Some(Ok(Message::Close(_)) | Err(_)) | None => Err(None),
        }
    }

    /// Answers one request.
    async fn turn(&mut self, socket: &mut WebSocket, text: &str) -> Result<(), End> {
        let (body, previous) = match create(text) {
            Ok(create) => create,
            Err(error) => {
                let refusal = in_these_words(&error.into());
                return say(socket, failure(refusal.status(), &refusal.to_json())).await;
            }
        };
        let well = self.answer(socket, body).await?;
        if let (false, Some(previous)) = (well, previous) {
            self.held.forget(&previous);
        }
        Ok(())
    }

    /// Passes a response on. Returns whether it came to a good end.
    async fn answer(&mut self, socket: &mut WebSocket, body: String) -> Result<bool, End> {
        let mut request = HttpRequest::new(Body::from(body));
        *request.method_mut() = Method::POST;
        *request.headers_mut() = self.headers.clone();
        request.extensions_mut().insert(self.held.clone());
        let mut serving = Box::pin(inference::serve(Arc::clone(&self.gateway), &Responses, request));
        let response = loop {
            tokio::select! {
                response = &mut serving => break response,
                message = socket.recv() => self.hear(message)?,
            }
        };
        let (status, body) = (response.status(), response.into_body());
        if status != StatusCode::OK {
            let body = to_bytes(body, usize::MAX).await.unwrap_or_default();
            say(socket, failure(status.as_u16(), &serde_json::from_slice(&body).unwrap_or_default())).await?;
            return Ok(false);
        }
        self.relay(socket, body.into_data_stream()).await
    }

    async fn relay(&mut self, socket: &mut WebSocket, mut pieces: BodyDataStream) -> Result<bool, End> {
        let (mut unread, mut well) = (Vec::new(), false);
        loop {
            let piece = tokio::select! {
                piece = pieces.next() => piece,
                message = socket.recv() => {
                    self.hear(message)?;
                    continue;
                }
            };
            let Some(Ok(piece)) = piece else { return Ok(well) };
            unread.extend_from_slice(&piece);
            while let Some(end) = unread.windows(2).position(|pair| pair == b"\n\n") {
                let event = String::from_utf8_lossy(&unread[..end]).into_owned();
                unread.drain(..end + 2);
                let Some((kind, data)) = event.split_once("\ndata: ") else {
                    // What a comment is to a stream of HTTP.
                    socket.send(Message::Ping(Bytes::new())).await.map_err(|_| None)?;
                    continue;
                };
                well = matches!(kind, "event: response.completed" | "event: response.incomplete");
                say(socket, data.to_owned()).await?;
            }
        }
    }
}

async fn say(socket: &mut WebSocket, text: String) -> Result<(), End> {
    socket.send(Message::Text(text.into())).await.map_err(|_| None)
}

/// The body of the request that a message makes, and what it goes on from.
fn create(text: &str) -> Result<(String, Option<String>), WireError> {
    let mut value = body_object(text.as_bytes())?;
    if let Some(fields) = value.as_object_mut() {
        match fields.shift_remove("type") {
            Some(kind) if kind == "response.create" => {}
            Some(_) => return Err(WireError::invalid("type", "expected response.create")),
            None => return Err(WireError::missing("type")),
        }
        if let Some(name) = NOT_THERE.into_iter().find(|name| fields.get(*name).is_some_and(|value| !value.is_null())) {
            let message = format!(
                "Unsupported parameter: '{name}' is not for WebSockets, over which every response comes as events."
            );
            return Err(WireError::at(name, "unsupported_parameter", message));
        }
        fields.insert("stream".to_owned(), true.into());
    }
    let previous = value["previous_response_id"].as_str().map(str::to_owned);
    Ok((value.to_string(), previous))
}

/// The message that says that a request failed before it had a response.
fn failure(status: u16, error: &Value) -> String {
    let mut error = error["error"].clone();
    if error["code"].is_null() {
        // Typed clients take no null for it.
        error["code"] = error["type"].clone();
    }
    json!({"type": "error", "status": status, "error": error}).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_the_body_of_a_request() {
        let (body, previous) =
            create(r#"{"type":"response.create","model":"m","previous_response_id":"resp_1"}"#).expect("it is good");
        assert_eq!(body, r#"{"model":"m","previous_response_id":"resp_1","stream":true}"#);
        assert_eq!(previous.as_deref(), Some("resp_1"));
        for (text, code, param) in [
            ("[]", "invalid_type", None),
            ("{", "invalid_json", None),
            ("{}", "missing_required_parameter", Some("type")),
            (r#"{"type":"response.steer"}"#, "invalid_value", Some("type")),
            (r#"{"type":"response.create","stream":false}"#, "unsupported_parameter", Some("stream")),
            (r#"{"type":"response.create","background":true}"#, "unsupported_parameter", Some("background")),
        ] {
            let error = create(text).expect_err(text);
            assert_eq!((error.code, error.param.as_deref()), (code, param), "{text}");
        }
    }

    #[test]
    fn a_failure_has_a_status_and_a_code() {
        let error = json!({"error": {"message": "no", "type": "invalid_request_error", "param": null, "code": null}});
        let said: Value = serde_json::from_str(&failure(401, &error)).expect("it is JSON");
        assert_eq!((&said["status"], &said["error"]["code"]), (&json!(401), &json!("invalid_request_error")));
    }
}
