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
    same!(_mm512_mul_ps, _mm256_mul_ps, (a: __m256, b: __m256) -> __m256);
    same!(_mm512_xor_ps, _mm256_xor_ps, (a: __m256, b: __m256) -> __m256);
    same!(_mm512_fnmadd_ps, _mm256_fnmadd_ps, (a: __m256, b: __m256, c: __m256) -> __m256);
    same!(_mm512_cvtepi32_ps, _mm256_cvtepi32_ps, (a: __m256i) -> __m256);
    same!(_mm512_or_si512, _mm256_or_si256, (a: __m256i, b: __m256i) -> __m256i);
    same!(_mm512_xor_si512, _mm256_xor_si256, (a: __m256i, b: __m256i) -> __m256i);
    same!(_mm512_slli_epi32::<16>, _mm256_slli_epi32, (a: __m256i) -> __m256i);
    same!(_mm512_srli_epi16::<4>, _mm256_srli_epi16, (a: __m256i) -> __m256i);
    same!(_mm512_srli_epi32::<6>, _mm256_srli_epi32, (a: __m256i) -> __m256i);
    same!(_mm512_add_epi32, _mm256_add_epi32, (a: __m256i, b: __m256i) -> __m256i);
    same!(_mm512_sub_epi32, _mm256_sub_epi32, (a: __m256i, b: __m256i) -> __m256i);
    same!(_mm512_mullo_epi32, _mm256_mullo_epi32, (a: __m256i, b: __m256i) -> __m256i);
    same!(_mm512_shuffle_epi8, _mm256_shuffle_epi8, (a: __m256i, b: __m256i) -> __m256i);
}

#[test]
fn an_instruction_without_a_sibling_follows_its_formula() {
    let mut random = Random::new("formulas");
    for round in 0..400 {
        let [a, b, c]: [__m512i; 3] = std::array::from_fn(|_| random.register(round));
        let bytes: __m128i = random.register(round);
        let small: __m512i = Register::of(|at| b.lane::<u32>(at) % 40);
        let (fours, words) = (_mm512_dpbusd_epi32(a, b, c), _mm512_dpwssd_epi32(a, b, c));
        let (turned, spread) = (_mm512_rorv_epi32(a, small), _mm512_broadcast_i32x4(bytes));
        let (with_sign, without) = (_mm512_cvtepi8_epi32(bytes), _mm512_cvtepu8_epi32(bytes));
        let (mask, shifted) = (_mm512_cmpgt_epi32_mask(a, b), _mm512_mask_sllv_epi32(a, 0b1010, c, small));
        for at in 0..16 {
            let of_bytes: i64 = (0..4).map(|j| i64::from(b.0[4 * at + j]) * i64::from(c.0[4 * at + j] as i8)).sum();
            assert_eq!(fours.lane::<i32>(at), (i64::from(a.lane::<i32>(at)) + of_bytes) as i32);
            let word =
                |it: __m512i, j: usize| i64::from(i16::from_le_bytes([it.0[4 * at + 2 * j], it.0[4 * at + 2 * j + 1]]));
            let of_words: i64 = (0..2).map(|j| word(b, j) * word(c, j)).sum();
            assert_eq!(words.lane::<i32>(at), (i64::from(a.lane::<i32>(at)) + of_words) as i32);
            let (number, by) = (a.lane::<u32>(at), small.lane::<u32>(at) % 32);
            assert_eq!(turned.lane::<u32>(at), ((u64::from(number) << 32 | u64::from(number)) >> by) as u32);
            assert_eq!(spread.lane::<u32>(at), bytes.lane::<u32>(at % 4));
            assert_eq!(with_sign.lane::<i32>(at), i32::from(bytes.0[at] as i8));
            assert_eq!(without.lane::<i32>(at), i32::from(bytes.0[at]));
            assert_eq!(mask >> at & 1 == 1, a.lane::<i32>(at) > b.lane::<i32>(at));
            let wide = u64::from(c.lane::<u32>(at)) << small.lane::<u32>(at);
            assert_eq!(shifted.lane::<u32>(at), if at == 1 || at == 3 { wide as u32 } else { number });
        }
    }
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
