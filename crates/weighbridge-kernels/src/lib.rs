//! Everything below safe Rust.
//!
//! For now that is two things: [`MappedFile`], the bytes of a file without reading them first, and the number
//! of computing [`threads`]. This crate knows no tensors: slices in, slices out. It alone may write `unsafe`.

mod map;
pub mod threads;

pub use map::MappedFile;
