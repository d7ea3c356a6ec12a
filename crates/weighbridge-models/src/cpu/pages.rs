//! Pages of keys and values: all of a decoder's, and which of them a sequence has.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use weighbridge_kernels::{PAGE_TOKENS, PageShape, Pages};

/// The pages of all layers. A number stands for one page in each of them.
#[derive(Debug)]
pub(crate) struct Store {
    layers: Mutex<Vec<Pages>>,
    free: Mutex<Free>,
    /// Bytes of a page in all layers.
    page_bytes: u64,
}

/// Pages that no sequence has.
#[derive(Debug, Default)]
struct Free {
    given_back: Vec<u32>,
    /// Pages that were ever given out.
    used: u32,
}

/// The pages of one sequence, in the order of its tokens. Its own are given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Table {
    store: Arc<Store>,
    pages: Vec<u32>,
    lent: bool,
}

/// A page that was taken from a decoder for good, so that it may serve one sequence after the other
/// ([`KvCache::lend`](crate::KvCache::lend)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LentPage(u32);

impl Store {
    pub(crate) fn new(shapes: impl Iterator<Item = PageShape> + Clone) -> Self {
        let page_bytes = shapes.clone().map(|shape| shape.bytes() as u64).sum();
        Self { layers: Mutex::new(shapes.map(Pages::new).collect()), free: Mutex::default(), page_bytes }
    }

    /// The pages of each layer, for one step.
    pub(crate) fn pages(&self) -> MutexGuard<'_, Vec<Pages>> {
        self.layers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn page_bytes(&self) -> u64 {
        self.page_bytes
    }

    /// A page that is not given back by itself.
    pub(super) fn take_for_good(&self) -> LentPage {
        LentPage(self.take())
    }

    fn take(&self) -> u32 {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(page) = free.given_back.pop() {
            return page;
        }
        free.used += 1;
        let used = free.used;
        drop(free);
        for layer in self.pages().iter_mut() {
            layer.grow(used as usize);
        }
        used - 1
    }
}

impl Table {
    pub(crate) fn new(store: &Arc<Store>) -> Self {
        Self { store: Arc::clone(store), pages: Vec::new(), lent: false }
    }

    /// One that takes no pages by itself.
    pub(crate) fn lent(store: &Arc<Store>) -> Self {
        Self { store: Arc::clone(store), pages: Vec::new(), lent: true }
    }

    /// Puts lent pages in the place of those that it has. Whether it is one for lent pages.
    pub(crate) fn lend(&mut self, pages: impl IntoIterator<Item = LentPage>) -> bool {
        if self.lent {
            self.pages.clear();
            self.pages.extend(pages.into_iter().map(|page| page.0));
        }
        self.lent
    }

    pub(crate) fn pages(&self) -> &[u32] {
        &self.pages
    }

    /// Takes the pages that so many tokens need. Whether it has them: lent ones are not taken.
    pub(crate) fn reserve(&mut self, tokens: usize) -> bool {
        while !self.lent && self.pages.len() * PAGE_TOKENS < tokens {
            self.pages.push(self.store.take());
        }
        self.pages.len() * PAGE_TOKENS >= tokens
    }

    /// Whether it is of this store.
    pub(crate) fn is_of(&self, store: &Arc<Store>) -> bool {
        Arc::ptr_eq(&self.store, store)
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.pages.len() as u64 * self.store.page_bytes
    }
}

impl Drop for Table {
    fn drop(&mut self) {
        if self.lent {
            return;
        }
        let mut free = self.store.free.lock().unwrap_or_else(PoisonError::into_inner);
        free.given_back.append(&mut self.pages);
    }
}
