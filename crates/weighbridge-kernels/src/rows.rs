//! Activations as the kernels read them.
//!
//! Block formats are multiplied in integers, so activations are rounded: as many as a record of the format has inputs
//! (32 or 256) share a scale, and each becomes a number of eight or of sixteen bits. Of sixteen bits the high and the
//! low byte are kept apart, since the products take bytes: what is wide is two products with the same weights. Floats
//! are multiplied with activations as they are.

use crate::cpu::Cpu;
use crate::packed::{Layout, Shared};

/// Activations that share a scale at least, and the longest step of a format.
pub(crate) const GROUP: usize = 32;
/// The shortest step of a format.
pub(crate) const HALF: usize = 16;
/// Activations that share a scale where the format's records are long.
pub(crate) const LONG_GROUP: usize = 256;

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

/// What rows are rounded for: the matrices that meet them.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Needs {
    /// The most that one asks for; 0 where all are of floats.
    bits: u32,
    /// Whether there are matrices of short records, and whether one has signed codes.
    short: Option<bool>,
    /// The same of long ones.
    long: Option<bool>,
    /// Whether there are matrices of bfloat16 that are multiplied as such.
    pairs: bool,
}

impl Needs {
    /// Of a matrix.
    pub fn new(rounding: Rounding, layout: Layout) -> Self {
        let bits = match rounding {
            Rounding::Bits8 => 8,
            Rounding::Bits16 => 16,
            Rounding::None => return Self::default(),
            Rounding::Bf16 => return Self { pairs: layout == Layout::Bf16, ..Self::default() },
        };
        let whole = Some(layout.has_signed_codes());
        match layout {
            _ if layout.is_float() => Self::default(),
            _ if layout.block() == LONG_GROUP => Self { bits, long: whole, ..Self::default() },
            _ => Self { bits, short: whole, ..Self::default() },
        }
    }

    /// Of these matrices and those.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        // `None` is less than any.
        Self {
            bits: self.bits.max(other.bits),
            short: self.short.max(other.short),
            long: self.long.max(other.long),
            pairs: self.pairs || other.pairs,
        }
    }
}

/// Rows of activations. Their memory is kept from step to step.
#[derive(Debug, Default)]
pub struct Rows {
    count: usize,
    width: usize,
    /// As they came: `[count, width]`.
    pub(crate) plain: Vec<f32>,
    short: Rounded,
    long: Rounded,
    /// Rounded to bfloat16, two to a number, the first below: `[count, width / 2]`.
    pairs: Vec<u32>,
    has_pairs: bool,
}

/// Rows rounded in groups of one length.
#[derive(Debug, Default)]
struct Rounded {
    /// 8 or 16; 0 where they are not rounded.
    bits: u32,
    /// The high byte of what is wide, or all of what is not: `[count, width]`.
    high: Vec<i8>,
    /// The low byte of what is wide.
    low: Vec<i8>,
    /// High and low byte together, where a signed format asks for them.
    whole: Vec<i16>,
    /// `[count, width / group]`.
    scales: Vec<f32>,
    /// The sums of each sixteen high bytes, and of as many low ones: `[count, width / 16]`.
    sums_of_16: [Vec<i16>; 2],
    /// The same of each 32.
    sums_of_32: [Vec<i16>; 2],
    /// The sum of each 32 times their scale: `[count, width / 32]`.
    scaled_sums: Vec<f32>,
}

/// One rounded row, or several one after the other.
pub(crate) struct Row<'a> {
    pub(crate) high: &'a [i8],
    pub(crate) low: &'a [i8],
    pub(crate) whole: &'a [i16],
    pub(crate) scales: &'a [f32],
    pub(crate) sums_of_16: [&'a [i16]; 2],
    pub(crate) scaled_sums: &'a [f32],
}

/// Where several rows are, one after the other: what [`Row`] has, for loops that cannot afford to cut slices.
#[derive(Clone, Copy)]
pub(crate) struct RowPointers {
    /// Numbers of a row, and scales of them.
    pub(crate) width: usize,
    pub(crate) scales_width: usize,
    /// High and low bytes.
    pub(crate) planes: [*const i8; 2],
    pub(crate) whole: *const i16,
    pub(crate) scales: *const f32,
    pub(crate) sums_of_16: [*const i16; 2],
    pub(crate) sums_of_32: [*const i16; 2],
    pub(crate) scaled_sums: *const f32,
}

