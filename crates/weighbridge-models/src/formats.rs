//! ggml's block formats that candle does not expand, each by its formula.
//!
//! Layouts and formulas are those of llama.cpp (`ggml/src/ggml-common.h` and `ggml/src/ggml-quants.c`); products are
//! taken in the same order, so that every number comes out the same to the last bit. A scale is a half-precision float
//! unless a format says otherwise, and all numbers are little endian.

mod codebooks;
mod float8;
mod nibbles;
mod signed;
mod tables;
mod ternary;

#[cfg(test)]
mod tests;

use half::f16;
use rayon::prelude::*;

pub(crate) use self::float8::{e4m3_to_f32, e5m2_to_f32, e8m0_to_f32};

/// A format that is expanded here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Format {
    Iq4Nl,
    Iq4Xs,
    Mxfp4,
    Iq3S,
    Iq3Xxs,
    Iq2S,
    Iq2Xs,
    Iq2Xxs,
    Iq1S,
    Iq1M,
    Tq1_0,
    Tq2_0,
}

/// Blocks that a thread takes at once: enough work to be worth a thread.
const BLOCKS_AT_ONCE: usize = 512;

impl Format {
    /// The numbers of whole blocks; none where `blocks` ends within one.
    pub(crate) fn expand(self, blocks: &[u8]) -> Option<Vec<f32>> {
        match self {
            Self::Iq4Nl => each(blocks, nibbles::iq4_nl),
            Self::Iq4Xs => each(blocks, nibbles::iq4_xs),
            Self::Mxfp4 => each(blocks, nibbles::mxfp4),
            Self::Iq3S => each(blocks, codebooks::iq3_s),
            Self::Iq3Xxs => each(blocks, codebooks::iq3_xxs),
            Self::Iq2S => each(blocks, codebooks::iq2_s),
            Self::Iq2Xs => each(blocks, codebooks::iq2_xs),
            Self::Iq2Xxs => each(blocks, codebooks::iq2_xxs),
            Self::Iq1S => each(blocks, signed::iq1_s),
            Self::Iq1M => each(blocks, signed::iq1_m),
            Self::Tq1_0 => each(blocks, ternary::tq1_0),
            Self::Tq2_0 => each(blocks, ternary::tq2_0),
        }
    }
}

/// Expands block by block, from `BYTES` to `NUMBERS`.
fn each<const BYTES: usize, const NUMBERS: usize>(
    data: &[u8],
    expand: fn(&[u8; BYTES], &mut [f32; NUMBERS]),
) -> Option<Vec<f32>> {
    let (blocks, []) = data.as_chunks::<BYTES>() else { return None };
    let mut numbers = vec![0.0; blocks.len() * NUMBERS];
    let (places, _) = numbers.as_chunks_mut::<NUMBERS>();
    let pairs = places.par_iter_mut().zip(blocks).with_min_len(BLOCKS_AT_ONCE);
    pairs.for_each(|(place, block)| expand(block, place));
    Some(numbers)
}

/// The half-precision float at `at`, which must lie within the block.
fn half_at(block: &[u8], at: usize) -> f32 {
    f16::from_bits(u16_at(block, at)).to_f32()
}

/// The two bytes at `at`, which must lie within the block.
fn u16_at(block: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([block[at], block[at + 1]])
}

/// The four bytes at `at`, which must lie within the block.
fn u32_at(block: &[u8], at: usize) -> u32 {
    u32::from(u16_at(block, at)) | u32::from(u16_at(block, at + 2)) << 16
}
