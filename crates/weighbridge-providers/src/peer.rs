//! The provider as messages speak of it.

use std::fmt::Write;

use weighbridge_backend::{Failure, FailureKind};

/// Values shorter than this are no keys worth hiding, and hiding them would eat ordinary words.
const SHORTEST_SECRET: usize = 6;

/// A provider's name, and what must never be repeated in a message about it.
pub(crate) struct Peer {
    name: String,
    secrets: Vec<String>,
}

impl Peer {
    /// A provider of this name; `secrets` are its key and the values of its headers.
    pub(crate) fn new(name: String, secrets: impl IntoIterator<Item = String>) -> Self {
        Self { name, secrets: secrets.into_iter().filter(|secret| secret.len() >= SHORTEST_SECRET).collect() }
    }

    /// A failure whose message is the provider's name and `what` it did.
    pub(crate) fn failure(&self, kind: FailureKind, what: impl AsRef<str>) -> Failure {
        Failure::new(kind, format!("{} {}", self.name, what.as_ref()))
    }

    /// `text` from outside made fit for a message: secrets hidden, on one line, at most `limit` characters.
    pub(crate) fn clean(&self, text: &str, limit: usize) -> String {
        let mut text = text.to_owned();
        for secret in &self.secrets {
            text = text.replace(secret.as_str(), "***");
        }
        let mut clean: String =
            text.trim().chars().map(|c| if c.is_control() { ' ' } else { c }).take(limit + 1).collect();
        if clean.chars().count() > limit {
            clean.pop();
            clean.push('…');
        }
        clean
    }

    /// An error and its causes on one line, without the address that they are about.
    pub(crate) fn causes(&self, error: reqwest::Error) -> String {
        let error = error.without_url();
        let mut text = String::new();
        let mut cause = std::error::Error::source(&error);
        while let Some(error) = cause {
            let step = error.to_string();
            // Many layers repeat what the layer below says.
            if !text.contains(&step) {
                let _ = write!(text, "{}{step}", if text.is_empty() { "" } else { ": " });
            }
            cause = error.source();
        }
        if text.is_empty() {
            text = error.to_string();
        }
        self.clean(&text, 300)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_from_outside_is_one_short_line_without_secrets() {
        let peer = Peer::new("p".to_owned(), ["sk-secret".to_owned(), "us".to_owned()]);
        assert_eq!(peer.clean(" bad key sk-secret,\nuse another ", 100), "bad key ***, use another");
        assert_eq!(peer.clean("äöüß", 3), "äöü…");
        assert_eq!(peer.clean("äöü", 3), "äöü");
    }
}
