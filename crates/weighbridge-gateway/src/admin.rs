//! Local models for whoever runs the gateway: where each stands, loading and unloading at will.
//!
//! An open gateway on a loopback address lets anyone on this machine do it, but no page of another origin: a browser
//! sends a `POST` without a body there unasked. With callers it takes the key of one with `admin = true`, and an open
//! gateway that others can reach lets nobody.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use http::{HeaderMap, header};
use serde_json::{Value, json};
use weighbridge_backend::{BackendId, ModelRefusal, ModelState, ModelStatus, Models, PoolStatus};

use crate::admission::stopped;
use crate::gateway::Core;
use crate::pages::Name;
use crate::respond::Refusal;

/// `GET /admin/models`: every local model and the memory that they share.
pub(crate) async fn list(State(gateway): State<Arc<Core>>, headers: HeaderMap) -> Result<Json<Value>, Refusal> {
    gateway.admit_admin(&headers)?;
    Ok(Json(pool(&gateway.pool_status())))
}

/// `GET /admin/models/{name}`.
pub(crate) async fn one(
    State(gateway): State<Arc<Core>>,
    Name(name): Name,
    headers: HeaderMap,
) -> Result<Json<Value>, Refusal> {
    gateway.admit_admin(&headers)?;
    gateway.model(&name).map(Json)
}

/// `POST /admin/models/{name}/load`: answers once it is there.
pub(crate) async fn load(
    State(gateway): State<Arc<Core>>,
    Name(name): Name,
    headers: HeaderMap,
) -> Result<Json<Value>, Refusal> {
    gateway.admit_admin(&headers)?;
    gateway.changed(&name, |models, id| models.load(id)).await
}

/// `POST /admin/models/{name}/unload`: answers once its memory is free. A load under way is cancelled.
pub(crate) async fn unload(
    State(gateway): State<Arc<Core>>,
    Name(name): Name,
    headers: HeaderMap,
) -> Result<Json<Value>, Refusal> {
    gateway.admit_admin(&headers)?;
    gateway.changed(&name, |models, id| models.unload(id)).await
}

impl Core {
    fn admit_admin(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        self.callers.admit_admin(headers, self.limits.open_admin)?;
        let host = headers.get(header::HOST).map(|host| host.as_bytes());
        let origin = headers.get(header::ORIGIN).map(|origin| origin.as_bytes());
        // A key is sent by nobody unasked, and an open gateway has none.
        if self.limits.open_admin && origin.is_some_and(|origin| !is_of_host(origin, host)) {
            return Err(Refusal::not_an_admin("A page of another origin may not load and unload models."));
        }
        Ok(())
    }

    pub(crate) fn pool_status(&self) -> PoolStatus {
        self.models.as_ref().map(|models| models.status()).unwrap_or_default()
    }

    fn model(&self, name: &str) -> Result<Value, Refusal> {
        let status = self.pool_status();
        let found = status.models.iter().find(|model| model.id.as_str() == name);
        found.map(model).ok_or_else(|| Refusal::no_local_model(name))
    }

    /// Has a model loaded or unloaded, and tells where it stands then.
    async fn changed<F>(
        &self,
        name: &str,
        change: impl FnOnce(&dyn Models, &BackendId) -> F,
    ) -> Result<Json<Value>, Refusal>
    where
        F: Future<Output = Result<(), ModelRefusal>>,
    {
        // Counted as a request, so that a stop waits for it, and cuts it when the grace is over.
        let _admitted = self.admission.enter()?;
        let models = self.models.as_ref().ok_or_else(|| Refusal::no_local_model(name))?;
        let changed = tokio::select! {
            changed = change(models.as_ref(), &BackendId::new(name)) => changed,
            () = self.admission.cut_signal() => return Err(Refusal::from(&stopped())),
        };
        changed.map_err(|refusal| refused(&refusal, name))?;
        self.model(name).map(Json)
    }
}

/// Whether an origin such as `http://127.0.0.1:8080` is this host.
fn is_of_host(origin: &[u8], host: Option<&[u8]>) -> bool {
    let own = origin.strip_prefix(b"http://").or_else(|| origin.strip_prefix(b"https://"));
    own.is_some() && own == host
}

fn refused(refusal: &ModelRefusal, name: &str) -> Refusal {
    match refusal {
        ModelRefusal::Unknown => Refusal::no_local_model(name),
        ModelRefusal::Pinned => Refusal::conflict("model_pinned", format!("'{name}': {refusal}.")),
        ModelRefusal::Busy { .. } => Refusal::conflict("model_busy", format!("'{name}': {refusal}.")),
        ModelRefusal::Failed(failure) => Refusal::from(failure),
    }
}

fn pool(status: &PoolStatus) -> Value {
    let models: Vec<Value> = status.models.iter().map(model).collect();
    json!({
        "object": "list",
        "memory_budget_bytes": status.budget_bytes,
        "memory_held_bytes": status.held_bytes,
        "data": models,
    })
}

fn model(status: &ModelStatus) -> Value {
    let mut value = json!({
        "id": status.id.as_str(),
        "object": "local_model",
        "state": status.state.as_str(),
        "memory_bytes": status.memory_bytes,
        "pinned": status.pinned,
        "keep_alive_ms": status.keep_alive.map(milliseconds),
        "answering": status.answering,
        "waiting": status.waiting,
        "idle_ms": status.idle.map(milliseconds),
        "loads": status.loads,
        "load_failures": status.failures,
        "loads_cancelled": status.cancelled,
        "deaths": status.deaths,
        "unloads": status.unloads,
    });
    match &status.state {
        ModelState::Loading { done_bytes, total_bytes } => {
            value["loaded_bytes"] = (*done_bytes).into();
            value["total_bytes"] = (*total_bytes).into();
        }
        ModelState::Failed { reason, retry_in } => {
            value["reason"] = reason.as_str().into();
            value["retry_in_ms"] = milliseconds(*retry_in).into();
        }
        ModelState::Unloaded | ModelState::Ready | ModelState::Unloading => {}
    }
    value
}

fn milliseconds(time: std::time::Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_gateways_own_pages_are_of_its_origin() {
        let host = Some(b"127.0.0.1:8080".as_slice());
        assert!(is_of_host(b"http://127.0.0.1:8080", host));
        for other in ["http://127.0.0.1:3000", "https://evil.example", "null", "127.0.0.1:8080"] {
            assert!(!is_of_host(other.as_bytes(), host), "{other}");
        }
        assert!(!is_of_host(b"http://", None));
    }
}
