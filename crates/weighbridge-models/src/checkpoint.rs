//! Checkpoints: a folder as published on Hugging Face, or one GGUF file, opened by their headers.

mod files;
mod folder;
mod gguf;
mod memory;
mod summary;

use std::fmt;
use std::io;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use serde_json::Value as Json;
use thiserror::Error;

pub use self::memory::MemoryNeeds;
pub use self::summary::Summary;
use crate::adapter::{Adapter, AdapterError, AdapterMode, AdapterSummary};
use crate::compute::Compute;
use crate::decoder::Decoder;
use crate::export::{Exported, Folder, Inexpressible, Vocabulary, export};
use crate::families::SpecError;
use crate::gguf::{Gguf, GgufError, GgufHeader};
use crate::load::{self, LoadProgress};
use crate::quantise::{Mixture, QuantizedType};
use crate::spec::DecoderSpec;
use crate::tokenizer::{Tokenizer, TokenizerError};
use crate::treatment::Treatment;
use crate::weights::{WeightError, Weights};

/// A checkpoint whose headers are read and checked: its weights are all there, in the shapes that its config says.
/// Cheap to clone.
#[derive(Clone)]
pub struct Checkpoint {
    inner: Arc<Inner>,
    adapter: Option<Arc<Adapter>>,
    quantize: Option<QuantizedType>,
}

struct Inner {
    name: String,
    spec: DecoderSpec,
    weights: Weights,
    container: Container,
    chat_template: Option<ChatTemplateSource>,
    stop_tokens: Vec<u32>,
    generation_defaults: GenerationDefaults,
    licence: Option<String>,
    file_bytes: u64,
    tokenizer: OnceLock<Tokenizer>,
}

/// Where the tokenizer comes from once it is asked for.
enum Container {
    Folder(files::Files),
    Gguf(Gguf),
}

/// The text of a chat template and the special tokens it may speak of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChatTemplateSource {
    /// Jinja, as the model's makers wrote it.
    pub template: String,
    /// Such as `("bos_token", "<s>")`.
    pub special_tokens: Vec<(String, String)>,
}

/// How the model's makers would sample, where they say so.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct GenerationDefaults {
    /// Divides the logits.
    pub temperature: Option<f64>,
    /// Keeps the likeliest tokens up to this share of probability.
    pub top_p: Option<f64>,
    /// Keeps so many of the likeliest tokens.
    pub top_k: Option<u32>,
}

/// Why a checkpoint cannot be used: which one, and what is wrong with it.
#[derive(Debug)]
pub struct CheckpointError {
    checkpoint: String,
    /// Boxed, for errors are rare and every `Result` has room for one.
    problem: Box<CheckpointProblem>,
}

