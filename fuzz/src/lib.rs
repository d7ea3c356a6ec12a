//! What each target does with its bytes. The tests of the crates include the same files, to replay the corpus.

pub mod answers;
pub mod bodies;
pub mod readers;
pub mod schemas;
pub mod templates;
