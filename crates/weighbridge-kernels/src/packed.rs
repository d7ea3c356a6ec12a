//! Weights as the kernels read them: one copy, at the bits per weight that their file has.
//!
//! A matrix is cut into tiles of [`LANES`] outputs. A tile goes through the inputs in records: of 32 or 256 inputs for
//! the block formats, whose scales stand before their codes, of one or two inputs for floats. Codes of one record stand
//! by fours: four inputs of each lane, then the next four, so that a load of 64 bytes is sixteen lanes of what the
//! byte-product instructions take. Four-bit codes share bytes: the first four inputs below, the next four above.

mod blocks;
mod lanes;
mod memory;

use std::ops::Range;

use thiserror::Error;

pub(crate) use self::memory::Memory;
use crate::cpu::Cpu;

/// Outputs of a tile.
pub(crate) const LANES: usize = 16;
/// A huge page of x86 and of most others.
const HUGE_PAGE_BYTES: usize = 2 << 20;

/// How a matrix is packed. The block formats are those of GGUF, number for number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Layout {
    /// Float32.
    F32,
    /// Half-precision floats.
    F16,
    /// bfloat16.
    Bf16,
    /// Blocks of 32: a scale, four bits a number.
    Q4_0,
    /// Blocks of 32: a scale and a minimum, four bits a number.
    Q4_1,
    /// Blocks of 32: a scale, five bits a number.
    Q5_0,
    /// Blocks of 32: a scale and a minimum, five bits a number.
    Q5_1,
    /// Blocks of 32: a scale, eight bits a number.
    Q8_0,
    /// Blocks of 256: scales and minima of six bits for each 32, four bits a number.
    Q4K,
    /// Blocks of 256: scales and minima of six bits for each 32, five bits a number.
    Q5K,
    /// Blocks of 256: scales of eight bits for each 16, six bits a number.
    Q6K,
    /// Blocks of 32: a power of two, a four-bit float a number.
    Mxfp4,
    /// Blocks of 32: a scale, four bits a number, into a list of uneven values.
    Iq4Nl,
    /// Blocks of 256: scales of six bits for each 32, four bits a number, into a list of uneven values.
    Iq4Xs,
}

/// Why a matrix was not packed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PackError {
    /// Rows are no whole number of blocks.
    #[error("rows of {inputs} numbers are no whole number of blocks of {block}")]
    Inputs {
        /// Numbers of a row.
        inputs: usize,
        /// Numbers of a block.
        block: usize,
    },
    /// The bytes are not what shape and layout make.
    #[error("{found} bytes, where {wanted} are expected")]
    Bytes {
        /// Bytes given.
        found: usize,
        /// Bytes by shape and layout.
        wanted: usize,
    },
}

/// A matrix `[outputs, inputs]`, packed.
#[derive(Debug)]
pub struct PackedMatrix {
    layout: Layout,
    outputs: usize,
    inputs: usize,
    /// Bytes of a tile, a multiple of 64.
    tile_bytes: usize,
    memory: Memory,
}

impl Layout {
    /// All of them.
    pub const ALL: [Self; 14] = [
        Self::F32,
        Self::F16,
        Self::Bf16,
        Self::Q4_0,
        Self::Q4_1,
        Self::Q5_0,
        Self::Q5_1,
        Self::Q8_0,
        Self::Q4K,
        Self::Q5K,
        Self::Q6K,
        Self::Mxfp4,
        Self::Iq4Nl,
        Self::Iq4Xs,
    ];

    /// Numbers of one block in a file.
    pub fn block(self) -> usize {
        self.record().inputs
    }

    /// Bytes of one block in a file.
    pub fn block_bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 => 2,
            // Two numbers, since the products take them in pairs.
            Self::Bf16 => 4,
            Self::Mxfp4 => 17,
            Self::Q4_0 | Self::Iq4Nl => 18,
            Self::Q4_1 => 20,
            Self::Q5_0 => 22,
            Self::Q5_1 => 24,
            Self::Q8_0 => 34,
            Self::Iq4Xs => 136,
            Self::Q4K => 144,
            Self::Q5K => 176,
            Self::Q6K => 210,
        }
    }

    /// Whether its weights are floats, which are multiplied with float32 activations.
    pub fn is_float(self) -> bool {
        matches!(self, Self::F32 | Self::F16 | Self::Bf16)
    }

    /// Whether its codes have signs, so that activations meet them whole.
    pub(crate) fn has_signed_codes(self) -> bool {
        matches!(self, Self::Q8_0 | Self::Iq4Nl | Self::Iq4Xs)
    }

    fn record(self) -> Record {
        let (inputs, bytes) = match self {
            Self::F32 => (1, 64),
            Self::F16 => (1, 32),
            Self::Bf16 => (2, 64),
            Self::Mxfp4 => (32, 16 + 256),
            Self::Q4_0 | Self::Iq4Nl => (32, 32 + 256),
            Self::Q4_1 => (32, 64 + 256),
            Self::Q5_0 => (32, 32 + 64 + 256),
            Self::Q5_1 => (32, 64 + 64 + 256),
            Self::Q8_0 => (32, 32 + 512),
            Self::Iq4Xs => (256, 32 + 96 + 8 * 256),
            Self::Q4K => (256, 64 + 192 + 8 * 256),
            Self::Q5K => (256, 64 + 192 + 8 * (64 + 256)),
            Self::Q6K => (256, 32 + 256 + 16 * (64 + 128)),
        };
        Record { inputs, bytes }
    }
}

