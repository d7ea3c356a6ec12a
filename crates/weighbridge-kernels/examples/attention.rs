//! Times attention over pages, beside what the machine can do at most: `cargo run --release --example attention`,
//! with names of cases to take only those.
//!
//! Decode is one row each of several sequences, prefill all rows of one. Layers take turns, so that no cache keeps what
//! the next call reads, and the best call counts: others run on this machine too.

use std::time::Instant;

use weighbridge_kernels::{AttentionOptions, Cpu, KvType, Limits, Look, PAGE_TOKENS, PageShape, Pages, threads};

/// Keys and values of all layers of a case: more than caches hold.
const LAYERS_BYTES: usize = 192 << 20;
const ROUNDS: usize = 7;

struct Model {
    name: &'static str,
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
}

const MODELS: [Model; 3] = [
    Model { name: "qwen3-0.6b", heads: 16, kv_heads: 8, head_dim: 128 },
    Model { name: "llama-3.2-1b", heads: 32, kv_heads: 8, head_dim: 64 },
    Model { name: "smollm2-135m", heads: 9, kv_heads: 3, head_dim: 64 },
];

/// Sequences of `depth` tokens each, of which the last `rows` are computed.
struct Case {
    depth: usize,
    sequences: usize,
    rows: usize,
}

fn cases() -> Vec<Case> {
    let decode = [512, 4096, 8192].into_iter().flat_map(|depth| [1, 4, 16].map(|sequences| (depth, sequences)));
    let decode = decode.map(|(depth, sequences)| Case { depth, sequences, rows: 1 });
    let prefill = [512, 4096].map(|depth| Case { depth, sequences: 1, rows: depth });
    decode.chain(prefill).collect()
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    let cpu = Cpu::new(threads::count(), None)?;
    let limits = Limits::measure(&cpu);
    let (memory, fused) = (limits.memory_bytes_per_s, limits.f32_products_per_s);
    let tier = cpu.tier();
    println!(
        "{} threads, {tier}: memory {:.1} GB/s, float32 {:.0} G products/s",
        cpu.pool().threads(),
        memory / 1e9,
        fused / 1e9
    );
    for model in &MODELS {
        for kind in [KvType::F16, KvType::Q8_0] {
            for case in cases() {
                let what = if case.rows == 1 { "decode" } else { "prefill" };
                let name = format!("{} {kind} {what} {}x{}", model.name, case.sequences, case.depth);
                if wanted.iter().all(|wanted| name.contains(wanted.as_str())) {
                    let (seconds, bytes, products) = time(&cpu, model, kind, &case);
                    println!(
                        "{name:42} {:9.3} ms  {:6.1} GB/s of keys and values, {:3.0} %  {:6.1} G products/s, {:3.0} %",
                        seconds * 1e3,
                        bytes / seconds / 1e9,
                        bytes / seconds / memory * 100.0,
                        products / seconds / 1e9,
                        products / seconds / fused * 100.0,
                    );
                }
            }
        }
    }
    Ok(())
}

/// Seconds of the best call, bytes of keys and values that all its rows see, and its products.
fn time(cpu: &Cpu, model: &Model, kind: KvType, case: &Case) -> (f64, f64, f64) {
    let Model { heads, kv_heads, head_dim, .. } = *model;
    let shape = PageShape { heads: kv_heads, key_dim: head_dim, value_dim: head_dim, kind };
    let pages = case.depth.div_ceil(PAGE_TOKENS);
    let bytes = case.sequences * pages * shape.bytes();
    let layers = if case.rows == 1 { LAYERS_BYTES.div_ceil(bytes) } else { 1 };
    let layers: Vec<Pages> = (0..layers).map(|_| filled(shape, case.sequences * pages)).collect();
    // Pages of a sequence stand apart, as where sequences grow side by side.
    let tables =
        (0..case.sequences).map(|sequence| (0..pages).map(move |page| (page * case.sequences + sequence) as u32));
    let tables: Vec<Vec<u32>> = tables.map(Iterator::collect).collect();
    let positions = case.depth - case.rows..case.depth;
    let looks = tables.iter().flat_map(|table| positions.clone().map(move |last| Look { table, seen: (0, last) }));
    let looks: Vec<Look<'_>> = looks.collect();
    let queries: Vec<f32> = numbers(looks.len() * heads * head_dim);
    let mut to = vec![0.0; looks.len() * heads * head_dim];
    let options = AttentionOptions { heads, cap: None, sinks: None };
    let mut best = f64::INFINITY;
    for _ in 0..ROUNDS {
        for pages in &layers {
            let start = Instant::now();
            cpu.attend(pages, options, &looks, &queries, &mut to);
            best = best.min(start.elapsed().as_secs_f64());
        }
    }
    let seen: usize = looks.iter().map(|look| look.seen.1 + 1).sum();
    (best, bytes as f64, (seen * heads * 2 * head_dim) as f64)
}

fn filled(shape: PageShape, count: usize) -> Pages {
    let mut pages = Pages::new(shape);
    pages.grow(count);
    let keys = numbers(shape.heads * shape.key_dim + 61);
    let values = numbers(shape.heads * shape.value_dim + 61);
    for token in 0..count * PAGE_TOKENS {
        let from = token % 61;
        let keys = &keys[from..][..shape.heads * shape.key_dim];
        pages.write(token / PAGE_TOKENS, token % PAGE_TOKENS, keys, &values[from..][..shape.heads * shape.value_dim]);
    }
    pages
}

/// Numbers around zero, none like its neighbour.
fn numbers(count: usize) -> Vec<f32> {
    (0..count as u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 8) as f32 / 16_777_216.0 - 0.5).collect()
}