impl RowPointers {
    /// The same from a later row on.
    ///
    /// # Safety
    /// There are so many rows more.
    #[inline(always)]
    pub(crate) unsafe fn later(self, row: usize) -> Self {
        let numbers = row * self.width;
        // SAFETY: each list has a part for each row, or is empty and never read.
        unsafe {
            Self {
                planes: [self.planes[0].add(numbers), self.planes[1].wrapping_add(numbers)],
                whole: self.whole.wrapping_add(numbers),
                scales: self.scales.add(row * self.scales_width),
                sums_of_16: [self.sums_of_16[0].add(numbers / HALF), self.sums_of_16[1].add(numbers / HALF)],
                sums_of_32: [self.sums_of_32[0].add(numbers / GROUP), self.sums_of_32[1].add(numbers / GROUP)],
                scaled_sums: self.scaled_sums.add(numbers / GROUP),
                ..self
            }
        }
    }
}

/// The same to be written.
pub(crate) struct RowMut<'a> {
    pub(crate) high: &'a mut [i8],
    pub(crate) low: &'a mut [i8],
    pub(crate) whole: &'a mut [i16],
    pub(crate) scales: &'a mut [f32],
    pub(crate) sums_of_16: [&'a mut [i16]; 2],
    pub(crate) sums_of_32: [&'a mut [i16]; 2],
    pub(crate) scaled_sums: &'a mut [f32],
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
        (self.count, self.width, self.short.bits, self.long.bits) = (count, width, 0, 0);
        self.has_pairs = false;
        self.plain.resize(count * width, 0.0);
        &mut self.plain
    }

    /// Rounds what was written, unless it is rounded so already. The width must be a multiple of the layouts' blocks.
    ///
    /// # Panics
    /// Where it is not.
    pub fn round(&mut self, needs: Needs, cpu: &Cpu) {
        let needs = Needs {
            short: needs.short.filter(|&whole| !self.short.is_so(needs.bits, whole, self.plain.len())),
            long: needs.long.filter(|&whole| !self.long.is_so(needs.bits, whole, self.plain.len())),
            ..needs
        };
        if needs.short.is_some() || needs.long.is_some() {
            self.write_and_round(cpu, needs, |_, _| ());
        }
        self.pair_for(needs, cpu);
    }

    /// Writes `count` rows of `width` numbers, each by a call of `write`, and rounds each in the task that wrote it, while
    /// it is in the first-level cache. It gives what [`Self::prepare`] and [`Self::round`] give.
    ///
    /// # Panics
    /// As [`Self::round`].
    pub fn fill(
        &mut self,
        cpu: &Cpu,
        (count, width): (usize, usize),
        needs: Needs,
        write: impl Fn(usize, &mut [f32]) + Sync,
    ) {
        self.prepare(count, width);
        self.write_and_round(cpu, needs, write);
        self.pair_for(needs, cpu);
    }

    fn write_and_round(&mut self, cpu: &Cpu, needs: Needs, write: impl Fn(usize, &mut [f32]) + Sync) {
        let Self { width, plain, short, long, .. } = self;
        let (width, numbers) = (*width, plain.len());
        let short = needs.short.map(|whole| (short.prepared(numbers, width, GROUP, needs.bits, whole), GROUP));
        let long = needs.long.map(|whole| (long.prepared(numbers, width, LONG_GROUP, needs.bits, whole), LONG_GROUP));
        cpu.each_row(plain, width, |row, plain| {
            write(row, plain);
            for (rounded, group) in [&short, &long].into_iter().flatten() {
                // SAFETY: each row is written by one call, and each list has a part for each row.
                let to = unsafe { rounded.part(row * width..(row + 1) * width, *group) };
                crate::vector::round(cpu, needs.bits, *group, plain, to);
            }
        });
    }

    /// Rounds to bfloat16 as well, where that is asked for and the tier multiplies it.
    fn pair_for(&mut self, needs: Needs, cpu: &Cpu) {
        if needs.pairs && cpu.tier().has_bf16() && !self.has_pairs {
            self.pair(cpu);
        }
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

    /// Whether each number is two bytes for matrices of records so long.
    pub(crate) fn is_wide(&self, group: usize) -> bool {
        self.of(group).bits == 16
    }

    /// Whether they are rounded for a layout.
    pub(crate) fn is_rounded_for(&self, layout: Layout) -> bool {
        let rounded = self.of(layout.block());
        rounded.bits != 0 && (!layout.has_signed_codes() || rounded.whole.len() == self.plain.len())
    }

    pub(crate) fn plain(&self, row: usize) -> &[f32] {
        &self.plain[row * self.width..][..self.width]
    }

    /// A row, rounded for matrices of records so long.
    #[inline]
    pub(crate) fn rounded(&self, row: usize, group: usize) -> Row<'_> {
        self.of(group).row(row, self.width, group)
    }

    /// Where the rows from one on are, rounded for matrices of records so long.
    pub(crate) fn pointers(&self, row: usize, group: usize) -> RowPointers {
        let rounded = self.of(group);
        assert!(row < self.count && rounded.bits != 0, "the row is there and rounded");
        let pointers = RowPointers {
            width: self.width,
            scales_width: self.width / group,
            planes: [rounded.high.as_ptr(), rounded.low.as_ptr()],
            whole: rounded.whole.as_ptr(),
            scales: rounded.scales.as_ptr(),
            sums_of_16: rounded.sums_of_16.each_ref().map(|sums| sums.as_ptr()),
            sums_of_32: rounded.sums_of_32.each_ref().map(|sums| sums.as_ptr()),
            scaled_sums: rounded.scaled_sums.as_ptr(),
        };
        // SAFETY: there are more rows than `row`.
        unsafe { pointers.later(row) }
    }

    #[inline]
    fn of(&self, group: usize) -> &Rounded {
        if group == LONG_GROUP { &self.long } else { &self.short }
    }
}

