//! Tools: announced, chosen and called.

use super::Json;

/// A function that the model may call.
#[derive(Clone, Debug, PartialEq)]
pub struct Tool {
    /// The definition as the chat templates of open models expect it: an OpenAI tool object,
    /// `{"type":"function","function":{…}}` or `{"type":"custom","custom":{…}}`.
    pub definition: Json,
    /// The tool's name.
    pub name: String,
    /// What it takes.
    pub kind: ToolKind,
    /// The arguments of a call must follow the tool's schema, whatever the model would rather write.
    pub strict: bool,
}

/// What a tool takes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ToolKind {
    /// A JSON object of arguments.
    #[default]
    Function,
    /// A text of this form (OpenAI's custom tools).
    Custom(TextForm),
}

/// What form the text that a custom tool takes has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum TextForm {
    /// Any.
    #[default]
    Free,
    /// A sentence of this Lark grammar.
    Lark(String),
    /// It matches this regular expression whole.
    Regex(String),
}

/// Whether the model may call tools.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ToolChoice {
    /// As it sees fit.
    #[default]
    Auto,
    /// Not at all.
    None,
    /// At least one.
    Required,
    /// This one.
    Named(String),
    /// These and no others of those announced.
    Allowed {
        /// Their names.
        names: Vec<String>,
        /// Whether one of them must be called.
        required: bool,
    },
}

/// A call that the model made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToolCall {
    /// Its id, which the result names.
    pub id: String,
    /// The function called.
    pub name: String,
    /// The arguments, JSON text as the model wrote it (which may be no valid JSON); of a custom tool its text.
    pub arguments: String,
    /// Whether it called a custom tool.
    pub custom: bool,
}
