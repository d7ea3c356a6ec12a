//! Formats of two and three bits that take several magnitudes at once, as one point of a grid, and keep their signs
//! apart. Groups of 32 numbers share one or two small scales.

use super::tables::{IQ2_S, IQ2_XS, IQ2_XXS, IQ3_S, IQ3_XXS};
use super::{half_at, u16_at, u32_at};

/// Magnitudes on the grids of two bits; nothing stands for the fourth.
const TWO_BITS: [f32; 4] = [8.0, 25.0, 43.0, 0.0];
/// Magnitudes on the grid of IQ3_XXS.
const THREE_BITS: [f32; 8] = [4.0, 12.0, 20.0, 28.0, 36.0, 44.0, 52.0, 62.0];
/// Magnitudes on the grid of IQ3_S.
const THREE_BITS_ODD: [f32; 8] = [1.0, 3.0, 5.0, 7.0, 9.0, 11.0, 13.0, 15.0];

/// Scale; for each group four points, then four times seven signs and four bits of scale.
pub(super) fn iq2_xxs(block: &[u8; 66], numbers: &mut [f32; 256]) {
    let scale = half_at(block, 0);
    for (group, place) in numbers.as_chunks_mut::<32>().0.iter_mut().enumerate() {
        let points = &block[2 + 8 * group..];
        let rest = u32_at(points, 4);
        let scale = scale * (0.5 + (rest >> 28) as f32) * 0.25;
        for (index, eight) in place.as_chunks_mut::<8>().0.iter_mut().enumerate() {
            let signs = with_eighth(rest >> (7 * index));
            write_eight(IQ2_XXS[usize::from(points[index])], scale, signs, eight);
        }
    }
}

/// Scale; for every eight numbers nine bits of point and seven signs; two scales of four bits for each group.
pub(super) fn iq2_xs(block: &[u8; 74], numbers: &mut [f32; 256]) {
    let scale = half_at(block, 0);
    for (index, eight) in numbers.as_chunks_mut::<8>().0.iter_mut().enumerate() {
        let packed = u16_at(block, 2 + 2 * index);
        let scale = scale * (0.5 + four_bits(&block[66..], index / 2)) * 0.25;
        write_eight(IQ2_XS[usize::from(packed & 511)], scale, with_eighth(u32::from(packed >> 9)), eight);
    }
}

/// Scale; for every eight numbers the low eight bits of the point; their signs; the high two bits; two scales of four
/// bits for each group.
pub(super) fn iq2_s(block: &[u8; 82], numbers: &mut [f32; 256]) {
    let scale = half_at(block, 0);
    for (index, eight) in numbers.as_chunks_mut::<8>().0.iter_mut().enumerate() {
        let high = block[66 + index / 4] >> (2 * (index % 4)) & 3;
        let point = usize::from(block[2 + index]) | usize::from(high) << 8;
        let scale = scale * (0.5 + four_bits(&block[74..], index / 2)) * 0.25;
        write_eight(IQ2_S[point], scale, block[34 + index], eight);
    }
}

/// Scale; a point for every four numbers; for each group four times seven signs and four bits of scale.
pub(super) fn iq3_xxs(block: &[u8; 98], numbers: &mut [f32; 256]) {
    let scale = half_at(block, 0);
    for (group, place) in numbers.as_chunks_mut::<32>().0.iter_mut().enumerate() {
        let rest = u32_at(block, 66 + 4 * group);
        let scale = scale * (0.5 + (rest >> 28) as f32) * 0.5;
        for (index, four) in place.as_chunks_mut::<4>().0.iter_mut().enumerate() {
            let signs = with_eighth(rest >> (7 * (index / 2))) >> (4 * (index % 2));
            let point = IQ3_XXS[usize::from(block[2 + 8 * group + index])];
            write_four(point, &THREE_BITS, scale, signs, four);
        }
    }
}

/// Scale; for every four numbers the low eight bits of the point; the ninth bits; the signs; a scale of four bits for
/// each group.
pub(super) fn iq3_s(block: &[u8; 110], numbers: &mut [f32; 256]) {
    let scale = half_at(block, 0);
    for (index, four) in numbers.as_chunks_mut::<4>().0.iter_mut().enumerate() {
        let high = block[66 + index / 8] >> (index % 8) & 1;
        let point = usize::from(block[2 + index]) | usize::from(high) << 8;
        let signs = block[74 + index / 2] >> (4 * (index % 2));
        let scale = scale * (1.0 + 2.0 * four_bits(&block[106..], index / 8));
        write_four(IQ3_S[point], &THREE_BITS_ODD, scale, signs, four);
    }
}

/// The number in the half byte at `index`, low halves first.
fn four_bits(bytes: &[u8], index: usize) -> f32 {
    f32::from(bytes[index / 2] >> (4 * (index % 2)) & 15)
}

/// The lowest seven signs and the eighth, which makes the count of negative ones even.
fn with_eighth(signs: u32) -> u8 {
    let seven = signs as u8 & 0x7f;
    seven | (seven.count_ones() as u8 & 1) << 7
}

fn write_eight(point: u16, scale: f32, signs: u8, numbers: &mut [f32; 8]) {
    for (index, number) in numbers.iter_mut().enumerate() {
        let magnitude = scale * TWO_BITS[usize::from(point >> (2 * index) & 3)];
        *number = if signs >> index & 1 == 1 { -magnitude } else { magnitude };
    }
}

fn write_four(point: u16, values: &[f32; 8], scale: f32, signs: u8, numbers: &mut [f32; 4]) {
    for (index, number) in numbers.iter_mut().enumerate() {
        let magnitude = scale * values[usize::from(point >> (3 * index) & 7)];
        *number = if signs >> index & 1 == 1 { -magnitude } else { magnitude };
    }
}