impl Rounded {
    /// Whether so many numbers are rounded to so many bits, and there whole where that is asked for.
    fn is_so(&self, bits: u32, whole: bool, numbers: usize) -> bool {
        self.bits == bits && (!whole || self.whole.len() == numbers)
    }

    /// Room for so many numbers in rows of `width`, to be rounded by several tasks.
    fn prepared(&mut self, numbers: usize, width: usize, group: usize, bits: u32, whole: bool) -> SharedRounded {
        assert!(width.is_multiple_of(group), "rows of {width} numbers are no groups of {group}");
        self.bits = bits;
        self.high.resize(numbers, 0);
        self.low.resize(if bits == 16 { numbers } else { 0 }, 0);
        self.whole.resize(if whole { numbers } else { 0 }, 0);
        self.scales.resize(numbers / group, 0.0);
        for plane in 0..2 {
            self.sums_of_16[plane].resize(numbers / HALF, 0);
            self.sums_of_32[plane].resize(numbers / GROUP, 0);
        }
        self.scaled_sums.resize(numbers / GROUP, 0.0);
        SharedRounded::new(self)
    }

    #[inline]
    fn row(&self, row: usize, width: usize, group: usize) -> Row<'_> {
        let part = row * width..(row + 1) * width;
        let by = |length: usize| part.start / length..part.end / length;
        Row {
            high: &self.high[part.clone()],
            low: self.low.get(part.clone()).unwrap_or_default(),
            whole: self.whole.get(part.clone()).unwrap_or_default(),
            scales: &self.scales[by(group)],
            sums_of_16: [&self.sums_of_16[0][by(HALF)], &self.sums_of_16[1][by(HALF)]],
            scaled_sums: &self.scaled_sums[by(GROUP)],
        }
    }
}

/// Rounded rows that several tasks write, each its own.
struct SharedRounded {
    high: Shared<i8>,
    low: Option<Shared<i8>>,
    whole: Option<Shared<i16>>,
    scales: Shared<f32>,
    sums_of_16: [Shared<i16>; 2],
    sums_of_32: [Shared<i16>; 2],
    scaled_sums: Shared<f32>,
}

impl SharedRounded {
    fn new(rounded: &mut Rounded) -> Self {
        let Rounded { high, low, whole, scales, sums_of_16, sums_of_32, scaled_sums, .. } = rounded;
        Self {
            high: Shared::new(high),
            low: (!low.is_empty()).then(|| Shared::new(low)),
            whole: (!whole.is_empty()).then(|| Shared::new(whole)),
            scales: Shared::new(scales),
            sums_of_16: sums_of_16.each_mut().map(|sums| Shared::new(sums)),
            sums_of_32: sums_of_32.each_mut().map(|sums| Shared::new(sums)),
            scaled_sums: Shared::new(scaled_sums),
        }
    }

