//! Keys and values of the tokens that a sequence has been through, and the memory of layers that keep one instead.

use std::ops::Range;

use candle_core::{DType, Device, Result, Tensor};

use crate::cpu::{LentPage, PageGroup, Table};
use crate::spec::{Choosing, CompressedSpec, CompressionSpec, DecoderSpec, LatentSpec, MixerSpec};

/// Tokens that a cache has room for once it holds any.
const TOKENS_MIN: usize = 64;

/// The keys and values of one sequence, in float32, for every layer of one decoder.
///
/// Room grows by doubling, up to the model's context and only then by need, so that a token is copied about once.
/// Not `Clone`: its memory is written in place.
#[derive(Debug)]
pub struct KvCache {
    layers: Vec<LayerCache>,
    /// The keys of indexers.
    indices: Vec<LayerCache>,
    /// Rows that sum up runs of tokens.
    summaries: Vec<LayerCache>,
    /// Pages in place of what the layers hold, where the decoder computes on them.
    table: Option<Table>,
    tokens: usize,
    announced: usize,
    context: usize,
}

/// Keys and values of one layer, or its state; neither before the first token.
#[derive(Debug)]
pub(crate) struct LayerCache {
    shape: CacheShape,
    room: Option<Room>,
    state: Option<State>,
    /// The state after the step under way, which counts once all layers are through.
    next: Option<State>,
}

/// What a layer uses of a cache.
#[derive(Debug)]
pub(crate) struct Caches<'a> {
    /// Keys and values, or its state.
    pub(crate) keys: &'a mut LayerCache,
    /// Keys of its indexer.
    pub(crate) index: &'a mut LayerCache,
    /// Rows that sum up runs of tokens.
    pub(crate) rows: &'a mut LayerCache,
}

/// What a layer of fixed memory keeps.
#[derive(Clone, Debug, Default)]
pub(crate) struct State {
    /// What the last tokens gave its convolution, or the run that has not ended.
    pub(crate) tail: Vec<f32>,
    /// Of each head, side by side, or what the last tokens gave the run of its indexer.
    pub(crate) memory: Vec<f32>,
}

/// What a token leaves in a layer's cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct CacheShape {
    kv_heads: usize,
    head_dim: usize,
    /// Whether there are values beside the keys; a latent row serves as both.
    values: bool,
    /// Numbers of its state.
    state: usize,
    /// Tokens that leave one row together.
    every: usize,
}

/// `[kv_heads, capacity, head_dim]` each.
#[derive(Debug)]
struct Room {
    keys: Tensor,
    values: Option<Tensor>,
}

impl KvCache {
    pub(crate) fn new(spec: &DecoderSpec) -> Self {
        let layers = spec.layers.iter().map(|layer| LayerCache::new(CacheShape::of(&layer.mixer))).collect();
        let indices = spec.layers.iter().map(|layer| LayerCache::new(CacheShape::of_index(&layer.mixer))).collect();
        let summaries = spec.layers.iter().map(|layer| LayerCache::new(CacheShape::of_rows(&layer.mixer))).collect();
        Self { layers, indices, summaries, table: None, tokens: 0, announced: 0, context: spec.context }
    }

    /// One that holds its tokens in pages.
    pub(crate) fn paged(spec: &DecoderSpec, table: Table) -> Self {
        Self {
            layers: Vec::new(),
            indices: Vec::new(),
            summaries: Vec::new(),
            table: Some(table),
            tokens: 0,
            announced: 0,
            context: spec.context,
        }
    }

    pub(crate) fn table(&self) -> Option<&Table> {
        self.table.as_ref()
    }

    pub(crate) fn table_mut(&mut self) -> Option<&mut Table> {
        self.table.as_mut()
    }

    /// Its pages in a group of layers, in the order of its tokens; any behind the window.
    pub(crate) fn pages(&self, group: PageGroup) -> &[u32] {
        self.table.as_ref().map_or(&[], |table| table.pages(group))
    }

    /// Tokens it holds, which is the position of the next one.
    pub fn len(&self) -> usize {
        self.tokens
    }

    /// Whether it holds no tokens.
    pub fn is_empty(&self) -> bool {
        self.tokens == 0
    }

    /// Forgets all tokens and what was announced, and keeps the memory.
    pub fn clear(&mut self) {
        self.tokens = 0;
        self.announced = 0;
        if let Some(table) = &mut self.table {
            table.clear();
        }
        for layer in &mut self.layers {
            (layer.state, layer.next) = (None, None);
        }
    }

