//! Attention over pages of keys and values.
//!
//! A page holds [`PAGE_TOKENS`] tokens of one layer: for each head keys as `[dimension][token]`, so that a score of
//! many tokens is a sum over vectors, and values as `[token][dimension]`. The query heads that share a key head go by
//! each page together, so that it is read once.
//!
//! The softmax is taken over spans of [`SPAN_PAGES`] pages, counted from the first position of the sequence, and spans
//! are merged in their order. So the result for a token is the same to the last bit however its neighbours came: in the
//! same step or another, alone or among other sequences, on one thread or on many.

#[cfg(target_arch = "x86_64")]
mod avx2;
pub(crate) mod scalar;

use std::cell::RefCell;
use std::ops::Range;

use half::f16;

#[cfg(target_arch = "x86_64")]
use crate::avx512::attention as avx512;
use crate::cpu::Cpu;
use crate::packed::Shared;
use crate::tier::Tier;
use crate::vector;

/// Tokens of a page.
pub const PAGE_TOKENS: usize = 32;
/// Pages whose scores are held at once.
const SPAN_PAGES: usize = 16;
const SPAN: usize = SPAN_PAGES * PAGE_TOKENS;
/// Rows of a sequence that go by its pages together.
const ROWS_AT_ONCE: usize = 8;
/// Pages of which memory is taken at once, so that growing moves none.
const SLAB_PAGES: usize = 32;

/// What numbers of keys and values are kept as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KvType {
    /// Float32.
    F32,
    /// Half-precision floats.
    F16,
}

impl KvType {
    /// Bytes of a number.
    pub fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 => 2,
        }
    }
}

/// Pages of one layer.
#[derive(Debug)]
pub struct Pages {
    shape: PageShape,
    memory: Memory,
    count: usize,
}

/// What a page is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageShape {
    /// Heads of keys and values.
    pub heads: usize,
    /// Dimensions of a key.
    pub key_dim: usize,
    /// Dimensions of a value, a multiple of 8.
    pub value_dim: usize,
    /// What numbers are kept as.
    pub kind: KvType,
}

#[derive(Debug)]
enum Memory {
    F32(Vec<Box<[f32]>>),
    F16(Vec<Box<[f16]>>),
}

