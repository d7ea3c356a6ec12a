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
mod plan;
mod projection;
mod turns;

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use weighbridge_kernels::{
    Cpu, KvType, Limits, Look, PackedMatrix, Pool, Rows as Activations, Tier, TierError, emptied, threads,
};

use self::experts::Mixture;
use self::layer::Layer;
use self::norm::Norm;
pub use self::pages::{LentPage, PageGroup};
pub(crate) use self::pages::{Store, Table};
pub(crate) use self::plan::is_paged;
pub(crate) use self::projection::Projection;
use self::turns::Turns;
use crate::blocks::embedding::Embedding;
use crate::blocks::mask::first_key;
use crate::blocks::rope::Rope;
use crate::cache::KvCache;
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
    /// Bytes of keys and values of [`PAGE_TOKENS`](weighbridge_kernels::PAGE_TOKENS) tokens in all layers.
    pub page_bytes: u64,
    /// Those of them in layers with windows.
    pub windowed_bytes: u64,
}

impl Cost {
    /// Of one projection.
    fn of(projection: &Projection) -> Self {
        let (weight_bytes, products) = projection.cost();
        Self { weight_bytes, products, ..Self::default() }
    }

    /// Of several.
    fn of_all<'a>(projections: impl IntoIterator<Item = &'a Projection>) -> Self {
        projections.into_iter().map(Self::of).fold(Self::default(), Self::plus)
    }

    fn plus(self, other: Self) -> Self {
        Self {
            weight_bytes: self.weight_bytes + other.weight_bytes,
            products: self.products + other.products,
            ..Self::default()
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
    mixture: Mixture,
    lists: Lists,
    /// Logits, shared with those that were given out; used again once all of them are gone.
    logits: Arc<Vec<f32>>,
}

/// What all layers of a step share, in lists whose memory is kept.
#[derive(Debug, Default)]
struct Lists {
    tokens: Vec<u32>,
    turns: Vec<Turns>,
    looks: Vec<Look<'static>>,
    /// The rows that get logits.
    wanted: Vec<usize>,
}

/// What all layers of a step share.
pub(crate) struct StepRows<'a> {
    cpu: &'a Cpu,
    /// Rows there are.
    count: usize,
    /// For each of the decoder's spans what each row sees, its own position being the last.
    looks: &'a [Look<'a>],
    /// For each of the decoder's ropes.
    turns: &'a [Turns],
}

impl<'a> StepRows<'a> {
    /// What rows see in a span.
    fn looks(&self, span: usize) -> &'a [Look<'a>] {
        &self.looks[span * self.count..][..self.count]
    }

    /// The position of a row in its sequence.
    fn position(&self, row: usize) -> usize {
        self.looks[row].seen.1
    }
}

