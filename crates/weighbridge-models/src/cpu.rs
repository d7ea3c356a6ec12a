//! The `cpu` computation: the decoder's layers on the kernels, from packed weights to logits.
//!
//! It is made from a decoder whose matrices are packed already (see [`Linear`](crate::blocks::linear::Linear)), and
//! computes the rows of several sequences in one step. Rows meet only where they look at the pages of their own
//! sequence, and the kernels compute a row the same way whatever stands beside it: so logits are the same to the last bit
//! alone and in a batch, at once and in chunks. Every layer's file is the twin of one in `blocks`, which is the oracle.
//!
//! What a decoder has that is not here (delta nets, several residual streams, adapters kept apart) makes it compute by `blocks`, with the same
//! packed products.

mod attention;
mod experts;
mod feed_forward;
mod latent;
mod layer;
mod norm;
mod pages;
mod projection;
mod turns;

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use weighbridge_kernels::{Cpu, Limits, PackedMatrix, Pool, Rows as Activations, Tier, TierError, threads};

use self::layer::Layer;
use self::norm::Norm;
pub use self::pages::LentPage;
pub(crate) use self::pages::{Store, Table};
pub(crate) use self::projection::Projection;
use self::turns::Turns;
use crate::blocks::embedding::Embedding;
use crate::blocks::rope::Rope;
use crate::cache::KvCache;
use crate::compute::Precision;
use crate::decoder::{self, ComputeError, Rows, Step};
use crate::logits::Logits;
use crate::spec::{DecoderSpec, Span};

/// The one pool of the process.
static POOL: OnceLock<Arc<Pool>> = OnceLock::new();

/// Makes the kernels compute on so many threads. Without it they take as many as were settled at the start of the
/// process. Gives whether it came in time: before anything was computed.
pub fn use_threads(count: usize) -> bool {
    POOL.set(Arc::new(Pool::new(count))).is_ok()
}

/// The processors for `tier`, or the best there is; all share one pool.
pub(crate) fn processors(tier: Option<Tier>) -> Result<Cpu, TierError> {
    Cpu::of(Arc::clone(POOL.get_or_init(|| Arc::new(Pool::new(threads::count())))), tier)
}

/// The limits of this machine for the kernels, with the threads that they use.
///
/// # Errors
/// Where the processor lacks the instructions of `tier`.
pub fn limits(tier: Option<Tier>) -> Result<Limits, TierError> {
    Ok(Limits::measure(&processors(tier)?))
}

/// A decoder on the kernels.
#[derive(Debug)]
pub(crate) struct CpuDecoder {
    cpu: Cpu,
    embedding: Arc<PackedMatrix>,
    layers: Vec<Layer>,
    final_norm: Norm,
    head: Projection,
    store: Arc<Store>,
    /// Memory of a step, kept for the next.
    scratch: Mutex<Scratch>,
}

/// What one token takes of a machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Bytes of weights that are read.
    pub weight_bytes: u64,
    /// Products of a weight with an activation.
    pub products: u64,
    /// Bytes of keys and values of [`PAGE_TOKENS`](weighbridge_kernels::PAGE_TOKENS) tokens.
    pub page_bytes: u64,
}

impl Cost {
    /// Of one projection.
    fn of(projection: &Projection) -> Self {
        let (weight_bytes, products) = projection.cost();
        Self { weight_bytes, products, page_bytes: 0 }
    }

    /// Of several.
    fn of_all<'a>(projections: impl IntoIterator<Item = &'a Projection>) -> Self {
        projections.into_iter().map(Self::of).fold(Self::default(), Self::plus)
    }

    fn plus(self, other: Self) -> Self {
        Self {
            weight_bytes: self.weight_bytes + other.weight_bytes,
            products: self.products + other.products,
            page_bytes: 0,
        }
    }
}

/// Memory that the layers of a step use in turn.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    /// The residual stream: `[rows, hidden]`.
    x: Vec<f32>,
    /// What goes into a layer's parts.
    normed: Activations,
    /// What goes into the second product of a part.
    inner: Activations,
    /// And into a third, where there is one.
    other: Activations,
    query: Vec<f32>,
    key: Vec<f32>,
    value: Vec<f32>,
    gate: Vec<f32>,
    up: Vec<f32>,
    out: Vec<f32>,
}

/// What all layers of a step share.
pub(crate) struct StepRows<'a> {
    cpu: &'a Cpu,
    /// For each row its sequence, by number, and its position.
    rows: &'a [(usize, usize)],
    /// For each sequence its pages.
    tables: &'a [&'a [u32]],
    /// For each of the decoder's ropes.
    turns: &'a [Turns],
    spans: &'a [Span],
}

impl CpuDecoder {
    /// The same decoder on the kernels, where they have all that it needs.
    pub(crate) fn of(decoder: &decoder::Decoder, cpu: &Cpu, precision: Precision) -> Option<Self> {
        let Embedding::Cpu(embedding) = &decoder.embedding else { return None };
        if decoder.rows.is_some() || decoder.ends.is_some() || decoder.hyper.is_some() {
            return None;
        }
        let layers = decoder.layers.iter().map(Layer::of).collect::<Option<Vec<_>>>()?;
        let shapes = layers.iter().map(|layer| layer.page_shape(precision.kv_type()));
        Some(Self {
            cpu: cpu.clone(),
            embedding: Arc::clone(embedding),
            store: Arc::new(Store::new(shapes)),
            layers,
            final_norm: Norm::of(&decoder.final_norm)?,
            head: Projection::of(&decoder.head)?,
            scratch: Mutex::default(),
        })
    }

