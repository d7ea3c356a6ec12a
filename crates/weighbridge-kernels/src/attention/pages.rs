//! Pages of keys and values.

use half::f16;

/// Tokens of a page.
pub const PAGE_TOKENS: usize = 32;
/// Pages of which memory is taken at once, so that growing moves none.
const SLAB_PAGES: usize = 32;

/// What numbers of keys and values are kept as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KvType {
    /// Float32.
    F32,
    /// Half-precision floats.
    F16,
}

impl KvType {
    /// Bytes of a number.
    pub fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 => 2,
        }
    }
}

/// Pages of one layer.
#[derive(Debug)]
pub struct Pages {
    pub(super) shape: PageShape,
    memory: Memory,
    count: usize,
}

/// What a page is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageShape {
    /// Heads of keys and values.
    pub heads: usize,
    /// Dimensions of a key.
    pub key_dim: usize,
    /// Dimensions of a value, a multiple of 8.
    pub value_dim: usize,
    /// What numbers are kept as.
    pub kind: KvType,
}

#[derive(Debug)]
enum Memory {
    F32(Vec<Box<[f32]>>),
    F16(Vec<Box<[f16]>>),
}

/// The head of a page as a kernel reads it.
#[derive(Clone, Copy)]
pub(super) enum Numbers<'a> {
    F32(&'a [f32]),
    F16(&'a [f16]),
}

impl PageShape {
    pub(super) fn head_numbers(self) -> usize {
        (self.key_dim + self.value_dim) * PAGE_TOKENS
    }

    /// Bytes of a page.
    pub fn bytes(self) -> usize {
        self.heads * self.head_numbers() * self.kind.bytes()
    }
}

impl Pages {
    /// No pages yet.
    pub fn new(shape: PageShape) -> Self {
        let memory = match shape.kind {
            KvType::F32 => Memory::F32(Vec::new()),
            KvType::F16 => Memory::F16(Vec::new()),
        };
        Self { shape, memory, count: 0 }
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
        let slabs = count.div_ceil(SLAB_PAGES);
        let numbers = SLAB_PAGES * self.shape.heads * self.shape.head_numbers();
        match &mut self.memory {
            Memory::F32(memory) => memory.resize_with(slabs.max(memory.len()), || vec![0.0; numbers].into()),
            Memory::F16(memory) => memory.resize_with(slabs.max(memory.len()), || vec![f16::ZERO; numbers].into()),
        }
        self.count = self.count.max(slabs * SLAB_PAGES);
    }

    /// Writes a token: keys `[heads, key_dim]` and values `[heads, value_dim]`.
    ///
    /// # Panics
    /// Where there is no such page or place in it, or the sizes are others.
    pub fn write(&mut self, page: usize, place: usize, keys: &[f32], values: &[f32]) {
        let PageShape { heads, key_dim, value_dim, .. } = self.shape;
        assert!(page < self.count && place < PAGE_TOKENS, "there is no place {place} in page {page}");
        assert_eq!((keys.len(), values.len()), (heads * key_dim, heads * value_dim), "a token has all its heads");
        let size = self.shape.head_numbers();
        for head in 0..heads {
            let (slab, start) = (page / SLAB_PAGES, (page % SLAB_PAGES * heads + head) * size);
            let (keys, values) = (&keys[head * key_dim..][..key_dim], &values[head * value_dim..][..value_dim]);
            match &mut self.memory {
                Memory::F32(memory) => {
                    put(&mut memory[slab][start..start + size], place, keys, values, |x| x);
                }
                Memory::F16(memory) => {
                    put(&mut memory[slab][start..start + size], place, keys, values, f16::from_f32);
                }
            }
        }
    }

    pub(super) fn head(&self, page: usize, head: usize) -> (Numbers<'_>, Numbers<'_>) {
        let size = self.shape.head_numbers();
        let (slab, start) = (page / SLAB_PAGES, (page % SLAB_PAGES * self.shape.heads + head) * size);
        let keys = self.shape.key_dim * PAGE_TOKENS;
        match &self.memory {
            Memory::F32(memory) => {
                let (keys, values) = memory[slab][start..start + size].split_at(keys);
                (Numbers::F32(keys), Numbers::F32(values))
            }
            Memory::F16(memory) => {
                let (keys, values) = memory[slab][start..start + size].split_at(keys);
                (Numbers::F16(keys), Numbers::F16(values))
            }
        }
    }
}

fn put<T: Copy>(page: &mut [T], place: usize, keys: &[f32], values: &[f32], as_kept: impl Fn(f32) -> T) {
    let (key_places, value_places) = page.split_at_mut(keys.len() * PAGE_TOKENS);
    for (line, key) in key_places.chunks_exact_mut(PAGE_TOKENS).zip(keys) {
        line[place] = as_kept(*key);
    }
    for (to, value) in value_places[place * values.len()..].iter_mut().zip(values) {
        *to = as_kept(*value);
    }
}