/// The head of a page as a kernel reads it.
#[derive(Clone, Copy)]
pub(crate) enum Numbers<'a> {
    F32(&'a [f32]),
    F16(&'a [f16]),
}

impl PageShape {
    fn head_numbers(self) -> usize {
        (self.key_dim + self.value_dim) * PAGE_TOKENS
    }

    /// Bytes of a page.
    pub fn bytes(self) -> usize {
        self.heads * self.head_numbers() * self.kind.bytes()
    }
}

impl Pages {
    /// No pages yet.
    pub fn new(shape: PageShape) -> Self {
        let memory = match shape.kind {
            KvType::F32 => Memory::F32(Vec::new()),
            KvType::F16 => Memory::F16(Vec::new()),
        };
        Self { shape, memory, count: 0 }
    }

    /// What they are made of.
    pub fn shape(&self) -> PageShape {
        self.shape
    }

    /// Pages there are.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Makes it at least so many pages; new ones are zeros.
    pub fn grow(&mut self, count: usize) {
        let slabs = count.div_ceil(SLAB_PAGES);
        let numbers = SLAB_PAGES * self.shape.heads * self.shape.head_numbers();
        match &mut self.memory {
            Memory::F32(memory) => memory.resize_with(slabs.max(memory.len()), || vec![0.0; numbers].into()),
            Memory::F16(memory) => memory.resize_with(slabs.max(memory.len()), || vec![f16::ZERO; numbers].into()),
        }
        self.count = self.count.max(slabs * SLAB_PAGES);
    }

    /// Writes a token: keys `[heads, key_dim]` and values `[heads, value_dim]`.
    ///
    /// # Panics
    /// Where there is no such page or place in it, or the sizes are others.
    pub fn write(&mut self, page: usize, place: usize, keys: &[f32], values: &[f32]) {
        let PageShape { heads, key_dim, value_dim, .. } = self.shape;
        assert!(page < self.count && place < PAGE_TOKENS, "there is no place {place} in page {page}");
        assert_eq!((keys.len(), values.len()), (heads * key_dim, heads * value_dim), "a token has all its heads");
        let size = self.shape.head_numbers();
        for head in 0..heads {
            let (slab, start) = (page / SLAB_PAGES, (page % SLAB_PAGES * heads + head) * size);
            let (keys, values) = (&keys[head * key_dim..][..key_dim], &values[head * value_dim..][..value_dim]);
            match &mut self.memory {
                Memory::F32(memory) => {
                    put(&mut memory[slab][start..start + size], place, keys, values, |x| x);
                }
                Memory::F16(memory) => {
                    put(&mut memory[slab][start..start + size], place, keys, values, f16::from_f32);
                }
            }
        }
    }

    fn head(&self, page: usize, head: usize) -> (Numbers<'_>, Numbers<'_>) {
        let size = self.shape.head_numbers();
        let (slab, start) = (page / SLAB_PAGES, (page % SLAB_PAGES * self.shape.heads + head) * size);
        let keys = self.shape.key_dim * PAGE_TOKENS;
        match &self.memory {
            Memory::F32(memory) => {
                let (keys, values) = memory[slab][start..start + size].split_at(keys);
                (Numbers::F32(keys), Numbers::F32(values))
            }
            Memory::F16(memory) => {
                let (keys, values) = memory[slab][start..start + size].split_at(keys);
                (Numbers::F16(keys), Numbers::F16(values))
            }
        }
    }
}

fn put<T: Copy>(page: &mut [T], place: usize, keys: &[f32], values: &[f32], as_kept: impl Fn(f32) -> T) {
    let (key_places, value_places) = page.split_at_mut(keys.len() * PAGE_TOKENS);
    for (line, key) in key_places.chunks_exact_mut(PAGE_TOKENS).zip(keys) {
        line[place] = as_kept(*key);
    }
    for (to, value) in value_places[place * values.len()..].iter_mut().zip(values) {
        *to = as_kept(*value);
    }
}

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
struct Tile {
    rows: Range<usize>,
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
        let AttentionOptions { heads, .. } = options;
        assert!(heads.is_multiple_of(kv_heads), "query heads come in whole groups");
        assert_eq!(queries.len(), looks.len() * heads * key_dim, "there is a query for each row and head");
        assert_eq!(to.len(), looks.len() * heads * value_dim, "there is a place for each row and head");
        for look in looks {
            let last_page = look.seen.1 / PAGE_TOKENS;
            assert!(look.seen.0 <= look.seen.1 && last_page < look.table.len(), "a row sees what its table has");
        }
        let tiles = tiles(looks);
        let to = Shared::new(to);
        let job = Job { cpu: self, pages, options, looks, queries, to: &to };
        let whole = tiles.len() * kv_heads;
        let spans = tiles.iter().map(|tile| job.spans(tile).len()).max().unwrap_or(0);
        if whole < 4 * self.pool().threads() && spans > 1 && self.pool().threads() > 1 {
            job.split(&tiles, spans);
        } else {
            self.pool().run(whole, |task| job.whole(&tiles[task / kv_heads], task % kv_heads));
        }
    }
}

/// Runs of rows of the same sequence, cut to size.
fn tiles(looks: &[Look<'_>]) -> Vec<Tile> {
    let mut tiles: Vec<Tile> = Vec::new();
    for (row, look) in looks.iter().enumerate() {
        match tiles.last_mut() {
            Some(tile) if tile.rows.len() < ROWS_AT_ONCE && std::ptr::eq(looks[tile.rows.start].table, look.table) => {
                tile.rows.end = row + 1;
            }
            _ => tiles.push(Tile { rows: row..row + 1 }),
        }
    }
    tiles
}

struct Job<'a> {
    cpu: &'a Cpu,
    pages: &'a Pages,
    options: AttentionOptions<'a>,
    looks: &'a [Look<'a>],
    queries: &'a [f32],
    to: &'a Shared<f32>,
}

/// What one query has gathered so far: the largest score, the sum of exponentials, and the values weighed by them.
struct Gathered<'a> {
    largest: &'a mut [f32],
    sums: &'a mut [f32],
    values: &'a mut [f32],
}

