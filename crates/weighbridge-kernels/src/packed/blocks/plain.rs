//! The plain twin: code by code, as the formats are described.

use super::*;

/// Writes the records of one tile, which are zeros.
fn pack_tile(layout: Layout, rows: &Rows<'_>, records: &mut [u8]) {
    let pack: fn(&[u8], usize, &mut [u8]) = match layout {
        Layout::F32 => |block, lane, record| record[4 * lane..][..4].copy_from_slice(block),
        Layout::F16 => |block, lane, record| record[2 * lane..][..2].copy_from_slice(block),
        Layout::Bf16 => |block, lane, record| record[4 * lane..][..4].copy_from_slice(block),
        Layout::Q4_0 | Layout::Iq4Nl => |block, lane, record| {
            half(record, 0, lane, block, 0);
            nibbles(&mut record[32..], lane, &spread_nibbles(&block[2..18]));
        },
        Layout::Q4_1 => |block, lane, record| {
            half(record, 0, lane, block, 0);
            half(record, 32, lane, block, 2);
            nibbles(&mut record[64..], lane, &spread_nibbles(&block[4..20]));
        },
        Layout::Q5_0 => |block, lane, record| {
            half(record, 0, lane, block, 0);
            let codes = with_fifth_bit(spread_nibbles(&block[6..22]), &block[2..6]);
            high_bits::<1>(&mut record[32..96], lane, &codes);
            nibbles(&mut record[96..], lane, &codes);
        },
        Layout::Q5_1 => |block, lane, record| {
            half(record, 0, lane, block, 0);
            half(record, 32, lane, block, 2);
            let codes = with_fifth_bit(spread_nibbles(&block[8..24]), &block[4..8]);
            high_bits::<1>(&mut record[64..128], lane, &codes);
            nibbles(&mut record[128..], lane, &codes);
        },
        Layout::Q8_0 => |block, lane, record| {
            half(record, 0, lane, block, 0);
            bytes(&mut record[32..], lane, &block[2..34]);
        },
        Layout::Mxfp4 => |block, lane, record| {
            record[lane] = block[0];
            nibbles(&mut record[16..], lane, &spread_nibbles(&block[1..17]));
        },
        Layout::Q4K => |block, lane, record| {
            scales_and_minima(block, lane, record);
            for (group, codes) in groups_of_32(&block[16..144]).iter().enumerate() {
                nibbles(&mut record[256 + 256 * group..], lane, codes);
            }
        },
        Layout::Q5K => |block, lane, record| {
            scales_and_minima(block, lane, record);
            for (group, codes) in groups_of_32(&block[48..176]).iter_mut().enumerate() {
                for (code, high) in codes.iter_mut().zip(&block[16..48]) {
                    *code |= (high >> group & 1) << 4;
                }
                let place = &mut record[256 + 320 * group..][..320];
                high_bits::<1>(&mut place[..64], lane, codes);
                nibbles(&mut place[64..], lane, codes);
            }
        },
        Layout::Q6K => |block, lane, record| {
            half(record, 0, lane, block, 208);
            for (step, codes) in six_bits(&block[..192]).as_chunks::<16>().0.iter().enumerate() {
                record[32 + 16 * step + lane] = block[192 + step];
                let place = &mut record[288 + 192 * step..][..192];
                high_bits::<2>(&mut place[..64], lane, codes);
                nibbles(&mut place[64..], lane, codes);
            }
        },
        Layout::Iq4Xs => |block, lane, record| {
            half(record, 0, lane, block, 0);
            let high = u16::from_le_bytes([block[2], block[3]]);
            for group in 0..8 {
                let low = block[4 + group / 2] >> (4 * (group % 2)) & 15;
                six_bit(&mut record[32..128], group, lane, low | ((high >> (2 * group) & 3) as u8) << 4);
                let codes = spread_nibbles(&block[8 + 16 * group..][..16]);
                nibbles(&mut record[128 + 256 * group..], lane, &codes);
            }
        },
    };
    let block_bytes = layout.block_bytes();
    for (index, record) in records.chunks_exact_mut(layout.record().bytes).enumerate() {
        for (lane, row) in rows.iter().enumerate() {
            pack(&row[index * block_bytes..][..block_bytes], lane, record);
        }
    }
}

/// Copies a half-precision float to its lane of a list of sixteen at `at`.
fn half(record: &mut [u8], at: usize, lane: usize, block: &[u8], from: usize) {
    record[at + 2 * lane..][..2].copy_from_slice(&block[from..from + 2]);
}

/// The 32 codes of 16 bytes: first all low halves, then all high ones.
fn spread_nibbles(packed: &[u8]) -> [u8; 32] {
    std::array::from_fn(|at| if at < 16 { packed[at] & 15 } else { packed[at - 16] >> 4 })
}

