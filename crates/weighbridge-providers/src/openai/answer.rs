//! Chunks to events.
//!
//! The end of a choice is kept until the end of the stream: servers exist that repeat a finish reason in
//! every chunk, and a stream that breaks after its last choice is finished is whole all the same.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use weighbridge_backend::{Event, Failure, FailureKind, FinishReason, Json, Meter, Request, ToolCallDelta, Usage};

use super::chunk::{CallDelta, Choice, Chunk, Reported};
use super::errors;
use crate::estimate;
use crate::peer::Peer;

/// The most calls that an answer may hold; far above what any model makes, and a bound for those who keep
/// them in a list.
const MOST_CALLS: u32 = 1024;

/// Takes the JSON of chunks, gives events, and counts.
pub(crate) struct Decoder {
    request_id: Arc<str>,
    wanted: u32,
    choices: BTreeMap<u32, ChoiceState>,
    ready: VecDeque<Event>,
    seen_any: bool,
    counts: Counts,
}

#[derive(Default)]
struct ChoiceState {
    finish: Option<FinishReason>,
    spoke: bool,
    /// The index and id of each call begun.
    calls: BTreeMap<u32, String>,
    last_call: u32,
}

/// What the answer has used: our estimate, until the provider says it.
struct Counts {
    meter: Meter,
    prompt_estimate: u64,
    answer_bytes: u64,
    reasoning_bytes: u64,
    reported: Option<Reported>,
    /// Whether more of the answer came after that report.
    outdated: bool,
}

impl Decoder {
    /// A decoder for the answer to `request`, which counts on `meter`.
    pub(crate) fn new(request: &Request, meter: Meter) -> Self {
        let counts = Counts {
            meter,
            prompt_estimate: estimate::prompt_tokens(request),
            answer_bytes: 0,
            reasoning_bytes: 0,
            reported: None,
            outdated: false,
        };
        counts.meter.set(counts.usage());
        Self {
            request_id: Arc::clone(&request.id),
            wanted: request.choices.get(),
            choices: BTreeMap::new(),
            ready: VecDeque::new(),
            seen_any: false,
            counts,
        }
    }

    /// Takes one chunk, or a whole completion. The events in it are ready then.
    ///
    /// # Errors
    /// When it cannot be read, or is an error of the provider. The events before it stay ready.
    pub(crate) fn read(&mut self, peer: &Peer, json: &[u8]) -> Result<(), Failure> {
        let chunk: Chunk = serde_json::from_slice(json).map_err(|error| {
            // The error's own text is left out: it may quote the answer.
            let place = format!("line {}, column {}", error.line(), error.column());
            peer.failure(FailureKind::Garbled, format!("sent JSON that is no chat completion ({place})"))
        })?;
        if let Some(error) = chunk.error.as_ref().filter(|error| !error.is_null()) {
            return Err(errors::failure_in_stream(peer, error));
        }
        if chunk.is_flat_error() {
            return Err(errors::failure_in_stream(peer, &serde_json::from_slice(json).unwrap_or_default()));
        }
        self.seen_any = true;
        let usage = chunk.usage();
        for choice in chunk.choices.into_iter().flatten() {
            self.read_choice(peer, choice)?;
        }
        if let Some(usage) = usage {
            self.counts.reported = Some(usage);
            self.counts.outdated = false;
        }
        self.counts.meter.set(self.counts.usage());
        Ok(())
    }

    /// The next event.
    pub(crate) fn pop(&mut self) -> Option<Event> {
        self.ready.pop_front()
    }

    /// Whether every choice that was asked for is finished.
    pub(crate) fn is_whole(&self) -> bool {
        let finished = self.choices.values().filter(|state| state.finish.is_some()).count();
        u32::try_from(finished).is_ok_and(|finished| finished == self.wanted)
    }