/// What a tile is made of.
#[derive(Clone, Copy, Debug)]
struct Record {
    inputs: usize,
    bytes: usize,
}

impl PackedMatrix {
    /// Packs a matrix `[outputs, inputs]` from `bytes`: its rows one after the other, in the blocks of a file, little
    /// endian.
    ///
    /// # Errors
    /// [`PackError`] where rows are no whole number of blocks (of two for [`Layout::Bf16`]) or the bytes are too many
    /// or too few.
    pub fn pack(layout: Layout, outputs: usize, inputs: usize, bytes: &[u8], cpu: &Cpu) -> Result<Self, PackError> {
        let record = layout.record();
        if !inputs.is_multiple_of(record.inputs) {
            return Err(PackError::Inputs { inputs, block: record.inputs });
        }
        let records = inputs / record.inputs;
        let row_bytes = records * layout.block_bytes();
        let wanted = row_bytes.saturating_mul(outputs);
        if bytes.len() != wanted {
            return Err(PackError::Bytes { found: bytes.len(), wanted });
        }
        let tile_bytes = (records * record.bytes).next_multiple_of(64);
        let tiles = outputs.div_ceil(LANES);
        let mut memory = Memory::zeros(tiles * tile_bytes);
        let places = Shared::new(memory.bytes_mut());
        // Tasks of a huge page, so that it is made by one thread: two that meet a new one both make it, and one is
        // thrown away. Of a small matrix there are as many tasks as let threads share it evenly.
        let at_once = (HUGE_PAGE_BYTES / tile_bytes.max(1)).min(tiles / (4 * cpu.pool().threads())).max(1);
        let at_once = at_once.max(tiles.div_ceil(60_000));
        let no_row = vec![0; row_bytes];
        // Whoever loads a model has time, and answers of others may be computed beside it.
        cpu.pool().run_beside(tiles.div_ceil(at_once), |task| {
            for tile in task * at_once..tiles.min((task + 1) * at_once) {
                // SAFETY: tiles do not overlap, and each is packed by one task.
                let place = unsafe { places.part(tile * tile_bytes..tile * tile_bytes + records * record.bytes) };
                let mut rows = [no_row.as_slice(); LANES];
                for (row, output) in rows.iter_mut().zip(tile * LANES..outputs) {
                    *row = &bytes[output * row_bytes..][..row_bytes];
                }
                blocks::pack_tile(cpu.tier(), layout, &rows, place);
            }
        });
        Ok(Self { layout, outputs, inputs, tile_bytes, memory })
    }

    /// How it is packed.
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// Its outputs.
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// Its inputs.
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// Bytes of memory.
    pub fn bytes(&self) -> usize {
        self.memory.bytes().len()
    }

    pub(crate) fn tiles(&self) -> usize {
        self.outputs.div_ceil(LANES)
    }

    /// The records of one tile, padded to whole lines; it starts on one.
    pub(crate) fn tile(&self, tile: usize) -> &[u8] {
        &self.memory.bytes()[tile * self.tile_bytes..(tile + 1) * self.tile_bytes]
    }

    /// The numbers of one output, as exactly as float32 holds them.
    ///
    /// # Panics
    /// Where there is no such output, or `to` is not as long as a row.
    pub fn row(&self, output: usize, to: &mut [f32]) {
        assert!(output < self.outputs, "there is no output {output}");
        assert_eq!(to.len(), self.inputs, "a row has as many numbers as the matrix has inputs");
        crate::product::expand_lane(self.layout, self.tile(output / LANES), output % LANES, to);
    }
}

/// Memory that several tasks write, each a part of its own.
pub(crate) struct Shared<T> {
    start: *mut T,
    length: usize,
}

// SAFETY: it gives out parts only through `part`, whose caller promises that no two of them overlap.
unsafe impl<T: Send> Sync for Shared<T> {}

impl<T> Shared<T> {
    /// Of `slice`, which is borrowed for as long as this is used by whoever keeps both in sight.
    pub(crate) fn new(slice: &mut [T]) -> Self {
        Self { start: slice.as_mut_ptr(), length: slice.len() }
    }

    /// A part of it.
    ///
    /// # Safety
    /// The slice it was made of is still borrowed for it alone, and no other part in use overlaps `range`.
    #[expect(clippy::mut_from_ref, reason = "parts do not overlap, as its caller promises")]
    pub(crate) unsafe fn part(&self, range: Range<usize>) -> &mut [T] {
        assert!(range.start <= range.end && range.end <= self.length, "a part lies within the whole");
        // SAFETY: within the slice by the line above; alone by the promise of the caller.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(range.start), range.len()) }
    }
}
