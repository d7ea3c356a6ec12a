//! Folders as published on Hugging Face.

mod generation;
pub(super) mod safetensors;
mod settle;
pub(super) mod template;

use std::sync::OnceLock;

use serde::Deserialize;
use serde_json::Value as Json;

use self::generation::GenerationConfig;
use super::files::Files;
use super::{CheckpointProblem, Container, Inner, stop_tokens};
use crate::families::{self, Described};
use crate::scale::{self, ScaledFloats};
use crate::tokenizer::Tokenizer;
use crate::weights::Weights;

/// Bytes of a config, a template or a readme that are read at most.
pub(super) const SMALL_FILE_BYTES_MAX: u64 = 16 << 20;
/// Bytes of a `tokenizer.json`; the largest published ones have some 40 MB.
pub(super) const TOKENIZER_BYTES_MAX: u64 = 256 << 20;

/// What else a folder may have its tokenizer in. None says how texts are cut before they meet the vocabulary, or not in
/// a way that could be told from the file alone.
const OTHER_TOKENIZERS: [&str; 8] = [
    "tokenizer.model",
    "spiece.model",
    "sentencepiece.bpe.model",
    "tekken.json",
    "tiktoken.model",
    "qwen.tiktoken",
    "vocab.json",
    "vocab.txt",
];

/// Of `tokenizer.json`, what is needed before the tokenizer is.
#[derive(Deserialize)]
struct AddedTokens {
    #[serde(default)]
    added_tokens: Vec<AddedToken>,
}

#[derive(Deserialize)]
struct AddedToken {
    id: u64,
    content: String,
    #[serde(default)]
    special: bool,
}

/// Opens a folder.
pub(super) fn open(files: Files) -> Result<Inner, CheckpointProblem> {
    let config: Option<Json> = files.json("config.json", SMALL_FILE_BYTES_MAX)?;
    let mut config = config.ok_or_else(|| CheckpointProblem::MissingFile("config.json".to_owned()))?;
    let floats =
        ScaledFloats::take(&mut config).map_err(|(field, problem)| families::SpecError::Field { field, problem })?;
    let Described { mut spec, mut names } = families::from_config(&config)?;
    let (mut tensors, file_bytes) = safetensors::tensors(&files)?;
    settle::settle(&mut spec, &mut names, &mut tensors);
    scale::attach(&mut tensors, floats, (&spec, &names))?;
    let weights = Weights { tensors, names };
    weights.check(&spec)?;

    let generation: GenerationConfig = files.json("generation_config.json", SMALL_FILE_BYTES_MAX)?.unwrap_or_default();
    let added: Option<AddedTokens> = files.json("tokenizer.json", TOKENIZER_BYTES_MAX)?;
    let added = added.map_or_else(Vec::new, |tokens| tokens.added_tokens);
    let control = added.iter().filter(|token| token.special).map(|token| (token.id, token.content.as_str()));
    // Of a model that sees images, the decoder's own config may say it.
    let ends = |config: Option<&Json>| generation::token_ids(config.and_then(|config| config.get("eos_token_id")));
    let named = [generation.stop_tokens(), ends(Some(&config)), ends(config.get("text_config"))].into_iter().flatten();
    Ok(Inner {
        name: files.name().to_owned(),
        stop_tokens: stop_tokens(named, control, spec.vocabulary),
        chat_template: template::read(&files)?,
        generation_defaults: generation.defaults(),
        licence: files.text("README.md", SMALL_FILE_BYTES_MAX).ok().flatten().and_then(|text| licence(&text)),
        file_bytes,
        spec,
        weights,
        container: Container::Folder(files),
        tokenizer: OnceLock::new(),
    })
}

/// The tokenizer of a folder.
pub(super) fn tokenizer(files: &Files) -> Result<Tokenizer, CheckpointProblem> {
    if let Some(bytes) = files.read("tokenizer.json", TOKENIZER_BYTES_MAX)? {
        return Ok(Tokenizer::from_json(&bytes)?);
    }
    for file in OTHER_TOKENIZERS {
        if files.read(file, TOKENIZER_BYTES_MAX)?.is_some() {
            return Err(CheckpointProblem::OtherTokenizer(file));
        }
    }
    Err(CheckpointProblem::MissingFile("tokenizer.json".to_owned()))
}

/// The licence in the front matter of a model card.
fn licence(card: &str) -> Option<String> {
    let matter = card.strip_prefix("---")?.split("\n---").next()?;
    let value = matter.lines().find_map(|line| line.strip_prefix("license:"))?;
    let value = value.trim().trim_matches(['"', '\'']);
    (!value.is_empty()).then(|| value.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_licence_is_read_from_the_front_matter_alone() {
        let check = |card: &str, expected: Option<&str>| assert_eq!(licence(card).as_deref(), expected);
        check("---\nlanguage: en\nlicense: apache-2.0\n---\n# A model", Some("apache-2.0"));
        check("---\nlicense: \"mit\"\n---\n", Some("mit"));
        check("---\nlanguage: en\n---\nlicense: none\n", None);
        check("# A model\nlicense: mit\n", None);
    }
}