    /// Gives it pages in place of those that it has, of which the first `tokens` tokens are computed. What was announced
    /// stays. Nothing happens to a cache that is not one for lent pages.
    ///
    /// The pages are those of the layers that see everything, and of the layers with windows where there are any, one
    /// for each 32 tokens and `None` where the windows of the next token ([`Decoder::window`](crate::Decoder::window))
    /// do not reach. They must come from the decoder of this cache, and what they hold must be of these very tokens in
    /// the same order: that is for the lender to see to.
    pub fn lend(
        &mut self,
        full: impl IntoIterator<Item = LentPage>,
        windowed: impl IntoIterator<Item = Option<LentPage>>,
        tokens: usize,
    ) {
        if self.table.as_mut().is_some_and(|table| table.lend(full, windowed)) {
            self.tokens = tokens;
        }
    }

    /// Says how many tokens the prompt has in all, before it comes in several steps.
    ///
    /// Only models whose rotary frequencies depend on the length of the sequence
    /// ([`RopeScaling::Dynamic`](crate::RopeScaling::Dynamic), [`RopeScaling::Long`](crate::RopeScaling::Long)) ask for it: with it, a prompt in chunks gives what it
    /// gives in one step.
    pub fn announce(&mut self, prompt_tokens: usize) {
        self.announced = prompt_tokens;
    }

    /// Bytes of memory held, room not yet used included.
    pub fn bytes(&self) -> u64 {
        let rooms =
            self.layers.iter().chain(&self.indices).chain(&self.summaries).filter_map(|layer| layer.room.as_ref());
        let numbers = |room: &Room| room.keys.elem_count() + room.values.as_ref().map_or(0, Tensor::elem_count);
        let states: u64 = self.layers.iter().filter_map(|layer| layer.state.as_ref()).map(State::bytes).sum();
        let paged = self.table.as_ref().map_or(0, Table::bytes);
        paged + states + rooms.map(|room| 4 * numbers(room) as u64).sum::<u64>()
    }

    /// The length that rotary frequencies go by while `tokens` more are computed.
    pub(crate) fn rope_length(&self, tokens: usize) -> usize {
        self.announced.max(self.tokens + tokens)
    }

    /// Whether it was made for a decoder of this spec.
    pub(crate) fn fits(&self, spec: &DecoderSpec) -> bool {
        let fit = |caches: &[LayerCache], shape: fn(&MixerSpec) -> CacheShape| {
            caches.len() == spec.layers.len()
                && caches.iter().zip(&spec.layers).all(|(cache, layer)| cache.shape == shape(&layer.mixer))
        };
        fit(&self.layers, CacheShape::of)
            && fit(&self.indices, CacheShape::of_index)
            && fit(&self.summaries, CacheShape::of_rows)
    }

    /// Makes room for `tokens` more.
    pub(crate) fn reserve(&mut self, tokens: usize) -> Result<()> {
        let needed = self.tokens + tokens;
        for layer in self.layers.iter_mut().chain(&mut self.indices).chain(&mut self.summaries) {
            layer.next = None;
            layer.reserve(self.tokens, needed, self.context)?;
        }
        Ok(())
    }

    /// What the layer of number `own` uses, which takes the keys of layer `source`.
    pub(crate) fn of(&mut self, source: usize, own: usize) -> Caches<'_> {
        Caches { keys: &mut self.layers[source], index: &mut self.indices[own], rows: &mut self.summaries[own] }
    }

    /// Counts the tokens that a step has written to every layer.
    pub(crate) fn advance(&mut self, tokens: usize) {
        self.tokens += tokens;
        if let Some(table) = &mut self.table {
            table.pass(self.tokens);
        }
        for layer in &mut self.layers {
            layer.state = layer.next.take().or(layer.state.take());
        }
    }
}

impl State {
    fn bytes(&self) -> u64 {
        4 * (self.tail.len() + self.memory.len()) as u64
    }
}

impl CacheShape {
    /// Of a layer that leaves nothing.
    const NONE: Self = Self { kv_heads: 0, head_dim: 0, values: false, state: 0, every: 1 };

    fn of_index(spec: &MixerSpec) -> Self {
        match spec {
            MixerSpec::Latent(LatentSpec { choosing: Choosing::Own(index), .. }) => {
                Self { kv_heads: 1, head_dim: index.head_dim, ..Self::NONE }
            }
            MixerSpec::Compressed(CompressedSpec {
                compression: Some(CompressionSpec { every, index: Some(index), .. }),
                ..
            }) => Self { kv_heads: 1, head_dim: index.head_dim, every: *every, ..Self::NONE },
            _ => Self::NONE,
        }
    }

