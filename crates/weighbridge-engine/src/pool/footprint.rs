//! What a model takes while it is in memory, planned from its headers.

use std::fmt;

use weighbridge_models::{MemoryNeeds, PAGE_TOKENS};

use super::mib_up;
use crate::local::STEP_TOKENS;
use crate::memory::PageSizes;
use crate::options::{LoadError, ModelOptions};

/// Stacks, tables and what the allocator keeps, whatever the model.
const OVERHEAD_BYTES: u64 = 16 << 20;
/// Tokens that the pages of a model hold where nobody says: enough for the conversations of a few people.
const PAGED_TOKENS: u64 = 16_384;
/// Conversations beside one of the whole context for which there are pages of layers with windows where nobody says.
const CONVERSATIONS: u64 = 4;

/// What a model takes while it is in memory, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Footprint {
    /// Its weights as they are held.
    pub weights: u64,
    /// Pages of keys and values.
    pub pages: u64,
    /// What a step works in, and a fixed part for all else.
    pub rest: u64,
}

impl Footprint {
    /// All of it.
    pub fn total(self) -> u64 {
        self.weights.saturating_add(self.pages).saturating_add(self.rest)
    }
}

impl fmt::Display for Footprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { weights, pages, rest } = *self;
        let (total, weights, pages, rest) = (mib_up(self.total()), mib_up(weights), mib_up(pages), mib_up(rest));
        write!(f, "{total} MiB (weights {weights}, pages {pages}, the rest {rest})")
    }
}

/// What is known without a budget: its pages only where the operator says how many.
pub(super) fn now(options: &ModelOptions) -> Footprint {
    Needs::of(options, options.context.unwrap_or(0)).with(options.page_memory.unwrap_or(0))
}

/// Settles pages and context of a model for so much room.
///
/// Where the operator names neither, there are pages for its context and at least for [`PAGED_TOKENS`], and where they
/// do not fit the room fewer, and with them less context, about which a warning is logged. What the operator names
/// stays, and takes what it takes.
///
/// # Errors
/// [`LoadError::Context`] where the context is none that the checkpoint has, [`LoadError::PageMemory`] where the pages that
/// the operator names do not hold it.
pub(super) fn settle(options: &mut ModelOptions, room: u64) -> Result<Footprint, LoadError> {
    let own = options.served_context()?;
    let needs = Needs::of(options, own);
    let is_asked = options.context.is_some() || options.page_memory.is_some();
    let whole = needs.sizes.sequence(own.into());
    if let Some(memory) = options.page_memory.filter(|&memory| memory < whole) {
        let tokens = needs.sizes.tokens(memory);
        return Err(LoadError::PageMemory { context: own, needed: whole, memory, tokens });
    }
    let left = room.saturating_sub(needs.fixed());
    let (wanted, page) = (needs.wanted(own, options.max_running), needs.sizes.page());
    let pages = match options.page_memory {
        Some(memory) => memory,
        None if is_asked => wanted.min(left).max(whole),
        // A model that has no room for a single page is refused with what a single one takes.
        None => wanted.min(left / page * page).max(page),
    };
    let held = u32::try_from(needs.sizes.tokens(pages)).unwrap_or(u32::MAX);
    let context = if is_asked { own } else { own.min(held) };
    if context < own {
        tracing::warn!(
            model = options.id.as_str(),
            context,
            own,
            "the memory budget holds a part of the checkpoint's context alone, and that is served"
        );
    }
    (options.page_memory, options.context) = (Some(pages), Some(context));
    Ok(needs.with(pages))
}

/// Bytes that a model takes at least to be of use: with pages for its context, or for [`PAGED_TOKENS`] where that is
/// longer and nobody asks for it. What is planned before it leaves so much.
///
/// # Errors
/// [`LoadError::Context`] where the context is none that the checkpoint has.
pub(super) fn least(options: &ModelOptions) -> Result<u64, LoadError> {
    let own = options.served_context()?;
    let needs = Needs::of(options, own);
    let tokens = if options.context.is_some() { own.into() } else { PAGED_TOKENS.min(own.into()) };
    Ok(needs.with(options.page_memory.unwrap_or_else(|| needs.sizes.sequence(tokens))).total())
}

/// What a model needs but for pages, and what these take.
struct Needs {
    weights: u64,
    step: u64,
    sizes: PageSizes,
}

impl Needs {
    fn of(options: &ModelOptions, context: u32) -> Self {
        let MemoryNeeds { weights, token, windowed, window, step } =
            options.checkpoint.memory_needs(options.compute, context);
        let [full, windowed] = [token - windowed, windowed].map(|bytes| bytes * PAGE_TOKENS as u64);
        let step_tokens = options.prefill_chunk.unwrap_or(STEP_TOKENS).max(1);
        Self { weights, step, sizes: PageSizes::new(full, windowed, window, step_tokens) }
    }

    fn fixed(&self) -> u64 {
        self.weights + self.step + OVERHEAD_BYTES
    }

    /// Bytes of pages for the context and for a few people, however many may run.
    fn wanted(&self, context: u32, max_running: usize) -> u64 {
        let (context, max_running) = (u64::from(context), max_running.max(1) as u64);
        let tokens = context.max(PAGED_TOKENS.min(context.saturating_mul(max_running)));
        let conversations = CONVERSATIONS.min(max_running - 1).saturating_mul(self.sizes.seen());
        self.sizes.sequence(tokens).saturating_add(conversations)
    }

    fn with(&self, pages: u64) -> Footprint {
        Footprint { weights: self.weights, pages, rest: self.step + OVERHEAD_BYTES }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A page of 1 KiB in the layers that see everything and of 5 in the others, whose windows take 20.
    fn needs(window: Option<usize>) -> Needs {
        let sizes = match window {
            Some(window) => PageSizes::new(1 << 10, 5 << 10, Some(window), 96),
            None => PageSizes::new(6 << 10, 0, None, 96),
        };
        Needs { weights: 0, step: 0, sizes }
    }

    #[test]
    fn a_few_people_find_pages_and_a_window_takes_what_it_sees() {
        for (window, context, max_running, kib) in [
            (None, 1024, 128, 512 * 6),
            (None, 1024, 2, 64 * 6),
            (None, 131_072, 128, 4096 * 6),
            (Some(512), 131_072, 1, 4096 + 20 * 5),
            (Some(512), 131_072, 128, 4096 + 20 * 5 + 4 * 20 * 6),
        ] {
            assert_eq!(needs(window).wanted(context, max_running), kib << 10, "{window:?} {context} {max_running}");
        }
    }
}
