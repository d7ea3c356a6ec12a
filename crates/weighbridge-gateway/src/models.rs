//! `GET /v1/models` and `/v1/models/{id}`: every name that a route takes from a caller, in OpenAI's form, or in
//! Anthropic's where a client names a version of its API.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use axum::Json;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use weighbridge_backend::{BackendId, Offer, Price};
use weighbridge_policy::CallerFacts;

use crate::gateway::Core;
use crate::messages;
use crate::pages::Name;
use crate::respond::Refusal;
use crate::wire::{Page, model_page};

/// `GET /v1/models`.
pub(crate) async fn list_models(State(gateway): State<Arc<Core>>, request: Request) -> Response {
    let list = || {
        let caller = gateway.callers.identify(request.headers())?;
        let names = gateway.names_for(caller.as_deref());
        if !is_anthropic(&request) {
            let data: Vec<Value> = names.iter().map(|name| gateway.model_object(name)).collect();
            return Ok(json!({"object": "list", "data": data}));
        }
        let names: Vec<String> = names.into_iter().collect();
        let page = Page::parse(request.uri().query().unwrap_or_default())?;
        let page = model_page(&names, &page, |name| gateway.anthropic_model(name))?;
        Ok(page)
    };
    respond(&request, list())
}

/// `GET /v1/models/{id}`.
pub(crate) async fn one_model(State(gateway): State<Arc<Core>>, Name(id): Name, request: Request) -> Response {
    let find = || {
        let caller = gateway.callers.identify(request.headers())?;
        if !gateway.names_for(caller.as_deref()).contains(&id) {
            return Err(Refusal::model_not_found(&id, "GET /v1/models lists what does."));
        }
        Ok(if is_anthropic(&request) { gateway.anthropic_model(&id) } else { gateway.model_object(&id) })
    };
    respond(&request, find())
}

fn is_anthropic(request: &Request) -> bool {
    messages::are_asked_by(request.uri().path(), request.headers())
}

fn respond(request: &Request, found: Result<Value, Refusal>) -> Response {
    match found {
        Ok(found) => Json(found).into_response(),
        Err(refusal) if is_anthropic(request) => messages::refuse_at_once(&refusal),
        Err(refusal) => refusal.into_response(),
    }
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
        let owner = name.split_once('/').map_or("weighbridge", |(provider, _)| provider);
        let mut model = json!({
            "id": name, "object": "model", "created": self.started_seconds(), "owned_by": owner,
            "shutdown_date": null,
        });
        if let Some(offer) = self.offer(name) {
            model["weighbridge"] = about(offer);
        }
        model
    }

    fn anthropic_model(&self, name: &str) -> Value {
        let created = i64::try_from(self.started_seconds()).unwrap_or(0);
        let created = jiff::Timestamp::from_second(created).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
        let context = self.offer(name).and_then(|offer| offer.context);
        json!({
            "type": "model", "id": name, "display_name": name, "created_at": created.to_string(),
            "lifecycle": "active", "max_input_tokens": context, "max_tokens": context,
        })
    }

    /// What a name's backend offers; an alias stands for several.
    fn offer(&self, name: &str) -> Option<&Offer> {
        self.backend(&BackendId::new(name)).map(|registered| registered.backend.offer())
    }

    /// Seconds since 1970.
    fn started_seconds(&self) -> u64 {
        self.started.duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs())
    }
}

/// What OpenAI's model objects have no place for.
fn about(offer: &Offer) -> Value {
    let capabilities: Vec<&str> = offer.capabilities.iter().map(|capability| capability.as_str()).collect();
    let Price { input, cached_input, output, .. } = offer.price;
    json!({
        "local": offer.local,
        "context": offer.context,
        "capabilities": capabilities,
        "licence": offer.licence,
        "price": {
            "input_usd_per_mtok": input.to_string(),
            "cached_input_usd_per_mtok": cached_input.unwrap_or(input).to_string(),
            "output_usd_per_mtok": output.to_string(),
        },
    })
}
