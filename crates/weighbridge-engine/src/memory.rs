//! How many pages of keys and values a model has, and how much of its context they can serve.

use weighbridge_models::{Decoder, PAGE_TOKENS};

use crate::options::{LoadError, ModelOptions};
use crate::pages::Window;

/// Where the system does not say how much memory is free.
const UNKNOWN_FREE: u64 = 4 << 30;

/// The most pages, unless a sequence takes more, where every layer has a window and these hold nothing but names: those
/// of two million tokens, which take some 32 MiB.
const NAMED_PAGES: usize = 1 << 16;

/// The pages of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PagePlan {
    /// How many there may be.
    pub(crate) pages: usize,
    /// How many of the layers with windows, where there are any.
    pub(crate) windowed: usize,
    /// Bytes of all of them.
    pub(crate) bytes: u64,
    /// The context to serve.
    pub(crate) context: u32,
    /// How many answers may be made at once.
    pub(crate) max_running: usize,
}

/// What a plan is made from.
#[derive(Clone, Copy, Debug)]
struct Facts {
    sizes: PageSizes,
    context: u32,
    max_running: usize,
    /// What the operator sets aside.
    memory: Option<u64>,
    /// Whether the operator asks for this context.
    asked: bool,
    /// What is free now.
    free: u64,
}

/// What pages take, and how many a sequence does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PageSizes {
    /// Bytes of a page of the layers that see everything.
    full: u64,
    /// And of those with windows.
    windowed: u64,
    /// The most pages of these that a sequence has at once; 0 where there are no such layers.
    most: usize,
}

