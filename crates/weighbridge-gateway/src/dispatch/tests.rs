//! Scripted backends, paused time: who is asked, in which order, and when.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Mutex;

use futures_util::stream;
use weighbridge_backend::{
    Answer, Backend, BackendId, DataClass, FinishReason, Health, Load, Meter, Offer, Outcome, Price, PromptCount, Usage,
};
use weighbridge_ledger::Ledger;
use weighbridge_policy::Prefer;

use super::*;
use crate::account::Account;
use crate::callers::Callers;
use crate::gateway::{Core, Gateway, Limits, Options};

/// What a scripted backend does when asked; the last line is repeated.
#[derive(Clone)]
enum Line {
    Says(&'static str),
    Breaks(&'static str, FailureKind),
    Fails(Failure),
    Hangs,
}

struct Scripted {
    offer: Offer,
    lines: Mutex<VecDeque<Line>>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Backend for Scripted {
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

    fn answer(&self, _: Arc<Request>) -> Answer {
        self.asked.lock().expect("no test panics with it").push(self.offer.id.to_string());
        let mut lines = self.lines.lock().expect("no test panics with it");
        let line = if lines.len() > 1 { lines.pop_front() } else { lines.front().cloned() };
        let text = |text: &str| Ok(Event::Text { choice: 0, text: text.into(), logprobs: None });
        let events: Vec<Result<Event, Failure>> = match line.expect("a script has a line") {
            Line::Fails(failure) => return Box::pin(async move { Err(failure) }),
            Line::Hangs => return Box::pin(std::future::pending()),
            Line::Breaks(begun, kind) => vec![text(begun), Err(Failure::new(kind, "it broke"))],
            Line::Says(all) => {
                let finish = Event::Finish { choice: 0, reason: FinishReason::Stop, matched: None };
                vec![text(all), Ok(finish), Ok(Event::Usage(Usage::default()))]
            }
        };
        let meter = Meter::default();
        meter.add_completion(1);
        Box::pin(async move { Ok(Answering { events: Box::pin(stream::iter(events)), meter }) })
    }
}

struct Stage {
    core: Arc<Core>,
    plan: Plan,
    asked: Arc<Mutex<Vec<String>>>,
    ledger: Ledger,
}

/// A gateway with these backends, and a plan that holds them in this order.
fn stage(scripts: &[(&str, &[Line])]) -> Stage {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let backend = |(name, lines): &(&str, &[Line])| {
        let offer = Offer {
            id: BackendId::new(name),
            local: false,
            clearance: DataClass::Internal,
            region: None,
            price: Price::default(),
            quality: None,
            context: None,
            capabilities: BTreeSet::new(),
            dialect: None,
            fingerprint: None,
            licence: None,
        };
        let lines = Mutex::new(lines.iter().cloned().collect());
        Arc::new(Scripted { offer, lines, asked: Arc::clone(&asked) }) as Arc<dyn Backend>
    };
    let choice = |(name, _): &(&str, &[Line])| Choice {
        backend: BackendId::new(name),
        estimated_cost: NanoUsd::ZERO,
        prompt_tokens: None,
        cached_tokens: 0,
        first_token: None,
        compute_time: None,
        unused_hints: Vec::new(),
        reason: String::new(),
    };
    let plan = Plan {
        route: "r".into(),
        class: DataClass::Internal,
        prefer: Prefer::Order,
        attempts: scripts.iter().map(choice).collect(),
        excluded: Vec::new(),
        refusal: None,
    };
    let ledger = Ledger::in_memory().expect("memory suffices");
    let gateway = Gateway::new(Options {
        routes: Vec::new(),
        backends: scripts.iter().map(backend).collect(),
        models: None,
        providers: Vec::new(),
        callers: Callers::Open,
        ledger: ledger.clone(),
        limits: Limits { first_event: Duration::from_secs(60), ..Limits::default() },
    });
    Stage { core: gateway.0, plan, asked, ledger }
}

impl Stage {
    fn account(&self) -> Account {
        Account::open("r-1".into(), None, self.core.books.clone(), None)
    }

    /// The text of the answer, or how it failed.
    async fn ask(&self, until: Until) -> Result<String, FailureKind> {
        let request = Request { stream: until == Until::FirstEvent, ..Request::new("r-0", "auto", Vec::new()) };
        let mut account = self.account();
        let dispatched = self.core.dispatch(&self.plan, Arc::new(request), until, &mut account).await;
        let Dispatched { begun, .. } = dispatched.map_err(|failure| failure.kind)?;
        let text =
            begun.into_iter().filter_map(|event| if let Event::Text { text, .. } = event { Some(text) } else { None });
        Ok(text.collect())
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().expect("no test panics with it").clone()
    }
}

fn fails(kind: FailureKind) -> Line {
    Line::Fails(Failure::new(kind, "as the script says"))
}

#[tokio::test(start_paused = true)]
async fn a_failed_backend_is_replaced_before_the_first_event() {
    for kind in [
        FailureKind::Unreachable,
        FailureKind::Timeout(weighbridge_backend::Stage::FirstToken),
        FailureKind::Garbled,
        FailureKind::Auth,
    ] {
        let stage = stage(&[("first", &[fails(kind)]), ("spare", &[Line::Says("hello")])]);
        assert_eq!(stage.ask(Until::FirstEvent).await, Ok("hello".into()), "{kind:?}");
        assert_eq!(stage.asked(), ["first", "spare"]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_fault_of_the_request_goes_to_nobody_else() {
    let stage = stage(&[("first", &[fails(FailureKind::InvalidRequest)]), ("spare", &[Line::Says("hello")])]);
    assert_eq!(stage.ask(Until::FirstEvent).await, Err(FailureKind::InvalidRequest));
    assert_eq!(stage.asked(), ["first"]);
}

#[tokio::test(start_paused = true)]
async fn a_busy_backend_is_asked_again_after_the_others() {
    let stage = stage(&[
        ("busy", &[fails(FailureKind::ServerError), Line::Says("hello")]),
        ("refusing", &[fails(FailureKind::Auth)]),
    ]);
    let before = Instant::now();
    assert_eq!(stage.ask(Until::FirstEvent).await, Ok("hello".into()));
    assert_eq!(stage.asked(), ["busy", "refusing", "busy"]);
    let waited = before.elapsed();
    assert!((Duration::from_millis(250)..Duration::from_millis(400)).contains(&waited), "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn retry_after_is_waited_for_when_it_is_short_and_not_when_it_is_long() {
    let limited = |seconds| {
        let mut failure = Failure::new(FailureKind::RateLimited, "slow down");
        failure.retry_after = Some(Duration::from_secs(seconds));
        Line::Fails(failure)
    };
    let before = Instant::now();
    let short = stage(&[("limited", &[limited(2), Line::Says("hello")])]);
    assert_eq!(short.ask(Until::FirstEvent).await, Ok("hello".into()));
    assert!(before.elapsed() >= Duration::from_secs(2));
    let long = stage(&[("limited", &[limited(30), Line::Says("hello")])]);
    assert_eq!(long.ask(Until::FirstEvent).await, Err(FailureKind::RateLimited));
    assert_eq!(long.asked(), ["limited"]);
}

#[tokio::test(start_paused = true)]
async fn retries_end() {
    let stage = stage(&[("down", &[fails(FailureKind::Unreachable)])]);
    assert_eq!(stage.ask(Until::FirstEvent).await, Err(FailureKind::Unreachable));
    assert_eq!(stage.asked().len(), 1 + Limits::default().retries as usize);
}

#[tokio::test(start_paused = true)]
async fn a_backend_that_hangs_is_given_up_in_time() {
    let stage = stage(&[("hanging", &[Line::Hangs])]);
    assert_eq!(stage.ask(Until::FirstEvent).await, Err(FailureKind::Timeout(weighbridge_backend::Stage::Total)));
}

#[tokio::test(start_paused = true)]
async fn an_answer_wanted_whole_is_replaced_even_when_it_breaks_in_the_middle() {
    let scripts: &[(&str, &[Line])] =
        &[("first", &[Line::Breaks("hel", FailureKind::Cut)]), ("spare", &[Line::Says("hello")])];
    assert_eq!(stage(scripts).ask(Until::Whole).await, Ok("hello".into()));
    assert_eq!(stage(scripts).ask(Until::FirstEvent).await, Ok("hel".into()));
}

#[tokio::test]
async fn an_account_that_is_dropped_says_that_the_client_went_away() {
    let stage = stage(&[("first", &[Line::Hangs])]);
    let mut account = stage.account();
    account.attempting(&BackendId::new("first"));
    drop(account);
    let receipts = stage.ledger.recent(2).expect("it can be read");
    assert_eq!(receipts.len(), 1);
    assert_eq!(receipts[0].outcome, Outcome::Cancelled.as_str());
    assert_eq!(receipts[0].attempts.len(), 1);
}
