//! Pages of keys and values, as numbers: who has which, and which hold a prefix that others may begin with.
//!
//! Arithmetic on ids: no tensors, no clocks, no async. A page that sequences own is owned; one that nobody owns is idle
//! while it has a name, and spare otherwise. A whole page of computed tokens is named by the page before it and its own
//! tokens, a first page by its [`Realm`] in place of a page before it. So a name stands for everything from the start of
//! the sequence, is compared and not merely hashed, and nothing is found across realms.
//!
//! Whoever owns a page owns the pages before it, and lets go of the last first. So among idle pages the one let go
//! longest ago never has a page behind it that could still be found, and the least recently used goes leaf first.
//!
//! Where some layers have windows, these pages are those of the other layers, and the names are of both: see
//! [`windowed`]. Where all have, these pages hold nothing but names.

mod table;
mod windowed;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use weighbridge_backend::DataClass;

pub(crate) use self::table::Table;
use self::windowed::WindowedPages;
pub(crate) use self::windowed::{Window, WindowedId};
use crate::prefixes::Prefixes;

/// One page: a number below the pool's capacity, the lowest being made first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct PageId(pub(crate) u32);

/// Within which prefixes are shared.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Realm {
    /// Content of one class never helps another class along.
    pub(crate) class: DataClass,
    /// The only caller, where reuse is confined to one.
    pub(crate) caller: Option<Arc<str>>,
}

/// All pages of a model.
#[derive(Debug)]
pub(crate) struct PagePool {
    page_tokens: usize,
    capacity: usize,
    /// Those made so far.
    pages: Vec<Page>,
    spare: Vec<PageId>,
    named: HashMap<Name, PageId>,
    /// Named pages without owners, by when the last let go.
    idle: BTreeMap<u64, PageId>,
    /// Pages with owners.
    owned: usize,
    /// Counts what was let go.
    releases: u64,
    /// Counts what was named.
    names: u64,
    /// Pages of the layers with windows, where there are any.
    windowed: Option<WindowedPages>,
    /// The same names, for others to read.
    prefixes: Arc<Prefixes>,
}

/// Pages of the layers with windows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct WindowedCounts {
    /// How many there may be.
    pub(crate) capacity: usize,
    /// Those that sequences have.
    pub(crate) used: usize,
    /// Those that nobody has, and that belong to a prefix.
    pub(crate) cached: usize,
    /// Those that are promised to no sequence.
    pub(crate) unpromised: usize,
    /// The most that a sequence takes.
    pub(crate) most: usize,
}

