//! From the blocks of a file to the records of a tile.
//!
//! The layouts of the blocks are those of llama.cpp's `ggml/src/ggml-common.h`.

use super::lanes::{
    Blocks, LINE, Word, bits_by_fours, bytes, exchange, halves, high_nibbles, low_nibbles, store, words,
};
use super::{LANES, Layout};
use crate::tier::Tier;

/// Rows of a tile, all of one length. Those behind the last output are zeros, which are zeros in every format.
pub(super) type Rows<'a> = [&'a [u8]; LANES];

/// Writes the records of one tile.
pub(super) fn pack_tile(tier: Tier, layout: Layout, rows: &Rows<'_>, records: &mut [u8]) {
    #[cfg(target_arch = "x86_64")]
    if tier >= Tier::Avx2 {
        // SAFETY: a `Cpu`, whose tier this is, has one that its processor has.
        return unsafe { avx2(layout, rows, records) };
    }
    everywhere(layout, rows, records);
}

/// # Safety
/// The processor has AVX2.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
unsafe fn avx2(layout: Layout, rows: &Rows<'_>, records: &mut [u8]) {
    everywhere(layout, rows, records);
}

#[inline(always)]
fn everywhere(layout: Layout, rows: &Rows<'_>, records: &mut [u8]) {
    match layout {
        // Of two numbers in bfloat16 as of one in float32: four bytes of each lane.
        Layout::F32 | Layout::Bf16 => floats(rows, records),
        Layout::F16 => halves_in_twos(rows, records),
        Layout::Q4_0 | Layout::Iq4Nl => each(rows, records, q4_0),
        Layout::Q4_1 => each(rows, records, q4_1),
        Layout::Q5_0 => each(rows, records, q5_0),
        Layout::Q5_1 => each(rows, records, q5_1),
        Layout::Q8_0 => each(rows, records, q8_0),
        Layout::Q4K => each(rows, records, q4_k),
        Layout::Q5K => each(rows, records, q5_k),
        Layout::Q6K => each(rows, records, q6_k),
        Layout::Mxfp4 => each(rows, records, mxfp4),
        Layout::Iq4Xs => each(rows, records, iq4_xs),
    }
}

