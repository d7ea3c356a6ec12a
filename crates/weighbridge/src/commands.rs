//! The commands, a file each.

pub(crate) mod bench;
pub(crate) mod check;
pub(crate) mod explain;
pub(crate) mod keys;
pub(crate) mod logits;
pub(crate) mod models;
pub(crate) mod quantize;
pub(crate) mod run;
pub(crate) mod serve;
