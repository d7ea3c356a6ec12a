//! What a request refers to, fetched: the conversation that it goes on from, and items by their ids.

use serde::Deserialize;
use serde_json::Value;
use weighbridge_ledger::StoredResponse;
use weighbridge_policy::CallerFacts;

use super::held::Turn;
use crate::gateway::Core;
use crate::respond::Refusal;
use crate::wire::{Memory, Restated, Wanted, WireError, restated};

/// The most turns that a conversation may go back, and the most bytes that they may have.
const MAX_TURNS: usize = 1_000;
const MAX_BYTES: usize = 64 << 20;

/// Fetches what is wanted. Blocks on the disk. A turn that its connection holds is not looked for there.
///
/// # Errors
/// When something is not kept for this caller, is too long, or cannot be read.
pub(super) fn recall(
    gateway: &Core,
    caller: Option<&CallerFacts>,
    wanted: &Wanted<'_>,
    held: Option<&Turn>,
) -> Result<Memory, Refusal> {
    let mut memory = Memory::default();
    if let Some(turn) = held {
        memory.class = Some(turn.class);
        memory.earlier = turn.items.to_vec();
    } else if let Some(previous) = wanted.previous {
        let turns = conversation(gateway, caller, previous)?;
        turns.last().map_or(Ok(()), answered)?;
        memory.class = turns.iter().map(|turn| turn.class).max();
        memory.earlier = turns.iter().flat_map(items).collect();
    }
    for (_, id) in &wanted.items {
        let Some(response) = response_of(id) else { continue };
        let Some(stored) = fetch(gateway, caller, &response)? else { continue };
        if let Some(item) = items(&stored).find(|item| item["id"] == *id) {
            memory.class = memory.class.max(Some(stored.class));
            memory.referenced.insert((*id).to_owned(), item);
        }
    }
    Ok(memory)
}

/// A response that is kept for this caller, as it is now.
///
/// # Errors
/// When the ledger cannot be read.
pub(super) fn fetch(gateway: &Core, caller: Option<&CallerFacts>, id: &str) -> Result<Option<StoredResponse>, Refusal> {
    let name = caller.map(|caller| &*caller.name);
    // First who makes it: once that is over, the ledger has how it ended.
    if let Some(made) = gateway.background.find(id, name).and_then(|job| job.stored()) {
        return Ok(Some(made));
    }
    let kept = gateway.books.ledger.kept(id, name).map_err(|error| unreadable(&error))?;
    Ok(kept.map(failed_if_unfinished))
}

/// A response that was queued, and that nobody makes any more: the program ended before it did.
fn failed_if_unfinished(mut stored: StoredResponse) -> StoredResponse {
    // The word is in few others, so that they are not read for it.
    if stored.response.contains("\"queued\"") && State::of(&stored).status == "queued" {
        let why = "The gateway was stopped before the response was whole.";
        stored.response = restated(&stored.response, &Restated::Failed(why));
    }
    stored
}

/// What a response says of itself.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct State {
    status: String,
    pub(super) background: bool,
}

impl State {
    pub(super) fn of(stored: &StoredResponse) -> Self {
        serde_json::from_str(&stored.response).unwrap_or_default()
    }

    /// Whether a conversation can go on from it: it has an answer, be it cut short.
    fn is_answered(&self) -> bool {
        ["completed", "incomplete"].contains(&self.status.as_str())
    }
}

/// What a ledger that cannot be read comes to.
pub(super) fn unreadable(error: &weighbridge_ledger::LedgerError) -> Refusal {
    tracing::error!(%error, "cannot look kept responses up");
    Refusal::unavailable("storage_unavailable", "Kept responses cannot be looked up now.", None)
}

/// A response and all that it goes on from, oldest first.
pub(super) fn conversation(
    gateway: &Core,
    caller: Option<&CallerFacts>,
    last: &str,
) -> Result<Vec<StoredResponse>, Refusal> {
    let mut turns = Vec::new();
    let mut bytes = 0;
    let mut next = Some(last.to_owned());
    while let Some(id) = next {
        let turn = fetch(gateway, caller, &id)?.ok_or_else(|| gone(&id, last))?;
        bytes += turn.bytes();
        if turns.len() == MAX_TURNS || bytes > MAX_BYTES {
            let message = format!(
                "Invalid 'previous_response_id': the conversation is longer than {MAX_TURNS} responses or {MAX_BYTES} bytes. Begin a new one with what matters of it."
            );
            return Err(WireError::at("previous_response_id", "invalid_value", message).into());
        }
        next = turn.previous.clone();
        turns.push(turn);
    }
    turns.reverse();
    Ok(turns)
}

/// Refuses to go on from what has no answer.
fn answered(last: &StoredResponse) -> Result<(), WireError> {
    let state = State::of(last);
    if state.is_answered() {
        return Ok(());
    }
    let message = format!(
        "Invalid 'previous_response_id': '{}' is {}, and a conversation goes on from a response that is completed or incomplete.",
        last.id, state.status
    );
    Err(WireError::at("previous_response_id", "invalid_value", message))
}

fn gone(id: &str, last: &str) -> Refusal {
    let id: String = id.chars().take(128).collect();
    let mut message = format!("Previous response with id '{id}' not found.");
    if id != last {
        message += " The conversation goes back to it, and it was deleted or its term is over.";
    }
    WireError::at("previous_response_id", "previous_response_not_found", message).into()
}

/// What a response was given and what it answered, in order.
pub(super) fn items(stored: &StoredResponse) -> impl Iterator<Item = Value> + use<> {
    let response: Value = serde_json::from_str(&stored.response).unwrap_or_default();
    input_items(stored).chain(list(response.get("output").cloned().unwrap_or_default()))
}

/// What a response was given.
pub(super) fn input_items(stored: &StoredResponse) -> impl Iterator<Item = Value> + use<> {
    list(serde_json::from_str(&stored.input).unwrap_or_default())
}

fn list(value: Value) -> impl Iterator<Item = Value> {
    match value {
        Value::Array(items) => items,
        _ => Vec::new(),
    }
    .into_iter()
}

/// The response that an item of this id belongs to: its id tells.
fn response_of(item: &str) -> Option<String> {
    let (_, rest) = item.rsplit_once('_')?;
    let own = rest.get(..32)?;
    own.bytes().all(|byte| byte.is_ascii_hexdigit()).then(|| format!("resp_{own}"))
}
