//! Text to tokens and back.
//!
//! Encoding is done by the `tokenizers` crate, from a `tokenizer.json` or from GGUF metadata. Decoding is our own, over
//! the bytes that each token stands for: then a stream of tokens can be decoded one by one, never shows half a
//! character, and gives exactly what decoding them together gives.

mod bpe;
mod gguf;
mod pieces;
mod spm;
mod stream;

use std::collections::HashMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use thiserror::Error;

pub(crate) use self::bpe::name as pre_tokenizer_name;
pub(crate) use self::gguf::control_tokens;
use self::pieces::Pieces;
pub use self::stream::Detokenizer;
use crate::gguf::{Gguf, GgufError};

/// Why a tokenizer could not be built or used. Never holds the text.
#[derive(Debug, Error)]
pub enum TokenizerError {
    /// `tokenizer.json` is broken.
    #[error("tokenizer.json cannot be read: {0}")]
    Json(String),
    /// A tokenizer that works in a way not supported.
    #[error("the tokenizer's {part} `{name}` is not supported yet; supported: {supported}")]
    Unsupported {
        /// Which part of it.
        part: &'static str,
        /// What the checkpoint asks for.
        name: String,
        /// What it might have asked for.
        supported: String,
    },
    /// The vocabulary contradicts itself.
    #[error("the tokenizer cannot be built: {0}")]
    Build(String),
    /// The metadata is broken or has no tokenizer.
    #[error(transparent)]
    Gguf(#[from] GgufError),
    /// The text could not be encoded.
    #[error("the text could not be turned into tokens")]
    Encode,
    /// The library that reads it and encodes with it met what it does not expect.
    #[error("the tokenizer holds what its library fails at; fetch it again")]
    Library,
}

/// A tokenizer. Cheap to clone.
#[derive(Clone)]
pub struct Tokenizer {
    inner: Arc<Inner>,
}

struct Inner {
    tokenizer: tokenizers::Tokenizer,
    pieces: Pieces,
    /// Tokens that were added to the vocabulary, and whether each is special.
    added: HashMap<u32, bool>,
    start: Start,
}

/// How a raw prompt begins and ends.
enum Start {
    /// As the tokenizer's own post-processor says.
    Processor,
    /// With these tokens, if any.
    Tokens { first: Option<u32>, last: Option<u32> },
}

impl Tokenizer {
    /// From the contents of a `tokenizer.json`.
    pub(crate) fn from_json(bytes: &[u8]) -> Result<Self, TokenizerError> {
        guarded(|| Self::read_json(bytes))
    }

    fn read_json(bytes: &[u8]) -> Result<Self, TokenizerError> {
        let broken = |reason: tokenizers::Error| TokenizerError::Json(reason.to_string());
        let mut tokenizer = tokenizers::Tokenizer::from_bytes(bytes).map_err(broken)?;
        // Some are published with the limits of their training left in; a prompt is never cut silently.
        tokenizer.with_truncation(None).map_err(broken)?;
        tokenizer.with_padding(None);
        let pieces = Pieces::of(&tokenizer)?;
        Ok(Self::new(tokenizer, pieces, Start::Processor))
    }

    /// From the metadata of a GGUF file.
    pub(crate) fn from_gguf(file: &Gguf) -> Result<Self, TokenizerError> {
        guarded(|| gguf::build(file))
    }

    /// Of a `tokenizer.json` or a GGUF file by itself, without a model that could be computed.
    ///
    /// # Errors
    /// Where the file cannot be read, or its tokenizer not be built.
    pub fn open(path: &Path) -> Result<Self, TokenizerError> {
        let unreadable = |reason: std::io::Error| TokenizerError::Build(format!("could not read the file: {reason}"));
        let map = weighbridge_kernels::MappedFile::open(path).map_err(unreadable)?;
        if map.starts_with(b"GGUF") {
            return Self::from_gguf(&Gguf::parse(crate::bytes::Bytes::Mapped(Arc::new(map)))?);
        }
        Self::from_json(&map)
    }

