//! The formats sixteen lanes at a time, in two registers of eight.
//!
//! Everything here is inlined into kernels that are compiled for AVX2, FMA and F16C, and may be called by them alone.
//! There are no closures around instructions: one that is not inlined early is compiled without these features, and
//! every instruction in it becomes a call.
#![expect(unsafe_op_in_unsafe_fn, reason = "every line is an instruction or a load within the record, by one promise")]

use std::arch::x86_64::*;

use super::*;

/// Eight lanes, and eight lanes.
pub(crate) type Pair = [__m256; 2];

/// A block format, read with AVX2.
pub(crate) trait Avx2Format: Format {
    /// The scales, as [`Format::scale`].
    ///
    /// # Safety
    /// `record` points to a whole record, and the processor has AVX2 and F16C.
    unsafe fn scales(record: *const u8) -> Pair;

    /// The multipliers of a step, as [`Format::multiplier`]: sixteen signed bytes.
    ///
    /// # Safety
    /// As of [`Self::scales`], and `step` is one of the record's.
    #[inline(always)]
    unsafe fn multipliers(_record: *const u8, _step: usize) -> __m128i {
        _mm_set1_epi8(1)
    }

    /// The minima, as [`Format::minimum`].
    ///
    /// # Safety
    /// As of [`Self::scales`].
    #[inline(always)]
    unsafe fn minima(_record: *const u8) -> Pair {
        [_mm256_setzero_ps(); 2]
    }

    /// What minima are multiplied by in a step, as [`Format::lift`]: sixteen signed bytes.
    ///
    /// # Safety
    /// As of [`Self::multipliers`].
    #[inline(always)]
    unsafe fn lifts(_record: *const u8, _step: usize) -> __m128i {
        _mm_set1_epi8(1)
    }

    /// The codes of eight inputs of a step, of which `eighth` counts the eights: the first four inputs of lanes 0 to
    /// 7, of lanes 8 to 15, then the next four inputs of both.
    ///
    /// # Safety
    /// As of [`Self::multipliers`], and `eighth` is below `STEP / 8`.
    unsafe fn codes(record: *const u8, step: usize, eighth: usize) -> [__m256i; 4];
}

/// Formats of 32 inputs whose record is scales, perhaps minima, perhaps a fifth bit, and nibbles.
macro_rules! of_32 {
    ($($name:ident $(minima at $minima:literal)? $(high at $high:literal)?, nibbles at $nibbles:literal;)*) => { $(
        impl Avx2Format for $name {
            #[inline(always)]
            unsafe fn scales(record: *const u8) -> Pair {
                halves(record)
            }

            $(#[inline(always)]
            unsafe fn minima(record: *const u8) -> Pair {
                // The file has what is added.
                let sign = _mm256_set1_ps(-0.0);
                let [a, b] = halves(record.add($minima));
                [_mm256_xor_ps(a, sign), _mm256_xor_ps(b, sign)]
            })?

            #[inline(always)]
            unsafe fn codes(record: *const u8, _step: usize, eighth: usize) -> [__m256i; 4] {
                let codes = nibbles(record.add($nibbles + 64 * eighth));
                $(let codes = with_high::<1>(codes, record.add($high), eighth);)?
                codes
            }
        }
    )* };
}
of_32! {
    Q4_0, nibbles at 32;
    Q4_1 minima at 32, nibbles at 64;
    Q5_0 high at 32, nibbles at 96;
    Q5_1 minima at 32 high at 64, nibbles at 128;
}

impl Avx2Format for Q8_0 {
    #[inline(always)]
    unsafe fn scales(record: *const u8) -> Pair {
        halves(record)
    }

    #[inline(always)]
    unsafe fn codes(record: *const u8, _step: usize, eighth: usize) -> [__m256i; 4] {
        let place = record.add(32 + 128 * eighth);
        [bytes(place), bytes(place.add(32)), bytes(place.add(64)), bytes(place.add(96))]
    }
}

impl Avx2Format for Q4K {
    #[inline(always)]
    unsafe fn scales(record: *const u8) -> Pair {
        halves(record)
    }

