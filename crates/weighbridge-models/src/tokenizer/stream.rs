//! Decoding token by token.

use std::sync::Arc;

use super::Tokenizer;

/// Turns tokens into text as they come. Holds back the bytes of a character until it is whole.
#[derive(Debug)]
pub struct Detokenizer {
    tokenizer: Tokenizer,
    /// Special tokens that are written out.
    shown: Arc<[u32]>,
    /// The start of a character: three bytes at most.
    pending: Vec<u8>,
    /// Whether the text begins here and none has come yet.
    at_start: bool,
}

impl Detokenizer {
    pub(super) fn new(tokenizer: Tokenizer, shown: Arc<[u32]>) -> Self {
        Self { tokenizer, shown, pending: Vec::new(), at_start: true }
    }

    /// The same of tokens that go on from others: a space that they begin with is theirs.
    #[must_use]
    pub fn within(self) -> Self {
        Self { at_start: false, ..self }
    }

    /// The text that this token completes, if any.
    pub fn push(&mut self, token: u32) -> Option<String> {
        let bytes = match self.shown.contains(&token) {
            true => self.tokenizer.token(token).unwrap_or_default().into_bytes(),
            false => self.tokenizer.bytes(token),
        };
        let mut bytes = bytes.as_slice();
        if bytes.is_empty() {
            return None;
        }
        if self.at_start && self.tokenizer.inner.pieces.starts_with_extra_space() {
            bytes = bytes.strip_prefix(b" ").unwrap_or(bytes);
        }
        self.at_start = false;
        self.pending.extend_from_slice(bytes);
        let text = take_text(&mut self.pending);
        (!text.is_empty()).then_some(text)
    }

    /// What is left when no more tokens come: U+FFFD for a character that stayed incomplete.
    pub fn finish(&mut self) -> Option<String> {
        let rest = std::mem::take(&mut self.pending);
        (!rest.is_empty()).then(|| String::from_utf8_lossy(&rest).into_owned())
    }
}

/// Takes all that is whole out of the bytes; invalid ones become U+FFFD, as `String::from_utf8_lossy` does it.
fn take_text(bytes: &mut Vec<u8>) -> String {
    let mut text = String::new();
    let mut done = 0;
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        done += chunk.valid().len();
        let invalid = chunk.invalid();
        let incomplete = done + invalid.len() == bytes.len()
            && std::str::from_utf8(invalid).is_err_and(|error| error.error_len().is_none());
        if !invalid.is_empty() && !incomplete {
            text.push(char::REPLACEMENT_CHARACTER);
            done += invalid.len();
        }
    }
    bytes.drain(..done);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pieces: &[&[u8]]) {
        let mut pending = Vec::new();
        let mut text = String::new();
        for piece in pieces {
            pending.extend_from_slice(piece);
            text.push_str(&take_text(&mut pending));
            assert!(pending.len() < 4, "more than a character is held back");
        }
        text.push_str(&String::from_utf8_lossy(&pending));
        assert_eq!(text, String::from_utf8_lossy(&pieces.concat()));
    }

    #[test]
    fn any_cut_of_bytes_gives_the_text_of_all() {
        let texts: [&[u8]; 5] = [
            "plain".as_bytes(),
            "naïve 東京 🦊".as_bytes(),
            b"\xe6\x9d",
            b"a\xffb\xf0\x9f\xa6",
            b"\xf0\x9f\x41\x80\x80",
        ];
        for text in texts {
            for first in 0..=text.len() {
                for second in first..=text.len() {
                    check(&[&text[..first], &text[first..second], &text[second..]]);
                }
            }
            let single: Vec<_> = text.chunks(1).collect();
            check(&single);
        }
    }
}
