//! The kernels of attention with AVX2.
#![expect(unsafe_op_in_unsafe_fn, reason = "every line is an instruction or a load within slices, by one promise")]
#![expect(clippy::needless_range_loop, reason = "loops over registers, which an iterator would take the address of")]

use std::arch::x86_64::*;

use half::f16;

use super::kernels::{DIRECT, Product};
use super::pages::Numbers;
use super::{scalar, softmax};

/// Bytes that come from memory together.
const LINE: usize = 64;

/// # Safety
/// The processor has AVX2 and FMA.
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn exponentials(scores: &mut [f32]) -> (f32, f32) {
    softmax::exponentials(scores)
}

/// # Safety
/// The processor has AVX2 and F16C, and `numbers` and `to` are of one length.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe fn expand(numbers: Numbers<'_>, ahead: Numbers<'_>, to: &mut [f32]) {
    match numbers {
        Numbers::F16(numbers) => {
            let (blocks, tail) = numbers.as_chunks::<32>();
            let (places, tail_places) = to.as_chunks_mut::<32>();
            for (index, (block, place)) in blocks.iter().zip(places).enumerate() {
                _mm_prefetch::<_MM_HINT_T0>(ahead.start().wrapping_add(index * LINE));
                for eight in 0..4 {
                    let numbers = _mm256_cvtph_ps(_mm_loadu_si128(block.as_ptr().add(8 * eight).cast()));
                    _mm256_storeu_ps(place.as_mut_ptr().add(8 * eight), numbers);
                }
            }
            tail_places.iter_mut().zip(tail).for_each(|(to, x)| *to = x.to_f32());
        }
        numbers => scalar::expand(numbers, to),
    }
}

impl Numbers<'_> {
    fn start(self) -> *const i8 {
        match self {
            Self::F32(numbers) => numbers.as_ptr().cast(),
            Self::F16(numbers) => numbers.as_ptr().cast(),
        }
    }
}

/// Numbers of a page, eight at a time.
trait Page: Copy {
    /// Bytes of one.
    const BYTES: usize;

    /// # Safety
    /// There are eight numbers from `at` on, and the processor has AVX and F16C.
    unsafe fn eight(self, at: usize) -> __m256;

    /// # Safety
    /// There is a number at `at`.
    unsafe fn one(self, at: usize) -> f32;

    /// Asks for what stands at `at` in the page that is read next.
    fn ask(self, at: usize);
}

/// A page that is in the cache.
#[derive(Clone, Copy)]
struct Near(*const f32);

/// A page that comes from memory, and where the next one is.
#[derive(Clone, Copy)]
struct Far<T> {
    numbers: *const T,
    ahead: *const i8,
}

impl Page for Near {
    const BYTES: usize = 4;

    #[inline(always)]
    unsafe fn eight(self, at: usize) -> __m256 {
        _mm256_loadu_ps(self.0.add(at))
    }

    #[inline(always)]
    unsafe fn one(self, at: usize) -> f32 {
        *self.0.add(at)
    }

    #[inline(always)]
    fn ask(self, _at: usize) {}
}

impl Page for Far<f32> {
    const BYTES: usize = 4;

    #[inline(always)]
    unsafe fn eight(self, at: usize) -> __m256 {
        _mm256_loadu_ps(self.numbers.add(at))
    }

    #[inline(always)]
    unsafe fn one(self, at: usize) -> f32 {
        *self.numbers.add(at)
    }

    #[inline(always)]
    fn ask(self, at: usize) {
        ask(self.ahead, at * Self::BYTES);
    }
}

impl Page for Far<f16> {
    const BYTES: usize = 2;

    #[inline(always)]
    unsafe fn eight(self, at: usize) -> __m256 {
        _mm256_cvtph_ps(_mm_loadu_si128(self.numbers.add(at).cast()))
    }

    #[inline(always)]
    unsafe fn one(self, at: usize) -> f32 {
        (*self.numbers.add(at)).to_f32()
    }

    #[inline(always)]
    fn ask(self, at: usize) {
        ask(self.ahead, at * Self::BYTES);
    }
}

#[inline(always)]
fn ask(start: *const i8, byte: usize) {
    // SAFETY: every x86-64 processor has it, and it reads nothing: it may even be given an address that is none.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(start.wrapping_add(byte)) };
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
                    sum = page.one(step * width + at).mul_add(*factors.add(step), sum);
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
                page.ask(first * steps + step * 8 * EIGHTS);
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
        let factors = factors.add(step);
        let at = step * width + first;
        // Held in registers is what there is less of, or sums would have to leave them.
        if SOME < EIGHTS {
            let mut by = [_mm256_setzero_ps(); SOME];
            for row in 0..SOME {
                by[row] = _mm256_broadcast_ss(&*factors.add(row * factor_stride));
            }
            for eight in 0..EIGHTS {
                let numbers = page.eight(at + 8 * eight);
                for row in 0..SOME {
                    sums[row][eight] = _mm256_fmadd_ps(numbers, by[row], sums[row][eight]);
                }
            }
        } else {
            let mut numbers = [_mm256_setzero_ps(); EIGHTS];
            for eight in 0..EIGHTS {
                numbers[eight] = page.eight(at + 8 * eight);
            }
            for row in 0..SOME {
                let by = _mm256_broadcast_ss(&*factors.add(row * factor_stride));
                for eight in 0..EIGHTS {
                    sums[row][eight] = _mm256_fmadd_ps(numbers[eight], by, sums[row][eight]);
                }
            }
        }
    }
}
