//! Everything below safe Rust: slices in, slices out.
//!
//! - [`MappedFile`]: the bytes of a file without reading them first, and the number of computing [`threads`].
//! - [`Cpu`]: a [`Pool`] of threads and the [`Tier`] of instructions they use, found once at the start.
//! - [`PackedMatrix`]: weights at the bits they have in their file, and [`Rows`] of activations to multiply them with.
//! - [`Pages`] of keys and values, and attention over them.
//! - [`Limits`]: what this machine can do at most.
//! - [`vector`]: what is done with rows between products.
//!
//! This crate knows no tensors. It alone may write `unsafe`. Every kernel has a scalar twin, and all tiers agree to the
//! last bit, but in products of bfloat16 with itself.

mod attention;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod cpu;
mod formats;
mod limits;
mod lists;
mod map;
mod packed;
mod pool;
mod product;
mod rows;
pub mod threads;
mod tier;
pub mod vector;

pub use attention::{AttentionOptions, KvType, Look, PAGE_TOKENS, PageShape, Pages, UnknownKvType};
pub use cpu::Cpu;
pub use formats::{FLOATS, UNEVEN};
pub use limits::Limits;
pub use lists::emptied;
pub use map::MappedFile;
pub use packed::{Layout, PackError, PackedMatrix};
pub use pool::Pool;
pub use product::{Part, Product, Then};
pub use rows::{Needs, Rounding, Rows};
pub use tier::{Tier, TierError};
