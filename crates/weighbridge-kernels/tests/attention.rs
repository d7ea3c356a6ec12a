//! Attention over pages: right, and the same to the last bit however rows come.

use weighbridge_kernels::{AttentionOptions, Cpu, KvType, Look, PAGE_TOKENS, PageShape, Pages, Tier};

struct Random(u64);

impl Random {
    fn number(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 40) as f32 / 8_388_608.0 - 1.0
    }

    fn numbers(&mut self, count: usize) -> Vec<f32> {
        (0..count).map(|_| self.number()).collect()
    }
}

struct Sequence {
    shape: PageShape,
    heads: usize,
    keys: Vec<Vec<f32>>,
    values: Vec<Vec<f32>>,
    queries: Vec<Vec<f32>>,
    pages: Pages,
    table: Vec<u32>,
}

impl Sequence {
    fn new(shape: PageShape, heads: usize, tokens: usize) -> Self {
        let mut random = Random(tokens as u64 + 1);
        let count = tokens.div_ceil(PAGE_TOKENS);
        let mut pages = Pages::new(shape);
        pages.grow(count + 1);
        // Pages in another order than the tokens.
        let table: Vec<u32> = (0..count as u32).rev().collect();
        let keys: Vec<_> = (0..tokens).map(|_| random.numbers(shape.heads * shape.key_dim)).collect();
        let values: Vec<_> = (0..tokens).map(|_| random.numbers(shape.heads * shape.value_dim)).collect();
        let queries = (0..tokens).map(|_| random.numbers(heads * shape.key_dim)).collect();
        for (token, (keys, values)) in keys.iter().zip(&values).enumerate() {
            pages.write(table[token / PAGE_TOKENS] as usize, token % PAGE_TOKENS, keys, values);
        }
        Self { shape, heads, keys, values, queries, pages, table }
    }

    fn attend(&self, cpu: &Cpu, rows: &[usize], window: usize, options: AttentionOptions<'_>) -> Vec<f32> {
        let seen = |&row: &usize| ((row + 1).saturating_sub(window), row);
        let looks: Vec<_> = rows.iter().map(|row| Look { table: &self.table, seen: seen(row) }).collect();
        let queries: Vec<f32> = rows.iter().flat_map(|&row| self.queries[row].clone()).collect();
        let mut to = vec![f32::NAN; rows.len() * self.heads * self.shape.value_dim];
        cpu.attend(&self.pages, options, &looks, &queries, &mut to);
        to
    }

    /// What a row should take, in double precision.
    fn wanted(&self, row: usize, window: usize, options: AttentionOptions<'_>) -> Vec<f64> {
        let PageShape { heads: kv_heads, key_dim, value_dim, .. } = self.shape;
        let mut to = Vec::new();
        for head in 0..self.heads {
            let kv_head = head / (self.heads / kv_heads);
            let query = &self.queries[row][head * key_dim..][..key_dim];
            let positions = (row + 1).saturating_sub(window)..=row;
            let score = |token: usize| {
                let key = &self.keys[token][kv_head * key_dim..][..key_dim];
                let score: f64 = query.iter().zip(key).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
                options.cap.map_or(score, |cap| f64::from(cap) * (score / f64::from(cap)).tanh())
            };
            let shares: Vec<f64> = positions.clone().map(|token| score(token).exp()).collect();
            let sink = options.sinks.map_or(0.0, |sinks| f64::from(sinks[head]).exp());
            let sum = shares.iter().sum::<f64>() + sink;
            for at in 0..value_dim {
                let value = |token: usize| f64::from(self.values[token][kv_head * value_dim + at]);
                to.push(positions.clone().zip(&shares).map(|(token, share)| share * value(token)).sum::<f64>() / sum);
            }
        }
        to
    }
}