/// Plans the pages of a loaded model for the context that is to be served, in steps of at most so many tokens.
///
/// # Errors
/// [`LoadError::PageMemory`] where they do not hold it and the operator said either.
pub(crate) fn plan(
    decoder: &Decoder,
    options: &ModelOptions,
    context: u32,
    step_tokens: usize,
) -> Result<PagePlan, LoadError> {
    let Some(cost) = decoder.cost() else {
        // Each sequence has a cache of its own, which grows as it must: what bounds them is how many there are.
        let sequence = options.checkpoint.memory_needs(options.compute, context).token.saturating_mul(context.into());
        let most = options.page_memory.map_or(u64::MAX, |memory| memory / sequence.max(1));
        let max_running = options.max_running.min(usize::try_from(most).unwrap_or(usize::MAX)).max(1);
        return Ok(PagePlan { pages: usize::MAX, windowed: 0, bytes: 0, context, max_running });
    };
    let full = cost.page_bytes - cost.windowed_bytes;
    let plan = Facts {
        sizes: PageSizes::new(full, cost.windowed_bytes, decoder.window(), step_tokens),
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

impl PageSizes {
    /// Of pages of so many bytes, where windows are of at most so many tokens and a step holds at most `step_tokens`.
    pub(crate) fn new(full: u64, windowed: u64, window: Option<usize>, step_tokens: usize) -> Self {
        match window {
            None => Self { full: full.max(1), windowed: 0, most: 0 },
            Some(window) => {
                Self { full, windowed: windowed.max(1), most: Window::new(window, PAGE_TOKENS).most_pages(step_tokens) }
            }
        }
    }

    /// Bytes of a page in all layers.
    pub(crate) fn page(self) -> u64 {
        self.full + self.windowed
    }

    /// Bytes of what a sequence sees at most in layers with windows, and of as many pages of the others.
    pub(crate) fn seen(self) -> u64 {
        self.page().saturating_mul(self.most as u64)
    }

    /// Bytes of one sequence of so many tokens.
    pub(crate) fn sequence(self, tokens: u64) -> u64 {
        self.bytes(tokens.div_ceil(PAGE_TOKENS as u64))
    }

    /// Tokens of the longest sequence that so many bytes hold.
    pub(crate) fn tokens(self, memory: u64) -> u64 {
        let short = memory / self.page();
        let pages = if short >= self.most as u64 {
            let rest = memory - (self.most as u64).saturating_mul(self.windowed);
            rest.checked_div(self.full).unwrap_or(u64::MAX)
        } else {
            short
        };
        pages.saturating_mul(PAGE_TOKENS as u64)
    }

    /// Bytes of the pages of one sequence, so many of them in the layers that see everything.
    fn bytes(self, pages: u64) -> u64 {
        pages.saturating_mul(self.full).saturating_add(pages.min(self.most as u64).saturating_mul(self.windowed))
    }
}

impl Facts {
    fn plan(self) -> Result<PagePlan, LoadError> {
        let Self { sizes, context, max_running, .. } = self;
        let memory = self.memory.unwrap_or(self.free / 2);
        let needed = sizes.sequence(context.into());
        if needed <= memory {
            return Ok(self.shared_out(context, memory - needed));
        }
        let tokens = sizes.tokens(memory);
        if self.asked || self.memory.is_some() || tokens == 0 {
            return Err(LoadError::PageMemory { context, needed, memory, tokens });
        }
        let context = u32::try_from(tokens).unwrap_or(context);
        Ok(Self { max_running: 1, ..self }.shared_out(context, 0)).map(|plan| PagePlan { max_running, ..plan })
    }

    /// Pages for one sequence of the whole context, and for others from the rest of the memory: first as many of the
    /// layers with windows as of the others, which is what short sequences take, until each sequence that may run has
    /// all that it sees; then of the others alone.
    fn shared_out(self, context: u32, rest: u64) -> PagePlan {
        let Self { sizes: PageSizes { full, windowed, most }, max_running, .. } = self;
        let whole = (context as usize).div_ceil(PAGE_TOKENS);
        let seen = whole.min(most);
        let count = |bytes: u64, each| bytes.checked_div(each).and_then(|it| usize::try_from(it).ok());
        let alike = count(rest, full + windowed).unwrap_or(usize::MAX).min(seen.saturating_mul(max_running - 1));
        let rest = rest - (full + windowed) * alike as u64;
        let more = count(rest, full).unwrap_or(usize::MAX);
        let most = if full == 0 { NAMED_PAGES.max(whole) } else { usize::MAX };
        let pages = whole.saturating_add(alike).saturating_add(more).min(whole.saturating_mul(max_running)).min(most);
        let windowed_pages = seen + alike;
        let bytes = full.saturating_mul(pages as u64) + windowed * windowed_pages as u64;
        PagePlan { pages, windowed: windowed_pages, bytes, context, max_running }
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
    use proptest::prelude::*;

    use super::*;

    const MIB: u64 = 1 << 20;
    /// A page of 1 MiB and a context of 10 of them.
    const FACTS: Facts = Facts {
        sizes: PageSizes { full: MIB, windowed: 0, most: 0 },
        context: 320,
        max_running: 4,
        memory: None,
        asked: false,
        free: 1 << 30,
    };

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
    fn windowed_pages_are_planned_for_what_a_sequence_sees() {
        // Of 10 MiB a sequence takes 10 of 1 MiB and 3 of 4.
        let sizes = PageSizes { windowed: 4 * MIB, most: 3, ..FACTS.sizes };
        let of = |memory: u64| {
            let plan = Facts { sizes, memory: Some(memory * MIB), ..FACTS }.plan().ok()?;
            Some((plan.pages, plan.windowed, plan.bytes / MIB))
        };
        for (memory, expected) in [
            (21, None),
            (22, Some((10, 3, 22))),
            (26, Some((14, 3, 26))),
            (33, Some((13, 5, 33))),
            (1000, Some((40, 12, 88))),
        ] {
            assert_eq!(of(memory), expected, "{memory} MiB");
        }
        let less = Facts { sizes, free: 28 * MIB, ..FACTS }.plan().ok();
        assert_eq!(less.map(|plan| (plan.pages, plan.windowed, plan.context)), Some((2, 2, 64)));
        let less = Facts { sizes, free: 36 * MIB, ..FACTS }.plan().ok();
        assert_eq!(less.map(|plan| (plan.pages, plan.windowed, plan.context)), Some((6, 3, 192)));
    }

    #[test]
    fn where_every_layer_has_a_window_the_other_pages_are_names() {
        let sizes = PageSizes::new(0, MIB, Some(64), 32);
        assert_eq!(sizes, PageSizes { full: 0, windowed: MIB, most: 4 });
        let plan = |context| Facts { sizes, context, memory: Some(5 * MIB), ..FACTS }.plan().ok();
        assert_eq!(plan(3200).map(|plan| (plan.pages, plan.windowed, plan.bytes)), Some((400, 5, 5 * MIB)));
        assert_eq!(plan(1 << 20).map(|plan| plan.pages), Some(NAMED_PAGES));
        assert_eq!(plan(1 << 22).map(|plan| plan.pages), Some(1 << 17));
    }

    proptest! {
        #[test]
        fn a_plan_serves_its_context_within_its_memory(
            (full, windowed) in (0u64..9000, 0u64..9000),
            window in prop::option::of(1usize..3000),
            step_tokens in 1usize..600,
            context in 1u32..9000,
            max_running in 1usize..40,
            memory in 0u64..9_000_000,
        ) {
            let sizes = PageSizes::new(full, windowed, window, step_tokens);
            let facts = Facts { sizes, context, max_running, memory: None, asked: false, free: 2 * memory };
            let Ok(plan) = facts.plan() else {
                prop_assert!(sizes.sequence(1) > memory, "not one page fits");
                return Ok(());
            };
            let whole = (plan.context as usize).div_ceil(PAGE_TOKENS);
            prop_assert!(plan.context <= context && plan.bytes <= memory);
            prop_assert!((whole..=whole * max_running).contains(&plan.pages));
            prop_assert!((whole.min(sizes.most)..=whole.min(sizes.most) * max_running).contains(&plan.windowed));
            prop_assert!(plan.context == context || sizes.sequence(u64::from(plan.context) + 1) > memory);
        }
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
