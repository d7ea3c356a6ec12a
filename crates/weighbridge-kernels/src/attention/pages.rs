//! Pages of keys and values.

use std::fmt;
use std::str::FromStr;

use half::f16;
use half::slice::HalfFloatSliceExt;
use thiserror::Error;

use super::codes::{self, Codes};
use crate::packed::Memory;

/// Tokens of a page.
pub const PAGE_TOKENS: usize = 32;
/// Pages of which memory is taken at once, so that growing moves none.
const SLAB_PAGES: usize = 32;
/// Numbers of a token that are converted at once.
const CHUNK: usize = 64;

/// What numbers of keys and values are kept as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KvType {
    /// Float32.
    F32,
    /// Half-precision floats. What is beyond ± 65,504, the largest of them, becomes that.
    F16,
    /// Eight bits, with a half-precision scale for each 32 dimensions of a token and head, as in blocks of Q8_0: half
    /// the memory of `F16`, and answers further from the model's own.
    Q8_0,
}

/// A name that is not one of [`KvType::NAMES`].
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("`{0}` is nothing that keys and values are kept as; known: f32, f16, q8_0")]
pub struct UnknownKvType(pub String);

impl KvType {
    /// The names by which configs ask for them.
    pub const NAMES: [&'static str; 3] = ["f32", "f16", "q8_0"];

    /// Bytes of the keys or the values of one head, of `dim` dimensions, for `tokens` tokens.
    pub fn bytes(self, dim: usize, tokens: usize) -> usize {
        match self {
            Self::F32 => 4 * dim * tokens,
            Self::F16 => 2 * dim * tokens,
            Self::Q8_0 => codes::token_bytes(dim) * tokens,
        }
    }
}

impl FromStr for KvType {
    type Err = UnknownKvType;

    fn from_str(name: &str) -> Result<Self, UnknownKvType> {
        match name {
            "f32" => Ok(Self::F32),
            "f16" => Ok(Self::F16),
            "q8_0" => Ok(Self::Q8_0),
            other => Err(UnknownKvType(other.chars().take(32).collect())),
        }
    }
}

impl fmt::Display for KvType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Q8_0 => "q8_0",
        })
    }
}

/// Pages of one layer.
#[derive(Debug)]
pub struct Pages {
    pub(super) shape: PageShape,
    slabs: Vec<Memory>,
    count: usize,
}

/// What a page is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageShape {
    /// Heads of keys and values.
    pub heads: usize,
    /// Dimensions of a key.
    pub key_dim: usize,
    /// Dimensions of a value.
    pub value_dim: usize,
    /// What numbers are kept as.
    pub kind: KvType,
}

