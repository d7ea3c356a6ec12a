//! The formats sixteen lanes at a time.
//!
//! Everything here is inlined into kernels that are compiled for the tier, and may be called by them alone.
#![expect(unsafe_op_in_unsafe_fn, reason = "every line is an instruction or a load within the record, by one promise")]

use super::arch::*;
use crate::formats::*;

/// What signed codes are raised by, so that byte products can take them as unsigned.
pub(super) const RAISED: i32 = 128;
/// [`UNEVEN`], raised.
const UNEVEN_RAISED: [u8; 16] = {
    let mut raised = [0; 16];
    let mut at = 0;
    while at < 16 {
        raised[at] = (UNEVEN[at] as i32 + RAISED) as u8;
        at += 1;
    }
    raised
};

/// A block format, read with AVX-512.
pub(crate) trait Avx512Format: Format {
    /// The scales, as [`Format::scale`].
    ///
    /// # Safety
    /// `record` points to a whole record, and the processor has the tier's instructions.
    unsafe fn scales(record: *const u8) -> __m512;

    /// The multipliers of a step, as [`Format::multiplier`].
    ///
    /// # Safety
    /// As of [`Self::scales`], and `step` is one of the record's.
    #[inline(always)]
    unsafe fn multipliers(_record: *const u8, _step: usize) -> __m512i {
        _mm512_set1_epi32(1)
    }

    /// The minima, as [`Format::minimum`].
    ///
    /// # Safety
    /// As of [`Self::scales`].
    #[inline(always)]
    unsafe fn minima(_record: *const u8) -> __m512 {
        _mm512_setzero_ps()
    }

    /// What minima are multiplied by in a step, as [`Format::lift`].
    ///
    /// # Safety
    /// As of [`Self::multipliers`].
    #[inline(always)]
    unsafe fn lifts(_record: *const u8, _step: usize) -> __m512i {
        _mm512_set1_epi32(1)
    }

    /// The codes of eight inputs of a step, of which `eighth` counts the eights: the first four inputs of each lane,
    /// then the next four. Signed ones are raised by [`RAISED`].
    ///
    /// # Safety
    /// As of [`Self::multipliers`], and `eighth` is below `STEP / 8`.
    unsafe fn codes(record: *const u8, step: usize, eighth: usize) -> [__m512i; 2];
}

