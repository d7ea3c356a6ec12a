//! A request for an answer, whatever API it came by: the table of contents.

use std::convert::Infallible;
use std::sync::Arc;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::Stream;
use futures_util::future::BoxFuture;
use http::request::Parts;
use http::{HeaderName, Request as HttpRequest, header};
use weighbridge_backend::{Failure, NanoUsd, Request};
use weighbridge_policy::{CallerFacts, Plan};

use crate::account::Account;
use crate::admission::stopped;
use crate::background::Running;
use crate::body::read_body;
use crate::dispatch::{Dispatched, Until};
use crate::gateway::Core;
use crate::heading::Heading;
use crate::prepare::{Arrival, Prepared};
use crate::relay::{Begun, Relay, Waiting, relay};
use crate::respond::Refusal;
use crate::surface::{Arriving, Head, Inbound, Surface, Writer};
use crate::together::{self, Companion};

/// Bodies from this size on are parsed and counted on a thread where that keeps nobody waiting.
const LARGE_BODY: usize = 64 << 10;

/// The attempts of a plan under way: how they end, with the account that they are kept in.
pub(crate) type Attempts = BoxFuture<'static, (Account, Result<Dispatched, Failure>)>;

/// Answers a request that came by `surface`.
pub(crate) async fn serve(gateway: Arc<Core>, surface: &'static dyn Surface, request: HttpRequest<Body>) -> Response {
    let id: Arc<str> = uuid::Uuid::now_v7().to_string().into();
    let mut response = answered(gateway, surface, request, Arc::clone(&id)).await;
    surface.mark(&mut response, &id);
    response
}

async fn answered(
    gateway: Arc<Core>,
    surface: &'static dyn Surface,
    request: HttpRequest<Body>,
    id: Arc<str>,
) -> Response {
    let (parts, body) = request.into_parts();
    let caller = match gateway.callers.identify(&parts.headers) {
        Ok(caller) => caller,
        // No receipt: whoever has no key must not be able to fill the ledger.
        Err(refusal) => return Heading::of_refused(&id).put_on(surface.refuse(&refusal, &id)),
    };
    let (admitted, turned_away) = match gateway.admission.enter() {
        Ok(admitted) => (Some(admitted), None),
        Err(refusal) => (None, Some(refusal)),
    };
    let name = caller.as_ref().map(|caller| Arc::clone(&caller.name));
    let mut account = Account::open(id, name, gateway.books.clone(), admitted);
    let planned = match turned_away {
        Some(refusal) => Err(refusal),
        None => tokio::select! {
            planned = gateway.plan_for(surface, parts, body, caller, &mut account) => planned,
            () = gateway.admission.cut_signal() => Err(Refusal::from(&stopped())),
        },
    };
    let taken_up = planned.and_then(|mut planned| {
        let running = planned.writer.take_up(&gateway, &planned.request)?;
        Ok((planned, running))
    });
    match taken_up {
        Ok((planned, Some(running))) => in_background(&gateway, planned, account, running),
        Ok((planned, None)) if planned.request.stream => stream(gateway, surface, planned, account).await,
        Ok((planned, None)) => whole(gateway, surface, planned, account).await,
        Err(refusal) => refused(surface, account, &refusal),
    }
}

/// A request with its plan, and who writes the answer.
struct Planned {
    request: Arc<Request>,
    writer: Box<dyn Writer>,
    plan: Plan,
    companions: Vec<Companion>,
    /// How many messages were left out.
    left_out: usize,
}

impl Core {
    async fn plan_for(
        self: &Arc<Self>,
        surface: &'static dyn Surface,
        parts: Parts,
        body: Body,
        caller: Option<Arc<CallerFacts>>,
        account: &mut Account,
    ) -> Result<Planned, Refusal> {
        let body = read_body(&parts.headers, body, &self.limits).await?;
        let name = caller.as_ref().map(|caller| Arc::clone(&caller.name));
        let (inbound, prepared, beside) = self.read_and_plan(surface, parts, caller, body, account).await?;
        let Prepared { plan, refusal, left_out, .. } = prepared;
        account.routed(&plan.route, plan.class);
        if let Some(refusal) = refusal {
            return Err(refusal);
        }
        let Inbound { request, writer, .. } = inbound;
        let companions = self.open_companions(beside, name, account)?;
        Ok(Planned { request: Arc::new(request), writer, plan, companions, left_out })
    }

