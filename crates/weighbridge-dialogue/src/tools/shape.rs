//! What it takes to write a call in a format: for whoever has a model write one and nothing else.

use super::ToolFormat;

/// How the calls of an answer are written: `begin`, then calls with `between` between them, then `end`. White space in
/// these texts is what the chat templates write; parsers of answers do not insist on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ToolShape {
    /// Before the first call.
    pub begin: &'static str,
    /// One call.
    pub call: CallShape,
    /// Between two calls.
    pub between: &'static str,
    /// After the last call.
    pub end: &'static str,
    /// Whether more than one may follow.
    pub several: bool,
}

/// How one call is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallShape {
    /// `begin`, the name, `join`, the arguments as a JSON object, `end`. The name stands as it is, which in a format
    /// that has it in a JSON string takes no escapes: names of functions have nothing to escape.
    Json {
        /// Before the name.
        begin: &'static str,
        /// Between the name and the arguments.
        join: &'static str,
        /// After the arguments.
        end: &'static str,
        /// A colon and the number of the call, from 0, stand between the name and `join`.
        numbered: bool,
    },
    /// `begin`, the name, `after_name`; for each argument `before_key`, the key, `after_key`, the value, `after_value`;
    /// `end`. A value that is a string stands as it is, any other as JSON.
    Tags {
        /// Before the name.
        begin: &'static str,
        /// After the name.
        after_name: &'static str,
        /// Before each key.
        before_key: &'static str,
        /// After the key of a value that is a string.
        after_text_key: &'static str,
        /// After the key of any other value.
        after_key: &'static str,
        /// After each value; the value cannot have it.
        after_value: &'static str,
        /// After the last argument.
        end: &'static str,
    },
    /// `NAME(KEY=VALUE, KEY=VALUE)`, values as Python writes them.
    Python,
    /// `call:NAME{KEY:VALUE,KEY:VALUE}`, strings between `<|"|>` as they are, in `{…}` and `[…]` too, keys bare, and
    /// other values as JSON.
    Gemma,
}

const fn json(begin: &'static str, join: &'static str, end: &'static str) -> CallShape {
    CallShape::Json { begin, join, end, numbered: false }
}

const fn object(begin: &'static str, end: &'static str) -> CallShape {
    json(begin, "\", \"arguments\": ", end)
}

const QWEN: CallShape = CallShape::Tags {
    begin: "<function=",
    after_name: ">\n",
    before_key: "<parameter=",
    after_text_key: ">\n",
    after_key: ">\n",
    after_value: "\n</parameter>\n",
    end: "</function>",
};

const DSML: CallShape = CallShape::Tags {
    begin: "<｜DSML｜invoke name=\"",
    after_name: "\">\n",
    before_key: "<｜DSML｜parameter name=\"",
    after_text_key: "\" string=\"true\">",
    after_key: "\" string=\"false\">",
    after_value: "</｜DSML｜parameter>\n",
    end: "</｜DSML｜invoke>",
};