    #[inline(always)]
    unsafe fn multipliers(record: *const u8, step: usize) -> __m128i {
        six_bits(record.add(64), step)
    }

    #[inline(always)]
    unsafe fn minima(record: *const u8) -> Pair {
        halves(record.add(32))
    }

    #[inline(always)]
    unsafe fn lifts(record: *const u8, step: usize) -> __m128i {
        six_bits(record.add(160), step)
    }

    #[inline(always)]
    unsafe fn codes(record: *const u8, step: usize, eighth: usize) -> [__m256i; 4] {
        nibbles(record.add(256 + 256 * step + 64 * eighth))
    }
}

impl Avx2Format for Q5K {
    #[inline(always)]
    unsafe fn scales(record: *const u8) -> Pair {
        Q4K::scales(record)
    }

    #[inline(always)]
    unsafe fn multipliers(record: *const u8, step: usize) -> __m128i {
        Q4K::multipliers(record, step)
    }

    #[inline(always)]
    unsafe fn minima(record: *const u8) -> Pair {
        Q4K::minima(record)
    }

    #[inline(always)]
    unsafe fn lifts(record: *const u8, step: usize) -> __m128i {
        Q4K::lifts(record, step)
    }

    #[inline(always)]
    unsafe fn codes(record: *const u8, step: usize, eighth: usize) -> [__m256i; 4] {
        let place = record.add(256 + 320 * step);
        with_high::<1>(nibbles(place.add(64 + 64 * eighth)), place, eighth)
    }
}

impl Avx2Format for Q6K {
    #[inline(always)]
    unsafe fn scales(record: *const u8) -> Pair {
        halves(record)
    }

    #[inline(always)]
    unsafe fn multipliers(record: *const u8, step: usize) -> __m128i {
        _mm_loadu_si128(record.add(32 + 16 * step).cast())
    }

    #[inline(always)]
    unsafe fn codes(record: *const u8, step: usize, eighth: usize) -> [__m256i; 4] {
        let place = record.add(288 + 192 * step);
        with_high::<2>(nibbles(place.add(64 + 64 * eighth)), place, eighth)
    }
}

impl Avx2Format for Mxfp4 {
    #[inline(always)]
    unsafe fn scales(record: *const u8) -> Pair {
        let exponents = _mm_loadu_si128(record.cast());
        let high = _mm_unpackhi_epi64(exponents, exponents);
        [half_powers(exponents), half_powers(high)]
    }

    #[inline(always)]
    unsafe fn codes(record: *const u8, _step: usize, eighth: usize) -> [__m256i; 4] {
        looked_up(nibbles(record.add(16 + 64 * eighth)), FLOATS.as_ptr())
    }
}

impl Avx2Format for Iq4Nl {
    #[inline(always)]
    unsafe fn scales(record: *const u8) -> Pair {
        halves(record)
    }

    #[inline(always)]
    unsafe fn codes(record: *const u8, _step: usize, eighth: usize) -> [__m256i; 4] {
        looked_up(nibbles(record.add(32 + 64 * eighth)), UNEVEN.as_ptr().cast())
    }
}

impl Avx2Format for Iq4Xs {
    #[inline(always)]
    unsafe fn scales(record: *const u8) -> Pair {
        halves(record)
    }

    #[inline(always)]
    unsafe fn multipliers(record: *const u8, step: usize) -> __m128i {
        _mm_sub_epi8(six_bits(record.add(32), step), _mm_set1_epi8(32))
    }

    #[inline(always)]
    unsafe fn codes(record: *const u8, step: usize, eighth: usize) -> [__m256i; 4] {
        looked_up(nibbles(record.add(128 + 256 * step + 64 * eighth)), UNEVEN.as_ptr().cast())
    }
}

#[inline(always)]
unsafe fn bytes(place: *const u8) -> __m256i {
    _mm256_loadu_si256(place.cast())
}

/// Sixteen half-precision floats.
#[inline(always)]
unsafe fn halves(place: *const u8) -> Pair {
    [_mm256_cvtph_ps(_mm_loadu_si128(place.cast())), _mm256_cvtph_ps(_mm_loadu_si128(place.add(16).cast()))]
}

