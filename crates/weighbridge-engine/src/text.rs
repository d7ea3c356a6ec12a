//! From tokens to what the reader sees: text, up to a stop text, and tool calls.

use weighbridge_backend::{Event, FinishReason};
use weighbridge_dialogue::{Piece, ToolCallParser};
use weighbridge_models::Detokenizer;

use crate::reply::Reply;
use crate::stop::StopTexts;

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
    has_called: bool,
}

impl AnswerText {
    pub(crate) fn new(choice: u32, detokenizer: Detokenizer, stop: StopTexts, calls: Option<ToolCallParser>) -> Self {
        Self { detokenizer, stop, outlet: Outlet { choice, calls, has_called: false } }
    }

    /// Takes the next token and publishes what certainly belongs to the answer. Whether a stop text has ended
    /// it.
    pub(crate) fn push(&mut self, token: u32, reply: &Reply) -> bool {
        let Some(text) = self.detokenizer.push(token) else { return false };
        let release = self.stop.push(&text);
        self.outlet.text(&release.text, reply);
        release.stopped
    }

    /// Publishes what was held back, unless a stop text came before it (`by_stop_text`), and says why the
    /// answer ended, `reason` being how its tokens did.
    pub(crate) fn finish(self, mut reason: FinishReason, by_stop_text: bool, reply: &Reply) -> FinishReason {
        let Self { detokenizer, mut stop, mut outlet } = self;
        if !by_stop_text {
            // Half a character, left at the end, may complete a stop text just as any other text.
            let release = stop.push(&detokenizer.finish().unwrap_or_default());
            outlet.text(&release.text, reply);
            if release.stopped {
                reason = FinishReason::Stop;
            } else {
                outlet.text(&stop.finish(), reply);
            }
        }
        outlet.close(reply);
        if outlet.has_called && reason == FinishReason::Stop { FinishReason::ToolCalls } else { reason }
    }
}

impl Outlet {
    fn text(&mut self, text: &str, reply: &Reply) {
        match &mut self.calls {
            Some(calls) => calls.push(text).into_iter().for_each(|piece| self.send(piece, reply)),
            None => self.send(Piece::Text(text.to_owned()), reply),
        }
    }

    fn close(&mut self, reply: &Reply) {
        let held = self.calls.as_mut().map(ToolCallParser::finish);
        held.into_iter().flatten().for_each(|piece| self.send(piece, reply));
    }

    fn send(&mut self, piece: Piece, reply: &Reply) {
        let choice = self.choice;
        match piece {
            Piece::Text(text) if text.is_empty() => {}
            Piece::Text(text) => reply.send(Event::Text { choice, text, logprobs: None }),
            Piece::Call(delta) => {
                self.has_called = true;
                reply.send(Event::ToolCall { choice, delta });
            }
        }
    }
}
