//! The decoder: a spec with its weights, and the forward pass.

use candle_core::Tensor;
use thiserror::Error;

use crate::blocks::attention::Attention;
use crate::blocks::compressed::Compressed;
use crate::blocks::delta::Delta;
use crate::blocks::embedding::Embedding;
use crate::blocks::feed_forward::FeedForward;
use crate::blocks::hyper::{Hyper, HyperHead};
use crate::blocks::indexer::Choice;
use crate::blocks::latent::Latent;
use crate::blocks::linear::Linear;
use crate::blocks::mask;
use crate::blocks::mask::View;
use crate::blocks::norm::Norm;
use crate::blocks::per_layer::{RowGate, Rows as LayerRows};
use crate::blocks::rope::Rope;
use crate::blocks::rope::Turns;
use crate::blocks::scaled;
use crate::blocks::streams::{Ends, Laurel, Streams};
use crate::cache::{Caches, KvCache};
use crate::cpu::{Cost, CpuDecoder, LentPage, PageGroup};
use crate::logits::Logits;
use crate::spec::{DecoderSpec, RopeScaling, Span};

/// Why a step was not computed. The cache is as it was before.
#[derive(Debug, Error)]
pub enum ComputeError {
    /// Nothing to compute.
    #[error("a step needs at least one token")]
    NoTokens,
    /// A token that the model does not have.
    #[error("token {token} is outside the vocabulary of {vocabulary}")]
    TokenOutOfRange {
        /// The token.
        token: u32,
        /// Tokens that there are.
        vocabulary: usize,
    },
    /// The cache was made by another decoder.
    #[error("the cache belongs to another model")]
    ForeignCache,
    /// The pages that were lent do not hold the tokens of the step.
    #[error("{pages} pages were lent, which do not hold {tokens} tokens")]
    TooFewPages {
        /// Pages there are.
        pages: usize,
        /// Tokens that they have to hold.
        tokens: usize,
    },
    /// The tensor library failed, for want of memory in all likelihood.
    #[error("the forward pass failed")]
    Tensor(#[from] candle_core::Error),
}

/// Which tokens of a step get logits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rows {
    /// Every one.
    All,
    /// The last one.
    Last,
    /// None: a chunk of a prompt that others follow. Skips the head, the largest matrix of a small model.
    None,
}

/// A model ready to compute, shared by reference between threads; what belongs to a sequence is in its [`KvCache`].
#[derive(Debug)]
pub struct Decoder {
    pub(crate) spec: DecoderSpec,
    pub(crate) embedding: Embedding,
    /// A row for each token and layer.
    pub(crate) rows: Option<LayerRows>,
    /// From one residual stream to several and back.
    pub(crate) ends: Option<Ends>,
    /// The same where the streams are of the other kind.
    pub(crate) hyper: Option<HyperHead>,
    pub(crate) layers: Vec<Layer>,
    pub(crate) final_norm: Norm,
    pub(crate) head: Linear,
    /// The distinct rotary embeddings.
    pub(crate) ropes: Vec<Rope>,
    /// The distinct spans.
    pub(crate) spans: Vec<Span>,
    /// The same on the kernels, where they have all that it needs.
    pub(crate) on_cpu: Option<CpuDecoder>,
}

/// What a step computes of one sequence.
#[derive(Debug)]
pub struct Step<'a> {
    /// The tokens, which follow those in the cache.
    pub tokens: &'a [u32],
    /// What the sequence has been through; the tokens are appended to it.
    pub cache: &'a mut KvCache,
    /// Which tokens get logits.
    pub rows: Rows,
}

