//! Activations as the kernels read them.
//!
//! Block formats are multiplied in integers, so activations are rounded: 32 of them share a scale, and each becomes a
//! number of eight or of sixteen bits. Of sixteen bits the high and the low byte are kept apart, since the products
//! take bytes: what is wide is two products with the same weights. Floats are multiplied with activations as they are.

use crate::cpu::Cpu;
use crate::packed::Shared;

/// Activations that share a scale.
pub(crate) const GROUP: usize = 32;
/// Activations whose sum is kept, the shortest step of a format.
pub(crate) const HALF: usize = 16;

/// How activations are rounded before they meet packed weights of a block format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rounding {
    /// Not at all: for float layouts alone.
    None,
    /// To sixteen bits.
    Bits16,
    /// To eight bits.
    Bits8,
    /// To bfloat16: for [`Layout::Bf16`](crate::Layout), where the tier multiplies it; others take them as they are.
    Bf16,
}

/// Rows of activations. Their memory is kept from step to step.
#[derive(Debug, Default)]
pub struct Rows {
    count: usize,
    width: usize,
    bits: u32,
    /// As they came: `[count, width]`.
    pub(crate) plain: Vec<f32>,
    /// The high byte of what is wide, or all of what is not: `[count, width]`.
    pub(crate) high: Vec<i8>,
    /// The low byte of what is wide.
    pub(crate) low: Vec<i8>,
    /// High and low byte together.
    pub(crate) whole: Vec<i16>,
    /// `[count, width / 32]`.
    pub(crate) scales: Vec<f32>,
    /// The sum of each sixteen: `[count, width / 16]`.
    pub(crate) sums: Vec<i32>,
    /// The sum of each 32 times their scale, which minima are multiplied by: `[count, width / 32]`.
    pub(crate) lifts: Vec<f32>,
    /// Rounded to bfloat16, two to a number, the first below: `[count, width / 2]`.
    pairs: Vec<u32>,
    has_pairs: bool,
}

/// One rounded row.
pub(crate) struct Row<'a> {
    pub(crate) high: &'a [i8],
    pub(crate) low: &'a [i8],
    pub(crate) whole: &'a [i16],
    pub(crate) scales: &'a [f32],
    pub(crate) sums: &'a [i32],
    pub(crate) lifts: &'a [f32],
}

impl Rows {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Rows there are.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Numbers of each.
    pub fn width(&self) -> usize {
        self.width
    }

    /// The rows as they were written: `[count, width]`.
    pub fn plain_rows(&self) -> &[f32] {
        &self.plain
    }

    /// Room for `count` rows of `width` numbers, to be written as they are, before [`Self::round`].
    pub fn prepare(&mut self, count: usize, width: usize) -> &mut [f32] {
        (self.count, self.width, self.bits, self.has_pairs) = (count, width, 0, false);
        self.plain.resize(count * width, 0.0);
        &mut self.plain
    }

    /// Rounds what was written. The width must be a multiple of 32 then, unless nothing is rounded.
    ///
    /// # Panics
    /// Where it is not.
    pub fn round(&mut self, rounding: Rounding, cpu: &Cpu) {
        let bits = match rounding {
            Rounding::None => return,
            Rounding::Bits8 => 8,
            Rounding::Bits16 => 16,
            Rounding::Bf16 if cpu.tier().has_bf16() => return self.pair(cpu),
            Rounding::Bf16 => return,
        };
        assert!(self.width.is_multiple_of(GROUP), "rows of {} numbers are no groups of {GROUP}", self.width);
        let numbers = self.plain.len();
        self.bits = bits;
        self.high.resize(numbers, 0);
        self.low.resize(numbers, 0);
        self.whole.resize(numbers, 0);
        self.scales.resize(numbers / GROUP, 0.0);
        self.sums.resize(numbers / HALF, 0);
        self.lifts.resize(numbers / GROUP, 0.0);
        let (high, low, whole) =
            (Shared::new(&mut self.high), Shared::new(&mut self.low), Shared::new(&mut self.whole));
        let (scales, lifts) = (Shared::new(&mut self.scales), Shared::new(&mut self.lifts));
        let sums = Shared::new(&mut self.sums);
        let (plain, width) = (&self.plain, self.width);
        let at_once = rows_at_once(width, self.count);
        cpu.pool().run(self.count.div_ceil(at_once), |task| {
            let rows = task * at_once..self.count.min((task + 1) * at_once);
            let part = rows.start * width..rows.end * width;
            // SAFETY: tasks have rows of their own, and each list has a part for each row.
            let (high, low, whole, scales, sums, lifts) = unsafe {
                (
                    high.part(part.clone()),
                    low.part(part.clone()),
                    whole.part(part.clone()),
                    scales.part(part.start / GROUP..part.end / GROUP),
                    sums.part(part.start / HALF..part.end / HALF),
                    lifts.part(part.start / GROUP..part.end / GROUP),
                )
            };
            crate::vector::round(cpu, bits, &plain[part], high, low, whole, scales, sums, lifts);
        });
    }

    /// Rounds what was written to bfloat16, besides.
    ///
    /// # Panics
    /// Where the width is odd.
    pub(crate) fn pair(&mut self, cpu: &Cpu) {
        assert!(self.width.is_multiple_of(2), "rows of {} numbers are no pairs", self.width);
        self.has_pairs = true;
        self.pairs.resize(self.plain.len() / 2, 0);
        let (pairs, width) = (Shared::new(&mut self.pairs), self.width);
        let (plain, at_once) = (&self.plain, rows_at_once(width, self.count));
        cpu.pool().run(self.count.div_ceil(at_once), |task| {
            let rows = task * at_once..self.count.min((task + 1) * at_once);
            let part = rows.start * width..rows.end * width;
            // SAFETY: tasks have rows of their own, and each row has a part.
            let pairs = unsafe { pairs.part(part.start / 2..part.end / 2) };
            crate::vector::pair(cpu, &plain[part], pairs);
        });
    }

    /// Whether there are pairs of bfloat16.
    pub(crate) fn has_pairs(&self) -> bool {
        self.has_pairs
    }

    /// The pairs of a row.
    pub(crate) fn pairs(&self, row: usize) -> &[u32] {
        &self.pairs[row * self.width / 2..][..self.width / 2]
    }

    /// Whether each number is two bytes.
    pub(crate) fn is_wide(&self) -> bool {
        self.bits == 16
    }

    pub(crate) fn is_rounded(&self) -> bool {
        self.bits != 0
    }

    pub(crate) fn plain(&self, row: usize) -> &[f32] {
        &self.plain[row * self.width..][..self.width]
    }

    #[inline]
    pub(crate) fn rounded(&self, row: usize) -> Row<'_> {
        let part = row * self.width..(row + 1) * self.width;
        Row {
            scales: &self.scales[part.start / GROUP..part.end / GROUP],
            sums: &self.sums[part.start / HALF..part.end / HALF],
            lifts: &self.lifts[part.start / GROUP..part.end / GROUP],
            high: &self.high[part.clone()],
            low: &self.low[part.clone()],
            whole: &self.whole[part],
        }
    }
}

/// Rows that a task takes at once, so that it is worth its handing out: a few thousand numbers.
pub(crate) fn rows_at_once(width: usize, count: usize) -> usize {
    (8192 / width.max(1)).max(1).max(count.div_ceil(60_000))
}
