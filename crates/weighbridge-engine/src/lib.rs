//! The local backend: one checkpoint, computed on a thread of its own.
//!
//! A request becomes a prompt (`prompt`) on the caller's side and, for each answer that it asks for, a
//! `sequence` on the engine's. The `engine` loop admits them, lets the `scheduler` choose what each step
//! computes and on which `pages`, draws tokens with the `sampler`, and publishes what becomes of them as text
//! (`text`, `stop`, `logprobs`) and events (`reply`). Where an answer is held to a `form`, the `masks` of what may come
//! next are computed beside the step. Messages are read between steps, so that a slow client cannot delay one.
//!
//! The scheduler knows ids and no tensors, the sampler one row of logits, the loop neither HTTP nor policy.
//! Where the kernels compute, the sequences of a step go by the weights together, on pages that they share where
//! they begin alike; elsewhere each is computed by itself with a cache of its own.
//!
//! Several models share the memory of a machine in a `pool`, which loads them when they are asked and unloads them when
//! their room is needed.

mod board;
mod engine;
mod form;
mod formats;
mod life;
mod local;
mod logprobs;
mod masks;
mod memory;
mod offer;
mod options;
mod pages;
mod places;
mod pool;
mod prefixes;
mod prompt;
mod reply;
mod sampler;
mod scheduler;
mod sequence;
mod stop;
mod text;
mod turnover;
mod unloaded;
mod warm_up;

pub use local::LocalModel;
pub use options::{LoadError, ModelOptions, PrefixReuse, UnknownReuse};
pub use pool::{Footprint, ModelPool, PoolError, PoolModel, PoolOptions, PoolPlan, PooledModel};
pub use unloaded::UnloadedModel;
pub use weighbridge_dialogue::{ReasoningFormat, ToolFormat};
