//! From tokens to what the reader sees: thoughts, text up to a stop text, and tool calls.

use weighbridge_backend::{Event, FinishReason};
use weighbridge_dialogue::{AnswerParser, Faults, Piece};
use weighbridge_models::Detokenizer;

use crate::reply::Reply;
use crate::stop::StopTexts;

/// The text of one answer, in the making.
pub(crate) struct AnswerText {
    choice: u32,
    detokenizer: Detokenizer,
    parser: AnswerParser,
    /// Watches what is text in the end: no thought and no argument of a call ends an answer.
    stop: StopTexts,
}

impl AnswerText {
    pub(crate) fn new(choice: u32, detokenizer: Detokenizer, parser: AnswerParser, stop: StopTexts) -> Self {
        Self { choice, detokenizer, parser, stop }
    }

    /// Takes the next token and publishes what certainly belongs to the answer. Whether a stop text has ended
    /// it.
    pub(crate) fn push(&mut self, token: u32, reply: &Reply) -> bool {
        let was_thinking = self.parser.is_thinking();
        let text = self.detokenizer.push(token);
        let pieces = text.map(|text| self.parser.push(&text)).unwrap_or_default();
        if was_thinking || self.parser.is_thinking() {
            reply.meter().add_reasoning(1);
        }
        self.publish(pieces, reply)
    }

    /// Publishes what was held back, unless a stop text came before it (`by_stop_text`), and says why the
    /// answer ended, `reason` being how its tokens did.
    pub(crate) fn finish(mut self, mut reason: FinishReason, by_stop_text: bool, reply: &Reply) -> FinishReason {
        if !by_stop_text && self.publish_rest(reply) {
            reason = FinishReason::Stop;
        }
        let faults = self.parser.faults();
        if faults != Faults::default() {
            let Faults { malformed, broken } = faults;
            tracing::warn!(malformed, broken, "an answer has tool calls that cannot be read");
        }
        // A call without an end is none to wait for.
        let calls = self.parser.calls() > 0 && faults.broken == 0;
        if calls && reason == FinishReason::Stop { FinishReason::ToolCalls } else { reason }
    }

    /// Publishes all that was held back. Whether a stop text was in it.
    fn publish_rest(&mut self, reply: &Reply) -> bool {
        // Half a character, left at the end, may complete a stop text just as any other text.
        let mut pieces = self.detokenizer.finish().map(|text| self.parser.push(&text)).unwrap_or_default();
        pieces.extend(self.parser.finish());
        let stopped = self.publish(pieces, reply);
        if !stopped {
            self.publish_held(reply);
        }
        stopped
    }

    /// Publishes pieces of the answer, and nothing after a stop text. Whether there was one.
    fn publish(&mut self, pieces: Vec<Piece>, reply: &Reply) -> bool {
        let choice = self.choice;
        for piece in pieces {
            match piece {
                Piece::Text(text) => {
                    let release = self.stop.push(&text);
                    send_text(choice, release.text, reply);
                    if release.stopped {
                        return true;
                    }
                }
                Piece::Reasoning(text) => {
                    self.publish_held(reply);
                    reply.send(Event::Reasoning { choice, text });
                }
                Piece::Call(delta) => {
                    self.publish_held(reply);
                    reply.send(Event::ToolCall { choice, delta });
                }
            }
        }
        false
    }

    /// Publishes what might have become a stop text, now that what follows is none.
    fn publish_held(&mut self, reply: &Reply) {
        send_text(self.choice, self.stop.finish(), reply);
    }
}

fn send_text(choice: u32, text: String, reply: &Reply) {
    if !text.is_empty() {
        reply.send(Event::Text { choice, text, logprobs: None });
    }
}

#[cfg(test)]
mod tests;
