//! Sixteen weights of each layout of floats, and how activations meet them.
#![expect(unsafe_op_in_unsafe_fn, reason = "every line is an instruction or a load within slices, by one promise")]

use std::mem::transmute;

use super::arch::*;
use crate::rows::Rows;

/// The weights of one record of a tile.
///
/// Everything here is inlined into kernels that are compiled for the tier, and may be called by them alone.
pub(super) trait Weights: Copy {
    /// Inputs of a record.
    const INPUTS: usize;
    /// Bytes of a record.
    const BYTES: usize;
    /// What a row of activations is kept as.
    type Activation;
    /// The activations of a record, each in all lanes.
    type Spread: Copy;

    /// The activations of a row.
    fn row(rows: &Rows, row: usize) -> &[Self::Activation];

    /// # Safety
    /// There are [`Self::BYTES`] at `place`, and the processor has the tier's instructions.
    unsafe fn load(place: *const u8) -> Self;

    /// # Safety
    /// The row has this record, and the processor has the tier's instructions.
    unsafe fn spread(row: *const Self::Activation, record: usize) -> Self::Spread;

    /// Adds the products to `sum`, input by input.
    ///
    /// # Safety
    /// The processor has the tier's instructions.
    unsafe fn add_to(self, sum: __m512, x: Self::Spread) -> __m512;
}

/// Float32.
#[derive(Clone, Copy)]
pub(super) struct F32(__m512);

/// Half-precision floats, widened.
#[derive(Clone, Copy)]
pub(super) struct F16(__m512);

/// bfloat16 of two inputs, widened.
#[derive(Clone, Copy)]
pub(super) struct Bf16([__m512; 2]);

/// bfloat16 of two inputs, as the instruction of AVX512_BF16 takes it.
#[derive(Clone, Copy)]
pub(super) struct Bf16Pairs(__m512bh);

impl Weights for F32 {
    const INPUTS: usize = 1;
    const BYTES: usize = 64;
    type Activation = f32;
    type Spread = __m512;

    fn row(rows: &Rows, row: usize) -> &[f32] {
        rows.plain(row)
    }

    #[inline(always)]
    unsafe fn load(place: *const u8) -> Self {
        Self(_mm512_loadu_ps(place.cast()))
    }

    #[inline(always)]
    unsafe fn spread(row: *const f32, record: usize) -> __m512 {
        _mm512_set1_ps(*row.add(record))
    }

    #[inline(always)]
    unsafe fn add_to(self, sum: __m512, x: __m512) -> __m512 {
        _mm512_fmadd_ps(self.0, x, sum)
    }
}

impl Weights for F16 {
    const INPUTS: usize = 1;
    const BYTES: usize = 32;
    type Activation = f32;
    type Spread = __m512;

    fn row(rows: &Rows, row: usize) -> &[f32] {
        rows.plain(row)
    }

    #[inline(always)]
    unsafe fn load(place: *const u8) -> Self {
        Self(_mm512_cvtph_ps(_mm256_loadu_si256(place.cast())))
    }

    #[inline(always)]
    unsafe fn spread(row: *const f32, record: usize) -> __m512 {
        _mm512_set1_ps(*row.add(record))
    }

    #[inline(always)]
    unsafe fn add_to(self, sum: __m512, x: __m512) -> __m512 {
        _mm512_fmadd_ps(self.0, x, sum)
    }
}

impl Weights for Bf16 {
    const INPUTS: usize = 2;
    const BYTES: usize = 64;
    type Activation = f32;
    type Spread = [__m512; 2];

    fn row(rows: &Rows, row: usize) -> &[f32] {
        rows.plain(row)
    }

    #[inline(always)]
    unsafe fn load(place: *const u8) -> Self {
        let pairs = _mm512_loadu_si512(place.cast());
        let odd = _mm512_and_si512(pairs, _mm512_set1_epi32(0xffff_0000_u32 as i32));
        Self([_mm512_castsi512_ps(_mm512_slli_epi32::<16>(pairs)), _mm512_castsi512_ps(odd)])
    }

    #[inline(always)]
    unsafe fn spread(row: *const f32, record: usize) -> [__m512; 2] {
        [_mm512_set1_ps(*row.add(2 * record)), _mm512_set1_ps(*row.add(2 * record + 1))]
    }

    #[inline(always)]
    unsafe fn add_to(self, sum: __m512, x: [__m512; 2]) -> __m512 {
        _mm512_fmadd_ps(self.0[1], x[1], _mm512_fmadd_ps(self.0[0], x[0], sum))
    }
}

impl Weights for Bf16Pairs {
    const INPUTS: usize = 2;
    const BYTES: usize = 64;
    type Activation = u32;
    type Spread = __m512bh;

    fn row(rows: &Rows, row: usize) -> &[u32] {
        rows.pairs(row)
    }

    #[inline(always)]
    unsafe fn load(place: *const u8) -> Self {
        Self(transmute::<__m512i, __m512bh>(_mm512_loadu_si512(place.cast())))
    }

    #[inline(always)]
    unsafe fn spread(row: *const u32, record: usize) -> __m512bh {
        transmute::<__m512i, __m512bh>(_mm512_set1_epi32(*row.add(record) as i32))
    }

    #[inline(always)]
    unsafe fn add_to(self, sum: __m512, x: __m512bh) -> __m512 {
        _mm512_dpbf16_ps(sum, self.0, x)
    }
}