    fn of_rows(spec: &MixerSpec) -> Self {
        match spec {
            MixerSpec::Compressed(CompressedSpec { head_dim, compression: Some(compression), .. }) => {
                Self { kv_heads: 1, head_dim: *head_dim, every: compression.every, ..Self::NONE }
            }
            _ => Self::NONE,
        }
    }

    fn of(spec: &MixerSpec) -> Self {
        match spec {
            MixerSpec::Attention(spec) if !spec.keys_values.has_keys() => Self::NONE,
            MixerSpec::Attention(spec) => {
                Self { kv_heads: spec.kv_heads, head_dim: spec.head_dim, values: true, ..Self::NONE }
            }
            MixerSpec::Latent(LatentSpec { source: Some(_), .. }) => Self::NONE,
            MixerSpec::Latent(spec) => Self { kv_heads: 1, head_dim: spec.cached_width(), ..Self::NONE },
            MixerSpec::Delta(spec) => Self { state: spec.state_width(), ..Self::NONE },
            MixerSpec::Compressed(spec) => {
                Self { kv_heads: 1, head_dim: spec.head_dim, state: spec.state_width(), ..Self::NONE }
            }
        }
    }
}

impl LayerCache {
    fn new(shape: CacheShape) -> Self {
        Self { shape, room: None, state: None, next: None }
    }

    fn reserve(&mut self, held: usize, needed: usize, context: usize) -> Result<()> {
        let every = self.shape.every;
        let (held, needed, context) = (held / every, needed / every, context / every);
        if self.shape.kv_heads == 0 || needed == 0 {
            return Ok(());
        }
        let capacity = self.room.as_ref().map_or(Ok(0), |room| room.keys.dim(1))?;
        if needed <= capacity {
            return Ok(());
        }
        let CacheShape { kv_heads, head_dim, values, .. } = self.shape;
        let shape = (kv_heads, needed.max((2 * capacity).max(TOKENS_MIN).min(context)), head_dim);
        let grown = |old: Option<&Tensor>| {
            let new = Tensor::zeros(shape, DType::F32, &Device::Cpu)?;
            if let Some(old) = old.filter(|_| held > 0) {
                new.slice_set(&old.narrow(1, 0, held)?.contiguous()?, 1, 0)?;
            }
            Ok::<_, candle_core::Error>(new)
        };
        let old = self.room.as_ref();
        let keys = grown(old.map(|room| &room.keys))?;
        let values = values.then(|| grown(old.and_then(|room| room.values.as_ref()))).transpose()?;
        self.room = Some(Room { keys, values });
        Ok(())
    }

    /// Writes keys and values, `[kv_heads, tokens, head_dim]` each, behind the first `past` tokens, for which room was
    /// reserved.
    pub(crate) fn write(&mut self, keys: &Tensor, values: &Tensor, past: usize) -> Result<()> {
        self.write_keys(keys, past)?;
        self.value_room()?.slice_set(values, 1, past)
    }

    /// Writes what serves as key and value alike.
    pub(crate) fn write_keys(&mut self, keys: &Tensor, past: usize) -> Result<()> {
        self.room()?.keys.slice_set(keys, 1, past)
    }

    /// `[kv_heads, positions, head_dim]`, a view.
    pub(crate) fn keys(&self, positions: &Range<usize>) -> Result<Tensor> {
        self.room()?.keys.narrow(1, positions.start, positions.len())
    }

    /// `[kv_heads, positions, head_dim]`, a view.
    pub(crate) fn values(&self, positions: &Range<usize>) -> Result<Tensor> {
        self.value_room()?.narrow(1, positions.start, positions.len())
    }

    /// The state that the tokens before this step have left.
    pub(crate) fn state(&self) -> Option<&State> {
        self.state.as_ref()
    }

    /// Takes the state that this step leaves.
    pub(crate) fn keep(&mut self, state: State) {
        self.next = Some(state);
    }

    fn value_room(&self) -> Result<&Tensor> {
        self.room()?.values.as_ref().ok_or_else(|| candle_core::Error::Msg("the cache has no values".to_owned()))
    }

    fn room(&self) -> Result<&Room> {
        self.room.as_ref().ok_or_else(|| candle_core::Error::Msg("the cache has no room".to_owned()))
    }
}