/// One layer with its weights. Norms that the family does not have are absent.
#[derive(Debug)]
pub(crate) struct Layer {
    pub(crate) attention_norm: Option<Norm>,
    pub(crate) mixer: Mixer,
    pub(crate) attention_after: Option<Norm>,
    pub(crate) feed_forward_norm: Option<Norm>,
    pub(crate) feed_forward: FeedForward,
    pub(crate) feed_forward_after: Option<Norm>,
    /// Whether both parts see the same input.
    pub(crate) is_parallel: bool,
    /// What both parts are multiplied by.
    pub(crate) residual_scale: f64,
    /// What goes around attention beside the residual stream.
    pub(crate) laurel: Option<Laurel>,
    /// How it changes the streams, where there are several.
    pub(crate) streams: Option<Streams>,
    /// How attention and feed-forward part read and write streams of the other kind.
    pub(crate) hyper: Option<[Hyper; 2]>,
    /// What it does with each token's row.
    pub(crate) rows: Option<RowGate>,
    /// What leaves the layer is multiplied by this.
    pub(crate) output_scale: f64,
    /// The layer whose cache it reads, mostly itself.
    pub(crate) cache: usize,
    /// Its place in the decoder's `ropes`, where it has one.
    pub(crate) rope: Option<usize>,
    /// Its place in the decoder's `spans`.
    pub(crate) span: usize,
}

/// What mixes the tokens of a layer.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "there is one for each layer, made once")]
pub(crate) enum Mixer {
    Attention(Attention),
    Latent(Latent),
    Delta(Delta),
    Compressed(Compressed),
}

impl Decoder {
    /// What it computes.
    pub fn spec(&self) -> &DecoderSpec {
        &self.spec
    }

    /// What one token takes of the machine, where it computes on the kernels.
    pub fn cost(&self) -> Option<Cost> {
        self.on_cpu.as_ref().map(CpuDecoder::cost)
    }

    /// An empty cache for one sequence.
    pub fn new_cache(&self) -> KvCache {
        match &self.on_cpu {
            Some(on_cpu) => KvCache::paged(&self.spec, on_cpu.table()),
            None => KvCache::new(&self.spec),
        }
    }

    /// An empty cache for one sequence that computes on pages lent to it. `None` where there are no pages: the decoder
    /// does not compute on the kernels.
    pub fn lent_cache(&self) -> Option<KvCache> {
        self.on_cpu.as_ref().map(|on_cpu| KvCache::paged(&self.spec, on_cpu.lent_table()))
    }

    /// A page to lend to its caches, of [`PAGE_TOKENS`](weighbridge_kernels::PAGE_TOKENS) tokens in all layers of a
    /// group. It is never given back, and lives as long as the decoder. `None` where there are no pages.
    pub fn take_page(&self, group: PageGroup) -> Option<LentPage> {
        self.on_cpu.as_ref().map(|on_cpu| on_cpu.take_page(group))
    }

    /// The most tokens, the latest included, that the layers with windows look at, where it computes on pages and has
    /// such layers: the token at `position` needs no page of theirs that ends before `position + 1 - window`, and no
    /// later one does.
    pub fn window(&self) -> Option<usize> {
        self.on_cpu.as_ref().and_then(CpuDecoder::window)
    }

    /// Whether keys depend on the length of the whole sequence beside the tokens up to their own: then a prefix serves
    /// no other sequence.
    pub fn depends_on_length(&self) -> bool {
        let mut ropes = self.spec.layers.iter().filter_map(|layer| layer.mixer.rope());
        ropes.any(|rope| matches!(rope.scaling, RopeScaling::Dynamic { .. } | RopeScaling::Long { .. }))
    }

    /// Whether several sequences in one step take less time than one after the other: where they go by the weights
    /// together, which they do on the kernels.
    pub fn computes_together(&self) -> bool {
        self.on_cpu.is_some()
    }

