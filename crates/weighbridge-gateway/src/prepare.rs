//! From a body to a plan: what was asked, the facts on each backend, and what policy makes of them. Nothing
//! is sent. `explain` is this and no more.

use std::borrow::Cow;
use std::fmt::Write;
use std::sync::Arc;

use http::HeaderMap;
use weighbridge_backend::{BackendId, DataClass, Failure, Health, Need, PromptCount, Request, Standing};
use weighbridge_policy::{Asking, BackendFacts, CallerFacts, NoRoute, Plan, Reason, Route, class_of, find_route, plan};

use crate::Gateway;
use crate::gateway::Core;
use crate::respond::Refusal;
use crate::standing::standing;
use crate::surface::Surface;
use crate::wire::ChatBody;

/// The header that raises a request's class.
const CLASS_HEADER: &str = "x-weighbridge-class";

/// What came with a body.
pub(crate) struct Arrival<'a> {
    pub(crate) path: &'a str,
    pub(crate) headers: &'a HeaderMap,
    pub(crate) caller: Option<&'a CallerFacts>,
    /// The class of what it goes on from.
    pub(crate) floor: Option<DataClass>,
}

/// A plan, on whose behalf it is, and the refusal that it comes to where it has no attempts.
pub(crate) struct Prepared {
    pub(crate) plan: Plan,
    pub(crate) standing: Standing,
    pub(crate) refusal: Option<Refusal>,
    /// How many messages were left out for it.
    pub(crate) left_out: usize,
}

impl Prepared {
    /// Whether nobody may answer for the one reason that the prompt, with the answer asked for, is too long.
    pub(crate) fn is_too_long(&self) -> bool {
        let plan = &self.plan;
        let otherwise = plan.refusal.is_some() || plan.parameter_nobody_honours().is_some();
        plan.attempts.is_empty() && !otherwise && plan.context_too_small().is_some()
    }
}

impl Core {
    /// Finds the route of a request and makes its plan.
    ///
    /// # Errors
    /// When no route takes it, or a header cannot be read.
    pub(crate) fn prepare(&self, arrival: &Arrival<'_>, request: &Request) -> Result<Prepared, Refusal> {
        let headers: Vec<(&str, &str)> =
            arrival.headers.iter().filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?))).collect();
        let asking = Asking {
            model: &request.model,
            path: arrival.path,
            headers: &headers,
            caller: arrival.caller,
            header_class: header_class(arrival.headers)?.max(arrival.floor),
            asked: &request.asked,
            max_output_tokens: request.max_output_tokens,
            choices: request.choices.get(),
        };
        let route = find_route(&self.routes, self.known(), &asking).map_err(|none| no_route(&none, request))?;
        let standing = standing(arrival, class_of(route, &asking), self.limits.request_timeout)?;
        let mut uncounted = None;
        let facts = route.backends.iter().filter_map(|id| self.facts(id, request, &standing, &mut uncounted));
        let facts: Vec<_> = facts.collect();
        let plan = plan(route, &asking, &facts);
        let refusal = plan.attempts.is_empty().then(|| self.refuse(route, &plan, request, uncounted.as_ref()));
        Ok(Prepared { plan, standing, refusal, left_out: 0 })
    }

    /// The same for a request whose answer may be shorter than it asks for: where no context has so much room, the
    /// bound is what the roomiest has.
    pub(crate) fn prepare_within(&self, arrival: &Arrival<'_>, request: &mut Request) -> Result<Prepared, Refusal> {
        let prepared = self.prepare(arrival, request)?;
        let room = prepared.plan.excluded.iter().filter_map(|exclusion| match exclusion.reasons[..] {
            [Reason::ContextTooSmall { context, prompt: PromptCount::Exact(prompt), .. }] => u64::from(context)
                .checked_sub(prompt)
                .and_then(|room| u32::try_from(room).ok())
                .filter(|room| *room > 0),
            _ => None,
        });
        match room.max() {
            Some(room) if prepared.plan.attempts.is_empty() => {
                request.max_output_tokens = Some(room);
                self.prepare(arrival, request)
            }
            _ => Ok(prepared),
        }
    }

    fn facts<'a>(
        &'a self,
        id: &BackendId,
        request: &Request,
        standing: &Standing,
        uncounted: &mut Option<Failure>,
    ) -> Option<BackendFacts<'a>> {
        let registered = self.backend(id)?;
        let offer = registered.backend.offer();
        let mut health = match registered.experience.rest() {
            Some(rest) => Health::Out(format!("it asked to be left alone for another {} s", rest.as_secs() + 1)),
            None => registered.backend.health(),
        };
        // A backend that cannot take one of the messages has its capability to say so; only what it could
        // take is worth counting.
        let readable = request.asked.iter().all(|asked| asked.hint || offer.meets(&asked.need));
        let forecast = match readable.then(|| registered.backend.forecast(request, standing)) {
            Some(Ok(forecast)) => Some(forecast),
            Some(Err(failure)) => {
                health = Health::Out(failure.message.clone());
                *uncounted = Some(failure);
                None
            }
            None => None,
        };
        let expected = request.max_output_tokens.map_or(self.limits.expected_output_tokens, u64::from);
        let mean_first_token = registered.experience.first_token();
        Some(BackendFacts { offer, health, forecast, expected_output_tokens: expected, mean_first_token })
    }

    /// What to answer where nobody may.
    fn refuse(&self, route: &Route, plan: &Plan, request: &Request, uncounted: Option<&Failure>) -> Refusal {
        if let Some(refusal) = plan.refusal {
            let why = format!("The request was refused: {refusal}.");
            return Refusal::forbidden("class_not_allowed", why);
        }
        if let Some(parameter) = plan.parameter_nobody_honours() {
            let is_it =
                |reason: &&Reason| matches!(reason, Reason::CannotHonour { parameter: p, .. } if *p == parameter);
            let unknown = request.asked.iter().any(|a| a.parameter == parameter && matches!(a.need, Need::Dialect(_)));
            return Refusal::unsupported_parameter(&parameter, unknown, &why_out(plan, is_it));
        }
        if let Some(reason) = plan.context_too_small() {
            return Refusal::context_length_exceeded(&reason.to_string());
        }
        if let Some(failure) = uncounted.filter(|failure| !failure.may_fail_over()) {
            return Refusal::from(failure);
        }
        if plan.only_out() {
            let rest = route.backends.iter().filter_map(|id| self.backend(id)?.experience.rest()).min();
            let message = format!("Every backend that could answer is out: {}.", why_out(plan, |_| true));
            return Refusal::unavailable("no_backend_available", message, rest);
        }
        let class = plan.class;
        let message = format!(
            "No backend of the route '{}' may answer this {class} request: {}.",
            plan.route,
            why_out(plan, |_| true)
        );
        Refusal::forbidden("no_eligible_backend", message)
    }
}

