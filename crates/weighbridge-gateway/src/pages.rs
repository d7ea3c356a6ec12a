//! The small addresses: health, readiness, metrics, and what is not there.

use std::sync::Arc;

use axum::Json;
use axum::extract::{FromRequestParts, Path, Request, State};
use axum::response::{IntoResponse, Response};
use http::request::Parts;
use http::{HeaderMap, Method, StatusCode, header};
use serde_json::{Value, json};
use weighbridge_backend::{BackendId, Health};

use crate::chat::Chat;
use crate::gateway::Core;
use crate::messages;
use crate::metrics::Now;
use crate::respond::Refusal;
use crate::surface::Surface;

/// `GET /health`: the process is alive.
pub(crate) async fn health() -> Json<Value> {
    Json(json!({"status": "ok"}))
}

/// `GET /ready`: it can answer.
pub(crate) async fn ready(State(gateway): State<Arc<Core>>) -> Response {
    let states: Vec<(&BackendId, Health)> =
        gateway.backends().map(|registered| (&registered.backend.offer().id, registered.backend.health())).collect();
    let any = states.iter().any(|(_, health)| *health == Health::Ready);
    let ready = any && !gateway.admission.closed();
    let pool = gateway.pool_status();
    let backends: serde_json::Map<String, Value> = states
        .into_iter()
        .map(|(id, health)| {
            let mut state = match health {
                Health::Ready => json!({"ready": true}),
                Health::Out(reason) => json!({"ready": false, "reason": reason}),
            };
            // A local model is ready to answer also while its weights are away: the next request brings them.
            if let Some(model) = pool.models.iter().find(|model| model.id == *id) {
                state["model"] = model.state.as_str().into();
            }
            (id.to_string(), state)
        })
        .collect();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let word = match (ready, gateway.admission.closed()) {
        (true, _) => "ready",
        (false, true) => "stopping",
        (false, false) => "no backend is ready",
    };
    (status, Json(json!({"status": word, "backends": backends}))).into_response()
}

/// `GET /metrics`, for Prometheus.
pub(crate) async fn metrics(State(gateway): State<Arc<Core>>, headers: HeaderMap) -> Result<Response, Refusal> {
    if gateway.limits.metrics_need_key {
        gateway.callers.identify(&headers)?;
    }
    let backends = gateway.backends().map(|registered| {
        let backend = &registered.backend;
        let (load, computation) = (backend.load(), backend.computation());
        Now { backend: &backend.offer().id, load, ready: backend.health() == Health::Ready, computation }
    });
    gateway.books.metrics.models.set(&gateway.pool_status());
    let page = gateway.books.metrics.page(backends, gateway.admission.inside()).map_err(|_| Refusal::internal())?;
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    Ok(([(header::CONTENT_TYPE, kind)], page).into_response())
}

/// What OpenAI and Anthropic serve below these and we do not.
const NOT_SERVED: [&str; 13] = [
    "/v1/embeddings",
    "/v1/moderations",
    "/v1/images",
    "/v1/audio",
    "/v1/files",
    "/v1/uploads",
    "/v1/batches",
    "/v1/fine_tuning",
    "/v1/realtime",
    "/v1/vector_stores",
    "/v1/assistants",
    "/v1/threads",
    "/v1/messages/batches",
];

/// The part of an address that is a name.
pub(crate) struct Name(pub(crate) String);

impl<S: Send + Sync> FromRequestParts<S> for Name {
    type Rejection = Response;

    /// An address whose escapes come to no text is none of ours.
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Response> {
        if let Ok(Path(name)) = Path::<String>::from_request_parts(parts, state).await {
            return Ok(Self(name));
        }
        let refusal = Refusal::unknown_url(parts.method.as_str(), parts.uri.path());
        Err(refuse_in_words_of(parts.uri.path(), &parts.headers, &refusal))
    }
}

/// No such address.
pub(crate) async fn unknown_url(request: Request) -> Response {
    let (method, path) = (request.method().as_str(), request.uri().path());
    let below = |prefix: &str| path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    let refusal = match NOT_SERVED.into_iter().find(|prefix| below(prefix)) {
        Some(_) => Refusal::not_served(method, path),
        None if below(Chat.path()) => Refusal::no_kept_completions(method, path),
        None => Refusal::unknown_url(method, path),
    };
    in_words_of(&request, &refusal)
}

/// The address exists, the method does not.
pub(crate) async fn wrong_method(request: Request) -> Response {
    let (method, path) = (request.method(), request.uri().path());
    let refusal = match path == Chat.path() && method == Method::GET {
        // OpenAI lists there what it keeps.
        true => Refusal::no_kept_completions(method.as_str(), path),
        false => Refusal::method_not_allowed(method.as_str(), path),
    };
    in_words_of(&request, &refusal)
}

/// An error in the words of the API that was asked by, of a request that no handler has seen.
pub(crate) fn in_words_of<B>(request: &http::Request<B>, refusal: &Refusal) -> Response {
    refuse_in_words_of(request.uri().path(), request.headers(), refusal)
}

/// The same, by what is left of the request.
pub(crate) fn refuse_in_words_of(path: &str, headers: &HeaderMap, refusal: &Refusal) -> Response {
    if messages::are_asked_by(path, headers) {
        return messages::refuse_at_once(refusal);
    }
    refusal.clone().into_response()
}
