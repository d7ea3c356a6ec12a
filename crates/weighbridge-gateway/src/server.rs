//! The listening side: addresses, what stands before each of them, and how it all ends.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::Response;
use axum::routing::{MethodRouter, get, post};
use http::header;
use tokio::task::JoinSet;
use tracing::info;

use crate::connections::{Connections, FromThisMachine};
use crate::edges::{answer_repeats, bound_heads, compress, name_requests};
use crate::gateway::Core;
use crate::listener::Listener;
use crate::pages::in_words_of;
use crate::respond::Refusal;
use crate::surface::Surface;
use crate::tls::Tls;
use crate::{Gateway, admin, chat, completions, inference, messages, models, openapi, pages, responses, texts};

/// How long the last bytes may take to go out.
const LAST_BYTES: Duration = Duration::from_secs(1);

/// How often the files of certificates are looked at.
const CERTIFICATE_CHECK: Duration = Duration::from_secs(2);

/// How a server ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drained {
    /// Requests that were under way when it was told to stop.
    pub in_flight: usize,
    /// Requests that had to be cut off when the grace was over.
    pub cut: usize,
}

/// The addresses.
fn router(core: &Arc<Core>) -> Router {
    let addresses = Router::new()
        .route(chat::Chat.path(), answers(&chat::Chat))
        .route(responses::Responses.path(), get(responses::open_socket).post(responses::answer))
        .merge(responses::addresses())
        .route(completions::Completions.path(), answers(&completions::Completions))
        .route(messages::Messages.path(), answers(&messages::Messages))
        .route("/v1/messages/count_tokens", tells(&messages::Messages, texts::count_messages))
        .route("/tokenize", tells(&chat::Chat, texts::tokenize))
        .route("/v1/tokenize", tells(&chat::Chat, texts::tokenize))
        .route("/detokenize", tells(&chat::Chat, texts::detokenize))
        .route("/v1/detokenize", tells(&chat::Chat, texts::detokenize))
        .route("/apply-template", tells(&chat::Chat, texts::apply_template))
        .route("/v1/apply-template", tells(&chat::Chat, texts::apply_template))
        .route("/v1/models", get(models::list_models))
        .route("/v1/models/{*id}", get(models::one_model))
        .route("/openapi.json", get(openapi::openapi))
        .route("/health", get(pages::health))
        .route("/ready", get(pages::ready))
        .route("/metrics", get(pages::metrics))
        .route("/admin/models", get(admin::list))
        .route("/admin/models/{name}", get(admin::one))
        .route("/admin/models/{name}/load", post(admin::load))
        .route("/admin/models/{name}/unload", post(admin::unload))
        .fallback(pages::unknown_url)
        .method_not_allowed_fallback(pages::wrong_method)
        // Innermost: what is kept is what a handler said, before it is compressed for one of its readers.
        .layer(from_fn_with_state(Arc::clone(core), answer_repeats));
    // Only where pages of other origins were let in.
    let addresses = match &core.limits.cors {
        Some(cors) => addresses.layer(cors.layer()),
        None => addresses,
    };
    addresses
        .layer(from_fn_with_state(Arc::clone(core), compress))
        // A page that comes by a name of its own gets nothing at all from an open gateway.
        .layer(from_fn_with_state(Arc::clone(core), only_local_hosts))
        // Nobody reads what is too large.
        .layer(from_fn_with_state(Arc::clone(core), bound_heads))
        // Outermost: every answer has an id, also one that comes from a layer.
        .layer(from_fn(name_requests))
        .with_state(Arc::clone(core))
}

/// Requests for answers, by one of the APIs.
fn answers(surface: &'static dyn Surface) -> MethodRouter<Arc<Core>> {
    post(move |State(gateway): State<Arc<Core>>, request: Request| inference::serve(gateway, surface, request))
}

/// Questions about text, with errors in the words of `surface`.
fn tells(surface: &'static dyn Surface, tell: texts::Tell) -> MethodRouter<Arc<Core>> {
    post(move |State(gateway): State<Arc<Core>>, request: Request| texts::answer(gateway, surface, request, tell))
}

impl Gateway {
    /// Serves until `stop` is ready, then takes no more requests, lets those under way end within `grace`,
    /// and breaks off the rest, each with a typed error event. Certificates are read again when their files change.
    pub async fn serve(
        self,
        listeners: Vec<Listener>,
        stop: impl Future<Output = ()> + Send + 'static,
        grace: Duration,
    ) -> Drained {
        let core = self.0;
        let mut connections = Connections::new(router(&core), &core.limits);
        // They end with this function.
        let _watches = watch_certificates(&listeners);
        connections.accept(&listeners, stop).await;
        core.admission.close();
        drop(listeners);
        let in_flight = core.admission.inside();
        info!(in_flight, grace_s = grace.as_secs(), "stopping: no new requests are taken");
        let closed = connections.close();
        let cut = match tokio::time::timeout(grace, core.admission.empty()).await {
            Ok(()) => 0,
            Err(_) => core.cut_off().await,
        };
        // What is left are the last bytes of those that ended or were cut.
        let _ = tokio::time::timeout(LAST_BYTES, async { tokio::join!(closed, core.sockets.closed()) }).await;
        Drained { in_flight, cut }
    }
}

/// One task for each certificate, at however many addresses it is shown.
fn watch_certificates(listeners: &[Listener]) -> JoinSet<()> {
    let (mut tasks, mut watched) = (JoinSet::new(), Vec::<&Tls>::new());
    for tls in listeners.iter().filter_map(Listener::tls) {
        if !watched.iter().any(|other| other.is(tls)) {
            watched.push(tls);
            tasks.spawn(tls.clone().watch(CERTIFICATE_CHECK));
        }
    }
    tasks
}

impl Core {
    async fn cut_off(&self) -> usize {
        let cut = self.admission.cut();
        info!(cut, "the grace is over: breaking off what is under way");
        // Each writes its last event; a client that reads nothing is not waited for.
        let _ = tokio::time::timeout(Duration::from_secs(2), self.admission.empty()).await;
        cut
    }
}

/// Turns away requests whose `Host` is a name that is not this machine's: through one, a web page can reach
/// an open gateway on loopback (DNS rebinding). No web page reaches a Unix socket, so that names there say nothing.
async fn only_local_hosts(State(gateway): State<Arc<Core>>, request: Request, next: Next) -> Response {
    let over_network = request.extensions().get::<FromThisMachine>().is_none();
    if gateway.limits.local_host_only && over_network && !hosts(&request).all(is_local_host) {
        let message = "The gateway is open to this machine only, and the Host header names another one. Add [[callers]] to serve others.";
        return in_words_of(&request, &Refusal::forbidden("host_not_allowed", message));
    }
    next.run(request).await
}

/// What a request names as its host: the header, and the address of HTTP/2 or of a request to a proxy. A name that
/// is no text is an empty one.
fn hosts(request: &Request) -> impl Iterator<Item = &str> {
    let named = request.headers().get_all(header::HOST).iter().map(|value| value.to_str().unwrap_or_default());
    named.chain(request.uri().authority().map(|authority| authority.as_str()))
}

fn is_local_host(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    name.eq_ignore_ascii_case("localhost") || name.ends_with(".localhost") || name.parse::<std::net::IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_of_another_machine_is_no_local_host() {
        for host in ["localhost", "localhost:8080", "127.0.0.1:8080", "[::1]:8080", "demo.localhost"] {
            assert!(is_local_host(host), "{host}");
        }
        for host in ["evil.example", "localhost.evil.example:80", ""] {
            assert!(!is_local_host(host), "{host}");
        }
    }
}
