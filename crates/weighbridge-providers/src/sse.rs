//! Server-sent events, taken from bytes as they come.
//!
//! The WHATWG event stream as far as an API uses it: lines end in LF, CR or CRLF, an empty line ends an
//! event, several `data` lines are joined by LF, a line that begins with a colon is a comment. Bytes may be
//! cut anywhere, also within a character or between CR and LF. `id` and `retry` mean nothing here.

use std::collections::VecDeque;
use std::mem;

/// One event. Its data is not checked to be UTF-8; whoever reads it as JSON does that.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SseEvent {
    /// The `event` field; empty where there is none.
    pub(crate) name: Vec<u8>,
    /// The `data` lines, joined.
    pub(crate) data: Vec<u8>,
}

/// A line or an event is longer than the bound.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TooLong;

/// Takes bytes, gives events.
pub(crate) struct SseParser {
    max_bytes: usize,
    line: Vec<u8>,
    after_cr: bool,
    first_line: bool,
    open: Option<SseEvent>,
    ready: VecDeque<SseEvent>,
}

impl SseParser {
    /// A parser that holds at most `max_bytes` of a line and as many of an event.
    pub(crate) fn new(max_bytes: usize) -> Self {
        Self { max_bytes, line: Vec::new(), after_cr: false, first_line: true, open: None, ready: VecDeque::new() }
    }

    /// Takes the next bytes. The events that they complete are ready then.
    ///
    /// # Errors
    /// When a line or an event passes the bound; the parser is of no use after that.
    pub(crate) fn push(&mut self, mut bytes: &[u8]) -> Result<(), TooLong> {
        if mem::take(&mut self.after_cr) {
            bytes = bytes.strip_prefix(b"\n").unwrap_or_else(|| {
                // Nothing to skip; but an empty piece tells nothing about the byte after CR.
                self.after_cr = bytes.is_empty();
                bytes
            });
        }
        while let Some(end) = bytes.iter().position(|byte| matches!(byte, b'\n' | b'\r')) {
            self.extend_line(&bytes[..end])?;
            self.end_line()?;
            let rest = &bytes[end + 1..];
            let ends_in_cr = bytes[end] == b'\r';
            self.after_cr = ends_in_cr && rest.is_empty();
            bytes = if ends_in_cr { rest.strip_prefix(b"\n").unwrap_or(rest) } else { rest };
        }
        self.extend_line(bytes)
    }

    /// The next complete event.
    pub(crate) fn pop(&mut self) -> Option<SseEvent> {
        self.ready.pop_front()
    }

    /// What the end of the bytes leaves: an event without its empty line. The specification drops it, but
    /// servers forget that line after their last event.
    pub(crate) fn finish(&mut self) -> Option<SseEvent> {
        if !self.line.is_empty() {
            self.end_line().ok()?;
        }
        self.open.take()
    }

    fn extend_line(&mut self, bytes: &[u8]) -> Result<(), TooLong> {
        if self.line.len() + bytes.len() > self.max_bytes {
            return Err(TooLong);
        }
        self.line.extend_from_slice(bytes);
        Ok(())
    }

    fn end_line(&mut self) -> Result<(), TooLong> {
        let mut line = mem::take(&mut self.line);
        let text =
            if mem::take(&mut self.first_line) { line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&line) } else { &line };
        if text.is_empty() {
            self.ready.extend(self.open.take());
        } else {
            let colon = text.iter().position(|&byte| byte == b':').unwrap_or(text.len());
            let value = text.get(colon + 1..).unwrap_or_default();
            self.field(&text[..colon], value.strip_prefix(b" ").unwrap_or(value))?;
        }
        // The buffer is used again, so that a long stream allocates once.
        line.clear();
        self.line = line;
        Ok(())
    }

    fn field(&mut self, name: &[u8], value: &[u8]) -> Result<(), TooLong> {
        match name {
            b"data" => match &mut self.open {
                Some(event) if event.data.len() + value.len() >= self.max_bytes => return Err(TooLong),
                Some(event) if event.data.is_empty() => event.data.extend_from_slice(value),
                Some(event) => {
                    event.data.push(b'\n');
                    event.data.extend_from_slice(value);
                }
                None => self.open = Some(SseEvent { name: Vec::new(), data: value.to_vec() }),
            },
            b"event" => self.open.get_or_insert_default().name = value.to_vec(),
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_to_end_a_line_is_understood() {
        for end in ["\n", "\r", "\r\n"] {
            let text = ["data: one", "", ": a comment", "data:two", "", "", "data: three"].join(end);
            check(&text, &["one", "two", "three"]);
        }
    }

    #[test]
    fn several_data_lines_are_one_event() {
        check("data: {\ndata: }\n\n", &["{\n}"]);
    }

    #[test]
    fn a_byte_order_mark_and_unknown_fields_are_skipped() {
        check("\u{feff}data: x\nid: 7\nretry: 10\nnonsense\n\n", &["x"]);
    }

    #[test]
    fn characters_of_several_bytes_survive_any_cut() {
        check("data: größe 🦊\r\n\r\ndata: 二\r\n\r\n", &["größe 🦊", "二"]);
    }

    #[test]
    fn an_event_may_have_a_name() {
        let mut parser = SseParser::new(100);
        assert_eq!(parser.push(b"event: error\ndata: {}\n\n"), Ok(()));
        assert_eq!(parser.pop(), Some(SseEvent { name: b"error".to_vec(), data: b"{}".to_vec() }));
    }

    #[test]
    fn a_line_or_an_event_above_the_bound_is_refused() {
        let mut parser = SseParser::new(16);
        assert_eq!(parser.push(b"data: 0123456789abcdef"), Err(TooLong));
        let mut parser = SseParser::new(16);
        assert_eq!(parser.push(b"data: 01234567\ndata: 01234567\n"), Err(TooLong));
    }

    /// The events of `text`, whole and cut in every way into two and into pieces of one size.
    fn check(text: &str, expected: &[&str]) {
        let bytes = text.as_bytes();
        let halves = (0..=bytes.len()).map(|cut| vec![&bytes[..cut], &bytes[cut..]]);
        let pieces = (1..=bytes.len()).map(|size| bytes.chunks(size).collect());
        for cut in halves.chain(pieces) {
            let mut parser = SseParser::new(1024);
            for piece in &cut {
                assert_eq!(parser.push(piece), Ok(()));
                assert_eq!(parser.push(b""), Ok(()));
            }
            let mut events: Vec<_> = std::iter::from_fn(|| parser.pop()).collect();
            events.extend(parser.finish());
            let data: Vec<_> = events.iter().map(|event| String::from_utf8_lossy(&event.data)).collect();
            assert_eq!(data, expected, "{text:?} in pieces of {:?}", cut.iter().map(|piece| piece.len()));
        }
    }
}
