//! Unigram vocabularies of GGUF files (model `t5`: T5, and the multilingual encoders that have XLM-R's vocabulary).

use tokenizers::models::unigram::Unigram;

use super::charsmap::{Normalise, Side};
use super::gguf::{Built, Vocabulary, build_error};
use super::pieces::Pieces;
use super::text::Text;
use super::{TokenizerError, gguf};
use crate::gguf::{Gguf, GgufError};

/// The token for an unknown character, where the file does not say.
const UNKNOWN_DEFAULT: u64 = 2;

/// The tokenizer of a file whose model is `t5`.
pub(super) fn build(file: &Gguf, vocabulary: &Vocabulary<'_>) -> Result<Built, TokenizerError> {
    const UNKNOWN: &str = "tokenizer.ggml.unknown_token_id";
    const RULES: &str = "tokenizer.ggml.precompiled_charsmap";
    let scores = gguf::scores(file, vocabulary)?;
    let scored = vocabulary.tokens.iter().zip(scores).map(|(&token, score)| (token.to_owned(), f64::from(score)));
    let unknown = file.unsigned(UNKNOWN)?.unwrap_or(UNKNOWN_DEFAULT);
    let unknown = usize::try_from(unknown).ok().filter(|&id| id < vocabulary.tokens.len());
    let unknown = unknown.ok_or_else(|| GgufError::field(UNKNOWN, "is no token of the vocabulary"))?;
    let model = Unigram::from(scored.collect(), Some(unknown), false).map_err(build_error)?;

    let rules = file.integers(RULES)?.unwrap_or_default();
    let rules: Option<Vec<u8>> = rules.into_iter().map(byte).collect();
    let rules = rules.ok_or_else(|| GgufError::field(RULES, "holds a number that is no byte"))?;
    let extra_space = file.boolean("tokenizer.ggml.add_space_prefix")?.unwrap_or(true);
    let merge_spaces = file.boolean("tokenizer.ggml.remove_extra_whitespaces")?.unwrap_or(false);
    let normalise = Normalise::new(&rules, extra_space.then_some(Side::Before), merge_spaces)?;
    Ok(Built {
        tokenizer: tokenizers::Tokenizer::new(model),
        text: Text::Unigrams(normalise),
        pieces: Pieces::SentencePiece { extra_space: extra_space || merge_spaces },
        starts: false,
        ends: true,
    })
}

/// Files have the rules as signed bytes, or as unsigned ones.
fn byte(number: i64) -> Option<u8> {
    u8::try_from(number).ok().or_else(|| i8::try_from(number).ok().map(i8::cast_unsigned))
}
