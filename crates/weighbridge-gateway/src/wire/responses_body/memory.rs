//! What a request refers to: earlier responses and their items.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};
use weighbridge_backend::DataClass;

use super::stored::{item_id, stored};
use super::{Fields, WireError};

/// What is known of what a request refers to.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    /// The items of the conversation that it goes on from, oldest first.
    pub(crate) earlier: Vec<Value>,
    /// The items that it refers to by their ids.
    pub(crate) referenced: BTreeMap<String, Value>,
    /// The highest class of all these.
    pub(crate) class: Option<DataClass>,
}

/// What a body refers to, before it is read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Wanted<'a> {
    /// The response that it goes on from.
    pub(crate) previous: Option<&'a str>,
    /// Items by their ids, with where they stand.
    pub(crate) items: Vec<(String, &'a str)>,
}

impl<'a> Wanted<'a> {
    /// What this body refers to.
    ///
    /// # Errors
    /// When a reference is no text.
    pub(crate) fn of(body: &'a Value) -> Result<Self, WireError> {
        let fields = Fields::of(body, "")?;
        let listed = body.get("input").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let reference = |(i, item): (usize, &'a Value)| Some((format!("input[{i}].id"), reference(item)?));
        let items = listed.iter().enumerate().filter_map(reference).collect();
        Ok(Self { previous: fields.string("previous_response_id")?, items })
    }
}

/// The id that an item refers to, where it is a reference.
fn reference(item: &Value) -> Option<&str> {
    let kind = item.get("type").filter(|kind| !kind.is_null());
    let is_one = match kind {
        Some(kind) => kind == "item_reference",
        None => item.get("role").is_none(),
    };
    is_one.then(|| item.get("id")?.as_str()).flatten()
}

impl Memory {
    /// The request's own items, each with an id, references replaced by what they stand for.
    ///
    /// # Errors
    /// When there are none, or a reference leads nowhere.
    pub(super) fn own_items(&self, fields: &Fields<'_>, id: &Arc<str>) -> Result<Vec<Value>, WireError> {
        let values = match fields.get("input") {
            None if fields.get("previous_response_id").is_some() => return Ok(Vec::new()),
            None => return Err(WireError::missing("input")),
            Some(Value::String(text)) => {
                let said = json!({"type": "message", "role": "user", "content": text});
                return Ok(vec![stored(&said, &item_id("msg", id, 1 << 31))]);
            }
            Some(Value::Array(values)) => values,
            Some(other) => return Err(WireError::wrong_type("input", "a string or an array of items", other)),
        };
        if values.is_empty() && self.earlier.is_empty() {
            let message = "Invalid 'input': empty array. Expected at least one item.".to_owned();
            return Err(WireError::at("input", "empty_array", message));
        }
        let own = |(i, value): (usize, &Value)| match reference(value) {
            Some(referred) => self.referenced.get(referred).cloned().ok_or_else(|| {
                let why = format!("there is no item '{referred}' of a response that is kept for this caller");
                WireError::invalid(&format!("input[{i}].id"), why)
            }),
            None => {
                Fields::of(value, &format!("input[{i}]"))?;
                let number = u32::try_from(i).unwrap_or(u32::MAX >> 1) | 1 << 31;
                Ok(stored(value, &item_id(prefix(value), id, number)))
            }
        };
        values.iter().enumerate().map(own).collect()
    }
}

/// What the id of an item begins with.
fn prefix(item: &Value) -> &'static str {
    match item.get("type").and_then(Value::as_str) {
        Some("function_call") => "fc",
        Some("function_call_output") => "fco",
        Some("custom_tool_call") => "ctc",
        Some("custom_tool_call_output") => "ctco",
        Some("reasoning") => "rs",
        Some("compaction") => "cmp",
        _ => "msg",
    }
}
