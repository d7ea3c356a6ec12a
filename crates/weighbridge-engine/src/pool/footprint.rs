//! What a model takes while it is in memory, planned from its headers.

use std::fmt;

use weighbridge_models::PAGE_TOKENS;

use super::mib_up;
use crate::options::{LoadError, ModelOptions};

/// Stacks, tables and what the allocator keeps, whatever the model.
const OVERHEAD_BYTES: u64 = 16 << 20;
/// Tokens that the pages of a model hold where nobody says: enough for the conversations of a few people.
const PAGED_TOKENS: u64 = 16_384;

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
    let wanted = u64::from(own).max(PAGED_TOKENS.min(u64::from(own).saturating_mul(options.max_running.max(1) as u64)));
    if let Some(memory) = options.page_memory.filter(|&memory| memory < needs.pages(own.into())) {
        let (needed, tokens) = (needs.pages(own.into()), memory / needs.page() * PAGE_TOKENS as u64);
        return Err(LoadError::PageMemory { context: own, needed, memory, tokens });
    }
    let left = room.saturating_sub(needs.fixed());
    let pages = match options.page_memory {
        Some(memory) => memory,
        None if is_asked => needs.pages(wanted).min(left).max(needs.pages(own.into())),
        // A model that has no room for a single page is refused with what a single one takes.
        None => needs.pages(wanted).min(left / needs.page() * needs.page()).max(needs.page()),
    };
    let held = u32::try_from(pages / needs.page() * PAGE_TOKENS as u64).unwrap_or(u32::MAX);
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
    Ok(needs.with(options.page_memory.unwrap_or_else(|| needs.pages(tokens))).total())
}

/// What a model needs but for pages, and what these take.
struct Needs {
    weights: u64,
    step: u64,
    token: u64,
}

impl Needs {
    fn of(options: &ModelOptions, context: u32) -> Self {
        let needs = options.checkpoint.memory_needs(options.compute, context);
        Self { weights: needs.weights, step: needs.step, token: needs.token.max(1) }
    }

    fn fixed(&self) -> u64 {
        self.weights + self.step + OVERHEAD_BYTES
    }

    /// Bytes of a page.
    fn page(&self) -> u64 {
        self.token * PAGE_TOKENS as u64
    }

    /// Bytes of whole pages for so many tokens.
    fn pages(&self, tokens: u64) -> u64 {
        tokens.div_ceil(PAGE_TOKENS as u64).saturating_mul(self.page())
    }

    fn with(&self, pages: u64) -> Footprint {
        Footprint { weights: self.weights, pages, rest: self.step + OVERHEAD_BYTES }
    }
}
