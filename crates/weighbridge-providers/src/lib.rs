//! Hosted backends, one file for each wire dialect.
//!
//! A [`Client`] is one account at a provider: its address, key and time bounds. A [`HostedModel`] is one
//! model there, and a [`Backend`](weighbridge_backend::Backend). Every attempt is built anew from the
//! request; nothing that the caller sent beside the body is forwarded. What comes back is taken apart
//! leniently, since every server bends the dialect a little, and with bounds on every size.
//!
//! A failure's message holds text of the provider only where the request itself is at fault
//! (`InvalidRequest`, `ContextLengthExceeded`, `ContentRefused`) or the model is unknown: there the caller
//! needs it. Such text may echo a piece of the request, so it belongs in the answer to that caller; logs
//! name the kind and the status.

mod attempt;
mod client;
mod estimate;
mod hosted;
mod openai;
mod options;
mod peer;
mod retry_after;
mod secret;
mod sse;

pub use client::{Client, ClientError};
pub use hosted::HostedModel;
pub use openai::capabilities;
pub use options::{MaxTokensField, ProviderOptions, Timeouts};
pub use secret::Secret;
