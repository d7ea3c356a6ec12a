//! What a local model is loaded with, and how that fails.

use std::io;

use weighbridge_backend::{BackendId, DataClass, Price};
use weighbridge_dialogue::TemplateError;
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
    /// Tokens of prompts that are computed between two tokens of a running answer. 0 is taken as 1.
    pub prefill_chunk: usize,
    /// Whether what messages hold may be read as special and added tokens, `<|im_end|>` for example. Without it only
    /// the chat template writes these, so that no message can end its turn and speak as another.
    pub parse_special_tokens: bool,
}

impl ModelOptions {
    /// A checkpoint with defaults: float32, cleared for every class, free of charge, its own context, 128
    /// answers at once, 512 waiting, prompts in chunks of 128 tokens.
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
            prefill_chunk: 128,
            parse_special_tokens: false,
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
    /// Its thread could not be started.
    #[error("the thread of the model could not be started")]
    Thread(#[source] io::Error),
}

impl From<CheckpointError> for LoadError {
    fn from(error: CheckpointError) -> Self {
        Self::Checkpoint(Box::new(error))
    }
}
