//! What an operator decides about a provider.

use std::time::Duration;

use crate::Secret;

/// One account at a provider.
#[derive(Clone, Debug)]
pub struct ProviderOptions {
    /// Its name in messages: `openai`.
    pub name: String,
    /// Where its API begins, with or without a slash at the end: `https://api.openai.com/v1`.
    pub base_url: String,
    /// The bearer key; `None` for a server that asks for none.
    pub key: Option<Secret>,
    /// Headers to send beside it, such as `openai-organization`. Their values count as secret.
    pub headers: Vec<(String, String)>,
    /// How long to wait for what.
    pub timeouts: Timeouts,
    /// The name that this server knows the bound on tokens by. `None` leaves the caller's spelling.
    pub max_tokens_field: Option<MaxTokensField>,
    /// Whether to ask for the usage of a stream (`stream_options`); false for servers that refuse that.
    pub include_usage: bool,
    /// Whether to ask for a stream, also for callers who do not, so that a stall is seen before the whole
    /// time is up. False for servers that cannot stream: then only the bounds on connecting and in all hold.
    pub stream: bool,
    /// The most bytes of one event of a stream.
    pub max_event_bytes: usize,
    /// The most bytes of one answer.
    pub max_answer_bytes: usize,
}

impl ProviderOptions {
    /// An account with the usual settings and no key: streams with usage, events up to 1 MiB, answers up
    /// to 64 MiB.
    pub fn new(name: impl Into<String>, base_url: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            base_url: base_url.into(),
            key: None,
            headers: Vec::new(),
            timeouts: Timeouts::default(),
            max_tokens_field: None,
            include_usage: true,
            stream: true,
            max_event_bytes: 1 << 20,
            max_answer_bytes: 64 << 20,
        }
    }
}

/// How long an attempt may wait, for each of its stages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// For the connection: name, TCP and TLS. 5 s by default.
    pub connect: Duration,
    /// From sending the request to the first piece of the answer; a chunk that merely announces the
    /// answer's role is none. 60 s by default.
    pub first_token: Duration,
    /// For each further piece, not counting the time in which nobody asks for one. 30 s by default.
    pub between_tokens: Duration,
    /// For the attempt as a whole. 600 s by default.
    pub total: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            first_token: Duration::from_secs(60),
            between_tokens: Duration::from_secs(30),
            total: Duration::from_secs(600),
        }
    }
}

/// The two names of the bound on an answer's tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MaxTokensField {
    /// `max_tokens`: the older one, which most compatible servers know.
    MaxTokens,
    /// `max_completion_tokens`: the newer one, which OpenAI's reasoning models insist on.
    MaxCompletionTokens,
}

impl MaxTokensField {
    /// The field's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::MaxTokens => "max_tokens",
            Self::MaxCompletionTokens => "max_completion_tokens",
        }
    }
}