/// Keys or values of one head of a page, as a kernel reads them.
#[derive(Clone, Copy)]
pub(super) enum Numbers<'a> {
    F32(&'a [f32]),
    F16(&'a [f16]),
    Keys8(Codes<'a>),
    Values8(Codes<'a>),
}

impl PageShape {
    fn head_bytes(self) -> usize {
        self.kind.bytes(self.key_dim, PAGE_TOKENS) + self.kind.bytes(self.value_dim, PAGE_TOKENS)
    }

    /// Bytes of a page.
    pub fn bytes(self) -> usize {
        self.heads * self.head_bytes()
    }
}

impl Pages {
    /// No pages yet.
    pub fn new(shape: PageShape) -> Self {
        Self { shape, slabs: Vec::new(), count: 0 }
    }

    /// What they are made of.
    pub fn shape(&self) -> PageShape {
        self.shape
    }

    /// Pages there are.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Makes it at least so many pages; new ones are zeros.
    pub fn grow(&mut self, count: usize) {
        let slabs = count.div_ceil(SLAB_PAGES).max(self.slabs.len());
        self.slabs.resize_with(slabs, || Memory::zeros(SLAB_PAGES * self.shape.bytes()));
        self.count = slabs * SLAB_PAGES;
    }

    /// Writes a token: keys `[heads, key_dim]` and values `[heads, value_dim]`.
    ///
    /// # Panics
    /// Where there is no such page or place in it, or the sizes are others.
    pub fn write(&mut self, page: usize, place: usize, keys: &[f32], values: &[f32]) {
        let PageShape { heads, key_dim, value_dim, kind } = self.shape;
        assert!(page < self.count && place < PAGE_TOKENS, "there is no place {place} in page {page}");
        assert_eq!((keys.len(), values.len()), (heads * key_dim, heads * value_dim), "a token has all its heads");
        let size = self.shape.head_bytes();
        let start = page % SLAB_PAGES * heads * size;
        let page = &mut self.slabs[page / SLAB_PAGES].bytes_mut()[start..start + heads * size];
        for head in 0..heads {
            let bytes = &mut page[head * size..(head + 1) * size];
            let (keys, values) = (&keys[head * key_dim..][..key_dim], &values[head * value_dim..][..value_dim]);
            match kind {
                KvType::F32 => put(f32s_mut(bytes), place, keys, values, <[f32]>::copy_from_slice),
                KvType::F16 => put(f16s_mut(bytes), place, keys, values, to_half),
                KvType::Q8_0 => {
                    let (key_section, value_section) = bytes.split_at_mut(kind.bytes(key_dim, PAGE_TOKENS));
                    codes::put_key(key_section, place, keys);
                    codes::put_value(value_section, place, values);
                }
            }
        }
    }

    /// Keys and values of a head of a page.
    pub(super) fn head(&self, page: usize, head: usize) -> (Numbers<'_>, Numbers<'_>) {
        let PageShape { heads, key_dim, value_dim, kind } = self.shape;
        let size = self.shape.head_bytes();
        let start = (page % SLAB_PAGES * heads + head) * size;
        let bytes = &self.slabs[page / SLAB_PAGES].bytes()[start..start + size];
        let (keys, values) = bytes.split_at(kind.bytes(key_dim, PAGE_TOKENS));
        match kind {
            KvType::F32 => (Numbers::F32(f32s(keys)), Numbers::F32(f32s(values))),
            KvType::F16 => (Numbers::F16(f16s(keys)), Numbers::F16(f16s(values))),
            KvType::Q8_0 => (Numbers::Keys8(Codes::of(keys, key_dim)), Numbers::Values8(Codes::of(values, value_dim))),
        }
    }
}

/// Writes the keys and values of one head to its place in a page.
fn put<T: Copy + Default>(
    page: &mut [T],
    place: usize,
    keys: &[f32],
    values: &[f32],
    convert: impl Fn(&mut [T], &[f32]),
) {
    let (key_places, value_places) = page.split_at_mut(keys.len() * PAGE_TOKENS);
    for (lines, keys) in key_places.chunks_mut(CHUNK * PAGE_TOKENS).zip(keys.chunks(CHUNK)) {
        let mut chunk = [T::default(); CHUNK];
        convert(&mut chunk[..keys.len()], keys);
        lines.chunks_exact_mut(PAGE_TOKENS).zip(chunk).for_each(|(line, key)| line[place] = key);
    }
    convert(&mut value_places[place * values.len()..][..values.len()], values);
}

/// The nearest half-precision floats, the largest for what is beyond it: infinity would make a whole row no numbers.
fn to_half(to: &mut [f16], from: &[f32]) {
    let most = f16::MAX.to_f32_const();
    for (to, from) in to.chunks_mut(CHUNK).zip(from.chunks(CHUNK)) {
        let mut kept = [0.0; CHUNK];
        kept.iter_mut().zip(from).for_each(|(kept, x)| *kept = x.clamp(-most, most));
        to.convert_from_f32_slice(&kept[..from.len()]);
    }
}

// Memory starts on a cache line, and every section of a page where its numbers may: nothing is cut off in what follows.

fn f32s(bytes: &[u8]) -> &[f32] {
    // SAFETY: any four bytes are a float32.
    unsafe { bytes.align_to() }.1
}

fn f32s_mut(bytes: &mut [u8]) -> &mut [f32] {
    // SAFETY: any four bytes are a float32, and a float32 is four bytes.
    unsafe { bytes.align_to_mut() }.1
}

pub(super) fn f16s(bytes: &[u8]) -> &[f16] {
    // SAFETY: any two bytes are a half-precision float.
    unsafe { bytes.align_to() }.1
}

pub(super) fn f16s_mut(bytes: &mut [u8]) -> &mut [f16] {
    // SAFETY: any two bytes are a half-precision float, and one of those is two bytes.
    unsafe { bytes.align_to_mut() }.1
}
