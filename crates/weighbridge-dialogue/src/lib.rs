//! Text to and from a model, without its weights: a [`Request`](weighbridge_backend::Request) becomes a
//! [`Conversation`], a [`ChatTemplate`] writes it as the prompt that the model was trained on, and a
//! [`AnswerParser`] finds text, thoughts and calls in what the model writes back. A [`Matcher`] holds what it writes to
//! a form.
//!
//! Everything here is plain computation on text: no async, no clock, no files. Templates come with
//! checkpoints and conversations with requests, so both are held to bounds and neither can panic.

mod answer;
mod conversation;
mod custom;
mod grammar;
mod json;
mod python;
mod reasoning;
mod source;
mod template;
mod tools;
mod traced;

pub use answer::{AnswerFormat, AnswerParser};
pub use conversation::{Conversation, conversation};
pub use custom::CustomCalls;
pub use grammar::{Calls, Form, GrammarError, Grammars, Mask, Matcher, Thinking, VocabularyToken};
pub use reasoning::{ReasoningFormat, UnknownReasoningFormat};
pub use template::{ChatTemplate, TemplateError};
pub use tools::{CallShape, Faults, Piece, ToolFormat, ToolSchemas, ToolShape, UnknownToolFormat};
pub use traced::{Markers, Prompt};
