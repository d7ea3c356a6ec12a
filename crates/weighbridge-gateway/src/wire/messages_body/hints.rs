//! What a body holds that helps and that no answer depends on: named once each, for the header that tells which of
//! them were not used.

use weighbridge_backend::{Asked, Capability, Dialect, Need};

/// The most that are named. Names come from outside, and a header has to hold them.
const MOST: usize = 24;
const LONGEST_NAME: usize = 64;

/// Hints, in the order in which they were found.
#[derive(Default)]
pub(super) struct Hints(Vec<(String, Need)>);

impl Hints {
    /// Notes one that only a backend of Anthropic's own dialect could use.
    pub(super) fn add(&mut self, name: &str) {
        self.note(name, Need::Dialect(Dialect::AnthropicMessages));
    }

    /// Notes one on how much to think, which others can use as well.
    pub(super) fn add_effort(&mut self, name: &str) {
        self.note(name, Need::Capability(Capability::ReasoningEffort));
    }

    fn note(&mut self, name: &str, need: Need) {
        let name: String = name.chars().take(LONGEST_NAME).collect();
        if self.0.iter().any(|(noted, _)| *noted == name) || self.0.len() > MOST {
            return;
        }
        let name = if self.0.len() == MOST { "and others".to_owned() } else { name };
        self.0.push((name, need));
    }

    pub(super) fn into_asked(self) -> impl Iterator<Item = Asked> {
        self.0.into_iter().map(|(parameter, need)| Asked { parameter, need, hint: true })
    }
}
