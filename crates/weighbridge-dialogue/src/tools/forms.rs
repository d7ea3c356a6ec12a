//! What begins the calls of each format, and what reads them.

use super::json::JsonCalls;
use super::literal::Dialect;
use super::literal_calls::LiteralCalls;
use super::named::{Id, Named, NamedCalls};
use super::object::Keys;
use super::reader::Reader;
use super::tagged::{Tagged, TaggedCalls};
use super::{IdStyle, ToolFormat};

/// What begins calls in a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Opening {
    pub(crate) marker: &'static str,
    /// It counts only where an answer begins: elsewhere it is too common.
    pub(crate) at_start: bool,
    /// Bytes at its end that belong to the first call.
    pub(crate) replayed: usize,
    /// The marker stands where `open` of a call does.
    opens_call: bool,
}

const fn marker(marker: &'static str) -> Opening {
    Opening { marker, at_start: false, replayed: 0, opens_call: false }
}

const fn call(marker: &'static str) -> Opening {
    Opening { marker, at_start: false, replayed: 0, opens_call: true }
}

const fn bare(marker: &'static str) -> Opening {
    Opening { marker, at_start: true, replayed: 1, opens_call: false }
}

/// `arguments` is the word; a few write `parameters` all the same.
const OPENAI: Keys = Keys { name: "name", arguments: &["arguments", "parameters"] };
const COMMAND: Keys = Keys { name: "tool_name", arguments: &["parameters", "arguments"] };

const QWEN_FORM: Tagged = Tagged {
    open: "<function=",
    name_ends: &[">"],
    parameter: "<parameter=",
    key_end: ">",
    key_cut: "",
    value_end: "</parameter>",
    close: "</function>",
    end: "</tool_call>",
    lines: true,
    says: None,
};
static QWEN: Tagged = QWEN_FORM;
static SEED: Tagged = Tagged { end: "</seed:tool_call>", ..QWEN_FORM };

static GLM: Tagged = Tagged {
    open: "",
    name_ends: &["\n", "<arg_key>", "</tool_call>"],
    parameter: "<arg_key>",
    key_end: "<arg_value>",
    key_cut: "</arg_key>",
    value_end: "</arg_value>",
    close: "",
    end: "</tool_call>",
    lines: false,
    says: None,
};

static MINIMAX: Tagged = Tagged {
    open: "<invoke name=\"",
    name_ends: &["\">"],
    parameter: "<parameter name=\"",
    key_end: ">",
    key_cut: "\"",
    value_end: "</parameter>",
    close: "</invoke>",
    end: "</minimax:tool_call>",
    lines: false,
    says: None,
};

const DSML_FORM: Tagged = Tagged {
    open: "<｜DSML｜invoke name=\"",
    name_ends: &["\">"],
    parameter: "<｜DSML｜parameter name=\"",
    key_end: ">",
    key_cut: "\"",
    value_end: "</｜DSML｜parameter>",
    close: "</｜DSML｜invoke>",
    end: "</｜DSML｜function_calls>",
    lines: false,
    says: Some(("string=\"true\"", "string=\"false\"")),
};
static DSML: Tagged = DSML_FORM;
static DSML_TOOL_CALLS: Tagged = Tagged { end: "</｜DSML｜tool_calls>", ..DSML_FORM };

static DEEPSEEK: Named = Named {
    open: "<｜tool▁call▁begin｜>",
    opened: false,
    prefix: "function<｜tool▁sep｜>",
    joins: &["```json"],
    id: None,
    closes: &["```", "<｜tool▁call▁end｜>"],
    end: Some("<｜tool▁calls▁end｜>"),
    list: None,
};

static DEEPSEEK_V31: Named = Named {
    open: "<｜tool▁call▁begin｜>",
    opened: false,
    prefix: "",
    joins: &["<｜tool▁sep｜>"],
    id: None,
    closes: &["<｜tool▁call▁end｜>"],
    end: Some("<｜tool▁calls▁end｜>"),
    list: None,
};

