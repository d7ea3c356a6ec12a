//! `POST /v1/chat/completions`: the table of contents of a request.

use std::sync::Arc;
use std::time::SystemTime;

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Request as HttpRequest, header};
use weighbridge_backend::{Event, NanoUsd, Request};
use weighbridge_policy::CallerFacts;

use crate::account::Account;
use crate::admission::stopped;
use crate::body::read_body;
use crate::dispatch::{Dispatched, Until};
use crate::gateway::Core;
use crate::prepare::{Arrival, Prepared};
use crate::relay::{Relay, relay};
use crate::respond::Refusal;
use crate::wire::{AnswerHead, ChatAnswer, ChatBody, ChatStream};

/// Where it is served.
pub(crate) const PATH: &str = "/v1/chat/completions";

/// Bodies from this size on are parsed and counted on a thread where that keeps nobody waiting.
const LARGE_BODY: usize = 64 << 10;

pub(crate) async fn chat(State(gateway): State<Arc<Core>>, request: HttpRequest<Body>) -> Response {
    let id: Arc<str> = uuid::Uuid::now_v7().to_string().into();
    let (parts, body) = request.into_parts();
    let caller = match gateway.callers.identify(&parts.headers) {
        Ok(caller) => caller,
        // No receipt: whoever has no key must not be able to fill the ledger.
        Err(refusal) => return Heading::of_refused(&id).put_on(refusal.into_response()),
    };
    let (admitted, turned_away) = match gateway.admission.enter() {
        Ok(admitted) => (Some(admitted), None),
        Err(refusal) => (None, Some(refusal)),
    };
    let name = caller.as_ref().map(|caller| Arc::clone(&caller.name));
    let mut account = Account::open(id, name, gateway.books.clone(), admitted);
    let answer = match turned_away {
        Some(refusal) => Err(refusal),
        None => tokio::select! {
            answer = gateway.answer(parts, body, caller, &mut account) => answer,
            () = gateway.admission.cut_signal() => Err(stopped()),
        },
    };
    match answer {
        Ok(answer) => answer.into_response(&gateway, account),
        Err(refusal) => {
            let heading = Heading::of_account(&account, NanoUsd::ZERO);
            account.refuse(&refusal);
            heading.put_on(refusal.into_response())
        }
    }
}

/// An answer that has begun.
struct Answer {
    request: Arc<Request>,
    include_usage: bool,
    dispatched: Dispatched,
}

impl Core {
    async fn answer(
        self: &Arc<Self>,
        parts: Parts,
        body: Body,
        caller: Option<Arc<CallerFacts>>,
        account: &mut Account,
    ) -> Result<Answer, Refusal> {
        let bytes = read_body(&parts.headers, body, &self.limits).await?;
        let (body, prepared) =
            self.parse_and_plan(Arc::clone(account.request_id()), parts.headers, caller, bytes, account).await?;
        let Prepared { plan, refusal, .. } = prepared;
        account.routed(&plan.route, plan.class);
        if let Some(refusal) = refusal {
            return Err(refusal);
        }
        let ChatBody { request, include_usage } = body;
        let until = if request.stream { Until::FirstEvent } else { Until::Whole };
        let request = Arc::new(request);
        let dispatched = self
            .dispatch(&plan, Arc::clone(&request), until, account)
            .await
            .map_err(|failure| Refusal::from(&failure))?;
        Ok(Answer { request, include_usage, dispatched })
    }

    /// Reads the body and makes the plan: pure work, in proportion to the body.
    async fn parse_and_plan(
        self: &Arc<Self>,
        id: Arc<str>,
        headers: HeaderMap,
        caller: Option<Arc<CallerFacts>>,
        bytes: bytes::Bytes,
        account: &mut Account,
    ) -> Result<(ChatBody, Prepared), Refusal> {
        let (gateway, large) = (Arc::clone(self), bytes.len() >= LARGE_BODY);
        let work = move || -> Result<_, Refusal> {
            let mut body = ChatBody::parse(id, &bytes)?;
            let arrival = Arrival { path: PATH, headers: &headers, caller: caller.as_deref() };
            let prepared = gateway.prepare(&arrival, &body.request);
            if let Ok(prepared) = &prepared {
                body.request.standing = prepared.standing.clone();
            }
            Ok((body, prepared))
        };
        let (body, prepared) =
            if large { tokio::task::spawn_blocking(work).await.map_err(|_| Refusal::internal())?? } else { work()? };
        account.asked_for(&body.request.model, body.request.stream);
        Ok((body, prepared?))
    }
}

