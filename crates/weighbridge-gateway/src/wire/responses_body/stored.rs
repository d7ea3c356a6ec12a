//! An item that came in, in the form in which `input_items` lists it.

use serde_json::{Map, Value, json};

/// The id of an item of the response to a request: the response's own, and its place. The inputs have the upper half of
/// the places.
pub(crate) fn item_id(prefix: &str, request_id: &str, place: u32) -> String {
    format!("{prefix}_{}{place:08x}", request_id.replace('-', ""))
}

/// The item with an id, and with what clients may leave out.
pub(super) fn stored(item: &Value, id: &str) -> Value {
    let Value::Object(given) = item else { return item.clone() };
    let mut item = Map::new();
    item.insert("id".into(), id.into());
    item.insert("type".into(), "message".into());
    for (key, value) in given.iter().filter(|(_, value)| !value.is_null()) {
        item.insert(key.clone(), value.clone());
    }
    if item["type"] == "message" {
        let assistant = given.get("role").is_some_and(|role| role == "assistant");
        let content = item.get("content").map(|content| parts(content, assistant));
        item.extend(content.map(|content| ("content".to_owned(), content)));
    }
    if item["type"] != "reasoning" && item["type"] != "compaction" {
        item.entry("status").or_insert_with(|| "completed".into());
    }
    Value::Object(item)
}

/// A text as a list of one part. Parts that are lists already stay as they are.
fn parts(content: &Value, assistant: bool) -> Value {
    match content {
        Value::String(text) if assistant => json!([{"type": "output_text", "text": text, "annotations": []}]),
        Value::String(text) => json!([{"type": "input_text", "text": text}]),
        parts => parts.clone(),
    }
}
