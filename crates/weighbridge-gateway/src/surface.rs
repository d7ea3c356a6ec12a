//! The APIs that requests come in by. Each reads bodies into requests, and writes events and errors in words of its
//! own; what lies between is the same for all of them ([`inference`](crate::inference)).

use std::sync::Arc;
use std::time::SystemTime;

use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::{Extensions, HeaderMap};
use serde_json::{Value, json};
use weighbridge_backend::{BackendId, DataClass, Event, NanoUsd, Request, Usage};
use weighbridge_policy::{CallerFacts, Choice};

use crate::background::Running;
use crate::gateway::Core;
use crate::respond::Refusal;

/// One API.
pub(crate) trait Surface: Send + Sync {
    /// Where it is served, as routes match it.
    fn path(&self) -> &'static str;

    /// Reads a body.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    fn read(&self, arriving: &Arriving<'_>) -> Result<Inbound, Refusal>;

    /// Whether reading looks things up, so that it must not keep other requests waiting.
    fn reads_slowly(&self) -> bool {
        false
    }

    /// Whether an answer may be bound by what room a context has left, where it asks for more.
    fn may_be_cut(&self) -> bool {
        false
    }

    /// An error as an answer of its own.
    fn refuse(&self, refusal: &Refusal, request_id: &str) -> Response {
        _ = request_id;
        refusal.clone().into_response()
    }

    /// Puts what headers of its own the API has on an answer, whole, streamed or refused.
    fn mark(&self, response: &mut Response, request_id: &str) {
        _ = (response, request_id);
    }
}

/// What there is to read.
pub(crate) struct Arriving<'a> {
    pub(crate) id: Arc<str>,
    pub(crate) headers: &'a HeaderMap,
    /// What the connection knows of it.
    pub(crate) extensions: &'a Extensions,
    pub(crate) body: &'a [u8],
    pub(crate) gateway: &'a Core,
    /// Who asks; `None` where the gateway is open.
    pub(crate) caller: Option<&'a CallerFacts>,
}

/// A request that was read, and who writes its answer.
pub(crate) struct Inbound {
    pub(crate) request: Request,
    /// Further requests of the same body, alike but for their prompts; their choices follow those of the first.
    pub(crate) beside: Vec<Request>,
    pub(crate) writer: Box<dyn Writer>,
    /// The highest class of what it goes on from, which was kept here: a conversation never loses its class.
    pub(crate) floor: Option<DataClass>,
    /// Whether its oldest turns may be left out where it fits nobody.
    pub(crate) may_shorten: bool,
}

/// Writes one answer: either whole, or as server-sent events from `open` to `end` or `fail`.
pub(crate) trait Writer: Send {
    /// Takes the answer up as one that is made without its client, where that was asked for.
    ///
    /// # Errors
    /// When it may not be, or there are too many.
    fn take_up(&mut self, gateway: &Core, request: &Request) -> Result<Option<Running>, Refusal> {
        _ = (gateway, request);
        Ok(None)
    }

    /// So many of the oldest messages were left out.
    fn shortened(&mut self, messages: usize) {
        _ = messages;
    }

    /// The body of a whole answer, JSON.
    fn whole(self: Box<Self>, head: &Head, events: Vec<Event>, bill: &Bill) -> Vec<u8>;

    /// Begins a stream. It is known now who answers.
    fn open(&mut self, head: &Head, out: &mut Vec<u8>);

    /// Appends what one event comes to: the path of every token. `so_far` was used by then.
    fn write(&mut self, event: &Event, so_far: &Usage, out: &mut Vec<u8>);

    /// Ends a stream well.
    fn end(&mut self, bill: &Bill, out: &mut Vec<u8>);

    /// Ends a stream with an error, be it before it was opened.
    fn fail(&mut self, refusal: &Refusal, out: &mut Vec<u8>);

    /// What keeps proxies from closing a silent stream, which clients ignore.
    fn keep_alive(&self) -> Bytes {
        Bytes::from_static(b": keep-alive\n\n")
    }
}

/// What is known of an answer when it begins.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    /// The request's id; the answer's is made of it.
    pub(crate) request_id: Arc<str>,
    /// Seconds since 1970.
    pub(crate) created: u64,
    /// The backend that answers.
    pub(crate) backend: BackendId,
    /// What its answers depend on beside the request.
    pub(crate) fingerprint: Option<String>,
    /// What was used by then: the prompt, counted or expected.
    pub(crate) used: Usage,
    /// How far its content may travel.
    pub(crate) class: DataClass,
}

impl Head {
    pub(crate) fn new(gateway: &Core, request: &Request, choice: &Choice, mut used: Usage) -> Self {
        let backend = &choice.backend;
        if let (0, Some(expected)) = (used.prompt_tokens, choice.prompt_tokens) {
            used.prompt_tokens = expected.tokens();
        }
        Self {
            backend: backend.clone(),
            fingerprint: gateway.backend(backend).and_then(|found| found.backend.offer().fingerprint.clone()),
            used,
            ..Self::of_waiting(request)
        }
    }

    /// Of an answer that nobody has begun: in the backend's place is the model that was asked for.
    pub(crate) fn of_waiting(request: &Request) -> Self {
        let elapsed = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        Self {
            request_id: Arc::clone(&request.id),
            created: elapsed.map_or(0, |elapsed| elapsed.as_secs()),
            backend: BackendId::new(&request.model),
            fingerprint: None,
            used: Usage::default(),
            class: request.standing.class,
        }
    }

    #[cfg(test)]
    pub(crate) fn example() -> Self {
        let (backend, class) = (BackendId::new("demo"), DataClass::Internal);
        Self { request_id: "a-b".into(), created: 7, backend, fingerprint: None, used: Usage::default(), class }
    }

    /// The id without its dashes, as ids of answers have it behind their prefix.
    pub(crate) fn bare_id(&self) -> String {
        self.request_id.replace('-', "")
    }

    /// The id of a response.
    pub(crate) fn response_id(&self) -> String {
        format!("resp_{}", self.bare_id())
    }
}

/// What an answer used and cost.
#[derive(Clone, Debug, Default)]
pub(crate) struct Bill {
    pub(crate) usage: Usage,
    pub(crate) cost: NanoUsd,
}

impl Bill {
    /// The `weighbridge` object at the end of a stream: what its headers, which came first, could not say.
    pub(crate) fn about(&self, head: &Head) -> Value {
        json!({
            "backend": head.backend.as_str(),
            "cost_usd": self.cost.to_string(),
            "usage_estimated": self.usage.estimated,
        })
    }
}
