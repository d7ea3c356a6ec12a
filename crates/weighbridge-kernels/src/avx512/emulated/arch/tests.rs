//! Emulated instructions do what their siblings of half the size do to each half.

use std::arch::x86_64 as real;
use std::mem::transmute;

use super::*;
use crate::avx512::emulated::tests::Random;

/// Holds an instruction of 64 bytes against its sibling of 32, on random bits and on random floats.
macro_rules! same {
    ($name:ident $(::<$constant:literal>)?, $sibling:ident, ($($argument:ident: $half:ident),*) -> $result:ident) => {{
        let mut random = Random::new(stringify!($name));
        for round in 0..400 {
            $(let $argument = random.register(round);)*
            let found = $name $(::<$constant>)? ($($argument),*);
            // SAFETY: both are so many bytes, and any bytes make either.
            $(let $argument = unsafe { transmute::<[u8; 2 * size_of::<real::$half>()], [real::$half; 2]>($argument.0) };)*
            // SAFETY: the processor has AVX2, FMA and F16C, as the test asks.
            let wanted = unsafe {
                [real::$sibling $(::<$constant>)? ($($argument[0]),*), real::$sibling $(::<$constant>)? ($($argument[1]),*)]
            };
            // SAFETY: as above.
            let wanted = Register(unsafe { transmute::<[real::$result; 2], [u8; 64]>(wanted) });
            let floats = stringify!($result) == "__m256";
            assert!(alike(found, wanted, floats), "{} in round {round}", stringify!($name));
        }
    }};
}

/// Whether all bits are the same, but for those of what is no number.
fn alike(found: __m512i, wanted: __m512i, floats: bool) -> bool {
    (0..16).all(|at| {
        let none = floats && found.lane::<f32>(at).is_nan() && wanted.lane::<f32>(at).is_nan();
        none || found.lane::<u32>(at) == wanted.lane::<u32>(at)
    })
}

#[test]
fn an_instruction_does_to_each_half_what_its_sibling_does() {
    if !crate::Tier::Avx2.is_available() {
        return;
    }
    same!(_mm512_add_ps, _mm256_add_ps, (a: __m256, b: __m256) -> __m256);
    same!(_mm512_fmadd_ps, _mm256_fmadd_ps, (a: __m256, b: __m256, c: __m256) -> __m256);
    same!(_mm512_cvtph_ps, _mm256_cvtph_ps, (a: __m128i) -> __m256);
    same!(_mm512_and_si512, _mm256_and_si256, (a: __m256i, b: __m256i) -> __m256i);
    same!(_mm512_slli_epi32::<16>, _mm256_slli_epi32, (a: __m256i) -> __m256i);
}

#[test]
fn pairs_of_bfloat16_are_added_the_second_first() {
    let of = |pair: [f32; 2]| __m512bh(Register::of(|at| (pair[at % 2].to_bits() >> 16) as u16));
    let check = |sum: f32, a, b, wanted: f32| {
        let found = _mm512_dpbf16_ps(_mm512_set1_ps(sum), of(a), of(b));
        assert!((0..16).all(|at| found.lane::<f32>(at).to_bits() == wanted.to_bits()), "{sum} + {a:?} · {b:?}");
    };
    check(1.0, [2.0, 3.0], [5.0, 7.0], 32.0);
    // 2²⁴ takes an odd number only before it is there.
    check(1.0, [4096.0, 1.0], [4096.0, 1.0], 16_777_218.0);
    check(16_777_216.0, [1.0, 1.0], [1.0, 1.0], 16_777_216.0);
    check(f32::MIN_POSITIVE / 2.0, [0.0, 0.0], [0.0, 0.0], 0.0);
    check(0.0, [f32::MIN_POSITIVE, 0.0], [0.5, 0.0], 0.0);
}

#[test]
fn masked_lanes_are_neither_read_nor_written() {
    let numbers = [1.0, 2.0, 3.0];
    // SAFETY: the mask has the three numbers that there are.
    let found = unsafe { _mm512_maskz_loadu_ps(0b111, numbers.as_ptr()) };
    let lanes: Vec<f32> = (0..16).map(|at| found.lane(at)).collect();
    assert_eq!((&lanes[..3], &lanes[3..]), (&numbers[..], &[0.0; 13][..]));
    let mut kept = [9.0; 3];
    // SAFETY: as above, of those the first two.
    unsafe { _mm512_mask_storeu_ps(kept.as_mut_ptr(), 0b11, found) };
    assert_eq!(kept, [1.0, 2.0, 9.0]);
    let halves = [5_i16, 6];
    // SAFETY: as above.
    let found = unsafe { _mm256_maskz_loadu_epi16(0b10, halves.as_ptr()) };
    assert_eq!((found.lane::<i16>(0), found.lane::<i16>(1)), (0, 6));
}
