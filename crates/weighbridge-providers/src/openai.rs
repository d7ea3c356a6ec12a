//! The dialect of OpenAI chat completions, as OpenAI and the many servers that follow it speak it.

mod answer;
mod body;
mod chunk;
mod errors;
mod typed;

use std::collections::BTreeSet;

use weighbridge_backend::Capability;

pub(crate) use answer::Decoder;
pub(crate) use body::body;
pub(crate) use errors::failure_of_response;

/// What `api.openai.com` documents for chat completions and the events of an answer can carry: everything but what only
/// servers of open models know, and answers in audio, for which there is no event.
pub fn capabilities() -> BTreeSet<Capability> {
    let missing = [
        Capability::TopK,
        Capability::MinP,
        Capability::Modalities,
        Capability::StructuredOutputs,
        Capability::RepetitionPenalty,
        Capability::MinTokens,
        Capability::IgnoreEos,
        Capability::ContinueFinalMessage,
        Capability::TemplateArguments,
        Capability::Completion,
        Capability::Suffix,
        Capability::PromptLogprobs,
    ];
    Capability::ALL.iter().copied().filter(|capability| !missing.contains(capability)).collect()
}
