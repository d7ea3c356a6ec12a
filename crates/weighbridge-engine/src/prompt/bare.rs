//! Prompts that no chat template writes.

use weighbridge_backend::{BarePrompt, Completion, Failure};
use weighbridge_models::Tokenizer;

use super::{Prompter, invalid, not_encoded};

/// The tokens by which a model fills in between a prefix and a suffix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FillIn {
    prefix: u32,
    suffix: u32,
    /// `None` where the prefix comes last and the answer follows it at once.
    middle: Option<u32>,
}

/// The names that model families give them: before the prefix, before the suffix, before the answer.
const FILL_IN: [[&str; 3]; 4] = [
    // Qwen2.5-Coder, CodeGemma.
    ["<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"],
    // StarCoder, Granite.
    ["<fim_prefix>", "<fim_suffix>", "<fim_middle>"],
    // DeepSeek-Coder.
    ["<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>"],
    // Code Llama.
    ["▁<PRE>", "▁<SUF>", "▁<MID>"],
];

impl FillIn {
    /// Those of a vocabulary, where it has any.
    pub(crate) fn of(tokenizer: &Tokenizer) -> Option<Self> {
        let named = FILL_IN.iter().find_map(|names| {
            let [prefix, suffix, middle] = names.map(|name| tokenizer.token_id(name));
            Some(Self { prefix: prefix?, suffix: suffix?, middle: Some(middle?) })
        });
        // Codestral, which reads the suffix first.
        let codestral = || {
            let (prefix, suffix) = (tokenizer.token_id("[PREFIX]")?, tokenizer.token_id("[SUFFIX]")?);
            Some(Self { prefix, suffix, middle: None })
        };
        named.or_else(codestral)
    }

    /// Whether a model of so many tokens has them all.
    pub(crate) fn are_below(&self, vocabulary: usize) -> bool {
        let mut words = [self.prefix, self.suffix].into_iter().chain(self.middle);
        words.all(|word| (word as usize) < vocabulary)
    }
}

impl Prompter {
    /// The tokens of a bare prompt, at least one.
    ///
    /// # Errors
    /// Where it is empty, longer than any prompt may be, names tokens that the model does not have, or has a suffix and
    /// the model fills in nothing.
    pub(super) fn bare(&self, completion: &Completion) -> Result<Vec<u32>, Failure> {
        let tokens = match (&completion.prompt, &completion.suffix) {
            (BarePrompt::Text(text), None) => {
                self.check_length(text.len(), "prompt")?;
                self.tokenizer.encode_with_bos(text).map_err(not_encoded)?
            }
            (BarePrompt::Text(text), Some(suffix)) => {
                self.check_length(text.len().saturating_add(suffix.len()), "prompt")?;
                let encode = |text: &str| self.tokenizer.encode_text(text).map_err(not_encoded);
                self.fill_in(encode(text)?, encode(suffix)?)?
            }
            (BarePrompt::Tokens(tokens), suffix) => {
                self.check_tokens(tokens)?;
                match suffix {
                    None => tokens.clone(),
                    Some(suffix) => {
                        self.check_length(suffix.len(), "suffix")?;
                        self.fill_in(tokens.clone(), self.tokenizer.encode_text(suffix).map_err(not_encoded)?)?
                    }
                }
            }
        };
        if tokens.is_empty() {
            return Err(invalid("the prompt is empty, and this model begins with no token of its own", "prompt"));
        }
        Ok(tokens)
    }

    fn fill_in(&self, prefix: Vec<u32>, suffix: Vec<u32>) -> Result<Vec<u32>, Failure> {
        let Some(words) = self.fill_in else {
            return Err(invalid("the model has no tokens to fill in between a prompt and a suffix", "suffix"));
        };
        let (mut tokens, _) = self.tokenizer.around().map_err(not_encoded)?;
        let (prefix, suffix) = ([vec![words.prefix], prefix].concat(), [vec![words.suffix], suffix].concat());
        match words.middle {
            Some(middle) => tokens.extend(prefix.into_iter().chain(suffix).chain([middle])),
            None => tokens.extend(suffix.into_iter().chain(prefix)),
        }
        Ok(tokens)
    }

    /// The text that an answer to a bare prompt begins with where it is to begin with the prompt.
    pub(crate) fn echo(&self, completion: &Completion) -> String {
        match &completion.prompt {
            BarePrompt::Text(text) => text.clone(),
            BarePrompt::Tokens(tokens) => self.text_of(tokens),
        }
    }

    /// Refuses tokens that the model does not have.
    pub(super) fn check_tokens(&self, tokens: &[u32]) -> Result<(), Failure> {
        match tokens.iter().find(|&&token| token as usize >= self.vocabulary) {
            None => Ok(()),
            Some(token) => {
                let most = self.vocabulary.saturating_sub(1);
                Err(invalid(format!("there is no token {token}: this model has tokens 0 to {most}"), "prompt"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error;
    use std::path::Path;

    use serde_json::{Value, json};

    use weighbridge_dialogue::AnswerFormat;

    use super::*;

    /// The demo model's tokenizer with three tokens more, for a model of so many tokens.
    fn prompter(vocabulary: usize) -> Result<Prompter, Box<dyn Error>> {
        let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/demo/tokenizer.json");
        let mut tokenizer: Value = serde_json::from_slice(&std::fs::read(demo)?)?;
        let added = tokenizer["added_tokens"].as_array_mut().ok_or("it has added tokens")?;
        for (id, name) in (1801..).zip(["<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"]) {
            added.push(json!({"id": id, "content": name, "single_word": false, "lstrip": false, "rstrip": false,
                              "normalized": false, "special": true}));
        }
        let file = tempfile::NamedTempFile::new()?;
        std::fs::write(file.path(), tokenizer.to_string())?;
        Ok(Prompter::new((None, AnswerFormat::default()), Tokenizer::open(file.path())?, (1024, vocabulary), false))
    }

    #[test]
    fn a_model_that_fills_in_sees_what_comes_before_and_what_comes_after() -> Result<(), Box<dyn Error>> {
        let prompter = prompter(1804)?;
        let prompt = BarePrompt::Text("fn add(<|fim_middle|>".into());
        let mut completion = Completion { prompt, suffix: Some(") {}".into()), echo: false };
        let tokens = prompter.bare(&completion)?;
        let expected = "<|fim_prefix|>fn add(<|fim_middle|><|fim_suffix|>) {}<|fim_middle|>";
        assert_eq!(prompter.text_of(&tokens), expected);
        let markers: Vec<_> = tokens.iter().copied().filter(|&token| token > 1800).collect();
        assert_eq!(markers, [1801, 1802, 1803], "what the text writes is text");
        completion.suffix = None;
        assert_eq!(prompter.text_of(&prompter.bare(&completion)?), "fn add(<|fim_middle|>");
        Ok(())
    }

    #[test]
    fn tokens_that_the_model_does_not_have_fill_in_nothing() -> Result<(), Box<dyn Error>> {
        assert_eq!(prompter(1801)?.fill_in, None);
        Ok(())
    }
}