/// The codes in 64 bytes of nibbles.
#[inline(always)]
unsafe fn nibbles(place: *const u8) -> [__m256i; 4] {
    let mask = _mm256_set1_epi8(15);
    let (a, b) = (bytes(place), bytes(place.add(32)));
    let (c, d) = (_mm256_srli_epi16::<4>(a), _mm256_srli_epi16::<4>(b));
    [_mm256_and_si256(a, mask), _mm256_and_si256(b, mask), _mm256_and_si256(c, mask), _mm256_and_si256(d, mask)]
}

/// Puts the bits above the fourth to codes, which are in 64 bytes at `place`, `BITS` of each four inputs.
#[inline(always)]
unsafe fn with_high<const BITS: i32>(codes: [__m256i; 4], place: *const u8, eighth: usize) -> [__m256i; 4] {
    let mask = _mm256_set1_epi8(if BITS == 1 { 1 << 4 } else { 3 << 4 });
    let (a, b) = (bytes(place), bytes(place.add(32)));
    let first = 2 * eighth as i32 * BITS;
    [
        _mm256_or_si256(codes[0], high_of(a, first, mask)),
        _mm256_or_si256(codes[1], high_of(b, first, mask)),
        _mm256_or_si256(codes[2], high_of(a, first + BITS, mask)),
        _mm256_or_si256(codes[3], high_of(b, first + BITS, mask)),
    ]
}

/// The bits that `shift` brings to the fifth and sixth of each byte: up by four to where they belong, down to the group;
/// what crosses from byte to byte is masked off.
#[inline(always)]
unsafe fn high_of(bits: __m256i, shift: i32, mask: __m256i) -> __m256i {
    let shifted = match shift {
        0..4 => _mm256_srl_epi16(_mm256_slli_epi16::<4>(bits), _mm_cvtsi32_si128(shift)),
        _ => _mm256_srl_epi16(bits, _mm_cvtsi32_si128(shift - 4)),
    };
    _mm256_and_si256(shifted, mask)
}

/// Half of two to the power of eight exponents, as [`half_power`].
#[inline(always)]
unsafe fn half_powers(exponents: __m128i) -> __m256 {
    let exponent = _mm256_cvtepu8_epi32(exponents);
    let normal = _mm256_slli_epi32::<23>(_mm256_sub_epi32(exponent, _mm256_set1_epi32(1)));
    let subnormal = _mm256_sllv_epi32(_mm256_set1_epi32(0x0020_0000), exponent);
    let is_small = _mm256_cmpgt_epi32(_mm256_set1_epi32(2), exponent);
    _mm256_castsi256_ps(_mm256_blendv_epi8(normal, subnormal, is_small))
}

/// The values that codes of four bits stand for.
#[inline(always)]
unsafe fn looked_up(codes: [__m256i; 4], values: *const u8) -> [__m256i; 4] {
    let values = _mm256_broadcastsi128_si256(_mm_loadu_si128(values.cast()));
    [
        _mm256_shuffle_epi8(values, codes[0]),
        _mm256_shuffle_epi8(values, codes[1]),
        _mm256_shuffle_epi8(values, codes[2]),
        _mm256_shuffle_epi8(values, codes[3]),
    ]
}

/// Numbers of six bits for sixteen lanes, as [`six_bit`].
#[inline(always)]
unsafe fn six_bits(lists: *const u8, group: usize) -> __m128i {
    let lists = lists.add(48 * (group / 4));
    match group % 4 {
        3 => {
            let second = _mm_slli_epi16::<2>(top_bits(lists.add(16)));
            let third = _mm_slli_epi16::<4>(top_bits(lists.add(32)));
            _mm_or_si128(top_bits(lists), _mm_or_si128(second, third))
        }
        index => _mm_and_si128(_mm_loadu_si128(lists.add(16 * index).cast()), _mm_set1_epi8(63)),
    }
}

/// The two bits above of sixteen bytes.
#[inline(always)]
unsafe fn top_bits(list: *const u8) -> __m128i {
    _mm_and_si128(_mm_srli_epi16::<6>(_mm_loadu_si128(list.cast())), _mm_set1_epi8(3))
}
