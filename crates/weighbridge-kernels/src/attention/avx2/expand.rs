//! Pages as float32, and asking for those that are read next.
#![expect(unsafe_op_in_unsafe_fn, reason = "every line is an instruction or a load within slices, by one promise")]
#![expect(clippy::needless_range_loop, reason = "loops over registers, which an iterator would take the address of")]

use std::arch::x86_64::*;

use half::f16;

use super::super::PAGE_TOKENS;
use super::super::codes::{Codes, GROUP};
use super::super::pages::Numbers;

/// Bytes that come from memory together.
const LINE: usize = 64;

/// See [`super::super::kernels::Kernels::expand`].
///
/// # Safety
/// The processor has AVX2 and F16C; `numbers` and `to` are of one length, a multiple of `width`.
#[target_feature(enable = "avx2,fma,f16c")]
pub(in super::super) unsafe fn expand(numbers: Numbers<'_>, width: usize, ahead: Numbers<'_>, to: &mut [f32]) {
    let ahead = ahead.start();
    match numbers {
        Numbers::F32(numbers) => to.copy_from_slice(numbers),
        Numbers::F16(numbers) => expand_half(numbers, ahead, to),
        Numbers::Keys8(codes) => expand_keys(codes, ahead, to),
        Numbers::Values8(codes) => expand_values(codes, width, ahead, to),
    }
}

#[inline(always)]
unsafe fn expand_half(numbers: &[f16], ahead: *const i8, to: &mut [f32]) {
    let (blocks, tail) = numbers.as_chunks::<32>();
    let (places, tail_places) = to.as_chunks_mut::<32>();
    for (index, (block, place)) in blocks.iter().zip(places).enumerate() {
        ask(ahead, index * LINE);
        for eight in 0..4 {
            let numbers = _mm256_cvtph_ps(_mm_loadu_si128(block.as_ptr().add(8 * eight).cast()));
            _mm256_storeu_ps(place.as_mut_ptr().add(8 * eight), numbers);
        }
    }
    tail_places.iter_mut().zip(tail).for_each(|(to, x)| *to = x.to_f32());
}

/// `PAGE_TOKENS` codes a step, whose scales are those of the tokens.
#[inline(always)]
unsafe fn expand_keys(codes: Codes<'_>, ahead: *const i8, to: &mut [f32]) {
    let (steps, scales) = (codes.codes.as_chunks::<PAGE_TOKENS>().0, codes.scales.as_chunks::<PAGE_TOKENS>().0);
    let places = to.as_chunks_mut::<PAGE_TOKENS>().0.chunks_mut(GROUP);
    for (index, ((steps, scales), places)) in steps.chunks(GROUP).zip(scales).zip(places).enumerate() {
        let mut by = [_mm256_setzero_ps(); PAGE_TOKENS / 8];
        for eight in 0..PAGE_TOKENS / 8 {
            by[eight] = _mm256_cvtph_ps(_mm_loadu_si128(scales.as_ptr().add(8 * eight).cast()));
        }
        for (step, (codes, place)) in steps.iter().zip(places).enumerate() {
            ask(ahead, (index * GROUP + step) * PAGE_TOKENS);
            for eight in 0..PAGE_TOKENS / 8 {
                let numbers = _mm256_mul_ps(codes_of(codes.as_ptr().add(8 * eight)), by[eight]);
                _mm256_storeu_ps(place.as_mut_ptr().add(8 * eight), numbers);
            }
        }
    }
    ask_scales(codes, ahead);
}

/// `width` codes a step, of which each group has its scale.
#[inline(always)]
unsafe fn expand_values(codes: Codes<'_>, width: usize, ahead: *const i8, to: &mut [f32]) {
    let groups = codes.scales.chunks_exact(width.div_ceil(GROUP));
    for (step, ((numbers, scales), to)) in
        codes.codes.chunks_exact(width).zip(groups).zip(to.chunks_exact_mut(width)).enumerate()
    {
        for (index, ((numbers, scale), to)) in numbers.chunks(GROUP).zip(scales).zip(to.chunks_mut(GROUP)).enumerate() {
            ask(ahead, step * width + index * GROUP);
            let by = _mm256_broadcastss_ps(_mm_cvtph_ps(_mm_cvtsi32_si128(i32::from(scale.to_bits()))));
            let (eights, tail) = numbers.as_chunks::<8>();
            let (places, tail_places) = to.as_chunks_mut::<8>();
            for (codes, place) in eights.iter().zip(places) {
                _mm256_storeu_ps(place.as_mut_ptr(), _mm256_mul_ps(codes_of(codes.as_ptr()), by));
            }
            tail_places.iter_mut().zip(tail).for_each(|(to, code)| *to = f32::from(*code) * _mm256_cvtss_f32(by));
        }
    }
    ask_scales(codes, ahead);
}

/// Eight codes as floats.
#[inline(always)]
pub(super) unsafe fn codes_of(codes: *const i8) -> __m256 {
    _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(codes.cast())))
}

/// Asks for the scales of what is read next, of which the codes were asked for.
#[inline(always)]
pub(super) unsafe fn ask_scales(codes: Codes<'_>, ahead: *const i8) {
    for line in 0..(codes.scales.len() * 2).div_ceil(LINE) {
        ask(ahead, codes.codes.len() + line * LINE);
    }
}

/// Asks for the line of this byte.
#[inline(always)]
pub(super) fn ask(start: *const i8, byte: usize) {
    // SAFETY: every x86-64 processor has it, and it reads nothing: it may even be given an address that is none.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(start.wrapping_add(byte)) };
}