thread_local! {
    /// Memory for a tile, kept by each thread.
    static SCRATCH: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

impl Job<'_> {
    /// Query heads that share a head of keys.
    fn group(&self) -> usize {
        self.options.heads / self.pages.shape.heads
    }

    /// The spans that rows of a tile see.
    fn spans(&self, tile: &Tile) -> Range<usize> {
        let looks = &self.looks[tile.rows.clone()];
        let first = looks.iter().map(|look| look.seen.0).min().unwrap_or(0);
        let last = looks.iter().map(|look| look.seen.1).max().unwrap_or(0);
        first / SPAN..last / SPAN + 1
    }

    /// One head of a tile, span after span.
    fn whole(&self, tile: &Tile, head: usize) {
        let count = tile.rows.len() * self.group();
        let value_dim = self.pages.shape.value_dim;
        SCRATCH.with_borrow_mut(|scratch| {
            let needed = count * (SPAN + 4 + 2 * value_dim) + self.page_numbers();
            if scratch.len() < needed {
                scratch.resize(needed, 0.0);
            }
            let (largest, rest) = scratch.split_at_mut(count);
            let (sums, rest) = rest.split_at_mut(count);
            let (values, rest) = rest.split_at_mut(count * value_dim);
            let (span_largest, rest) = rest.split_at_mut(count);
            let (span_sums, rest) = rest.split_at_mut(count);
            let (span_values, rest) = rest.split_at_mut(count * value_dim);
            largest.fill(f32::NEG_INFINITY);
            sums.fill(0.0);
            values.fill(0.0);
            let mut all = Gathered { largest, sums, values };
            for span in self.spans(tile) {
                let mut part = Gathered { largest: span_largest, sums: span_sums, values: span_values };
                self.span(tile, head, span, &mut part, rest);
                self.merge(&mut all, &part);
            }
            self.finish(tile, head, &mut all);
        });
    }

    /// Each span of each head of each tile by itself, then merged: for few rows over many positions.
    fn split(&self, tiles: &[Tile], spans: usize) {
        let PageShape { heads, value_dim, .. } = self.pages.shape;
        let most = tiles.iter().map(|tile| tile.rows.len()).max().unwrap_or(0) * self.group();
        let size = most * (2 + value_dim);
        let mut parts = vec![0.0; tiles.len() * heads * spans * size];
        let shared = Shared::new(&mut parts);
        self.cpu.pool().run(tiles.len() * heads * spans, |task| {
            let (tile, head, span) = (&tiles[task / spans / heads], task / spans % heads, task % spans);
            let range = self.spans(tile);
            if span >= range.len() {
                return;
            }
            let count = tile.rows.len() * self.group();
            // SAFETY: the parts are borrowed until the pool is done, and each task has one of them.
            let part = unsafe { shared.part(task * size..(task + 1) * size) };
            let mut part = gathered(part, count, value_dim);
            SCRATCH.with_borrow_mut(|scratch| {
                let needed = count * SPAN + self.page_numbers();
                if scratch.len() < needed {
                    scratch.resize(needed, 0.0);
                }
                self.span(tile, head, range.start + span, &mut part, scratch);
            });
        });
        for (index, tile) in tiles.iter().enumerate() {
            let count = tile.rows.len() * self.group();
            for head in 0..heads {
                let of_head = &mut parts[(index * heads + head) * spans * size..][..spans * size];
                let mut of_spans = of_head.chunks_exact_mut(size).take(self.spans(tile).len());
                let Some(first) = of_spans.next() else { continue };
                let mut all = gathered(first, count, value_dim);
                for part in of_spans {
                    self.merge(&mut all, &gathered(part, count, value_dim));
                }
                self.finish(tile, head, &mut all);
            }
        }
    }

    fn page_numbers(&self) -> usize {
        self.pages.shape.head_numbers()
    }

    /// What the queries of one head of a tile gather from one span.
    fn span(&self, tile: &Tile, head: usize, span: usize, to: &mut Gathered<'_>, scratch: &mut [f32]) {
        let PageShape { key_dim, value_dim, .. } = self.pages.shape;
        let group = self.group();
        let looks = &self.looks[tile.rows.clone()];
        let count = looks.len() * group;
        let (scores, expanded) = scratch.split_at_mut(count * SPAN);
        let seen = self.seen_of_span(looks, span);
        let pages = seen.start / PAGE_TOKENS..seen.end.div_ceil(PAGE_TOKENS);
        let table = looks[0].table;
        let start = pages.start * PAGE_TOKENS - span * SPAN;
        let end = pages.end * PAGE_TOKENS - span * SPAN;
        let query = |index: usize| {
            let row = tile.rows.start + index / group;
            let at = (row * self.options.heads + head * group + index % group) * key_dim;
            &self.queries[at..at + key_dim]
        };

        for page in pages.clone() {
            let keys = self.pages.head(table[page] as usize, head).0;
            let keys = expand_for(self.cpu, keys, count, expanded);
            let at = page * PAGE_TOKENS - span * SPAN;
            scores_of_page(self.cpu, keys, count, &query, |index| index * SPAN + at, scores);
        }
        for (index, scores) in scores.chunks_exact_mut(SPAN).take(count).enumerate() {
            let scores = &mut scores[start..end];
            if let Some(cap) = self.options.cap {
                vector::soft_cap(self.cpu, scores, cap);
            }
            // Positions in the span that this row does not see.
            let (first, last) = looks[index / group].seen;
            let first = first.saturating_sub(span * SPAN + start).min(scores.len());
            let behind = (last + 1).saturating_sub(span * SPAN + start).min(scores.len());
            scores[..first].fill(f32::NEG_INFINITY);
            scores[behind..].fill(f32::NEG_INFINITY);
            (to.largest[index], to.sums[index]) = vector::exp_all(self.cpu, scores);
        }
        to.values[..count * value_dim].fill(0.0);
        for page in pages {
            let values = self.pages.head(table[page] as usize, head).1;
            let values = expand_for(self.cpu, values, count, expanded);
            let at = page * PAGE_TOKENS - span * SPAN;
            let shares = |index: usize| &scores[index * SPAN + at..][..PAGE_TOKENS];
            values_of_page(self.cpu, values, count, value_dim, &shares, to.values);
        }
    }

    /// Positions of a span that any row of the tile sees.
    fn seen_of_span(&self, looks: &[Look<'_>], span: usize) -> Range<usize> {
        let first = looks.iter().map(|look| look.seen.0).min().unwrap_or(0).max(span * SPAN);
        let end = looks.iter().map(|look| look.seen.1 + 1).max().unwrap_or(0).min((span + 1) * SPAN);
        first..end.max(first)
    }

    /// Adds the next span to what was gathered.
    fn merge(&self, all: &mut Gathered<'_>, part: &Gathered<'_>) {
        let value_dim = self.pages.shape.value_dim;
        for index in 0..all.largest.len() {
            if part.largest[index] == f32::NEG_INFINITY {
                continue;
            }
            let largest = all.largest[index].max(part.largest[index]);
            let (a, b) = (vector::exp(all.largest[index] - largest), vector::exp(part.largest[index] - largest));
            all.largest[index] = largest;
            all.sums[index] = all.sums[index] * a + part.sums[index] * b;
            let place = index * value_dim..(index + 1) * value_dim;
            vector::blend(self.cpu, &mut all.values[place.clone()], a, &part.values[place], b);
        }
    }

    fn finish(&self, tile: &Tile, head: usize, all: &mut Gathered<'_>) {
        let (group, value_dim) = (self.group(), self.pages.shape.value_dim);
        for (index, values) in all.values.chunks_exact(value_dim).take(all.largest.len()).enumerate() {
            let query_head = head * group + index % group;
            let (mut scale, mut sum) = (1.0, all.sums[index]);
            if let Some(sinks) = self.options.sinks {
                let largest = all.largest[index].max(sinks[query_head]);
                scale = vector::exp(all.largest[index] - largest);
                sum = sum * scale + vector::exp(sinks[query_head] - largest);
            }
            let at = ((tile.rows.start + index / group) * self.options.heads + query_head) * value_dim;
            // SAFETY: the result is borrowed until `attend` returns; each row and head has one place and one task.
            let to = unsafe { self.to.part(at..at + value_dim) };
            let share = scale / sum;
            to.iter_mut().zip(values).for_each(|(to, value)| *to = value * share);
        }
    }
}

fn gathered(memory: &mut [f32], count: usize, value_dim: usize) -> Gathered<'_> {
    let (largest, rest) = memory.split_at_mut(count);
    let (sums, rest) = rest.split_at_mut(count);
    Gathered { largest, sums, values: &mut rest[..count * value_dim] }
}

