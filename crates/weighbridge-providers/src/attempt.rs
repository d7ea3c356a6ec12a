//! One attempt: sends the request, reads the answer as it comes, and keeps the time.

use std::sync::Arc;
use std::time::Duration;

use futures_util::stream;
use reqwest::Response;
use reqwest::header::{CONTENT_ENCODING, CONTENT_TYPE};
use tokio::time::{Instant, timeout, timeout_at};
use weighbridge_backend::{Answering, Event, Failure, FailureKind, Meter, Request, Stage};

use crate::Timeouts;
use crate::client::Account;
use crate::hosted::InFlight;
use crate::openai::{self, Decoder};
use crate::sse::SseParser;

/// The most of an error's body that is read: its beginning says what is wrong.
const ERROR_BYTES: usize = 64 << 10;

/// How long the end of a connection's answer is awaited after the last event, so that the connection can
/// serve again. It comes with that event as a rule, and a server that keeps it back gains nothing.
const LINGER: Duration = Duration::from_millis(50);

/// Longer bounds than this are none, and instants cannot hold them.
const LONGEST: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// Sends `request` to `upstream_model`, and is ready when the provider has accepted it.
pub(crate) async fn start(
    account: Arc<Account>,
    upstream_model: &str,
    request: &Request,
    in_flight: InFlight,
) -> Result<Answering, Failure> {
    let body = openai::body(&account.options, upstream_model, request)?;
    let clock = Clock::start(&account);
    let first = clock.first_token();
    let sent = clock.within(first, account.post(body).send()).await?;
    let mut response = sent.map_err(|error| unsent(&account, error))?;
    let status = response.status();
    if !status.is_success() {
        let body = clock.within(first, beginning(&mut response)).await.unwrap_or_default();
        return Err(openai::failure_of_response(&account.peer, status, response.headers(), &body));
    }
    let form = Form::of(&account, &response)?;
    let meter = Meter::default();
    let decoder = Decoder::new(request, meter.clone());
    let reader = Reader {
        response,
        form,
        decoder,
        clock,
        begun: false,
        ended: false,
        failed: None,
        bytes: 0,
        account,
        _in_flight: in_flight.accepted(),
    };
    let events = stream::try_unfold(reader, |mut reader| async move {
        let event = reader.next().await?;
        Ok(event.map(|event| (event, reader)))
    });
    Ok(Answering { events: Box::pin(events), meter })
}

/// Why a request did not get to its answer.
fn unsent(account: &Account, error: reqwest::Error) -> Failure {
    let peer = &account.peer;
    if error.is_connect() && error.is_timeout() {
        let limit = account.options.timeouts.connect;
        return peer
            .failure(FailureKind::Timeout(Stage::Connect), format!("could not be connected to within {limit:?}"));
    }
    let (kind, what) = if error.is_connect() {
        (FailureKind::Unreachable, "could not be reached")
    } else if error.is_builder() {
        (FailureKind::Internal, "cannot be sent this request")
    } else {
        (FailureKind::Cut, "closed the connection before it answered")
    };
    peer.failure(kind, format!("{what}: {}", peer.causes(error)))
}

/// As much of an error's body as is of use; what was read when it broke off.
async fn beginning(response: &mut Response) -> Vec<u8> {
    let mut body = Vec::new();
    while body.len() < ERROR_BYTES
        && let Ok(Some(bytes)) = response.chunk().await
    {
        body.extend_from_slice(&bytes[..bytes.len().min(ERROR_BYTES - body.len())]);
    }
    body
}

/// How the answer is written.
enum Form {
    /// A stream of events.
    Events(SseParser),
    /// One JSON document, collected here.
    Whole(Vec<u8>),
}

impl Form {
    /// What the response says that it is; where it says nothing, what was asked for.
    fn of(account: &Account, response: &Response) -> Result<Self, Failure> {
        let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        if !matches!(header(CONTENT_ENCODING), "" | "identity") {
            let what = "sent a compressed answer, which was not asked for";
            return Err(account.peer.failure(FailureKind::Garbled, what));
        }
        let content_type = header(CONTENT_TYPE).to_ascii_lowercase();
        let is = |name| content_type.split(';').next().is_some_and(|kind| kind.trim() == name);
        if is("text/html") {
            let what = "sent a web page in place of an answer; check its base_url";
            return Err(account.peer.failure(FailureKind::Garbled, what));
        }
        let whole = is("application/json") || (!account.options.stream && !is("text/event-stream"));
        Ok(if whole { Self::Whole(Vec::new()) } else { Self::Events(SseParser::new(account.options.max_event_bytes)) })
    }
}

/// An answer being read.
struct Reader {
    response: Response,
    form: Form,
    decoder: Decoder,
    clock: Clock,
    begun: bool,
    ended: bool,
    /// How it failed, kept until the events before that are out.
    failed: Option<Failure>,
    bytes: usize,
    account: Arc<Account>,
    _in_flight: InFlight,
}

