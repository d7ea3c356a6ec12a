//! GGUF files as checkpoints.

use std::path::Path;
use std::sync::OnceLock;

use super::{ChatTemplateSource, CheckpointProblem, Container, GenerationDefaults, Inner, files, stop_tokens};
use crate::families::{self, Described};
use crate::gguf::{Gguf, GgufError};
use crate::tokenizer::control_tokens;
use crate::weights::Weights;

/// Metadata keys of tokens that end an answer.
const STOP_KEYS: [&str; 3] =
    ["tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id", "tokenizer.ggml.eom_token_id"];

/// The special tokens as templates name them, with their metadata keys.
const SPECIAL_KEYS: [(&str, &str); 4] = [
    ("bos_token", "tokenizer.ggml.bos_token_id"),
    ("eos_token", "tokenizer.ggml.eos_token_id"),
    ("pad_token", "tokenizer.ggml.padding_token_id"),
    ("unk_token", "tokenizer.ggml.unknown_token_id"),
];

/// Opens a file.
pub(super) fn open(path: &Path) -> Result<Inner, CheckpointProblem> {
    let bytes = files::map(path, "the file")?.ok_or(CheckpointProblem::NotFound)?;
    let mut file = Gguf::parse(bytes)?;
    file.add_parts(path, |part| files::map(part, &part.display().to_string()))?;
    let Described { spec, names } = families::from_gguf(&file)?;
    let tensors = file.tensors().iter().map(|tensor| (tensor.name.clone(), file.stored(tensor))).collect();
    let weights = Weights { tensors, names };
    weights.check(&spec)?;
    Ok(Inner {
        name: path.file_stem().map_or_else(|| path.display().to_string(), |stem| stem.to_string_lossy().into()),
        stop_tokens: stops(&file, spec.vocabulary)?,
        chat_template: chat_template(&file)?,
        generation_defaults: GenerationDefaults::default(),
        licence: file.string("general.license")?.map(str::to_owned),
        file_bytes: file.file_bytes(),
        spec,
        weights,
        container: Container::Gguf(file),
        tokenizer: OnceLock::new(),
    })
}

fn stops(file: &Gguf, vocabulary: usize) -> Result<Vec<u32>, GgufError> {
    let mut named = Vec::new();
    for key in STOP_KEYS {
        named.extend(file.unsigned(key)?);
    }
    let control = control_tokens(file)?;
    Ok(stop_tokens(named, control.iter().map(|&(id, token)| (u64::from(id), token)), vocabulary))
}

fn chat_template(file: &Gguf) -> Result<Option<ChatTemplateSource>, GgufError> {
    let Some(template) = file.string("tokenizer.chat_template")? else { return Ok(None) };
    let tokens = file.strings("tokenizer.ggml.tokens")?.unwrap_or_default();
    let mut special_tokens = Vec::new();
    for (name, key) in SPECIAL_KEYS {
        let id = file.unsigned(key)?.and_then(|id| usize::try_from(id).ok());
        if let Some(token) = id.and_then(|id| tokens.get(id)) {
            special_tokens.push((name.to_owned(), (*token).to_owned()));
        }
    }
    Ok(Some(ChatTemplateSource { template: template.to_owned(), special_tokens }))
}
