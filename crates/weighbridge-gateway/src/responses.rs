//! `POST /v1/responses`, and the addresses of what it keeps.

mod addresses;
mod answer;
mod compact;
mod count;
mod events;
mod held;
mod keeper;
mod recall;
mod socket;

use serde_json::Value;
use weighbridge_backend::{DataClass, Event, Request, Usage};

pub(crate) use addresses::addresses;
pub(crate) use answer::answer;
use held::{Held, Holding};
pub(crate) use socket::{Sockets, open as open_socket};

use self::keeper::Keeper;
use crate::background::Running;
use crate::gateway::Core;
use crate::respond::Refusal;
use crate::surface::{Arriving, Bill, Head, Inbound, Surface, Writer};
use crate::wire::{ResponseEcho, ResponseStream, ResponsesBody, Wanted, body_object, response_error_event};

/// OpenAI's responses.
pub(crate) struct Responses;

impl Surface for Responses {
    fn path(&self) -> &'static str {
        "/v1/responses"
    }

    fn read(&self, arriving: &Arriving<'_>) -> Result<Inbound, Refusal> {
        let value = body_object(arriving.body)?;
        let wanted = Wanted::of(&value)?;
        let held = arriving.extensions.get::<Held>();
        let turn = held.zip(wanted.previous).and_then(|(held, previous)| held.recall(previous));
        let memory = recall::recall(arriving.gateway, arriving.caller, &wanted, turn.as_ref())?;
        let holding = held.map(|held| Holding::new(held, arriving.gateway, &memory.earlier));
        let body = ResponsesBody::read(arriving.id.clone(), arriving.body, &value, memory)?;
        let holding = holding.map(|holding| holding.with(&body.input));
        let keeper = Keeper {
            ledger: arriving.gateway.books.ledger.clone(),
            caller: arriving.caller.map(|caller| caller.name.to_string()),
            // What goes on from what is not kept could not be found again.
            wanted: body.store.unwrap_or(true) && turn.is_none(),
            allowed: arriving.gateway.limits.store_responses,
            class: DataClass::Restricted,
            previous: body.echo.fields["previous_response_id"].as_str().map(str::to_owned),
            input: Value::from(body.input).to_string(),
            job: None,
        };
        let (background, streams) = (body.background, body.request.stream);
        let writer = ResponsesWriter { echo: body.echo, keeper, holding, background, streams, stream: None };
        let ResponsesBody { request, floor, may_shorten, .. } = body;
        Ok(Inbound { request, beside: Vec::new(), writer: Box::new(writer), floor, may_shorten })
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
    echo: ResponseEcho,
    keeper: Keeper,
    /// Where its caller may go on from it over the same connection.
    holding: Option<Holding>,
    /// Whether it is to be made without its client.
    background: bool,
    streams: bool,
    /// Once it is open, or announced.
    stream: Option<ResponseStream>,
}

impl ResponsesWriter {
    /// The response begins: it is known now of which class it is, and who answers.
    fn begin(&mut self, head: &Head) -> ResponseStream {
        match self.stream.take() {
            Some(mut announced) => {
                announced.answered_by(head);
                announced
            }
            None => {
                self.keeper.class = head.class;
                ResponseStream::new(head, std::mem::take(&mut self.echo), self.keeper.room())
            }
        }
    }
}

impl Writer for ResponsesWriter {
    fn take_up(&mut self, gateway: &Core, request: &Request) -> Result<Option<Running>, Refusal> {
        if !self.background {
            return Ok(None);
        }
        let head = Head::of_waiting(request);
        self.keeper.class = head.class;
        let room = self.keeper.room_in_background()?;
        let mut stream = ResponseStream::new(&head, std::mem::take(&mut self.echo), Some(room));
        let mut announced = Vec::new();
        let queued = self.keeper.stored(head.response_id(), stream.queue(&mut announced));
        let running = gateway.background.take_up(&self.keeper.ledger, queued, self.streams)?;
        running.job().push(&announced);
        self.keeper.job = Some(running.job().clone());
        self.stream = Some(stream);
        Ok(Some(running))
    }

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
            let finished = stream.end(bill, out);
            self.keeper.keep(&finished);
            if let Some(holding) = self.holding.take() {
                holding.hold(&finished, self.keeper.class);
            }
        }
    }

    fn fail(&mut self, refusal: &Refusal, out: &mut Vec<u8>) {
        let error = in_these_words(refusal).to_json();
        match &mut self.stream {
            Some(stream) => self.keeper.keep(&stream.fail(&error, out)),
            None => out.extend_from_slice(&response_error_event(0, &error)),
        }
    }
}
