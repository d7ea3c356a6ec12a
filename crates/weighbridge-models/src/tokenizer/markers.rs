//! Added tokens in a text, and none in what came from outside.
//!
//! Nothing may start a turn, end one or call a tool by being written into a message. So the characters from outside
//! are hidden from the search for added tokens, each behind another of as many bytes that no added token has; white
//! space stays, since tokens of it alone steer nothing and texts are written with them.

use std::borrow::Cow;
use std::ops::Range;

use tokenizers::{OffsetReferential, OffsetType, Tokenizer};

use super::TokenizerError;

/// A piece of a text: an added token, or where the text between two of them lies.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Segment {
    Token(u32),
    Text(Range<usize>),
}

/// For each number of bytes a character that no added token has.
pub(super) struct Shadows([char; 4]);

/// Where shadows are looked for: controls, and characters for private use.
const CANDIDATES: [Range<u32>; 4] = [0x0e..0x1c, 0x80..0x84, 0xe000..0xf8ff, 0xf_0000..0xf_fffd];

impl Shadows {
    pub(super) fn of<'a>(added: impl Iterator<Item = &'a str>) -> Self {
        let taken: Vec<char> = added.flat_map(str::chars).filter(|it| it.is_control() || *it >= '\u{e000}').collect();
        Self(CANDIDATES.map(|mut candidates| {
            let free = |&code: &u32| taken.iter().all(|&taken| u32::from(taken) != code);
            let first = candidates.start;
            // A vocabulary that has every one of them loses the first.
            let code = candidates.find(free).unwrap_or(first);
            char::from_u32(code).unwrap_or('\u{e}')
        }))
    }

    /// Cuts a text into added tokens and what lies between them.
    ///
    /// # Errors
    /// [`TokenizerError::Encode`] where a place is not in the text.
    pub(super) fn segments(
        &self,
        tokenizer: &Tokenizer,
        text: &str,
        foreign: &[Range<usize>],
    ) -> Result<Vec<Segment>, TokenizerError> {
        let shown = self.hide(text, foreign).ok_or(TokenizerError::Encode)?;
        let added = tokenizer.get_added_vocabulary();
        let found = added.extract_and_normalize(tokenizer.get_normalizer(), &shown);
        let mut segments = Vec::new();
        let mut done = 0;
        for (_, (start, end), tokens) in found.get_splits(OffsetReferential::Original, OffsetType::Byte) {
            let Some([token]) = tokens.as_deref() else { continue };
            // A token that is looked for in the normalised text may have lost a shadow there.
            if start < done || text.get(start..end) != shown.get(start..end) {
                continue;
            }
            segments.extend((start > done).then_some(Segment::Text(done..start)));
            segments.push(Segment::Token(token.id));
            done = end;
        }
        segments.extend((done < text.len()).then_some(Segment::Text(done..text.len())));
        Ok(segments)
    }

    /// The text with what came from outside hidden, at the same places.
    fn hide<'a>(&self, text: &'a str, foreign: &[Range<usize>]) -> Option<Cow<'a, str>> {
        if foreign.is_empty() {
            return Some(Cow::Borrowed(text));
        }
        let mut shown = String::with_capacity(text.len());
        for place in foreign {
            shown.push_str(text.get(shown.len()..place.start)?);
            let hidden = text.get(place.clone())?.chars();
            shown.extend(hidden.map(|it| if it.is_whitespace() { it } else { self.0[it.len_utf8() - 1] }));
        }
        shown.push_str(text.get(shown.len()..)?);
        Some(Cow::Owned(shown))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_hidden_keeps_its_length_and_its_white_space() {
        let shadows = Shadows::of(["<|a|>", "\u{e}", "\u{e000}"].into_iter());
        assert_eq!(shadows.0, ['\u{f}', '\u{80}', '\u{e001}', '\u{f0000}']);
        let check = |text: &str, foreign: &[Range<usize>], expected: Option<&str>| {
            assert_eq!(shadows.hide(text, foreign).as_deref(), expected);
        };
        check("a<b", &[], Some("a<b"));
        check("a<b", std::slice::from_ref(&(1..2)), Some("a\u{f}b"));
        check("a ñ東🦊b", &[1..4, 4..11], Some("a \u{80}\u{e001}\u{f0000}b"));
        check("ñ", std::slice::from_ref(&(1..2)), None);
        check("a", std::slice::from_ref(&(0..2)), None);
    }
}
