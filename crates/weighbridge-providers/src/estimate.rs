//! Tokens guessed from bytes, where a provider's tokenizer is out of reach.

use weighbridge_backend::{Part, Request};

/// Bytes of a token: about four for English in the usual vocabularies; other scripts have fewer
/// characters, but more bytes, in each token, so bytes guess better than characters do.
const BYTES_PER_TOKEN: u64 = 4;

/// Tokens that frame each message (its role and its ends).
const TOKENS_PER_MESSAGE: u64 = 4;

/// Tokens of a text of so many bytes; at least one where there is any.
pub(crate) fn tokens_of(bytes: u64) -> u64 {
    bytes.div_ceil(BYTES_PER_TOKEN)
}

/// Tokens of a request's prompt. Images, audio and files count nothing: their cost depends on the model.
pub(crate) fn prompt_tokens(request: &Request) -> u64 {
    let messages = request.messages.iter().map(|message| {
        let texts = message.parts.iter().filter_map(Part::as_text).map(str::len);
        let calls = message.tool_calls.iter().map(|call| call.name.len() + call.arguments.len());
        let pieces = texts.chain(calls).chain(message.name.as_ref().map(String::len));
        TOKENS_PER_MESSAGE + pieces.map(|bytes| tokens_of(bytes as u64)).sum::<u64>()
    });
    let tools = request.tools.iter().map(|tool| tokens_of(tool.definition.0.len() as u64));
    messages.sum::<u64>() + tools.sum::<u64>()
}
