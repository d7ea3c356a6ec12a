//! Which prefixes are computed, for whoever asks from outside the engine's thread.
//!
//! The engine writes down a digest of each page that it names, and takes it away as the page loses its name; a digest
//! stands for everything from the start of the sequence, its realm included. Who asks reads a handful of them: a page is
//! never without those before it, so that the longest prefix is found by halves. Nobody waits for a step, and no step
//! for more than a handful of look-ups, or as many as a window has pages where layers have windows. An answer is out of date as soon as it is given, and two prefixes may, once in
//! an age, have one digest: it serves to predict. What sequences begin with is found by [`PagePool`], which compares.
//!
//! [`PagePool`]: crate::pages::PagePool

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::pages::{Realm, Window};

/// The digests of all named pages of a pool.
#[derive(Debug)]
pub(crate) struct Prefixes {
    page_tokens: usize,
    /// Its keys are drawn at random, so that nobody can make prompts of one digest.
    hasher: RandomState,
    /// What has to be attached for a page to be found, where some layers have windows.
    window: Option<Window>,
    digests: Mutex<Digests>,
}

#[derive(Debug, Default)]
struct Digests {
    /// Of all named pages.
    named: HashSet<u64>,
    /// Of those with a windowed page.
    attached: HashSet<u64>,
}

impl Prefixes {
    /// Of pages of so many tokens, none yet.
    pub(crate) fn new(page_tokens: usize, window: Option<Window>) -> Self {
        Self { page_tokens, hasher: RandomState::new(), window, digests: Mutex::default() }
    }

    /// The digest of a page that holds `tokens`, `before` being that of the page before it.
    pub(crate) fn digest(&self, realm: &Realm, before: Option<u64>, tokens: &[u32]) -> u64 {
        match before {
            None => self.hasher.hash_one((realm, tokens)),
            Some(before) => self.hasher.hash_one((before, tokens)),
        }
    }

    pub(crate) fn add(&self, digest: u64) {
        self.lock().named.insert(digest);
    }

    /// The windowed page of it is there.
    pub(crate) fn attach(&self, digest: u64) {
        self.lock().attached.insert(digest);
    }

    /// The windowed page of it is there no more.
    pub(crate) fn detach(&self, digest: u64) {
        self.lock().attached.remove(&digest);
    }

    pub(crate) fn remove(&self, digest: u64) {
        let mut digests = self.lock();
        digests.named.remove(&digest);
        digests.attached.remove(&digest);
    }

    /// How many tokens of a prompt a sequence would find computed, in whole pages; the last it computes in any case.
    pub(crate) fn cached_tokens(&self, realm: &Realm, prompt: &[u32]) -> usize {
        let known = &prompt[..prompt.len().saturating_sub(1)];
        let mut before = None;
        let pages = known.chunks_exact(self.page_tokens).map(|tokens| {
            let digest = self.digest(realm, before, tokens);
            before = Some(digest);
            digest
        });
        let pages: Vec<u64> = pages.collect();
        let digests = self.lock();
        let found = pages.partition_point(|digest| digests.named.contains(digest));
        let is_attached = |at: usize| digests.attached.contains(&pages[at]);
        self.window.map_or(found, |window| window.border(found, is_attached)) * self.page_tokens
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.lock().named.len()
    }

    fn lock(&self) -> MutexGuard<'_, Digests> {
        self.digests.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