/// What is wrong with a checkpoint.
#[derive(Debug, Error)]
pub enum CheckpointProblem {
    /// A file cannot be read.
    #[error("could not read {file}: {reason}")]
    File {
        /// Its name within the checkpoint.
        file: String,
        /// What the system says.
        reason: io::Error,
    },
    /// Nothing is at its path.
    #[error("there is no such file or folder")]
    NotFound,
    /// A file that must be there is not.
    #[error("there is no {0} in it; a checkpoint is a folder with config.json and safetensors, or a .gguf file")]
    MissingFile(String),
    /// Its tokenizer is only there in a format that is not read.
    #[error(
        "its tokenizer is in {0}, which is not read, and there is no tokenizer.json; write one with transformers: \
         AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER)"
    )]
    OtherTokenizer(&'static str),
    /// A file is not what its name says.
    #[error("{file} {problem}")]
    Malformed {
        /// Its name within the checkpoint.
        file: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The config describes nothing that can be computed.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// The tensors are not those of the config.
    #[error(transparent)]
    Weights(#[from] WeightError),
    /// The GGUF file is broken.
    #[error(transparent)]
    Gguf(#[from] GgufError),
    /// The adapter does not go with it.
    #[error(transparent)]
    Adapter(#[from] AdapterError),
    /// The tokenizer cannot be built.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
}

impl CheckpointProblem {
    fn malformed(file: &str, problem: impl Into<String>) -> Self {
        Self::Malformed { file: file.to_owned(), problem: problem.into() }
    }
}

impl CheckpointError {
    /// What is wrong, without the name of the checkpoint.
    pub fn problem(&self) -> &CheckpointProblem {
        &self.problem
    }
}

impl fmt::Display for CheckpointError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "could not use the checkpoint {}: {}", self.checkpoint, self.problem)
    }
}

// The message holds the whole story, so there is no source that a log would repeat.
impl std::error::Error for CheckpointError {}

impl Checkpoint {
    /// Opens a folder with `config.json` and safetensors, or a `.gguf` file. Reads headers only; of safetensors and
    /// GGUF nothing but what is needed to know the rest.
    ///
    /// # Errors
    /// Where a file is missing or broken, and where the model is of a family, shape or type that is not supported:
    /// the message names it.
    pub fn open(path: &Path) -> Result<Self, CheckpointError> {
        let opened = if path.is_dir() { folder::open(files::Files::at(path)) } else { gguf::open(path) };
        Self::named(path.display().to_string(), opened)
    }

    /// Opens a folder that is carried in the binary: `("config.json", bytes)` and so on.
    ///
    /// # Errors
    /// As [`Checkpoint::open`].
    pub fn from_memory(name: &str, files: &'static [(&'static str, &'static [u8])]) -> Result<Self, CheckpointError> {
        Self::named(name.to_owned(), folder::open(files::Files::carried(name, files)))
    }

    fn named(checkpoint: String, opened: Result<Inner, CheckpointProblem>) -> Result<Self, CheckpointError> {
        match opened {
            Ok(inner) => Ok(Self { inner: Arc::new(inner), adapter: None, quantize: None }),
            Err(problem) => Err(CheckpointError { checkpoint, problem: Box::new(problem) }),
        }
    }

    /// The same checkpoint with a low-rank adapter, a folder as PEFT writes it. [`Checkpoint::load`] and
    /// [`Checkpoint::memory_needed`] then count it in.
    ///
    /// # Errors
    /// Where a file is missing or broken, where the adapter asks for what is not supported, and where it does not go
    /// with this model: the message names the field or the tensor.
    pub fn with_adapter(&self, path: &Path, mode: AdapterMode) -> Result<Self, CheckpointError> {
        let adapter = self.adapter_at(path, mode).map_err(|problem| CheckpointError {
            checkpoint: path.display().to_string(),
            problem: Box::new(problem),
        })?;
        Ok(Self { adapter: Some(Arc::new(adapter)), ..self.clone() })
    }

    fn adapter_at(&self, path: &Path, mode: AdapterMode) -> Result<Adapter, CheckpointProblem> {
        const CONFIG: &str = "adapter_config.json";
        const TENSORS: &str = "adapter_model.safetensors";
        let Inner { spec, weights, container, .. } = &*self.inner;
        if matches!(container, Container::Gguf(_)) {
            let problem = "it is a gguf file, whose tensors go by other names; use the folder it was made from";
            return Err(AdapterError::Model(problem.to_owned()).into());
        }
        let files = files::Files::at(path);
        let config = files.json(CONFIG, folder::SMALL_FILE_BYTES_MAX)?.ok_or(AdapterError::Missing(CONFIG))?;
        let tensors = folder::safetensors::file(&files, TENSORS)?.ok_or(AdapterError::Missing(TENSORS))?;
        Ok(Adapter::new(path.to_owned(), mode, &config, tensors, (spec, &weights.names))?)
    }

    /// The same checkpoint, its matrices put into blocks as they load, as [`quantize`](crate::quantize) would store
    /// them: what is in blocks already stays in those. It is computed in them as [`Compute::Quantized`]; in float32 it
    /// gives what the blocks stand for. `f32`, `f16` and `bf16` are no blocks and change nothing.
    #[must_use]
    pub fn quantized(&self, target: QuantizedType) -> Self {
        Self { quantize: Some(target), ..self.clone() }
    }

    /// The adapter it was given.
    pub fn adapter(&self) -> Option<AdapterSummary> {
        self.adapter.as_ref().map(|adapter| adapter.summary())
    }

    /// The name of the type that its matrices are put into as they load, where they are.
    pub fn quantization(&self) -> Option<String> {
        self.quantize.map(|target| target.to_string())
    }

    /// The decoder it holds the weights of.
    pub fn spec(&self) -> &DecoderSpec {
        &self.inner.spec
    }

    /// What there is to say about it.
    pub fn summary(&self) -> Summary {
        summary::summary(&self.inner)
    }

    /// Its tokenizer, built at the first call.
    ///
    /// # Errors
    /// Where the checkpoint has none, or one that cannot be built.
    pub fn tokenizer(&self) -> Result<Tokenizer, CheckpointError> {
        if let Some(tokenizer) = self.inner.tokenizer.get() {
            return Ok(tokenizer.clone());
        }
        let built = match &self.inner.container {
            Container::Folder(files) => folder::tokenizer(files),
            Container::Gguf(file) => Tokenizer::from_gguf(file).map_err(CheckpointProblem::from),
        };
        let tokenizer = built.map_err(|problem| self.error(problem))?;
        Ok(self.inner.tokenizer.get_or_init(|| tokenizer).clone())
    }

    /// Its chat template, where it has one.
    pub fn chat_template(&self) -> Option<ChatTemplateSource> {
        self.inner.chat_template.clone()
    }

    /// Tokens that end an answer, in ascending order: those that config and metadata name, and those of well-known
    /// name that the vocabulary marks as control tokens.
    pub fn stop_tokens(&self) -> &[u32] {
        &self.inner.stop_tokens
    }

    /// How the model's makers would sample; empty where they do not say, or say not to.
    pub fn generation_defaults(&self) -> GenerationDefaults {
        self.inner.generation_defaults
    }

    /// Block types that are expanded to float32 although the weights are to be computed as they are stored, for nothing
    /// here multiplies them so, each with the weights in it, the most first. None where all are expanded anyway.
    pub fn expanded(&self, compute: Compute) -> Vec<(String, u64)> {
        summary::expanded(&self.inner, compute)
    }

    /// Bytes that it takes to compute one sequence of `context` tokens: weights, keys and values, and what a step
    /// works in. An estimate for planning, meant to be high rather than low.
    pub fn memory_needed(&self, compute: Compute, context: u32) -> u64 {
        let needs = self.memory_needs(compute, context);
        needs.weights + needs.sequence(context.into()) + needs.step
    }

    /// The same by its parts.
    pub fn memory_needs(&self, compute: Compute, context: u32) -> MemoryNeeds {
        memory::needs(&self.inner.spec, &self.inner.weights, &self.treatment(compute), context)
    }

    /// Reads the weights, reporting progress after each tensor.
    ///
    /// # Errors
    /// Where a tensor cannot be read.
    pub fn load(&self, compute: Compute, progress: &mut dyn FnMut(LoadProgress)) -> Result<Decoder, CheckpointError> {
        self.load_while(compute, &mut |at| {
            progress(at);
            ControlFlow::Continue(())
        })
    }

    /// The same for as long as somebody wants it: where `progress` breaks off, reading ends and what was read is let go
    /// of.
    ///
    /// # Errors
    /// Where a tensor cannot be read, and where it was broken off.
    pub fn load_while(
        &self,
        compute: Compute,
        progress: &mut dyn FnMut(LoadProgress) -> ControlFlow<()>,
    ) -> Result<Decoder, CheckpointError> {
        let loaded = load::load(&self.inner.spec, &self.inner.weights, &self.treatment(compute), progress);
        loaded.map_err(|problem| self.error(problem.into()))
    }

    /// The same as a GGUF file, where it is a folder of a kind that can be written so.
    pub(crate) fn export(&self) -> Result<Result<(GgufHeader, Vec<Exported>), Inexpressible>, CheckpointError> {
        let Container::Folder(files) = &self.inner.container else {
            let problem = CheckpointProblem::malformed("the file", "is written as gguf already");
            return Err(self.error(problem));
        };
        let json: Option<Json> =
            files.json("tokenizer.json", folder::TOKENIZER_BYTES_MAX).map_err(|problem| self.error(problem))?;
        let vocabulary = json.as_ref().map(|json| self.vocabulary(files, json)).transpose()?;
        let Inner { name, spec, weights, licence, .. } = &*self.inner;
        Ok(export(&Folder { name, licence: licence.as_deref(), spec, weights, tokenizer: vocabulary }))
    }

    fn vocabulary<'a>(&'a self, files: &files::Files, json: &'a Json) -> Result<Vocabulary<'a>, CheckpointError> {
        let failed = |problem| self.error(problem);
        let (before, after) = self.tokenizer()?.around().map_err(|problem| failed(problem.into()))?;
        Ok(Vocabulary {
            json,
            chat_template: self.inner.chat_template.as_ref().map(|it| it.template.as_str()),
            special_tokens: folder::template::special(files).map_err(failed)?,
            before,
            after,
            stop_tokens: &self.inner.stop_tokens,
        })
    }

    fn treatment(&self, compute: Compute) -> Treatment {
        let mixture = self.quantize.map(|target| Mixture::of(&self.inner.spec, target));
        Treatment { compute, adapter: self.adapter.clone(), mixture }
    }

    fn error(&self, problem: CheckpointProblem) -> CheckpointError {
        CheckpointError { checkpoint: self.inner.name.clone(), problem: Box::new(problem) }
    }
}

impl fmt::Debug for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Checkpoint").field("name", &self.inner.name).finish_non_exhaustive()
    }
}

/// Tokens by which models end a turn. Where a vocabulary marks one as a control token it ends an answer, whether or
/// not the config remembers to say so.
const END_OF_TURN: [&str; 5] = ["<|im_end|>", "<|eot_id|>", "<|eom_id|>", "<|end|>", "<end_of_turn>"];

/// The stop tokens: those named, and the control tokens that end a turn; all within the vocabulary.
fn stop_tokens<'a>(
    named: impl IntoIterator<Item = u64>,
    control: impl IntoIterator<Item = (u64, &'a str)>,
    vocabulary: usize,
) -> Vec<u32> {
    let ends = control.into_iter().filter(|(_, token)| END_OF_TURN.contains(token)).map(|(id, _)| id);
    let all = named.into_iter().chain(ends).filter(|&id| id < vocabulary as u64);
    let mut tokens: Vec<u32> = all.filter_map(|id| u32::try_from(id).ok()).collect();
    tokens.sort_unstable();
    tokens.dedup();
    tokens
}
