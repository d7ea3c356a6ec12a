//! A gateway with one scripted model, for tests of what needs more than a dispatch.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::body::{Body, to_bytes};
use axum::response::Response;
use futures_util::{StreamExt, stream};
use serde_json::Value;
use weighbridge_backend::{
    Answer, Answering, Backend, BackendId, Capability, DataClass, Event, Failure, FailureKind, FinishReason, Health,
    Load, Message, Meter, NanoUsd, Offer, Price, PromptCount, Request, Texts, Usage,
};
use weighbridge_ledger::{Ledger, ReceiptRow};
use weighbridge_policy::{Match, Named, Prefer, Require, Route};

use crate::callers::Callers;
use crate::gateway::{Core, Gateway, Limits, Options};

/// A model that says each prompt back. One of `fails` fails, and one of `hangs` never ends.
struct Echoes {
    offer: Offer,
    under_way: Arc<AtomicUsize>,
}

/// One answer under way, until it is dropped.
struct UnderWay(Arc<AtomicUsize>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Backend for Echoes {
    fn offer(&self) -> &Offer {
        &self.offer
    }

    fn health(&self) -> Health {
        Health::Ready
    }

    fn load(&self) -> Load {
        Load::default()
    }

    fn count_prompt(&self, _: &Request) -> Result<PromptCount, Failure> {
        Ok(PromptCount::Exact(3))
    }

    fn texts(&self) -> Option<&dyn Texts> {
        Some(self)
    }

    fn answer(&self, request: Arc<Request>) -> Answer {
        self.under_way.fetch_add(1, Ordering::SeqCst);
        let under_way = UnderWay(Arc::clone(&self.under_way));
        let bare = request.completion.as_ref().and_then(|bare| bare.prompt.as_text()).map(str::to_owned);
        let prompt = bare.or_else(|| request.messages.last().map(Message::text)).unwrap_or_default();
        let meter = Meter::default();
        meter.set(Usage { prompt_tokens: 3, completion_tokens: 2, ..Usage::default() });
        let mut events = Vec::new();
        for choice in 0..request.choices.get() {
            events.push(Ok(Event::Text { choice, text: format!("{prompt}{choice}"), logprobs: None }));
            events.push(Ok(Event::Finish { choice, reason: FinishReason::Stop, matched: None }));
        }
        if prompt == "breaks" {
            events.truncate(1);
            events.push(Err(Failure::new(FailureKind::Cut, "it broke")));
        }
        let silence = if prompt == "hangs" { stream::pending().boxed() } else { stream::empty().boxed() };
        let events = stream::iter(events).chain(silence).map(move |event| {
            let _held = &under_way;
            event
        });
        Box::pin(async move {
            match prompt.as_str() {
                "fails" => Err(Failure::new(FailureKind::InvalidRequest, "as the script says")),
                _ => Ok(Answering { events: Box::pin(events), meter }),
            }
        })
    }
}

/// The gateway, and what happens at its model.
pub(crate) struct Stage {
    pub(crate) core: Arc<Core>,
    pub(crate) under_way: Arc<AtomicUsize>,
    ledger: Ledger,
}

/// A gateway with places for four requests.
pub(crate) fn stage() -> Stage {
    let under_way = Arc::new(AtomicUsize::new(0));
    let id = BackendId::new("echo");
    let offer = Offer {
        id: id.clone(),
        local: true,
        clearance: DataClass::Restricted,
        region: None,
        price: Price { input: NanoUsd(1_000_000_000), cached_input: None, output: NanoUsd(1_000_000_000) },
        quality: None,
        context: Some(4096),
        capabilities: BTreeSet::from([Capability::Completion, Capability::N, Capability::MaxTokens]),
        dialect: None,
        fingerprint: None,
        licence: None,
    };
    let ledger = Ledger::in_memory().expect("memory suffices");
    let route = Route {
        name: "r".into(),
        matches: Match::default(),
        class: DataClass::Internal,
        backends: vec![id],
        prefer: Prefer::Order,
        require: Require::default(),
        named: Named::Only,
    };
    let gateway = Gateway::new(Options {
        routes: vec![route],
        backends: vec![Arc::new(Echoes { offer, under_way: Arc::clone(&under_way) })],
        models: None,
        providers: Vec::new(),
        callers: Callers::Open,
        ledger: ledger.clone(),
        limits: Limits { retries: 0, in_flight: 4, ..Limits::default() },
    });
    Stage { core: gateway.0, ledger, under_way }
}

impl Stage {
    /// How the receipts say that requests ended.
    pub(crate) fn outcomes(&self) -> Vec<String> {
        let rows = self.ledger.recent(100).expect("memory can be read");
        let mut outcomes: Vec<String> = rows.into_iter().map(|row| row.outcome).collect();
        outcomes.sort();
        outcomes
    }

    /// Of each receipt the outcome, the status, and by what its last attempt failed.
    pub(crate) fn ends(&self) -> Vec<String> {
        let rows = self.ledger.recent(100).expect("memory can be read");
        let failure = |row: &ReceiptRow| row.attempts.last().and_then(|attempt| attempt.failure.clone());
        let end = |row: ReceiptRow| {
            format!("{} {} {}", row.outcome, row.status, failure(&row).unwrap_or_else(|| "-".to_owned()))
        };
        let mut ends: Vec<String> = rows.into_iter().map(end).collect();
        ends.sort();
        ends
    }
}

/// A body sent to an address.
pub(crate) fn post(path: &str, body: &Value) -> http::Request<Body> {
    let request = http::Request::post(path).header("content-type", "application/json");
    request.body(Body::from(body.to_string())).expect("it is a request")
}

/// The body of an answer.
pub(crate) async fn text(response: Response) -> String {
    let bytes = to_bytes(response.into_body(), 1 << 20).await.expect("it ends");
    String::from_utf8(bytes.to_vec()).expect("it is text")
}

/// What stands before every prompt.
const SPECIAL: u32 = 1000;

/// Bytes are tokens.
impl Texts for Echoes {
    fn tokenize(&self, text: &str, add_special: bool) -> Result<Vec<u32>, Failure> {
        Ok(add_special.then_some(SPECIAL).into_iter().chain(text.bytes().map(u32::from)).collect())
    }

    fn prompt_tokens(&self, request: &Request) -> Result<Vec<u32>, Failure> {
        self.tokenize(&self.render(request)?, false)
    }

    fn detokenize(&self, tokens: &[u32]) -> Result<String, Failure> {
        Ok(self.token_strings(tokens)?.concat())
    }

    fn token_strings(&self, tokens: &[u32]) -> Result<Vec<String>, Failure> {
        let told = |&token: &u32| match u8::try_from(token) {
            Ok(byte) => Ok(char::from(byte).to_string()),
            Err(_) if token == SPECIAL => Ok("<s>".to_owned()),
            Err(_) => Err(Failure::new(FailureKind::InvalidRequest, format!("{token} is no token"))),
        };
        tokens.iter().map(told).collect()
    }

    fn render(&self, request: &Request) -> Result<String, Failure> {
        Ok(request.messages.iter().map(|message| format!("{}: {}\n", message.role.as_str(), message.text())).collect())
    }
}
