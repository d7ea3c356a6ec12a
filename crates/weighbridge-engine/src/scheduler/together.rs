//! Prompts that begin alike and come at once: one computes what they share, and the others wait for its pages.
//!
//! A sequence that has its place and its pages, and finds another one computing what it would compute next, waits until
//! that is there, and goes on behind it. It keeps what it has meanwhile, so that nobody takes what it would have had; and
//! its turns go to the one that computes for it, so that it is there no later than by itself, whatever that one's
//! priority is and whatever its caller has before it. Nobody waits for one that waits itself, so that no two wait for each
//! other. Where the one that computes ends, or gives its pages back, the others go on from what is there by then, again
//! one of them for all.
//!
//! Nothing is shared here that the names of [`pages`](crate::pages) would not share: realms are the same, and what
//! was waited for is found by its names.

use std::cmp::Reverse;
use std::collections::HashMap;

use super::{Entry, SLICE, Scheduler, SequenceId};
use crate::pages::PagePool;

/// Whole pages that another has to compute for a sequence for it to wait: one is computed sooner than waited for, as what
/// follows comes a step later.
const WORTH_PAGES: usize = 2;

/// For whom a sequence waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Waits {
    /// Who computes for it.
    leader: SequenceId,
    /// The tokens that both begin with, whole pages of them.
    tokens: usize,
}

impl Scheduler {
    /// Has a sequence that has just got its pages wait, where another one is computing for it.
    pub(super) fn wait_or_go(&mut self, id: SequenceId) {
        let waits = self.leader(id);
        if let Some(entry) = self.sequences.get_mut(&id) {
            entry.waits = waits;
        }
    }

    /// Lets those go on whose wait is over, in order of age: what they waited for is there, or will not be.
    pub(super) fn resume(&mut self) {
        let is_over = |id: &&SequenceId| {
            let waits = self.sequences.get(*id).and_then(|entry| entry.waits);
            waits.is_some_and(|Waits { leader, tokens }| {
                let leader = self.sequences.get(&leader);
                // One without pages has given them back.
                !leader.is_some_and(|leader| !leader.table.is_empty() && leader.computed < tokens)
            })
        };
        let over: Vec<SequenceId> = self.running.iter().filter(is_over).copied().collect();
        over.into_iter().for_each(|id| self.begin_again(id));
    }

    /// Exchanges a sequence's pages for those that are computed by now. It needs no more than it had.
    fn begin_again(&mut self, id: SequenceId) {
        let Some(entry) = self.sequences.get_mut(&id) else { return };
        let before = entry.computed;
        self.pages.release(&mut entry.table);
        let table = entry.find(&mut self.pages);
        entry.begin_on(table, &mut self.pages);
        self.totals.prefix_hit_tokens += entry.computed.saturating_sub(before) as u64;
        self.prompts.push(&entry.caller, entry.priority, id);
        self.wait_or_go(id);
    }

    /// Who computes what a sequence would compute next, and how far that serves it: the one with which it shares most,
    /// the oldest of these.
    fn leader(&self, id: SequenceId) -> Option<Waits> {
        let entry = self.sequences.get(&id)?;
        if entry.realm.is_none() || self.limits.replays_singly {
            return None;
        }
        let waits = self.running.iter().filter(|&&other| other != id).filter_map(|&leader| {
            let tokens = entry.shared(self.sequences.get(&leader)?, &self.pages);
            (tokens > 0).then_some(Waits { leader, tokens })
        });
        waits.min_by_key(|waits| Reverse(waits.tokens))
    }
}

impl Entry {
    /// Tokens that it need not compute: they are there, or another computes them.
    pub(super) fn spared(&self) -> usize {
        match self.waits {
            Some(Waits { tokens, .. }) => tokens,
            None if self.table.is_empty() => self.found,
            None => self.computed,
        }
    }

    /// How many tokens of this sequence are there once the other has computed them, in whole pages; 0 where it is not
    /// worth to wait for that.
    fn shared(&self, leader: &Entry, pages: &PagePool) -> usize {
        // One whose steps are small would be given more than it can take.
        let leads = !leader.decodes && leader.waits.is_none() && leader.most_in_step == usize::MAX;
        if !leads || leader.computed < self.computed || leader.realm != self.realm {
            return 0;
        }
        let page = pages.page_tokens();
        let known = &self.tokens[..self.tokens.len().saturating_sub(1)];
        let alike = known.chunks_exact(page).zip(leader.tokens.chunks_exact(page)).take_while(|(own, its)| own == its);
        let tokens = alike.count() * page;
        if tokens > leader.computed && tokens >= self.computed + WORTH_PAGES * page { tokens } else { 0 }
    }
}

/// Whose tokens the turn of a sequence computes, and how many: its own, or what another computes for it, of which there
/// may be nothing left.
pub(super) fn share(sequences: &HashMap<SequenceId, Entry>, id: SequenceId, singly: bool) -> (SequenceId, usize) {
    let Some(entry) = sequences.get(&id) else { return (id, 0) };
    let Some(Waits { leader, tokens }) = entry.waits else { return (id, entry.slice(singly)) };
    let left = sequences.get(&leader).map_or(0, |leader| tokens.saturating_sub(leader.computed));
    (leader, left.min(SLICE))
}