    /// Takes the end of the answer: makes the finishes and the usage ready.
    ///
    /// # Errors
    /// When there was no answer, or a choice is not finished.
    pub(crate) fn end(&mut self, peer: &Peer) -> Result<(), Failure> {
        if !self.seen_any {
            return Err(peer.failure(FailureKind::Garbled, "sent an answer without anything in it"));
        }
        if !self.is_whole() {
            return Err(peer.failure(FailureKind::Cut, "ended the stream before the answer was whole"));
        }
        for (&choice, state) in &self.choices {
            self.ready.extend(state.finish.map(|reason| Event::Finish { choice, reason, matched: None }));
        }
        let usage = self.counts.usage();
        self.counts.meter.set(usage);
        self.ready.push_back(Event::Usage(usage));
        Ok(())
    }

    fn read_choice(&mut self, peer: &Peer, mut choice: Choice) -> Result<(), Failure> {
        let index = choice.index.unwrap_or(0);
        if index >= self.wanted {
            let what = format!("sent an answer {index} where {} were asked for", self.wanted);
            return Err(peer.failure(FailureKind::Garbled, what));
        }
        let logprobs = choice.take_logprobs();
        let (mut delta, is_message) = choice.take_delta();
        let (reasoning, text) = delta.take_texts();
        self.say_reasoning(index, reasoning);
        self.say_text(index, text, logprobs);
        self.say_refusal(index, delta.refusal.take().unwrap_or_default());
        for (position, call) in (0_u32..).zip(delta.tool_calls.take().into_iter().flatten()) {
            let position = is_message.then_some(position);
            self.say_call(peer, index, call, position)?;
        }
        if let Some(function) = delta.function_call.take() {
            let call = CallDelta { index: Some(0), id: None, kind: None, function: Some(function), custom: None };
            self.say_call(peer, index, call, None)?;
        }
        match choice.finish_reason.as_deref() {
            // Some servers send an empty reason in place of null.
            None | Some("") => Ok(()),
            Some(word) => self.finish(peer, index, word),
        }
    }

    fn say_reasoning(&mut self, choice: u32, text: String) {
        if !text.is_empty() {
            self.counts.reasoning_bytes += text.len() as u64;
            self.spoke(choice, text.len());
            self.ready.push_back(Event::Reasoning { choice, text });
        }
    }

    fn say_text(&mut self, choice: u32, text: String, logprobs: Option<Json>) {
        if !text.is_empty() || logprobs.is_some() {
            self.spoke(choice, text.len());
            self.ready.push_back(Event::Text { choice, text, logprobs });
        }
    }

    fn say_refusal(&mut self, choice: u32, text: String) {
        if !text.is_empty() {
            self.spoke(choice, text.len());
            self.ready.push_back(Event::Refusal { choice, text });
        }
    }

    /// `position` is the place of the call in a whole message, its index where it states none.
    fn say_call(&mut self, peer: &Peer, choice: u32, call: CallDelta, position: Option<u32>) -> Result<(), Failure> {
        if call.kind.as_deref().is_some_and(|kind| !matches!(kind, "" | "function" | "custom")) {
            return Err(peer.failure(FailureKind::Garbled, "sent a call of a kind that is neither function nor custom"));
        }
        let state = self.choices.entry(choice).or_default();
        let id = call.id.filter(|id| !id.is_empty());
        let index = call.index.or(position).unwrap_or_else(|| state.index_of(id.as_deref()));
        if index >= MOST_CALLS {
            return Err(peer.failure(FailureKind::Garbled, format!("sent a tool call with the index {index}")));
        }
        state.last_call = index;
        let custom = call.custom.is_some() || call.kind.as_deref() == Some("custom");
        let function = call.function.unwrap_or_default();
        let (name, arguments) = match call.custom {
            Some(custom) => (custom.name, custom.input.unwrap_or_default()),
            None => (function.name.clone(), function.arguments()),
        };
        let name = name.filter(|name| !name.is_empty());
        let first = !state.calls.contains_key(&index);
        let id = first.then(|| id.unwrap_or_else(|| format!("call_{}_{choice}_{index}", self.request_id)));
        if let Some(id) = &id {
            state.calls.insert(index, id.clone());
        }
        self.spoke(choice, arguments.len() + name.as_ref().map_or(0, String::len));
        let delta = ToolCallDelta { index, id, name, arguments, custom };
        // A piece with nothing in it, such as servers send before the end, says nothing.
        if delta != (ToolCallDelta { index, custom, ..ToolCallDelta::default() }) {
            self.ready.push_back(Event::ToolCall { choice, delta });
        }
        Ok(())
    }

