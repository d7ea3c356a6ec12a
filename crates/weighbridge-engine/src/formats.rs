//! How a model's answers are read: its formats, and the special tokens that they are written with.

use std::sync::Arc;

use weighbridge_backend::{Request, ToolChoice};
use weighbridge_dialogue::{AnswerFormat, AnswerParser, ChatTemplate, ReasoningFormat, ToolFormat, ToolSchemas};
use weighbridge_models::{Detokenizer, Tokenizer};

use crate::options::ModelOptions;

/// The formats of a model, made ready for its tokenizer.
pub(crate) struct Formats {
    /// Where calls are looked for.
    calling: Reading,
    /// Where they are not.
    plain: Reading,
    /// Where the answer goes on from a bare prompt, of which anything may come.
    bare: Reading,
}

/// How a model's answers are written, as its chat template or the options say.
pub(crate) fn answer_format(options: &ModelOptions, template: Option<&ChatTemplate>) -> AnswerFormat {
    AnswerFormat {
        tools: options.tool_format.or_else(|| template?.tool_format()),
        reasoning: options.reasoning_format.or_else(|| template?.reasoning_format()),
    }
}

/// Whether everything is written in messages of their own (harmony, of gpt-oss), the answer being one of several.
pub(crate) fn writes_messages(format: AnswerFormat) -> bool {
    format.tools == Some(ToolFormat::Harmony) || format.reasoning == Some(ReasoningFormat::Harmony)
}

/// A way to read answers.
struct Reading {
    format: AnswerFormat,
    /// Special tokens that the parser has to see, and their texts, which the reader of the answer must not.
    shown: Arc<[u32]>,
    hidden: Vec<String>,
}

impl Formats {
    pub(crate) fn new(format: AnswerFormat, tokenizer: &Tokenizer) -> Self {
        Self {
            calling: Reading::new(format, tokenizer),
            plain: Reading::new(AnswerFormat { tools: None, ..format }, tokenizer),
            bare: Reading::new(AnswerFormat::default(), tokenizer),
        }
    }

    /// What reads an answer to a request with these tools, from its tokens on. `thinks` tells that the prompt has begun a
    /// thought, and ids of calls follow from `seed`.
    pub(crate) fn reader(
        &self,
        request: &Request,
        tools: &ToolSchemas,
        thinks: bool,
        seed: &str,
        tokenizer: &Tokenizer,
    ) -> (Detokenizer, AnswerParser) {
        let looks = !request.tools.is_empty() && request.tool_choice != ToolChoice::None;
        let reading = match &request.completion {
            Some(_) => &self.bare,
            None if looks => &self.calling,
            None => &self.plain,
        };
        let parser = AnswerParser::new(reading.format, tools.clone(), seed).hiding(&reading.hidden);
        let parser = if thinks { parser.within_thought() } else { parser };
        // Whoever reads a stream sees a call as it is written, and it cannot be unsaid; in a whole answer it can.
        let parser = if request.stream { parser } else { parser.telling_whole_calls() };
        let detokenizer = tokenizer.stream_showing(Arc::clone(&reading.shown));
        // A space that it begins with is its own where it goes on from a text, or is held to one.
        let goes_on = request.continues || request.completion.is_some() || request.constraint.is_some();
        (if goes_on { detokenizer.within() } else { detokenizer }, parser)
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
