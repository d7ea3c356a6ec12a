//! Sixteen lanes of four bytes, the line of a record, and how codes are put together in it.
//!
//! Everything is done with a whole line at a time and inlined into one function for each tier, so that the compiler
//! makes vectors of it.

use super::LANES;

/// Bytes of a line: four of each lane.
pub(super) const LINE: usize = 4 * LANES;

/// Four bytes of each lane, the first lowest.
pub(super) type Word = [u32; LANES];

/// The block of each lane.
pub(super) type Blocks<'a, const BLOCK: usize> = [&'a [u8; BLOCK]; LANES];

const LOW: u32 = 0x0f0f_0f0f;

/// The words of each block from its byte `from` on.
#[inline(always)]
pub(super) fn words<const BLOCK: usize, const COUNT: usize>(blocks: &Blocks<'_, BLOCK>, from: usize) -> [Word; COUNT] {
    let mut words = [[0; LANES]; COUNT];
    let (fours, rest) = words.as_chunks_mut::<4>();
    for (index, words) in fours.iter_mut().enumerate() {
        four_words(blocks, from + 16 * index, words);
    }
    let from = from + 16 * fours.len();
    for (index, word) in rest.iter_mut().enumerate() {
        for (number, block) in word.iter_mut().zip(blocks) {
            *number = number_at(block, from + 4 * index);
        }
    }
    words
}

/// Four words, four lanes at a time: lane by lane the compiler would write four bytes at a time what is then read as a
/// line, and wait for each.
#[inline(always)]
fn four_words<const BLOCK: usize>(blocks: &Blocks<'_, BLOCK>, from: usize, words: &mut [Word; 4]) {
    for (fourth, blocks) in blocks.as_chunks::<4>().0.iter().enumerate() {
        let mut rows = [&[0; 16]; 4];
        for (row, block) in rows.iter_mut().zip(blocks) {
            *row = &block[from..].as_chunks().0[0];
        }
        for (word, column) in words.iter_mut().zip(transposed(rows)) {
            word.as_chunks_mut::<4>().0[fourth] = column;
        }
    }
}

/// The columns of four rows of four numbers.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn transposed(rows: [&[u8; 16]; 4]) -> [[u32; 4]; 4] {
    use std::arch::x86_64::*;
    use std::mem::transmute;

    let [a, b, c, d] = rows;
    // SAFETY: every x86-64 processor has SSE2; each load is of an array of sixteen bytes and needs no alignment; a
    // register is sixteen bytes, as are four numbers, and any bytes make such.
    unsafe {
        let (a, b) = (_mm_loadu_si128(a.as_ptr().cast()), _mm_loadu_si128(b.as_ptr().cast()));
        let (c, d) = (_mm_loadu_si128(c.as_ptr().cast()), _mm_loadu_si128(d.as_ptr().cast()));
        let (low, high) = (_mm_unpacklo_epi32(a, b), _mm_unpackhi_epi32(a, b));
        let (low_2, high_2) = (_mm_unpacklo_epi32(c, d), _mm_unpackhi_epi32(c, d));
        [
            transmute::<__m128i, [u32; 4]>(_mm_unpacklo_epi64(low, low_2)),
            transmute::<__m128i, [u32; 4]>(_mm_unpackhi_epi64(low, low_2)),
            transmute::<__m128i, [u32; 4]>(_mm_unpacklo_epi64(high, high_2)),
            transmute::<__m128i, [u32; 4]>(_mm_unpackhi_epi64(high, high_2)),
        ]
    }
}

#[cfg(not(target_arch = "x86_64"))]
#[inline(always)]
fn transposed(rows: [&[u8; 16]; 4]) -> [[u32; 4]; 4] {
    let mut columns = [[0; 4]; 4];
    for (column, numbers) in columns.iter_mut().enumerate() {
        for (number, row) in numbers.iter_mut().zip(rows) {
            *number = number_at(row, 4 * column);
        }
    }
    columns
}

#[inline(always)]
fn number_at<const BLOCK: usize>(block: &[u8; BLOCK], from: usize) -> u32 {
    u32::from_le_bytes([block[from], block[from + 1], block[from + 2], block[from + 3]])
}

/// Copies the two bytes of each block from its byte `from` on.
#[inline(always)]
pub(super) fn halves<const BLOCK: usize>(blocks: &Blocks<'_, BLOCK>, from: usize, to: &mut [u8]) {
    for (block, to) in blocks.iter().zip(to.as_chunks_mut::<2>().0) {
        *to = [block[from], block[from + 1]];
    }
}

/// Copies the byte `from` of each block.
#[inline(always)]
pub(super) fn bytes<const BLOCK: usize>(blocks: &Blocks<'_, BLOCK>, from: usize, to: &mut [u8]) {
    for (block, to) in blocks.iter().zip(to) {
        *to = block[from];
    }
}

#[inline(always)]
pub(super) fn store(word: &Word, line: &mut [u8; LINE]) {
    for (number, to) in word.iter().zip(line.as_chunks_mut::<4>().0) {
        *to = number.to_le_bytes();
    }
}

/// The low four bits of each byte of `a`, and above them those of `b`.
#[inline(always)]
pub(super) fn low_nibbles(a: &Word, b: &Word) -> Word {
    let mut line = [0; LANES];
    for lane in 0..LANES {
        line[lane] = a[lane] & LOW | (b[lane] & LOW) << 4;
    }
    line
}

/// The high four bits of each byte of `a`, and above them those of `b`.
#[inline(always)]
pub(super) fn high_nibbles(a: &Word, b: &Word) -> Word {
    let mut line = [0; LANES];
    for lane in 0..LANES {
        line[lane] = a[lane] >> 4 & LOW | b[lane] & !LOW;
    }
    line
}

/// Exchanges, in each lane, the bits `mask << shift` of the word `a` for the bits `mask` of the later word `b`.
#[inline(always)]
pub(super) fn exchange(words: &mut [Word], a: usize, b: usize, shift: u32, mask: u32) {
    let (before, after) = words.split_at_mut(b);
    for (a, b) in before[a].iter_mut().zip(&mut after[0]) {
        let other = (*a >> shift ^ *b) & mask;
        *b ^= other;
        *a ^= other << shift;
    }
}

/// Of bit `4 i + j` of each lane bit `8 j + i`: the bits of 32 codes in order, to those of four inputs one above the
/// other.
#[inline(always)]
pub(super) fn bits_by_fours(word: &Word) -> Word {
    let mut bits = *word;
    for number in &mut bits {
        // Each exchanges two places of the number of a bit: `i i i j j` becomes `j j i i i`.
        for (shift, mask) in [(14, 0x0000_cccc), (7, 0x00aa_00aa), (2, 0x0c0c_0c0c), (1, 0x2222_2222)] {
            let other = (*number >> shift ^ *number) & mask;
            *number ^= other | other << shift;
        }
    }
    bits
}
