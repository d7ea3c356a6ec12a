//! The kernels of attention with AVX2.
#![expect(unsafe_op_in_unsafe_fn, reason = "every line is an instruction or a load within slices, by one promise")]
#![expect(clippy::needless_range_loop, reason = "loops over registers, which an iterator would take the address of")]

mod expand;

use std::arch::x86_64::*;
use std::mem::MaybeUninit;

use half::f16;

pub(super) use self::expand::expand;
use self::expand::{ask, ask_scales, codes_of};
use super::codes::{Codes, GROUP};
use super::kernels::{DIRECT, DIRECT_SCALES, Product};
use super::pages::Numbers;
use super::{scalar, softmax};

/// # Safety
/// The processor has AVX2 and FMA.
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn exponentials(scores: &mut [f32]) -> (f32, f32) {
    softmax::exponentials(scores)
}

impl Numbers<'_> {
    fn start(self) -> *const i8 {
        match self {
            Self::F32(numbers) => numbers.as_ptr().cast(),
            Self::F16(numbers) => numbers.as_ptr().cast(),
            Self::Keys8(codes) | Self::Values8(codes) => codes.codes.as_ptr(),
        }
    }
}

/// Numbers of a page, some eights at a time.
trait Page: Copy {
    /// Bytes of one.
    const BYTES: usize;

    /// Eights of a step, which has `width` numbers, from its number `first` on: a multiple of what is asked for.
    ///
    /// # Safety
    /// There are so many, and the processor has AVX2 and F16C.
    unsafe fn eights<const EIGHTS: usize>(self, step: usize, first: usize, width: usize) -> [__m256; EIGHTS];

    /// One number.
    ///
    /// # Safety
    /// As above.
    unsafe fn one(self, step: usize, at: usize, width: usize) -> f32;

    /// Asks for what stands at this byte of the page that is read next.
    fn ask(self, byte: usize);
}

/// A page that is in the cache.
#[derive(Clone, Copy)]
struct Near(*const f32);

/// A page of floats that comes from memory, and where the next one is.
#[derive(Clone, Copy)]
struct Far<T> {
    numbers: *const T,
    ahead: *const i8,
}

/// The same of codes, whose scales were widened.
#[derive(Clone, Copy)]
struct Scaled<const KEYS: bool> {
    codes: *const i8,
    scales: *const f32,
    ahead: *const i8,
}

impl Page for Near {
    const BYTES: usize = 4;

    #[inline(always)]
    unsafe fn eights<const EIGHTS: usize>(self, step: usize, first: usize, width: usize) -> [__m256; EIGHTS] {
        Far { numbers: self.0, ahead: std::ptr::null() }.eights(step, first, width)
    }

    #[inline(always)]
    unsafe fn one(self, step: usize, at: usize, width: usize) -> f32 {
        *self.0.add(step * width + at)
    }

    #[inline(always)]
    fn ask(self, _byte: usize) {}
}

impl Page for Far<f32> {
    const BYTES: usize = 4;

    #[inline(always)]
    unsafe fn eights<const EIGHTS: usize>(self, step: usize, first: usize, width: usize) -> [__m256; EIGHTS] {
        let mut eights = [_mm256_setzero_ps(); EIGHTS];
        for eight in 0..EIGHTS {
            eights[eight] = _mm256_loadu_ps(self.numbers.add(step * width + first + 8 * eight));
        }
        eights
    }

    #[inline(always)]
    unsafe fn one(self, step: usize, at: usize, width: usize) -> f32 {
        *self.numbers.add(step * width + at)
    }

    #[inline(always)]
    fn ask(self, byte: usize) {
        ask(self.ahead, byte);
    }
}

impl Page for Far<f16> {
    const BYTES: usize = 2;

    #[inline(always)]
    unsafe fn eights<const EIGHTS: usize>(self, step: usize, first: usize, width: usize) -> [__m256; EIGHTS] {
        let mut eights = [_mm256_setzero_ps(); EIGHTS];
        for eight in 0..EIGHTS {
            let numbers = self.numbers.add(step * width + first + 8 * eight);
            eights[eight] = _mm256_cvtph_ps(_mm_loadu_si128(numbers.cast()));
        }
        eights
    }

