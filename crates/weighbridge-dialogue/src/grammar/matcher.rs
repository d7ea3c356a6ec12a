//! What may come next in one answer.

use toktrie::SimpleVob;

use super::{GrammarError, first_line};

/// Follows one answer through its grammar.
///
/// A clone goes its own way; clones share what the lexer has worked out so far, under a lock. It never panics: what the
/// grammar's engine fails at ends this matcher with an error.
#[derive(Clone)]
pub struct Matcher {
    inner: llguidance::Matcher,
}

impl Matcher {
    pub(super) fn new(parser: llguidance::TokenParser) -> Result<Self, GrammarError> {
        let inner = llguidance::Matcher::new(Ok(parser));
        match inner.get_error() {
            None => Ok(Self { inner }),
            Some(error) => Err(GrammarError::new(first_line(&error))),
        }
    }

    /// The tokens that may come next: the end tokens among them where the answer may end here.
    ///
    /// # Errors
    /// Where none may, for no token of the vocabulary goes on as the grammar does, and where it takes more work than
    /// its bound.
    pub fn mask(&mut self) -> Result<Mask, GrammarError> {
        self.inner.compute_mask_or_eos().map(Mask).map_err(|error| GrammarError::new(first_line(&error.to_string())))
    }

    /// Takes the token that came next, which is no end token.
    ///
    /// # Errors
    /// Where the mask did not allow it.
    pub fn take(&mut self, token: u32) -> Result<(), GrammarError> {
        self.inner.consume_token(token).map_err(|error| GrammarError::new(first_line(&error.to_string())))
    }

    /// Whether the answer is complete and nothing but its end may follow.
    pub fn is_complete(&self) -> bool {
        self.inner.is_stopped() && self.inner.stop_reason().is_ok()
    }

    /// Whether the answer may end here.
    pub fn may_end(&mut self) -> bool {
        self.is_complete() || self.inner.is_accepting().unwrap_or(false)
    }
}

impl std::fmt::Debug for Matcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Matcher").field("is_complete", &self.is_complete()).finish_non_exhaustive()
    }
}

/// A set of tokens.
pub struct Mask(SimpleVob);

impl Mask {
    /// Whether a token is of it.
    pub fn allows(&self, token: u32) -> bool {
        (token as usize) < self.0.len() && self.0.is_allowed(token)
    }

    /// How many tokens are of it.
    pub fn len(&self) -> usize {
        self.0.num_set()
    }

    /// Whether no token is of it.
    pub fn is_empty(&self) -> bool {
        self.0.is_zero()
    }

    /// Takes every token that is not of it out of a row of logits.
    pub fn apply(&self, row: &mut [f32]) {
        let (words, none) = (self.0.as_slice(), f32::NEG_INFINITY);
        for (at, logits) in row.chunks_mut(u32::BITS as usize).enumerate() {
            match words.get(at).copied().unwrap_or(0) {
                u32::MAX => {}
                0 => logits.fill(none),
                word => {
                    let out = logits.iter_mut().enumerate().filter(|(bit, _)| word >> bit & 1 == 0);
                    out.for_each(|(_, logit)| *logit = none);
                }
            }
        }
        if let Some(beyond) = row.get_mut(self.0.len()..) {
            beyond.fill(none);
        }
    }
}

impl std::fmt::Debug for Mask {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Mask({} of {})", self.len(), self.0.len())
    }
}
