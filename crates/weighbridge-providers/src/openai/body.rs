//! The body of a request to the provider.
//!
//! A body that came in this dialect is sent on field by field as the caller wrote it, so that fields we do
//! not know arrive too and numbers keep their digits; only what is ours to decide is replaced. Any other
//! request is written from the typed view.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;
use serde_json::value::{RawValue, to_raw_value};
use weighbridge_backend::{Dialect, Failure, FailureKind, Request};

use super::typed::typed;
use crate::{MaxTokensField, ProviderOptions};

/// The fields of a body, each as JSON text.
pub(super) type Fields = BTreeMap<String, Box<RawValue>>;

/// The body that asks `upstream_model` for an answer to `request`.
///
/// # Errors
/// When the request holds something that cannot be written in this dialect.
pub(crate) fn body(options: &ProviderOptions, upstream_model: &str, request: &Request) -> Result<Vec<u8>, Failure> {
    let mut fields = match &request.original {
        Some(original) if original.dialect == Dialect::OpenAiChat => {
            // The error's own text is left out: it may quote the body.
            serde_json::from_slice(&original.body)
                .map_err(|_| Failure::new(FailureKind::InvalidRequest, "the body is no JSON object"))?
        }
        _ => typed(request)?,
    };
    set(&mut fields, "model", upstream_model)?;
    set_stream(&mut fields, options)?;
    if let Some(field) = options.max_tokens_field {
        rename_max_tokens(&mut fields, field);
    }
    serde_json::to_vec(&fields).map_err(unwritable)
}

/// Sets `stream` and `stream_options` as this provider needs them. Other options of the caller are kept.
fn set_stream(fields: &mut Fields, options: &ProviderOptions) -> Result<(), Failure> {
    set(fields, "stream", options.stream)?;
    let asked = fields.remove("stream_options");
    if !options.stream {
        return Ok(());
    }
    let mut stream_options: BTreeMap<String, Value> =
        asked.and_then(|asked| serde_json::from_str(asked.get()).ok()).unwrap_or_default();
    if options.include_usage {
        stream_options.insert("include_usage".to_owned(), Value::Bool(true));
    } else {
        stream_options.remove("include_usage");
    }
    if !stream_options.is_empty() {
        set(fields, "stream_options", &stream_options)?;
    }
    Ok(())
}

/// Gives the bound on tokens the one name that the server knows. Where a caller wrote both, the newer wins.
fn rename_max_tokens(fields: &mut Fields, name: MaxTokensField) {
    let older = fields.remove(MaxTokensField::MaxTokens.as_str());
    let newer = fields.remove(MaxTokensField::MaxCompletionTokens.as_str());
    let bound = [newer, older].into_iter().flatten().find(|bound| bound.get() != "null");
    if let Some(bound) = bound {
        fields.insert(name.as_str().to_owned(), bound);
    }
}

pub(super) fn set(fields: &mut Fields, name: &str, value: impl Serialize) -> Result<(), Failure> {
    fields.insert(name.to_owned(), to_raw_value(&value).map_err(unwritable)?);
    Ok(())
}

pub(super) fn set_some(fields: &mut Fields, name: &str, value: Option<impl Serialize>) -> Result<(), Failure> {
    value.map_or(Ok(()), |value| set(fields, name, value))
}

pub(super) fn unwritable(_: serde_json::Error) -> Failure {
    Failure::new(FailureKind::Internal, "the request cannot be written as JSON")
}

#[cfg(test)]
mod tests;
