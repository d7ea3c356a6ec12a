//! The dialect of OpenAI chat completions, as OpenAI and the many servers that follow it speak it.

mod answer;
mod body;
mod chunk;
mod errors;

use std::collections::BTreeSet;

use weighbridge_backend::Capability;

pub(crate) use answer::Decoder;
pub(crate) use body::body;
pub(crate) use errors::failure_of_response;

/// What `api.openai.com` documents for chat completions and the events of an answer can carry: everything
/// but `top_k` and `min_p`, which it does not know, and answers in audio, for which there is no event.
pub fn capabilities() -> BTreeSet<Capability> {
    let missing = [Capability::TopK, Capability::MinP, Capability::Modalities];
    Capability::ALL.iter().copied().filter(|capability| !missing.contains(capability)).collect()
}
