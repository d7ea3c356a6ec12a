//! The bodies of `/tokenize`, `/detokenize` (vLLM's) and `/apply-template` (llama.cpp's).

use std::sync::Arc;

use serde_json::{Value, json};
use weighbridge_backend::{BarePrompt, Completion, Request};

use super::WireError;
use super::chat_body::{ChatBody, model};
use super::fields::{Fields, body_object};

const MAX_TOKENS: usize = 1 << 20;

/// Stands for a text in the request that a plan is made for: text of any length, also of none, is turned into tokens.
const STAND_IN: &str = "a";

/// What a conversation is made of in these bodies, under the names of chat completions.
pub(crate) const CONVERSATION: &[&str] = &[
    "model",
    "messages",
    "tools",
    "tool_choice",
    "add_generation_prompt",
    "continue_final_message",
    "chat_template_kwargs",
    "reasoning_effort",
];

/// A body of `/tokenize`.
pub(crate) struct Tokenize {
    /// The conversation; where there is a text, a request of its kind.
    pub(crate) request: Request,
    /// The text, where it is no conversation.
    pub(crate) text: Option<String>,
    /// Whether the tokens that stand before every prompt are among a text's tokens. A template writes its own.
    pub(crate) add_special: bool,
    /// Whether what each token stands for is wanted.
    pub(crate) strings: bool,
}

impl Tokenize {
    /// Reads a body.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub(crate) fn parse(id: Arc<str>, body: &[u8]) -> Result<Self, WireError> {
        let value = body_object(body)?;
        let fields = Fields::of(&value, "")?;
        let add_special = fields.boolean("add_special_tokens")?;
        let strings = fields.boolean("return_token_strs")?.unwrap_or(false);
        let extras = ["add_special_tokens", "return_token_strs"];
        let mut text = None;
        let request = if fields.get("messages").is_some() {
            if add_special == Some(true) {
                let why = "the chat template writes the tokens that a prompt begins with; leave it out or say false";
                return Err(WireError::invalid("add_special_tokens", why));
            }
            conversation(id, &value, &extras)?
        } else {
            only(&fields, &["model", "prompt"], &extras)?;
            text = Some(fields.required_string("prompt")?.to_owned());
            bare(id, &fields)?
        };
        Ok(Self { request, text, add_special: add_special.unwrap_or(true), strings })
    }
}

/// A body of `/detokenize`.
pub(crate) struct Detokenize {
    /// Nothing but whom it is meant for.
    pub(crate) request: Request,
    /// The tokens.
    pub(crate) tokens: Vec<u32>,
}

impl Detokenize {
    /// Reads a body.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub(crate) fn parse(id: Arc<str>, body: &[u8]) -> Result<Self, WireError> {
        let value = body_object(body)?;
        let fields = Fields::of(&value, "")?;
        only(&fields, &["model", "tokens"], &[])?;
        fields.required("tokens")?;
        let tokens = token_ids(fields.array("tokens")?.unwrap_or_default(), "tokens")?;
        Ok(Self { request: bare(id, &fields)?, tokens })
    }
}

/// The conversation in a body of `/apply-template`.
///
/// # Errors
/// The first thing that is wrong with it.
pub(crate) fn templated(id: Arc<str>, body: &[u8]) -> Result<Request, WireError> {
    conversation(id, &body_object(body)?, &[])
}

/// An answer of `/tokenize`.
pub(crate) struct Tokenized {
    pub(crate) tokens: Vec<u32>,
    pub(crate) strings: Option<Vec<String>>,
    /// The model's context.
    pub(crate) context: Option<u32>,
}

impl Tokenized {
    pub(crate) fn into_json(self) -> Value {
        let Self { tokens, strings, context } = self;
        json!({"count": tokens.len(), "max_model_len": context, "tokens": tokens, "token_strs": strings})
    }
}

/// Token ids in an array.
pub(super) fn token_ids(values: &[Value], path: &str) -> Result<Vec<u32>, WireError> {
    if values.len() > MAX_TOKENS {
        let message = format!("Invalid '{path}': array too long. Expected at most {MAX_TOKENS} tokens.");
        return Err(WireError::at(path, "array_above_max_length", message));
    }
    let read = |(i, value): (usize, &Value)| {
        let token = value.as_u64().and_then(|token| u32::try_from(token).ok());
        token.ok_or_else(|| WireError::wrong_type(&format!("{path}[{i}]"), "a token, an integer from 0 on", value))
    };
    values.iter().enumerate().map(read).collect()
}

/// A request of a bare prompt, for whoever has the model.
fn bare(id: Arc<str>, fields: &Fields<'_>) -> Result<Request, WireError> {
    let prompt = BarePrompt::Text(STAND_IN.to_owned());
    let completion = Some(Completion { prompt, suffix: None, echo: false });
    Ok(Request { completion, ..Request::new(id, model(fields)?, Vec::new()) })
}

/// The request for a chat completion that this conversation would be.
fn conversation(id: Arc<str>, value: &Value, extras: &[&str]) -> Result<Request, WireError> {
    only(&Fields::of(value, "")?, CONVERSATION, extras)?;
    let mut chat = value.clone();
    if let Some(fields) = chat.as_object_mut() {
        fields.retain(|key, _| !extras.contains(&key.as_str()));
    }
    Ok(ChatBody::parse(id, chat.to_string().as_bytes())?.request)
}

fn only(fields: &Fields<'_>, known: &[&str], extras: &[&str]) -> Result<(), WireError> {
    match fields.keys().find(|key| !known.contains(key) && !extras.contains(key)) {
        Some(key) => Err(WireError::at(key, "unknown_parameter", format!("Unknown parameter: '{key}'."))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokenize(body: &Value) -> Result<Tokenize, WireError> {
        Tokenize::parse("r-1".into(), body.to_string().as_bytes())
    }

    #[test]
    fn a_text_or_a_conversation_is_turned_into_tokens() {
        let text = tokenize(&json!({"model": "m", "prompt": "hi", "return_token_strs": true})).expect("it is good");
        assert!(text.add_special && text.strings && text.text.as_deref() == Some("hi"));
        let messages = json!([{"role": "user", "content": "hi"}]);
        let chat = json!({"model": "m", "messages": messages, "add_special_tokens": false, "tools": null});
        let chat = tokenize(&chat).expect("it is good");
        assert!(
            !chat.strings && chat.text.is_none() && chat.request.completion.is_none() && chat.request.asked.is_empty()
        );
    }

    #[test]
    fn faults_are_named() {
        let messages = json!([{"role": "user", "content": "hi"}]);
        for (body, code, param) in [
            (json!({"model": "m"}), "missing_required_parameter", "prompt"),
            (json!({"prompt": "x"}), "missing_required_parameter", "model"),
            (json!({"model": "m", "prompt": "x", "n": 1}), "unknown_parameter", "n"),
            (json!({"model": "m", "messages": messages, "temperature": 1}), "unknown_parameter", "temperature"),
            (
                json!({"model": "m", "messages": messages, "add_special_tokens": true}),
                "invalid_value",
                "add_special_tokens",
            ),
        ] {
            let error = tokenize(&body).err().expect("it is a bad body");
            assert_eq!((error.code, error.param.as_deref()), (code, Some(param)), "{body}");
        }
        let body = json!({"model": "m", "tokens": [1, -1]}).to_string();
        let error = Detokenize::parse("r-1".into(), body.as_bytes()).err().expect("it is a bad body");
        assert_eq!((error.code, error.param.as_deref()), ("invalid_type", Some("tokens[1]")));
    }
}