    /// Opens an account for each request that came with the first one, once all are planned: what is refused as one
    /// leaves one receipt.
    fn open_companions(
        &self,
        beside: Vec<(Request, Plan)>,
        caller: Option<Arc<str>>,
        first: &Account,
    ) -> Result<Vec<Companion>, Refusal> {
        let places = beside.iter().map(|_| self.admission.enter()).collect::<Result<Vec<_>, _>>()?;
        let companion = |((request, plan), place): ((Request, Plan), _)| {
            let mut account = Account::open(Arc::clone(&request.id), caller.clone(), self.books.clone(), Some(place));
            account.joins(first.beside());
            account.asked_for(&request.model, request.stream);
            account.routed(&plan.route, plan.class);
            Companion { request: Arc::new(request), plan, account }
        };
        Ok(beside.into_iter().zip(places).map(companion).collect())
    }

    /// Reads the body and makes the plan: pure work, in proportion to the body.
    async fn read_and_plan(
        self: &Arc<Self>,
        surface: &'static dyn Surface,
        parts: Parts,
        caller: Option<Arc<CallerFacts>>,
        body: Bytes,
        account: &mut Account,
    ) -> Result<(Inbound, Prepared, Vec<(Request, Plan)>), Refusal> {
        let (gateway, id) = (Arc::clone(self), Arc::clone(account.request_id()));
        let slow = surface.reads_slowly() || body.len() >= LARGE_BODY;
        let work = move || -> Result<_, Refusal> {
            let caller = caller.as_deref();
            let Parts { headers, extensions, .. } = &parts;
            let mut inbound =
                surface.read(&Arriving { id, headers, extensions, body: &body, gateway: &gateway, caller })?;
            let arrival = Arrival { path: surface.path(), headers, caller, floor: inbound.floor };
            let prepared = gateway.prepare_inbound(surface, &arrival, &mut inbound);
            let beside = std::mem::take(&mut inbound.beside);
            let planned = prepared.and_then(|first| Ok((first, gateway.prepare_beside(&arrival, beside)?)));
            Ok((inbound, planned))
        };
        let (inbound, planned) =
            if slow { tokio::task::spawn_blocking(work).await.map_err(|_| Refusal::internal())?? } else { work()? };
        account.asked_for(&inbound.request.model, inbound.request.stream);
        let (prepared, beside) = planned?;
        Ok((inbound, prepared, beside))
    }

    /// Makes the plan of a request that was read, which has its standing and its length by then.
    fn prepare_inbound(
        &self,
        surface: &dyn Surface,
        arrival: &Arrival<'_>,
        inbound: &mut Inbound,
    ) -> Result<Prepared, Refusal> {
        let prepared = match inbound.may_shorten {
            true => self.prepare_shortened(arrival, &mut inbound.request)?,
            false if surface.may_be_cut() => self.prepare_within(arrival, &mut inbound.request)?,
            false => self.prepare(arrival, &inbound.request)?,
        };
        inbound.request.standing = prepared.standing.clone();
        if prepared.left_out > 0 {
            inbound.writer.shortened(prepared.left_out);
        }
        Ok(prepared)
    }

    /// Makes the plans of the requests that came with the first one. Where nobody may answer one, none is answered.
    fn prepare_beside(&self, arrival: &Arrival<'_>, beside: Vec<Request>) -> Result<Vec<(Request, Plan)>, Refusal> {
        let prepare = |mut request: Request| {
            let Prepared { plan, standing, refusal, .. } = self.prepare(arrival, &request)?;
            request.standing = standing;
            refusal.map_or(Ok((request, plan)), Err)
        };
        beside.into_iter().map(prepare).collect()
    }

    /// Begins with the plan's attempts, which end early where the gateway runs out of patience.
    pub(crate) fn attempts(self: &Arc<Self>, plan: Plan, request: Arc<Request>, mut account: Account) -> Attempts {
        let gateway = Arc::clone(self);
        let until = if request.stream { Until::FirstEvent } else { Until::Whole };
        Box::pin(async move {
            let dispatched = tokio::select! {
                dispatched = gateway.dispatch(&plan, request, until, &mut account) => dispatched,
                () = gateway.admission.cut_signal() => Err(stopped()),
            };
            (account, dispatched)
        })
    }
}

