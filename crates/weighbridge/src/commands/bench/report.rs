//! What was measured, beside the limits.

use serde_json::{Value as Json, json};
use weighbridge_models::{Compute, Cost, Decoder, Limits, Precision};

use super::measure::Work;
use crate::config::ModelConfig;
use crate::{local, terminal};

/// Tokens of a page, of which the cost is known.
const PAGE_TOKENS: f64 = 32.0;

/// All results of a run.
pub(super) struct Report {
    model: String,
    computation: String,
    limits: Limits,
    load: LoadTime,
    /// Memory that the process holds, where the system says so.
    resident_bytes: Option<u64>,
    pub(super) results: Vec<Measured>,
}

/// How long it took until a model could compute.
#[derive(Clone, Copy)]
pub(super) struct LoadTime {
    /// Headers, weights and tokenizer.
    pub(super) whole_s: f64,
    /// The tokenizer, which was built beside the weights.
    pub(super) tokenizer_s: f64,
}

/// One work.
pub(super) struct Measured {
    pub(super) work: String,
    /// Tokens a second, round by round.
    rates: Vec<f64>,
    pub(super) median: f64,
    /// The share of the limit that bounds it, where it is known.
    pub(super) share: Option<Share>,
}

/// How near a limit.
#[derive(Clone, Copy)]
pub(super) struct Share {
    pub(super) of: f64,
    pub(super) limit: &'static str,
}

impl Report {
    pub(super) fn new(
        model: &ModelConfig,
        decoder: &Decoder,
        limits: Limits,
        load: LoadTime,
        works: &[Work],
        rates: Vec<Vec<f64>>,
    ) -> Self {
        let results = works.iter().zip(rates).map(|(work, rates)| {
            let median = median(&rates);
            let share = decoder.cost().and_then(|cost| share(work, median, cost, model.compute, limits));
            Measured { work: work.to_string(), rates, median, share }
        });
        Self {
            model: model.name.clone(),
            computation: local::computation(model.compute),
            limits,
            load,
            resident_bytes: resident_bytes(),
            results: results.collect(),
        }
    }

    /// One object a line, in the shape of the peer's script.
    pub(super) fn json_lines(&self) -> Vec<Json> {
        let mut lines = vec![
            json!({"work": "limits", "memory_bytes_per_s": self.limits.memory_bytes_per_s.round(),
                "int8_products_per_s": self.limits.int8_products_per_s.round(),
                "f32_products_per_s": self.limits.f32_products_per_s.round(),
                "bf16_products_per_s": self.limits.bf16_products_per_s.round()}),
            json!({"work": "load", "seconds": rounded(self.load.whole_s, 3),
                "tokenizer_seconds": rounded(self.load.tokenizer_s, 3), "resident_bytes": self.resident_bytes}),
        ];
        lines.extend(self.results.iter().map(|it| {
            let rates: Vec<f64> = it.rates.iter().map(|&rate| rounded(rate, 2)).collect();
            let mut line = json!({"work": it.work, "tokens_per_s": rates, "median": rounded(it.median, 2)});
            if let Some(share) = it.share {
                line["share"] = rounded(share.of, 3).into();
                line["limit"] = share.limit.into();
            }
            line
        }));
        lines
    }

    pub(super) fn csv(&self) -> String {
        let mut lines = vec!["work,median_tokens_per_s,share,limit".to_owned()];
        lines.extend(self.results.iter().map(|it| {
            let (share, limit) = it.share.map_or((String::new(), ""), |it| (format!("{:.3}", it.of), it.limit));
            format!("{},{:.2},{share},{limit}", it.work, it.median)
        }));
        lines.join("\n")
    }