/// Formats of 32 inputs whose record is scales, perhaps minima, perhaps a fifth bit, and nibbles.
macro_rules! of_32 {
    ($($name:ident $(minima at $minima:literal)? $(high at $high:literal)?, nibbles at $nibbles:literal;)*) => { $(
        impl Avx512Format for $name {
            #[inline(always)]
            unsafe fn scales(record: *const u8) -> __m512 {
                halves(record)
            }

            $(#[inline(always)]
            unsafe fn minima(record: *const u8) -> __m512 {
                // The file has what is added.
                _mm512_xor_ps(halves(record.add($minima)), _mm512_set1_ps(-0.0))
            })?

            #[inline(always)]
            unsafe fn codes(record: *const u8, _step: usize, eighth: usize) -> [__m512i; 2] {
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

impl Avx512Format for Q8_0 {
    #[inline(always)]
    unsafe fn scales(record: *const u8) -> __m512 {
        halves(record)
    }

    #[inline(always)]
    unsafe fn codes(record: *const u8, _step: usize, eighth: usize) -> [__m512i; 2] {
        let place = record.add(32 + 128 * eighth);
        // Another highest bit is 128 more.
        let raise = _mm512_set1_epi8(RAISED as u8 as i8);
        [_mm512_xor_si512(bytes(place), raise), _mm512_xor_si512(bytes(place.add(64)), raise)]
    }
}

impl Avx512Format for Q4K {
    #[inline(always)]
    unsafe fn scales(record: *const u8) -> __m512 {
        halves(record)
    }

    #[inline(always)]
    unsafe fn multipliers(record: *const u8, step: usize) -> __m512i {
        six_bits(record.add(64), step)
    }

    #[inline(always)]
    unsafe fn minima(record: *const u8) -> __m512 {
        halves(record.add(32))
    }

    #[inline(always)]
    unsafe fn lifts(record: *const u8, step: usize) -> __m512i {
        six_bits(record.add(160), step)
    }

    #[inline(always)]
    unsafe fn codes(record: *const u8, step: usize, eighth: usize) -> [__m512i; 2] {
        nibbles(record.add(256 + 256 * step + 64 * eighth))
    }
}

impl Avx512Format for Q5K {
    #[inline(always)]
    unsafe fn scales(record: *const u8) -> __m512 {
        Q4K::scales(record)
    }

    #[inline(always)]
    unsafe fn multipliers(record: *const u8, step: usize) -> __m512i {
        Q4K::multipliers(record, step)
    }

    #[inline(always)]
    unsafe fn minima(record: *const u8) -> __m512 {
        Q4K::minima(record)
    }

    #[inline(always)]
    unsafe fn lifts(record: *const u8, step: usize) -> __m512i {
        Q4K::lifts(record, step)
    }

    #[inline(always)]
    unsafe fn codes(record: *const u8, step: usize, eighth: usize) -> [__m512i; 2] {
        let place = record.add(256 + 320 * step);
        with_high::<1>(nibbles(place.add(64 + 64 * eighth)), place, eighth)
    }
}

impl Avx512Format for Q6K {
    #[inline(always)]
    unsafe fn scales(record: *const u8) -> __m512 {
        halves(record)
    }

    #[inline(always)]
    unsafe fn multipliers(record: *const u8, step: usize) -> __m512i {
        _mm512_cvtepi8_epi32(_mm_loadu_si128(record.add(32 + 16 * step).cast()))
    }

    #[inline(always)]
    unsafe fn codes(record: *const u8, step: usize, eighth: usize) -> [__m512i; 2] {
        let place = record.add(288 + 192 * step);
        with_high::<2>(nibbles(place.add(64 + 64 * eighth)), place, eighth)
    }
}

impl Avx512Format for Mxfp4 {
    /// Half of two to the power of each exponent less 127, as the scalar reading.
    #[inline(always)]
    unsafe fn scales(record: *const u8) -> __m512 {
        let exponent = unsigned_bytes(record);
        let normal = _mm512_slli_epi32::<23>(_mm512_sub_epi32(exponent, _mm512_set1_epi32(1)));
        let is_small = _mm512_cmpgt_epi32_mask(_mm512_set1_epi32(2), exponent);
        let subnormal = _mm512_set1_epi32(0x0020_0000);
        _mm512_castsi512_ps(_mm512_mask_sllv_epi32(normal, is_small, subnormal, exponent))
    }

    #[inline(always)]
    unsafe fn codes(record: *const u8, _step: usize, eighth: usize) -> [__m512i; 2] {
        looked_up(nibbles(record.add(16 + 64 * eighth)), &FLOATS)
    }
}

impl Avx512Format for Iq4Nl {
    #[inline(always)]
    unsafe fn scales(record: *const u8) -> __m512 {
        halves(record)
    }

    #[inline(always)]
    unsafe fn codes(record: *const u8, _step: usize, eighth: usize) -> [__m512i; 2] {
        looked_up(nibbles(record.add(32 + 64 * eighth)), &UNEVEN_RAISED)
    }
}

impl Avx512Format for Iq4Xs {
    #[inline(always)]
    unsafe fn scales(record: *const u8) -> __m512 {
        halves(record)
    }

    #[inline(always)]
    unsafe fn multipliers(record: *const u8, step: usize) -> __m512i {
        _mm512_sub_epi32(six_bits(record.add(32), step), _mm512_set1_epi32(32))
    }

    #[inline(always)]
    unsafe fn codes(record: *const u8, step: usize, eighth: usize) -> [__m512i; 2] {
        looked_up(nibbles(record.add(128 + 256 * step + 64 * eighth)), &UNEVEN_RAISED)
    }
}

#[inline(always)]
unsafe fn bytes(place: *const u8) -> __m512i {
    _mm512_loadu_si512(place.cast())
}

/// Sixteen bytes, each a lane.
#[inline(always)]
unsafe fn unsigned_bytes(place: *const u8) -> __m512i {
    _mm512_cvtepu8_epi32(_mm_loadu_si128(place.cast()))
}

/// Sixteen half-precision floats.
#[inline(always)]
unsafe fn halves(place: *const u8) -> __m512 {
    _mm512_cvtph_ps(_mm256_loadu_si256(place.cast()))
}

/// The codes in 64 bytes of nibbles.
#[inline(always)]
unsafe fn nibbles(place: *const u8) -> [__m512i; 2] {
    let (mask, both) = (_mm512_set1_epi8(15), bytes(place));
    [_mm512_and_si512(both, mask), _mm512_and_si512(_mm512_srli_epi16::<4>(both), mask)]
}

/// Puts the bits above the fourth to codes, which are in 64 bytes at `place`, `BITS` of each four inputs.
#[inline(always)]
unsafe fn with_high<const BITS: i32>(codes: [__m512i; 2], place: *const u8, eighth: usize) -> [__m512i; 2] {
    let bits = bytes(place);
    let first = 2 * eighth as i32 * BITS;
    [
        _mm512_or_si512(codes[0], high_of::<BITS>(bits, first)),
        _mm512_or_si512(codes[1], high_of::<BITS>(bits, first + BITS)),
    ]
}

/// The bits from `first` on of each byte, where those above the fourth belong; what crosses from byte to byte on the way
/// is masked off.
#[inline(always)]
unsafe fn high_of<const BITS: i32>(bits: __m512i, first: i32) -> __m512i {
    let mask = _mm512_set1_epi8(if BITS == 1 { 1 << 4 } else { 3 << 4 });
    _mm512_and_si512(_mm512_rorv_epi32(bits, _mm512_set1_epi32((first - 4) & 31)), mask)
}

/// The values that codes of four bits stand for.
#[inline(always)]
unsafe fn looked_up(codes: [__m512i; 2], values: &[u8; 16]) -> [__m512i; 2] {
    let values = _mm512_broadcast_i32x4(_mm_loadu_si128(values.as_ptr().cast()));
    [_mm512_shuffle_epi8(values, codes[0]), _mm512_shuffle_epi8(values, codes[1])]
}

/// Numbers of six bits, as the scalar reading.
#[inline(always)]
unsafe fn six_bits(lists: *const u8, group: usize) -> __m512i {
    let lists = lists.add(48 * (group / 4));
    match group % 4 {
        3 => {
            let second = _mm512_slli_epi32::<2>(top_bits(lists.add(16)));
            let third = _mm512_slli_epi32::<4>(top_bits(lists.add(32)));
            _mm512_or_si512(top_bits(lists), _mm512_or_si512(second, third))
        }
        index => _mm512_and_si512(unsigned_bytes(lists.add(16 * index)), _mm512_set1_epi32(63)),
    }
}

/// The two bits above of sixteen bytes.
#[inline(always)]
unsafe fn top_bits(list: *const u8) -> __m512i {
    _mm512_srli_epi32::<6>(unsigned_bytes(list))
}
