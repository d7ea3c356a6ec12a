//! A cursor over bytes that may end at any time.

use std::ops::Range;

use super::GgufError;

/// Reads forward through a file; each step names what it reads, for the error where the file ends within it.
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    position: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, position: 0 }
    }

    pub(super) fn position(&self) -> usize {
        self.position
    }

    pub(super) fn remaining(&self) -> usize {
        self.bytes.len() - self.position
    }

    /// Steps over `length` bytes and says where they are.
    pub(super) fn take(&mut self, length: usize, what: &str) -> Result<Range<usize>, GgufError> {
        if length > self.remaining() {
            return Err(GgufError::Truncated(what.to_owned()));
        }
        let start = self.position;
        self.position += length;
        Ok(start..self.position)
    }

    pub(super) fn array<const N: usize>(&mut self, what: &str) -> Result<[u8; N], GgufError> {
        let range = self.take(N, what)?;
        let mut bytes = [0; N];
        bytes.copy_from_slice(&self.bytes[range]);
        Ok(bytes)
    }

    pub(super) fn u32(&mut self, what: &str) -> Result<u32, GgufError> {
        self.array(what).map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self, what: &str) -> Result<u64, GgufError> {
        self.array(what).map(u64::from_le_bytes)
    }

    /// A count of things of which each takes at least `least` bytes: never more than the rest of the file can hold.
    pub(super) fn count(&mut self, least: usize, what: &str) -> Result<usize, GgufError> {
        let count = self.u64(what)?;
        let most = self.remaining() / least;
        match usize::try_from(count) {
            Ok(count) if count <= most => Ok(count),
            _ => Err(GgufError::field(what, format!("is {count}, but what is left of the file holds at most {most}"))),
        }
    }

    /// A length followed by as many bytes of text.
    pub(super) fn text(&mut self, what: &str) -> Result<Range<usize>, GgufError> {
        let length = self.count(1, &format!("the length of {what}"))?;
        self.take(length, what)
    }

    /// A text that must be short and well formed, as names are.
    pub(super) fn name(&mut self, longest: usize, what: &str) -> Result<&'a str, GgufError> {
        let range = self.text(what)?;
        if range.is_empty() || range.len() > longest {
            return Err(GgufError::field(what, format!("has {} bytes; 1 to {longest} are allowed", range.len())));
        }
        std::str::from_utf8(&self.bytes[range]).map_err(|_| GgufError::field(what, "is not valid utf-8"))
    }
}
