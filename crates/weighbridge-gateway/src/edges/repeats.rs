//! `Idempotency-Key`: a request that a caller sends again gets the answer of the first, once that is whole, and is
//! not answered anew. One that comes while the first is under way waits for it.
//!
//! Answers are kept in memory alone, for a while and up to a bound, and go to no one but the caller of the first:
//! the key, the caller and the address name them, and the body has to be the same.

mod recording;
mod store;

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use sha2::{Digest, Sha256};
use tracing::info;
use weighbridge_policy::CallerFacts;

use self::recording::Recording;
pub(crate) use self::store::Repeats;
use self::store::{Claim, Kept, Ticket};
use crate::account::Account;
use crate::admission::stopped;
use crate::body::read_body;
use crate::gateway::Core;
use crate::pages::refuse_in_words_of;
use crate::respond::Refusal;

/// The header, as the IETF's draft and most services spell it.
const KEY_HEADER: HeaderName = HeaderName::from_static("idempotency-key");
/// Says that an answer is one that was given before.
const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");
const DECISION: HeaderName = HeaderName::from_static("x-weighbridge-decision");
/// What makes another request of the same body.
const CLASS: HeaderName = HeaderName::from_static("x-weighbridge-class");

/// The most bytes of a key.
const KEY_BYTES: usize = 255;

/// The most requests that wait for the answer to another: each holds its body meanwhile.
pub(crate) const WAITING: usize = 64;

/// Answers a request that has a key by what its first was answered, where there was one.
pub(crate) async fn answer_repeats(State(gateway): State<Arc<Core>>, request: Request, next: Next) -> Response {
    let asked = request.method() == Method::POST && request.uri().path().starts_with("/v1/");
    let (true, Some(key)) = (asked, request.headers().get(&KEY_HEADER).cloned()) else {
        return next.run(request).await;
    };
    // Who has no key of ours is turned away where everybody is.
    let Ok(caller) = gateway.callers.identify(request.headers()) else { return next.run(request).await };
    let (mut parts, body) = request.into_parts();
    let repeated = async {
        let key = name_of(&key, &parts, caller.as_deref())?;
        let body = gateway.take_body(&mut parts, body).await?;
        let fingerprint = fingerprint(&parts.headers, &body);
        Ok::<_, Refusal>((gateway.first_or_kept(key, fingerprint).await?, body))
    };
    match repeated.await {
        Err(refusal) => gateway.turn_away(&parts, caller.as_deref(), &refusal),
        Ok((Answered::Before(kept), _)) => replay(&kept),
        Ok((Answered::Not(ticket), body)) => {
            let response = next.run(Request::from_parts(parts, Body::from(body))).await;
            if response.status().is_success() { Recording::of(response, ticket) } else { response }
        }
    }
}

enum Answered {
    Before(Arc<Kept>),
    Not(Ticket),
}

impl Core {
    /// Reads the body under a place of its own, so that no more of them are in memory than requests may be inside.
    async fn take_body(&self, parts: &mut Parts, body: Body) -> Result<Bytes, Refusal> {
        let _place = self.admission.enter()?;
        let body = tokio::select! {
            body = read_body(&parts.headers, body, &self.limits) => body?,
            () = self.admission.cut_signal() => return Err(Refusal::from(&stopped())),
        };
        parts.headers.remove(header::CONTENT_ENCODING);
        parts.headers.remove(header::TRANSFER_ENCODING);
        parts.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
        Ok(body)
    }

    /// What was answered before, or the right to be the first; waits for a first that is under way.
    async fn first_or_kept(&self, key: [u8; 32], fingerprint: [u8; 32]) -> Result<Answered, Refusal> {
        loop {
            match self.repeats.claim(key, fingerprint) {
                Claim::First(ticket) => return Ok(Answered::Not(ticket)),
                Claim::Kept(kept) => return Ok(Answered::Before(kept)),
                Claim::Other => return Err(Refusal::key_used_otherwise()),
                Claim::Underway(mut ended) => {
                    let _place = self.repeats.waiting().try_acquire().map_err(|_| Refusal::still_underway())?;
                    // It has ended when nobody can say so any more.
                    while ended.changed().await.is_ok() {}
                }
            }
        }
    }

    /// An error before any attempt, with a receipt as every other has.
    fn turn_away(&self, parts: &Parts, caller: Option<&CallerFacts>, refusal: &Refusal) -> Response {
        let id: Arc<str> = uuid::Uuid::now_v7().to_string().into();
        let name = caller.map(|caller| Arc::clone(&caller.name));
        let mut response = refuse_in_words_of(parts.uri.path(), &parts.headers, refusal);
        Account::open(Arc::clone(&id), name, self.books.clone(), None).refuse(refusal, response.status().as_u16());
        if let Ok(id) = HeaderValue::from_str(&id) {
            response.headers_mut().insert(DECISION, id);
        }
        response
    }
}

/// The name of what is kept: a hash, so that what a caller chose takes no room and stands nowhere.
fn name_of(key: &HeaderValue, parts: &Parts, caller: Option<&CallerFacts>) -> Result<[u8; 32], Refusal> {
    let fits = (1..=KEY_BYTES).contains(&key.len()) && key.as_bytes().iter().all(u8::is_ascii_graphic);
    if !fits || parts.headers.get_all(&KEY_HEADER).iter().count() > 1 {
        let why = format!("expected one key of 1 to {KEY_BYTES} visible ASCII characters");
        return Err(Refusal::bad_header(KEY_HEADER.as_str(), &why));
    }
    let caller = caller.map_or("", |caller| &*caller.name);
    Ok(hash([caller.as_bytes(), parts.uri.path().as_bytes(), key.as_bytes()]))
}

fn fingerprint(headers: &HeaderMap, body: &[u8]) -> [u8; 32] {
    hash(headers.get_all(CLASS).iter().map(HeaderValue::as_bytes).chain([body]))
}

fn hash<'p>(parts: impl IntoIterator<Item = &'p [u8]>) -> [u8; 32] {
    let mut hasher = Sha256::new();
    for part in parts {
        // With its length, so that two parts are not read as one.
        hasher.update((part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    hasher.finalize().into()
}

fn replay(kept: &Kept) -> Response {
    let decision = kept.headers.get(DECISION).and_then(|id| id.to_str().ok()).unwrap_or("-");
    info!(request = decision, "answered as before");
    let mut response = Response::new(Body::from(kept.body.clone()));
    *response.status_mut() = kept.status;
    *response.headers_mut() = kept.headers.clone();
    response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
    response
}
