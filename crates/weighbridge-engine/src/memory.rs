//! How many pages of keys and values a model has, and how much of its context they can serve.

use weighbridge_models::{Decoder, PAGE_TOKENS};

use crate::options::{LoadError, ModelOptions};

/// Where the system does not say how much memory is free.
const UNKNOWN_FREE: u64 = 4 << 30;

/// The pages of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PagePlan {
    /// How many there may be.
    pub(crate) pages: usize,
    /// The context to serve.
    pub(crate) context: u32,
    /// How many answers may be made at once.
    pub(crate) max_running: usize,
}

/// What a plan is made from.
#[derive(Clone, Copy, Debug)]
struct Facts {
    page_bytes: u64,
    context: u32,
    max_running: usize,
    /// What the operator sets aside.
    memory: Option<u64>,
    /// Whether the operator asks for this context.
    asked: bool,
    /// What is free now.
    free: u64,
}

/// Plans the pages of a loaded model for the context that is to be served.
///
/// # Errors
/// [`LoadError::PageMemory`] where they do not hold it and the operator said either.
pub(crate) fn plan(decoder: &Decoder, options: &ModelOptions, context: u32) -> Result<PagePlan, LoadError> {
    let Some(cost) = decoder.cost() else {
        // Each sequence has a cache of its own, which grows as it must: what bounds them is how many there are.
        let sequence = options.checkpoint.memory_needs(options.compute, context).token.saturating_mul(context.into());
        let most = options.page_memory.map_or(u64::MAX, |memory| memory / sequence.max(1));
        let max_running = options.max_running.min(usize::try_from(most).unwrap_or(usize::MAX)).max(1);
        return Ok(PagePlan { pages: usize::MAX, context, max_running });
    };
    let plan = Facts {
        page_bytes: cost.page_bytes.max(1),
        context,
        max_running: options.max_running.max(1),
        memory: options.page_memory,
        asked: options.context.is_some(),
        free: free().unwrap_or(UNKNOWN_FREE),
    }
    .plan()?;
    if plan.context < context {
        tracing::warn!(
            model = options.id.as_str(),
            context = plan.context,
            own = context,
            "the memory that is free holds a part of the checkpoint's context alone, and that is served"
        );
    }
    Ok(plan)
}

impl Facts {
    fn plan(self) -> Result<PagePlan, LoadError> {
        let Self { page_bytes, context, max_running, .. } = self;
        let memory = self.memory.unwrap_or(self.free / 2);
        let whole = (context as usize).div_ceil(PAGE_TOKENS);
        let most = whole.saturating_mul(max_running);
        let pages = usize::try_from(memory / page_bytes).unwrap_or(usize::MAX).min(most);
        if pages >= whole {
            return Ok(PagePlan { pages, context, max_running });
        }
        let tokens = pages.saturating_mul(PAGE_TOKENS);
        if self.asked || self.memory.is_some() || pages == 0 {
            let needed = page_bytes.saturating_mul(whole as u64);
            return Err(LoadError::PageMemory { context, needed, memory, tokens: tokens as u64 });
        }
        Ok(PagePlan { pages, context: u32::try_from(tokens).unwrap_or(context), max_running })
    }
}

/// Memory that can be had without swapping, as Linux tells.
fn free() -> Option<u64> {
    available(&std::fs::read_to_string("/proc/meminfo").ok()?)
}

fn available(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A page of 1 MiB and a context of 10 of them.
    const FACTS: Facts =
        Facts { page_bytes: 1 << 20, context: 320, max_running: 4, memory: None, asked: false, free: 1 << 30 };

    fn check(facts: Facts, expected: Option<(usize, u32)>) {
        let plan = facts.plan().ok().map(|plan| (plan.pages, plan.context));
        assert_eq!(plan, expected, "{facts:?}");
    }

    #[test]
    fn there_are_as_many_pages_as_can_be_used_and_as_memory_holds() {
        check(FACTS, Some((40, 320)));
        check(Facts { free: 50 << 20, ..FACTS }, Some((25, 320)));
        check(Facts { memory: Some(12 << 20), ..FACTS }, Some((12, 320)));
    }

    #[test]
    fn what_memory_does_not_hold_is_not_served() {
        check(Facts { free: 8 << 20, ..FACTS }, Some((4, 128)));
        check(Facts { free: 1 << 20, ..FACTS }, None);
        check(Facts { free: 8 << 20, asked: true, ..FACTS }, None);
        check(Facts { memory: Some(9 << 20), ..FACTS }, None);
    }

    #[test]
    fn the_refusal_has_figures() {
        let refused = Facts { memory: Some(9 << 20), ..FACTS }.plan().err().map(|error| error.to_string());
        let expected = "a context of 320 tokens takes 10 MiB of keys and values, and 9 MiB are set aside for pages, \
                        which hold 288 tokens; set aside more, or serve a shorter context";
        assert_eq!(refused.as_deref(), Some(expected));
    }

    #[test]
    fn free_memory_is_read_as_linux_writes_it() {
        let meminfo = "MemTotal:       24576000 kB\nMemFree:          512000 kB\nMemAvailable:   16384000 kB\n";
        assert_eq!(available(meminfo), Some(16_384_000 << 10));
        assert_eq!(available("MemAvailable: much"), None);
    }
}
