//! How much memory a model takes to compute.

use candle_core::quantized::GgmlDType;
use weighbridge_kernels::PAGE_TOKENS;

use crate::adapter::Adapter;
use crate::compute::Compute;
use crate::cpu::is_paged;
use crate::element::Form;
use crate::parts::Part;
use crate::spec::{DecoderSpec, MixerSpec};
use crate::treatment::{Held, Treatment};
use crate::weights::Weights;

/// Tokens of the largest step that is planned for.
const STEP_TOKENS: u64 = 512;
/// Sequences of a step that get logits.
const STEP_LOGITS: u64 = 32;
/// Queries that attend at once (see `blocks::mask`).
const ATTENTION_ROWS: u64 = 128;

/// What a model takes to compute, in bytes. An estimate for planning, meant to be high rather than low.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryNeeds {
    /// Its weights as they are held, with an adapter's where there is one.
    pub weights: u64,
    /// Keys and values of one token in all layers.
    pub token: u64,
    /// Those of them in layers with windows, where what lies behind these is let go.
    pub windowed: u64,
    /// Tokens of the widest of these windows.
    pub window: Option<usize>,
    /// What a step works in.
    pub step: u64,
}

impl MemoryNeeds {
    /// Keys and values of a sequence of so many tokens.
    pub(super) fn sequence(self, tokens: u64) -> u64 {
        let seen = self.window.map_or(tokens, |window| window as u64 + STEP_TOKENS + PAGE_TOKENS as u64).min(tokens);
        (self.token - self.windowed) * tokens + self.windowed * seen
    }
}

/// What a model takes for steps at a depth of up to `context` tokens.
pub(super) fn needs(spec: &DecoderSpec, weights: &Weights, treatment: &Treatment, context: u32) -> MemoryNeeds {
    let parts = weights.check(spec).unwrap_or_default();
    let is_repacked = treatment.compute == Compute::Quantized;
    let held = |part, stored| weight(part, treatment.held(part, stored, &weights.names, spec), is_repacked);
    let held: u64 = parts.iter().map(|(part, stored)| held(*part, stored)).sum();
    // A step computes the next state beside the one there is.
    let states = 2 * spec.state_bytes();
    let step = match treatment.compute {
        Compute::Cpu { .. } => scratch(spec),
        _ => workspace(spec, u64::from(context)),
    };
    let token = kv_bytes_per_token(spec, treatment.compute);
    let is_paged = matches!(treatment.compute, Compute::Cpu { .. }) && treatment.adapter.is_none() && is_paged(spec);
    let window = spec.window().filter(|_| is_paged);
    let numbers = |layer: &crate::spec::LayerSpec| layer.mixer.cached_width();
    let with_window = spec.layers.iter().filter(|layer| layer.mixer.span().window(spec.context).is_some());
    let windowed = treatment.compute.kv_type().bytes(with_window.map(numbers).sum(), 1) as u64;
    MemoryNeeds {
        weights: held + treatment.adapter.as_deref().map_or(0, Adapter::bytes),
        token,
        windowed: window.map_or(0, |_| windowed.min(token)),
        window,
        step: states + step,
    }
}

/// Of keys and values. The kernels keep them as they are told to, and of latent rows both.
fn kv_bytes_per_token(spec: &DecoderSpec, compute: Compute) -> u64 {
    if !matches!(compute, Compute::Cpu { .. }) {
        return spec.kv_bytes_per_token();
    }
    let has_rows = spec.layers.iter().any(|layer| matches!(layer.mixer, MixerSpec::Latent(_)));
    let numbers = spec.kv_bytes_per_token() / 4 * if has_rows { 2 } else { 1 };
    compute.kv_type().bytes(numbers as usize, 1) as u64
}

fn weight(part: Part, (held, count): (Held, u64), is_repacked: bool) -> u64 {
    let Held::Blocks(element) = held else { return 4 * count };
    let copy = match element.form() {
        Form::Blocks(kind) if is_repacked && part != Part::Embedding => repacked(kind, count),
        _ => 0,
    };
    element.bytes_for(count) + copy
}

/// The copy that candle 0.11 keeps of a matrix in tiles for its faster products on x86, beside the original: 6 bits a
/// weight of Q4_K, 10 of Q6_K, 8.5 of Q8_0, none of others.
fn repacked(kind: GgmlDType, count: u64) -> u64 {
    match kind {
        GgmlDType::Q4K => count * 6 / 8,
        GgmlDType::Q6K => count * 10 / 8,
        GgmlDType::Q8_0 => count * 17 / 16,
        _ => 0,
    }
}

/// What the kernels keep from step to step, whatever the depth: the lists of rows, those that are rounded beside them,
/// and logits for as many sequences as a step is planned for.
fn scratch(spec: &DecoderSpec) -> u64 {
    let layer = |layer: &crate::spec::LayerSpec| {
        3 * layer.mixer.query_width() as u64 + 4 * layer.feed_forward.inner_width() as u64
    };
    let widest = spec.layers.iter().map(layer).max().unwrap_or(0);
    4 * (STEP_TOKENS * (widest + 6 * spec.hidden as u64) + STEP_LOGITS * spec.vocabulary as u64)
}

/// The tensors that are alive at once in the widest places of a step: feed-forward, attention, head.
fn workspace(spec: &DecoderSpec, context: u64) -> u64 {
    let rows = STEP_TOKENS.min(context);
    let layer = |layer: &crate::spec::LayerSpec| {
        let inner = 4 * layer.feed_forward.inner_width() as u64 * rows;
        let scores = 3 * layer.mixer.heads() as u64 * ATTENTION_ROWS.min(rows) * context;
        let heads = 4 * layer.mixer.query_width() as u64 * rows;
        inner.max(scores + heads)
    };
    let widest = spec.layers.iter().map(layer).max().unwrap_or(0);
    let streams = spec.streams.map_or(1, |streams| streams.count).max(spec.hyper.map_or(1, |hyper| hyper.count)) as u64;
    let of_layers = spec.per_layer.map_or(0, |it| 3 * (it.width * spec.layers.len()) as u64 * rows);
    4 * (widest + 4 * streams * spec.hidden as u64 * rows + of_layers + 2 * spec.vocabulary as u64)
}
