//! What is asked about text without an answer being made: how many tokens a prompt has, which, and what tokens or a
//! conversation come to as text. The plan is that of the request that the text is meant for; nothing is sent anywhere,
//! so that no receipt is left.

use std::sync::Arc;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::request::Parts;
use http::{Request as HttpRequest, header};
use serde_json::{Value, json};
use weighbridge_backend::{Backend, BackendId, DataClass, PromptCount, Request, Texts};
use weighbridge_policy::{Plan, Reason};

use crate::admission::stopped;
use crate::body::read_body;
use crate::gateway::Core;
use crate::heading::Heading;
use crate::messages;
use crate::prepare::{Arrival, Prepared};
use crate::respond::Refusal;
use crate::surface::{Arriving, Surface};
use crate::wire::{Detokenize, MessagesBody, Purpose, Tokenize, Tokenized, templated};

/// One of these questions, as it came.
pub(crate) struct Question<'a> {
    arriving: Arriving<'a>,
}

/// What it comes to, and whose plan said so.
pub(crate) struct Told {
    body: Value,
    route: Arc<str>,
    class: DataClass,
    backend: BackendId,
}

/// How one kind of question is answered.
pub(crate) type Tell = fn(&Question<'_>) -> Result<Told, Refusal>;

/// Answers a question that came by `surface`, on a thread where that keeps nobody waiting.
pub(crate) async fn answer(
    gateway: Arc<Core>,
    surface: &'static dyn Surface,
    request: HttpRequest<Body>,
    tell: Tell,
) -> Response {
    let id: Arc<str> = uuid::Uuid::now_v7().to_string().into();
    let mut response = match told(gateway, Arc::clone(&id), request, tell).await {
        Ok(Told { body, route, class, backend }) => {
            let body = ([(header::CONTENT_TYPE, "application/json")], body.to_string()).into_response();
            Heading::of_told(&id, &route, class, &backend).put_on(body)
        }
        Err(refusal) => Heading::of_refused(&id).put_on(surface.refuse(&refusal, &id)),
    };
    surface.mark(&mut response, &id);
    response
}

async fn told(gateway: Arc<Core>, id: Arc<str>, request: HttpRequest<Body>, tell: Tell) -> Result<Told, Refusal> {
    let (Parts { headers, extensions, .. }, body) = request.into_parts();
    let caller = gateway.callers.identify(&headers)?;
    let admitted = gateway.admission.enter()?;
    let cut = gateway.admission.cut_signal();
    let work = async move {
        let body = read_body(&headers, body, &gateway.limits).await?;
        let work = move || {
            let _admitted = admitted;
            let caller = caller.as_deref();
            let (headers, extensions) = (&headers, &extensions);
            tell(&Question { arriving: Arriving { id, headers, extensions, body: &body, gateway: &gateway, caller } })
        };
        tokio::task::spawn_blocking(work).await.map_err(|_| Refusal::internal())?
    };
    tokio::select! {
        told = work => told,
        () = cut => Err(Refusal::from(&stopped())),
    }
}

/// `POST /v1/messages/count_tokens`: exact where the backend that would answer has the tokenizer.
pub(crate) fn count_messages(question: &Question<'_>) -> Result<Told, Refusal> {
    let MessagesBody { request, .. } = messages::read(&question.arriving, Purpose::Count)?;
    let asked = question.plan(messages::Messages.path(), &request)?;
    let count = asked.prompt.ok_or_else(Refusal::internal)?;
    let about = json!({"backend": asked.backend.as_str(), "estimated": matches!(count, PromptCount::Estimate(_))});
    Ok(asked.told(json!({"input_tokens": count.tokens(), "weighbridge": about})))
}

/// `POST /tokenize`.
pub(crate) fn tokenize(question: &Question<'_>) -> Result<Told, Refusal> {
    let Tokenize { request, text, add_special, strings } =
        Tokenize::parse(question.arriving.id.clone(), question.arriving.body)?;
    let asked = question.plan_for_text(&request)?;
    let texts = asked.texts(question)?;
    let tokens = match &text {
        Some(text) => texts.tokenize(text, add_special),
        None => texts.prompt_tokens(&request),
    };
    let tokens = tokens.map_err(|failure| Refusal::from(&failure))?;
    let strings =
        strings.then(|| texts.token_strings(&tokens)).transpose().map_err(|failure| Refusal::from(&failure))?;
    let context = question.backend(&asked.backend)?.offer().context;
    Ok(asked.told(Tokenized { tokens, strings, context }.into_json()))
}

/// `POST /detokenize`.
pub(crate) fn detokenize(question: &Question<'_>) -> Result<Told, Refusal> {
    let Detokenize { request, tokens } = Detokenize::parse(question.arriving.id.clone(), question.arriving.body)?;
    let asked = question.plan_for_text(&request)?;
    let text = asked.texts(question)?.detokenize(&tokens).map_err(|failure| Refusal::from(&failure))?;
    Ok(asked.told(json!({"prompt": text})))
}

/// `POST /apply-template`.
pub(crate) fn apply_template(question: &Question<'_>) -> Result<Told, Refusal> {
    let request = templated(question.arriving.id.clone(), question.arriving.body)?;
    let asked = question.plan_for_text(&request)?;
    let text = asked.texts(question)?.render(&request).map_err(|failure| Refusal::from(&failure))?;
    Ok(asked.told(json!({"prompt": text})))
}

/// Whom the plan would ask first.
struct Asked {
    plan: Plan,
    backend: BackendId,
    prompt: Option<PromptCount>,
}

impl Question<'_> {
    /// Makes the plan of a request, and finds whom it asks first. A prompt that is too long for everybody can be
    /// counted all the same: that is why agents count.
    fn plan(&self, path: &str, request: &Request) -> Result<Asked, Refusal> {
        let arrival = Arrival { path, headers: self.arriving.headers, caller: self.arriving.caller, floor: None };
        let Prepared { plan, refusal, .. } = self.arriving.gateway.prepare(&arrival, request)?;
        let first = plan.attempts.first().map(|choice| (choice.backend.clone(), choice.prompt_tokens));
        match first.or_else(|| too_long(&plan)) {
            Some((backend, prompt)) => Ok(Asked { plan, backend, prompt }),
            None => Err(refusal.unwrap_or_else(Refusal::internal)),
        }
    }

    fn plan_for_text(&self, request: &Request) -> Result<Asked, Refusal> {
        let path = if request.completion.is_some() { "/v1/completions" } else { crate::chat::Chat.path() };
        self.plan(path, request)
    }

    fn backend(&self, id: &BackendId) -> Result<&dyn Backend, Refusal> {
        self.arriving.gateway.backend(id).map(|registered| &*registered.backend).ok_or_else(Refusal::internal)
    }
}

impl Asked {
    /// The backend's way between text and tokens. A hosted one has none here, and is not asked: its tokens are its
    /// own, and the text stays.
    fn texts<'q>(&self, question: &'q Question<'_>) -> Result<&'q dyn Texts, Refusal> {
        let backend = question.backend(&self.backend)?;
        backend.texts().ok_or_else(|| Refusal::no_tokenizer(self.backend.as_str()))
    }

    fn told(self, body: Value) -> Told {
        let Self { plan, backend, .. } = self;
        Told { body, route: plan.route, class: plan.class, backend }
    }
}

/// The first backend that nothing but the length of the prompt keeps out, and that length.
fn too_long(plan: &Plan) -> Option<(BackendId, Option<PromptCount>)> {
    plan.excluded.iter().find_map(|exclusion| match &exclusion.reasons[..] {
        [Reason::ContextTooSmall { prompt, .. }] => Some((exclusion.backend.clone(), Some(*prompt))),
        _ => None,
    })
}

#[cfg(test)]
mod tests;
