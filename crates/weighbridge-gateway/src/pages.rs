//! The small addresses: models, health, readiness, metrics, and what is not there.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, StatusCode, header};
use serde_json::{Value, json};
use weighbridge_backend::{BackendId, Health};
use weighbridge_policy::CallerFacts;

use crate::gateway::Core;
use crate::metrics::Now;
use crate::respond::Refusal;

/// `GET /v1/models`: every name that a route takes from this caller, aliases first.
pub(crate) async fn list_models(State(gateway): State<Arc<Core>>, headers: HeaderMap) -> Result<Json<Value>, Refusal> {
    let caller = gateway.callers.identify(&headers)?;
    let names = gateway.names_for(caller.as_deref());
    let data: Vec<Value> = names.iter().map(|name| gateway.model_object(name)).collect();
    Ok(Json(json!({"object": "list", "data": data})))
}

/// `GET /v1/models/{id}`.
pub(crate) async fn one_model(
    State(gateway): State<Arc<Core>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Json<Value>, Refusal> {
    let caller = gateway.callers.identify(&headers)?;
    if !gateway.names_for(caller.as_deref()).contains(&id) {
        return Err(Refusal::model_not_found(&id, "GET /v1/models lists what does."));
    }
    Ok(Json(gateway.model_object(&id)))
}

impl Core {
    fn names_for(&self, caller: Option<&CallerFacts>) -> BTreeSet<String> {
        let mut names = BTreeSet::new();
        for route in self.routes.iter().filter(|route| caller.is_none_or(|caller| caller.may_use(&route.name))) {
            let models = &route.matches.models;
            let taken =
                |id: &&BackendId| models.is_empty() || models.iter().any(|pattern| pattern.matches(id.as_str()));
            names.extend(route.backends.iter().filter(taken).map(ToString::to_string));
            let aliases = models.iter().filter(|pattern| pattern.is_literal()).map(|pattern| pattern.as_str());
            names.extend(aliases.filter(|alias| !self.is_dead_name(alias)).map(str::to_owned));
        }
        names
    }

    /// A backend's id that its route does not hold, or a model that its provider does not have.
    fn is_dead_name(&self, name: &str) -> bool {
        let known = self.known();
        let below = |provider: &String| name.strip_prefix(provider.as_str()).is_some_and(|rest| rest.starts_with('/'));
        known.backends.iter().any(|id| id.as_str() == name) || known.providers.iter().any(below)
    }

    fn model_object(&self, name: &str) -> Value {
        let created = self.started.duration_since(std::time::UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs());
        let owner = name.split_once('/').map_or("weighbridge", |(provider, _)| provider);
        json!({"id": name, "object": "model", "created": created, "owned_by": owner})
    }
}

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

/// No such address.
pub(crate) async fn unknown_url(request: Request) -> Refusal {
    Refusal::unknown_url(request.method().as_str(), request.uri().path())
}

/// The address exists, the method does not.
pub(crate) async fn wrong_method(request: Request) -> Refusal {
    Refusal::method_not_allowed(request.method().as_str(), request.uri().path())
}
