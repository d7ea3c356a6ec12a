//! Checkpoints: config, weights, tokenizer, and the forward pass.
//!
//! A [`Checkpoint`] is opened by its headers: a Hugging Face folder or a GGUF file becomes a [`DecoderSpec`], plain
//! data from a family's short file, and a table of stored tensors. [`Checkpoint::load`] turns those into a
//! [`Decoder`], whose blocks compute whatever the spec says. What belongs to a sequence is in its [`KvCache`].
//! This crate knows no scheduler and no async.

mod adapter;
mod blocks;
mod bytes;
mod cache;
mod checkpoint;
mod compute;
mod cpu;
mod decoder;
mod element;
mod evaluate;
mod export;
mod families;
mod formats;
mod gguf;
mod load;
mod logits;
mod parts;
mod quantise;
mod scale;
mod spec;
mod tokenizer;
mod treatment;
mod weights;

pub use adapter::{AdapterError, AdapterMode, AdapterSummary, UnknownMode};
pub use cache::KvCache;
pub use checkpoint::{
    ChatTemplateSource, Checkpoint, CheckpointError, CheckpointProblem, GenerationDefaults, MemoryNeeds, Summary,
};
pub use compute::{Compute, Precision, UnknownCompute, UnknownPrecision};
pub use cpu::{Cost, LentPage, PageGroup, limits, use_threads};
pub use decoder::{ComputeError, Decoder, Rows, Step};
pub use evaluate::{Evaluation, evaluate};
pub use families::SpecError;
pub use gguf::GgufError;
pub use load::{LoadProgress, on_one_thread};
pub use logits::Logits;
pub use quantise::{QuantizeError, Quantized, QuantizedType, UnknownType, quantize};
pub use spec::{
    Activation, AttentionSpec, Choosing, CompressedSpec, CompressionSpec, DecoderSpec, DeltaKind, DeltaSpec,
    ExpertsSpec, FeedForwardSpec, GroupsSpec, HeadNorm, HyperSpec, IndexQueries, IndexSpec, KeysValues, LatentSpec,
    LayerSpec, MixerSpec, MlpSpec, Norm, PerLayerSpec, Placement, RopeScaling, RopeSpec, RopeStyle, RouterSpec,
    RowIndexSpec, Scoring, Span, StreamsSpec, TemperatureSpec,
};
pub use tokenizer::{Detokenizer, Tokenizer, TokenizerError};
pub use weighbridge_kernels::{KvType, Limits, PAGE_TOKENS, Tier, TierError, UnknownKvType};
pub use weights::WeightError;
