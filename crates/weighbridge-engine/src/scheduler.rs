//! Which sequences run, what of them each step computes, and on which pages.
//!
//! Arithmetic on ids and tokens: no tensors, no clocks, no async. A sequence waits until there is a place and pages for
//! all that it holds; then its tokens are computed in chunks, then it decodes a token a step until it ends.
//! A step holds first one token of every decoding sequence and then tokens of prompts, as many as the [`Pace`] allows,
//! so that a long prompt never holds up running answers for longer than that. Callers take [`Turns`] at places and
//! at the tokens of prompts, so that none waits for all that another has sent; the prompts of one go in order of arrival.
//!
//! Prompts that begin alike and come at once are computed once as far as they do (`together`).
//!
//! When pages run out, the youngest sequence gives its pages back and its tokens are computed again later, before
//! anybody new begins. The oldest never gives back, so that every sequence ends.

mod pace;
mod prompts;
mod together;
mod told;
mod turns;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use weighbridge_backend::Priority;

pub(crate) use self::pace::{Pace, Speed, Took};
use self::together::Waits;
pub(crate) use self::told::{Pending, Totals};
use self::turns::Turns;
pub(crate) use self::turns::{Caller, INTERACTIVE_IN_A_ROW, passes};
use crate::pages::{PagePool, Realm, Table};

/// Tokens of prompts that one caller is given before it is the next one's turn within a step.
pub(crate) const SLICE: usize = 32;
/// Tokens of prompts that one caller may bring in before it is the next one's turn at a place.
const ROUND: usize = 512;

/// The name of a sequence within one engine; never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct SequenceId(pub(crate) u64);

/// A sequence that arrives.
#[derive(Debug)]
pub(crate) struct Arrival {
    /// Its name.
    pub(crate) id: SequenceId,
    /// Who waits for it.
    pub(crate) caller: Caller,
    /// Whether others go first.
    pub(crate) priority: Priority,
    /// Within which its pages are shared; `None` shares none.
    pub(crate) realm: Option<Arc<Realm>>,
    /// At least one token.
    pub(crate) prompt: Vec<u32>,
    /// The most tokens of it that one step may compute.
    pub(crate) most_in_step: usize,
}

/// A share of a step: what is to be computed of one sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Work {
    /// Whose.
    pub(crate) id: SequenceId,
    /// The first of its tokens that is computed; those before are there.
    pub(crate) first: usize,
    /// How many, at least 1.
    pub(crate) count: usize,
    /// They are the last that it has, and the next one follows from them.
    pub(crate) draws: bool,
}

/// What a scheduler goes by.
#[derive(Debug)]
pub(crate) struct Limits {
    /// Sequences that make progress at once. 0 is taken as 1.
    pub(crate) max_running: usize,
    /// Tokens of prompts in a step.
    pub(crate) pace: Pace,
    /// Tokens behind the prompt are computed again one by one, as they were the first time, where what they give depends
    /// on it.
    pub(crate) replays_singly: bool,
}

/// Sequences by what they wait for.
#[derive(Debug)]
pub(crate) struct Scheduler {
    limits: Limits,
    pages: PagePool,
    sequences: HashMap<SequenceId, Entry>,
    waiting: Turns,
    /// Those that gave their pages back, the oldest first.
    preempted: VecDeque<SequenceId>,
    /// Those that have pages, the oldest first.
    running: Vec<SequenceId>,
    /// Of these, the ones with tokens of a prompt to compute.
    prompts: Turns,
    /// What the step under way computes of prompts; kept for its memory.
    chunks: Vec<Work>,
    /// Answers and tokens of prompts in the latest step.
    latest: (usize, usize),
    /// Counts sequences as they begin.
    begun: u64,
    totals: Totals,
}

#[derive(Debug)]
struct Entry {
    caller: Caller,
    priority: Priority,
    realm: Option<Arc<Realm>>,
    /// Prompt and answer.
    tokens: Vec<u32>,
    prompt_tokens: usize,
    /// Tokens that are computed, those of the step under way among them.
    computed: usize,
    /// Pages that hold them, and as many as the rest of the tokens needs; of layers with windows those that are seen.
    table: Table,
    /// Pages that have their name.
    published: usize,
    /// When it began; a lower number is older. It stays when pages are given back.
    age: u64,
    decodes: bool,
    /// While another computes for it what both begin with.
    waits: Option<Waits>,
    /// Tokens of the prompt that were there when it came.
    found: usize,
    /// The most tokens that are computed in one step.
    most_in_step: usize,
}

