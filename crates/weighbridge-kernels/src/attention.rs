//! Attention over pages of keys and values.
//!
//! A page holds [`PAGE_TOKENS`] tokens of one layer: for each head keys as `[dimension][token]`, so that a score of
//! many tokens is a sum over vectors, and values as `[token][dimension]`. The query heads that share a key head go by
//! each page together, and with them those of neighbouring rows of the sequence, so that it is read once; for many
//! queries its numbers are expanded to float32 once as well.
//!
//! The softmax is taken over spans of [`SPAN_PAGES`] pages, counted from the first position of the sequence, and spans
//! are merged in their order. So the result for a token is the same to the last bit however its neighbours came: in the
//! same step or another, alone or among other sequences, on one thread or on many.

#[cfg(target_arch = "x86_64")]
mod avx2;
mod codes;
mod kernels;
mod pages;
mod scalar;
mod softmax;
mod span;

use std::cell::RefCell;
use std::ops::Range;
use std::ptr;

use self::kernels::Kernels;
pub use self::pages::{KvType, PAGE_TOKENS, PageShape, Pages, UnknownKvType};
use self::span::{Gathered, SPAN};
use crate::cpu::Cpu;
use crate::packed::{Memory, Shared};
use crate::vector;

/// Queries of one key head that go by its pages together: their scores of a span fit the second-level cache, and
/// expanding a page costs little beside what they compute with it.
const QUERIES: usize = 96;
/// With fewer heads of tiles than this for each thread their spans are handed out one by one.
const SPLIT_BELOW: usize = 16;
/// But no more spans than the pool takes tasks,
const SPLIT_TASKS: usize = u16::MAX as usize;
/// and not where what they gather, which is kept, would take more memory than this: 32 MiB.
const SPLIT_NUMBERS: usize = 8 << 20;

/// One row that looks at its sequence.
#[derive(Clone, Copy, Debug)]
pub struct Look<'a> {
    /// The pages of the sequence, in order; a page before the first that is looked at may be any.
    pub table: &'a [u32],
    /// Positions that it sees, its own being the last.
    pub seen: (usize, usize),
}

/// What is asked of attention beside queries and pages.
#[derive(Clone, Copy, Debug)]
pub struct AttentionOptions<'a> {
    /// Query heads, a multiple of the pages' heads.
    pub heads: usize,
    /// Scores are kept within ± this, softly.
    pub cap: Option<f32>,
    /// For each query head a score that takes attention and gives nothing.
    pub sinks: Option<&'a [f32]>,
}

/// Rows next to each other that go by the same pages.
#[derive(Clone, Copy)]
struct Tile {
    start: usize,
    end: usize,
}

/// What a call needs beside its tasks' own memory.
struct Step {
    tiles: Vec<Tile>,
    /// What tasks gathered from one span each.
    parts: Memory,
}

thread_local! {
    /// Memory of a task, kept by each thread.
    static SCRATCH: RefCell<Memory> = RefCell::new(Memory::zeros(0));
    /// Kept by whoever brings the work.
    static STEP: RefCell<Step> = RefCell::new(Step { tiles: Vec::new(), parts: Memory::zeros(0) });
}

impl Cpu {
    /// What each row takes from the values that it sees: `queries` are `[rows, heads, key_dim]` and scaled, `to`
    /// becomes `[rows, heads, value_dim]`. Rows of one sequence that stand together share their reading.
    ///
    /// # Panics
    /// Where sizes do not fit each other, or a row sees a position that its table does not have.
    pub fn attend(
        &self,
        pages: &Pages,
        options: AttentionOptions<'_>,
        looks: &[Look<'_>],
        queries: &[f32],
        to: &mut [f32],
    ) {
        let PageShape { heads: kv_heads, key_dim, value_dim, .. } = pages.shape;
        let AttentionOptions { heads, sinks, .. } = options;
        assert!(heads.is_multiple_of(kv_heads), "query heads come in whole groups");
        assert!(sinks.is_none_or(|sinks| sinks.len() == heads), "each query head has its sink");
        assert_eq!(queries.len(), looks.len() * heads * key_dim, "there is a query for each row and head");
        assert_eq!(to.len(), looks.len() * heads * value_dim, "there is a place for each row and head");
        for look in looks {
            let last_page = look.seen.1 / PAGE_TOKENS;
            assert!(look.seen.0 <= look.seen.1 && last_page < look.table.len(), "a row sees what its table has");
        }
        let to = Shared::new(to);
        let job = Job { cpu: self, kernels: Kernels::of(self.tier()), pages, options, looks, queries, to: &to };
        STEP.with_borrow_mut(|step| job.run(step));
    }
}

/// One call.
struct Job<'a> {
    cpu: &'a Cpu,
    kernels: Kernels,
    pages: &'a Pages,
    options: AttentionOptions<'a>,
    looks: &'a [Look<'a>],
    queries: &'a [f32],
    to: &'a Shared<f32>,
}