    /// Computes several sequences in one step, each as [`Decoder::forward`] would, and gives the logits of each.
    ///
    /// # Errors
    /// [`ComputeError`]; the caches then hold what they held before, but for those of sequences that come before the
    /// one that failed, where the decoder computes one after the other.
    pub fn step(&self, steps: &mut [Step<'_>]) -> Result<Vec<Logits>, ComputeError> {
        for step in &*steps {
            self.check(step.tokens, step.cache)?;
        }
        match &self.on_cpu {
            Some(on_cpu) => on_cpu.forward(&self.spec, &self.ropes, &self.spans, steps),
            None => steps.iter_mut().map(|step| self.by_blocks(step.tokens, step.cache, step.rows)).collect(),
        }
    }

    /// Computes `tokens`, which follow those in the cache, appends them to it, and gives the logits of `rows`.
    ///
    /// A token sees itself and what came before, so the logits of a token do not depend on how the tokens are cut
    /// into steps, but for rounding. The model's trained context is not enforced here.
    ///
    /// # Errors
    /// [`ComputeError`]; the cache then holds what it held before.
    pub fn forward(&self, tokens: &[u32], cache: &mut KvCache, rows: Rows) -> Result<Logits, ComputeError> {
        let logits = self.step(&mut [Step { tokens, cache, rows }])?;
        logits.into_iter().next().ok_or(ComputeError::NoTokens)
    }

    /// The same by candle's operators.
    fn by_blocks(&self, tokens: &[u32], cache: &mut KvCache, rows: Rows) -> Result<Logits, ComputeError> {
        cache.reserve(tokens.len())?;
        let mut step = self.shared(tokens, cache)?;

        let mut x = scaled(self.embedding.forward(tokens)?, f64::from(self.spec.embedding_scale))?;
        step.rows = self.rows.as_ref().map(|rows| rows.forward(tokens, &x)).transpose()?;
        x = self.enter(x)?;
        for (index, layer) in self.layers.iter().enumerate() {
            x = layer.forward(x, &mut step, cache, index)?;
        }
        x = self.leave(x)?;
        let logits = self.logits(x, rows)?;
        cache.advance(tokens.len());
        Ok(logits)
    }

    fn check(&self, tokens: &[u32], cache: &KvCache) -> Result<(), ComputeError> {
        let vocabulary = self.spec.vocabulary;
        if tokens.is_empty() {
            return Err(ComputeError::NoTokens);
        }
        if let Some(&token) = tokens.iter().find(|&&token| token as usize >= vocabulary) {
            return Err(ComputeError::TokenOutOfRange { token, vocabulary });
        }
        let fits = match &self.on_cpu {
            Some(on_cpu) => cache.table().is_some_and(|table| on_cpu.has(table)),
            None => cache.table().is_none() && cache.fits(&self.spec),
        };
        if fits { Ok(()) } else { Err(ComputeError::ForeignCache) }
    }

    fn shared<'a>(&'a self, tokens: &'a [u32], cache: &KvCache) -> candle_core::Result<Shared<'a>> {
        let (past, count) = (cache.len(), tokens.len());
        let length = cache.rope_length(count);
        let turns = self.ropes.iter().map(|rope| rope.turns(past..past + count, length)).collect::<Result<_, _>>()?;
        let views = self.spans.iter().map(|&span| mask::views(count, past, span)).collect::<Result<_, _>>()?;
        Ok(Shared { tokens, past, ropes: &self.ropes, turns, views, rows: None, choice: None })
    }

    /// From one residual stream to as many as there are.
    fn enter(&self, x: Tensor) -> candle_core::Result<Tensor> {
        match (&self.ends, &self.hyper) {
            (Some(ends), _) => ends.enter(&x),
            (_, Some(hyper)) => hyper.enter(&x),
            (None, None) => Ok(x),
        }
    }

    /// And back.
    fn leave(&self, x: Tensor) -> candle_core::Result<Tensor> {
        match (&self.ends, &self.hyper) {
            (Some(ends), _) => ends.leave(&x),
            (_, Some(hyper)) => hyper.leave(&x),
            (None, None) => Ok(x),
        }
    }

    fn logits(&self, x: Tensor, rows: Rows) -> candle_core::Result<Logits> {
        let wanted = match rows {
            Rows::All => x,
            Rows::Last => x.narrow(0, x.dim(0)? - 1, 1)?,
            Rows::None => return Ok(Logits::none(self.spec.vocabulary)),
        };
        let logits = self.head.forward(&self.final_norm.forward(&wanted)?)?;
        let mut logits = scaled(logits, f64::from(self.spec.logit_scale))?;
        if let Some(cap) = self.spec.logit_cap.map(f64::from) {
            logits = ((logits / cap)?.tanh()? * cap)?;
        }
        Ok(Logits::new(logits.flatten_all()?.to_vec1()?, self.spec.vocabulary))
    }
}

/// What all layers of a step share, computed once.
struct Shared<'a> {
    tokens: &'a [u32],
    past: usize,
    ropes: &'a [Rope],
    /// For each of the decoder's ropes.
    turns: Vec<Turns>,
    /// For each of the decoder's spans.
    views: Vec<Vec<View>>,
    /// `[tokens, layers, width]`, where there are any.
    rows: Option<Tensor>,
    /// What the last indexer chose.
    choice: Option<Choice>,
}

