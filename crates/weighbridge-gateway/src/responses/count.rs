//! `POST /v1/responses/input_tokens`: how many tokens a request would have, counted by the backend that policy would
//! ask for it. Nothing is computed, so that nothing costs and no receipt is left.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::request::Parts;
use serde_json::json;
use weighbridge_backend::BackendId;
use weighbridge_policy::{Plan, Reason};

use super::{Responses, in_these_words};
use crate::body::read_body;
use crate::gateway::Core;
use crate::heading::Heading;
use crate::prepare::Arrival;
use crate::respond::Refusal;
use crate::surface::{Arriving, Surface};

pub(super) async fn count(State(gateway): State<Arc<Core>>, request: Request<Body>) -> Response {
    let id: Arc<str> = uuid::Uuid::now_v7().to_string().into();
    match counted(&gateway, &id, request).await {
        Ok(response) => response,
        Err(refusal) => Heading::of_refused(&id).put_on(in_these_words(&refusal).into_response()),
    }
}

async fn counted(gateway: &Arc<Core>, id: &Arc<str>, request: Request<Body>) -> Result<Response, Refusal> {
    let (parts, body) = request.into_parts();
    let caller = gateway.callers.identify(&parts.headers)?;
    let _place = gateway.admission.enter()?;
    let body = read_body(&parts.headers, body, &gateway.limits).await?;
    let (gateway, id) = (Arc::clone(gateway), Arc::clone(id));
    let work = move || {
        let caller = caller.as_deref();
        let Parts { headers, extensions, .. } = &parts;
        let arriving = Arriving { id: Arc::clone(&id), headers, extensions, body: &body, gateway: &gateway, caller };
        let inbound = Responses.read(&arriving)?;
        let arrival = Arrival { path: Responses.path(), headers, caller, floor: inbound.floor };
        let prepared = gateway.prepare(&arrival, &inbound.request)?;
        let backend = match (counter(&prepared.plan), prepared.refusal) {
            (Some(backend), _) => backend,
            (None, refusal) => return Err(refusal.unwrap_or_else(Refusal::internal)),
        };
        let registered = gateway.backend(backend).ok_or_else(Refusal::internal)?;
        let tokens = registered.backend.count_prompt(&inbound.request).map_err(|failure| Refusal::from(&failure))?;
        let counted = json!({"object": "response.input_tokens", "input_tokens": tokens.tokens()});
        let heading = Heading::of_waiting(&id, &prepared.plan.route, prepared.plan.class.as_str());
        Ok(heading.put_on(Json(counted).into_response()))
    };
    tokio::task::spawn_blocking(work).await.map_err(|_| Refusal::internal())?
}

/// Whom policy would ask, or would if the prompt were shorter.
fn counter(plan: &Plan) -> Option<&BackendId> {
    let first = plan.attempts.first().map(|choice| &choice.backend);
    let too_small = |reason: &Reason| matches!(reason, Reason::ContextTooSmall { .. });
    let shorter = || plan.excluded.iter().find(|exclusion| exclusion.reasons.iter().all(too_small));
    first.or_else(|| shorter().map(|exclusion| &exclusion.backend))
}
