//! From tokens to what the reader sees: thoughts, text up to a stop text, and tool calls.

use std::sync::Arc;

use serde_json::Value;
use weighbridge_backend::{Event, FinishReason};
use weighbridge_dialogue::{AnswerParser, CustomCalls, Faults, Piece};
use weighbridge_models::Detokenizer;

use crate::logprobs::Ledger;
use crate::reply::Reply;
use crate::stop::{Release, StopTexts};

/// The text of one answer, in the making.
pub(crate) struct AnswerText {
    choice: u32,
    detokenizer: Detokenizer,
    parser: AnswerParser,
    custom: CustomCalls,
    /// Watches what is text in the end: no thought and no argument of a call ends an answer.
    stop: StopTexts,
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
    /// Of the answer with this number, read by a detokenizer and a parser.
    pub(crate) fn new(
        choice: u32,
        (detokenizer, parser): (Detokenizer, AnswerParser),
        stop: StopTexts,
        custom: CustomCalls,
    ) -> Self {
        Self { choice, detokenizer, parser, custom, stop, ledger: Ledger::default() }
    }

    /// Takes the next token and publishes what certainly belongs to the answer. The stop text that has ended it, if
    /// one has.
    pub(crate) fn push(&mut self, token: Token, reply: &Reply) -> Option<Arc<str>> {
        let was_thinking = self.parser.is_thinking();
        let text = self.detokenizer.push(token.id).unwrap_or_default();
        self.ledger.note(token.entry, text.len());
        let pieces = if text.is_empty() { Vec::new() } else { self.parser.push(&text) };
        if was_thinking || self.parser.is_thinking() {
            reply.meter().add_reasoning(1);
        }
        self.publish(pieces, token.may_stop, reply)
    }

    /// Publishes what was held back, unless a stop text came before it, and says how the answer ended, `ending` being
    /// how its tokens did.
    pub(crate) fn finish(mut self, mut ending: Ending, reply: &Reply) -> Ending {
        if ending.matched.is_none()
            && let Some(matched) = self.publish_rest(reply)
        {
            ending = Ending { reason: FinishReason::Stop, matched: Some(matched) };
        }
        let choice = self.choice;
        self.custom.finish().into_iter().for_each(|delta| reply.send(Event::ToolCall { choice, delta }));
        if let Some(logprobs) = self.ledger.finish(ending.matched.is_some()) {
            reply.send(Event::Text { choice, text: String::new(), logprobs: Some(logprobs) });
        }
        let faults = self.parser.faults();
        if faults != Faults::default() {
            let Faults { malformed, broken } = faults;
            tracing::warn!(malformed, broken, "an answer has tool calls that cannot be read");
        }
        // A call without an end is none to wait for.
        let calls = self.parser.calls() > 0 && faults.broken == 0;
        if calls && ending.reason == FinishReason::Stop {
            ending.reason = FinishReason::ToolCalls;
        }
        ending
    }

    /// Publishes all that was held back. The stop text that was in it, if one was.
    fn publish_rest(&mut self, reply: &Reply) -> Option<Arc<str>> {
        // Half a character, left at the end, may complete a stop text just as any other text.
        let rest = self.detokenizer.finish().unwrap_or_default();
        self.ledger.note(None, rest.len());
        let mut pieces = self.parser.push(&rest);
        pieces.extend(self.parser.finish());
        let matched = self.publish(pieces, true, reply);
        if matched.is_none() {
            self.publish_held(0, reply);
        }
        matched
    }

    /// Publishes pieces of the answer, and nothing after a stop text. The stop text, if there was one.
    fn publish(&mut self, pieces: Vec<Piece>, may_stop: bool, reply: &Reply) -> Option<Arc<str>> {
        let choice = self.choice;
        let mut behind: usize = pieces.iter().map(length).sum();
        for piece in pieces {
            behind -= length(&piece);
            match piece {
                Piece::Text(text) => {
                    let seen = self.stop.held() + text.len();
                    let release = if may_stop { self.stop.push(&text) } else { Release { text, matched: None } };
                    let held = seen.saturating_sub(release.text.len()) + behind;
                    self.send_text(release.text, held, reply);
                    if release.matched.is_some() {
                        return release.matched;
                    }
                }
                Piece::Reasoning(text) => {
                    self.publish_held(behind, reply);
                    reply.send(Event::Reasoning { choice, text });
                }
                Piece::Call(delta) => {
                    self.publish_held(behind, reply);
                    if let Some(delta) = self.custom.turn(delta) {
                        reply.send(Event::ToolCall { choice, delta });
                    }
                }
            }
        }
        None
    }

    /// Publishes what might have become a stop text, now that what follows is none.
    fn publish_held(&mut self, behind: usize, reply: &Reply) {
        let text = self.stop.finish();
        self.send_text(text, behind, reply);
    }

    /// Sends text of the answer, behind which so many bytes are held back.
    fn send_text(&mut self, text: String, held: usize, reply: &Reply) {
        if !text.is_empty() {
            self.ledger.let_go(held);
            reply.send(Event::Text { choice: self.choice, text, logprobs: self.ledger.take() });
        }
    }
}

/// Bytes of text in a piece.
fn length(piece: &Piece) -> usize {
    match piece {
        Piece::Text(text) | Piece::Reasoning(text) => text.len(),
        Piece::Call(_) => 0,
    }
}

#[cfg(test)]
mod tests;