/// Each excluded backend with the first of its reasons that `counts`.
fn why_out(plan: &Plan, counts: impl Fn(&&Reason) -> bool) -> String {
    let mut text = String::new();
    for exclusion in &plan.excluded {
        let Some(reason) = exclusion.reasons.iter().find(&counts) else { continue };
        let separator = if text.is_empty() { "" } else { "; " };
        // Writing to a string does not fail.
        let _ = write!(text, "{separator}{}: {reason}", exclusion.backend);
    }
    text
}

fn header_class(headers: &HeaderMap) -> Result<Option<DataClass>, Refusal> {
    // A header that came twice counts with its highest class: it raises, whatever the order.
    let mut highest = None;
    for value in headers.get_all(CLASS_HEADER) {
        let word = value.to_str().unwrap_or_default();
        let class = word.trim().to_ascii_lowercase().parse::<DataClass>();
        highest = highest.max(Some(class.map_err(|unknown| Refusal::bad_header(CLASS_HEADER, &unknown.to_string()))?));
    }
    Ok(highest)
}

fn no_route(none: &NoRoute, request: &Request) -> Refusal {
    match none {
        NoRoute::UnknownModel { nearest } => {
            let hint: Cow<'_, str> = match nearest {
                Some(name) => format!("Did you mean '{name}'?").into(),
                None => "GET /v1/models lists what does.".into(),
            };
            Refusal::model_not_found(&request.model, &hint)
        }
        NoRoute::NotAllowed { .. } => Refusal::forbidden("route_not_allowed", format!("Not allowed: {none}.")),
        NoRoute::NoMatch { .. } => Refusal::model_not_found(&request.model, &format!("({none})")),
    }
}

/// What `explain` shows: the plan of a request that is not sent.
pub struct Explanation {
    /// The plan; it may have no attempts.
    pub plan: Plan,
    /// The error that the caller would get, as JSON with its status, where there are no attempts.
    pub refusal: Option<(u16, String)>,
}

impl Gateway {
    /// The plan for the chat completion in `body`, as it would come with `headers` from `caller`.
    ///
    /// # Errors
    /// The status and OpenAI error object that the caller would get where there is not even a plan.
    pub fn explain(
        &self,
        body: &[u8],
        headers: &HeaderMap,
        caller: Option<&CallerFacts>,
    ) -> Result<Explanation, (u16, String)> {
        let refused = |refusal: Refusal| (refusal.status(), refusal.to_json().to_string());
        let body = ChatBody::parse(Arc::from("explain"), body).map_err(|error| refused(error.into()))?;
        let arrival = Arrival { path: crate::chat::Chat.path(), headers, caller, floor: None };
        let prepared = self.0.prepare(&arrival, &body.request).map_err(refused)?;
        Ok(Explanation { plan: prepared.plan, refusal: prepared.refusal.map(refused) })
    }
}