/// For more queries than go by a page at once its numbers are expanded first, once for all.
fn expand_for<'a>(cpu: &Cpu, numbers: Numbers<'a>, queries: usize, to: &'a mut [f32]) -> Numbers<'a> {
    match numbers {
        Numbers::F16(numbers) if queries > QUERIES => {
            let to = &mut to[..numbers.len()];
            match cpu.tier() {
                // SAFETY: a `Cpu` has a tier that its processor has, and both are of one length.
                #[cfg(target_arch = "x86_64")]
                Tier::Avx2 => unsafe { avx2::expand(numbers, to) },
                // SAFETY: as above.
                #[cfg(target_arch = "x86_64")]
                Tier::Avx512 => unsafe { avx512::expand(numbers, to) },
                _ => to.iter_mut().zip(numbers).for_each(|(to, x)| *to = x.to_f32()),
            }
            Numbers::F32(to)
        }
        numbers => numbers,
    }
}

/// Queries that go by a page at once.
pub(crate) const QUERIES: usize = 4;

/// `scores[place(query) + token] = Σ query[d] · keys[d][token]`, input by input.
fn scores_of_page<'q>(
    cpu: &Cpu,
    keys: Numbers<'_>,
    count: usize,
    query: &impl Fn(usize) -> &'q [f32],
    place: impl Fn(usize) -> usize,
    scores: &mut [f32],
) {
    for first in (0..count).step_by(QUERIES) {
        let some = QUERIES.min(count - first);
        // Where there are fewer, the first one again; what it gives is not kept.
        let mut queries = [query(first); QUERIES];
        for (at, place) in queries.iter_mut().enumerate().take(some) {
            *place = query(first + at);
        }
        let mut found = [[0.0; PAGE_TOKENS]; QUERIES];
        match cpu.tier() {
            // SAFETY: a `Cpu` has a tier that its processor has; a page has `PAGE_TOKENS` keys for each number of a
            // query.
            #[cfg(target_arch = "x86_64")]
            Tier::Avx2 => unsafe { avx2::scores(keys, queries, some, &mut found) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Tier::Avx512 => unsafe { avx512::scores(keys, queries, some, &mut found) },
            _ => scalar::scores(keys, queries, some, &mut found),
        }
        for (at, found) in found.iter().take(some).enumerate() {
            scores[place(first + at)..][..PAGE_TOKENS].copy_from_slice(found);
        }
    }
}

/// `to[query][d] += Σ share[token] · values[token][d]`, token by token.
fn values_of_page<'s>(
    cpu: &Cpu,
    values: Numbers<'_>,
    count: usize,
    value_dim: usize,
    shares: &impl Fn(usize) -> &'s [f32],
    to: &mut [f32],
) {
    for first in (0..count).step_by(QUERIES) {
        let some = QUERIES.min(count - first);
        let mut of_queries = [shares(first); QUERIES];
        for (at, place) in of_queries.iter_mut().enumerate().take(some) {
            *place = shares(first + at);
        }
        let to = &mut to[first * value_dim..(first + some) * value_dim];
        match cpu.tier() {
            // SAFETY: a `Cpu` has a tier that its processor has; a page has `PAGE_TOKENS` values of `value_dim` numbers.
            #[cfg(target_arch = "x86_64")]
            Tier::Avx2 => unsafe { avx2::values(values, of_queries, value_dim, to) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Tier::Avx512 => unsafe { avx512::values(values, of_queries, value_dim, to) },
            _ => scalar::values(values, of_queries, value_dim, to),
        }
    }
}
