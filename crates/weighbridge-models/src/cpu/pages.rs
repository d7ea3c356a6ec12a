//! Pages of keys and values: all of a decoder's, and which of them a sequence has.
//!
//! Layers are of two groups, those that see everything and those with a window, each with pages and numbers of its own:
//! what lies behind the window serves again, while the other group keeps what it holds.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use weighbridge_kernels::{PAGE_TOKENS, PageShape, Pages};

use crate::spec::Span;

/// Layers that share the numbers of their pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PageGroup {
    /// They see everything.
    Full,
    /// They have a window, narrower than the context.
    Windowed,
}

/// The pages of all layers. A number stands for one page in each layer of a group.
#[derive(Debug)]
pub(crate) struct Store {
    layers: Mutex<Vec<Pages>>,
    /// Of each layer.
    groups: Vec<PageGroup>,
    full: Group,
    windowed: Group,
    /// Tokens of the widest window.
    window: Option<usize>,
}

/// The pages of a group of layers.
#[derive(Debug, Default)]
struct Group {
    /// How many layers it has.
    layers: usize,
    /// Bytes of a page in all of them.
    page_bytes: u64,
    free: Mutex<Free>,
}

/// Pages that no sequence has.
#[derive(Debug, Default)]
struct Free {
    given_back: Vec<u32>,
    /// Pages that were ever given out.
    used: u32,
}

/// The pages of one sequence. Its own are given back when it is dropped, and those behind the window before.
#[derive(Debug)]
pub(crate) struct Table {
    store: Arc<Store>,
    /// In the order of its tokens.
    full: Vec<u32>,
    /// The same; of the first that it has passed it has none any more.
    windowed: Vec<u32>,
    passed: usize,
    lent: bool,
}

/// A page that was taken from a decoder for good, so that it may serve one sequence after the other
/// ([`KvCache::lend`](crate::KvCache::lend)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LentPage(u32);

impl PageGroup {
    /// Of the layers that see so far in a model of `context` tokens.
    pub(crate) fn of(span: Span, context: usize) -> Self {
        if span.window(context).is_some() { Self::Windowed } else { Self::Full }
    }
}

impl Store {
    /// Of layers of these shapes and groups, the widest window of which is of so many tokens.
    pub(crate) fn new(layers: impl Iterator<Item = (PageShape, PageGroup)>, window: Option<usize>) -> Self {
        let (mut full, mut windowed) = (Group::default(), Group::default());
        let (mut pages, mut groups) = (Vec::new(), Vec::new());
        for (shape, group) in layers {
            let of = match group {
                PageGroup::Full => &mut full,
                PageGroup::Windowed => &mut windowed,
            };
            of.layers += 1;
            of.page_bytes += shape.bytes() as u64;
            pages.push(Pages::new(shape));
            groups.push(group);
        }
        Self { layers: Mutex::new(pages), groups, full, windowed, window }
    }

    /// The pages of each layer, for one step.
    pub(crate) fn pages(&self) -> MutexGuard<'_, Vec<Pages>> {
        self.layers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn page_bytes(&self, group: PageGroup) -> u64 {
        self.group(group).page_bytes
    }

    /// Tokens of the widest window; `None` where no layer has one.
    pub(super) fn window(&self) -> Option<usize> {
        self.window
    }

    /// A page that is not given back by itself.
    pub(super) fn take_for_good(&self, group: PageGroup) -> LentPage {
        LentPage(self.take(group))
    }

    fn group(&self, group: PageGroup) -> &Group {
        match group {
            PageGroup::Full => &self.full,
            PageGroup::Windowed => &self.windowed,
        }
    }

    fn take(&self, group: PageGroup) -> u32 {
        let mut free = self.group(group).free();
        if let Some(page) = free.given_back.pop() {
            return page;
        }
        free.used += 1;
        let used = free.used;
        drop(free);
        for (layer, _) in self.pages().iter_mut().zip(&self.groups).filter(|(_, of)| **of == group) {
            layer.grow(used as usize);
        }
        used - 1
    }
}

impl Group {
    fn free(&self) -> MutexGuard<'_, Free> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    pub(crate) fn new(store: &Arc<Store>) -> Self {
        Self { store: Arc::clone(store), full: Vec::new(), windowed: Vec::new(), passed: 0, lent: false }
    }

    /// One that takes no pages by itself.
    pub(crate) fn lent(store: &Arc<Store>) -> Self {
        let mut table = Self::new(store);
        table.lent = true;
        table
    }

    /// Puts lent pages in the place of those that it has. Whether it is one for lent pages.
    pub(crate) fn lend(
        &mut self,
        full: impl IntoIterator<Item = LentPage>,
        windowed: impl IntoIterator<Item = Option<LentPage>>,
    ) -> bool {
        if self.lent {
            self.full.clear();
            self.full.extend(full.into_iter().map(|page| page.0));
            self.windowed.clear();
            // What is behind the window is not looked at: any number stands for it.
            self.windowed.extend(windowed.into_iter().map(|page| page.map_or(0, |page| page.0)));
        }
        self.lent
    }

    /// Its pages in a group, in the order of its tokens; any behind the window.
    pub(crate) fn pages(&self, group: PageGroup) -> &[u32] {
        match group {
            PageGroup::Full => &self.full,
            PageGroup::Windowed => &self.windowed,
        }
    }

    /// Takes the pages that so many tokens need, in the groups that there are; lent ones are not taken. How many it has
    /// where they are too few.
    pub(crate) fn reserve(&mut self, tokens: usize) -> Result<(), usize> {
        for (group, pages) in [(PageGroup::Full, &mut self.full), (PageGroup::Windowed, &mut self.windowed)] {
            if self.store.group(group).layers == 0 {
                continue;
            }
            while !self.lent && pages.len() * PAGE_TOKENS < tokens {
                pages.push(self.store.take(group));
            }
            if pages.len() * PAGE_TOKENS < tokens {
                return Err(pages.len());
            }
        }
        Ok(())
    }

    /// Gives back what the windows of the token at `position`, and of those after it, do not reach.
    pub(crate) fn pass(&mut self, position: usize) {
        let Some(window) = self.store.window.filter(|_| !self.lent) else { return };
        let passed = ((position + 1).saturating_sub(window) / PAGE_TOKENS).min(self.windowed.len());
        if passed > self.passed {
            self.store.windowed.free().given_back.extend_from_slice(&self.windowed[self.passed..passed]);
            self.passed = passed;
        }
    }

    /// Begins again, with the pages that it has.
    pub(crate) fn clear(&mut self) {
        self.windowed.drain(..self.passed);
        self.passed = 0;
    }

    /// Whether it is of this store.
    pub(crate) fn is_of(&self, store: &Arc<Store>) -> bool {
        Arc::ptr_eq(&self.store, store)
    }

    pub(crate) fn bytes(&self) -> u64 {
        let windowed = (self.windowed.len() - self.passed) as u64 * self.store.windowed.page_bytes;
        self.full.len() as u64 * self.store.full.page_bytes + windowed
    }
}

impl Drop for Table {
    fn drop(&mut self) {
        if self.lent {
            return;
        }
        self.store.full.free().given_back.append(&mut self.full);
        self.store.windowed.free().given_back.extend_from_slice(&self.windowed[self.passed..]);
    }
}
