//! Which format a chat template has thoughts in, by what stands in its source.

use super::ReasoningFormat;

/// The first of which all texts stand in the source counts.
const SIGNS: &[(ReasoningFormat, &[&str])] = &[
    (ReasoningFormat::Harmony, &["<|channel|>analysis", "<|message|>"]),
    (ReasoningFormat::Command, &["<|START_THINKING|>"]),
    (ReasoningFormat::Mistral, &["[THINK]"]),
    (ReasoningFormat::Seed, &["<seed:think>"]),
    (ReasoningFormat::Gemma, &["<|channel>thought"]),
    (ReasoningFormat::Apriel, &["[BEGIN FINAL RESPONSE]"]),
    (ReasoningFormat::Granite, &["<think></think>", "<response></response>"]),
    (ReasoningFormat::Think, &["<think>"]),
    // Some write only the end of earlier thoughts.
    (ReasoningFormat::Think, &["</think>"]),
    (ReasoningFormat::Reasoning, &["<reasoning>"]),
];

impl ReasoningFormat {
    /// Returns the format that a chat template has thoughts in, found in its source.
    pub(crate) fn of_template(source: &str) -> Option<Self> {
        let fits = |(_, signs): &&(Self, &[&str])| signs.iter().all(|sign| source.contains(sign));
        SIGNS.iter().find(fits).map(|(format, _)| *format)
    }
}