    fn new(tokenizer: tokenizers::Tokenizer, pieces: Pieces, start: Start) -> Self {
        let added = tokenizer.get_added_tokens_decoder().into_iter().map(|(id, token)| (id, token.special)).collect();
        Self { inner: Arc::new(Inner { tokenizer, pieces, added, start }) }
    }

    /// The tokens of a text in which special tokens may be written out, as rendered chat templates have them. Adds
    /// none of its own.
    ///
    /// # Errors
    /// [`TokenizerError::Encode`].
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, TokenizerError> {
        self.encode_as(text, false)
    }

    /// The tokens of a raw prompt, begun and ended as the model expects: with its start token where it has one, and
    /// with its end token where it says so, as models that embed do.
    ///
    /// # Errors
    /// [`TokenizerError::Encode`].
    pub fn encode_with_bos(&self, text: &str) -> Result<Vec<u32>, TokenizerError> {
        match self.inner.start {
            Start::Processor => self.encode_as(text, true),
            Start::Tokens { first, last } => {
                let mut tokens = Vec::from_iter(first);
                tokens.extend(self.encode_as(text, false)?);
                tokens.extend(last);
                Ok(tokens)
            }
        }
    }

    /// The tokens that a raw prompt is begun and ended with.
    pub(crate) fn around(&self) -> Result<(Vec<u32>, Vec<u32>), TokenizerError> {
        const PROBE: &str = "a";
        let (bare, whole) = (self.encode(PROBE)?, self.encode_with_bos(PROBE)?);
        let at = whole.windows(bare.len().max(1)).position(|window| window == bare).unwrap_or(0);
        let behind = (at + bare.len()).min(whole.len());
        Ok((whole[..at].to_vec(), whole[behind..].to_vec()))
    }

    fn encode_as(&self, text: &str, add_special_tokens: bool) -> Result<Vec<u32>, TokenizerError> {
        guarded(|| {
            let encoded = self.inner.tokenizer.encode_fast(text, add_special_tokens);
            encoded.map(|encoding| encoding.get_ids().to_vec()).map_err(|_| TokenizerError::Encode)
        })
    }

    /// The text of tokens. Special tokens and those outside the vocabulary give nothing; bytes that are no UTF-8 give
    /// U+FFFD.
    pub fn decode(&self, tokens: &[u32]) -> String {
        let mut stream = self.stream();
        let mut text: String = tokens.iter().filter_map(|&token| stream.push(token)).collect();
        text.extend(stream.finish());
        text
    }

    /// Decodes token by token.
    pub fn stream(&self) -> Detokenizer {
        Detokenizer::new(self.clone())
    }

    /// The id of a token by its name in the vocabulary.
    pub fn token_id(&self, token: &str) -> Option<u32> {
        self.inner.tokenizer.token_to_id(token)
    }

    /// The name of a token in the vocabulary, which is not its text.
    pub fn token(&self, id: u32) -> Option<String> {
        self.inner.tokenizer.id_to_token(id)
    }

    /// Whether a token steers the model and stands for no text.
    pub fn is_special(&self, id: u32) -> bool {
        self.inner.added.get(&id) == Some(&true)
    }

    /// Tokens in the vocabulary, added ones included. The model's own may be padded beyond it.
    pub fn size(&self) -> usize {
        self.inner.tokenizer.get_vocab_size(true)
    }

    /// The bytes of text that a token stands for.
    fn bytes(&self, id: u32) -> Vec<u8> {
        match (self.inner.added.get(&id), self.token(id)) {
            (Some(true), _) | (_, None) => Vec::new(),
            // An added token stands for itself.
            (Some(false), Some(token)) => token.into_bytes(),
            (None, Some(token)) => self.inner.pieces.bytes(&token),
        }
    }
}

/// The `tokenizers` crate panics at some of what a file may hold: a decoder that is no object, a broken table of
/// characters. That is an error like others, and what it leaves is dropped.
fn guarded<T>(work: impl FnOnce() -> Result<T, TokenizerError>) -> Result<T, TokenizerError> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or(Err(TokenizerError::Library))
}

impl fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokenizer").field("size", &self.size()).finish_non_exhaustive()
    }
}
