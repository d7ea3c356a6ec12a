//! `POST /v1/responses/compact`: a conversation in few words, written by the model that goes on with it.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use serde_json::Value;
use weighbridge_backend::{Event, Usage};

use super::recall::recall;
use super::{Responses, in_these_words};
use crate::gateway::Core;
use crate::inference;
use crate::respond::Refusal;
use crate::surface::{Arriving, Bill, Head, Inbound, Surface, Writer};
use crate::wire::{CompactBody, Wanted, body_object, compaction, response_error_event};

/// Routes take it as they take the response that would follow.
struct Compact;

pub(super) async fn compact(State(gateway): State<Arc<Core>>, request: Request<Body>) -> Response {
    inference::serve(gateway, &Compact, request).await
}

impl Surface for Compact {
    fn path(&self) -> &'static str {
        Responses.path()
    }

    fn read(&self, arriving: &Arriving<'_>) -> Result<Inbound, Refusal> {
        let value = body_object(arriving.body)?;
        let memory = recall(arriving.gateway, arriving.caller, &Wanted::of(&value)?, None)?;
        let CompactBody { request, items, floor } =
            CompactBody::read(arriving.id.clone(), arriving.body, &value, memory)?;
        let writer = Box::new(CompactWriter { items });
        Ok(Inbound { request, beside: Vec::new(), writer, floor, may_shorten: false })
    }

    fn reads_slowly(&self) -> bool {
        true
    }

    fn refuse(&self, refusal: &Refusal, id: &str) -> Response {
        Responses.refuse(refusal, id)
    }
}

/// Writes a compaction. It is never streamed: the body has no such field.
struct CompactWriter {
    items: Vec<Value>,
}

impl Writer for CompactWriter {
    fn whole(self: Box<Self>, head: &Head, events: Vec<Event>, bill: &Bill) -> Vec<u8> {
        compaction(head, self.items, &events, bill).to_string().into_bytes()
    }

    fn open(&mut self, _: &Head, _: &mut Vec<u8>) {}

    fn write(&mut self, _: &Event, _: &Usage, _: &mut Vec<u8>) {}

    fn end(&mut self, _: &Bill, _: &mut Vec<u8>) {}

    fn fail(&mut self, refusal: &Refusal, out: &mut Vec<u8>) {
        out.extend_from_slice(&response_error_event(0, &in_these_words(refusal).to_json()));
    }
}