    fn spoke(&mut self, choice: u32, bytes: usize) {
        self.choices.entry(choice).or_default().spoke = true;
        self.counts.answer_bytes += bytes as u64;
        self.counts.outdated |= bytes > 0;
    }

    fn finish(&mut self, peer: &Peer, choice: u32, word: &str) -> Result<(), Failure> {
        let state = self.choices.entry(choice).or_default();
        let reason = match word {
            "stop" | "eos" | "end_turn" | "stop_sequence" => FinishReason::Stop,
            "length" | "max_tokens" | "model_length" => FinishReason::Length,
            "tool_calls" | "function_call" | "tool_use" => FinishReason::ToolCalls,
            "content_filter" => FinishReason::ContentFilter,
            "error" => return Err(peer.failure(FailureKind::ServerError, "broke the answer off with an error")),
            "insufficient_system_resource" => {
                return Err(peer.failure(FailureKind::Overloaded, "broke the answer off for want of capacity"));
            }
            other if state.spoke => {
                tracing::debug!(finish_reason = peer.clean(other, 40), "unknown finish reason taken for stop");
                FinishReason::Stop
            }
            // Without a word before it, an end of an unknown kind is more likely a fault than an answer.
            other => {
                let what = format!("finished an empty answer for the unknown reason {:?}", peer.clean(other, 40));
                return Err(peer.failure(FailureKind::Garbled, what));
            }
        };
        state.finish = Some(reason);
        Ok(())
    }
}

impl ChoiceState {
    /// The index of a piece that states none: a new call where its id is new, else the latest.
    fn index_of(&self, id: Option<&str>) -> u32 {
        match id {
            Some(id) => {
                let known = self.calls.iter().find(|(_, known)| *known == id).map(|(&index, _)| index);
                known.unwrap_or_else(|| self.calls.last_key_value().map_or(0, |(&last, _)| last + 1))
            }
            None => self.last_call,
        }
    }
}

impl Counts {
    fn usage(&self) -> Usage {
        let (answer, reasoning) = (estimate::tokens_of(self.answer_bytes), estimate::tokens_of(self.reasoning_bytes));
        let estimated = Usage {
            prompt_tokens: self.prompt_estimate,
            cached_tokens: 0,
            completion_tokens: answer,
            reasoning_tokens: reasoning,
            estimated: true,
        };
        let Some(reported) = self.reported else { return estimated };
        // Some servers state zeros for what they do not count.
        let prompt = reported.prompt.filter(|&tokens| tokens > 0);
        let completion = reported.completion.filter(|&tokens| tokens > 0 || self.answer_bytes == 0);
        let (completion_tokens, reasoning_tokens) = match completion {
            Some(tokens) if self.outdated => (tokens.max(answer), reported.reasoning),
            Some(tokens) => (tokens, reported.reasoning),
            None => (answer, reasoning),
        };
        let prompt_tokens = prompt.unwrap_or(self.prompt_estimate);
        Usage {
            prompt_tokens,
            cached_tokens: reported.cached.min(prompt_tokens),
            completion_tokens,
            reasoning_tokens: reasoning_tokens.min(completion_tokens),
            estimated: prompt.is_none() || completion.is_none() || self.outdated,
        }
    }
}

#[cfg(test)]
mod tests;