impl ToolFormat {
    /// How its calls are written.
    pub fn shape(self) -> ToolShape {
        const LIST: CallShape = object("{\"name\": \"", "}");
        let shape = |begin, call, between, end| ToolShape { begin, call, between, end, several: true };
        match self {
            Self::Hermes => shape("", object("<tool_call>\n{\"name\": \"", "}\n</tool_call>"), "\n", ""),
            Self::ToolCalls => shape("<tool_calls>[", LIST, ", ", "]</tool_calls>"),
            Self::QwenXml => shape("<tool_call>\n", QWEN, "\n</tool_call>\n<tool_call>\n", "\n</tool_call>"),
            Self::Seed => {
                shape("<seed:tool_call>\n", QWEN, "\n</seed:tool_call>\n<seed:tool_call>\n", "\n</seed:tool_call>")
            }
            Self::Glm => {
                let call = CallShape::Tags {
                    begin: "<tool_call>",
                    after_name: "\n",
                    before_key: "<arg_key>",
                    after_text_key: "</arg_key>\n<arg_value>",
                    after_key: "</arg_key>\n<arg_value>",
                    after_value: "</arg_value>\n",
                    end: "</tool_call>",
                };
                shape("", call, "\n", "")
            }
            Self::MiniMax => {
                let call = CallShape::Tags {
                    begin: "<invoke name=\"",
                    after_name: "\">\n",
                    before_key: "<parameter name=\"",
                    after_text_key: "\">",
                    after_key: "\">",
                    after_value: "</parameter>\n",
                    end: "</invoke>",
                };
                shape("<minimax:tool_call>\n", call, "\n", "\n</minimax:tool_call>")
            }
            Self::Dsml => shape("<｜DSML｜function_calls>\n", DSML, "\n", "\n</｜DSML｜function_calls>"),
            Self::DsmlToolCalls => shape("<｜DSML｜tool_calls>\n", DSML, "\n", "\n</｜DSML｜tool_calls>"),
            Self::DeepSeek => {
                let begin = "<｜tool▁call▁begin｜>function<｜tool▁sep｜>";
                let call = json(begin, "\n```json\n", "\n```<｜tool▁call▁end｜>");
                shape("<｜tool▁calls▁begin｜>", call, "\n", "<｜tool▁calls▁end｜>")
            }
            Self::DeepSeekV31 => {
                let call = json("<｜tool▁call▁begin｜>", "<｜tool▁sep｜>", "<｜tool▁call▁end｜>");
                shape("<｜tool▁calls▁begin｜>", call, "", "<｜tool▁calls▁end｜>")
            }
            Self::Kimi => {
                let call = CallShape::Json {
                    begin: "<|tool_call_begin|>functions.",
                    join: "<|tool_call_argument_begin|>",
                    end: "<|tool_call_end|>",
                    numbered: true,
                };
                shape("<|tool_calls_section_begin|>", call, "", "<|tool_calls_section_end|>")
            }
            Self::Mistral => shape("[TOOL_CALLS][", LIST, ", ", "]"),
            Self::MistralArgs => shape("", json("[TOOL_CALLS]", "[ARGS]", ""), "", ""),
            // Llama 3 makes one call at a time: its templates refuse more.
            Self::Llama => {
                let call = json("{\"name\": \"", "\", \"parameters\": ", "}");
                ToolShape { several: false, ..shape("", call, "; ", "") }
            }
            Self::Pythonic => shape("[", CallShape::Python, ", ", "]"),
            Self::Lfm => shape("<|tool_call_start|>[", CallShape::Python, ", ", "]<|tool_call_end|>"),
            Self::Olmo => shape("<function_calls>\n", CallShape::Python, "\n", "\n</function_calls>"),
            Self::Command => {
                let call = json("    {\"tool_name\": \"", "\", \"parameters\": ", "}");
                shape("<|START_ACTION|>[\n", call, ",\n", "\n]<|END_ACTION|>")
            }
            Self::CommandR => {
                let call = json("    {\n        \"tool_name\": \"", "\",\n        \"parameters\": ", "\n    }");
                shape("Action:\n```json\n[\n", call, ",\n", "\n]```")
            }
            Self::Gemma => {
                let between = "<tool_call|><|tool_call>";
                shape("<|tool_call>", CallShape::Gemma, between, "<tool_call|>")
            }
            Self::Phi => shape("<|tool_call|>[", LIST, ", ", "]<|/tool_call|>"),
            Self::Functools => shape("functools[", LIST, ", ", "]"),
            Self::Functionary => shape("", json("<function=", ">", "</function>"), "", ""),
            // A call ends the turn; the thought before it is the reasoning format's affair.
            Self::Harmony => {
                let join = " <|constrain|>json<|message|>";
                let call = json("<|channel|>commentary to=functions.", join, "<|call|>");
                ToolShape { several: false, ..shape("", call, "", "") }
            }
        }
    }
}
