//! What a request refers to, fetched: the conversation that it goes on from, and items by their ids.

use serde_json::Value;
use weighbridge_ledger::StoredResponse;
use weighbridge_policy::CallerFacts;

use crate::gateway::Core;
use crate::respond::Refusal;
use crate::wire::{Memory, Wanted, WireError};

/// The most turns that a conversation may go back, and the most bytes that they may have.
const MAX_TURNS: usize = 1_000;
const MAX_BYTES: usize = 64 << 20;

/// Fetches what is wanted. Blocks on the disk.
///
/// # Errors
/// When something is not kept for this caller, is too long, or cannot be read.
pub(super) fn recall(gateway: &Core, caller: Option<&CallerFacts>, wanted: &Wanted<'_>) -> Result<Memory, Refusal> {
    let mut memory = Memory::default();
    if let Some(previous) = wanted.previous {
        let turns = conversation(gateway, caller, previous)?;
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

/// A response that is kept for this caller.
///
/// # Errors
/// When the ledger cannot be read.
pub(super) fn fetch(gateway: &Core, caller: Option<&CallerFacts>, id: &str) -> Result<Option<StoredResponse>, Refusal> {
    gateway.books.ledger.kept(id, caller.map(|caller| &*caller.name)).map_err(|error| unreadable(&error))
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
