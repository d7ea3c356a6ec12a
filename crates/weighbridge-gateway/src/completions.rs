//! `POST /v1/completions`: text completions.

use weighbridge_backend::{Event, Usage};

use crate::respond::Refusal;
use crate::surface::{Arriving, Bill, Head, Inbound, Surface, Writer};
use crate::wire::{CompletionAnswer, CompletionStream, CompletionsBody, UsageIn, error_event};

/// OpenAI's text completions.
pub(crate) struct Completions;

impl Surface for Completions {
    fn path(&self) -> &'static str {
        "/v1/completions"
    }

    fn read(&self, arriving: &Arriving<'_>) -> Result<Inbound, Refusal> {
        let new_id = || uuid::Uuid::now_v7().to_string().into();
        let body = CompletionsBody::parse(arriving.id.clone(), new_id, arriving.body)?;
        let CompletionsBody { request, beside, usage_in } = body;
        let prompts = u32::try_from(beside.len()).unwrap_or(u32::MAX).saturating_add(1);
        let choices = request.choices.get().saturating_mul(prompts);
        let writer = CompletionsWriter { choices, usage_in, stream: None };
        Ok(Inbound { request, beside, writer: Box::new(writer), floor: None, may_shorten: false })
    }
}

struct CompletionsWriter {
    /// Of all prompts together.
    choices: u32,
    usage_in: UsageIn,
    /// Once it is open.
    stream: Option<(CompletionStream, Head)>,
}

impl Writer for CompletionsWriter {
    fn whole(self: Box<Self>, head: &Head, events: Vec<Event>, bill: &Bill) -> Vec<u8> {
        let mut answer = CompletionAnswer::new(self.choices);
        events.iter().for_each(|event| answer.push(event));
        answer.into_json(head, &bill.usage).to_string().into_bytes()
    }

    fn open(&mut self, head: &Head, _: &mut Vec<u8>) {
        self.stream = Some((CompletionStream::new(head, self.choices, self.usage_in), head.clone()));
    }

    fn write(&mut self, event: &Event, so_far: &Usage, out: &mut Vec<u8>) {
        if let Some((stream, _)) = &mut self.stream {
            stream.write(event, so_far, out);
        }
    }

    fn end(&mut self, bill: &Bill, out: &mut Vec<u8>) {
        if let Some((stream, head)) = &mut self.stream {
            stream.end(&bill.usage, &bill.about(head), out);
        }
    }

    fn fail(&mut self, refusal: &Refusal, out: &mut Vec<u8>) {
        out.extend_from_slice(&error_event(&refusal.to_json()));
    }
}
