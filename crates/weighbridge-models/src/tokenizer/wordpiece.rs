//! WordPiece vocabularies of GGUF files (model `bert`).
//!
//! BERT marks the pieces that go on within a word (`##ing`); llama.cpp's converter marks those that begin one instead
//! (`▁play`), so that its other code finds them as it finds SentencePiece's. Here they get their own names back, and
//! the library does the rest as for BERT's `tokenizer.json`.

use tokenizers::models::bpe::Vocab;
use tokenizers::models::wordpiece::WordPiece;
use tokenizers::normalizers::bert::BertNormalizer;
use tokenizers::pre_tokenizers::bert::BertPreTokenizer;

use super::TokenizerError;
use super::gguf::{Built, Vocabulary, build_error};
use super::pieces::Pieces;
use super::text::Text;
use crate::gguf::{Gguf, GgufError};

/// Characters of the longest word that is looked at, as in BERT's own; a longer one is unknown.
const WORD_CHARACTERS_MAX: usize = 100;

/// The token for an unknown word, where the file does not say.
const UNKNOWN_DEFAULT: u64 = 100;

/// The tokenizer of a file whose model is `bert`.
pub(super) fn build(file: &Gguf, vocabulary: &Vocabulary<'_>) -> Result<Built, TokenizerError> {
    const UNKNOWN: &str = "tokenizer.ggml.unknown_token_id";
    let unknown = file.unsigned(UNKNOWN)?.unwrap_or(UNKNOWN_DEFAULT);
    let unknown = usize::try_from(unknown).ok().and_then(|id| vocabulary.tokens.get(id));
    let unknown = unknown.ok_or_else(|| GgufError::field(UNKNOWN, "is no token of the vocabulary"))?;
    let lowercase = file.boolean("tokenizer.ggml.normalizer.lowercase")?.unwrap_or(true);
    let strip_accents = file.boolean("tokenizer.ggml.normalizer.strip_accents")?.unwrap_or(lowercase);

    let vocab: Vocab = vocabulary.with_ids().map(|(token, id)| (own_name(vocabulary, token, id), id)).collect();
    let model = WordPiece::builder().vocab(vocab).unk_token((*unknown).to_owned());
    let model = model.max_input_chars_per_word(WORD_CHARACTERS_MAX).build().map_err(build_error)?;
    let mut tokenizer = tokenizers::Tokenizer::new(model);
    let normalizer = BertNormalizer::new(true, true, Some(strip_accents), lowercase);
    tokenizer.with_normalizer(Some(normalizer)).map_err(build_error)?;
    tokenizer.with_pre_tokenizer(Some(BertPreTokenizer));
    Ok(Built { tokenizer, text: Text::Library, pieces: Pieces::WORD_PIECE, starts: true, ends: true })
}

/// The name that BERT has for a token. Those that stand for no text keep theirs.
fn own_name(vocabulary: &Vocabulary<'_>, token: &str, id: u32) -> String {
    match token.strip_prefix('▁') {
        _ if vocabulary.is_special(id) => token.to_owned(),
        Some(start) => start.to_owned(),
        None => format!("##{token}"),
    }
}
