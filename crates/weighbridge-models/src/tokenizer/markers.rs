//! Added tokens in a text, and none in what came from outside.
//!
//! Nothing may start a turn, end one or call a tool by being written into a message. So the characters from outside that
//! a marker may begin or end with are hidden from the search for added tokens, each behind another of as many bytes that
//! no added token has. What is found has to be there literally: a token that is looked for in the normalised text would
//! else be found in another spelling, which the template never writes.

use std::borrow::Cow;
use std::collections::HashSet;
use std::ops::Range;

use tokenizers::{OffsetReferential, OffsetType, Tokenizer};

use super::TokenizerError;

/// A piece of a text: an added token, or where the text between two of them lies.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Segment {
    Token(u32),
    Text(Range<usize>),
}

/// Whether an added token steers the model, or may do so, and is not just another word: those of white space alone and
/// of letters and digits, and single characters, are as harmless in a message as any other text.
pub(super) fn is_marker(token: &str, special: bool) -> bool {
    let is_sign = |character: char| !character.is_alphanumeric() && !character.is_whitespace() && character != '▁';
    !token.trim().is_empty() && (special || token.chars().nth(1).is_some() && token.contains(is_sign))
}

/// How characters are hidden.
pub(super) struct Shadows {
    /// For each number of bytes a character that no added token has.
    by_length: [char; 4],
    /// What markers begin and end with, in either case.
    edges: HashSet<char>,
}

/// Where shadows are looked for: controls, and characters for private use.
const CANDIDATES: [Range<u32>; 4] = [0x0e..0x1c, 0x80..0x84, 0xe000..0xf8ff, 0xf_0000..0xf_fffd];

impl Shadows {
    /// For a vocabulary with these added tokens, and whether each is special.
    pub(super) fn of<'a>(added: impl Iterator<Item = (&'a str, bool)>) -> Self {
        let mut taken = HashSet::new();
        let mut edges = HashSet::new();
        for (token, special) in added {
            taken.extend(token.chars().map(u32::from));
            let ends = [token.trim().chars().next(), token.trim().chars().next_back()];
            let ends = ends.into_iter().flatten().filter(|_| is_marker(token, special));
            edges.extend(ends.flat_map(|it| it.to_lowercase().chain(it.to_uppercase()).chain([it])));
        }
        let by_length = CANDIDATES.map(|mut candidates| {
            let first = candidates.start;
            // A vocabulary that has every one of them loses the first.
            let code = candidates.find(|code| !taken.contains(code)).unwrap_or(first);
            char::from_u32(code).unwrap_or('\u{e}')
        });
        Self { by_length, edges }
    }

    /// Cuts a text into added tokens and what lies between them. Where parts of it are `foreign`, or might be, no token
    /// is found that touches one, nor any in another spelling.
    ///
    /// # Errors
    /// [`TokenizerError::Encode`] where a place is not in the text.
    pub(super) fn segments(
        &self,
        tokenizer: &Tokenizer,
        text: &str,
        foreign: Option<&[Range<usize>]>,
    ) -> Result<Vec<Segment>, TokenizerError> {
        let shown = self.hide(text, foreign.unwrap_or_default()).ok_or(TokenizerError::Encode)?;
        let added = tokenizer.get_added_vocabulary();
        let found = added.extract_and_normalize(tokenizer.get_normalizer(), &shown);
        let mut segments = Vec::new();
        let mut done = 0;
        for (_, (start, end), tokens) in found.get_splits(OffsetReferential::Original, OffsetType::Byte) {
            let Some([token]) = tokens.as_deref() else { continue };
            let written = || {
                added.simple_id_to_token(token.id).filter(|it| shown.get(start..end).map(str::trim) == Some(it.trim()))
            };
            if start < done || foreign.is_some() && written().is_none() {
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
            shown
                .extend(hidden.map(|it| if self.edges.contains(&it) { self.by_length[it.len_utf8() - 1] } else { it }));
        }
        shown.push_str(text.get(shown.len()..)?);
        Some(Cow::Owned(shown))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_hidden_keeps_its_length() {
        let shadows =
            Shadows::of([("<ñ東🦊|>", true), ("ñ|", false), ("\u{e}東", true), ("🦊\u{e000}", true)].into_iter());
        assert_eq!(shadows.by_length, ['\u{f}', '\u{80}', '\u{e001}', '\u{f0000}']);
        let check = |text: &str, foreign: Range<usize>, expected: Option<&str>| {
            assert_eq!(shadows.hide(text, &[foreign]).as_deref(), expected);
        };
        check("a<b", 0..0, Some("a<b"));
        check("a<b", 1..2, Some("a\u{f}b"));
        check("a <ñ東🦊b", 0..13, Some("a \u{f}\u{80}\u{e001}\u{f0000}b"));
        check("ñ", 1..2, None);
        check("a", 0..2, None);
    }

    #[test]
    fn what_steers_is_a_marker_and_words_are_not() {
        let check = |token: &str, special: bool, expected| assert_eq!(is_marker(token, special), expected, "{token:?}");
        check("<|im_end|>", true, true);
        check("<tool_call>", false, true);
        check("bos", true, true);
        check("Weighbridge 2", false, false);
        check("÷", false, false);
        check("   ", false, false);
        check("\n\n", true, false);
        check("▁▁", false, false);
    }
}
