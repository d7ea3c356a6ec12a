//! Pages of the layers with windows: attached to the other layers' pages of the same tokens, and let go behind the window.
//!
//! A sequence has only those that its next tokens see, and so its chain of them has no beginning to be named by. Each is
//! found by the page of the layers that see everything instead, which has the name: it is attached to that page once its
//! tokens are computed, and stays so while nobody needs its memory. Whoever owns an attached page owns the page that it
//! is attached to.
//!
//! As many as a sequence will ever have at once are promised to it when it begins, or as it grows, and no more promises
//! are made than there are pages: so none is ever missing in the middle of a prompt.

use std::collections::BTreeMap;

use super::{PageId, Table};

/// A page of the layers with windows: a number below their capacity, the lowest being made first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct WindowedId(pub(crate) u32);

/// How far the layers with windows look back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Window {
    /// Tokens that a token sees at most, itself included.
    tokens: usize,
    page_tokens: usize,
}

/// All windowed pages of a model.
#[derive(Debug)]
pub(super) struct WindowedPages {
    pub(super) window: Window,
    /// The most that a sequence has at once.
    pub(super) most: usize,
    pub(super) capacity: usize,
    /// Those made so far.
    pages: Vec<Page>,
    spare: Vec<WindowedId>,
    /// Attached ones without owners, by when the last let go.
    idle: BTreeMap<u64, WindowedId>,
    /// Pages with owners.
    owned: usize,
    /// Counts what was let go.
    releases: u64,
    promised: usize,
    /// Sequences that may be promised more.
    growing: usize,
}

#[derive(Debug, Default)]
struct Page {
    owners: u32,
    host: Option<PageId>,
    idle_since: u64,
}

impl Window {
    /// Of so many tokens, on pages of `page_tokens`.
    pub(crate) fn new(tokens: usize, page_tokens: usize) -> Self {
        Self { tokens: tokens.max(1), page_tokens: page_tokens.max(1) }
    }

    /// The first page that the token at `position` or a later one sees.
    pub(crate) fn first_page(self, position: usize) -> usize {
        (position + 1).saturating_sub(self.tokens) / self.page_tokens
    }

    /// The most pages that a sequence has at once where a step holds at most so many tokens of it: those of the window
    /// and of the step, and one more, for they rarely begin where a page does.
    pub(crate) fn most_pages(self, step_tokens: usize) -> usize {
        self.tokens.saturating_add(step_tokens).div_ceil(self.page_tokens).saturating_add(1)
    }

    /// How many of the first `found` pages a sequence can begin with, where some are attached: the last border before
    /// which all are that the next token sees.
    pub(crate) fn border(self, found: usize, is_attached: impl Fn(usize) -> bool) -> usize {
        let (mut border, mut at) = (found, found);
        // No border between a missing page and one that sees it is any better.
        while at > self.first_page(border * self.page_tokens) {
            at -= 1;
            if !is_attached(at) {
                border = at;
            }
        }
        border
    }
}

impl WindowedPages {
    /// At most `capacity` pages, for sequences of which a step holds at most so many tokens.
    pub(super) fn new(window: Window, capacity: usize, step_tokens: usize) -> Self {
        Self {
            window,
            most: window.most_pages(step_tokens),
            // A page is named by 32 bits.
            capacity: capacity.min(u32::MAX as usize),
            pages: Vec::new(),
            spare: Vec::new(),
            idle: BTreeMap::new(),
            owned: 0,
            releases: 0,
            promised: 0,
            growing: 0,
        }
    }

    pub(super) fn made(&self) -> usize {
        self.pages.len()
    }

    pub(super) fn owned(&self) -> usize {
        self.owned
    }

    pub(super) fn cached(&self) -> usize {
        self.idle.len()
    }

    /// How many can still be promised.
    pub(super) fn unpromised(&self) -> usize {
        self.capacity - self.promised
    }

    /// Whether a sequence that has `table` can be promised what so many pages of tokens take, and one more be left for
    /// each other that grows.
    pub(super) fn has_room(&self, table: &Table, pages: usize) -> bool {
        pages.min(self.most).saturating_sub(table.promised) + self.growing <= self.unpromised()
    }

    /// Promises what so many pages of tokens take at once. Whether there are as many.
    pub(super) fn promise(&mut self, table: &mut Table, pages: usize) -> bool {
        let more = pages.min(self.most).saturating_sub(table.promised);
        if more > self.unpromised() {
            return false;
        }
        self.growing -= usize::from(self.grows(table));
        self.promised += more;
        table.promised += more;
        self.growing += usize::from(self.grows(table));
        true
    }