/// Begins with an answer that is made without its client, who gets what there is of it by now: how it is kept, or the
/// events that it has and will have.
fn in_background(gateway: &Arc<Core>, planned: Planned, mut account: Account, running: Running) -> Response {
    let Planned { request, writer, plan, companions, left_out } = planned;
    let heading = Heading::of_waiting(&request.id, &plan.route, plan.class.as_str());
    let hints = plan.attempts.first().map(|choice| choice.unused_hints.clone()).unwrap_or_default();
    let job = Arc::clone(running.job());
    let response = match job.stored() {
        Some(queued) if !request.stream => {
            ([(header::CONTENT_TYPE, "application/json")], queued.response).into_response()
        }
        _ => event_stream(job.read(0, gateway.limits.keep_alive)),
    };
    account.has_status(200);
    account.when_begun(move || job.begin());
    let attempts = together::attempts(gateway, plan, Arc::clone(&request), account, companions);
    running.start(attempts, Relay { gateway: Arc::clone(gateway), request, writer });
    heading.with_unused_hints(&hints).with_left_out(left_out).put_on(response)
}

async fn whole(gateway: Arc<Core>, surface: &dyn Surface, planned: Planned, account: Account) -> Response {
    let Planned { request, writer, plan, companions, left_out } = planned;
    let attempts = together::attempts(&gateway, plan, Arc::clone(&request), account, companions);
    let (account, dispatched) = attempts.await;
    let dispatched = match dispatched {
        Ok(dispatched) => dispatched,
        Err(failure) => return refused(surface, account, &Refusal::from(&failure)),
    };
    let bill = account.bill_of_all();
    let hints = &dispatched.choice.unused_hints;
    let heading = Heading::of_account(&account, bill.cost).with_unused_hints(hints).with_left_out(left_out);
    let head = Head::new(&gateway, &request, &dispatched.choice, bill.usage);
    let body = writer.whole(&head, dispatched.begun, &bill);
    account.complete();
    heading.put_on(([(header::CONTENT_TYPE, "application/json")], body).into_response())
}

/// A stream. Its status waits for the first event, and for no longer than a stream may be silent.
async fn stream(gateway: Arc<Core>, surface: &dyn Surface, planned: Planned, account: Account) -> Response {
    let Planned { request, writer, plan, companions, left_out } = planned;
    let heading = Heading::of_waiting(&request.id, &plan.route, plan.class.as_str());
    let mut attempts = together::attempts(&gateway, plan, Arc::clone(&request), account, companions);
    let dispatched = tokio::select! {
        dispatched = &mut attempts => Some(dispatched),
        () = tokio::time::sleep(gateway.limits.keep_alive) => None,
    };
    let relayed = Relay { gateway, request, writer };
    let (heading, body) = match dispatched {
        None => (heading, relay(relayed, Begun::Not(Waiting::new(attempts)))),
        Some((account, Err(failure))) => return refused(surface, account, &Refusal::from(&failure)),
        Some((account, Ok(dispatched))) => {
            let heading = Heading::of_account(&account, dispatched.estimated_cost())
                .with_unused_hints(&dispatched.choice.unused_hints);
            (heading, relay(relayed, Begun::Now(Box::new((account, dispatched)))))
        }
    };
    heading.with_left_out(left_out).put_on(event_stream(body))
}

/// Server-sent events as an answer.
pub(crate) fn event_stream(events: impl Stream<Item = Result<Bytes, Infallible>> + Send + 'static) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/event-stream; charset=utf-8"),
        (header::CACHE_CONTROL, "no-cache"),
        // Tells nginx not to gather the stream.
        (HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    (headers, Body::from_stream(events)).into_response()
}

fn refused(surface: &dyn Surface, account: Account, refusal: &Refusal) -> Response {
    let heading = Heading::of_account(&account, NanoUsd::ZERO);
    let response = surface.refuse(refusal, account.request_id());
    account.refuse(refusal, response.status().as_u16());
    heading.put_on(response)
}
