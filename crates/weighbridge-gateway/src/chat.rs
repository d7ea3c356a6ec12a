//! `POST /v1/chat/completions`.

use weighbridge_backend::{Event, Usage};

use crate::respond::Refusal;
use crate::surface::{Arriving, Bill, Head, Inbound, Surface, Writer};
use crate::wire::{ChatAnswer, ChatBody, ChatStream, UsageIn, error_event};

/// OpenAI's chat completions.
pub(crate) struct Chat;

impl Surface for Chat {
    fn path(&self) -> &'static str {
        "/v1/chat/completions"
    }

    fn read(&self, arriving: &Arriving<'_>) -> Result<Inbound, Refusal> {
        let ChatBody { request, usage_in } = ChatBody::parse(arriving.id.clone(), arriving.body)?;
        let choices = request.choices.get();
        let writer = ChatWriter { choices, usage_in, stream: None };
        Ok(Inbound { request, beside: Vec::new(), writer: Box::new(writer), floor: None, may_shorten: false })
    }
}

struct ChatWriter {
    choices: u32,
    usage_in: UsageIn,
    /// Once it is open.
    stream: Option<(ChatStream, Head)>,
}

impl Writer for ChatWriter {
    fn whole(self: Box<Self>, head: &Head, events: Vec<Event>, _: &Bill) -> Vec<u8> {
        let mut answer = ChatAnswer::default();
        events.into_iter().for_each(|event| answer.push(event, self.choices));
        answer.into_json(head).to_string().into_bytes()
    }

    fn open(&mut self, head: &Head, _: &mut Vec<u8>) {
        self.stream = Some((ChatStream::new(head, self.choices, self.usage_in), head.clone()));
    }

    fn write(&mut self, event: &Event, so_far: &Usage, out: &mut Vec<u8>) {
        if let Some((stream, _)) = &mut self.stream {
            stream.write(event, so_far, out);
        }
    }

    fn end(&mut self, bill: &Bill, out: &mut Vec<u8>) {
        if let Some((stream, head)) = &mut self.stream {
            stream.end(&bill.usage, bill.about(head), out);
        }
    }

    fn fail(&mut self, refusal: &Refusal, out: &mut Vec<u8>) {
        out.extend_from_slice(&error_event(&refusal.to_json()));
    }
}
