//! What is kept, for how long and how much of it; and who is the first.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use tokio::sync::{Semaphore, watch};

use super::WAITING;

/// The most answers, whatever their size.
const MOST_ANSWERS: usize = 10_000;

/// What an answer takes beside its bytes: its hashes, its places in two collections, the table of its headers.
const OVERHEAD: usize = 1024;

/// A whole answer.
pub(crate) struct Kept {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// Answers by the hash of their key.
pub(crate) struct Repeats {
    shared: Arc<Shared>,
    waiting: Semaphore,
}

struct Shared {
    window: Duration,
    most_bytes: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    entries: HashMap<[u8; 32], Entry>,
    /// Those that are kept, the oldest first.
    order: VecDeque<(Instant, [u8; 32])>,
    bytes: usize,
}

struct Entry {
    fingerprint: [u8; 32],
    stage: Stage,
}

enum Stage {
    /// Closed when the first has ended.
    Underway(watch::Receiver<()>),
    Kept(Arc<Kept>),
}

/// What becomes of a request.
pub(super) enum Claim {
    /// It is the first.
    First(Ticket),
    /// The first is under way; closed when it has ended.
    Underway(watch::Receiver<()>),
    /// This is what the first was answered.
    Kept(Arc<Kept>),
    /// The key is that of another request.
    Other,
}

/// The right, and the duty, to answer as the first. Dropped without an answer, the next is the first.
pub(super) struct Ticket {
    shared: Arc<Shared>,
    key: [u8; 32],
    fingerprint: [u8; 32],
    _ended: watch::Sender<()>,
}

impl Repeats {
    pub(crate) fn new(window: Duration, most_bytes: usize) -> Self {
        let shared = Shared { window, most_bytes, state: Mutex::default() };
        Self { shared: Arc::new(shared), waiting: Semaphore::new(WAITING) }
    }

    /// Places for those that wait.
    pub(super) fn waiting(&self) -> &Semaphore {
        &self.waiting
    }

    pub(super) fn claim(&self, key: [u8; 32], fingerprint: [u8; 32]) -> Claim {
        let mut state = self.shared.state();
        state.forget_old(self.shared.window);
        match state.entries.get(&key) {
            Some(entry) if entry.fingerprint != fingerprint => Claim::Other,
            Some(Entry { stage: Stage::Kept(kept), .. }) => Claim::Kept(Arc::clone(kept)),
            Some(Entry { stage: Stage::Underway(ended), .. }) => Claim::Underway(ended.clone()),
            None => {
                let (sender, ended) = watch::channel(());
                state.entries.insert(key, Entry { fingerprint, stage: Stage::Underway(ended) });
                Claim::First(Ticket { shared: Arc::clone(&self.shared), key, fingerprint, _ended: sender })
            }
        }
    }
}

impl Ticket {
    /// The most bytes of an answer that is worth keeping: what leaves room for others.
    pub(super) fn most_bytes(&self) -> usize {
        self.shared.most_bytes / 16
    }

    /// Keeps the answer.
    pub(super) fn keep(self, kept: Kept) {
        let mut state = self.shared.state();
        state.bytes += size(&kept);
        state.order.push_back((Instant::now(), self.key));
        state.entries.insert(self.key, Entry { fingerprint: self.fingerprint, stage: Stage::Kept(kept.into()) });
        while state.bytes > self.shared.most_bytes || state.order.len() > MOST_ANSWERS {
            state.forget_oldest();
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut state = self.shared.state();
        if state.entries.get(&self.key).is_some_and(|entry| matches!(entry.stage, Stage::Underway(_))) {
            state.entries.remove(&self.key);
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn forget_old(&mut self, window: Duration) {
        while self.order.front().is_some_and(|(kept_at, _)| kept_at.elapsed() >= window) {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        let Some((_, key)) = self.order.pop_front() else { return };
        if let Some(Entry { stage: Stage::Kept(kept), .. }) = self.entries.remove(&key) {
            self.bytes -= size(&kept);
        }
    }
}

fn size(kept: &Kept) -> usize {
    let headers: usize = kept.headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    OVERHEAD + headers + kept.body.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(bytes: usize) -> Kept {
        Kept { status: StatusCode::OK, headers: HeaderMap::new(), body: vec![0; bytes].into() }
    }

    fn first(repeats: &Repeats, key: u8) -> Ticket {
        match repeats.claim([key; 32], [0; 32]) {
            Claim::First(ticket) => ticket,
            _ => unreachable!("{key} is not the first"),
        }
    }

    fn claim(repeats: &Repeats, key: u8, body: u8) -> &'static str {
        match repeats.claim([key; 32], [body; 32]) {
            Claim::First(_) => "first",
            Claim::Underway(_) => "underway",
            Claim::Kept(_) => "kept",
            Claim::Other => "other",
        }
    }

    const LONG: Duration = Duration::from_secs(3600);

    #[test]
    fn a_key_stands_for_one_request_and_its_answer() {
        let repeats = Repeats::new(LONG, 1 << 20);
        let ticket = first(&repeats, 1);
        assert_eq!(
            (claim(&repeats, 1, 0), claim(&repeats, 1, 9), claim(&repeats, 2, 0)),
            ("underway", "other", "first")
        );
        ticket.keep(answer(10));
        assert_eq!((claim(&repeats, 1, 0), claim(&repeats, 1, 9)), ("kept", "other"));
    }

    #[test]
    fn a_first_that_came_to_nothing_leaves_its_place() {
        let repeats = Repeats::new(LONG, 1 << 20);
        drop(first(&repeats, 1));
        assert_eq!(claim(&repeats, 1, 9), "first");
        assert!(repeats.shared.state().entries.is_empty());
    }

    #[tokio::test]
    async fn who_waits_is_told_of_the_end() {
        let repeats = Repeats::new(LONG, 1 << 20);
        let ticket = first(&repeats, 1);
        let Claim::Underway(mut ended) = repeats.claim([1; 32], [0; 32]) else { unreachable!("it is under way") };
        ticket.keep(answer(10));
        assert!(ended.changed().await.is_err());
        assert_eq!(claim(&repeats, 1, 0), "kept");
    }

    #[test]
    fn the_oldest_make_room_and_what_is_old_is_forgotten() {
        let repeats = Repeats::new(LONG, 10_000);
        for key in 1..=3 {
            first(&repeats, key).keep(answer(3000));
        }
        assert_eq!((claim(&repeats, 1, 0), claim(&repeats, 2, 0), claim(&repeats, 3, 0)), ("first", "kept", "kept"));
        assert!(repeats.shared.state().bytes <= 10_000);
        let repeats = Repeats::new(Duration::ZERO, 10_000);
        first(&repeats, 1).keep(answer(10));
        assert_eq!(claim(&repeats, 1, 0), "first");
        assert_eq!(repeats.shared.state().bytes, 0);
    }
}
