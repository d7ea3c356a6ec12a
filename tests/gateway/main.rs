//! The program on real sockets: each test starts it, speaks to it as a user would, and holds it to a claim.

mod answers;
mod bad_input;
mod callers;
mod cli;
mod completions;
mod compression;
mod config;
mod cors;
mod deadlines;
mod delays;
mod early;
mod failover;
mod http2;
mod idempotency;
mod life;
mod loads;
mod messages;
mod pages;
mod pool;
mod privacy;
mod pull;
mod receipts;
mod request_ids;
mod responses;
mod responses_background;
mod responses_kept;
mod responses_socket;
mod streams;
mod texts;
mod tls;
#[cfg(unix)]
mod unix_socket;
