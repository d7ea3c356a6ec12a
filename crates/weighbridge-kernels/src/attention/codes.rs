//! Keys and values of eight bits: [`GROUP`] dimensions of a token and head share a scale, as in blocks of Q8_0.
//!
//! A section of a page, the keys or the values of one head, has its codes first, in the order that floats have, then its
//! scales: of keys `[group][token]`, of values `[token][group]`. A code times its scale is exact in float32.

use half::f16;

use super::PAGE_TOKENS;
use super::pages::{f16s, f16s_mut};

/// Dimensions that share a scale; what is left of a head over them has one as well.
pub(super) const GROUP: usize = 32;

/// A section as a kernel reads it.
#[derive(Clone, Copy)]
pub(super) struct Codes<'a> {
    pub(super) codes: &'a [i8],
    pub(super) scales: &'a [f16],
}

/// Bytes of a token.
pub(super) fn token_bytes(dim: usize) -> usize {
    dim + 2 * dim.div_ceil(GROUP)
}

impl<'a> Codes<'a> {
    /// Of a section of heads of `dim` dimensions.
    pub(super) fn of(section: &'a [u8], dim: usize) -> Self {
        let (codes, scales) = section.split_at(dim * PAGE_TOKENS);
        // SAFETY: any byte is an `i8`.
        let codes = unsafe { codes.align_to() }.1;
        Self { codes, scales: f16s(scales) }
    }
}

/// Writes the key of a token.
pub(super) fn put_key(section: &mut [u8], place: usize, key: &[f32]) {
    let (codes, scales) = section.split_at_mut(key.len() * PAGE_TOKENS);
    let groups = codes.chunks_mut(GROUP * PAGE_TOKENS).zip(f16s_mut(scales).chunks_exact_mut(PAGE_TOKENS));
    for ((lines, scales), key) in groups.zip(key.chunks(GROUP)) {
        let mut rounded = [0; GROUP];
        scales[place] = round(key, &mut rounded);
        lines.chunks_exact_mut(PAGE_TOKENS).zip(rounded).for_each(|(line, code)| line[place] = code);
    }
}

/// Writes the value of a token.
pub(super) fn put_value(section: &mut [u8], place: usize, value: &[f32]) {
    let (codes, scales) = section.split_at_mut(value.len() * PAGE_TOKENS);
    let codes = codes[place * value.len()..][..value.len()].chunks_mut(GROUP);
    let scales = &mut f16s_mut(scales)[place * value.len().div_ceil(GROUP)..];
    for ((codes, scale), value) in codes.zip(scales).zip(value.chunks(GROUP)) {
        *scale = round(value, codes);
    }
}

/// Rounds a group to codes, two's complement within ± 127, and gives their scale: not a number where one of the group
/// is none, so that an error stays in sight, and finite for what is infinite, as half precision has it.
fn round(group: &[f32], codes: &mut [u8]) -> f16 {
    /// Adding 1.5 · 2²³ leaves no bits for fractions, and the whole number in the lowest bits.
    const ROUND: f32 = 12_582_912.0;
    // By their bits what is no number is above all others.
    let largest = group.iter().fold(0, |largest, x| (x.to_bits() & 0x7fff_ffff).max(largest));
    let wanted = f32::from_bits(largest) / 127.0;
    if wanted.is_nan() {
        return f16::NAN;
    }
    let wanted = wanted.min(f16::MAX.to_f32_const());
    let nearest = f16::from_f32(wanted);
    // Up, or the largest number would have no code.
    let scale = if nearest.to_f32() < wanted { f16::from_bits(nearest.to_bits() + 1) } else { nearest };
    let divisor = if scale == f16::ZERO { 1.0 } else { scale.to_f32() };
    for (code, x) in codes.iter_mut().zip(group) {
        let whole = (x / divisor).clamp(-127.0, 127.0) + ROUND;
        *code = whole.to_bits().wrapping_sub(ROUND.to_bits()) as u8;
    }
    scale
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(group: &[f32], within: f32) {
        let mut codes = [0; GROUP];
        let scale = round(group, &mut codes).to_f32();
        for (x, code) in group.iter().zip(codes) {
            let found = f32::from(code as i8) * scale;
            assert!((found - x).abs() <= within, "{x} became {found}");
        }
    }

    #[test]
    fn a_group_is_kept_within_half_a_step_of_its_largest() {
        let group: Vec<f32> = (0..32).map(|at| ((at * 37 % 64) as f32 - 31.5) * 0.11).collect();
        let step = 3.465 / 127.0;
        check(&group, step * 0.502);
        check(&group[..5], step * 0.502);
        check(&group.iter().map(|x| x * 1e-6).collect::<Vec<_>>(), 1e-6 * step + 3e-8);
        check(&[0.0; 32], 0.0);
        check(&[8e6, -8e6, 0.0], 8e6 / 254.0 * 1.002);
    }

    #[test]
    fn what_is_infinite_becomes_the_largest_and_what_is_no_number_stays_so() {
        let mut codes = [0; 2];
        assert_eq!(round(&[f32::INFINITY, f32::NEG_INFINITY], &mut codes), f16::MAX);
        assert_eq!(codes, [127, 129]);
        assert!(round(&[1.0, f32::NAN], &mut codes).is_nan());
    }
}
