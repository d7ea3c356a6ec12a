//! What a local model offers: known without its weights.

use std::collections::BTreeSet;

use weighbridge_backend::{Capability, Offer};

use crate::options::ModelOptions;
use crate::prompt::Prompter;

/// What every model can honour, whatever its template.
const ALWAYS: [Capability; 17] = [
    Capability::Temperature,
    Capability::TopP,
    Capability::TopK,
    Capability::MinP,
    Capability::Seed,
    Capability::Stop,
    Capability::MaxTokens,
    Capability::N,
    Capability::FrequencyPenalty,
    Capability::PresencePenalty,
    Capability::RepetitionPenalty,
    Capability::LogitBias,
    Capability::MinTokens,
    Capability::IgnoreEos,
    Capability::Logprobs,
    Capability::PromptLogprobs,
    Capability::Completion,
];

/// What a model with these options and this way to write prompts offers, in a context of so many tokens.
pub(crate) fn offer(options: &ModelOptions, context: u32, prompter: &Prompter) -> Offer {
    let mut capabilities = BTreeSet::from(ALWAYS);
    // Without a token that ends it no answer can be said to be whole.
    let may_be_held = !options.checkpoint.stop_tokens().is_empty();
    if may_be_held {
        capabilities.extend([Capability::ResponseFormat, Capability::StructuredOutputs]);
    }
    if let Some(template) = &prompter.template {
        capabilities.extend([Capability::ContinueFinalMessage, Capability::TemplateArguments]);
        if template.takes_effort() {
            capabilities.insert(Capability::ReasoningEffort);
        }
        if prompter.format.tools.is_some() {
            capabilities.extend([Capability::Tools, Capability::CustomTools]);
            if may_be_held {
                capabilities.extend([Capability::ForcedToolChoice, Capability::ParallelToolCalls]);
            }
        }
    }
    if prompter.fill_in.is_some() {
        capabilities.insert(Capability::Suffix);
    }
    Offer {
        id: options.id.clone(),
        local: true,
        clearance: options.clearance,
        region: options.region.clone(),
        price: options.price,
        quality: options.quality,
        context: Some(context),
        capabilities,
        dialect: None,
        fingerprint: Some(fingerprint(options)),
        licence: options.checkpoint.summary().licence,
    }
}

/// What answers depend on beside the request: the weights, by what their headers say of them and the bytes they take,
/// how they are computed, and our own version. Another of these is another word.
fn fingerprint(options: &ModelOptions) -> String {
    let ModelOptions { checkpoint, compute, .. } = options;
    let facts = format!(
        "{:?} {:?} {compute:?} {} {}",
        checkpoint.summary(),
        checkpoint.adapter(),
        checkpoint.quantization().unwrap_or_default(),
        env!("CARGO_PKG_VERSION")
    );
    format!("fp_{:012x}", hash(&facts) >> 16)
}

/// FNV-1a, 64 bits: the same on every machine and in every build.
fn hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use std::error::Error;
    use std::path::Path;

    use weighbridge_backend::BackendId;
    use weighbridge_models::{Checkpoint, Compute, Precision};

    use super::*;

    #[test]
    fn a_fingerprint_stays_and_another_computation_has_another() -> Result<(), Box<dyn Error>> {
        let checkpoint = Checkpoint::open(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/demo"))?;
        let options = ModelOptions::new(BackendId::new("demo"), checkpoint);
        let exact = ModelOptions { compute: Compute::cpu(Precision::Exact), ..options.clone() };
        assert_eq!(fingerprint(&options), fingerprint(&options));
        assert_ne!(fingerprint(&options), fingerprint(&exact));
        assert!(fingerprint(&options).strip_prefix("fp_").is_some_and(|digits| digits.len() == 12));
        Ok(())
    }
}
