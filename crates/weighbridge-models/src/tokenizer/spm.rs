//! SentencePiece vocabularies of GGUF files (model `llama`: Llama 1 and 2, Mistral, Phi-3).
//!
//! SentencePiece merges the neighbours whose union scores best, again and again; merging pairs in the order of a list is
//! the same where the list has every pair that makes a token, best token first. That is how transformers converts these
//! vocabularies, too.

use tokenizers::decoders::byte_fallback::ByteFallback;
use tokenizers::models::bpe::{BPE, Merges, Vocab};
use tokenizers::normalizers::{NormalizerWrapper, Prepend, Replace, Sequence};

use super::gguf::{Built, NORMAL, Vocabulary, build_error};
use super::pieces::Pieces;
use super::text::Text;
use super::{TokenizerError, gguf};
use crate::gguf::Gguf;

/// The tokenizer of a file whose model is `llama`.
pub(super) fn build(file: &Gguf, vocabulary: &Vocabulary<'_>) -> Result<Built, TokenizerError> {
    let scores = gguf::scores(file, vocabulary)?;
    let ids = vocabulary.ids();
    let merges = merges(vocabulary, &ids, &scores);
    let mut model = BPE::builder().vocab_and_merges(ids, merges).byte_fallback(true).fuse_unk(true);
    let unknown = file.unsigned("tokenizer.ggml.unknown_token_id")?.and_then(|id| usize::try_from(id).ok());
    if let Some(token) = unknown.and_then(|id| vocabulary.tokens.get(id)) {
        model = model.unk_token((*token).to_owned());
    }
    let mut tokenizer = tokenizers::Tokenizer::new(model.build().map_err(build_error)?);
    let extra_space = file.boolean("tokenizer.ggml.add_space_prefix")?.unwrap_or(true);
    let mut normalizers: Vec<NormalizerWrapper> = Vec::new();
    if extra_space {
        normalizers.push(Prepend::new("▁".to_owned()).into());
    }
    normalizers.push(Replace::new(" ", "▁").map_err(build_error)?.into());
    tokenizer.with_normalizer(Some(Sequence::new(normalizers))).map_err(build_error)?;
    tokenizer.with_decoder(Some(ByteFallback::new()));
    let pieces = Pieces::SentencePiece { extra_space };
    Ok(Built { tokenizer, text: Text::Library, pieces, starts: true, ends: false })
}

/// Every pair of tokens that makes a third, those of the best third first.
fn merges(vocabulary: &Vocabulary<'_>, ids: &Vocab, scores: &[f32]) -> Merges {
    let mut targets: Vec<_> = vocabulary.with_ids().filter(|&(_, id)| vocabulary.is(id, NORMAL)).collect();
    // Stable, so that of equal scores the lower id comes first.
    targets.sort_by(|(_, one), (_, other)| scores[*other as usize].total_cmp(&scores[*one as usize]));
    let mut merges = Vec::new();
    for (token, _) in targets {
        let cuts = token.char_indices().skip(1).map(|(at, _)| token.split_at(at));
        let mut pairs: Vec<_> =
            cuts.filter_map(|(left, right)| Some((ids.get(left)?, ids.get(right)?, left, right))).collect();
        pairs.sort_unstable();
        merges.extend(pairs.into_iter().map(|(_, _, left, right)| (left.to_owned(), right.to_owned())));
    }
    merges
}