static KIMI: Named = Named {
    open: "<|tool_call_begin|>",
    opened: false,
    prefix: "functions.",
    joins: &["<|tool_call_argument_begin|>"],
    id: Some(Id::Whole),
    closes: &["<|tool_call_end|>"],
    end: Some("<|tool_calls_section_end|>"),
    list: None,
};

static MISTRAL: Named = Named {
    open: "[TOOL_CALLS]",
    opened: true,
    prefix: "",
    joins: &["[ARGS]", "{"],
    id: Some(Id::After("[CALL_ID]")),
    closes: &[],
    end: None,
    list: Some(OPENAI),
};

static FUNCTIONARY: Named = Named {
    open: "",
    opened: true,
    prefix: "",
    joins: &[">"],
    id: None,
    closes: &["</function>"],
    end: None,
    list: None,
};

impl ToolFormat {
    /// What begins its calls; nothing for [`ToolFormat::Harmony`], which is no text with calls in it.
    pub(crate) fn openings(self) -> &'static [Opening] {
        match self {
            Self::Hermes | Self::Glm => &const { [marker("<tool_call>")] },
            Self::ToolCalls => &const { [marker("<tool_calls>")] },
            // Qwen3-Coder now and then leaves the outer tag out.
            Self::QwenXml => &const { [marker("<tool_call>"), call("<function=")] },
            Self::Seed => &const { [marker("<seed:tool_call>")] },
            Self::MiniMax => &const { [marker("<minimax:tool_call>")] },
            Self::Dsml => &const { [marker("<｜DSML｜function_calls>")] },
            Self::DsmlToolCalls => &const { [marker("<｜DSML｜tool_calls>")] },
            Self::DeepSeek | Self::DeepSeekV31 => &const { [marker("<｜tool▁calls▁begin｜>")] },
            Self::Kimi => &const { [marker("<|tool_calls_section_begin|>")] },
            Self::Mistral | Self::MistralArgs => &const { [marker("[TOOL_CALLS]")] },
            Self::Llama => &const { [marker("<|python_tag|>"), marker("<|python_start|>"), bare("{"), bare("[")] },
            Self::Pythonic => &const { [marker("<|python_start|>"), bare("[")] },
            Self::Lfm => &const { [marker("<|tool_call_start|>")] },
            Self::Olmo => &const { [marker("<function_calls>")] },
            Self::Command => &const { [marker("<|START_ACTION|>")] },
            Self::CommandR => &const { [marker("Action:\n```json"), marker("Action: ```json")] },
            Self::Gemma => &const { [marker("<|tool_call>")] },
            Self::Phi => &const { [marker("<|tool_call|>")] },
            Self::Functools => &const { [Opening { replayed: 1, ..marker("functools[") }] },
            Self::Functionary => &const { [call("<function=")] },
            Self::Harmony => &[],
        }
    }

    /// What reads its calls behind an opening; `None` where it has none.
    pub(crate) fn reader(self, opening: &Opening) -> Option<Reader> {
        let json = |keys, ends| Reader::Json(JsonCalls::new(keys, ends));
        let named = |form| Reader::Named(NamedCalls::new(form));
        let tagged = |form| Reader::Tagged(TaggedCalls::new(form, opening.opens_call));
        let literal = |dialect, ends| Reader::Literal(LiteralCalls::new(dialect, ends));
        Some(match self {
            Self::Harmony => return None,
            Self::Hermes => json(OPENAI, &["</tool_call>"]),
            Self::ToolCalls => json(OPENAI, &["</tool_calls>"]),
            Self::Llama if opening.marker == "<|python_start|>" => json(OPENAI, &["<|python_end|>"]),
            Self::Llama | Self::Functools => json(OPENAI, &[]),
            Self::Phi => json(OPENAI, &["<|/tool_call|>"]),
            Self::Command => json(COMMAND, &["<|END_ACTION|>"]),
            Self::CommandR => json(COMMAND, &["```"]),
            Self::QwenXml => tagged(&QWEN),
            Self::Seed => tagged(&SEED),
            Self::Glm => tagged(&GLM),
            Self::MiniMax => tagged(&MINIMAX),
            Self::Dsml => tagged(&DSML),
            Self::DsmlToolCalls => tagged(&DSML_TOOL_CALLS),
            Self::DeepSeek => named(&DEEPSEEK),
            Self::DeepSeekV31 => named(&DEEPSEEK_V31),
            Self::Kimi => named(&KIMI),
            Self::Mistral | Self::MistralArgs => named(&MISTRAL),
            Self::Functionary => named(&FUNCTIONARY),
            Self::Pythonic if opening.marker == "<|python_start|>" => literal(Dialect::Python, &["<|python_end|>"]),
            Self::Pythonic => literal(Dialect::Python, &[]),
            Self::Lfm => literal(Dialect::Python, &["<|tool_call_end|>"]),
            Self::Olmo => literal(Dialect::Python, &["</function_calls>"]),
            Self::Gemma => literal(Dialect::Gemma, &["<tool_call|>"]),
        })
    }

    /// Whether only names of tools count, for what begins a call begins other texts as well.
    pub(crate) fn takes_known_names_only(self) -> bool {
        matches!(self, Self::Llama | Self::Pythonic)
    }

    /// Whether its marker ends a thought: models that have a token for it write that nowhere else.
    pub(crate) fn ends_thoughts(self) -> bool {
        matches!(self, Self::DeepSeek | Self::DeepSeekV31 | Self::Dsml | Self::DsmlToolCalls | Self::Kimi)
    }

    pub(crate) fn ids(self) -> IdStyle {
        if matches!(self, Self::Mistral | Self::MistralArgs) { IdStyle::Nine } else { IdStyle::Long }
    }

    /// Everything but text that its calls are written with, in pieces: what has to reach the parser.
    pub(crate) fn markers(self) -> Vec<&'static str> {
        let mut markers: Vec<_> = self.openings().iter().map(|opening| opening.marker).collect();
        markers.extend_from_slice(match self {
            Self::Hermes => &["</tool_call>"],
            Self::ToolCalls => &["</tool_calls>"],
            Self::Llama | Self::Pythonic => &["<|python_end|>"],
            Self::Phi => &["<|/tool_call|>"],
            Self::Command => &["<|END_ACTION|>"],
            Self::Lfm => &["<|tool_call_end|>"],
            Self::Olmo => &["</function_calls>"],
            Self::Gemma => &["<tool_call|>", super::literal::QUOTE],
            Self::Mistral | Self::MistralArgs => &["[ARGS]", "[CALL_ID]"],
            Self::Harmony => crate::answer::HARMONY_MARKERS,
            Self::CommandR | Self::Functools => &[],
            Self::QwenXml => return with_tags(markers, &QWEN),
            Self::Seed => return with_tags(markers, &SEED),
            Self::Glm => return with_tags(markers, &GLM),
            Self::MiniMax => return with_tags(markers, &MINIMAX),
            Self::Dsml => return with_tags(markers, &DSML),
            Self::DsmlToolCalls => return with_tags(markers, &DSML_TOOL_CALLS),
            Self::DeepSeek => return with_names(markers, &DEEPSEEK),
            Self::DeepSeekV31 => return with_names(markers, &DEEPSEEK_V31),
            Self::Kimi => return with_names(markers, &KIMI),
            Self::Functionary => return with_names(markers, &FUNCTIONARY),
        });
        markers
    }
}

fn with_tags(mut markers: Vec<&'static str>, form: &'static Tagged) -> Vec<&'static str> {
    markers.extend(form.name_ends.iter().copied().filter(|end| end.starts_with('<')));
    markers.extend([form.open, form.parameter, form.key_cut, form.value_end, form.close, form.end]);
    markers.push(if form.key_end.starts_with('<') { form.key_end } else { "" });
    markers.retain(|marker| marker.len() > 1);
    markers
}

fn with_names(mut markers: Vec<&'static str>, form: &'static Named) -> Vec<&'static str> {
    markers.extend([form.open, form.prefix]);
    markers.extend(form.joins.iter().chain(form.closes).copied().chain(form.end));
    markers.retain(|marker| marker.len() > 1);
    markers
}
