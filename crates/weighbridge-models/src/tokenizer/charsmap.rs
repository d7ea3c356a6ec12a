//! What SentencePiece does to a text before its unigram model sees it.
//!
//! The rules of replacement (NFKC, most of them) come with the file, compiled into a trie: a double array whose 32-bit
//! units pack offset, label and a flag for a value, as Darts-clone writes it (sentencepiece, `third_party/darts_clone`;
//! llama.cpp, `llm_tokenizer_ugm`). Everything in it comes from outside, so each place is looked up, never indexed.

use super::TokenizerError;

/// A normaliser.
pub(super) struct Normalise {
    rules: Rules,
    /// Whether words are led by a space, and so the first one, too; or else followed by one.
    pub(super) space: Option<Side>,
    /// Whether a run of spaces becomes one, and those around the text none.
    pub(super) merge_spaces: bool,
}

/// Where the space of a text goes that it does not have itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Before,
    After,
}

/// The compiled rules of replacement; none at all where the file has none.
#[derive(Default)]
struct Rules {
    units: Vec<u32>,
    /// What to put instead, each ended by a zero.
    texts: String,
}

const SPACE: char = '▁';

impl Normalise {
    /// # Errors
    /// Where the compiled rules are shorter than they say or hold half a character.
    pub(super) fn new(rules: &[u8], space: Option<Side>, merge_spaces: bool) -> Result<Self, TokenizerError> {
        let rules = if rules.is_empty() { Rules::default() } else { Rules::parse(rules)? };
        Ok(Self { rules, space, merge_spaces })
    }

    /// The text that the vocabulary is about, with `▁` for the space.
    pub(super) fn apply(&self, text: &str) -> String {
        let mut normal = String::with_capacity(text.len() + text.len() / 2);
        let mut in_word = false;
        let mut has_space = false;
        let mut push = |character: char| {
            if character == ' ' {
                in_word = false;
                if !self.merge_spaces {
                    normal.push(SPACE);
                }
                return;
            }
            let leads = self.space == Some(Side::Before) && !has_space;
            if !in_word && (leads || self.merge_spaces) {
                normal.push(SPACE);
                has_space = true;
            }
            in_word = true;
            normal.push(character);
        };
        let mut rest = text;
        while let Some(first) = rest.chars().next() {
            let (replacement, taken) =
                self.rules.longest(rest).unwrap_or((&rest[..first.len_utf8()], first.len_utf8()));
            replacement.chars().for_each(&mut push);
            // A rule may end within a character only if the file is broken; what is left of that is skipped.
            let mut next = taken.max(1);
            while !rest.is_char_boundary(next) {
                next += 1;
            }
            rest = &rest[next..];
        }
        if self.space == Some(Side::After) {
            normal.push(SPACE);
        }
        normal
    }
}

impl Rules {
    fn parse(bytes: &[u8]) -> Result<Self, TokenizerError> {
        let broken = |problem: &str| TokenizerError::Build(format!("precompiled_charsmap {problem}"));
        let (length, rest) = bytes.split_first_chunk::<4>().ok_or_else(|| broken("is too short"))?;
        let length = u32::from_le_bytes(*length) as usize;
        let (units, texts) = rest.split_at_checked(length).ok_or_else(|| broken("is shorter than its trie"))?;
        let (units, odd) = units.as_chunks::<4>();
        if !odd.is_empty() {
            return Err(broken("has a trie that is cut off"));
        }
        let texts = std::str::from_utf8(texts).map_err(|_| broken("has a replacement that is no UTF-8"))?;
        Ok(Self { units: units.iter().map(|unit| u32::from_le_bytes(*unit)).collect(), texts: texts.to_owned() })
    }

    /// What the longest rule that the text begins with puts instead, and how many bytes it takes.
    fn longest(&self, text: &str) -> Option<(&str, usize)> {
        let mut node = offset(*self.units.first()?);
        let mut found = None;
        for (at, byte) in text.bytes().enumerate() {
            if byte == 0 {
                break;
            }
            node ^= usize::from(byte);
            let Some(&unit) = self.units.get(node) else { break };
            if unit & (1 << 31 | 0xff) != u32::from(byte) {
                break;
            }
            node ^= offset(unit);
            if unit >> 8 & 1 == 1 {
                let Some(&value) = self.units.get(node) else { break };
                found = Some((value & !(1 << 31), at + 1));
            }
        }
        let (value, taken) = found?;
        let replacement = self.texts.get(value as usize..)?;
        Some((replacement.split('\0').next()?, taken))
    }
}

/// How far the children of a node are from it.
fn offset(unit: u32) -> usize {
    ((unit >> 10) as usize) << ((unit & (1 << 9)) >> 6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spaces_go_where_the_file_says() {
        let check = |space, merge_spaces, text: &str, expected: &str| {
            let normalise = Normalise::new(&[], space, merge_spaces);
            assert_eq!(normalise.map(|normalise| normalise.apply(text)).ok().as_deref(), Some(expected));
        };
        check(Some(Side::Before), true, "  a  b ", "▁a▁b");
        check(Some(Side::Before), false, " a  b ", "▁▁a▁▁b▁");
        check(Some(Side::After), false, "a b", "a▁b▁");
        check(None, true, "a  b", "▁a▁b");
        check(None, false, "a  b", "a▁▁b");
    }

    #[test]
    fn broken_rules_are_refused_or_harmless() {
        let check = |bytes: &[u8]| Normalise::new(bytes, None, false).map(|normalise| normalise.apply("añ東🦊"));
        assert!(check(&[1]).is_err());
        assert!(check(&[8, 0, 0, 0, 1, 2, 3, 4]).is_err());
        assert!(check(&[4, 0, 0, 0, 1, 2, 3, 4, 0xff]).is_err());
        for byte in 0..=255 {
            let mut bytes = vec![byte; 4 + 64];
            bytes[..4].copy_from_slice(&[64, 0, 0, 0]);
            bytes.extend(b"a\0b\0");
            assert!(check(&bytes).is_ok());
        }
    }
}
