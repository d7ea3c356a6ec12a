//! What the queries of one key head gather from a span of pages.

use std::ops::Range;

use super::kernels::{DIRECT, DIRECT_SCALES, Kernels, Product};
use super::pages::Numbers;
use super::{Job, Look, PAGE_TOKENS, PageShape, Pages, Tile};
use crate::cpu::Cpu;
use crate::vector;

/// Pages whose scores are held at once.
const SPAN_PAGES: usize = 16;
/// Positions of a span.
pub(super) const SPAN: usize = SPAN_PAGES * PAGE_TOKENS;
/// From the scores of a query to those of the next: with a line between them, or the same position of all of them would
/// meet in few sets of the cache.
const STRIDE: usize = SPAN + LANES;
/// Lanes in which exponentials are summed.
const LANES: usize = 16;

/// What queries have gathered so far: the largest score of each, the sum of exponentials, and the values weighed by them.
pub(super) struct Gathered<'a> {
    pub(super) largest: &'a mut [f32],
    pub(super) sums: &'a mut [f32],
    /// `[queries, value_dim]`.
    pub(super) values: &'a mut [f32],
}

impl<'a> Gathered<'a> {
    /// Numbers that it takes.
    pub(super) fn numbers(queries: usize, value_dim: usize) -> usize {
        (queries * (value_dim + 2)).next_multiple_of(LANES)
    }

    pub(super) fn of(memory: &'a mut [f32], queries: usize, value_dim: usize) -> Self {
        let (values, rest) = memory.split_at_mut(queries * value_dim);
        let (largest, rest) = rest.split_at_mut(queries);
        Self { largest, sums: &mut rest[..queries], values }
    }

    /// Adds the next span to what was gathered.
    pub(super) fn merge(&mut self, cpu: &Cpu, part: &Gathered<'_>) {
        let value_dim = self.values.len() / self.sums.len();
        for index in 0..self.sums.len() {
            if part.largest[index] == f32::NEG_INFINITY {
                continue;
            }
            let largest = self.largest[index].max(part.largest[index]);
            let (a, b) = (vector::exp(self.largest[index] - largest), vector::exp(part.largest[index] - largest));
            self.largest[index] = largest;
            self.sums[index] = self.sums[index] * a + part.sums[index] * b;
            let place = index * value_dim..(index + 1) * value_dim;
            vector::blend(cpu, &mut self.values[place.clone()], a, &part.values[place], b);
        }
    }
}

/// The queries of one key head of a tile, on their way through the pages.
pub(super) struct Reader<'a> {
    cpu: &'a Cpu,
    kernels: Kernels,
    pages: &'a Pages,
    cap: Option<f32>,
    head: usize,
    group: usize,
    looks: &'a [Look<'a>],
    /// Positions that any of them sees.
    seen: Range<usize>,
    /// `[rows, group, key_dim]`.
    queries: &'a [f32],
    /// For each query the scores of a span, then its shares.
    scores: &'a mut [f32],
    /// Keys or values of a page.
    expanded: &'a mut [f32],
}

impl Job<'_> {
    /// Numbers that a reader takes.
    pub(super) fn scratch_numbers(&self, count: usize) -> usize {
        let PageShape { key_dim, value_dim, .. } = self.pages.shape;
        count * STRIDE + key_dim.max(value_dim) * PAGE_TOKENS + (count * key_dim).next_multiple_of(LANES)
    }

    pub(super) fn reader<'a>(&'a self, tile: Tile, head: usize, scratch: &'a mut [f32]) -> Reader<'a> {
        let PageShape { key_dim, value_dim, .. } = self.pages.shape;
        let group = self.group();
        let (scores, rest) = scratch.split_at_mut(self.count(tile) * STRIDE);
        let (expanded, together) = rest.split_at_mut(key_dim.max(value_dim) * PAGE_TOKENS);
        let row = |row: usize| &self.queries[(row * self.options.heads + head * group) * key_dim..][..group * key_dim];
        let queries = if tile.end - tile.start == 1 {
            row(tile.start)
        } else {
            let together = &mut together[..self.count(tile) * key_dim];
            for (at, to) in together.chunks_exact_mut(group * key_dim).enumerate() {
                to.copy_from_slice(row(tile.start + at));
            }
            together
        };
        let looks = &self.looks[tile.start..tile.end];
        let first = looks.iter().map(|look| look.seen.0).min().unwrap_or(0);
        let end = looks.iter().map(|look| look.seen.1 + 1).max().unwrap_or(0);
        Reader {
            cpu: self.cpu,
            kernels: self.kernels,
            pages: self.pages,
            cap: self.options.cap,
            head,
            group,
            looks,
            seen: first..end,
            queries,
            scores,
            expanded,
        }
    }
}