/// Packs each record from the blocks of its sixteen lanes.
#[inline(always)]
fn each<const BLOCK: usize, const RECORD: usize>(
    rows: &Rows<'_>,
    records: &mut [u8],
    pack: impl Fn(&Blocks<'_, BLOCK>, &mut [u8; RECORD]),
) {
    for (index, record) in records.as_chunks_mut::<RECORD>().0.iter_mut().enumerate() {
        let mut blocks = [&[0; BLOCK]; LANES];
        for (block, row) in blocks.iter_mut().zip(rows) {
            *block = &row.as_chunks().0[index];
        }
        pack(&blocks, record);
    }
}

/// Four bytes of each lane in turn: a line of each row at a time, so that what comes into the cache is used up.
#[inline(always)]
fn floats(rows: &Rows<'_>, records: &mut [u8]) {
    let (whole, rest) = records.as_chunks_mut::<{ LANES * LINE }>();
    for (index, record) in whole.iter_mut().enumerate() {
        let mut blocks = [&[0; LINE]; LANES];
        for (block, row) in blocks.iter_mut().zip(rows) {
            *block = &row.as_chunks().0[index];
        }
        let numbers: [Word; LANES] = words(&blocks, 0);
        numbers.iter().zip(record.as_chunks_mut().0).for_each(|(word, line)| store(word, line));
    }
    let packed = whole.len() * LINE;
    for (lane, row) in rows.iter().enumerate() {
        for (number, line) in row[packed..].as_chunks::<4>().0.iter().zip(rest.as_chunks_mut::<LINE>().0) {
            line[4 * lane..][..4].copy_from_slice(number);
        }
    }
}

/// Two bytes of each lane in turn.
#[inline(always)]
fn halves_in_twos(rows: &Rows<'_>, records: &mut [u8]) {
    const RECORD: usize = 2 * LANES;
    let (whole, rest) = records.as_chunks_mut::<{ 16 * RECORD }>();
    for (index, records) in whole.iter_mut().enumerate() {
        for (lane, row) in rows.iter().enumerate() {
            let numbers: &[u8; 32] = &row.as_chunks().0[index];
            for (number, record) in numbers.as_chunks::<2>().0.iter().zip(records.as_chunks_mut::<RECORD>().0) {
                record[2 * lane..][..2].copy_from_slice(number);
            }
        }
    }
    let packed = whole.len() * 32;
    for (lane, row) in rows.iter().enumerate() {
        for (number, record) in row[packed..].as_chunks::<2>().0.iter().zip(rest.as_chunks_mut::<RECORD>().0) {
            record[2 * lane..][..2].copy_from_slice(number);
        }
    }
}

#[inline(always)]
fn q4_0(blocks: &Blocks<'_, 18>, record: &mut [u8; 288]) {
    halves(blocks, 0, &mut record[..32]);
    sixteen_bytes(&words(blocks, 2), &mut record[32..]);
}

#[inline(always)]
fn q4_1(blocks: &Blocks<'_, 20>, record: &mut [u8; 320]) {
    halves(blocks, 0, &mut record[..32]);
    halves(blocks, 2, &mut record[32..64]);
    sixteen_bytes(&words(blocks, 4), &mut record[64..]);
}

#[inline(always)]
fn q5_0(blocks: &Blocks<'_, 22>, record: &mut [u8; 352]) {
    halves(blocks, 0, &mut record[..32]);
    fifth_bits(&words(blocks, 2), &mut record[32..96]);
    sixteen_bytes(&words(blocks, 6), &mut record[96..]);
}

#[inline(always)]
fn q5_1(blocks: &Blocks<'_, 24>, record: &mut [u8; 384]) {
    halves(blocks, 0, &mut record[..32]);
    halves(blocks, 2, &mut record[32..64]);
    fifth_bits(&words(blocks, 4), &mut record[64..128]);
    sixteen_bytes(&words(blocks, 8), &mut record[128..]);
}

#[inline(always)]
fn q8_0(blocks: &Blocks<'_, 34>, record: &mut [u8; 544]) {
    halves(blocks, 0, &mut record[..32]);
    let codes: [Word; 8] = words(blocks, 2);
    codes.iter().zip(record[32..].as_chunks_mut().0).for_each(|(word, line)| store(word, line));
}

#[inline(always)]
fn mxfp4(blocks: &Blocks<'_, 17>, record: &mut [u8; 272]) {
    bytes(blocks, 0, &mut record[..16]);
    sixteen_bytes(&words(blocks, 1), &mut record[16..]);
}

#[inline(always)]
fn q4_k(blocks: &Blocks<'_, 144>, record: &mut [u8; 2304]) {
    halves(blocks, 0, &mut record[..32]);
    halves(blocks, 2, &mut record[32..64]);
    scales_and_minima(&words(blocks, 4), &mut record[64..256]);
    for (index, groups) in record[256..].as_chunks_mut::<{ 8 * LINE }>().0.iter_mut().enumerate() {
        let (low, high) = groups.split_at_mut(4 * LINE);
        thirty_two_bytes(&words(blocks, 16 + 32 * index), low, high);
    }
}

#[inline(always)]
fn q5_k(blocks: &Blocks<'_, 176>, record: &mut [u8; 2816]) {
    halves(blocks, 0, &mut record[..32]);
    halves(blocks, 2, &mut record[32..64]);
    scales_and_minima(&words(blocks, 4), &mut record[64..256]);
    let mut high_bits: [Word; 8] = words(blocks, 16);
    by_group(&mut high_bits);
    let groups = record[256..].as_chunks_mut::<{ 10 * LINE }>().0;
    for (index, (bits, groups)) in high_bits.as_chunks::<2>().0.iter().zip(groups).enumerate() {
        let (low, high) = groups.split_at_mut(5 * LINE);
        let (low_bits, low) = low.split_at_mut(LINE);
        let (high_bits, high) = high.split_at_mut(LINE);
        put(&bits[0], low_bits, 0);
        put(&bits[1], high_bits, 0);
        thirty_two_bytes(&words(blocks, 48 + 32 * index), low, high);
    }
}

/// Of eight words, each with four inputs whose bytes hold a bit for each of eight groups, a word for each group: the
/// bits of four inputs one above the other.
#[inline(always)]
fn by_group(words: &mut [Word; 8]) {
    for (a, b) in [(0, 4), (1, 5), (2, 6), (3, 7)] {
        exchange(words, a, b, 4, 0x0f0f_0f0f);
    }
    for (a, b) in [(0, 2), (1, 3), (4, 6), (5, 7)] {
        exchange(words, a, b, 2, 0x3333_3333);
    }
    for (a, b) in [(0, 1), (2, 3), (4, 5), (6, 7)] {
        exchange(words, a, b, 1, 0x5555_5555);
    }
}

#[inline(always)]
fn q6_k(blocks: &Blocks<'_, 210>, record: &mut [u8; 3360]) {
    halves(blocks, 208, &mut record[..32]);
    for (step, scales) in record[32..288].as_chunks_mut::<LANES>().0.iter_mut().enumerate() {
        bytes(blocks, 192 + step, scales);
    }
    let codes: [Word; 32] = words(blocks, 0);
    let mut high_bits: [Word; 16] = words(blocks, 128);
    by_quarter(&mut high_bits);
    // Steps of sixteen inputs: eight in each of two parts, two in each of its quarters.
    for (step, place) in record[288..].as_chunks_mut::<{ 3 * LINE }>().0.iter_mut().enumerate() {
        let (part, quarter, half) = (step / 8, step % 8 / 2, step % 2);
        put(&high_bits[8 * part + 4 * half + quarter], place, 0);
        let first = 16 * part + 8 * (quarter % 2) + 4 * half;
        let [a, b, c, d] = [codes[first], codes[first + 1], codes[first + 2], codes[first + 3]];
        if quarter < 2 {
            put(&low_nibbles(&a, &b), place, 1);
            put(&low_nibbles(&c, &d), place, 2);
        } else {
            put(&high_nibbles(&a, &b), place, 1);
            put(&high_nibbles(&c, &d), place, 2);
        }
    }
}

/// Of each four words, each with four inputs whose bytes hold two bits for each of four quarters, a word for each
/// quarter: the bits of four inputs one above the other.
#[inline(always)]
fn by_quarter(words: &mut [Word; 16]) {
    for words in words.as_chunks_mut::<4>().0 {
        exchange(words, 0, 2, 4, 0x0f0f_0f0f);
        exchange(words, 1, 3, 4, 0x0f0f_0f0f);
        exchange(words, 0, 1, 2, 0x3333_3333);
        exchange(words, 2, 3, 2, 0x3333_3333);
    }
}

#[inline(always)]
fn iq4_xs(blocks: &Blocks<'_, 136>, record: &mut [u8; 2176]) {
    halves(blocks, 0, &mut record[..32]);
    let [head, low]: [Word; 2] = words(blocks, 0);
    let mut scales = [[0; LANES]; 2];
    for lane in 0..LANES {
        let (high, low) = (head[lane] >> 16, low[lane]);
        scales[0][lane] = nibbles_to_bytes(low & 0xffff) | twos_to_bytes(high & 0xff) << 4;
        scales[1][lane] = nibbles_to_bytes(low >> 16) | twos_to_bytes(high >> 8) << 4;
    }
    six_bits(&scales[0], &mut record[32..80]);
    six_bits(&scales[1], &mut record[80..128]);
    for (index, group) in record[128..].as_chunks_mut::<{ 4 * LINE }>().0.iter_mut().enumerate() {
        sixteen_bytes(&words(blocks, 8 + 16 * index), group);
    }
}

/// Four numbers of four bits, each to a byte.
#[inline(always)]
fn nibbles_to_bytes(nibbles: u32) -> u32 {
    let spread = (nibbles | nibbles << 8) & 0x00ff_00ff;
    (spread | spread << 4) & 0x0f0f_0f0f
}

/// Four numbers of two bits, each to a byte.
#[inline(always)]
fn twos_to_bytes(twos: u32) -> u32 {
    let spread = (twos | twos << 12) & 0x000f_000f;
    (spread | spread << 6) & 0x0303_0303
}

/// The twelve bytes of a Q4_K or Q5_K block: six bits of scale and of minimum for each of eight groups.
#[inline(always)]
fn scales_and_minima(packed: &[Word; 3], lists: &mut [u8]) {
    const SIX: u32 = 0x3f3f_3f3f;
    const FOUR: u32 = 0x0f0f_0f0f;
    const TWO: u32 = 0x0303_0303;
    let mut words = [[0; LANES]; 4];
    for lane in 0..LANES {
        let [scales, minima, both] = [packed[0][lane], packed[1][lane], packed[2][lane]];
        words[0][lane] = scales & SIX;
        words[1][lane] = both & FOUR | (scales >> 6 & TWO) << 4;
        words[2][lane] = minima & SIX;
        words[3][lane] = both >> 4 & FOUR | (minima >> 6 & TWO) << 4;
    }
    for (word, lists) in words.iter().zip(lists.as_chunks_mut::<48>().0) {
        six_bits(word, lists);
    }
}

/// Writes four numbers of six bits of each lane to three lists of bytes: the fourth has the two high bits of each.
#[inline(always)]
fn six_bits(numbers: &Word, lists: &mut [u8]) {
    for (index, list) in lists.as_chunks_mut::<LANES>().0.iter_mut().enumerate() {
        for (byte, number) in list.iter_mut().zip(numbers) {
            let two = number >> (24 + 2 * index) & 3;
            *byte = (number >> (8 * index) & 0x3f | two << 6) as u8;
        }
    }
}

/// Writes the lines of 32 codes in sixteen bytes: first all low halves, then all high ones.
#[inline(always)]
fn sixteen_bytes(codes: &[Word; 4], lines: &mut [u8]) {
    let [a, b, c, d] = codes;
    put(&low_nibbles(a, b), lines, 0);
    put(&low_nibbles(c, d), lines, 1);
    put(&high_nibbles(a, b), lines, 2);
    put(&high_nibbles(c, d), lines, 3);
}

/// Writes the lines of two groups of 32 codes that share bytes.
#[inline(always)]
fn thirty_two_bytes(codes: &[Word; 8], low: &mut [u8], high: &mut [u8]) {
    for (line, [a, b]) in codes.as_chunks::<2>().0.iter().enumerate() {
        put(&low_nibbles(a, b), low, line);
        put(&high_nibbles(a, b), high, line);
    }
}

#[inline(always)]
fn fifth_bits(bits: &[Word; 1], line: &mut [u8]) {
    put(&bits_by_fours(&bits[0]), line, 0);
}

#[inline(always)]
fn put(word: &Word, lines: &mut [u8], line: usize) {
    store(word, &mut lines.as_chunks_mut().0[line]);
}

#[cfg(test)]
mod plain;