impl Reader {
    /// The next event; `None` after the last. Not to be called again after either.
    async fn next(&mut self) -> Result<Option<Event>, Failure> {
        // Measured from here, a slow reader of ours does not count against the provider.
        let deadline = if self.begun { self.clock.between_tokens() } else { self.clock.first_token() };
        loop {
            if let Some(event) = self.decoder.pop() {
                self.begun = true;
                return Ok(Some(event));
            }
            if let Some(failure) = self.failed.take() {
                return Err(failure);
            }
            if self.ended {
                return Ok(None);
            }
            self.failed = match self.read_more(deadline).await {
                // Every choice is finished: what is missing is the usage, which can be estimated.
                Err(_) if self.decoder.is_whole() => self.end().err(),
                result => result.err(),
            };
        }
    }

    async fn read_more(&mut self, deadline: Deadline) -> Result<(), Failure> {
        match self.clock.within(deadline, self.response.chunk()).await? {
            Ok(Some(bytes)) => self.take(&bytes).await,
            Ok(None) => self.close(),
            Err(error) => {
                let peer = &self.account.peer;
                let what = format!("cut the answer off: {}", peer.causes(error));
                Err(peer.failure(FailureKind::Cut, what))
            }
        }
    }

    async fn take(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let peer = &self.account.peer;
        self.bytes = self.bytes.saturating_add(bytes.len());
        if self.bytes > self.account.options.max_answer_bytes {
            let what = format!("sent more than {} bytes", self.account.options.max_answer_bytes);
            return Err(peer.failure(FailureKind::Garbled, what));
        }
        match &mut self.form {
            Form::Whole(body) => body.extend_from_slice(bytes),
            Form::Events(parser) => {
                let pushed = parser.push(bytes);
                while let Some(event) = parser.pop() {
                    if is_done(&event.data) {
                        let rest = async { while let Ok(Some(_)) = self.response.chunk().await {} };
                        let _ = timeout(LINGER, rest).await;
                        return self.end();
                    }
                    if !event.data.is_empty() {
                        self.decoder.read(peer, &event.data)?;
                    }
                }
                if pushed.is_err() {
                    let what = format!("sent an event of more than {} bytes", self.account.options.max_event_bytes);
                    return Err(peer.failure(FailureKind::Garbled, what));
                }
            }
        }
        Ok(())
    }

    /// Takes the end of the connection's answer.
    fn close(&mut self) -> Result<(), Failure> {
        let peer = &self.account.peer;
        match &mut self.form {
            Form::Whole(body) => self.decoder.read(peer, body)?,
            Form::Events(parser) => {
                let last = parser.finish().filter(|event| !event.data.is_empty() && !is_done(&event.data));
                if let Some(event) = last {
                    // Half an event is a stream that broke, not one that cannot be read.
                    self.decoder.read(peer, &event.data).map_err(|failure| match failure.kind {
                        FailureKind::Garbled => {
                            peer.failure(FailureKind::Cut, "ended the stream in the middle of an event")
                        }
                        _ => failure,
                    })?;
                }
            }
        }
        self.end()
    }

    fn end(&mut self) -> Result<(), Failure> {
        self.ended = true;
        self.decoder.end(&self.account.peer)
    }
}

fn is_done(data: &[u8]) -> bool {
    data.starts_with(b"[DONE]")
}

/// A point in time, and the bound that it stands for.
#[derive(Clone, Copy)]
struct Deadline {
    at: Instant,
    stage: Stage,
    limit: Duration,
}

/// The bounds of one attempt.
struct Clock {
    account: Arc<Account>,
    started: Instant,
}

impl Clock {
    fn start(account: &Arc<Account>) -> Self {
        Self { account: Arc::clone(account), started: Instant::now() }
    }

    fn timeouts(&self) -> &Timeouts {
        &self.account.options.timeouts
    }

    /// The deadline for the first event. A server that does not stream has the whole time for it.
    fn first_token(&self) -> Deadline {
        if !self.account.options.stream {
            return self.total();
        }
        self.no_later(self.started, Stage::FirstToken, self.timeouts().first_token)
    }

    /// The deadline for a further event that is awaited from now on.
    fn between_tokens(&self) -> Deadline {
        self.no_later(Instant::now(), Stage::BetweenTokens, self.timeouts().between_tokens)
    }

    fn total(&self) -> Deadline {
        let limit = self.timeouts().total;
        Deadline { at: self.started + limit.min(LONGEST), stage: Stage::Total, limit }
    }

    fn no_later(&self, since: Instant, stage: Stage, limit: Duration) -> Deadline {
        let total = self.total();
        let at = since + limit.min(LONGEST);
        if at < total.at { Deadline { at, stage, limit } } else { total }
    }

    /// Waits for `future` until a deadline.
    async fn within<T>(&self, deadline: Deadline, future: impl Future<Output = T>) -> Result<T, Failure> {
        timeout_at(deadline.at, future).await.map_err(|_| {
            let (what, limit) = (awaited(deadline.stage), deadline.limit);
            self.account.peer.failure(FailureKind::Timeout(deadline.stage), format!("{what} within {limit:?}"))
        })
    }
}

fn awaited(stage: Stage) -> &'static str {
    match stage {
        Stage::Connect => "could not be connected to",
        Stage::FirstToken => "sent nothing of the answer",
        Stage::BetweenTokens => "sent nothing more of the answer",
        Stage::Total => "did not end the answer",
    }
}