    fn grows(&self, table: &Table) -> bool {
        (1..self.most).contains(&table.promised)
    }

    /// A page for a sequence to write to, and the one that it was attached to. `None` where all are owned, which no
    /// promise allows.
    pub(super) fn take(&mut self) -> Option<(WindowedId, Option<PageId>)> {
        let (id, host) = match self.spare.pop().or_else(|| self.make()) {
            Some(id) => (id, None),
            None => {
                let (_, id) = self.idle.pop_first()?;
                (id, self.page(id).host.take())
            }
        };
        self.page(id).owners = 1;
        self.owned += 1;
        Some((id, host))
    }

    /// Attaches a page that its owner has computed.
    pub(super) fn attach(&mut self, id: WindowedId, host: PageId) {
        self.page(id).host = Some(host);
    }

    /// The page that it is attached to has lost its name, and nobody owns either.
    pub(super) fn detach(&mut self, id: WindowedId) {
        let page = self.page(id);
        page.host = None;
        let since = page.idle_since;
        self.idle.remove(&since);
        self.spare.push(id);
    }

    pub(super) fn own(&mut self, id: WindowedId) {
        let page = self.page(id);
        page.owners += 1;
        if page.owners == 1 {
            let since = page.idle_since;
            self.idle.remove(&since);
            self.owned += 1;
        }
    }

    /// Lets go of what is behind the window of the token at `position`.
    pub(super) fn pass(&mut self, table: &mut Table, position: usize) {
        let first = self.window.first_page(position);
        while table.passed < first {
            if let Some(id) = table.windowed.pop_front() {
                self.let_go(id);
            }
            table.passed += 1;
        }
    }

    /// Lets go of a sequence's pages, and of what was promised to it.
    pub(super) fn release(&mut self, table: &mut Table) {
        self.growing -= usize::from(self.grows(table));
        self.promised -= std::mem::take(&mut table.promised);
        table.passed = 0;
        while let Some(id) = table.windowed.pop_front() {
            self.let_go(id);
        }
    }

    pub(super) fn let_go(&mut self, id: WindowedId) {
        self.releases += 1;
        let now = self.releases;
        let page = self.page(id);
        page.owners -= 1;
        if page.owners > 0 {
            return;
        }
        page.idle_since = now;
        if page.host.is_some() {
            self.idle.insert(now, id);
        } else {
            self.spare.push(id);
        }
        self.owned -= 1;
    }

    fn page(&mut self, id: WindowedId) -> &mut Page {
        &mut self.pages[id.0 as usize]
    }

    fn make(&mut self) -> Option<WindowedId> {
        let id = u32::try_from(self.pages.len()).ok().filter(|&id| (id as usize) < self.capacity)?;
        self.pages.push(Page::default());
        Some(WindowedId(id))
    }

    /// Every page is spare, idle or owned, by exactly the tables that hold it; promises are kept.
    #[cfg(test)]
    pub(super) fn check(&self, tables: &[&Table], attachment: impl Fn(PageId) -> Option<WindowedId>) {
        let owned = |this| tables.iter().flat_map(|table| &table.windowed).filter(|&&id| id == this).count();
        for (id, page) in (0..).map(WindowedId).zip(&self.pages) {
            assert_eq!(page.owners as usize, owned(id));
            let spare = self.spare.iter().filter(|&&other| other == id).count();
            let idle = self.idle.values().filter(|&&other| other == id).count();
            assert_eq!(spare + idle + usize::from(page.owners > 0), 1, "a page is in one place");
            assert_eq!(page.host.and_then(&attachment), page.host.map(|_| id), "it is attached to what has it");
            assert!(idle == 0 || page.host.is_some(), "what is idle can be found");
        }
        assert_eq!(self.owned, self.pages.iter().filter(|page| page.owners > 0).count());
        assert_eq!(self.promised, tables.iter().map(|table| table.promised).sum::<usize>());
        assert_eq!(self.growing, tables.iter().filter(|table| self.grows(table)).count());
        assert!(self.promised <= self.capacity && self.pages.len() <= self.capacity);
        for table in tables {
            assert!(table.windowed.len() <= table.promised && table.promised <= self.most, "{table:?}");
        }
    }
}