    pub(super) fn table(&self) -> String {
        let mut table = terminal::table(&["work", "tokens/s", "slowest", "fastest", "share", "of"]);
        for it in &self.results {
            let bounds = |of: fn(f64, f64) -> f64, start| it.rates.iter().copied().fold(start, of);
            table.add_row([
                it.work.clone(),
                format!("{:.1}", it.median),
                format!("{:.1}", bounds(f64::min, f64::INFINITY)),
                format!("{:.1}", bounds(f64::max, 0.0)),
                it.share.map_or_else(String::new, |share| format!("{:.0} %", 100.0 * share.of)),
                it.share.map_or("", |share| share.limit).to_owned(),
            ]);
        }
        let Limits { memory_bytes_per_s, int8_products_per_s, f32_products_per_s, bf16_products_per_s } = self.limits;
        let bf16 = if bf16_products_per_s > 0.0 {
            format!("   bf16 {:.0} G products/s", bf16_products_per_s / 1e9)
        } else {
            String::new()
        };
        let resident = self
            .resident_bytes
            .map_or_else(String::new, |bytes| format!("   resident {:.0} MiB", bytes as f64 / f64::from(1 << 20)));
        format!(
            "{} ({})\nlimits: memory {:.1} GB/s   int8 {:.0} G products/s   f32 {:.0} G products/s{bf16}\n\
             loaded in {:.2} s (the vocabulary beside it {:.2} s){resident}\n{table}",
            self.model,
            self.computation,
            memory_bytes_per_s / 1e9,
            int8_products_per_s / 1e9,
            f32_products_per_s / 1e9,
            self.load.whole_s,
            self.load.tokenizer_s,
        )
    }

    pub(super) fn title(&self) -> String {
        format!("{} ({})", self.model, self.computation)
    }
}

/// A step with one row or a few waits for memory: its weights once, and of each sequence its keys and values. A prompt
/// waits for arithmetic; `exact` takes the products of blocks twice.
fn share(work: &Work, rate: f64, cost: Cost, compute: Compute, limits: Limits) -> Option<Share> {
    let weights = cost.weight_bytes as f64;
    let kept = |tokens: usize| cost.page_bytes as f64 / PAGE_TOKENS * tokens as f64;
    let of_memory = |bytes_per_s: f64| Share { of: bytes_per_s / limits.memory_bytes_per_s, limit: "memory" };
    match *work {
        Work::Prompt { .. } => {
            let Compute::Cpu { precision, .. } = compute else { return None };
            let (limit, most) = match precision {
                Precision::F32 => ("f32", limits.f32_products_per_s),
                Precision::Exact | Precision::Fast => ("int8", limits.int8_products_per_s),
            };
            (most > 0.0).then(|| Share { of: rate * cost.products as f64 / most, limit })
        }
        Work::Answer { tokens, depth } => Some(of_memory(rate * (weights + kept(depth + tokens / 2)))),
        Work::Streams { count, prompt, answer } => {
            Some(of_memory(rate * (weights / count as f64 + kept(prompt + answer / 2))))
        }
    }
}

fn median(rates: &[f64]) -> f64 {
    let mut sorted = rates.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.as_slice() {
        [] => 0.0,
        all if all.len().is_multiple_of(2) => (all[middle - 1] + all[middle]) / 2.0,
        all => all[middle],
    }
}

fn rounded(number: f64, digits: i32) -> f64 {
    let scale = 10_f64.powi(digits);
    (number * scale).round() / scale
}

/// From `/proc/self/status`, which Linux has.
fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!((median(&[3.0, 1.0, 2.0]), median(&[4.0, 1.0]), median(&[])), (2.0, 2.5, 0.0));
    }

    #[test]
    fn a_step_is_held_against_what_it_reads() {
        let limits = Limits {
            memory_bytes_per_s: 1000.0,
            int8_products_per_s: 100.0,
            f32_products_per_s: 10.0,
            bf16_products_per_s: 20.0,
        };
        let cost = Cost { weight_bytes: 40, products: 5, page_bytes: 32, windowed_bytes: 0 };
        let of = |work, rate| share(&work, rate, cost, Compute::cpu(Precision::Fast), limits).map(|share| share.of);
        assert_eq!(of(Work::Answer { tokens: 0, depth: 10 }, 10.0), Some(0.5));
        assert_eq!(of(Work::Streams { count: 4, prompt: 10, answer: 0 }, 10.0), Some(0.2));
        assert_eq!(of(Work::Prompt { tokens: 9 }, 10.0), Some(0.5));
    }
}