fn check(shape: PageShape, heads: usize, tokens: usize, window: usize, cap: Option<f32>, sinks: bool) {
    let what = format!("{shape:?} of {heads} heads, {tokens} tokens, window {window}, cap {cap:?}, sinks {sinks}");
    let sequence = Sequence::new(shape, heads, tokens);
    let sinks: Option<Vec<f32>> = sinks.then(|| (0..heads).map(|head| head as f32 * 0.3).collect());
    let options = AttentionOptions { heads, cap, sinks: sinks.as_deref() };
    let cpu = Cpu::new(2, None).expect("the best tier is available");
    let rows: Vec<usize> = (tokens.saturating_sub(21)..tokens).collect();
    let found = sequence.attend(&cpu, &rows, window, options);
    let bound = match shape.kind {
        KvType::F32 => 2e-5,
        KvType::F16 => 2e-2,
        KvType::Q8_0 => 5e-2,
    };
    for (&row, found) in rows.iter().zip(found.chunks_exact(heads * shape.value_dim)) {
        for (found, wanted) in found.iter().zip(sequence.wanted(row, window, options)) {
            assert!((f64::from(*found) - wanted).abs() < bound, "{what}: {found}, not {wanted}");
        }
        assert_eq!(sequence.attend(&cpu, &[row], window, options), found, "{what}: row {row} alone");
        let threads = Cpu::new(5, None).expect("the best tier is available");
        assert_eq!(sequence.attend(&threads, &[row], window, options), found, "{what}: row {row} on five threads");
    }
    for tier in Tier::ALL.into_iter().filter(|tier| tier.is_available()) {
        let other = Cpu::new(1, Some(tier)).expect("it is available");
        assert_eq!(sequence.attend(&other, &rows, window, options), found, "{what}: {tier}");
    }
}

#[test]
fn attention_is_right_and_the_same_however_rows_come() {
    let shape = |heads, key_dim, value_dim, kind| PageShape { heads, key_dim, value_dim, kind };
    for kind in [KvType::F32, KvType::F16, KvType::Q8_0] {
        check(shape(1, 8, 8, kind), 1, 1, usize::MAX, None, false);
        check(shape(2, 16, 16, kind), 2, 33, usize::MAX, None, false);
        check(shape(2, 24, 40, kind), 6, 70, 20, Some(2.0), false);
        check(shape(1, 64, 64, kind), 3, 1100, usize::MAX, None, true);
        check(shape(2, 16, 8, kind), 4, 1100, 600, None, false);
        check(shape(1, 20, 12, kind), 5, 530, 40, None, true);
    }
}

#[test]
fn what_half_precision_cannot_hold_becomes_its_largest_number() {
    let shape = PageShape { heads: 1, key_dim: 8, value_dim: 8, kind: KvType::F16 };
    let mut pages = Pages::new(shape);
    pages.grow(1);
    let values = [7e4, -7e4, f32::MAX, f32::NEG_INFINITY, 65_519.0, 65_504.0, -1.0, 0.0];
    pages.write(0, 0, &[0.0; 8], &values);
    let mut to = [f32::NAN; 8];
    let looks = [Look { table: &[0], seen: (0, 0) }];
    let options = AttentionOptions { heads: 1, cap: None, sinks: None };
    for tier in Tier::ALL.into_iter().filter(|tier| tier.is_available()) {
        let cpu = Cpu::new(1, Some(tier)).expect("it is available");
        cpu.attend(&pages, options, &looks, &[1.0; 8], &mut to);
        assert_eq!(to, [65_504.0, -65_504.0, 65_504.0, -65_504.0, 65_504.0, 65_504.0, -1.0, 0.0]);
    }
}

#[test]
fn what_a_page_held_before_reaches_nobody() {
    let shape = PageShape { heads: 1, key_dim: 8, value_dim: 8, kind: KvType::F16 };
    let mut pages = Pages::new(shape);
    pages.grow(1);
    // A sequence whose numbers were none gave its page back, and the next one has written one token.
    (0..PAGE_TOKENS).for_each(|place| pages.write(0, place, &[f32::NAN; 8], &[f32::NAN; 8]));
    pages.write(0, 0, &[1.0; 8], &[2.0; 8]);
    let looks = [Look { table: &[0], seen: (0, 0) }];
    let options = AttentionOptions { heads: 1, cap: None, sinks: None };
    for tier in Tier::ALL.into_iter().filter(|tier| tier.is_available()) {
        let mut to = [f32::NAN; 8];
        let cpu = Cpu::new(1, Some(tier)).expect("it is available");
        cpu.attend(&pages, options, &looks, &[1.0; 8], &mut to);
        assert_eq!(to, [2.0; 8]);
    }
}
