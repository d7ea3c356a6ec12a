//! Pair encodings of GGUF files (models `gpt2` and `gemma4`): vocabulary and merges, and words that [`super::cuts`]
//! describes.

use tokenizers::models::bpe::{BPE, Merges, Vocab};

use super::TokenizerError;
use super::cuts::{self, Cut, Writing};
use super::gguf::{Built, Vocabulary, build_error};
use super::pieces::Pieces;
use super::text::Text;
use super::words::Words;
use crate::gguf::{Gguf, GgufError};

/// The tokenizer of a file whose model is `gpt2`.
pub(super) fn build(file: &Gguf, vocabulary: &Vocabulary<'_>) -> Result<Built, TokenizerError> {
    with_cut(file, vocabulary, cuts::find(file.string("tokenizer.ggml.pre")?.unwrap_or("default"))?)
}

/// The tokenizer of a file whose model is `gemma4`, which names nothing else.
pub(super) fn build_gemma4(file: &Gguf, vocabulary: &Vocabulary<'_>) -> Result<Built, TokenizerError> {
    with_cut(file, vocabulary, cuts::find("gemma4")?)
}

fn with_cut(file: &Gguf, vocabulary: &Vocabulary<'_>, cut: &Cut) -> Result<Built, TokenizerError> {
    let ids = vocabulary.ids();
    let merges = merges(file, &ids)?;
    let model = BPE::builder().vocab_and_merges(ids, merges).ignore_merges(cut.whole_words);
    let (model, pieces) = match cut.writing {
        Writing::ByteLevel => (model, Pieces::ByteLevel),
        Writing::Spaces => (model.byte_fallback(true), Pieces::SentencePiece { extra_space: false }),
    };
    let tokenizer = tokenizers::Tokenizer::new(model.build().map_err(build_error)?);
    Ok(Built { tokenizer, text: Text::Words(Words::of(cut)?), pieces, starts: cut.starts, ends: false })
}

/// The merges, whose parts and unions are tokens: the library takes that for granted.
fn merges(file: &Gguf, ids: &Vocab) -> Result<Merges, GgufError> {
    const MERGES: &str = "tokenizer.ggml.merges";
    let merges = file.strings(MERGES)?.ok_or_else(|| GgufError::Missing(MERGES.to_owned()))?;
    let mut union = String::new();
    let mut pairs = Merges::with_capacity(merges.len());
    for (rank, merge) in merges.into_iter().enumerate() {
        let (left, right) = pair(merge).ok_or_else(|| GgufError::field(MERGES, format!("merge {rank} is no pair")))?;
        union.clear();
        union.extend([left, right]);
        if let Some(missing) = [left, right, union.as_str()].into_iter().find(|part| !ids.contains_key(*part)) {
            let missing: String = missing.chars().take(64).collect();
            return Err(GgufError::field(MERGES, format!("merge {rank} needs {missing:?}, which is no token")));
        }
        pairs.push((left.to_owned(), right.to_owned()));
    }
    Ok(pairs)
}

/// The two sides of a merge; the left one may begin with a space.
fn pair(merge: &str) -> Option<(&str, &str)> {
    let first = merge.chars().next()?.len_utf8();
    let space = first + merge[first..].find(' ')?;
    Some((&merge[..space], &merge[space + 1..]))
}