#[derive(Debug, Default)]
struct Page {
    owners: u32,
    name: Option<Name>,
    /// What pages behind it name it by; never used again.
    number: u64,
    /// What its name comes to in [`Prefixes`].
    digest: u64,
    /// The windowed page of the same tokens, where it has not been needed since.
    attachment: Option<WindowedId>,
    idle_since: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Name {
    before: Before,
    tokens: Box<[u32]>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Before {
    Nothing(Arc<Realm>),
    Page(u64),
}

impl PagePool {
    /// At most `capacity` pages of `page_tokens` tokens.
    pub(crate) fn new(capacity: usize, page_tokens: usize) -> Self {
        let page_tokens = page_tokens.max(1);
        Self {
            page_tokens,
            // A page is named by 32 bits.
            capacity: capacity.min(u32::MAX as usize),
            pages: Vec::new(),
            spare: Vec::new(),
            named: HashMap::new(),
            idle: BTreeMap::new(),
            owned: 0,
            releases: 0,
            names: 0,
            windowed: None,
            prefixes: Arc::new(Prefixes::new(page_tokens, None)),
        }
    }

    /// The same with at most `capacity` pages for the layers with windows of so many tokens, where a step holds at most
    /// `step_tokens` of a sequence. They must hold what one sequence takes.
    pub(crate) fn with_windows(self, window: usize, capacity: usize, step_tokens: usize) -> Self {
        let window = Window::new(window, self.page_tokens);
        let prefixes = Arc::new(Prefixes::new(self.page_tokens, Some(window)));
        Self { windowed: Some(WindowedPages::new(window, capacity, step_tokens)), prefixes, ..self }
    }

    /// Tokens of a page.
    pub(crate) fn page_tokens(&self) -> usize {
        self.page_tokens
    }

    /// How many pages can be taken.
    pub(crate) fn available(&self) -> usize {
        self.capacity - self.owned
    }

    /// How many were made: every page there is has a lower number.
    pub(crate) fn made(&self) -> usize {
        self.pages.len()
    }

    /// How many may be made.
    pub(crate) fn capacity(&self) -> usize {
        self.capacity
    }

    /// How many can be taken and hold a prefix that could be found until then.
    pub(crate) fn cached(&self) -> usize {
        self.idle.len()
    }

    /// What prefixes there are, for other threads.
    pub(crate) fn prefixes(&self) -> &Arc<Prefixes> {
        &self.prefixes
    }

    /// How many pages of the layers with windows were made.
    pub(crate) fn windowed_made(&self) -> usize {
        self.windowed.as_ref().map_or(0, WindowedPages::made)
    }

    /// What becomes of the pages of the layers with windows, where there are any.
    pub(crate) fn windowed(&self) -> Option<WindowedCounts> {
        self.windowed.as_ref().map(|pages| WindowedCounts {
            capacity: pages.capacity,
            used: pages.owned(),
            cached: pages.cached(),
            unpromised: pages.unpromised(),
            most: pages.most,
        })
    }

    /// Owns the pages of the longest prefix of `tokens` that is there, whole pages of it.
    pub(crate) fn begin(&mut self, realm: &Arc<Realm>, tokens: &[u32]) -> Table {
        let mut table = Table::default();
        for tokens in tokens.chunks_exact(self.page_tokens) {
            let name = self.name(realm, table.full.last().copied(), tokens);
            let Some(&id) = name.and_then(|name| self.named.get(&name)) else { break };
            table.full.push(id);
        }
        if let Some(windowed) = &mut self.windowed {
            let attachment = |at: usize| self.pages[table.full[at].0 as usize].attachment;
            let border = windowed.window.border(table.len(), |at| attachment(at).is_some());
            table.passed = windowed.window.first_page(border * self.page_tokens);
            table.windowed.extend((table.passed..border).filter_map(attachment));
            table.windowed.iter().for_each(|&id| windowed.own(id));
            table.full.truncate(border);
        }
        table.full.iter().for_each(|&id| self.own(id));
        table
    }

    /// Whether `table` can have all pages for so many tokens, and one be left for each of `others`.
    pub(crate) fn has_room(&self, table: &Table, tokens: usize, others: usize) -> bool {
        let pages = tokens.div_ceil(self.page_tokens);
        let is_there = |windowed: &WindowedPages| windowed.has_room(table, pages);
        pages.saturating_sub(table.len()) + others <= self.available() && self.windowed.as_ref().is_none_or(is_there)
    }

    /// Gives `table` one page more of the layers that see everything, and the promise of what the others need with it.
    /// Whether there was one.
    pub(crate) fn grow(&mut self, table: &mut Table) -> bool {
        if self.available() == 0 {
            return false;
        }
        if self.windowed.as_mut().is_some_and(|windowed| !windowed.promise(table, table.len() + 1)) {
            return false;
        }
        let page = self.take();
        table.full.extend(page);
        page.is_some()
    }

    /// Takes the pages that the layers with windows need for the tokens up to `tokens`.
    pub(crate) fn cover(&mut self, table: &mut Table, tokens: usize) {
        let Some(windowed) = &mut self.windowed else { return };
        while table.covered() * self.page_tokens < tokens {
            let Some((id, host)) = windowed.take() else { return };
            table.windowed.push_back(id);
            if let Some(host) = host {
                let host = &mut self.pages[host.0 as usize];
                host.attachment = None;
                self.prefixes.detach(host.digest);
            }
        }
    }

    /// Names the whole page `at` of a table, whose tokens have been computed. Where another page has that name already,
    /// it takes its place.
    pub(crate) fn publish(&mut self, realm: &Arc<Realm>, table: &mut Table, at: usize, tokens: &[u32]) {
        let before = at.checked_sub(1).map(|before| table.full[before]);
        let id = table.full[at];
        let Some(name) = self.name(realm, before, tokens) else { return };
        match self.named.get(&name) {
            Some(&there) => {
                self.own(there);
                self.let_go(id);
                table.full[at] = there;
            }
            None => self.give_name(realm, before, name, id),
        }
        self.attach(table, at);
    }

    /// Lets go of the pages of the layers with windows that no token from `position` on sees.
    pub(crate) fn pass(&mut self, table: &mut Table, position: usize) {
        if let Some(windowed) = &mut self.windowed {
            windowed.pass(table, position);
        }
    }

    /// Lets go of a sequence's pages.
    pub(crate) fn release(&mut self, table: &mut Table) {
        if let Some(windowed) = &mut self.windowed {
            windowed.release(table);
        }
        while let Some(id) = table.full.pop() {
            self.let_go(id);
        }
    }

    fn give_name(&mut self, realm: &Realm, before: Option<PageId>, name: Name, id: PageId) {
        self.names += 1;
        let number = self.names;
        let before = before.map(|before| self.pages[before.0 as usize].digest);
        let digest = self.prefixes.digest(realm, before, &name.tokens);
        self.prefixes.add(digest);
        let page = self.page(id);
        (page.name, page.number, page.digest) = (Some(name.clone()), number, digest);
        self.named.insert(name, id);
    }

    /// Attaches the windowed page `at` of a table to the page of the same tokens, or takes the one that is attached there
    /// in its place.
    fn attach(&mut self, table: &mut Table, at: usize) {
        let (Some(windowed), Some(place)) = (&mut self.windowed, at.checked_sub(table.passed)) else { return };
        let Some(own) = table.windowed.get_mut(place) else { return };
        let host = table.full[at];
        let page = &mut self.pages[host.0 as usize];
        match page.attachment {
            Some(there) => {
                windowed.own(there);
                windowed.let_go(*own);
                *own = there;
            }
            None => {
                windowed.attach(*own, host);
                page.attachment = Some(*own);
                self.prefixes.attach(page.digest);
            }
        }
    }

    /// A page for a sequence to write to. `None` where all are owned.
    fn take(&mut self) -> Option<PageId> {
        let id = self.spare.pop().or_else(|| self.make()).or_else(|| self.forget_oldest())?;
        self.page(id).owners = 1;
        self.owned += 1;
        Some(id)
    }

    /// `None` where the page before has none, as nothing can be found behind it.
    fn name(&self, realm: &Arc<Realm>, before: Option<PageId>, tokens: &[u32]) -> Option<Name> {
        let before = match before {
            None => Before::Nothing(Arc::clone(realm)),
            Some(id) => {
                let page = &self.pages[id.0 as usize];
                page.name.as_ref()?;
                Before::Page(page.number)
            }
        };
        Some(Name { before, tokens: tokens.into() })
    }

    fn page(&mut self, id: PageId) -> &mut Page {
        &mut self.pages[id.0 as usize]
    }

    fn make(&mut self) -> Option<PageId> {
        let id = u32::try_from(self.pages.len()).ok().filter(|&id| (id as usize) < self.capacity)?;
        self.pages.push(Page::default());
        Some(PageId(id))
    }

    /// Takes the name from the page that was let go longest ago.
    fn forget_oldest(&mut self) -> Option<PageId> {
        let (_, id) = self.idle.pop_first()?;
        let page = self.page(id);
        let digest = page.digest;
        let (name, attachment) = (page.name.take(), page.attachment.take());
        if let Some(name) = name {
            self.named.remove(&name);
            self.prefixes.remove(digest);
        }
        if let (Some(windowed), Some(attachment)) = (&mut self.windowed, attachment) {
            windowed.detach(attachment);
        }
        Some(id)
    }

    fn own(&mut self, id: PageId) {
        let page = self.page(id);
        page.owners += 1;
        if page.owners == 1 {
            let since = page.idle_since;
            self.idle.remove(&since);
            self.owned += 1;
        }
    }

    fn let_go(&mut self, id: PageId) {
        self.releases += 1;
        let now = self.releases;
        let page = self.page(id);
        page.owners -= 1;
        if page.owners > 0 {
            return;
        }
        page.idle_since = now;
        if page.name.is_some() {
            self.idle.insert(now, id);
        } else {
            self.spare.push(id);
        }
        self.owned -= 1;
    }
}

#[cfg(test)]
mod tests;