impl Scheduler {
    /// Without sequences. The pages must hold every sequence that comes, by itself and to its end.
    pub(crate) fn new(limits: Limits, pages: PagePool) -> Self {
        Self {
            limits: Limits { max_running: limits.max_running.max(1), ..limits },
            pages,
            sequences: HashMap::new(),
            waiting: Turns::new(ROUND),
            preempted: VecDeque::new(),
            running: Vec::new(),
            prompts: Turns::new(SLICE),
            chunks: Vec::new(),
            latest: (0, 0),
            begun: 0,
            totals: Totals::default(),
        }
    }

    /// Queues a sequence.
    pub(crate) fn enqueue(&mut self, arrival: Arrival) {
        let Arrival { id, caller, priority, realm, prompt, most_in_step } = arrival;
        let found = realm.as_ref().map_or(0, |realm| self.pages.prefixes().cached_tokens(realm, &prompt));
        self.waiting.push(&caller, priority, id);
        let entry = Entry {
            caller,
            priority,
            realm,
            prompt_tokens: prompt.len(),
            tokens: prompt,
            computed: 0,
            table: Table::default(),
            published: 0,
            age: u64::MAX,
            decodes: false,
            waits: None,
            found,
            most_in_step: most_in_step.max(1),
        };
        self.sequences.insert(id, entry);
    }

    /// Takes a sequence out, wherever it stands: it has ended, or nobody waits for it any more. Its pages are free.
    pub(crate) fn remove(&mut self, id: SequenceId) {
        let Some(mut entry) = self.sequences.remove(&id) else { return };
        self.pages.release(&mut entry.table);
        self.waiting.remove(id);
        self.prompts.remove(id);
        self.preempted.retain(|&other| other != id);
        self.running.retain(|&other| other != id);
    }

    /// Fills `step` with the next step, which is empty only when there is no sequence at all. A sequence appears in it
    /// at most once, and counts as computed that far; what is not computed has to be removed.
    pub(crate) fn next_step(&mut self, step: &mut Vec<Work>) {
        step.clear();
        self.resume();
        self.admit();
        self.decode(step);
        // Whoever was to compute for others may have given its pages back just now.
        self.resume();
        let answers = step.len();
        self.advance_prompts(step);
        for work in &*step {
            if let Some(entry) = self.sequences.get_mut(&work.id) {
                self.pages.cover(&mut entry.table, work.first + work.count);
            }
        }
        self.latest = (answers, step[answers..].iter().map(|work| work.count).sum());
        self.totals.steps += u64::from(!step.is_empty());
    }

    /// The tokens of a share.
    pub(crate) fn tokens(&self, work: Work) -> &[u32] {
        self.sequences.get(&work.id).map_or(&[], |entry| &entry.tokens[work.first..work.first + work.count])
    }

    /// The pages of a sequence, in the order of its tokens. `None` where there is no such sequence.
    pub(crate) fn table(&self, id: SequenceId) -> Option<&Table> {
        self.sequences.get(&id).map(|entry| &entry.table)
    }

    /// A share has been computed: whole pages of it may serve others from now on, and what is behind the windows is let
    /// go.
    pub(crate) fn computed(&mut self, work: Work) {
        let Some(entry) = self.sequences.get_mut(&work.id) else { return };
        let Entry { realm, tokens, table, published, .. } = entry;
        let (computed, page_tokens) = (work.first + work.count, self.pages.page_tokens());
        if let Some(realm) = realm {
            for at in *published..computed / page_tokens {
                self.pages.publish(realm, table, at, &tokens[at * page_tokens..(at + 1) * page_tokens]);
                *published = at + 1;
            }
        }
        self.pages.pass(table, computed);
    }

    /// A token was drawn for a sequence.
    pub(crate) fn drawn(&mut self, id: SequenceId, token: u32) {
        if let Some(entry) = self.sequences.get_mut(&id) {
            entry.tokens.push(token);
        }
    }

    /// Learns from the time that the latest step took what the next may hold.
    pub(crate) fn took(&mut self, time: Duration) {
        let (answers, prompt_tokens) = self.latest;
        self.limits.pace.note(Took { answers, prompt_tokens, time });
    }