fn with_fifth_bit(mut codes: [u8; 32], high: &[u8]) -> [u8; 32] {
    for (at, code) in codes.iter_mut().enumerate() {
        *code |= (high[at / 8] >> (at % 8) & 1) << 4;
    }
    codes
}

/// Of 128 bytes the codes of eight groups: 32 low halves, then the 32 high halves of the same bytes.
fn groups_of_32(packed: &[u8]) -> [[u8; 32]; 8] {
    std::array::from_fn(|group| std::array::from_fn(|at| packed[32 * (group / 2) + at] >> (4 * (group % 2)) & 15))
}

/// Of 128 bytes of low and 64 of high bits the 256 codes of a Q6_K block.
fn six_bits(packed: &[u8]) -> [u8; 256] {
    let (low, high) = packed.split_at(128);
    std::array::from_fn(|at| {
        let (part, quarter, index) = (at / 128, at % 128 / 32, at % 32);
        let low = low[64 * part + 32 * (quarter % 2) + index] >> (4 * (quarter / 2)) & 15;
        low | (high[32 * part + index] >> (2 * quarter) & 3) << 4
    })
}

/// The head of a Q4_K or Q5_K block: two scales, and six bits of scale and minimum for each of eight groups.
fn scales_and_minima(block: &[u8], lane: usize, record: &mut [u8]) {
    half(record, 0, lane, block, 0);
    half(record, 32, lane, block, 2);
    let packed = &block[4..16];
    for group in 0..8 {
        let (scale, minimum) = match group {
            0..4 => (packed[group] & 63, packed[group + 4] & 63),
            _ => {
                (packed[group + 4] & 15 | packed[group - 4] >> 6 << 4, packed[group + 4] >> 4 | packed[group] >> 6 << 4)
            }
        };
        six_bit(&mut record[64..160], group, lane, scale);
        six_bit(&mut record[160..256], group, lane, minimum);
    }
}

/// Writes a number of six bits for one of eight groups. Four groups share three lists of sixteen bytes: the fourth has
/// the two high bits of each.
fn six_bit(lists: &mut [u8], group: usize, lane: usize, number: u8) {
    let lists = &mut lists[48 * (group / 4)..][..48];
    match group % 4 {
        3 => (0..3).for_each(|list| lists[16 * list + lane] |= (number >> (2 * list) & 3) << 6),
        list => lists[16 * list + lane] |= number,
    }
}

/// Writes codes of four bits (what is above is left out), eight inputs to 64 bytes.
fn nibbles(place: &mut [u8], lane: usize, codes: &[u8]) {
    for (codes, bytes) in codes.chunks_exact(8).zip(place.chunks_exact_mut(64)) {
        for j in 0..4 {
            bytes[4 * lane + j] = codes[j] & 15 | codes[4 + j] << 4;
        }
    }
}

/// Writes the bits of codes above the fourth, `BITS` of each, four inputs at a time one above the other.
fn high_bits<const BITS: usize>(place: &mut [u8], lane: usize, codes: &[u8]) {
    for (four, codes) in codes.chunks_exact(4).enumerate() {
        for (j, code) in codes.iter().enumerate() {
            place[4 * lane + j] |= code >> 4 << (BITS * four);
        }
    }
}

/// Writes codes of a byte, four inputs to 64 bytes.
fn bytes(place: &mut [u8], lane: usize, codes: &[u8]) {
    for (codes, bytes) in codes.chunks_exact(4).zip(place.chunks_exact_mut(64)) {
        bytes[4 * lane..][..4].copy_from_slice(codes);
    }
}

/// Bytes that look random and are the same each time (Marsaglia's xorshift).
fn random_bytes(count: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let byte = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 24) as u8
    };
    std::iter::repeat_with(byte).take(count).collect()
}

#[test]
fn lines_at_a_time_are_as_code_by_code_on_every_tier() {
    for layout in Layout::ALL {
        for blocks in [1, 2, 15, 16, 17, 50] {
            let length = blocks * layout.block_bytes();
            let rows = random_bytes(LANES * length);
            let rows: Rows<'_> = std::array::from_fn(|lane| &rows[lane * length..][..length]);
            let mut wanted = vec![0; blocks * layout.record().bytes];
            pack_tile(layout, &rows, &mut wanted);
            for tier in Tier::ALL.into_iter().filter(|tier| tier.is_available()) {
                let mut found = vec![0xff; wanted.len()];
                super::pack_tile(tier, layout, &rows, &mut found);
                assert!(found == wanted, "{layout:?} in {blocks} blocks on {tier}");
            }
        }
    }
}
