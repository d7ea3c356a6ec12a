//! HTTP in and out: the wire format, callers, admission, dispatch with failover.
//!
//! A request's way: `inference` is its table of contents. A `surface` and `wire` turn the body into a
//! `weighbridge_backend::Request`, `prepare` asks policy for a plan, `dispatch` walks the plan's attempts,
//! `relay` turns events back into the wire format, and `account` becomes a receipt however it ends. This
//! crate knows `dyn Backend`, never an engine or a provider.

mod account;
mod admin;
mod admission;
mod background;
mod body;
mod callers;
mod chat;
mod completions;
mod connections;
mod deadline;
mod dispatch;
#[cfg(test)]
mod echo;
mod edges;
#[doc(hidden)]
pub mod fuzzing;
mod gateway;
mod heading;
mod inference;
mod listener;
mod messages;
mod metrics;
mod model_metrics;
mod models;
mod openapi;
mod pages;
mod prepare;
mod relay;
mod respond;
mod responses;
mod server;
mod shorten;
mod standing;
mod surface;
mod texts;
mod tls;
mod together;
#[cfg(unix)]
mod unix_socket;
mod wire;
mod world;

pub use background::BackgroundLimits;
pub use callers::{CallerKey, Callers, KeyHash};
pub use edges::{Compression, Cors};
pub use gateway::{Gateway, Limits, Options};
pub use listener::Listener;
pub use prepare::Explanation;
pub use server::Drained;
pub use tls::{Tls, TlsError, TlsFiles};
#[cfg(unix)]
pub use unix_socket::UnixSocket;
