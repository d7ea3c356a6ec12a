//! Bodies read as they come, for a fuzzer and for nobody else: the same road as that of a request, without one.

use serde_json::Value;
use weighbridge_backend::Request;

use crate::respond::Refusal;
use crate::wire::{
    ChatBody, CompletionsBody, Detokenize, Memory, MessagesBody, Purpose, ResponsesBody, Tokenize, Version, Wanted,
    body_object, known, templated,
};

/// An API whose bodies are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Api {
    /// `/v1/chat/completions`.
    Chat,
    /// `/v1/completions`.
    Completions,
    /// `/v1/messages`, by the rules of 2023.
    Messages,
    /// `/v1/messages`, by the rules of 2026.
    NewMessages,
    /// `/v1/messages/count_tokens`.
    CountTokens,
    /// `/v1/responses`.
    Responses,
    /// `/tokenize`.
    Tokenize,
    /// `/detokenize`.
    Detokenize,
    /// `/apply-template`.
    Template,
}

impl Api {
    /// All of them.
    pub const ALL: &'static [Self] = &[
        Self::Chat,
        Self::Completions,
        Self::Messages,
        Self::NewMessages,
        Self::CountTokens,
        Self::Responses,
        Self::Tokenize,
        Self::Detokenize,
        Self::Template,
    ];

    /// The fields at the top of a body that are read; `None` where any other is refused at once.
    pub fn known_fields(self) -> Option<&'static [&'static str]> {
        match self {
            Self::Chat => Some(known::CHAT),
            Self::Completions => Some(known::COMPLETIONS),
            Self::Messages | Self::NewMessages | Self::CountTokens => Some(known::MESSAGES),
            Self::Responses => Some(known::RESPONSES),
            Self::Template => Some(known::CONVERSATION),
            Self::Tokenize | Self::Detokenize => None,
        }
    }
}

/// Reads a body. Returns the names of what it asks for beyond a plain answer.
///
/// # Errors
/// What its sender would be told: an OpenAI error object.
pub fn read_body(api: Api, body: &[u8]) -> Result<Vec<String>, Value> {
    let request = request(api, body).map_err(|refusal| refusal.to_json())?;
    Ok(request.asked.into_iter().map(|asked| asked.parameter).collect())
}

fn request(api: Api, body: &[u8]) -> Result<Request, Refusal> {
    let messages = |version, purpose| MessagesBody::parse("r".into(), body, version, purpose).map(|read| read.request);
    let request = match api {
        Api::Chat => ChatBody::parse("r".into(), body).map(|read| read.request),
        Api::Completions => CompletionsBody::parse("r".into(), || "s".into(), body).map(|read| read.request),
        Api::Messages => messages(Version::Of2023, Purpose::Answer),
        Api::NewMessages => messages(Version::Of2026, Purpose::Answer),
        Api::CountTokens => messages(Version::Of2023, Purpose::Count),
        Api::Responses => {
            let value = body_object(body)?;
            Wanted::of(&value)?;
            ResponsesBody::read("r".into(), body, &value, Memory::default()).map(|read| read.request)
        }
        Api::Tokenize => Tokenize::parse("r".into(), body).map(|read| read.request),
        Api::Detokenize => Detokenize::parse("r".into(), body).map(|read| read.request),
        Api::Template => templated("r".into(), body),
    };
    Ok(request?)
}