    /// The numbers of `part`, which is whole rows.
    ///
    /// # Safety
    /// As of [`Shared::part`].
    unsafe fn part(&self, part: std::ops::Range<usize>, group: usize) -> RowMut<'_> {
        let by = |length: usize| part.start / length..part.end / length;
        // SAFETY: by the promise of the caller; lists of groups have a part for each part of the numbers.
        unsafe {
            RowMut {
                high: self.high.part(part.clone()),
                low: self.low.as_ref().map_or(&mut [], |low| low.part(part.clone())),
                whole: self.whole.as_ref().map_or(&mut [], |whole| whole.part(part.clone())),
                scales: self.scales.part(by(group)),
                sums_of_16: [self.sums_of_16[0].part(by(HALF)), self.sums_of_16[1].part(by(HALF))],
                sums_of_32: [self.sums_of_32[0].part(by(GROUP)), self.sums_of_32[1].part(by(GROUP))],
                scaled_sums: self.scaled_sums.part(by(GROUP)),
            }
        }
    }
}

/// Rows that a task takes at once, so that it is worth its handing out: a few thousand numbers.
pub(crate) fn rows_at_once(width: usize, count: usize) -> usize {
    (8192 / width.max(1)).max(1).max(count.div_ceil(60_000))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tier::Tier;

    #[test]
    fn rounding_keeps_what_its_bits_allow() {
        let plain: Vec<f32> = (0..512).map(|at| ((at * 37 % 64) as f32 - 31.5) * 0.11).collect();
        for tier in Tier::ALL.into_iter().filter(|tier| tier.is_available()) {
            let cpu = Cpu::new(1, Some(tier)).expect("it is available");
            for (layout, group) in [(Layout::Q8_0, 32), (Layout::Iq4Xs, 256)] {
                for (rounding, most) in [(Rounding::Bits8, 127.0), (Rounding::Bits16, 32512.0)] {
                    let mut rows = Rows::new();
                    rows.prepare(1, 512).copy_from_slice(&plain);
                    rows.round(Needs::new(rounding, layout), &cpu);
                    assert!(rows.is_rounded_for(layout) && rows.is_wide(group) == (rounding == Rounding::Bits16));
                    let row = rows.rounded(0, group);
                    for (at, x) in plain.iter().enumerate() {
                        let found = f32::from(row.whole[at]) * row.scales[at / group];
                        assert!((found - x).abs() <= 0.51 * 3.5 / most, "{x} became {found}");
                        let high = i32::from(row.high[at]);
                        let bytes = row.low.get(at).map_or(high, |&low| 256 * high + i32::from(low));
                        assert_eq!(bytes, i32::from(row.whole[at]));
                    }
                    check_sums(&row, rows.of(group));
                }
            }
        }
    }

    fn check_sums(row: &Row<'_>, rounded: &Rounded) {
        let sum = |bytes: &[i8]| bytes.iter().map(|&byte| i16::from(byte)).sum::<i16>();
        for (plane, bytes) in [row.high, row.low].into_iter().enumerate().filter(|(_, bytes)| !bytes.is_empty()) {
            assert_eq!(row.sums_of_16[plane], bytes.chunks(16).map(sum).collect::<Vec<_>>());
            assert_eq!(rounded.sums_of_32[plane], bytes.chunks(32).map(sum).collect::<Vec<_>>());
        }
        for (at, scaled) in row.scaled_sums.iter().enumerate() {
            let sum: i32 = row.whole[32 * at..][..32].iter().map(|&whole| i32::from(whole)).sum();
            assert_eq!(*scaled, row.scales[at * row.scales.len() / row.scaled_sums.len()] * sum as f32);
        }
    }

    #[test]
    fn rows_are_rounded_for_each_layout_that_meets_them() {
        let cpu = Cpu::new(1, None).expect("the best tier is available");
        let mut rows = Rows::new();
        rows.prepare(2, 256).fill(1.0);
        let layouts = [Layout::Q4_0, Layout::Q4K, Layout::F16, Layout::Q8_0];
        let needs = layouts.map(|layout| Needs::new(Rounding::Bits8, layout)).into_iter().reduce(Needs::and);
        rows.round(needs.unwrap_or_default(), &cpu);
        assert!([Layout::Q4_0, Layout::Q4K, Layout::Q8_0].into_iter().all(|layout| rows.is_rounded_for(layout)));
        assert!(!rows.is_rounded_for(Layout::Iq4Xs), "nothing with signed codes and long records was named");
        rows.prepare(2, 256).fill(1.0);
        assert!(!rows.is_rounded_for(Layout::Q4K), "new rows are not rounded yet");
    }
}
