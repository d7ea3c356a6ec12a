//! The instructions that the AVX-512 kernels use, over plain bytes, each as Intel's manual defines it (Software
//! Developer's Manual, volume 2). What has a sibling of half the size is held against that in the tests, which
//! processors with AVX2 have; the others against their formulas.
#![expect(non_camel_case_types, reason = "the names of `std::arch`")]

mod lanes;
#[cfg(test)]
mod tests;

use half::f16;

pub(crate) use self::lanes::Register;

pub(crate) type __m128i = Register<16>;
pub(crate) type __m256i = Register<32>;
pub(crate) type __m512 = Register<64>;
pub(crate) type __m512i = Register<64>;
pub(crate) type __mmask16 = u16;

/// Another type than `__m512i` in `std::arch` too.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(crate) struct __m512bh(__m512i);

pub(crate) const _MM_HINT_T0: i32 = 3;
pub(crate) const _MM_HINT_T1: i32 = 2;

/// Does nothing, as far as anyone can tell.
pub(crate) fn _mm_prefetch<const HINT: i32>(_place: *const i8) {}

// Loads and stores.

pub(crate) unsafe fn _mm_loadu_si128(place: *const __m128i) -> __m128i {
    // SAFETY: the caller promises 16 bytes.
    unsafe { Register::read(place.cast()) }
}

pub(crate) unsafe fn _mm256_loadu_si256(place: *const __m256i) -> __m256i {
    // SAFETY: the caller promises 32 bytes.
    unsafe { Register::read(place.cast()) }
}

pub(crate) unsafe fn _mm512_loadu_ps(place: *const f32) -> __m512 {
    // SAFETY: the caller promises 64 bytes.
    unsafe { Register::read(place.cast()) }
}

pub(crate) unsafe fn _mm512_loadu_si512(place: *const __m512i) -> __m512i {
    // SAFETY: the caller promises 64 bytes.
    unsafe { Register::read(place.cast()) }
}

pub(crate) unsafe fn _mm512_load_si512(place: *const __m512i) -> __m512i {
    assert!(place.is_aligned(), "this one faults where it is not aligned");
    // SAFETY: the caller promises 64 bytes.
    unsafe { Register::read(place.cast()) }
}

pub(crate) unsafe fn _mm512_store_si512(place: *mut __m512i, a: __m512i) {
    assert!(place.is_aligned(), "this one faults where it is not aligned");
    // SAFETY: the caller promises 64 bytes.
    unsafe { a.write(place.cast()) }
}

pub(crate) unsafe fn _mm512_storeu_ps(place: *mut f32, a: __m512) {
    // SAFETY: the caller promises 64 bytes.
    unsafe { a.write(place.cast()) }
}

pub(crate) unsafe fn _mm512_maskz_loadu_ps(mask: __mmask16, place: *const f32) -> __m512 {
    // SAFETY: the caller promises the lanes of the mask, and no others are read.
    Register::of(|at| if mask >> at & 1 == 1 { unsafe { place.add(at).read_unaligned() } } else { 0.0 })
}

pub(crate) unsafe fn _mm256_maskz_loadu_epi16(mask: __mmask16, place: *const i16) -> __m256i {
    // SAFETY: as above.
    Register::of(|at| if mask >> at & 1 == 1 { unsafe { place.add(at).read_unaligned() } } else { 0 })
}

pub(crate) unsafe fn _mm512_mask_storeu_ps(place: *mut f32, mask: __mmask16, a: __m512) {
    for at in (0..16).filter(|at| mask >> at & 1 == 1) {
        // SAFETY: the caller promises the lanes of the mask.
        unsafe { place.add(at).write_unaligned(a.lane(at)) }
    }
}

// Constants.

pub(crate) fn _mm512_setzero_ps() -> __m512 {
    Register::of(|_| 0_u8)
}

pub(crate) fn _mm512_setzero_si512() -> __m512i {
    _mm512_setzero_ps()
}

pub(crate) fn _mm512_set1_epi8(x: i8) -> __m512i {
    Register::of(|_| x)
}

pub(crate) fn _mm512_set1_ps(x: f32) -> __m512 {
    Register::of(|_| x)
}

pub(crate) fn _mm512_set1_epi32(x: i32) -> __m512i {
    Register::of(|_| x)
}

// Floats.

pub(crate) fn _mm512_castsi512_ps(a: __m512i) -> __m512 {
    a
}

pub(crate) fn _mm512_add_ps(a: __m512, b: __m512) -> __m512 {
    Register::of(|at| a.lane::<f32>(at) + b.lane::<f32>(at))
}

pub(crate) fn _mm512_mul_ps(a: __m512, b: __m512) -> __m512 {
    Register::of(|at| a.lane::<f32>(at) * b.lane::<f32>(at))
}

pub(crate) fn _mm512_xor_ps(a: __m512, b: __m512) -> __m512 {
    _mm512_xor_si512(a, b)
}

pub(crate) fn _mm512_fnmadd_ps(a: __m512, b: __m512, c: __m512) -> __m512 {
    Register::of(|at| (-a.lane::<f32>(at)).mul_add(b.lane(at), c.lane(at)))
}

pub(crate) fn _mm512_cvtepi32_ps(a: __m512i) -> __m512 {
    Register::of(|at| a.lane::<i32>(at) as f32)
}

pub(crate) fn _mm512_fmadd_ps(a: __m512, b: __m512, c: __m512) -> __m512 {
    Register::of(|at| a.lane::<f32>(at).mul_add(b.lane(at), c.lane(at)))
}