impl Job<'_> {
    fn run(&self, step: &mut Step) {
        let Step { tiles, parts } = step;
        self.cut(tiles);
        let kv_heads = self.pages.shape.heads;
        let whole = tiles.len() * kv_heads;
        let spans = tiles.iter().map(|tile| self.spans(tile).len()).max().unwrap_or(0);
        let most = tiles.iter().map(|&tile| self.count(tile)).max().unwrap_or(0);
        let size = Gathered::numbers(most, self.pages.shape.value_dim);
        let threads = self.cpu.pool().threads();
        let fits = whole * spans <= SPLIT_TASKS && whole * spans * size <= SPLIT_NUMBERS;
        if threads > 1 && spans > 1 && whole < SPLIT_BELOW * threads && fits {
            self.split(tiles, spans, parts.floats(whole * spans * size));
        } else {
            // The last rows of a prompt see the most, so they come first: what ends last is short.
            self.cpu.pool().run(whole, |task| {
                let task = whole - 1 - task;
                self.whole(tiles[task / kv_heads], task % kv_heads);
            });
        }
    }

    /// Cuts rows into runs of the same sequence.
    fn cut(&self, tiles: &mut Vec<Tile>) {
        let rows = (QUERIES / self.group()).max(1);
        tiles.clear();
        for (row, look) in self.looks.iter().enumerate() {
            match tiles.last_mut() {
                Some(tile) if tile.end - tile.start < rows && ptr::eq(self.looks[tile.start].table, look.table) => {
                    tile.end = row + 1;
                }
                _ => tiles.push(Tile { start: row, end: row + 1 }),
            }
        }
    }

    /// Query heads that share a head of keys.
    fn group(&self) -> usize {
        self.options.heads / self.pages.shape.heads
    }

    /// Queries of one key head of a tile.
    fn count(&self, tile: Tile) -> usize {
        (tile.end - tile.start) * self.group()
    }

    /// The spans that rows of a tile see.
    fn spans(&self, tile: &Tile) -> Range<usize> {
        let looks = &self.looks[tile.start..tile.end];
        let first = looks.iter().map(|look| look.seen.0).min().unwrap_or(0);
        let last = looks.iter().map(|look| look.seen.1).max().unwrap_or(0);
        first / SPAN..last / SPAN + 1
    }

    /// One head of a tile, span after span.
    fn whole(&self, tile: Tile, head: usize) {
        let (count, value_dim) = (self.count(tile), self.pages.shape.value_dim);
        let size = Gathered::numbers(count, value_dim);
        SCRATCH.with_borrow_mut(|scratch| {
            let scratch = scratch.floats(2 * size + self.scratch_numbers(count));
            let (all, scratch) = scratch.split_at_mut(size);
            let (part, scratch) = scratch.split_at_mut(size);
            let (mut all, mut part) = (Gathered::of(all, count, value_dim), Gathered::of(part, count, value_dim));
            let mut reader = self.reader(tile, head, scratch);
            let mut spans = self.spans(&tile);
            if let Some(first) = spans.next() {
                reader.gather(first, &mut all);
            }
            for span in spans {
                reader.gather(span, &mut part);
                all.merge(self.cpu, &part);
            }
            self.finish(tile, head, &all);
        });
    }

    /// Each span of each head of each tile by itself, then merged: for few rows over many positions.
    fn split(&self, tiles: &[Tile], spans: usize, parts: &mut [f32]) {
        let PageShape { heads, value_dim, .. } = self.pages.shape;
        let whole = tiles.len() * heads;
        let size = parts.len() / (whole * spans);
        let parts = Shared::new(parts);
        self.cpu.pool().run(whole * spans, |task| {
            let (tile, head, span) = (tiles[task / spans / heads], task / spans % heads, task % spans);
            let Some(at) = self.spans(&tile).nth(span) else { return };
            // SAFETY: the parts are borrowed until the pool is done, and each task has one of them.
            let part = unsafe { parts.part(task * size..(task + 1) * size) };
            let count = self.count(tile);
            SCRATCH.with_borrow_mut(|scratch| {
                let scratch = scratch.floats(self.scratch_numbers(count));
                self.reader(tile, head, scratch).gather(at, &mut Gathered::of(part, count, value_dim));
            });
        });
        self.cpu.pool().run(whole, |task| {
            let (tile, head) = (tiles[task / heads], task % heads);
            let count = self.count(tile);
            // SAFETY: the parts are borrowed until the pool is done, and each task has those of one head of a tile.
            let of_spans = unsafe { parts.part(task * spans * size..(task + 1) * spans * size) };
            let mut of_spans = of_spans.chunks_exact_mut(size).take(self.spans(&tile).len());
            let Some(first) = of_spans.next() else { return };
            let mut all = Gathered::of(first, count, value_dim);
            for part in of_spans {
                all.merge(self.cpu, &Gathered::of(part, count, value_dim));
            }
            self.finish(tile, head, &all);
        });
    }

    /// Writes what the queries of one head of a tile gathered from all that they see.
    fn finish(&self, tile: Tile, head: usize, all: &Gathered<'_>) {
        let (group, value_dim) = (self.group(), self.pages.shape.value_dim);
        for (index, values) in all.values.chunks_exact(value_dim).enumerate() {
            let query_head = head * group + index % group;
            let (mut scale, mut sum) = (1.0, all.sums[index]);
            if let Some(sinks) = self.options.sinks {
                let largest = all.largest[index].max(sinks[query_head]);
                scale = vector::exp(all.largest[index] - largest);
                sum = sum * scale + vector::exp(sinks[query_head] - largest);
            }
            let at = ((tile.start + index / group) * self.options.heads + query_head) * value_dim;
            // SAFETY: the result is borrowed until `attend` returns; each row and head has one place and one task.
            let to = unsafe { self.to.part(at..at + value_dim) };
            let share = scale / sum;
            to.iter_mut().zip(values).for_each(|(to, value)| *to = value * share);
        }
    }
}
