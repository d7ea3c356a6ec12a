//! The events of a stream, numbered from 0, as they are kept for who reads on: the latest of them, up to a bound.

use std::collections::VecDeque;

use bytes::Bytes;

/// Events go out in pieces of about this size, so that no copy of all of them is made.
const PIECE_BYTES: usize = 32 << 10;

/// What an event takes beside its text.
const OVERHEAD: usize = 64;

pub(super) struct Events {
    kept: VecDeque<Bytes>,
    /// The number of the first that is kept.
    first: u64,
    bytes: usize,
    most: usize,
}

impl Events {
    /// Of which no more bytes are kept than these, but for those of the latest event, which always is.
    pub(super) fn new(most: usize) -> Self {
        Self { kept: VecDeque::new(), first: 0, bytes: 0, most }
    }

    /// Takes what was written for a client: whole events, and comments, which count for nothing.
    pub(super) fn push(&mut self, mut written: &[u8]) {
        while let Some(end) = written.windows(2).position(|pair| pair == b"\n\n") {
            let (event, rest) = written.split_at(end + 2);
            written = rest;
            if !event.starts_with(b":") {
                // A copy, so that nothing but its own bytes is held for it.
                self.bytes += event.len() + OVERHEAD;
                self.kept.push_back(Bytes::copy_from_slice(event));
            }
        }
        while self.bytes > self.most && self.kept.len() > 1 {
            self.bytes -= self.kept.pop_front().map_or(0, |event| event.len() + OVERHEAD);
            self.first += 1;
        }
    }

    /// The number that the next event will have.
    pub(super) fn next(&self) -> u64 {
        self.first + self.kept.len() as u64
    }

    /// The number of the first that is kept.
    pub(super) fn first(&self) -> u64 {
        self.first
    }

    /// A piece of the events from this number on, empty where there are none yet, and the number of the event after
    /// it; `None` where they are not kept any more.
    pub(super) fn piece(&self, from: u64) -> Option<(Vec<u8>, u64)> {
        let skipped = usize::try_from(from.checked_sub(self.first)?).unwrap_or(usize::MAX);
        let (mut piece, mut next) = (Vec::new(), from);
        for event in self.kept.iter().skip(skipped) {
            piece.extend_from_slice(event);
            next += 1;
            if piece.len() >= PIECE_BYTES {
                break;
            }
        }
        Some((piece, next))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(piece: Option<(Vec<u8>, u64)>) -> Option<(String, u64)> {
        piece.map(|(bytes, next)| (String::from_utf8_lossy(&bytes).into_owned(), next))
    }

    #[test]
    fn events_are_counted_and_comments_are_not() {
        let mut events = Events::new(1 << 20);
        events.push(b": keep-alive\n\nevent: a\ndata: 0\n\nevent: b\ndata: 1\n\n");
        events.push(b": keep-alive\n\n");
        events.push(b"event: c\ndata: 2\n\n");
        assert_eq!(events.next(), 3);
        assert_eq!(text(events.piece(1)), Some(("event: b\ndata: 1\n\nevent: c\ndata: 2\n\n".into(), 3)));
        assert_eq!(text(events.piece(3)), Some((String::new(), 3)));
        assert_eq!(text(events.piece(u64::MAX)), Some((String::new(), u64::MAX)));
    }

    #[test]
    fn beyond_the_bound_the_oldest_go_and_the_latest_stays() {
        let mut events = Events::new(3 * (8 + OVERHEAD));
        (0..5).for_each(|n| events.push(format!("data:{n}\n\n").as_bytes()));
        assert_eq!((events.first(), events.next()), (2, 5));
        assert_eq!(events.piece(1), None);
        assert_eq!(text(events.piece(3)), Some(("data:3\n\ndata:4\n\n".into(), 5)));
        let large = format!("data:{}\n\n", "x".repeat(4096));
        events.push(large.as_bytes());
        assert_eq!((events.first(), text(events.piece(5))), (5, Some((large, 6))));
    }

    #[test]
    fn what_is_read_at_once_has_a_bound() {
        let mut events = Events::new(1 << 20);
        let large = format!("data:{}\n\n", "x".repeat(PIECE_BYTES / 2));
        (0..5).for_each(|_| events.push(large.as_bytes()));
        let (piece, next) = events.piece(0).unwrap_or_default();
        assert_eq!((piece.len(), next), (2 * large.len(), 2));
    }
}
