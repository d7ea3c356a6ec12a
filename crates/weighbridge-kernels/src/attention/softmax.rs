//! Exponentials of scores. Written once, in sixteen lanes, and compiled for every tier.

/// Lanes of a sum.
const LANES: usize = 16;
/// ln 2 in two parts, of which the first times a small whole number is exact.
const LN_2: [f32; 2] = [0.693_359_4, -2.121_944_4e-4];
/// `eˣ` for |x| ≤ ½ ln 2 by powers from the sixth down, with the least worst error (3 · 10⁻⁹ before rounding) of those
/// that end in `x + 1`.
const SERIES: [f32; 7] = [0.001_381_454, 0.008_368_745, 0.041_668_39, 0.166_665_2, 0.499_999_94, 1.0, 1.0];

/// See [`super::kernels::Kernels::exponentials`].
#[inline(always)]
pub(super) fn exponentials(scores: &mut [f32]) -> (f32, f32) {
    let scores = scores.as_chunks_mut::<LANES>().0;
    let mut lanes = [f32::NEG_INFINITY; LANES];
    for chunk in scores.iter() {
        for lane in 0..LANES {
            lanes[lane] = if chunk[lane] > lanes[lane] { chunk[lane] } else { lanes[lane] };
        }
    }
    let largest = lanes.iter().fold(f32::NEG_INFINITY, |largest, &lane| if lane > largest { lane } else { largest });
    // Minus infinity less itself would be no number.
    let from = if largest == f32::NEG_INFINITY { 0.0 } else { largest };
    let mut sums = [0.0; LANES];
    for chunk in scores {
        for lane in 0..LANES {
            chunk[lane] = exp(chunk[lane] - from);
            sums[lane] += chunk[lane];
        }
    }
    (largest, sums.iter().sum())
}

/// `eˣ` for `x` that is not above zero, within two units in the last place; zero below −87.3.
#[inline(always)]
fn exp(x: f32) -> f32 {
    // Adding 1.5 · 2²³ leaves no bits for fractions, and the whole number in the lowest bits; the bias of a float's
    // exponent is in it already.
    const ROUND: f32 = 12_582_912.0 + 127.0;
    let rounded = x.mul_add(std::f32::consts::LOG2_E, ROUND);
    let whole = rounded - ROUND;
    let rest = whole.mul_add(-LN_2[1], whole.mul_add(-LN_2[0], x));
    let mut sum = SERIES[0];
    for coefficient in &SERIES[1..] {
        sum = sum.mul_add(rest, *coefficient);
    }
    let scale = f32::from_bits(rounded.to_bits() << 23);
    if x < -87.3 { 0.0 } else { sum * scale }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exponential_is_close_everywhere() {
        for step in 0..=90_000 {
            let x = step as f32 * -0.00097;
            let (found, wanted) = (f64::from(exp(x)), f64::from(x).exp());
            assert!((found - wanted).abs() <= wanted * 1.8e-7 + 1e-38, "exp({x}) is {found}, not {wanted}");
        }
        assert_eq!((exp(f32::NEG_INFINITY), exp(-0.0), exp(0.0)), (0.0, 1.0, 1.0));
        assert!(exp(f32::NAN).is_nan());
    }
}