impl Reader<'_> {
    /// What its queries gather from one span, alone.
    pub(super) fn gather(&mut self, span: usize, to: &mut Gathered<'_>) {
        let (start, end) = (self.seen.start.max(span * SPAN), self.seen.end.min((span + 1) * SPAN));
        let pages = start / PAGE_TOKENS..end.div_ceil(PAGE_TOKENS);
        for page in pages.clone() {
            self.score(page, pages.end);
        }
        let places = (pages.start % SPAN_PAGES) * PAGE_TOKENS..(pages.end - span * SPAN_PAGES) * PAGE_TOKENS;
        for index in 0..to.sums.len() {
            (to.largest[index], to.sums[index]) = self.share(index, span * SPAN, places.clone());
        }
        to.values.fill(0.0);
        for page in pages {
            self.weigh(page, to.values);
        }
    }

    /// Queries from the first to the last that sees any of a page.
    fn queries_of_page(&self, page: usize) -> Range<usize> {
        let positions = page * PAGE_TOKENS..(page + 1) * PAGE_TOKENS;
        let sees = |look: &Look<'_>| look.seen.0 < positions.end && look.seen.1 >= positions.start;
        let first = self.looks.iter().position(sees).unwrap_or(0);
        let end = self.looks.iter().rposition(sees).map_or(first, |last| last + 1);
        first * self.group..end * self.group
    }

    /// The scores of a page, before the page `end`.
    fn score(&mut self, page: usize, end: usize) {
        let key_dim = self.pages.shape.key_dim;
        let table = self.looks[0].table;
        let (keys, values) = self.pages.head(table[page] as usize, self.head);
        // What is read next: the keys of the next page, and after the last one the values of the first.
        let ahead = if page + 1 < end { self.pages.head(table[page + 1] as usize, self.head).0 } else { values };
        let queries = self.queries_of_page(page);
        let keys = expand_for(self.kernels, keys, (PAGE_TOKENS, queries.len()), ahead, self.expanded);
        let product = Product {
            numbers: keys,
            width: PAGE_TOKENS,
            steps: key_dim,
            factors: &self.queries[queries.start * key_dim..queries.end * key_dim],
            factor_stride: key_dim,
            count: queries.len(),
            ahead,
        };
        let at = queries.start * STRIDE + page % SPAN_PAGES * PAGE_TOKENS;
        self.kernels.multiply(&product, &mut self.scores[at..], STRIDE, false);
    }

    /// Makes the scores of a query shares of what it sees; gives the largest score and the sum of exponentials.
    ///
    /// `places` of the scores are those of pages that the tile sees; the first of the span is of the position `base`.
    fn share(&mut self, index: usize, base: usize, places: Range<usize>) -> (f32, f32) {
        let (first, last) = self.looks[index / self.group].seen;
        let scores = &mut self.scores[index * STRIDE..][..SPAN];
        let seen = first.saturating_sub(base).max(places.start)..(last + 1).saturating_sub(base).min(places.end);
        if seen.is_empty() {
            scores[places].fill(0.0);
            return (f32::NEG_INFINITY, 0.0);
        }
        // Whole lanes, so that each exponential is summed in the lane of its position whatever else is seen.
        let lanes = seen.start / LANES * LANES..seen.end.next_multiple_of(LANES);
        scores[places.start..lanes.start].fill(0.0);
        scores[lanes.end..places.end].fill(0.0);
        if let Some(cap) = self.cap {
            vector::soft_cap(self.cpu, &mut scores[seen.clone()], cap);
        }
        scores[lanes.start..seen.start].fill(f32::NEG_INFINITY);
        scores[seen.end..lanes.end].fill(f32::NEG_INFINITY);
        self.kernels.exponentials(&mut scores[lanes])
    }

    /// Adds the values of a page.
    fn weigh(&mut self, page: usize, to: &mut [f32]) {
        let value_dim = self.pages.shape.value_dim;
        let table = self.looks[0].table;
        let (_, values) = self.pages.head(table[page] as usize, self.head);
        let ahead = if (page + 1) * PAGE_TOKENS < self.seen.end {
            let (keys, values) = self.pages.head(table[page + 1] as usize, self.head);
            // After the last page of a span come the keys of the next one.
            if (page + 1).is_multiple_of(SPAN_PAGES) { keys } else { values }
        } else {
            values
        };
        let queries = self.queries_of_page(page);
        let values = expand_for(self.kernels, values, (value_dim, queries.len()), ahead, self.expanded);
        let product = Product {
            numbers: values,
            width: value_dim,
            // What a page held before is behind it, and may be no numbers.
            steps: PAGE_TOKENS.min(self.seen.end - page * PAGE_TOKENS),
            factors: &self.scores[queries.start * STRIDE + page % SPAN_PAGES * PAGE_TOKENS..],
            factor_stride: STRIDE,
            count: queries.len(),
            ahead,
        };
        self.kernels.multiply(&product, &mut to[queries.start * value_dim..], value_dim, true);
    }
}

/// For more queries than go by a page at once its numbers are expanded first, once for all.
fn expand_for<'a>(
    kernels: Kernels,
    numbers: Numbers<'a>,
    (width, queries): (usize, usize),
    ahead: Numbers<'_>,
    to: &'a mut [f32],
) -> Numbers<'a> {
    match numbers {
        Numbers::F32(_) => numbers,
        Numbers::F16(_) if queries <= DIRECT => numbers,
        Numbers::Keys8(codes) | Numbers::Values8(codes) if queries <= DIRECT && codes.scales.len() <= DIRECT_SCALES => {
            numbers
        }
        _ => {
            let to = &mut to[..numbers.len()];
            kernels.expand(numbers, width, ahead, to);
            Numbers::F32(to)
        }
    }
}
