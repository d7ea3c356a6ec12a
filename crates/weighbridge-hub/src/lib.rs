//! Models from a hub: fetched whole and held to their digests, or not there at all.
//!
//! [`pull`] asks a Hugging Face [`Hub`] what a repository holds at one commit, chooses the files that make a model,
//! fetches them in pieces beside their place, and renames them into it when all of them are whole and right. A
//! [`Store`] is the folder of what was pulled; its record of a repository is the promise that its files are whole,
//! and without a record there is no model. [`Known`] models have short names in manifests.
//!
//! This crate knows no config and no tensors. The hub is not trusted: names, counts and sizes that it states are
//! bounded and checked, and the token goes to the hub's own address and nowhere else.

mod choose;
mod client;
mod digest;
mod download;
mod error;
mod known;
mod listing;
mod part;
mod path;
mod pull;
mod record;
mod source;
mod store;

pub use client::{Hub, HubOptions, Token};
pub use digest::{Digest, NotADigest};
pub use error::HubError;
pub use known::{Known, KnownModel, LicenceClass, ManifestError};
pub use pull::{Progress, Pulled, Wish, pull};
pub use record::{FileRecord, Record};
pub use source::{NotASource, Repo, Source};
pub use store::{Found, Store, Verdict};