/// Inputs below the normal numbers are zeros, and so are results: of pairs the second is added first.
pub(crate) fn _mm512_dpbf16_ps(sum: __m512, a: __m512bh, b: __m512bh) -> __m512 {
    let number = |register: __m512bh, at| normal(f32::from_bits(u32::from(register.0.lane::<u16>(at)) << 16));
    Register::of(|at| {
        let sum = normal(number(a, 2 * at + 1).mul_add(number(b, 2 * at + 1), normal(sum.lane(at))));
        normal(number(a, 2 * at).mul_add(number(b, 2 * at), sum))
    })
}

fn normal(x: f32) -> f32 {
    if x.is_subnormal() { x * 0.0 } else { x }
}

pub(crate) fn _mm512_cvtph_ps(a: __m256i) -> __m512 {
    Register::of(|at| f16::from_bits(a.lane(at)).to_f32())
}

// Integers.

pub(crate) fn _mm512_and_si512(a: __m512i, b: __m512i) -> __m512i {
    Register::of(|at| a.lane::<u8>(at) & b.lane::<u8>(at))
}

pub(crate) fn _mm512_slli_epi32<const BITS: u32>(a: __m512i) -> __m512i {
    Register::of(|at| a.lane::<u32>(at).checked_shl(BITS).unwrap_or(0))
}

pub(crate) fn _mm512_or_si512(a: __m512i, b: __m512i) -> __m512i {
    Register::of(|at| a.lane::<u8>(at) | b.lane::<u8>(at))
}

pub(crate) fn _mm512_xor_si512(a: __m512i, b: __m512i) -> __m512i {
    Register::of(|at| a.lane::<u8>(at) ^ b.lane::<u8>(at))
}

pub(crate) fn _mm512_srli_epi16<const BITS: u32>(a: __m512i) -> __m512i {
    Register::of(|at| a.lane::<u16>(at).checked_shr(BITS).unwrap_or(0))
}

pub(crate) fn _mm512_srli_epi32<const BITS: u32>(a: __m512i) -> __m512i {
    Register::of(|at| a.lane::<u32>(at).checked_shr(BITS).unwrap_or(0))
}

pub(crate) fn _mm512_rorv_epi32(a: __m512i, by: __m512i) -> __m512i {
    Register::of(|at| a.lane::<u32>(at).rotate_right(by.lane::<u32>(at) % 32))
}

/// Lanes that are not of the mask are those of `other`.
pub(crate) fn _mm512_mask_sllv_epi32(other: __m512i, mask: __mmask16, a: __m512i, by: __m512i) -> __m512i {
    Register::of(|at| match mask >> at & 1 {
        1 => a.lane::<u32>(at).checked_shl(by.lane(at)).unwrap_or(0),
        _ => other.lane(at),
    })
}

pub(crate) fn _mm512_cmpgt_epi32_mask(a: __m512i, b: __m512i) -> __mmask16 {
    (0..16).map(|at| u16::from(a.lane::<i32>(at) > b.lane(at)) << at).sum()
}

pub(crate) fn _mm512_add_epi32(a: __m512i, b: __m512i) -> __m512i {
    Register::of(|at| a.lane::<i32>(at).wrapping_add(b.lane(at)))
}

pub(crate) fn _mm512_sub_epi32(a: __m512i, b: __m512i) -> __m512i {
    Register::of(|at| a.lane::<i32>(at).wrapping_sub(b.lane(at)))
}

pub(crate) fn _mm512_mullo_epi32(a: __m512i, b: __m512i) -> __m512i {
    Register::of(|at| a.lane::<i32>(at).wrapping_mul(b.lane(at)))
}

pub(crate) fn _mm512_cvtepu8_epi32(a: __m128i) -> __m512i {
    Register::of(|at| i32::from(a.lane::<u8>(at)))
}

pub(crate) fn _mm512_cvtepi8_epi32(a: __m128i) -> __m512i {
    Register::of(|at| i32::from(a.lane::<i8>(at)))
}

pub(crate) fn _mm512_broadcast_i32x4(a: __m128i) -> __m512i {
    Register::of(|at| a.lane::<u8>(at % 16))
}

/// Within each sixteen bytes.
pub(crate) fn _mm512_shuffle_epi8(a: __m512i, index: __m512i) -> __m512i {
    Register::of(|at| match index.lane::<u8>(at) {
        0x80.. => 0,
        from => a.lane::<u8>(at / 16 * 16 + usize::from(from % 16)),
    })
}

/// Bytes of `a` have no sign, those of `b` have one; nothing saturates.
pub(crate) fn _mm512_dpbusd_epi32(sum: __m512i, a: __m512i, b: __m512i) -> __m512i {
    Register::of(|at| {
        let product = |byte| i32::from(a.lane::<u8>(byte)) * i32::from(b.lane::<i8>(byte));
        (4 * at..4 * at + 4).map(product).fold(sum.lane(at), i32::wrapping_add)
    })
}

/// Words of both have signs; nothing saturates.
pub(crate) fn _mm512_dpwssd_epi32(sum: __m512i, a: __m512i, b: __m512i) -> __m512i {
    Register::of(|at| {
        let product = |word| i32::from(a.lane::<i16>(word)) * i32::from(b.lane::<i16>(word));
        (2 * at..2 * at + 2).map(product).fold(sum.lane(at), i32::wrapping_add)
    })
}
