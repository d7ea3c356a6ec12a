//! What a local model is loaded with, and how that fails.

use std::io;
use std::str::FromStr;
use std::time::Duration;

use weighbridge_backend::{BackendId, DataClass, Price};
use weighbridge_dialogue::{ReasoningFormat, TemplateError, ToolFormat};
use weighbridge_models::{Checkpoint, CheckpointError, Compute};

/// What to load and how to serve it.
#[derive(Clone)]
pub struct ModelOptions {
    /// Its name as a backend.
    pub id: BackendId,
    /// The checkpoint. It has to have a tokenizer, and needs a chat template to answer.
    pub checkpoint: Checkpoint,
    /// How it is computed.
    pub compute: Compute,
    /// The highest data class that it may receive.
    pub clearance: DataClass,
    /// Where this machine stands, where that is said.
    pub region: Option<String>,
    /// What its tokens are accounted at.
    pub price: Price,
    /// 0 to 1, as the operator judges it.
    pub quality: Option<f64>,
    /// Tokens of prompt and answer together; at most the checkpoint's own context, which `None` takes.
    pub context: Option<u32>,
    /// How many answers make progress at once; each holds its own keys and values. 0 is taken as 1.
    pub max_running: usize,
    /// How many answers may wait for a place among the running ones before new requests are turned away.
    pub max_waiting: usize,
    /// The most tokens of prompts that are computed between two tokens of a running answer; `None` takes 512 where the
    /// kernels compute, and 128 elsewhere. 0 is taken as 1.
    pub prefill_chunk: Option<usize>,
    /// What prompts may add to the time between two tokens of a running answer. It goes before the bound on tokens
    /// where the kernels compute.
    pub prefill_time: Duration,
    /// Bytes for pages of keys and values; `None` takes half of the memory that is free when the model is loaded, and
    /// where that does not hold the checkpoint's context serves less of it. Where a model is not computed on pages, it
    /// bounds how many answers are made at once instead.
    pub page_memory: Option<u64>,
    /// Whose prompts a prompt may begin with, so that it is not computed again.
    pub prefix_reuse: PrefixReuse,
    /// Whether what messages hold may be read as special and added tokens, `<|im_end|>` for example. Without it only
    /// the chat template writes these, so that no message can end its turn and speak as another.
    pub parse_special_tokens: bool,
    /// How the model writes calls; `None` goes by its chat template.
    pub tool_format: Option<ToolFormat>,
    /// How it sets its thoughts apart; `None` goes by its chat template.
    pub reasoning_format: Option<ReasoningFormat>,
}

impl ModelOptions {
    /// A checkpoint with defaults: float32, cleared for every class, free of charge, its own context, 128
    /// answers at once, 512 waiting, prompts that add no more than 200 ms to a step, prefixes shared within a class.
    pub fn new(id: BackendId, checkpoint: Checkpoint) -> Self {
        Self {
            id,
            checkpoint,
            compute: Compute::default(),
            clearance: DataClass::Restricted,
            region: None,
            price: Price::default(),
            quality: None,
            context: None,
            max_running: 128,
            max_waiting: 512,
            prefill_chunk: None,
            prefill_time: Duration::from_millis(500),
            page_memory: None,
            prefix_reuse: PrefixReuse::default(),
            parse_special_tokens: false,
            tool_format: None,
            reasoning_format: None,
        }
    }

    /// The context to serve.
    ///
    /// # Errors
    /// Where it is none that the checkpoint has.
    pub(crate) fn served_context(&self) -> Result<u32, LoadError> {
        let own = self.checkpoint.summary().context;
        match self.context {
            Some(asked) if asked == 0 || asked > own => Err(LoadError::Context { asked, own }),
            asked => Ok(asked.unwrap_or(own)),
        }
    }
}

/// Within which bounds computed prefixes are shared. Across data classes they never are.
///
/// Whoever shares can learn by the time to the first token whether somebody has sent the same beginning before, in
/// whole pages of 32 tokens. Where callers must not learn that of each other, reuse is confined to each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PrefixReuse {
    /// Among all requests of one data class.
    #[default]
    Class,
    /// Among requests of one caller, by data class.
    Caller,
    /// Not even those.
    Off,
}

impl PrefixReuse {
    /// The words for it in configs.
    pub const NAMES: [&'static str; 3] = ["class", "caller", "off"];
}

/// A word that names no reuse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected one of class, caller, off")]
pub struct UnknownReuse;

impl FromStr for PrefixReuse {
    type Err = UnknownReuse;

    fn from_str(word: &str) -> Result<Self, UnknownReuse> {
        match word {
            "class" => Ok(Self::Class),
            "caller" => Ok(Self::Caller),
            "off" => Ok(Self::Off),
            _ => Err(UnknownReuse),
        }
    }
}

/// Why a model could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The checkpoint cannot be read, or not be computed.
    #[error(transparent)]
    Checkpoint(Box<CheckpointError>),
    /// Its chat template is no template.
    #[error("the checkpoint's chat template cannot be used: {0}")]
    Template(#[from] TemplateError),
    /// The context asked for is none that it has.
    #[error("a context of {asked} tokens was asked for, and the checkpoint has 1 to {own}; choose one of these")]
    Context {
        /// What the options say.
        asked: u32,
        /// The checkpoint's own.
        own: u32,
    },
    /// The memory for pages does not hold one sequence of the context.
    #[error(
        "a context of {context} tokens takes {} MiB of keys and values, and {} MiB are set aside for pages, which hold \
         {tokens} tokens; set aside more, or serve a shorter context", .needed.div_ceil(1 << 20), .memory >> 20
    )]
    PageMemory {
        /// The context to serve.
        context: u32,
        /// Bytes that it takes.
        needed: u64,
        /// Bytes there are.
        memory: u64,
        /// Tokens that they hold.
        tokens: u64,
    },
    /// Its thread could not be started.
    #[error("the thread of the model could not be started")]
    Thread(#[source] io::Error),
    /// A fault of our own.
    #[error("loading it panicked; the log says where")]
    Panic,
}

impl From<CheckpointError> for LoadError {
    fn from(error: CheckpointError) -> Self {
        Self::Checkpoint(Box::new(error))
    }
}
