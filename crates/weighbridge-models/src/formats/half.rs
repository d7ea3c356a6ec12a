//! The two floats of sixteen bits.

/// IEEE half precision to single: which holds every half exactly.
pub(crate) fn half_to_f32(bits: u16) -> f32 {
    let sign = u32::from(bits >> 15) << 31;
    let exponent = u32::from(bits >> 10) & 0x1f;
    let fraction = u32::from(bits) & 0x3ff;
    match (exponent, fraction) {
        // Zero and the subnormals, which count in steps of 2^-24.
        (0, _) => f32::from_bits(sign | (fraction as f32 * 2_f32.powi(-24)).to_bits()),
        (0x1f, _) => f32::from_bits(sign | 0x7f80_0000 | fraction << 13),
        _ => f32::from_bits(sign | (exponent + 112) << 23 | fraction << 13),
    }
}

/// The half nearest to a number, of two the even one; infinite beyond the largest.
pub(crate) fn f32_to_half(number: f32) -> u16 {
    let bits = number.to_bits();
    let sign = (bits >> 16) as u16 & 0x8000;
    let magnitude = bits & 0x7fff_ffff;
    if magnitude > 0x7f80_0000 {
        return sign | 0x7e00;
    }
    if magnitude >= 0x4780_0000 {
        return sign | 0x7c00;
    }
    if magnitude < 0x3880_0000 {
        // Below the smallest normal half: counted in steps of 2^-24, which this product rounds to by adding 2^23.
        let steps = f32::from_bits(magnitude) * 16_777_216.0 + 8_388_608.0;
        return sign | (steps.to_bits() & 0xffff) as u16;
    }
    let odd = magnitude >> 13 & 1;
    // A carry out of the fraction is the next exponent, up to that of infinity.
    sign | ((magnitude - 0x3800_0000 + 0x0fff + odd) >> 13) as u16
}

/// The bfloat16 nearest to a number, of two the even one.
pub(crate) fn f32_to_bf16(number: f32) -> u16 {
    let bits = number.to_bits();
    if number.is_nan() {
        return (bits >> 16) as u16 | 0x0040;
    }
    ((u64::from(bits) + 0x7fff + u64::from(bits >> 16 & 1)) >> 16) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_become_the_same_number() {
        let check = |bits, expected: f32| assert_eq!(half_to_f32(bits).to_bits(), expected.to_bits());
        check(0x0000, 0.0);
        check(0x8000, -0.0);
        check(0x3c00, 1.0);
        check(0xc000, -2.0);
        check(0x7bff, 65504.0);
        check(0x0001, 5.960_464_5e-8);
        check(0x03ff, 6.097_555e-5);
        check(0x0400, 6.103_515_6e-5);
        check(0xfc00, f32::NEG_INFINITY);
        assert!(half_to_f32(0x7e01).is_nan());
    }
    #[test]
    fn every_half_comes_back_and_what_lies_between_goes_to_the_nearest() {
        for bits in (0..=u16::MAX).filter(|&bits| !half_to_f32(bits).is_nan()) {
            assert_eq!(f32_to_half(half_to_f32(bits)), bits);
        }
        let check = |number: f32, expected| assert_eq!(f32_to_half(number), expected, "{number}");
        check(2049.0, half(2048));
        check(2051.0, half(2052));
        check(65519.0, 0x7bff);
        check(65520.0, 0x7c00);
        check(2_f32.powi(-25), 0);
        check(2_f32.powi(-25) * 1.5, 1);
    }

    fn half(whole: u16) -> u16 {
        f32_to_half(f32::from(whole))
    }

    #[test]
    fn a_bfloat_is_the_nearest() {
        let check = |bits: u32, expected| assert_eq!(f32_to_bf16(f32::from_bits(bits)), expected, "{bits:x}");
        check(0x3f80_0000, 0x3f80);
        check(0x3f80_8000, 0x3f80);
        check(0x3f81_8000, 0x3f82);
        check(0x3f80_8001, 0x3f81);
        check(0xff80_0000, 0xff80);
    }
}