impl Layer {
    /// `[tokens, hidden]` to the same, or `[streams, tokens, hidden]` where there are several streams.
    fn forward(
        &self,
        x: Tensor,
        step: &mut Shared<'_>,
        cache: &mut KvCache,
        index: usize,
    ) -> candle_core::Result<Tensor> {
        let caches = cache.of(self.cache, index);
        if let Some([around_attention, around_feed_forward]) = &self.hyper {
            let (read, mixing) = around_attention.collapse(&x)?;
            let mixed = self.mix(&optional(self.attention_norm.as_ref(), &read)?, step, caches)?;
            let x = mixing.expand(&mixed, &x)?;
            let (read, mixing) = around_feed_forward.collapse(&x)?;
            let normed = optional(self.feed_forward_norm.as_ref(), &read)?;
            return mixing.expand(&self.feed_forward.forward(&normed, &read, step.tokens)?, &x);
        }
        let Some(streams) = &self.streams else {
            let x = self.parts(x, step, caches)?;
            let given = self.of_rows(&x, step, index)?;
            return scaled(given.map_or_else(|| Ok(x.clone()), |given| &x + given)?, self.output_scale);
        };
        let predicted = streams.predict(&x)?;
        let made = self.parts(streams.active(&predicted)?, step, caches)?;
        let corrected = streams.correct(&predicted, &made)?;
        let given = self.of_rows(&streams.shown(&corrected)?, step, index)?;
        given.map_or_else(|| Ok(corrected.clone()), |given| streams.add_to_others(&corrected, &given))
    }

    /// What the rows of this layer add.
    fn of_rows(&self, x: &Tensor, step: &Shared<'_>, index: usize) -> candle_core::Result<Option<Tensor>> {
        let (Some(gate), Some(rows)) = (&self.rows, &step.rows) else { return Ok(None) };
        gate.forward(x, &rows.narrow(1, index, 1)?.squeeze(1)?).map(Some)
    }

    /// What the mixer gives: `[tokens, hidden]` to the same.
    fn mix(&self, x: &Tensor, step: &mut Shared<'_>, caches: Caches<'_>) -> candle_core::Result<Tensor> {
        let turns = self.rope.map(|rope| &step.turns[rope]);
        let views = &step.views[self.span];
        match &self.mixer {
            Mixer::Attention(attention) => attention.forward(x, turns, views, caches.keys, step.past),
            Mixer::Latent(latent) => latent.forward(x, turns, views, caches, step.past, &mut step.choice),
            Mixer::Delta(delta) => delta.forward(x, caches.keys),
            Mixer::Compressed(compressed) => {
                let (Some(rope), Some(turns)) = (self.rope.map(|rope| &step.ropes[rope]), turns) else {
                    candle_core::bail!("compressed attention needs a rope")
                };
                compressed.forward(x, rope, turns, views, caches, step.past)
            }
        }
    }

    /// Both parts: `[tokens, hidden]` to the same.
    fn parts(&self, x: Tensor, step: &mut Shared<'_>, caches: Caches<'_>) -> candle_core::Result<Tensor> {
        let normed = optional(self.attention_norm.as_ref(), &x)?;
        let mixed = self.mix(&normed, step, caches)?;
        let mixed = scaled(optional(self.attention_after.as_ref(), &mixed)?, self.residual_scale)?;
        if self.is_parallel {
            return (&x + mixed)? + scaled(self.feed_forward.forward(&normed, &x, step.tokens)?, self.residual_scale)?;
        }
        let mut x = (x + mixed)?;
        if let Some(laurel) = &self.laurel {
            x = ((x + laurel.forward(&normed)?)? * 0.5_f64.sqrt())?;
        }
        let given = self.feed_forward.forward(&optional(self.feed_forward_norm.as_ref(), &x)?, &x, step.tokens)?;
        x + scaled(optional(self.feed_forward_after.as_ref(), &given)?, self.residual_scale)?
    }
}

fn optional(norm: Option<&Norm>, x: &Tensor) -> candle_core::Result<Tensor> {
    norm.map_or_else(|| Ok(x.clone()), |norm| norm.forward(x))
}
