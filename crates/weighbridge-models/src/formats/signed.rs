//! Formats of less than two bits: eight numbers are one point of a grid of -1, 0 and 1, moved a little up or down.

use half::f16;

use super::tables::IQ1;
use super::{half_at, u16_at};

/// How far a point is moved.
const SHIFT: f32 = 0.125;

/// Scale; for every eight numbers the low eight bits of the point; for each group of 32 the four times three high bits,
/// three bits of scale and the direction of the move.
pub(super) fn iq1_s(block: &[u8; 50], numbers: &mut [f32; 256]) {
    let scale = half_at(block, 0);
    for (index, eight) in numbers.as_chunks_mut::<8>().0.iter_mut().enumerate() {
        let rest = u16_at(block, 34 + 2 * (index / 4));
        let high = rest >> (3 * (index % 4)) & 7;
        let scale = scale * f32::from(2 * (rest >> 12 & 7) + 1);
        write(u16::from(block[2 + index]) | high << 8, scale, rest >> 15 == 1, eight);
    }
}

/// For every eight numbers the low eight bits of the point; three high bits and the direction of the move; for every
/// sixteen numbers three bits of scale, and between those, four bits in each of four words, the scale of all.
pub(super) fn iq1_m(block: &[u8; 56], numbers: &mut [f32; 256]) {
    let word = |index| u16_at(block, 48 + 2 * index);
    let scale = (0..4).fold(0, |bits, index| bits | (word(index) >> 12) << (4 * index));
    let scale = f16::from_bits(scale).to_f32();
    for (index, eight) in numbers.as_chunks_mut::<8>().0.iter_mut().enumerate() {
        let rest = block[32 + index / 2] >> (4 * (index % 2));
        let sixteen = index / 2;
        let step = word(sixteen / 4) >> (3 * (sixteen % 4)) & 7;
        let scale = scale * f32::from(2 * step + 1);
        write(u16::from(block[index]) | u16::from(rest & 7) << 8, scale, rest & 8 != 0, eight);
    }
}

/// The numbers of the point of this index, which has eleven bits.
fn write(index: u16, scale: f32, down: bool, numbers: &mut [f32; 8]) {
    let point = IQ1[usize::from(index)];
    let shift = if down { -SHIFT } else { SHIFT };
    for (index, number) in numbers.iter_mut().enumerate() {
        let value = f32::from(point >> (2 * index) & 3) - 1.0;
        *number = scale * (value + shift);
    }
}
