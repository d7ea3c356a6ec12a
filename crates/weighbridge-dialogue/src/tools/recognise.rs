//! Which format a chat template writes calls in, by what stands in its source.

use super::ToolFormat;

/// How a template is told: all of some texts, and at least one of others.
struct Signs {
    format: ToolFormat,
    all: &'static [&'static str],
    any: &'static [&'static str],
}

const fn signs(format: ToolFormat, all: &'static [&'static str]) -> Signs {
    Signs { format, all, any: &[] }
}

/// The first that fits counts, so that what says more stands before what says less.
const SIGNS: &[Signs] = &[
    signs(ToolFormat::Harmony, &["<|channel|>commentary", "<|message|>"]),
    signs(ToolFormat::DsmlToolCalls, &["｜DSML｜", "tool_calls>"]),
    signs(ToolFormat::Dsml, &["｜DSML｜"]),
    signs(ToolFormat::DeepSeek, &["<｜tool▁calls▁begin｜>", "```json"]),
    signs(ToolFormat::DeepSeekV31, &["<｜tool▁calls▁begin｜>"]),
    signs(ToolFormat::Kimi, &["<|tool_call_begin|>"]),
    signs(ToolFormat::Gemma, &["<|tool_call>call:"]),
    signs(ToolFormat::Command, &["<|START_ACTION|>"]),
    signs(ToolFormat::MistralArgs, &["[TOOL_CALLS]", "[ARGS]"]),
    signs(ToolFormat::Mistral, &["[TOOL_CALLS]"]),
    signs(ToolFormat::MiniMax, &["<minimax:tool_call>"]),
    signs(ToolFormat::Seed, &["<seed:tool_call>"]),
    signs(ToolFormat::Glm, &["<arg_key>", "<arg_value>"]),
    signs(ToolFormat::QwenXml, &["<function=", "<parameter="]),
    signs(ToolFormat::Functionary, &["<function=", "</function>"]),
    signs(ToolFormat::Functools, &["functools["]),
    signs(ToolFormat::Phi, &["<|tool_call|>"]),
    signs(ToolFormat::Lfm, &["<|tool_call_start|>"]),
    signs(ToolFormat::Olmo, &["<function_calls>"]),
    Signs {
        format: ToolFormat::ToolCalls,
        all: &["<tool_calls>"],
        any: &["\"arguments\"", "'arguments'", "\\\"arguments\\\""],
    },
    Signs {
        format: ToolFormat::Hermes,
        all: &["<tool_call>"],
        any: &["\"arguments\"", "'arguments'", "\\\"arguments\\\""],
    },
    signs(ToolFormat::CommandR, &["Action:", "\"tool_name\"", "```json"]),
    signs(ToolFormat::Pythonic, &["[func_name1(params_name1=params_value1"]),
    Signs {
        format: ToolFormat::Llama,
        all: &["{\"name\": ", "\"parameters\": "],
        any: &["<|start_header_id|>", "<|header_start|>"],
    },
];

impl ToolFormat {
    /// Returns the format that a chat template writes calls in, found in its source.
    pub(crate) fn of_template(source: &str) -> Option<Self> {
        let has = |sign: &&str| source.contains(*sign);
        let fits = |signs: &&Signs| signs.all.iter().all(has) && (signs.any.is_empty() || signs.any.iter().any(has));
        SIGNS.iter().find(fits).map(|signs| signs.format)
    }
}
