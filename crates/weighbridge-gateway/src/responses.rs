//! `POST /v1/responses`, and the addresses of what it keeps.

mod addresses;
mod count;
mod recall;

use std::time::SystemTime;

use serde_json::Value;
use weighbridge_backend::{DataClass, Event, Usage};
use weighbridge_ledger::{Ledger, StoredResponse};

pub(crate) use addresses::addresses;

use crate::respond::Refusal;
use crate::surface::{Arriving, Bill, Head, Inbound, Surface, Writer};
use crate::wire::{Finished, ResponseStream, ResponsesBody, Wanted, body_object, response_error_event};

/// The most bytes of a response, with what came in, that is kept.
const MAX_KEPT_BYTES: usize = 32 << 20;

/// OpenAI's responses.
pub(crate) struct Responses;

impl Surface for Responses {
    fn path(&self) -> &'static str {
        "/v1/responses"
    }

    fn read(&self, arriving: &Arriving<'_>) -> Result<Inbound, Refusal> {
        let value = body_object(arriving.body)?;
        let memory = recall::recall(arriving.gateway, arriving.caller, &Wanted::of(&value)?)?;
        let body = ResponsesBody::read(arriving.id.clone(), arriving.body, &value, memory)?;
        let keeper = Keeper {
            ledger: arriving.gateway.books.ledger.clone(),
            caller: arriving.caller.map(|caller| caller.name.to_string()),
            wanted: body.store.unwrap_or(true) && arriving.gateway.limits.store_responses,
            class: DataClass::Restricted,
            previous: body.echo.fields["previous_response_id"].as_str().map(str::to_owned),
            input: Value::from(body.input).to_string(),
        };
        let writer = Box::new(ResponsesWriter { echo: body.echo, keeper, stream: None });
        let ResponsesBody { request, floor, may_shorten, .. } = body;
        Ok(Inbound { request, beside: Vec::new(), writer, floor, may_shorten })
    }

    /// It may look earlier responses up.
    fn reads_slowly(&self) -> bool {
        true
    }

    fn refuse(&self, refusal: &Refusal, _: &str) -> axum::response::Response {
        axum::response::IntoResponse::into_response(in_these_words(refusal))
    }
}

/// A refusal that names parameters as they are called here.
fn in_these_words(refusal: &Refusal) -> Refusal {
    refusal.clone().renaming(&[("messages", "input"), ("max_tokens", "max_output_tokens")])
}

struct ResponsesWriter {
    echo: crate::wire::ResponseEcho,
    keeper: Keeper,
    /// Once it is open.
    stream: Option<ResponseStream>,
}

/// Keeps a response, where that is wanted and allowed.
struct Keeper {
    ledger: Ledger,
    caller: Option<String>,
    /// As the caller and the operator say.
    wanted: bool,
    class: DataClass,
    previous: Option<String>,
    input: String,
}

impl ResponsesWriter {
    /// The response begins: it is known now of which class it is.
    fn begin(&mut self, head: &Head) -> ResponseStream {
        self.keeper.class = head.class;
        ResponseStream::new(head, std::mem::take(&mut self.echo), self.keeper.room())
    }
}

impl Writer for ResponsesWriter {
    fn shortened(&mut self, messages: usize) {
        self.echo.shortened(messages);
    }

    fn whole(mut self: Box<Self>, head: &Head, events: Vec<Event>, bill: &Bill) -> Vec<u8> {
        let mut stream = self.begin(head);
        // The object is built from the same events; here nobody reads them on the way.
        let mut unread = Vec::new();
        for event in &events {
            stream.write(event, &mut unread);
            unread.clear();
        }
        let finished = stream.end(bill, &mut unread);
        self.keeper.keep(&finished);
        finished.text.into_bytes()
    }

    fn open(&mut self, head: &Head, out: &mut Vec<u8>) {
        let mut stream = self.begin(head);
        stream.begin(out);
        self.stream = Some(stream);
    }

    fn write(&mut self, event: &Event, _: &Usage, out: &mut Vec<u8>) {
        if let Some(stream) = &mut self.stream {
            stream.write(event, out);
        }
    }

    fn end(&mut self, bill: &Bill, out: &mut Vec<u8>) {
        if let Some(stream) = &mut self.stream {
            self.keeper.keep(&stream.end(bill, out));
        }
    }

    fn fail(&mut self, refusal: &Refusal, out: &mut Vec<u8>) {
        let error = in_these_words(refusal).to_json();
        match &mut self.stream {
            Some(stream) => self.keeper.keep(&stream.fail(&error, out)),
            None => out.extend_from_slice(&response_error_event(&error)),
        }
    }
}

impl Keeper {
    /// The most bytes that the response may have to be kept; `None` where it is not to be. What is restricted is written
    /// to no disk, whatever anybody says.
    fn room(&self) -> Option<usize> {
        let room = MAX_KEPT_BYTES.checked_sub(self.input.len())?;
        (self.wanted && self.class < DataClass::Restricted).then_some(room)
    }

    fn keep(&mut self, finished: &Finished) {
        if !finished.stored {
            return;
        }
        // A ledger that cannot take it says so in the log; the answer has gone out.
        self.ledger.keep(StoredResponse {
            id: finished.id.clone(),
            caller: self.caller.clone(),
            class: self.class,
            created_at: SystemTime::now(),
            previous: self.previous.clone(),
            response: finished.text.clone(),
            input: std::mem::take(&mut self.input),
        });
    }
}