    /// What one token takes.
    pub(crate) fn cost(&self) -> Cost {
        let layers = self.layers.iter().map(Layer::cost);
        let cost = layers.fold(Cost::of(&self.head), Cost::plus);
        Cost { page_bytes: self.store.page_bytes(), ..cost }
    }

    /// An empty table of pages.
    pub(crate) fn table(&self) -> Table {
        Table::new(&self.store)
    }

    /// An empty table for lent pages.
    pub(crate) fn lent_table(&self) -> Table {
        Table::lent(&self.store)
    }

    /// A page to lend.
    pub(crate) fn take_page(&self) -> LentPage {
        self.store.take_for_good()
    }

    /// Whether a table is of its pages.
    pub(crate) fn has(&self, table: &Table) -> bool {
        table.is_of(&self.store)
    }

    /// Computes the tokens of all steps, in one go; the caches have been checked.
    pub(crate) fn forward(
        &self,
        spec: &DecoderSpec,
        ropes: &[Rope],
        spans: &[Span],
        steps: &mut [Step<'_>],
    ) -> Result<Vec<Logits>, ComputeError> {
        let mut rows = Vec::with_capacity(steps.iter().map(|step| step.tokens.len()).sum());
        for (sequence, step) in steps.iter_mut().enumerate() {
            let past = step.cache.len();
            step.cache.reserve_pages(step.tokens.len())?;
            rows.extend((past..past + step.tokens.len()).map(|position| (sequence, position)));
        }
        let tables: Vec<&[u32]> = steps.iter().map(|step| step.cache.pages()).collect();
        let turns: Vec<_> = ropes.iter().map(|rope| Turns::of(rope, steps)).collect();
        let shared = StepRows { cpu: &self.cpu, rows: &rows, tables: &tables, turns: &turns, spans };

        let mut scratch = self.scratch.lock().unwrap_or_else(PoisonError::into_inner);
        let scratch = &mut *scratch;
        scratch.x.resize(rows.len() * spec.hidden, 0.0);
        self.embed(spec, steps, &mut scratch.x);
        let mut pages = self.store.pages();
        for (layer, pages) in self.layers.iter().zip(pages.iter_mut()) {
            layer.forward(&shared, pages, scratch);
        }
        drop(pages);
        let logits = self.logits(spec, steps, scratch);
        for step in steps {
            step.cache.advance(step.tokens.len());
        }
        Ok(logits)
    }

    fn embed(&self, spec: &DecoderSpec, steps: &[Step<'_>], x: &mut [f32]) {
        let tokens: Vec<u32> = steps.iter().flat_map(|step| step.tokens).copied().collect();
        self.cpu.each_row(x, spec.hidden, |row, x| {
            self.embedding.row(tokens[row] as usize, x);
            if spec.embedding_scale != 1.0 {
                x.iter_mut().for_each(|x| *x *= spec.embedding_scale);
            }
        });
    }

    fn logits(&self, spec: &DecoderSpec, steps: &[Step<'_>], scratch: &mut Scratch) -> Vec<Logits> {
        let Scratch { x, normed, .. } = scratch;
        let mut wanted = Vec::new();
        let mut first = 0;
        for step in steps {
            let end = first + step.tokens.len();
            match step.rows {
                Rows::All => wanted.extend(first..end),
                Rows::Last => wanted.push(end - 1),
                Rows::None => {}
            }
            first = end;
        }
        let hidden = spec.hidden;
        self.cpu.each_row(normed.prepare(wanted.len(), hidden), hidden, |row, to| {
            self.final_norm.row(&self.cpu, &x[wanted[row] * hidden..][..hidden], to);
        });
        self.head.round(&self.cpu, normed);
        let mut numbers = vec![0.0; wanted.len() * spec.vocabulary];
        self.cpu.product(normed, &mut [self.head.product(&mut numbers)]);
        self.cpu.each_row(&mut numbers, spec.vocabulary, |_, row| {
            if spec.logit_scale != 1.0 {
                row.iter_mut().for_each(|logit| *logit *= spec.logit_scale);
            }
            if let Some(cap) = spec.logit_cap {
                weighbridge_kernels::vector::soft_cap(&self.cpu, row, cap);
            }
        });
        let mut rest = numbers;
        let count = |step: &Step<'_>| match step.rows {
            Rows::All => step.tokens.len(),
            Rows::Last => 1,
            Rows::None => 0,
        };
        // Back to front, so that the first takes what is left without a copy.
        let mut logits: Vec<_> = steps
            .iter()
            .rev()
            .map(|step| {
                let own = match rest.len() - count(step) * spec.vocabulary {
                    0 => std::mem::take(&mut rest),
                    others => rest.split_off(others),
                };
                Logits::new(own, spec.vocabulary)
            })
            .collect();
        logits.reverse();
        logits
    }
}

impl KvCache {
    fn reserve_pages(&mut self, tokens: usize) -> Result<(), ComputeError> {
        let needed = self.len() + tokens;
        let table = self.table_mut().ok_or(ComputeError::ForeignCache)?;
        if table.reserve(needed) {
            return Ok(());
        }
        Err(ComputeError::TooFewPages { pages: table.pages().len(), tokens: needed })
    }
}
