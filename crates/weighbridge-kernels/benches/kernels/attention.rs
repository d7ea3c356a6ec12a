//! Attention over pages, of one row at depth and of a prompt.

use std::hint::black_box;

use weighbridge_kernels::{AttentionOptions, KvType, Look, PAGE_TOKENS, PageShape, Pages};

use crate::report::Floor;
use crate::{Bench, Random};

/// The heads of Qwen3-0.6B.
const HEADS: usize = 16;
const KV_HEADS: usize = 8;
const DIM: usize = 128;

pub(crate) fn all(bench: &mut Bench) {
    for kind in [KvType::F16, KvType::F32] {
        for (rows, depth) in [(1, 512), (1, 4096), (512, 512)] {
            let name = format!("attention {kind:?} {rows} of {depth}");
            if bench.wants(&name) {
                attention(bench, &name, kind, rows, depth);
            }
        }
    }
}

/// The last `rows` of a sequence of `depth` tokens.
fn attention(bench: &mut Bench, name: &str, kind: KvType, rows: usize, depth: usize) {
    let shape = PageShape { heads: KV_HEADS, key_dim: DIM, value_dim: DIM, kind };
    let mut pages = Pages::new(shape);
    pages.grow(depth.div_ceil(PAGE_TOKENS));
    let mut random = Random::new();
    let token = random.numbers(KV_HEADS * DIM);
    for position in 0..depth {
        pages.write(position / PAGE_TOKENS, position % PAGE_TOKENS, &token, &token);
    }
    let table: Vec<u32> = (0..depth.div_ceil(PAGE_TOKENS) as u32).collect();
    let looks: Vec<Look<'_>> =
        (depth - rows..depth).map(|position| Look { table: &table, seen: (0, position) }).collect();
    let queries = random.numbers(rows * HEADS * DIM);
    let mut to = vec![0.0; rows * HEADS * DIM];
    let options = AttentionOptions { heads: HEADS, cap: None, sinks: None };
    let seen: usize = looks.iter().map(|look| look.seen.1 + 1).sum();
    // Once for the scores and once for the values. What one call reads may stay in a cache for the next.
    let floor = Floor { f32: 2 * seen * HEADS * DIM, ..Floor::default() };
    bench.time(name, floor, |cpu| cpu.attend(&pages, options, &looks, &queries, &mut to));
    black_box(&to);
}
