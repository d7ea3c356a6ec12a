//! The vocabulary as a trie of bytes.

use std::sync::Arc;

use toktrie::{TokEnv, TokRxInfo, TokTrie, TokenId, TokenizerEnv};

use super::GrammarError;

/// What a token stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VocabularyToken {
    /// These bytes of text, which may be half a character.
    Text(Vec<u8>),
    /// No text: it steers the model, and this is its name.
    Marker(String),
    /// Nothing: there is no such token, and it is never allowed.
    None,
}

struct Environment {
    trie: TokTrie,
}

impl TokenizerEnv for Environment {
    fn tok_trie(&self) -> &TokTrie {
        &self.trie
    }

    fn tokenize_bytes(&self, bytes: &[u8]) -> Vec<TokenId> {
        self.trie.greedy_tokenize(bytes)
    }

    /// The model may write a text in any tokens that come to it. Nothing is forced upon it in tokens of our choice,
    /// which at the border to what it wrote by itself would be other ones than it was trained on.
    fn tokenize_is_canonical(&self) -> bool {
        false
    }
}

/// The names and ids of markers.
pub(super) fn markers(tokens: &[VocabularyToken]) -> Vec<(String, u32)> {
    let named = (0..).zip(tokens).filter_map(|(id, token)| match token {
        VocabularyToken::Marker(name) => Some((name.clone(), id)),
        VocabularyToken::Text(_) | VocabularyToken::None => None,
    });
    named.collect()
}

pub(super) fn environment(tokens: Vec<VocabularyToken>, ends: &[u32]) -> Result<TokEnv, GrammarError> {
    let size = u32::try_from(tokens.len()).map_err(|_| GrammarError::new("the vocabulary has too many tokens"))?;
    let ends: Vec<u32> = ends.iter().copied().filter(|&end| end < size).collect();
    let Some(&end) = ends.first() else {
        return Err(GrammarError::new("the model has no token that ends an answer, so none can be held to a form"));
    };
    let words: Vec<Vec<u8>> = tokens.into_iter().map(word).collect();
    let trie = TokTrie::from(&TokRxInfo::new(size, end), &words).with_eos_tokens(&ends);
    Ok(Arc::new(Environment { trie }))
}

fn word(token: VocabularyToken) -> Vec<u8> {
    match token {
        // A text that begins as a marker does would be taken for one. No text does: the byte is none of UTF-8.
        VocabularyToken::Text(bytes) if bytes.first() == Some(&TokTrie::SPECIAL_TOKEN_MARKER) => Vec::new(),
        VocabularyToken::Text(bytes) => bytes,
        VocabularyToken::Marker(name) => [&[TokTrie::SPECIAL_TOKEN_MARKER], name.as_bytes()].concat(),
        VocabularyToken::None => Vec::new(),
    }
}
