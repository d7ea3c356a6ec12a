//! From tokens to what the reader sees: text, up to a stop text, and tool calls.

use std::sync::Arc;

use serde_json::Value;
use weighbridge_backend::{Event, FinishReason};
use weighbridge_dialogue::{CustomCalls, Piece, ToolCallParser};
use weighbridge_models::Detokenizer;

use crate::logprobs::Ledger;
use crate::reply::Reply;
use crate::stop::{Release, StopTexts};

/// The text of one answer, in the making.
pub(crate) struct AnswerText {
    detokenizer: Detokenizer,
    stop: StopTexts,
    outlet: Outlet,
}

/// The last part of the way: finds calls in text that certainly belongs to the answer, and publishes both.
struct Outlet {
    choice: u32,
    /// Only where the model was told of tools.
    calls: Option<ToolCallParser>,
    custom: CustomCalls,
    has_called: bool,
    ledger: Ledger,
}

/// A token of the answer.
pub(crate) struct Token {
    pub(crate) id: u32,
    /// Its log-probabilities, where they are wanted.
    pub(crate) entry: Option<Value>,
    /// Whether a stop text may end the answer with it.
    pub(crate) may_stop: bool,
}

/// How an answer ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ending {
    pub(crate) reason: FinishReason,
    /// The stop text that ended it, where one did.
    pub(crate) matched: Option<Arc<str>>,
}

impl AnswerText {
    pub(crate) fn new(
        choice: u32,
        detokenizer: Detokenizer,
        stop: StopTexts,
        calls: Option<ToolCallParser>,
        custom: CustomCalls,
    ) -> Self {
        let outlet = Outlet { choice, calls, custom, has_called: false, ledger: Ledger::default() };
        Self { detokenizer, stop, outlet }
    }

    /// Takes the next token and publishes what certainly belongs to the answer. The stop text that has ended it, if
    /// one has.
    pub(crate) fn push(&mut self, token: Token, reply: &Reply) -> Option<Arc<str>> {
        let text = self.detokenizer.push(token.id).unwrap_or_default();
        self.outlet.ledger.note(token.entry, text.len());
        if text.is_empty() {
            return None;
        }
        let release = if token.may_stop { self.stop.push(&text) } else { Release { text, matched: None } };
        self.outlet.text(&release.text, reply);
        release.matched
    }

    /// Publishes what was held back, unless a stop text came before it, and says how the answer ended, `ending` being
    /// how its tokens did.
    pub(crate) fn finish(self, mut ending: Ending, reply: &Reply) -> Ending {
        let Self { detokenizer, mut stop, mut outlet } = self;
        if ending.matched.is_none() {
            // Half a character, left at the end, may complete a stop text just as any other text.
            let rest = detokenizer.finish().unwrap_or_default();
            outlet.ledger.note(None, rest.len());
            let release = stop.push(&rest);
            outlet.text(&release.text, reply);
            if release.matched.is_some() {
                ending = Ending { reason: FinishReason::Stop, matched: release.matched };
            } else {
                outlet.text(&stop.finish(), reply);
            }
        }
        outlet.close(ending.matched.is_some(), reply);
        if outlet.has_called && ending.reason == FinishReason::Stop {
            ending.reason = FinishReason::ToolCalls;
        }
        ending
    }
}

impl Outlet {
    fn text(&mut self, text: &str, reply: &Reply) {
        self.ledger.release(text.len());
        match &mut self.calls {
            Some(calls) => calls.push(text).into_iter().for_each(|piece| self.send(piece, reply)),
            None => self.send(Piece::Text(text.to_owned()), reply),
        }
    }

    fn close(&mut self, cut: bool, reply: &Reply) {
        let held = self.calls.as_mut().map(ToolCallParser::finish);
        held.into_iter().flatten().for_each(|piece| self.send(piece, reply));
        let choice = self.choice;
        self.custom.finish().into_iter().for_each(|delta| reply.send(Event::ToolCall { choice, delta }));
        if let Some(logprobs) = self.ledger.finish(cut) {
            reply.send(Event::Text { choice: self.choice, text: String::new(), logprobs: Some(logprobs) });
        }
    }

    fn send(&mut self, piece: Piece, reply: &Reply) {
        let choice = self.choice;
        match piece {
            Piece::Text(text) if text.is_empty() => {}
            Piece::Text(text) => reply.send(Event::Text { choice, text, logprobs: self.ledger.take() }),
            Piece::Call(delta) => {
                self.has_called = true;
                if let Some(delta) = self.custom.turn(delta) {
                    reply.send(Event::ToolCall { choice, delta });
                }
            }
        }
    }
}
