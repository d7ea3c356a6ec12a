//! Pages of keys and values, as numbers: who has which, and which hold a prefix that others may begin with.
//!
//! Arithmetic on ids: no tensors, no clocks, no async. A page that sequences own is owned; one that nobody owns is idle
//! while it has a name, and spare otherwise. A whole page of computed tokens is named by the page before it and its own
//! tokens, a first page by its [`Realm`] in place of a page before it. So a name stands for everything from the start of
//! the sequence, is compared and not merely hashed, and nothing is found across realms.
//!
//! Whoever owns a page owns the pages before it, and lets go of the last first. So among idle pages the one let go
//! longest ago never has a page behind it that could still be found, and the least recently used goes leaf first.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use weighbridge_backend::DataClass;

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
    /// The same names, for others to read.
    prefixes: Arc<Prefixes>,
}

#[derive(Debug, Default)]
struct Page {
    owners: u32,
    name: Option<Name>,
    /// What pages behind it name it by; never used again.
    number: u64,
    /// What its name comes to in [`Prefixes`].
    digest: u64,
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
            prefixes: Arc::new(Prefixes::new(page_tokens)),
        }
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

    /// A page for a sequence to write to. `None` where all are owned.
    pub(crate) fn take(&mut self) -> Option<PageId> {
        let id = self.spare.pop().or_else(|| self.make()).or_else(|| self.forget_oldest())?;
        self.page(id).owners = 1;
        self.owned += 1;
        Some(id)
    }

    /// Owns the pages of the longest prefix of `tokens` that is there, whole pages of it.
    pub(crate) fn begin(&mut self, realm: &Arc<Realm>, tokens: &[u32]) -> Vec<PageId> {
        let mut table = Vec::new();
        for tokens in tokens.chunks_exact(self.page_tokens) {
            let name = self.name(realm, table.last().copied(), tokens);
            let Some(&id) = name.and_then(|name| self.named.get(&name)) else { break };
            self.own(id);
            table.push(id);
        }
        table
    }

    /// Names a whole page that its owner has computed, `before` being the page before it. Where another page has that
    /// name already, it takes the place of `id`, which is let go; the page given back is the one to go on with.
    pub(crate) fn publish(&mut self, realm: &Arc<Realm>, before: Option<PageId>, tokens: &[u32], id: PageId) -> PageId {
        let Some(name) = self.name(realm, before, tokens) else { return id };
        if let Some(&there) = self.named.get(&name) {
            self.own(there);
            self.let_go(id);
            return there;
        }
        self.names += 1;
        let number = self.names;
        let before = before.map(|before| self.pages[before.0 as usize].digest);
        let digest = self.prefixes.digest(realm, before, tokens);
        self.prefixes.add(digest);
        let page = self.page(id);
        (page.name, page.number, page.digest) = (Some(name.clone()), number, digest);
        self.named.insert(name, id);
        id
    }

    /// Lets go of a sequence's pages.
    pub(crate) fn release(&mut self, table: &mut Vec<PageId>) {
        while let Some(id) = table.pop() {
            self.let_go(id);
        }
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
        if let Some(name) = page.name.take() {
            self.named.remove(&name);
            self.prefixes.remove(digest);
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
