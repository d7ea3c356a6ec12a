//! The floats of eight bits: the two of "FP8 Formats for Deep Learning" (<https://arxiv.org/abs/2209.05433>, table 1),
//! and the powers of two that scale blocks
//! (<https://www.opencompute.org/documents/ocp-microscaling-formats-mx-v1-0-spec-final-pdf>, section 5.4.1).

use half::f16;

/// Sign, four bits of exponent around 7, three of fraction. There is no infinity: all ones is no number, and the
/// largest is 448 (`float8_e4m3fn` of torch).
pub(crate) fn e4m3_to_f32(bits: u8) -> f32 {
    if bits & 0x7f == 0x7f { f32::NAN } else { float(bits, 3, 7) }
}

/// Sign, five bits of exponent around 15, two of fraction, with infinities: the upper byte of a half (`float8_e5m2`).
pub(crate) fn e5m2_to_f32(bits: u8) -> f32 {
    f16::from_bits(u16::from(bits) << 8).to_f32()
}

/// `2^(bits - 127)`; all ones is no number (`float8_e8m0fnu`).
pub(crate) fn e8m0_to_f32(bits: u8) -> f32 {
    match bits {
        0xff => f32::NAN,
        // 2^-127 is below the normal floats.
        0 => f32::from_bits(1 << 22),
        _ => f32::from_bits(u32::from(bits) << 23),
    }
}

/// A float of `fraction_bits` bits of fraction and an exponent around `bias`, none of whose values are special.
fn float(bits: u8, fraction_bits: u32, bias: i32) -> f32 {
    let sign = u32::from(bits >> 7) << 31;
    let fraction = u32::from(bits) & ((1 << fraction_bits) - 1);
    let exponent = (bits & 0x7f) >> fraction_bits;
    let magnitude = match exponent {
        // Subnormals count in steps of the smallest exponent; both factors and their product are exact.
        0 => fraction as f32 * 2_f32.powi(1 - bias - fraction_bits as i32),
        _ => f32::from_bits((u32::from(exponent) + 127 - bias as u32) << 23 | fraction << (23 - fraction_bits)),
    };
    f32::from_bits(sign | magnitude.to_bits())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The magnitudes of `float8_e4m3fn`, as torch 2.15 gives them for the codes from 0 to 126, in steps of 2^-9.
    const E4M3_STEPS: [u32; 127] = [
        0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 18, 20, 22, 24, 26, 28, 30, 32, 36, 40, 44, 48, 52,
        56, 60, 64, 72, 80, 88, 96, 104, 112, 120, 128, 144, 160, 176, 192, 208, 224, 240, 256, 288, 320, 352, 384,
        416, 448, 480, 512, 576, 640, 704, 768, 832, 896, 960, 1024, 1152, 1280, 1408, 1536, 1664, 1792, 1920, 2048,
        2304, 2560, 2816, 3072, 3328, 3584, 3840, 4096, 4608, 5120, 5632, 6144, 6656, 7168, 7680, 8192, 9216, 10240,
        11264, 12288, 13312, 14336, 15360, 16384, 18432, 20480, 22528, 24576, 26624, 28672, 30720, 32768, 36864, 40960,
        45056, 49152, 53248, 57344, 61440, 65536, 73728, 81920, 90112, 98304, 106496, 114688, 122880, 131072, 147456,
        163840, 180224, 196608, 212992, 229376,
    ];

    #[test]
    fn every_code_becomes_the_number_that_torch_has_for_it() {
        for (code, steps) in (0..).zip(E4M3_STEPS) {
            let expected = steps as f32 / 512.0;
            assert_eq!(e4m3_to_f32(code).to_bits(), expected.to_bits(), "{code:x}");
            assert_eq!(e4m3_to_f32(code | 0x80).to_bits(), (-expected).to_bits(), "{:x}", code | 0x80);
        }
        assert!(e4m3_to_f32(0x7f).is_nan() && e4m3_to_f32(0xff).is_nan());
    }

    #[test]
    fn the_wider_ranges_are_read_at_their_ends() {
        let check = |found: f32, expected: f32| assert_eq!(found.to_bits(), expected.to_bits());
        check(e5m2_to_f32(0x01), 1.525_878_9e-5);
        check(e5m2_to_f32(0x3c), 1.0);
        check(e5m2_to_f32(0xfb), -57344.0);
        check(e5m2_to_f32(0x7c), f32::INFINITY);
        check(e8m0_to_f32(0), 2_f32.powi(-127));
        check(e8m0_to_f32(127), 1.0);
        check(e8m0_to_f32(254), 2_f32.powi(127));
        assert!(e8m0_to_f32(255).is_nan() && e5m2_to_f32(0x7f).is_nan());
    }
}
