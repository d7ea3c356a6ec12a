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
    let ends = file.boolean("tokenizer.ggml.add_eos_token")?.unwrap_or(false);
    let token = |key, is_there| {
        let id = file.unsigned(key)?.filter(|_| is_there).and_then(|id| u32::try_from(id).ok());
        Ok::<_, GgufError>(id.filter(|&id| (id as usize) < vocabulary.tokens.len()))
    };
    let first = token("tokenizer.ggml.bos_token_id", starts)?;
    let last = token("tokenizer.ggml.eos_token_id", ends)?;
    Ok(Tokenizer::new(tokenizer, pieces, Start::Tokens { first, last }))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gguf::samples::Value::{self, Flag, Text, Texts, Whole, Wholes};
    use crate::gguf::samples::sample;

    fn check(own: &[(&str, Value)], expected: &[u32]) {
        let common = [
            ("model", Text("gpt2")),
            ("pre", Text("gpt-2")),
            ("tokens", Texts(&["<s>", "</s>", "a", "b"])),
            ("token_type", Wholes(&[3, 3, 1, 1])),
            ("merges", Texts(&[])),
            ("bos_token_id", Whole(0)),
            ("eos_token_id", Whole(1)),
        ];
        let pairs: Vec<_> =
            common.iter().chain(own).map(|&(key, value)| (format!("tokenizer.ggml.{key}"), value)).collect();
        let tokenizer = build(&sample(&pairs, &[])).expect("the vocabulary is whole");
        assert_eq!(tokenizer.encode_with_bos("ab").expect("a and b are in it"), expected);
        assert_eq!(tokenizer.encode("ab").expect("a and b are in it"), [2, 3]);
    }

    #[test]
    fn a_raw_prompt_begins_and_ends_as_the_file_says() {
        check(&[], &[2, 3]);
        check(&[("add_bos_token", Flag(true))], &[0, 2, 3]);
        check(&[("add_eos_token", Flag(true))], &[2, 3, 1]);
        check(&[("add_bos_token", Flag(true)), ("add_eos_token", Flag(true))], &[0, 2, 3, 1]);
        check(&[("add_bos_token", Flag(false)), ("add_eos_token", Flag(false))], &[2, 3]);
    }
}