impl CpuDecoder {
    /// The same decoder on the kernels, where they have all that it needs.
    pub(crate) fn of(decoder: &decoder::Decoder, cpu: &Cpu, kind: KvType) -> Option<Self> {
        let Embedding::Cpu(embedding) = &decoder.embedding else { return None };
        if decoder.rows.is_some() || decoder.ends.is_some() || decoder.hyper.is_some() {
            return None;
        }
        let layers = decoder.layers.iter().map(Layer::of).collect::<Option<Vec<_>>>()?;
        let context = decoder.spec.context;
        let group = |layer: &decoder::Layer| PageGroup::of(decoder.spans[layer.span], context);
        let shapes = layers.iter().map(|layer| layer.page_shape(kind)).zip(decoder.layers.iter().map(group));
        Some(Self {
            cpu: cpu.clone(),
            embedding: Arc::clone(embedding),
            store: Arc::new(Store::new(shapes, decoder.spec.window())),
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
        let [full, windowed] = [PageGroup::Full, PageGroup::Windowed].map(|group| self.store.page_bytes(group));
        Cost { page_bytes: full + windowed, windowed_bytes: windowed, ..cost }
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
    pub(crate) fn take_page(&self, group: PageGroup) -> LentPage {
        self.store.take_for_good(group)
    }

    /// Tokens of the widest window; `None` where no layer has one.
    pub(crate) fn window(&self) -> Option<usize> {
        self.store.window()
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
        let mut scratch = self.scratch.lock().unwrap_or_else(PoisonError::into_inner);
        let scratch = &mut *scratch;
        for step in &mut *steps {
            step.cache.reserve_pages(step.tokens.len())?;
        }
        // Apart from the rest, which the layers write.
        let mut lists = std::mem::take(&mut scratch.lists);
        lists.turns.resize_with(ropes.len(), Turns::default);
        lists.turns.iter_mut().zip(ropes).for_each(|(turns, rope)| turns.fill(rope, steps));
        let mut looks: Vec<Look<'_>> = emptied(std::mem::take(&mut lists.looks));
        for &span in spans {
            let group = PageGroup::of(span, spec.context);
            for step in &*steps {
                let positions = step.cache.len()..step.cache.len() + step.tokens.len();
                let table = step.cache.pages(group);
                looks.extend(positions.map(|position| Look { table, seen: (first_key(position, span), position) }));
            }
        }
        self.embed(spec, steps, &mut lists.tokens, &mut scratch.x);
        let count = lists.tokens.len();
        let shared = StepRows { cpu: &self.cpu, count, looks: &looks, turns: &lists.turns };
        let mut pages = self.store.pages();
        for (layer, pages) in self.layers.iter().zip(pages.iter_mut()) {
            layer.forward(&shared, pages, scratch);
        }
        drop(pages);
        lists.looks = emptied(looks);
        let logits = self.logits(spec, steps, &mut lists.wanted, scratch);
        scratch.lists = lists;
        for step in steps {
            step.cache.advance(step.tokens.len());
        }
        Ok(logits)
    }

    fn embed(&self, spec: &DecoderSpec, steps: &[Step<'_>], tokens: &mut Vec<u32>, x: &mut Vec<f32>) {
        tokens.clear();
        steps.iter().for_each(|step| tokens.extend(step.tokens));
        x.resize(tokens.len() * spec.hidden, 0.0);
        self.cpu.each_row(x, spec.hidden, |row, x| {
            self.embedding.row(tokens[row] as usize, x);
            if spec.embedding_scale != 1.0 {
                x.iter_mut().for_each(|x| *x *= spec.embedding_scale);
            }
        });
    }

    fn logits(
        &self,
        spec: &DecoderSpec,
        steps: &[Step<'_>],
        wanted: &mut Vec<usize>,
        scratch: &mut Scratch,
    ) -> Vec<Logits> {
        let Scratch { x, normed, logits, .. } = scratch;
        wanted.clear();
        let mut first = 0;
        for step in steps {
            let end = first + step.tokens.len();
            wanted.extend(end - step.logits_rows()..end);
            first = end;
        }
        if !wanted.is_empty() {
            let numbers = for_rows(logits, wanted.len(), spec.vocabulary);
            self.head.fill(&self.cpu, normed, wanted.len(), |row, to| {
                self.final_norm.row(&self.cpu, &x[wanted[row] * spec.hidden..][..spec.hidden], to);
            });
            self.cpu.product(normed, &mut [self.head.product(numbers)]);
            self.finish_logits(spec, numbers);
        }
        let mut rows = 0;
        let of_step = |step: &Step<'_>| {
            let first = rows;
            rows += step.logits_rows();
            Logits::of_rows(logits, first..rows, spec.vocabulary)
        };
        steps.iter().map(of_step).collect()
    }

    fn finish_logits(&self, spec: &DecoderSpec, numbers: &mut [f32]) {
        if spec.logit_scale == 1.0 && spec.logit_cap.is_none() {
            return;
        }
        self.cpu.each_row(numbers, spec.vocabulary, |_, row| {
            if spec.logit_scale != 1.0 {
                row.iter_mut().for_each(|logit| *logit *= spec.logit_scale);
            }
            if let Some(cap) = spec.logit_cap {
                weighbridge_kernels::vector::soft_cap(&self.cpu, row, cap);
            }
        });
    }
}

/// Rows of logits whose memory is kept at most.
const LOGITS_KEPT: usize = 64;

/// Memory for `rows` of logits: what the last step had, unless its reader still has it, or it is far too large.
fn for_rows(kept: &mut Arc<Vec<f32>>, rows: usize, vocabulary: usize) -> &mut [f32] {
    let needed = rows * vocabulary;
    if Arc::get_mut(kept).is_none() || kept.capacity() > needed.max(LOGITS_KEPT * vocabulary) {
        *kept = Arc::default();
    }
    let kept = Arc::make_mut(kept);
    kept.resize(needed, 0.0);
    kept
}

impl Step<'_> {
    /// Rows of logits that it asks for.
    fn logits_rows(&self) -> usize {
        match self.rows {
            Rows::All => self.tokens.len(),
            Rows::Last => 1,
            Rows::None => 0,
        }
    }
}

impl KvCache {
    fn reserve_pages(&mut self, tokens: usize) -> Result<(), ComputeError> {
        let needed = self.len() + tokens;
        let table = self.table_mut().ok_or(ComputeError::ForeignCache)?;
        table.reserve(needed).map_err(|pages| ComputeError::TooFewPages { pages, tokens: needed })
    }
}