    #[inline(always)]
    unsafe fn one(self, step: usize, at: usize, width: usize) -> f32 {
        (*self.numbers.add(step * width + at)).to_f32()
    }

    #[inline(always)]
    fn ask(self, byte: usize) {
        ask(self.ahead, byte);
    }
}

impl<const KEYS: bool> Scaled<KEYS> {
    /// Where the scale of a number stands; those of a step's tokens stand together, and those of a token's groups.
    #[inline(always)]
    fn scale(step: usize, at: usize, width: usize) -> usize {
        if KEYS { step / GROUP * width + at } else { step * width.div_ceil(GROUP) + at / GROUP }
    }
}

impl<const KEYS: bool> Page for Scaled<KEYS> {
    const BYTES: usize = 1;

    #[inline(always)]
    unsafe fn eights<const EIGHTS: usize>(self, step: usize, first: usize, width: usize) -> [__m256; EIGHTS] {
        let scales = self.scales.add(Self::scale(step, first, width));
        let of_group = _mm256_broadcast_ss(&*scales);
        let mut eights = [_mm256_setzero_ps(); EIGHTS];
        for eight in 0..EIGHTS {
            let by = if KEYS { _mm256_loadu_ps(scales.add(8 * eight)) } else { of_group };
            eights[eight] = _mm256_mul_ps(codes_of(self.codes.add(step * width + first + 8 * eight)), by);
        }
        eights
    }

    #[inline(always)]
    unsafe fn one(self, step: usize, at: usize, width: usize) -> f32 {
        f32::from(*self.codes.add(step * width + at)) * *self.scales.add(Self::scale(step, at, width))
    }

    #[inline(always)]
    fn ask(self, byte: usize) {
        ask(self.ahead, byte);
    }
}

/// See [`super::kernels::Kernels::multiply`].
///
/// # Safety
/// The processor has AVX2, FMA and F16C; there are numbers for each step, factors for each row and step, and places for
/// each row.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe fn multiply(product: &Product<'_>, to: &mut [f32], to_stride: usize, add: bool) {
    let rows = Rows { product, to: to.as_mut_ptr(), to_stride, add };
    let ahead = product.ahead.start();
    match product.numbers {
        Numbers::F32(numbers) if product.count > DIRECT => rows.all(Near(numbers.as_ptr())),
        Numbers::F32(numbers) => rows.all(Far { numbers: numbers.as_ptr(), ahead }),
        Numbers::F16(numbers) => rows.all(Far { numbers: numbers.as_ptr(), ahead }),
        Numbers::Keys8(codes) | Numbers::Values8(codes) if codes.scales.len() > DIRECT_SCALES => {
            scalar::multiply(product, to, to_stride, add);
        }
        Numbers::Keys8(codes) => rows.scaled::<true>(codes, ahead),
        Numbers::Values8(codes) => rows.scaled::<false>(codes, ahead),
    }
}

/// A product and its place.
struct Rows<'a> {
    product: &'a Product<'a>,
    to: *mut f32,
    to_stride: usize,
    add: bool,
}