    /// All pages.
    pub(crate) fn pages(&self) -> &PagePool {
        &self.pages
    }

    /// Lets sequences begin while there are places and pages: first those that gave theirs back.
    fn admit(&mut self) {
        while self.running.len() < self.limits.max_running {
            let sequences = &self.sequences;
            let cost = |id| sequences.get(&id).map_or(0, |entry| entry.tokens.len());
            let again = self.preempted.front().copied();
            let Some(id) = again.or_else(|| self.waiting.peek(cost)) else { return };
            let cost = cost(id);
            if !self.seat(id) {
                return;
            }
            if again.is_some() {
                self.preempted.pop_front();
            } else {
                self.waiting.take(cost);
            }
        }
    }

    /// Gives a sequence pages for all its tokens, those that hold a prefix of it among them. Whether there were enough,
    /// and one more for each that runs.
    fn seat(&mut self, id: SequenceId) -> bool {
        let Some(entry) = self.sequences.get_mut(&id) else { return true };
        let mut table = entry.find(&mut self.pages);
        // Alone it may have all pages: those who run will want one soon, or the next step takes it all back.
        let others = self.running.len();
        if others > 0 && !self.pages.has_room(&table, entry.tokens.len(), others) {
            self.pages.release(&mut table);
            return false;
        }
        entry.begin_on(table, &mut self.pages);
        self.totals.prefix_hit_tokens += entry.computed as u64;
        if entry.age == u64::MAX {
            entry.age = self.begun;
            self.begun += 1;
        }
        self.prompts.push(&entry.caller, entry.priority, id);
        let age = entry.age;
        let sequences = &self.sequences;
        let at = self.running.partition_point(|id| sequences.get(id).is_some_and(|entry| entry.age < age));
        self.running.insert(at, id);
        self.wait_or_go(id);
        true
    }

    /// One token of every sequence that decodes. A page that one needs and nobody has comes from the youngest.
    fn decode(&mut self, step: &mut Vec<Work>) {
        let mut at = 0;
        while let Some(&id) = self.running.get(at) {
            at += 1;
            let Some(entry) = self.sequences.get(&id).filter(|entry| entry.decodes) else { continue };
            let full = entry.tokens.len() > entry.table.len() * self.pages.page_tokens();
            if full && !self.extend(id) {
                // It was the youngest itself, and so the last.
                return;
            }
            let Some(entry) = self.sequences.get_mut(&id) else { continue };
            step.push(Work { id, first: entry.computed, count: 1, draws: true });
            entry.computed += 1;
        }
    }

    /// Gives a sequence one page more. Whether it still runs then.
    fn extend(&mut self, id: SequenceId) -> bool {
        loop {
            let Some(entry) = self.sequences.get_mut(&id) else { return false };
            if self.pages.grow(&mut entry.table) {
                return true;
            }
            let Some(youngest) = self.running.pop() else { return false };
            self.preempt(youngest);
            if youngest == id {
                return false;
            }
        }
    }

    fn preempt(&mut self, id: SequenceId) {
        self.totals.preemptions += 1;
        self.prompts.remove(id);
        // The younger ones were before it: so the oldest comes to stand first.
        self.preempted.push_front(id);
        if let Some(entry) = self.sequences.get_mut(&id) {
            self.pages.release(&mut entry.table);
            (entry.computed, entry.published, entry.decodes, entry.waits) = (0, 0, false, None);
        }
    }
}

impl Entry {
    /// Pages that hold a prefix of its tokens, all but the last, which is computed in any case for what follows from it.
    fn find(&self, pages: &mut PagePool) -> Table {
        let known = &self.tokens[..self.tokens.len().saturating_sub(1)];
        self.realm.as_ref().map_or_else(Table::default, |realm| pages.begin(realm, known))
    }

    /// Begins behind what was found, with pages for all its tokens.
    fn begin_on(&mut self, mut table: Table, pages: &mut PagePool) {
        let found = table.len();
        let whole = self.tokens.len().div_ceil(pages.page_tokens());
        while table.len() < whole && pages.grow(&mut table) {}
        (self.table, self.published, self.computed) = (table, found, found * pages.page_tokens());
        self.decodes = false;
    }
}

#[cfg(test)]
mod tests;
