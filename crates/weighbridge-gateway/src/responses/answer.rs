//! `POST /v1/responses`, and what ends its streams.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::header;

use super::Responses;
use crate::gateway::Core;
use crate::inference;

/// The last thing of a stream by the Open Responses specification. OpenAI's has none, and its SDKs stop at it.
const DONE: Bytes = Bytes::from_static(b"data: [DONE]\n\n");

pub(crate) async fn answer(State(gateway): State<Arc<Core>>, request: Request) -> Response {
    let response = inference::serve(gateway, &Responses, request).await;
    let kind = response.headers().get(header::CONTENT_TYPE);
    if !kind.is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream")) {
        return response;
    }
    response.map(|body| Body::from_stream(body.into_data_stream().chain(stream::iter([Ok(DONE)]))))
}
