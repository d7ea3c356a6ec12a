//! The local backend: one checkpoint, computed on a thread of its own.
//!
//! A request becomes a prompt (`prompt`) on the caller's side and, for each answer that it asks for, a
//! `sequence` on the engine's. The `engine` loop admits them, lets the `scheduler` choose what each step
//! computes, draws tokens with the `sampler`, and publishes what becomes of them as text (`text`,
//! `stop`) and events (`reply`). Messages are read between steps, so that a slow client cannot delay one.
//!
//! The scheduler knows ids and no tensors, the sampler one row of logits, the loop neither HTTP nor policy.
//! Today each sequence is computed by itself, one after the other within a step.

mod engine;
mod life;
mod local;
mod options;
mod places;
mod prompt;
mod reply;
mod sampler;
mod scheduler;
mod sequence;
mod stop;
mod text;
mod unloaded;

pub use local::LocalModel;
pub use options::{LoadError, ModelOptions};
pub use unloaded::UnloadedModel;
