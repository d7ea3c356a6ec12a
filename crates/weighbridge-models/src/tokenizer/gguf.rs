//! Tokenizers from GGUF metadata.

use tokenizers::AddedToken;
use tokenizers::models::bpe::Vocab;

use super::pieces::Pieces;
use super::text::Text;
use super::{Around, Tokenizer, TokenizerError, bpe, spm, unigram, wordpiece};
use crate::gguf::{Gguf, GgufError};

/// The kinds of tokens, by their numbers in `tokenizer.ggml.token_type`.
pub(super) const NORMAL: i64 = 1;
const UNKNOWN: i64 = 2;
const CONTROL: i64 = 3;
const USER_DEFINED: i64 = 4;

/// More tokens than any vocabulary has.
const TOKENS_MAX: usize = 1 << 24;

/// What goes by the model of a tokenizer.
pub(super) struct Built {
    pub(super) tokenizer: tokenizers::Tokenizer,
    pub(super) text: Text,
    pub(super) pieces: Pieces,
    /// Whether prompts begin with a start token where the file does not say.
    pub(super) starts: bool,
    /// Whether they are ended by a token, as those of encoders are.
    pub(super) ends: bool,
}

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

    /// Whether a token stands for no text.
    pub(super) fn is_special(&self, id: u32) -> bool {
        self.is(id, CONTROL) || self.is(id, UNKNOWN)
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

/// One score for each token.
pub(super) fn scores(file: &Gguf, vocabulary: &Vocabulary<'_>) -> Result<Vec<f32>, GgufError> {
    const SCORES: &str = "tokenizer.ggml.scores";
    let scores = file.floats(SCORES)?.ok_or_else(|| GgufError::Missing(SCORES.to_owned()))?;
    if scores.len() != vocabulary.tokens.len() {
        let problem = format!("has {} scores for {} tokens", scores.len(), vocabulary.tokens.len());
        return Err(GgufError::field(SCORES, problem));
    }
    Ok(scores)
}

/// Builds the tokenizer of a file.
pub(super) fn build(file: &Gguf) -> Result<Tokenizer, TokenizerError> {
    const MODEL: &str = "tokenizer.ggml.model";
    let model = file.string(MODEL)?.ok_or_else(|| GgufError::Missing(MODEL.to_owned()))?;
    let vocabulary = Vocabulary::read(file)?;
    let mut built = match model {
        "gpt2" => bpe::build(file, &vocabulary)?,
        "gemma4" => bpe::build_gemma4(file, &vocabulary)?,
        "llama" => spm::build(file, &vocabulary)?,
        "bert" => wordpiece::build(file, &vocabulary)?,
        "t5" => unigram::build(file, &vocabulary)?,
        // Among them `rwkv`, `plamo2`, `hybriddna` and `whitespace`, which llama.cpp knows.
        other => return Err(unsupported("model", other, "gpt2, gemma4, llama, bert, t5".to_owned())),
    };
    add_tokens(&mut built.tokenizer, file, &vocabulary)?;
    let around = around(file, &vocabulary, &built)?;
    Ok(Tokenizer::new(built.tokenizer, built.text, built.pieces, around))
}

/// The tokens around a raw prompt. Encoders call them by their own names, `[CLS]` and `[SEP]`.
fn around(file: &Gguf, vocabulary: &Vocabulary<'_>, built: &Built) -> Result<Around, GgufError> {
    let starts = file.boolean("tokenizer.ggml.add_bos_token")?.unwrap_or(built.starts);
    let id = |keys: [&str; 2]| -> Result<Option<u32>, GgufError> {
        let first = file.unsigned(keys[0])?;
        let id = if first.is_some() { first } else { file.unsigned(keys[1])? };
        Ok(id.and_then(|id| u32::try_from(id).ok()).filter(|&id| (id as usize) < vocabulary.tokens.len()))
    };
    let start = id(["tokenizer.ggml.bos_token_id", "tokenizer.ggml.cls_token_id"])?.filter(|_| starts);
    let ends = file.boolean("tokenizer.ggml.add_eos_token")?.unwrap_or(built.ends);
    let end = id(["tokenizer.ggml.seperator_token_id", "tokenizer.ggml.eos_token_id"])?.filter(|_| ends);
    Ok(Around::Tokens { start, end })
}

/// Control tokens and those that users defined are found in a text before anything else.
fn add_tokens(
    tokenizer: &mut tokenizers::Tokenizer,
    file: &Gguf,
    vocabulary: &Vocabulary<'_>,
) -> Result<(), TokenizerError> {
    let spaces = Spaces::of(file)?;
    let added = vocabulary.with_ids().filter(|&(token, id)| {
        let added = vocabulary.is_special(id) || vocabulary.is(id, USER_DEFINED);
        added && !token.is_empty()
    });
    let added = added.map(|(token, id)| {
        let added = AddedToken::from(token, vocabulary.is_special(id)).normalized(false);
        added.lstrip(spaces.taken_before(token)).rstrip(spaces.taken_after(token))
    });
    tokenizer.add_tokens(added).map(|_| ()).map_err(build_error)
}

/// Which tokens take the white space beside them. The metadata lacks that; llama.cpp knows it by the names of models
/// (`llama-vocab.cpp`, "Handle per token attributes").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Spaces {
    Stay,
    /// What follows a token of Phi-3 is stripped, but for three that its base had.
    Phi3,
    /// What comes before this token is stripped.
    Before(&'static str),
}

impl Spaces {
    fn of(file: &Gguf) -> Result<Self, GgufError> {
        let name = file.string("general.name")?.unwrap_or_default().to_lowercase();
        let pre = file.string("tokenizer.ggml.pre")?.unwrap_or_default();
        let architecture = file.string("general.architecture")?.unwrap_or_default();
        Ok(
            if ["jina-v2-de", "jina-v2-es", "jina-v2-code"].contains(&pre)
                || ["nomic-bert-moe", "jina-bert-v3"].contains(&architecture)
            {
                Self::Before("<mask>")
            } else if name.contains("phi-3") || name.contains("phi3") {
                Self::Phi3
            } else if name.contains("modern-bert") {
                Self::Before("[MASK]")
            } else {
                Self::Stay
            },
        )
    }

    fn taken_before(self, token: &str) -> bool {
        matches!(self, Self::Before(mask) if mask == token)
    }

    fn taken_after(self, token: &str) -> bool {
        self == Self::Phi3 && !["<unk>", "<s>", "<|endoftext|>"].contains(&token)
    }
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
