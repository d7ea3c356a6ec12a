//! Formats that keep four bits a number, each the place of a value in a list of sixteen.

use weighbridge_kernels::{FLOATS, UNEVEN};

use super::{half_at, u16_at};

/// The four-bit floats, doubled to be whole. The kernels have them from 0 to 24.
const FLOATS_DOUBLED: [i8; 16] = {
    let mut values = [0; 16];
    let mut at = 0;
    while at < values.len() {
        values[at] = FLOATS[at] as i8 - 12;
        at += 1;
    }
    values
};

/// Scale; 16 bytes, whose low halves come first.
pub(super) fn iq4_nl(block: &[u8; 18], numbers: &mut [f32; 32]) {
    spread(&block[2..], half_at(block, 0), &UNEVEN, numbers);
}

/// A power of two plus 127; 16 bytes, whose low halves come first.
pub(super) fn mxfp4(block: &[u8; 17], numbers: &mut [f32; 32]) {
    spread(&block[1..], half_power(block[0]), &FLOATS_DOUBLED, numbers);
}

/// Scale; the two high bits of the scales of eight groups of 32; their low four bits; the numbers.
pub(super) fn iq4_xs(block: &[u8; 136], numbers: &mut [f32; 256]) {
    let scale = half_at(block, 0);
    let high = u16_at(block, 2);
    let (places, _) = numbers.as_chunks_mut::<32>();
    for (group, (place, packed)) in places.iter_mut().zip(block[8..].as_chunks::<16>().0).enumerate() {
        let low = block[4 + group / 2] >> (4 * (group % 2)) & 15;
        let step = i16::from(low) | ((high >> (2 * group) & 3) << 4) as i16;
        spread(packed, scale * f32::from(step - 32), &UNEVEN, place);
    }
}

/// The numbers of 16 bytes: first all low halves, then all high ones.
fn spread(packed: &[u8], scale: f32, values: &[i8; 16], numbers: &mut [f32; 32]) {
    let (low, high) = numbers.split_at_mut(16);
    for ((byte, low), high) in packed.iter().zip(low).zip(high) {
        *low = scale * f32::from(values[usize::from(byte & 15)]);
        *high = scale * f32::from(values[usize::from(byte >> 4)]);
    }
}

/// Half of two to the power of `exponent - 127`, the other half being in the doubled values. The two smallest are
/// subnormal.
fn half_power(exponent: u8) -> f32 {
    match exponent {
        0 | 1 => f32::from_bits(0x0020_0000 << exponent),
        _ => f32::from_bits(u32::from(exponent - 1) << 23),
    }
}
