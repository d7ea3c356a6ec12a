//! A text without added tokens, turned into tokens.

use std::ops::Range;

use tokenizers::tokenizer::normalizer::Range as At;
use tokenizers::{Model, NormalizedString, Normalizer, PreTokenizedString, PreTokenizer, Tokenizer};
use tokenizers::{OffsetReferential, OffsetType};

use super::TokenizerError;
use super::charsmap::Normalise;
use super::markers::is_marker;
use super::words::Words;

/// How a text comes to the vocabulary.
pub(super) enum Text {
    /// By the normaliser and pre-tokenizer of the library.
    Library,
    /// Cut into words.
    Words(Words),
    /// As a whole, normalised.
    Unigrams(Normalise),
}

impl Text {
    /// Adds the tokens of the part of a text that lies at `at`.
    ///
    /// # Errors
    /// [`TokenizerError::Encode`].
    pub(super) fn encode(
        &self,
        tokenizer: &Tokenizer,
        text: &str,
        at: Range<usize>,
        tokens: &mut Vec<u32>,
    ) -> Result<(), TokenizerError> {
        let part = text.get(at.clone()).ok_or(TokenizerError::Encode)?;
        let words = match self {
            Self::Words(words) => words.cut(part)?,
            Self::Unigrams(normalise) => vec![normalise.apply(part)],
            Self::Library => library_words(tokenizer, text, at).map_err(|_| TokenizerError::Encode)?,
        };
        words.iter().try_for_each(|word| add(tokenizer, word, tokens)).map_err(|_| TokenizerError::Encode)
    }
}

/// Adds the tokens of a word. A model may know added tokens as words (unigrams do, and what is taken whole may be
/// one); a text without any markers has none of them, so that such a word is taken apart.
fn add(tokenizer: &Tokenizer, word: &str, tokens: &mut Vec<u32>) -> tokenizers::Result<()> {
    for token in tokenizer.get_model().tokenize(word)? {
        let written = word.get(token.offsets.0..token.offsets.1).filter(|&written| written == token.value);
        let vocabulary = tokenizer.get_added_vocabulary();
        let added = |written: &&str| {
            vocabulary.get_vocab().contains_key(*written) && is_marker(written, vocabulary.is_special_token(written))
        };
        let cut =
            written.filter(added).and_then(|written| written.char_indices().nth(1).map(|(at, _)| written.split_at(at)));
        match cut {
            None => tokens.push(token.id),
            Some((first, rest)) => {
                add(tokenizer, first, tokens)?;
                add(tokenizer, rest, tokens)?;
            }
        }
    }
    Ok(())
}

/// The words that the library cuts a part of a text into. Some of its steps look at where in the text they are.
fn library_words(tokenizer: &Tokenizer, text: &str, at: Range<usize>) -> tokenizers::Result<Vec<String>> {
    let whole = NormalizedString::from(text);
    let mut part = whole.slice(At::Original(at)).ok_or("the part lies outside of the text")?;
    if let Some(normalizer) = tokenizer.get_normalizer() {
        normalizer.normalize(&mut part)?;
    }
    let mut words = PreTokenizedString::from(part);
    if let Some(pre_tokenizer) = tokenizer.get_pre_tokenizer() {
        pre_tokenizer.pre_tokenize(&mut words)?;
    }
    let splits = words.get_splits(OffsetReferential::Normalized, OffsetType::None);
    Ok(splits.into_iter().map(|(word, _, _)| word.to_owned()).collect())
}
