//! Text to tokens and back.
//!
//! A `tokenizer.json` is the `tokenizers` crate's own; of GGUF metadata, that crate has the models, and we cut texts into
//! words and normalise them as the file's names say. Added tokens are found in a text first ([`markers`]), unless they
//! stand in what came from outside. Decoding is our own, over
//! the bytes that each token stands for: then a stream of tokens can be decoded one by one, never shows half a
//! character, and gives exactly what decoding them together gives.

mod bpe;
mod charsmap;
mod cuts;
mod gguf;
mod markers;
mod pieces;
mod spm;
mod stream;
#[cfg(test)]
mod tests;
mod text;
mod unigram;
mod wordpiece;
mod words;

use std::collections::HashMap;
use std::fmt;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use thiserror::Error;

pub(crate) use self::cuts::name as pre_tokenizer_name;
pub(crate) use self::gguf::control_tokens;
use self::markers::{Segment, Shadows, is_marker};
use self::pieces::Pieces;
pub use self::stream::Detokenizer;
use self::text::Text;
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
    text: Text,
    pieces: Pieces,
    /// Tokens that were added to the vocabulary, and whether each is special.
    added: HashMap<u32, bool>,
    shadows: Shadows,
    around: Around,
}

/// The tokens around a raw prompt.
enum Around {
    /// As the tokenizer's own post-processor says.
    Processor,
    /// These, if any.
    Tokens { start: Option<u32>, end: Option<u32> },
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
        Ok(Self::new(tokenizer, Text::Library, pieces, Around::Processor))
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

    fn new(tokenizer: tokenizers::Tokenizer, text: Text, pieces: Pieces, around: Around) -> Self {
        let added = tokenizer.get_added_tokens_decoder();
        let shadows = Shadows::of(added.values().map(|token| (token.content.as_str(), token.special)));
        let added = added.into_iter().map(|(id, token)| (id, token.special)).collect();
        Self { inner: Arc::new(Inner { tokenizer, text, pieces, added, shadows, around }) }
    }

    /// The tokens of a text in which added tokens may be written out. Adds none of its own.
    ///
    /// # Errors
    /// [`TokenizerError::Encode`].
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, TokenizerError> {
        guarded(|| match self.inner.text {
            Text::Library => self.inner.encode_by_library(text, false),
            _ => self.inner.encode_segments(text, None),
        })
    }

    /// The tokens of a text of which parts came from outside, `foreign` being their places in bytes, in order and
    /// apart. No marker ([`Tokenizer::markers`]) is found that has a character of those: what is written `<|im_end|>`
    /// there becomes the tokens of these ten characters.
    ///
    /// # Errors
    /// [`TokenizerError::Encode`], also where a place is not in the text.
    pub fn encode_around(&self, text: &str, foreign: &[Range<usize>]) -> Result<Vec<u32>, TokenizerError> {
        guarded(|| self.inner.encode_segments(text, Some(foreign)))
    }

    /// The tokens of a text that came from outside as a whole.
    ///
    /// # Errors
    /// [`TokenizerError::Encode`].
    pub fn encode_text(&self, text: &str) -> Result<Vec<u32>, TokenizerError> {
        self.encode_around(text, std::slice::from_ref(&(0..text.len())))
    }

    /// The tokens of a raw prompt with what the model expects around it: before it its start token, where it has one,
    /// and after it the token that ends a text, where it is an encoder or its file says so.
    ///
    /// # Errors
    /// [`TokenizerError::Encode`].
    pub fn encode_with_bos(&self, text: &str) -> Result<Vec<u32>, TokenizerError> {
        match self.inner.around {
            Around::Processor => guarded(|| self.inner.encode_by_library(text, true)),
            Around::Tokens { start, end } => {
                let mut tokens = Vec::from_iter(start);
                tokens.extend(self.encode(text)?);
                tokens.extend(end);
                Ok(tokens)
            }
        }
    }

    /// The tokens that a raw prompt is begun and ended with.
    ///
    /// # Errors
    /// [`TokenizerError::Encode`].
    pub fn around(&self) -> Result<(Vec<u32>, Vec<u32>), TokenizerError> {
        const PROBE: &str = "a";
        let (bare, whole) = (self.encode(PROBE)?, self.encode_with_bos(PROBE)?);
        let at = whole.windows(bare.len().max(1)).position(|window| window == bare).unwrap_or(0);
        let behind = (at + bare.len()).min(whole.len());
        Ok((whole[..at].to_vec(), whole[behind..].to_vec()))
    }

    /// The added tokens that steer the model or may do so, as they are written in a text. Which parts of a text from
    /// outside may be one of these has to be told to [`Tokenizer::encode_around`].
    pub fn markers(&self) -> Vec<String> {
        let added = self.inner.tokenizer.get_added_tokens_decoder().into_values();
        let mut markers: Vec<_> =
            added.filter(|token| is_marker(&token.content, token.special)).map(|token| token.content).collect();
        markers.sort_unstable();
        markers
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
        Detokenizer::new(self.clone(), Arc::default())
    }

    /// Decodes token by token, and writes these special tokens as they stand in a text.
    pub fn stream_showing(&self, special: Arc<[u32]>) -> Detokenizer {
        Detokenizer::new(self.clone(), special)
    }

    /// The special tokens, each with the text that it is written as.
    pub fn special_tokens(&self) -> Vec<(u32, String)> {
        let special = self.inner.added.iter().filter(|(_, special)| **special);
        let mut tokens: Vec<_> = special.filter_map(|(&id, _)| Some((id, self.token(id)?))).collect();
        tokens.sort_unstable();
        tokens
    }

    /// Whether encoding puts a space before a text, which decoding takes away.
    pub fn begins_with_extra_space(&self) -> bool {
        self.inner.pieces.starts_with_extra_space()
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

    /// The bytes of text that a token stands for within a text; `None` where it is special or outside the vocabulary.
    pub fn token_bytes(&self, id: u32) -> Option<Vec<u8>> {
        (!self.is_special(id) && self.token(id).is_some()).then(|| self.bytes(id))
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

impl Inner {
    fn encode_segments(&self, text: &str, foreign: Option<&[Range<usize>]>) -> Result<Vec<u32>, TokenizerError> {
        let mut tokens = Vec::new();
        for segment in self.shadows.segments(&self.tokenizer, text, foreign)? {
            match segment {
                Segment::Token(token) => tokens.push(token),
                Segment::Text(at) => self.text.encode(&self.tokenizer, text, at, &mut tokens)?,
            }
        }
        Ok(tokens)
    }

    fn encode_by_library(&self, text: &str, add_special_tokens: bool) -> Result<Vec<u32>, TokenizerError> {
        let encoded = self.tokenizer.encode_fast(text, add_special_tokens);
        encoded.map(|encoding| encoding.get_ids().to_vec()).map_err(|_| TokenizerError::Encode)
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
