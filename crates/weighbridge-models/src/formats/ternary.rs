//! Formats of -1, 0 and 1 alone, for models trained so (BitNet).

use super::half_at;

/// 48 bytes of five ternary digits and four of four, most significant digit first, kept as fractions of 256; scale.
/// The digits of one place come together, of 32 bytes, then of 16, then of the last four.
pub(super) fn tq1_0(block: &[u8; 54], numbers: &mut [f32; 256]) {
    let scale = half_at(block, 52);
    let mut places = numbers.iter_mut();
    for (bytes, digits) in [(&block[..32], 5), (&block[32..48], 5), (&block[48..52], 4)] {
        for place in 0..digits {
            for (byte, number) in bytes.iter().zip(&mut places) {
                let fraction = byte.wrapping_mul(3_u8.pow(place));
                let digit = (u16::from(fraction) * 3) >> 8;
                *number = (f32::from(digit) - 1.0) * scale;
            }
        }
    }
}

/// 64 bytes of four numbers of two bits, those of one place of 32 bytes together; scale.
pub(super) fn tq2_0(block: &[u8; 66], numbers: &mut [f32; 256]) {
    let scale = half_at(block, 64);
    let mut places = numbers.iter_mut();
    for bytes in block[..64].as_chunks::<32>().0 {
        for place in 0..4 {
            for (byte, number) in bytes.iter().zip(&mut places) {
                *number = (f32::from(byte >> (2 * place) & 3) - 1.0) * scale;
            }
        }
    }
}
