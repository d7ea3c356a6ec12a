//! GGUF files: one file with the metadata, the tokenizer and the tensors of a model.
//!
//! Layout, all numbers little endian: `GGUF`, version, count of tensors, count of metadata pairs; the pairs (key, type,
//! value); the tensors (name, dimensions, type, offset); padding; the data, each tensor at a multiple of
//! `general.alignment`. Source: <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>.
//!
//! The file comes from outside, so nothing it claims is believed: every count, length and offset is held against the
//! bytes that are there before it is used, and nothing is allocated on its word alone. Arrays stay where they are
//! until someone asks for them.

mod header;
mod reader;
mod split;
mod value;
mod writer;

#[cfg(test)]
pub(crate) mod samples;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::ops::Range;

use thiserror::Error;

use self::value::{Array, Value};
pub(crate) use self::writer::Header as GgufHeader;
use crate::bytes::Bytes;
use crate::element::ElementType;
use crate::weights::Stored;

/// Numbers of a tensor that is read as settings, which every layer keeps a copy of.
const SMALL_TENSOR_MAX: usize = 1 << 13;

/// Why a GGUF file was refused. Each message names the field.
#[derive(Debug, Error)]
pub enum GgufError {
    /// The file does not start with the four letters.
    #[error("this is not a gguf file: it does not start with `GGUF`")]
    NotGguf,
    /// Another version, or a big-endian file, whose version reads as a very large number.
    #[error("gguf version {0} is not supported; supported: 2 and 3, little endian")]
    Version(u32),
    /// The file ends before what it announces.
    #[error("the file ends within {0}; it may have been cut short: fetch it again")]
    Truncated(String),
    /// A field holds what it must not hold.
    #[error("{field} {problem}")]
    Field {
        /// Where in the file.
        field: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A part of a model that was split over several files, and not the one that holds the metadata.
    #[error("this is a later part of a model split over several files; open the first one, {0}")]
    LaterPart(String),
    /// A file of a model that was split over several is not there.
    #[error("the model is split over {count} files, and {file} is not beside the first; fetch it")]
    MissingPart {
        /// The missing file.
        file: String,
        /// All of them.
        count: usize,
    },
    /// A file of a model that was split over several is broken, or belongs to another model.
    #[error("{file}, a part of the model: {problem}")]
    Part {
        /// The file.
        file: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The metadata lacks what the model cannot do without.
    #[error("the metadata has no `{0}`")]
    Missing(String),
}

impl GgufError {
    pub(crate) fn field(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Field { field: field.into(), problem: problem.into() }
    }
}

/// An opened file: its metadata read and checked, its tensors located, its data untouched.
#[derive(Debug)]
pub(crate) struct Gguf {
    bytes: Bytes,
    /// Of a split model the files after the first.
    others: Vec<Bytes>,
    metadata: HashMap<String, Value>,
    pairs: Vec<(String, Range<usize>)>,
    tensors: Vec<GgufTensor>,
}

/// Where a tensor lies. The range is within its file and overlaps no other.
#[derive(Debug)]
pub(crate) struct GgufTensor {
    pub(crate) name: String,
    /// Outermost dimension first, as everywhere outside of GGUF (the file has them the other way round).
    pub(crate) shape: Vec<usize>,
    pub(crate) element: ElementType,
    /// Which file it lies in, counted from 0.
    part: usize,
    range: Range<usize>,
}

impl Gguf {
    /// Reads the header of a file. Of a split model that is the first part alone: [`Gguf::add_parts`] adds the others.
    pub(crate) fn parse(bytes: Bytes) -> Result<Self, GgufError> {
        let header::Header { metadata, pairs, tensors } = header::read(&bytes)?;
        Ok(Self { bytes, others: Vec::new(), metadata, pairs, tensors })
    }

    /// The metadata pairs as they stand in the file, by their keys.
    pub(crate) fn pairs(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.pairs.iter().map(|(key, range)| (key.as_str(), &self.bytes[range.clone()]))
    }

    /// Bytes of the file, or of all files of a split model.
    pub(crate) fn file_bytes(&self) -> u64 {
        let others: usize = self.others.iter().map(|bytes| bytes.len()).sum();
        (self.bytes.len() + others) as u64
    }

    /// A tensor as it lies in its file.
    pub(crate) fn stored(&self, tensor: &GgufTensor) -> Stored {
        Stored {
            bytes: self.part(tensor).clone(),
            range: tensor.range.clone(),
            element: tensor.element,
            shape: tensor.shape.clone(),
            scale: None,
        }
    }

    fn part(&self, tensor: &GgufTensor) -> &Bytes {
        // The parts after the first are counted from 1.
        tensor.part.checked_sub(1).map_or(&self.bytes, |index| &self.others[index])
    }

    pub(crate) fn tensors(&self) -> &[GgufTensor] {
        &self.tensors
    }

    pub(crate) fn has_tensor(&self, name: &str) -> bool {
        self.tensors.iter().any(|tensor| tensor.name == name)
    }

    /// A whole number that is not negative, whatever integer type it was written in.
    pub(crate) fn unsigned(&self, key: &str) -> Result<Option<u64>, GgufError> {
        self.scalar(key, "a whole number", |value| match *value {
            Value::Unsigned(number) => Some(number),
            Value::Signed(number) => u64::try_from(number).ok(),
            _ => None,
        })
    }

    pub(crate) fn float(&self, key: &str) -> Result<Option<f64>, GgufError> {
        self.scalar(key, "a number", |value| match *value {
            Value::Float(number) => Some(number),
            _ => None,
        })
    }

    pub(crate) fn boolean(&self, key: &str) -> Result<Option<bool>, GgufError> {
        self.scalar(key, "true or false", |value| match *value {
            Value::Bool(flag) => Some(flag),
            _ => None,
        })
    }

    pub(crate) fn string(&self, key: &str) -> Result<Option<&str>, GgufError> {
        let Some(value) = self.metadata.get(key) else { return Ok(None) };
        let Value::String(range) = value else { return Err(wrong_type(key, value, "a text")) };
        value::text(&self.bytes, range.clone(), key).map(Some)
    }

    /// An array of texts, borrowed from the file.
    pub(crate) fn strings(&self, key: &str) -> Result<Option<Vec<&str>>, GgufError> {
        self.array(key)?.map(|array| array.strings(&self.bytes, key)).transpose()
    }

    /// An array of flags, or of numbers of which 0 is false; none where the key holds a single value.
    pub(crate) fn flags(&self, key: &str) -> Result<Option<Vec<bool>>, GgufError> {
        match self.metadata.get(key) {
            Some(Value::Array(array)) => array.flags(&self.bytes, key).map(Some),
            _ => Ok(None),
        }
    }

    /// An array of whole numbers.
    pub(crate) fn integers(&self, key: &str) -> Result<Option<Vec<i64>>, GgufError> {
        self.array(key)?.map(|array| array.integers(&self.bytes, key)).transpose()
    }

    /// An array of numbers.
    pub(crate) fn floats(&self, key: &str) -> Result<Option<Vec<f32>>, GgufError> {
        self.array(key)?.map(|array| array.floats(&self.bytes, key)).transpose()
    }

    /// A tensor of `count` float32 numbers, for those that are settings rather than weights.
    pub(crate) fn small_tensor(&self, name: &str, count: usize) -> Result<Option<Vec<f32>>, GgufError> {
        let Some(tensor) = self.tensors.iter().find(|tensor| tensor.name == name) else { return Ok(None) };
        if tensor.element != ElementType::F32 || tensor.shape != [count] || count > SMALL_TENSOR_MAX {
            let problem = format!(
                "is {} of {:?}; F32 of [{count}] is expected, and at most {SMALL_TENSOR_MAX}",
                tensor.element.name(),
                tensor.shape
            );
            return Err(GgufError::field(format!("tensor `{name}`"), problem));
        }
        let numbers = self.part(tensor)[tensor.range.clone()].as_chunks().0;
        Ok(Some(numbers.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect()))
    }

    fn array(&self, key: &str) -> Result<Option<&Array>, GgufError> {
        match self.metadata.get(key) {
            None => Ok(None),
            Some(Value::Array(array)) => Ok(Some(array)),
            Some(value) => Err(wrong_type(key, value, "a list")),
        }
    }

    fn scalar<T>(&self, key: &str, wanted: &str, read: impl Fn(&Value) -> Option<T>) -> Result<Option<T>, GgufError> {
        let Some(value) = self.metadata.get(key) else { return Ok(None) };
        read(value).map(Some).ok_or_else(|| wrong_type(key, value, wanted))
    }
}

fn wrong_type(key: &str, value: &Value, wanted: &str) -> GgufError {
    GgufError::field(format!("`{key}`"), format!("is {}, where {wanted} is expected", value.kind()))
}
