//! Writing GGUF: the header first, then tensor by tensor, so that no more than one is ever in memory.

use std::io::{self, Write};

use super::value::{ARRAY, BOOL, FLOAT32, INT32, STRING, UINT32};
use crate::element::ElementType;

/// Where tensors begin, in multiples of bytes.
const ALIGNMENT: u64 = 32;
const VERSION: u32 = 3;

/// A header in the making.
#[derive(Default)]
pub(crate) struct Header {
    pairs: Vec<u8>,
    pair_count: u64,
    tensors: Vec<Announced>,
}

/// A tensor that is to be written.
struct Announced {
    name: String,
    /// Outermost dimension first.
    shape: Vec<usize>,
    kind: u32,
    bytes: u64,
}

/// A file whose header is written and whose tensors are awaited, in the order in which they were announced.
pub(crate) struct TensorWriter<W> {
    out: W,
    bytes: std::vec::IntoIter<u64>,
}

impl Header {
    /// A pair as it stands in another file: key, type and value.
    pub(crate) fn copied(&mut self, pair: &[u8]) {
        self.pairs.extend_from_slice(pair);
        self.pair_count += 1;
    }

    pub(crate) fn u32(&mut self, key: &str, value: u32) {
        self.pair(key, UINT32);
        self.pairs.extend_from_slice(&value.to_le_bytes());
    }

    pub(crate) fn f32(&mut self, key: &str, value: f32) {
        self.pair(key, FLOAT32);
        self.pairs.extend_from_slice(&value.to_le_bytes());
    }

    pub(crate) fn flag(&mut self, key: &str, value: bool) {
        self.pair(key, BOOL);
        self.pairs.push(value.into());
    }

    pub(crate) fn text(&mut self, key: &str, value: &str) {
        self.pair(key, STRING);
        put_text(&mut self.pairs, value);
    }

    pub(crate) fn texts<'a>(&mut self, key: &str, values: impl ExactSizeIterator<Item = &'a str>) {
        self.array(key, STRING, values.len());
        values.for_each(|value| put_text(&mut self.pairs, value));
    }

    pub(crate) fn i32s(&mut self, key: &str, values: &[i32]) {
        self.array(key, INT32, values.len());
        self.pairs.extend(values.iter().flat_map(|value| value.to_le_bytes()));
    }

    pub(crate) fn f32s(&mut self, key: &str, values: &[f32]) {
        self.array(key, FLOAT32, values.len());
        self.pairs.extend(values.iter().flat_map(|value| value.to_le_bytes()));
    }

    fn array(&mut self, key: &str, kind: u32, length: usize) {
        self.pair(key, ARRAY);
        self.pairs.extend_from_slice(&kind.to_le_bytes());
        self.pairs.extend_from_slice(&(length as u64).to_le_bytes());
    }

    fn pair(&mut self, key: &str, kind: u32) {
        put_text(&mut self.pairs, key);
        self.pairs.extend_from_slice(&kind.to_le_bytes());
        self.pair_count += 1;
    }

    /// Announces a tensor; the data of all follow in this order.
    ///
    /// # Errors
    /// Where the type does not go with the shape, or GGUF does not have it.
    pub(crate) fn tensor(&mut self, name: &str, shape: &[usize], element: ElementType) -> Result<(), String> {
        let bytes = element.bytes_of(shape)? as u64;
        let kind = element.gguf_number().ok_or_else(|| format!("is {}, which gguf does not have", element.name()))?;
        self.tensors.push(Announced { name: name.to_owned(), shape: shape.to_owned(), kind, bytes });
        Ok(())
    }

    /// Writes the header.
    pub(crate) fn start<W: Write>(self, mut out: W) -> io::Result<TensorWriter<W>> {
        let mut head = b"GGUF".to_vec();
        head.extend_from_slice(&VERSION.to_le_bytes());
        head.extend_from_slice(&(self.tensors.len() as u64).to_le_bytes());
        head.extend_from_slice(&self.pair_count.to_le_bytes());
        head.extend_from_slice(&self.pairs);
        let mut offset = 0_u64;
        for tensor in &self.tensors {
            put_text(&mut head, &tensor.name);
            head.extend_from_slice(&(tensor.shape.len() as u32).to_le_bytes());
            for &size in tensor.shape.iter().rev() {
                head.extend_from_slice(&(size as u64).to_le_bytes());
            }
            head.extend_from_slice(&tensor.kind.to_le_bytes());
            head.extend_from_slice(&offset.to_le_bytes());
            offset += tensor.bytes.next_multiple_of(ALIGNMENT);
        }
        out.write_all(&head)?;
        pad(&mut out, head.len() as u64)?;
        let bytes: Vec<u64> = self.tensors.into_iter().map(|tensor| tensor.bytes).collect();
        Ok(TensorWriter { out, bytes: bytes.into_iter() })
    }
}

impl<W: Write> TensorWriter<W> {
    /// The data of the next tensor.
    ///
    /// # Errors
    /// Where they are not as long as was announced, and where they cannot be written.
    pub(crate) fn tensor(&mut self, data: &[u8]) -> io::Result<()> {
        if self.bytes.next() != Some(data.len() as u64) {
            return Err(io::Error::other("a tensor has another length than was announced"));
        }
        self.out.write_all(data)?;
        pad(&mut self.out, data.len() as u64)
    }

    /// Ends the file and gives back what it was written to.
    pub(crate) fn finish(mut self) -> io::Result<W> {
        if self.bytes.next().is_some() {
            return Err(io::Error::other("a tensor was announced and not written"));
        }
        self.out.flush()?;
        Ok(self.out)
    }
}

fn put_text(bytes: &mut Vec<u8>, text: &str) {
    bytes.extend_from_slice(&(text.len() as u64).to_le_bytes());
    bytes.extend_from_slice(text.as_bytes());
}

fn pad(out: &mut impl Write, written: u64) -> io::Result<()> {
    let padding = written.next_multiple_of(ALIGNMENT) - written;
    // Less than one alignment.
    out.write_all(&[0; ALIGNMENT as usize][..padding as usize])
}
