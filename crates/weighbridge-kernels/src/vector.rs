//! What is done with rows of float32 between products: norms, rotation, activations, exponentials.
//!
//! Each is written once, in sixteen lanes where it sums, and compiled for every tier; nothing here is contracted to
//! fused operations, so that the tiers agree to the last bit.

use crate::cpu::Cpu;
use crate::rows::{GROUP, HALF, RowMut};
use crate::tier::Tier;

/// Lanes of a sum.
const LANES: usize = 16;

/// Compiles a function for every tier, and calls the one of a `Cpu`.
macro_rules! tiered {
    ($(#[$doc:meta])* $visibility:vis fn $name:ident(cpu: &Cpu $(, $argument:ident: $type:ty)* $(,)?) $(-> $result:ty)? $body:block) => {
        $(#[$doc])*
        #[expect(clippy::allow_attributes, reason = "one macro serves functions of few and of many arguments")]
        #[allow(clippy::too_many_arguments, reason = "parts of one row, each with its own name")]
        $visibility fn $name(cpu: &Cpu $(, $argument: $type)*) $(-> $result)? {
            #[inline(always)]
            fn everywhere($($argument: $type),*) $(-> $result)? $body

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma,f16c")]
            fn avx2($($argument: $type),*) $(-> $result)? {
                everywhere($($argument),*)
            }

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma,f16c")]
            fn avx512($($argument: $type),*) $(-> $result)? {
                everywhere($($argument),*)
            }

            match cpu.tier() {
                // SAFETY: a `Cpu` has a tier that its processor has.
                #[cfg(target_arch = "x86_64")]
                Tier::Avx2 => unsafe { avx2($($argument),*) },
                // SAFETY: as above.
                #[cfg(target_arch = "x86_64")]
                Tier::Avx512 => unsafe { avx512($($argument),*) },
                _ => everywhere($($argument),*),
            }
        }
    };
}

tiered! {
    /// Rounds rows to groups of `group` numbers, 32 or 256, with a scale each: numbers of `bits` bits, 8 or 16.
    pub(crate) fn round(cpu: &Cpu, bits: u32, group: usize, plain: &[f32], to: RowMut<'_>) {
        // The largest of sixteen bits is one whose high byte is 127 and whose low byte is 0.
        let most = if bits == 8 { 127.0 } else { 32512.0 };
        for (index, plain) in plain.chunks_exact(group).enumerate() {
            let largest = largest(plain);
            let inverse = if largest > 0.0 { most / largest } else { 0.0 };
            let scale = largest / most;
            to.scales[index] = scale;
            for (part, plain) in plain.as_chunks::<GROUP>().0.iter().enumerate() {
                let place = index * (group / GROUP) + part;
                let numbers = place * GROUP..(place + 1) * GROUP;
                let mut whole = [0_i16; GROUP];
                for (whole, x) in whole.iter_mut().zip(plain) {
                    // Within sixteen bits by the choice of the scale, but for numbers that are none.
                    *whole = nearest(x * inverse) as i16;
                }
                let sum: i32 = whole.iter().map(|&whole| i32::from(whole)).sum();
                to.scaled_sums[place] = scale * sum as f32;
                if let Some(to) = to.whole.get_mut(numbers.clone()) {
                    to.copy_from_slice(&whole);
                }
                let mut planes = [[0_i8; GROUP]; 2];
                if bits == 8 {
                    planes[0].iter_mut().zip(whole).for_each(|(high, whole)| *high = whole as i8);
                } else {
                    let [high, low] = &mut planes;
                    for ((high, low), whole) in high.iter_mut().zip(low).zip(whole) {
                        *high = (whole.wrapping_add(128) >> 8) as i8;
                        *low = whole as i8;
                    }
                }
                to.high[numbers.clone()].copy_from_slice(&planes[0]);
                if let Some(to) = to.low.get_mut(numbers) {
                    to.copy_from_slice(&planes[1]);
                }
                for (plane, bytes) in planes.iter().enumerate() {
                    let [first, second] = [&bytes[..HALF], &bytes[HALF..]]
                        .map(|bytes| bytes.iter().map(|&byte| i16::from(byte)).sum::<i16>());
                    to.sums_of_16[plane][2 * place] = first;
                    to.sums_of_16[plane][2 * place + 1] = second;
                    to.sums_of_32[plane][place] = first + second;
                }
            }
        }
    }
}

tiered! {
    /// Rounds numbers to bfloat16, to the nearest and of two to the even one, and puts two together, the first below.
    pub(crate) fn pair(cpu: &Cpu, plain: &[f32], pairs: &mut [u32]) {
        for (pair, [a, b]) in pairs.iter_mut().zip(plain.as_chunks::<2>().0) {
            *pair = bf16_above(*a) >> 16 | bf16_above(*b) & 0xffff_0000;
        }
    }
}

/// bfloat16 in the upper half, whatever is below.
#[inline(always)]
fn bf16_above(x: f32) -> u32 {
    let bits = x.to_bits();
    let rounded = bits.wrapping_add(0x7fff + (bits >> 16 & 1));
    // What is no number stays none: rounding could carry it into infinity.
    if x.is_nan() { bits | 0x0040_0000 } else { rounded }
}

/// The largest of numbers without their signs; those that are none do not count.
#[inline(always)]
fn largest(x: &[f32]) -> f32 {
    let mut lanes = [0.0_f32; LANES];
    for chunk in x.as_chunks::<LANES>().0 {
        for (lane, x) in lanes.iter_mut().zip(chunk) {
            *lane = if x.abs() > *lane { x.abs() } else { *lane };
        }
    }
    lanes.iter().fold(0.0_f32, |largest, &lane| if lane > largest { lane } else { largest })
}

/// The nearest whole number, of two the even one; below 2²² either way.
#[inline(always)]
fn nearest(x: f32) -> i32 {
    // Adding 1.5 · 2²³ leaves no bits for fractions, and the whole number in the lowest bits.
    const ROUND: f32 = 12_582_912.0;
    (x + ROUND).to_bits().wrapping_sub(ROUND.to_bits()) as i32
}

/// `eˣ` within two units in the last place; zero below −87.3, and never above 3.4 · 10³⁸.
///
/// By Cody and Waite's reduction and the polynomial of Cephes' `expf`.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    let kept = if x > 88.3 { 88.3 } else { x };
    let power = nearest(kept * std::f32::consts::LOG2_E);
    let whole = power as f32;
    let r = kept - whole * 0.693_359_4 - whole * -2.121_944_4e-4;
    let mut y = 1.987_569_1e-4_f32;
    for coefficient in [1.398_2e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5] {
        y = y * r + coefficient;
    }
    let y = y * (r * r) + r + 1.0;
    let scale = f32::from_bits((power.wrapping_add(127) as u32) << 23);
    if x < -87.3 { 0.0 } else { y * scale }
}

/// `tanh x`.
#[inline(always)]
pub(crate) fn tanh(x: f32) -> f32 {
    // Beyond ±9 it is ±1 in float32.
    let kept = x.clamp(-9.0, 9.0);
    // Near zero the quotient would cancel; there the series has all the digits.
    let square = kept * kept;
    let series = kept * (1.0 - square * (1.0 / 3.0 - square * (2.0 / 15.0 - square * (17.0 / 315.0))));
    let quotient = 1.0 - 2.0 / (exp(2.0 * kept) + 1.0);
    if kept.abs() < 0.15 { series } else { quotient }
}

/// The sum of a row of numbers, in sixteen lanes.
#[inline(always)]
fn sum(x: &[f32], of: impl Fn(f32) -> f32) -> f32 {
    let (chunks, tail) = x.as_chunks::<LANES>();
    let mut lanes = [0.0_f32; LANES];
    for chunk in chunks {
        lanes.iter_mut().zip(chunk).for_each(|(lane, x)| *lane += of(*x));
    }
    lanes.iter_mut().zip(tail).for_each(|(lane, x)| *lane += of(*x));
    lanes.iter().sum()
}

tiered! {
    /// `to = x / sqrt(mean(x²) + eps) · weight` for a row (<https://arxiv.org/abs/1910.07467>); without a weight, one.
    pub fn rms_norm(cpu: &Cpu, x: &[f32], weight: Option<&[f32]>, eps: f32, to: &mut [f32]) {
        let scale = 1.0 / (sum(x, |x| x * x) / x.len() as f32 + eps).sqrt();
        match weight {
            Some(weight) => {
                to.iter_mut().zip(x).zip(weight).for_each(|((to, x), weight)| *to = x * scale * weight);
            }
            None => to.iter_mut().zip(x).for_each(|(to, x)| *to = x * scale),
        }
    }
}

tiered! {
    /// The same in place.
    pub fn rms_norm_in_place(cpu: &Cpu, x: &mut [f32], weight: Option<&[f32]>, eps: f32) {
        let scale = 1.0 / (sum(x, |x| x * x) / x.len() as f32 + eps).sqrt();
        match weight {
            Some(weight) => x.iter_mut().zip(weight).for_each(|(x, weight)| *x = *x * scale * weight),
            None => x.iter_mut().for_each(|x| *x *= scale),
        }
    }
}

tiered! {
    /// `to = (x − mean(x)) / sqrt(var(x) + eps) · weight + bias` for a row (<https://arxiv.org/abs/1607.06450>).
    pub fn layer_norm(
        cpu: &Cpu,
        x: &[f32],
        weight: Option<&[f32]>,
        bias: Option<&[f32]>,
        eps: f32,
        to: &mut [f32],
    ) {
        let mean = sum(x, |x| x) / x.len() as f32;
        let variance = sum(x, |x| (x - mean) * (x - mean)) / x.len() as f32;
        let scale = 1.0 / (variance + eps).sqrt();
        to.iter_mut().zip(x).for_each(|(to, x)| *to = (x - mean) * scale);
        if let Some(weight) = weight {
            to.iter_mut().zip(weight).for_each(|(to, weight)| *to *= weight);
        }
        if let Some(bias) = bias {
            to.iter_mut().zip(bias).for_each(|(to, bias)| *to += bias);
        }
    }
}

tiered! {
    /// Turns the first dimensions of a head, twice as many as there are angles, each with the one half of them later.
    pub fn rope(cpu: &Cpu, head: &mut [f32], cos: &[f32], sin: &[f32]) {
        let (first, rest) = head.split_at_mut(cos.len());
        for (((x, y), cos), sin) in first.iter_mut().zip(rest).zip(cos).zip(sin) {
            (*x, *y) = (*x * cos - *y * sin, *x * sin + *y * cos);
        }
    }
}

tiered! {
    /// The same where neighbours turn together.
    pub fn rope_interleaved(cpu: &Cpu, head: &mut [f32], cos: &[f32], sin: &[f32]) {
        for (([x, y], cos), sin) in head.as_chunks_mut::<2>().0.iter_mut().zip(cos).zip(sin) {
            (*x, *y) = (*x * cos - *y * sin, *x * sin + *y * cos);
        }
    }
}

tiered! {
    /// `to = f(gate) · up` with `f(x) = x · sigmoid(x)`.
    pub fn silu_times(cpu: &Cpu, gate: &[f32], up: &[f32], to: &mut [f32]) {
        for ((to, gate), up) in to.iter_mut().zip(gate).zip(up) {
            *to = gate / (1.0 + exp(-gate)) * up;
        }
    }
}

tiered! {
    /// The same with `f(x) = ½ x (1 + tanh(√(2/π) (x + 0.044715 x³)))`.
    pub fn gelu_tanh_times(cpu: &Cpu, gate: &[f32], up: &[f32], to: &mut [f32]) {
        for ((to, &gate), up) in to.iter_mut().zip(gate).zip(up) {
            let inner = 0.797_884_6 * (gate + 0.044_715 * gate * gate * gate);
            *to = 0.5 * gate * (1.0 + tanh(inner)) * up;
        }
    }
}

tiered! {
    /// `1 / (1 + e⁻ˣ)` for each number.
    pub fn sigmoid(cpu: &Cpu, x: &mut [f32]) {
        x.iter_mut().for_each(|x| *x = 1.0 / (1.0 + exp(-*x)));
    }
}

tiered! {
    /// Keeps numbers within ± `cap`, softly: `cap · tanh(x / cap)`.
    pub fn soft_cap(cpu: &Cpu, x: &mut [f32], cap: f32) {
        x.iter_mut().for_each(|x| *x = cap * tanh(*x / cap));
    }
}

tiered! {
    /// `to = a · to + b · x`.
    pub(crate) fn blend(cpu: &Cpu, to: &mut [f32], a: f32, x: &[f32], b: f32) {
        to.iter_mut().zip(x).for_each(|(to, x)| *to = *to * a + x * b);
    }
}

tiered! {
    /// [`layer_norm`] in place.
    pub fn layer_norm_in_place(cpu: &Cpu, x: &mut [f32], weight: &[f32], bias: &[f32], eps: f32) {
        let mean = sum(x, |x| x) / x.len() as f32;
        let variance = sum(x, |x| (x - mean) * (x - mean)) / x.len() as f32;
        let scale = 1.0 / (variance + eps).sqrt();
        for ((x, weight), bias) in x.iter_mut().zip(weight).zip(bias) {
            *x = (*x - mean) * scale * weight + bias;
        }
    }
}

tiered! {
    /// `½ x (1 + tanh(√(2/π) (x + 0.044715 x³)))` for each number.
    pub fn gelu_tanh(cpu: &Cpu, x: &[f32], to: &mut [f32]) {
        for (to, &x) in to.iter_mut().zip(x) {
            let inner = 0.797_884_6 * (x + 0.044_715 * x * x * x);
            *to = 0.5 * x * (1.0 + tanh(inner));
        }
    }
}

tiered! {
    /// `to += weight · x`.
    pub fn add_weighed(cpu: &Cpu, to: &mut [f32], weight: f32, x: &[f32]) {
        to.iter_mut().zip(x).for_each(|(to, x)| *to += weight * x);
    }
}

tiered! {
    /// Where the greatest number stands, the first among equals. What is not a number is never the greatest; `None` where
    /// nothing is above −∞.
    pub fn arg_max(cpu: &Cpu, x: &[f32]) -> Option<usize> {
        let mut lanes = [f32::NEG_INFINITY; LANES];
        let (chunks, tail) = x.as_chunks::<LANES>();
        for chunk in chunks {
            lanes.iter_mut().zip(chunk).for_each(|(lane, &x)| *lane = if x > *lane { x } else { *lane });
        }
        let largest = lanes.iter().chain(tail).fold(f32::NEG_INFINITY, |most, &x| if x > most { x } else { most });
        if largest == f32::NEG_INFINITY {
            return None;
        }
        let chunk = chunks.iter().position(|chunk| chunk.iter().fold(false, |found, &x| found | (x == largest)));
        let first = chunk.map_or(x.len() - tail.len(), |chunk| chunk * LANES);
        x[first..].iter().position(|&x| x == largest).map(|at| first + at)
    }
}

/// Numbers whose sum and maximum [`softmax_weights`] gives together.
pub const WEIGHTS_BLOCK: usize = 64;

tiered! {
    /// The softmax of a row at a temperature, without its denominator: `weights = exp((x − largest) / temperature)`, 0 for
    /// what is not a number. Of each [`WEIGHTS_BLOCK`] weights it gives the sum and the greatest.
    ///
    /// # Panics
    /// Where `weights` is not as long as the row, or there is no place for each block.
    pub fn softmax_weights(
        cpu: &Cpu,
        x: &[f32],
        largest: f32,
        temperature: f32,
        weights: &mut [f32],
        sums: &mut [f64],
        greatest: &mut [f32],
    ) {
        let blocks = x.len().div_ceil(WEIGHTS_BLOCK);
        assert!(weights.len() == x.len() && sums.len() == blocks && greatest.len() == blocks, "lengths agree");
        let places = x.chunks(WEIGHTS_BLOCK).zip(weights.chunks_mut(WEIGHTS_BLOCK));
        for ((x, weights), (total, most)) in places.zip(sums.iter_mut().zip(greatest)) {
            for (weight, x) in weights.iter_mut().zip(x) {
                let power = exp((x - largest) / temperature);
                *weight = if power.is_nan() { 0.0 } else { power };
            }
            let (mut sum_lanes, mut most_lanes) = ([0.0_f64; 8], [0.0_f32; 8]);
            for weights in weights.chunks(8) {
                for ((sum, most), &weight) in sum_lanes.iter_mut().zip(&mut most_lanes).zip(weights) {
                    *sum += f64::from(weight);
                    *most = if weight > *most { weight } else { *most };
                }
            }
            *total = sum_lanes.iter().sum();
            *most = most_lanes.iter().fold(0.0, |most, &lane| if lane > most { lane } else { most });
        }
    }
}

#[cfg(test)]
mod tests {
    use half::bf16;

    use super::*;

    #[test]
    fn the_exponential_is_close_everywhere() {
        for step in -9000..=9000 {
            let x = step as f32 * 0.0097;
            let wanted = f64::from(x).exp();
            let found = f64::from(exp(x));
            assert!((found - wanted).abs() <= wanted * 2.5e-7 + 1e-38, "exp({x}) is {found}, not {wanted}");
        }
        assert_eq!((exp(f32::NEG_INFINITY), exp(0.0)), (0.0, 1.0));
    }

    #[test]
    fn the_hyperbolic_tangent_is_close_everywhere() {
        for step in -4000..=4000 {
            let x = step as f32 * 0.003;
            let (found, wanted) = (f64::from(tanh(x)), f64::from(x).tanh());
            assert!((found - wanted).abs() <= 6e-7 * wanted.abs().max(1e-3), "tanh({x}) is {found}, not {wanted}");
        }
    }

    #[test]
    fn the_first_of_the_greatest_is_found_wherever_it_stands() {
        let cpu = Cpu::new(1, None).expect("the best tier is available");
        for length in 1..70 {
            for at in 0..length {
                let mut x = vec![-1.0; length];
                x[at..].iter_mut().step_by(3).for_each(|x| *x = 2.0);
                x[..at].iter_mut().step_by(2).for_each(|x| *x = f32::NAN);
                assert_eq!(arg_max(&cpu, &x), Some(at));
            }
        }
        assert_eq!(arg_max(&cpu, &[]), None);
        assert_eq!(arg_max(&cpu, &[f32::NEG_INFINITY, f32::NAN]), None);
    }

    #[test]
    fn weights_are_the_same_on_every_tier_and_their_blocks_add_up() {
        for length in [1, 63, 64, 65, 200, 1000] {
            let mut x: Vec<f32> = (0..length).map(|at| (at * 37 % 101) as f32 * 0.2 - 9.0).collect();
            x[length / 2] = f32::NAN;
            x[length / 3] = f32::NEG_INFINITY;
            let blocks = length.div_ceil(WEIGHTS_BLOCK);
            let on = |tier| {
                let cpu = Cpu::new(1, Some(tier)).expect("it is available");
                let (mut weights, mut sums, mut greatest) = (vec![9.0; length], vec![9.0; blocks], vec![9.0; blocks]);
                softmax_weights(&cpu, &x, 11.0, 0.7, &mut weights, &mut sums, &mut greatest);
                (weights, sums, greatest)
            };
            let plain = on(Tier::Scalar);
            for tier in Tier::ALL.into_iter().filter(|tier| tier.is_available()) {
                assert_eq!(on(tier), plain);
            }
            let (weights, sums, greatest) = plain;
            for (at, (weight, x)) in weights.iter().zip(&x).enumerate() {
                let wanted = if x.is_nan() { 0.0 } else { ((f64::from(*x) - 11.0) / f64::from(0.7_f32)).exp() };
                assert!((f64::from(*weight) - wanted).abs() <= 4e-6 * wanted, "{weight} at {at}, not {wanted}");
            }
            for (block, weights) in weights.chunks(WEIGHTS_BLOCK).enumerate() {
                let sum: f64 = weights.iter().map(|&weight| f64::from(weight)).sum();
                assert!((sums[block] - sum).abs() <= 1e-12 * sum);
                assert_eq!(greatest[block], weights.iter().copied().fold(0.0, f32::max));
            }
        }
    }

    #[test]
    fn pairs_are_the_nearest_bfloat16() {
        let bits =
            [0, 0x8000_0000, 0x3f80_8000, 0x3f81_8000, 0x3f80_7fff, 0x0000_8001, 0x7f7f_ffff, 0xff80_0000, 0x7f80_0001];
        let plain: Vec<f32> = bits.into_iter().chain([0x4049_0fdb]).map(f32::from_bits).collect();
        for tier in Tier::ALL.into_iter().filter(|tier| tier.is_available()) {
            let mut pairs = [0; 5];
            pair(&Cpu::new(1, Some(tier)).expect("it is available"), &plain, &mut pairs);
            for (pair, [a, b]) in pairs.iter().zip(plain.as_chunks::<2>().0) {
                let wanted = [bf16::from_f32(*a).to_bits(), bf16::from_f32(*b).to_bits()];
                assert_eq!([*pair as u16, (pair >> 16) as u16], wanted, "{a} and {b}");
            }
        }
    }
}
