//! How a model's answers are read: its formats, and the special tokens that they are written with.

use std::sync::Arc;

use weighbridge_backend::{Request, ToolChoice};
use weighbridge_dialogue::{AnswerFormat, AnswerParser, ChatTemplate, ReasoningFormat, ToolSchemas};
use weighbridge_models::{Detokenizer, Tokenizer};

use crate::options::ModelOptions;

/// The formats of a model, as its chat template or the options say.
pub(crate) struct Formats {
    /// Where calls are looked for.
    calling: Reading,
    /// Where they are not.
    plain: Reading,
}

/// A way to read answers.
struct Reading {
    format: AnswerFormat,
    /// Special tokens that the parser has to see, and their texts, which the reader of the answer must not.
    shown: Arc<[u32]>,
    hidden: Vec<String>,
}

impl Formats {
    pub(crate) fn new(options: &ModelOptions, template: Option<&ChatTemplate>, tokenizer: &Tokenizer) -> Self {
        let tools = options.tool_format.or_else(|| template?.tool_format());
        let reasoning = options.reasoning_format.or_else(|| template?.reasoning_format());
        Self {
            calling: Reading::new(AnswerFormat { tools, reasoning }, tokenizer),
            plain: Reading::new(AnswerFormat { tools: None, reasoning }, tokenizer),
        }
    }

    /// How thoughts are set apart; `None` where there are none.
    pub(crate) fn reasoning(&self) -> Option<ReasoningFormat> {
        self.plain.format.reasoning
    }

    /// What reads an answer to a request, from its tokens on. `thinks` tells that the prompt has begun a thought, and
    /// ids of calls follow from `seed`.
    pub(crate) fn parser(
        &self,
        request: &Request,
        thinks: bool,
        seed: &str,
        tokenizer: &Tokenizer,
    ) -> (Detokenizer, AnswerParser) {
        let looks = !request.tools.is_empty() && request.tool_choice != ToolChoice::None;
        let reading = if looks { &self.calling } else { &self.plain };
        let schemas = if looks { ToolSchemas::new(&request.tools) } else { ToolSchemas::default() };
        let parser = AnswerParser::new(reading.format, schemas, seed).hiding(&reading.hidden);
        let parser = if thinks { parser.within_thought() } else { parser };
        (tokenizer.stream_showing(Arc::clone(&reading.shown)), parser)
    }
}

impl Reading {
    fn new(format: AnswerFormat, tokenizer: &Tokenizer) -> Self {
        let markers = format.markers();
        let is_part = |text: &str| !text.is_empty() && markers.iter().any(|marker| marker.contains(text));
        let special = tokenizer.special_tokens().into_iter().filter(|(_, text)| is_part(text));
        let (shown, hidden): (Vec<u32>, Vec<String>) = special.unzip();
        Self { format, shown: shown.into(), hidden }
    }
}
