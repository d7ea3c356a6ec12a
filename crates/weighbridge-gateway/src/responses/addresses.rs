//! What is kept of responses, under their ids.

use std::sync::Arc;

use axum::extract::{Path, RawQuery, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use http::{HeaderMap, header};
use serde_json::{Value, json};
use weighbridge_ledger::StoredResponse;
use weighbridge_policy::CallerFacts;

use super::compact::compact;
use super::count::count;
use super::events::{Wanted, events, stop};
use super::recall::{State as Stated, conversation, fetch, input_items, items, unreadable};
use crate::gateway::Core;
use crate::respond::Refusal;
use crate::wire::WireError;

/// The addresses beside that of making one.
pub(crate) fn addresses() -> Router<Arc<Core>> {
    Router::new()
        .route("/v1/responses/{id}", get(retrieve).delete(delete))
        .route("/v1/responses/{id}/input_items", get(list_input_items))
        .route("/v1/responses/{id}/cancel", post(cancel))
        .route("/v1/responses/input_tokens", post(count))
        .route("/v1/responses/compact", post(compact))
}

/// Does `work` where it may block, for the caller who sent `headers`.
pub(super) async fn with_caller<T: Send + 'static>(
    gateway: &Arc<Core>,
    headers: &HeaderMap,
    work: impl FnOnce(&Core, Option<&CallerFacts>) -> Result<T, Refusal> + Send + 'static,
) -> Result<T, Refusal> {
    let caller = gateway.callers.identify(headers)?;
    let _place = gateway.admission.enter()?;
    let gateway = Arc::clone(gateway);
    let done = tokio::task::spawn_blocking(move || work(&gateway, caller.as_deref()));
    done.await.map_err(|_| Refusal::internal())?
}

pub(super) fn found(gateway: &Core, caller: Option<&CallerFacts>, id: &str) -> Result<StoredResponse, Refusal> {
    fetch(gateway, caller, id)?.ok_or_else(|| Refusal::not_kept("Response", id))
}

/// `GET /v1/responses/{id}`.
async fn retrieve(
    State(gateway): State<Arc<Core>>,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    match Wanted::of(query.as_deref())? {
        Wanted::Whole => {
            let stored = with_caller(&gateway, &headers, move |gateway, caller| found(gateway, caller, &id)).await?;
            Ok(whole(stored))
        }
        Wanted::Events(from) => events(&gateway, &id, &headers, from).await,
    }
}

fn whole(stored: StoredResponse) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], stored.response).into_response()
}

/// `DELETE /v1/responses/{id}`; one that is being made is cancelled first.
async fn delete(
    State(gateway): State<Arc<Core>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Json<Value>, Refusal> {
    stop(&gateway, &id, &headers).await?;
    with_caller(&gateway, &headers, move |gateway, caller| {
        let name = caller.map(|caller| &*caller.name);
        gateway.background.forget(&id, name);
        let deleted = gateway.books.ledger.forget(&id, name).map_err(|error| unreadable(&error))?;
        if !deleted {
            return Err(Refusal::not_kept("Response", &id));
        }
        Ok(Json(json!({"id": id, "object": "response", "deleted": true})))
    })
    .await
}

/// `POST /v1/responses/{id}/cancel`: of what goes on without its caller. One that is over is given as it is.
async fn cancel(
    State(gateway): State<Arc<Core>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    stop(&gateway, &id, &headers).await?;
    let stored = with_caller(&gateway, &headers, move |gateway, caller| found(gateway, caller, &id)).await?;
    if !Stated::of(&stored).background {
        let message = "Cannot cancel a synchronous response. Hang up to cancel one that is being made.";
        return Err(Refusal::not_possible(message));
    }
    Ok(whole(stored))
}

/// `GET /v1/responses/{id}/input_items`: everything that the response was given, its conversation's earlier turns
/// among it.
async fn list_input_items(
    State(gateway): State<Arc<Core>>,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Json<Value>, Refusal> {
    let page = Page::of(query.as_deref())?;
    let all = with_caller(&gateway, &headers, move |gateway, caller| {
        let stored = found(gateway, caller, &id)?;
        let earlier = stored.previous.as_deref().map(|previous| conversation(gateway, caller, previous));
        let mut all: Vec<Value> = earlier.transpose()?.iter().flatten().flat_map(items).collect();
        all.extend(input_items(&stored));
        Ok(all)
    });
    Ok(Json(page.cut(all.await?)))
}

/// Which part of a list is wanted.
struct Page {
    limit: usize,
    after: Option<String>,
    ascending: bool,
}

impl Page {
    fn of(query: Option<&str>) -> Result<Self, WireError> {
        let limit = match parameter(query, "limit") {
            None => 20,
            Some(word) => word
                .parse()
                .ok()
                .filter(|limit| (1..=100).contains(limit))
                .ok_or_else(|| WireError::invalid("limit", "expected a whole number from 1 to 100"))?,
        };
        let ascending = match parameter(query, "order").as_deref() {
            None | Some("desc") => false,
            Some("asc") => true,
            Some(_) => return Err(WireError::invalid("order", "expected asc or desc")),
        };
        Ok(Self { limit, after: parameter(query, "after"), ascending })
    }

    fn cut(self, mut items: Vec<Value>) -> Value {
        if !self.ascending {
            items.reverse();
        }
        if let Some(after) = self.after {
            let seen = items.iter().position(|item| item["id"] == after.as_str());
            items.drain(..seen.map_or(items.len(), |seen| seen + 1));
        }
        let has_more = items.len() > self.limit;
        items.truncate(self.limit);
        let id = |item: Option<&Value>| item.map_or_else(|| "".into(), |item| item["id"].clone());
        let (first, last) = (id(items.first()), id(items.last()));
        json!({"object": "list", "data": items, "first_id": first, "last_id": last, "has_more": has_more})
    }
}

/// A parameter of the query, the first of its name.
pub(super) fn parameter(query: Option<&str>, name: &str) -> Option<String> {
    let pairs = form_urlencoded::parse(query.unwrap_or_default().as_bytes());
    pairs.into_iter().find_map(|(key, value)| (key == name).then(|| value.into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(query: &str) -> (Vec<String>, bool) {
        let items = (1..=5).map(|n| json!({"id": format!("msg_{n}")})).collect();
        let list = Page::of(Some(query)).map(|page| page.cut(items)).unwrap_or_default();
        let ids = list["data"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|item| item["id"].as_str().unwrap_or_default().to_owned());
        (ids.collect(), list["has_more"] == true)
    }

    #[test]
    fn a_list_is_cut_into_pages_from_either_end() {
        let page = |names: &[u32], more| (names.iter().map(|n| format!("msg_{n}")).collect::<Vec<_>>(), more);
        assert_eq!(ids(""), page(&[5, 4, 3, 2, 1], false));
        assert_eq!(ids("limit=2&order=asc"), page(&[1, 2], true));
        assert_eq!(ids("limit=2&order=asc&after=msg_4"), page(&[5], false));
        assert_eq!(ids("limit=1&after=msg%5f5"), page(&[4], true));
        assert_eq!(ids("after=msg_9"), page(&[], false));
    }

    #[test]
    fn a_page_that_cannot_be_is_refused() {
        for query in ["limit=0", "limit=101", "limit=x", "order=up"] {
            assert!(Page::of(Some(query)).is_err(), "{query}");
        }
    }
}
