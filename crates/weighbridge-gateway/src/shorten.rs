//! `truncation: "auto"`: where a conversation fits nobody, its oldest turns are left out until it fits somebody.
//!
//! A turn is a message of the user and all that was said up to the next one, so that no answer is left without its
//! question and no result without its call. What the application says (`system`, `developer`) stays, and so does the
//! last turn.

use weighbridge_backend::{Message, Request, Role};

use crate::gateway::Core;
use crate::prepare::{Arrival, Prepared};
use crate::respond::Refusal;

impl Core {
    /// The plan for the request, shortened as little as makes somebody able to answer it. Where the last turn alone fits
    /// nobody, nothing is left out and the plan says so.
    ///
    /// # Errors
    /// As for [`Core::prepare`].
    pub(crate) fn prepare_shortened(&self, arrival: &Arrival<'_>, request: &mut Request) -> Result<Prepared, Refusal> {
        let whole = self.prepare(arrival, request)?;
        if !whole.is_too_long() {
            return Ok(whole);
        }
        let said = std::mem::take(&mut request.messages);
        let turns = turns(&said);
        let (mut low, mut high, mut fitting) = (0, turns.len(), None);
        // The more is left out, the shorter is the prompt: ten plans find the place among a thousand turns.
        while low < high {
            let middle = low.midpoint(high);
            request.messages = from(&said, turns[middle]);
            let prepared = self.prepare(arrival, request)?;
            if prepared.is_too_long() {
                low = middle + 1;
            } else {
                high = middle;
                fitting = Some((prepared, std::mem::take(&mut request.messages)));
            }
        }
        let Some((prepared, left)) = fitting else {
            request.messages = said;
            return Ok(whole);
        };
        let left_out = said.len() - left.len();
        request.messages = left;
        Ok(Prepared { left_out, ..prepared })
    }
}

/// Where each turn begins that may be the first one left: all but the first.
fn turns(said: &[Message]) -> Vec<usize> {
    let begins = said.iter().enumerate().filter(|(_, message)| message.role == Role::User);
    begins.map(|(place, _)| place).skip(1).collect()
}

/// What was said from `place` on, and before it by the application.
fn from(said: &[Message], place: usize) -> Vec<Message> {
    let (before, rest) = said.split_at(place);
    let stays = before.iter().filter(|message| matches!(message.role, Role::System | Role::Developer));
    stays.chain(rest).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_conversation_is_shortened_by_whole_turns_and_keeps_what_the_application_said() {
        let roles = [
            Role::System,
            Role::User,
            Role::Assistant,
            Role::Tool,
            Role::Developer,
            Role::Assistant,
            Role::User,
            Role::Assistant,
            Role::User,
        ];
        let said: Vec<Message> =
            roles.iter().zip(0..).map(|(role, n)| Message::of_text(*role, n.to_string())).collect();
        assert_eq!(turns(&said), [6, 8]);
        let texts = |place| from(&said, place).iter().map(Message::text).collect::<Vec<_>>();
        assert_eq!(texts(6), ["0", "4", "6", "7", "8"]);
        assert_eq!(texts(8), ["0", "4", "8"]);
        assert!(turns(&said[..6]).is_empty(), "the last turn stays");
    }
}
