//! The head of a request, held to its bounds. What arrives in one piece passes hyper's own, which looks at what it
//! has to wait for; and HTTP/2 has none for the number of headers.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;

use crate::gateway::Core;
use crate::pages::in_words_of;
use crate::respond::Refusal;

/// The most headers of a request, which hyper holds requests of HTTP/1 to.
const MOST_HEADERS: usize = 100;

/// A colon, a space and the end of the line.
const BETWEEN: usize = 4;

/// Turns away requests whose head is too large.
pub(crate) async fn bound_heads(State(gateway): State<Arc<Core>>, request: Request, next: Next) -> Response {
    let headers = request.headers();
    let bytes: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + BETWEEN).sum();
    let most = gateway.limits.head_bytes;
    if headers.len() > MOST_HEADERS || bytes > most {
        return in_words_of(&request, &Refusal::head_too_large(MOST_HEADERS, most));
    }
    next.run(request).await
}