impl Answer {
    fn into_response(self, gateway: &Core, account: Account) -> Response {
        let Self { request, include_usage, dispatched } = self;
        let choices = request.choices.get();
        let head = AnswerHead {
            request_id: account.request_id().to_string(),
            created: SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs()),
            model: dispatched.choice.backend.to_string(),
        };
        let hints = dispatched.choice.unused_hints.join(", ");
        if request.stream {
            let heading = Heading::of_account(&account, dispatched.estimated_cost()).with_unused_hints(&hints);
            return heading.put_on(stream(gateway, head, choices, include_usage, dispatched, account));
        }
        let heading = Heading::of_account(&account, account.bill().1).with_unused_hints(&hints);
        let mut answer = ChatAnswer::default();
        dispatched.begun.into_iter().for_each(|event| answer.push(event, choices));
        let body = answer.into_json(&head).to_string();
        account.complete();
        heading.put_on(([(header::CONTENT_TYPE, "application/json")], body).into_response())
    }
}

fn stream(
    gateway: &Core,
    head: AnswerHead,
    choices: u32,
    include_usage: bool,
    dispatched: Dispatched,
    account: Account,
) -> Response {
    let relayed = Relay {
        chunks: ChatStream::new(&head, choices, include_usage),
        times: gateway.books.metrics.token_times(dispatched.choice.backend.as_str()),
        events: dispatched.rest,
        account,
    };
    let first = dispatched.begun.into_iter().next().unwrap_or(Event::Usage(relayed.account.bill().0));
    let headers = [
        (header::CONTENT_TYPE, "text/event-stream; charset=utf-8"),
        (header::CACHE_CONTROL, "no-cache"),
        // Tells nginx not to gather the stream.
        (HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    (headers, Body::from_stream(relay(first, relayed, gateway.admission.cut_signal()))).into_response()
}

/// The headers that say where a request went.
struct Heading {
    fields: Vec<(HeaderName, String)>,
}

impl Heading {
    fn of_refused(id: &str) -> Self {
        Self::new(id, None, None, None, NanoUsd::ZERO)
    }

    fn of_account(account: &Account, cost: NanoUsd) -> Self {
        let (route, class, backend) = account.whereabouts();
        Self::new(account.request_id(), route, class.map(|class| class.as_str()), backend.map(|id| id.as_str()), cost)
    }

    fn new(id: &str, route: Option<&str>, class: Option<&str>, backend: Option<&str>, cost: NanoUsd) -> Self {
        let word = |word: Option<&str>| word.unwrap_or("none").to_owned();
        let fields = [
            ("x-request-id", id.to_owned()),
            ("x-weighbridge-decision", id.to_owned()),
            ("x-weighbridge-route", word(route)),
            ("x-weighbridge-backend", word(backend)),
            ("x-weighbridge-class", word(class)),
            ("x-weighbridge-cost-usd", cost.to_string()),
        ];
        Self { fields: fields.into_iter().map(|(name, value)| (HeaderName::from_static(name), value)).collect() }
    }

    fn with_unused_hints(mut self, hints: &str) -> Self {
        if !hints.is_empty() {
            self.fields.push((HeaderName::from_static("x-weighbridge-unused-hints"), hints.to_owned()));
        }
        self
    }

    fn put_on(self, mut response: Response) -> Response {
        for (name, value) in self.fields {
            // Names in the config are not bound to what a header may hold; what does not fit is escaped.
            let value =
                HeaderValue::from_str(&value).or_else(|_| HeaderValue::from_str(&value.escape_default().to_string()));
            if let Ok(value) = value {
                response.headers_mut().insert(name, value);
            }
        }
        response
    }
}