impl Rows<'_> {
    /// # Safety
    /// That of [`multiply`], with no more scales than `DIRECT_SCALES`.
    #[inline(always)]
    unsafe fn scaled<const KEYS: bool>(&self, codes: Codes<'_>, ahead: *const i8) {
        let mut scales = [MaybeUninit::<f32>::uninit(); DIRECT_SCALES];
        for (to, scales) in scales.chunks_exact_mut(8).zip(codes.scales.as_chunks::<8>().0) {
            _mm256_storeu_ps(to.as_mut_ptr().cast(), _mm256_cvtph_ps(_mm_loadu_si128(scales.as_ptr().cast())));
        }
        self.all(Scaled::<KEYS> { codes: codes.codes.as_ptr(), scales: scales.as_ptr().cast(), ahead });
        ask_scales(codes, ahead);
    }

    /// # Safety
    /// That of [`multiply`], with `page` as its numbers.
    #[inline(always)]
    unsafe fn all<P: Page>(&self, page: P) {
        let mut row = 0;
        while row + DIRECT <= self.product.count {
            self.some::<P, DIRECT, 2>(page, row);
            row += DIRECT;
        }
        match self.product.count - row {
            1 => self.some::<P, 1, 4>(page, row),
            2 => self.some::<P, 2, 4>(page, row),
            3 => self.some::<P, 3, 2>(page, row),
            4 => self.some::<P, 4, 2>(page, row),
            5 => self.some::<P, 5, 2>(page, row),
            _ => {}
        }
    }

    /// `SOME` rows from `row` on, `EIGHTS` times eight numbers at a time.
    ///
    /// # Safety
    /// As above, and there are so many rows.
    #[inline(always)]
    unsafe fn some<P: Page, const SOME: usize, const EIGHTS: usize>(&self, page: P, row: usize) {
        let width = self.product.width;
        let mut first = 0;
        while first + 8 * EIGHTS <= width {
            self.block::<P, SOME, EIGHTS>(page, row, first);
            first += 8 * EIGHTS;
        }
        while first + 8 <= width {
            self.block::<P, SOME, 1>(page, row, first);
            first += 8;
        }
        for at in first..width {
            for row in row..row + SOME {
                let factors = self.factors(row);
                let to = self.to.add(row * self.to_stride + at);
                let mut sum = if self.add { *to } else { 0.0 };
                for step in 0..self.product.steps {
                    sum = page.one(step, at, width).mul_add(*factors.add(step), sum);
                }
                *to = sum;
            }
        }
    }

    #[inline(always)]
    unsafe fn factors(&self, row: usize) -> *const f32 {
        self.product.factors.as_ptr().add(row * self.product.factor_stride)
    }

    /// # Safety
    /// As above, and there are so many numbers from `first` on in each row.
    #[inline(always)]
    unsafe fn block<P: Page, const SOME: usize, const EIGHTS: usize>(&self, page: P, row: usize, first: usize) {
        let steps = self.product.steps;
        let factors = self.factors(row);
        let to = self.to.add(row * self.to_stride + first);
        let mut sums = [[_mm256_setzero_ps(); EIGHTS]; SOME];
        if self.add {
            for row in 0..SOME {
                for eight in 0..EIGHTS {
                    sums[row][eight] = _mm256_loadu_ps(to.add(row * self.to_stride + 8 * eight));
                }
            }
        }
        let mut step = 0;
        // Four steps a turn: a loop of 32 turns would be left by a wrong guess each time.
        while step + 4 <= steps {
            for step in step..step + 4 {
                page.ask((first * steps + step * 8 * EIGHTS) * P::BYTES);
                self.step::<P, SOME, EIGHTS>(page, factors, step, first, &mut sums);
            }
            step += 4;
        }
        while step < steps {
            self.step::<P, SOME, EIGHTS>(page, factors, step, first, &mut sums);
            step += 1;
        }
        for row in 0..SOME {
            for eight in 0..EIGHTS {
                _mm256_storeu_ps(to.add(row * self.to_stride + 8 * eight), sums[row][eight]);
            }
        }
    }

    #[inline(always)]
    unsafe fn step<P: Page, const SOME: usize, const EIGHTS: usize>(
        &self,
        page: P,
        factors: *const f32,
        step: usize,
        first: usize,
        sums: &mut [[__m256; EIGHTS]; SOME],
    ) {
        let &Product { width, factor_stride, .. } = self.product;
        let numbers = page.eights::<EIGHTS>(step, first, width);
        for row in 0..SOME {
            let factor = _mm256_broadcast_ss(&*factors.add(row * factor_stride + step));
            for eight in 0..EIGHTS {
                sums[row][eight] = _mm256_fmadd_ps(numbers[eight], factor, sums[row][eight]);
            }
        }
    }
}
