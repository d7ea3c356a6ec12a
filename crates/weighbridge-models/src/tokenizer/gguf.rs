//! Tokenizers from GGUF metadata.

use tokenizers::AddedToken;
use tokenizers::models::bpe::Vocab;

use super::{Start, Tokenizer, TokenizerError, bpe, spm};
use crate::gguf::{Gguf, GgufError};

/// The kinds of tokens, by their numbers in `tokenizer.ggml.token_type`.
pub(super) const NORMAL: i64 = 1;
const UNKNOWN: i64 = 2;
const CONTROL: i64 = 3;
const USER_DEFINED: i64 = 4;

/// More tokens than any vocabulary has.
const TOKENS_MAX: usize = 1 << 24;

/// The vocabulary of a file.
pub(super) struct Vocabulary<'a> {
    pub(super) tokens: Vec<&'a str>,
    /// One for each token, or none at all where the file does not say.
    types: Vec<i64>,
}

impl<'a> Vocabulary<'a> {
    fn read(file: &'a Gguf) -> Result<Self, GgufError> {
        const TOKENS: &str = "tokenizer.ggml.tokens";
        const TYPES: &str = "tokenizer.ggml.token_type";
        let tokens = file.strings(TOKENS)?.ok_or_else(|| GgufError::Missing(TOKENS.to_owned()))?;
        let types = file.integers(TYPES)?.unwrap_or_default();
        if tokens.len() > TOKENS_MAX {
            return Err(GgufError::field(TOKENS, format!("has {} tokens; {TOKENS_MAX} are allowed", tokens.len())));
        }
        if !types.is_empty() && types.len() != tokens.len() {
            return Err(GgufError::field(TYPES, format!("has {} types for {} tokens", types.len(), tokens.len())));
        }
        Ok(Self { tokens, types })
    }

    /// Tokens with their ids, which are below `TOKENS_MAX`.
    pub(super) fn with_ids(&self) -> impl Iterator<Item = (&'a str, u32)> {
        self.tokens.iter().zip(0..).map(|(&token, id)| (token, id))
    }

    pub(super) fn is(&self, id: u32, kind: i64) -> bool {
        self.types.get(id as usize).copied().unwrap_or(NORMAL) == kind
    }

    pub(super) fn ids(&self) -> Vocab {
        self.with_ids().map(|(token, id)| (token.to_owned(), id)).collect()
    }
}

/// The control tokens of a file with their ids; none where it has no tokenizer.
pub(crate) fn control_tokens(file: &Gguf) -> Result<Vec<(u32, &str)>, GgufError> {
    if file.strings("tokenizer.ggml.tokens")?.is_none() {
        return Ok(Vec::new());
    }
    let vocabulary = Vocabulary::read(file)?;
    let control = vocabulary.with_ids().filter(|&(_, id)| vocabulary.is(id, CONTROL));
    Ok(control.map(|(token, id)| (id, token)).collect())
}

/// Builds the tokenizer of a file.
pub(super) fn build(file: &Gguf) -> Result<Tokenizer, TokenizerError> {
    const MODEL: &str = "tokenizer.ggml.model";
    let model = file.string(MODEL)?.ok_or_else(|| GgufError::Missing(MODEL.to_owned()))?;
    let vocabulary = Vocabulary::read(file)?;
    let (mut tokenizer, pieces, starts) = match model {
        "gpt2" => bpe::build(file, &vocabulary)?,
        "llama" => spm::build(file, &vocabulary)?,
        other => return Err(unsupported("model", other, "gpt2, llama".to_owned())),
    };
    add_tokens(&mut tokenizer, &vocabulary)?;
    let starts = file.boolean("tokenizer.ggml.add_bos_token")?.unwrap_or(starts);
    let bos = file.unsigned("tokenizer.ggml.bos_token_id")?.filter(|_| starts);
    let bos = bos.and_then(|id| u32::try_from(id).ok()).filter(|&id| (id as usize) < vocabulary.tokens.len());
    Ok(Tokenizer::new(tokenizer, pieces, Start::Token(bos)))
}

/// Control tokens and those that users defined are found in a text before anything else.
fn add_tokens(tokenizer: &mut tokenizers::Tokenizer, vocabulary: &Vocabulary<'_>) -> Result<(), TokenizerError> {
    let special = |id| vocabulary.is(id, CONTROL) || vocabulary.is(id, UNKNOWN);
    let added = vocabulary.with_ids().filter(|&(_, id)| special(id) || vocabulary.is(id, USER_DEFINED));
    let added = added.map(|(token, id)| AddedToken::from(token, special(id)).normalized(false));
    tokenizer.add_tokens(added).map(|_| ()).map_err(build_error)
}

pub(super) fn build_error(reason: tokenizers::Error) -> TokenizerError {
    TokenizerError::Build(reason.to_string())
}

pub(super) fn unsupported(part: &'static str, name: &str, supported: String) -> TokenizerError {
    TokenizerError::Unsupported { part, name: name.chars().take(64).collect(), supported }
}
