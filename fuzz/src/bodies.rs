//! Bytes as the bodies of requests, by each API: read, or refused in a few words.

use serde_json::Value;
use weighbridge_gateway::fuzzing::{Api, read_body};

/// A body: a byte that names its API, and the bytes that arrive.
///
/// # Panics
/// Where an error is longer than is fit to be read, a body that is no JSON object is taken, one is read in two ways, or a
/// field that nobody knows is passed over in silence; these are findings.
pub fn body(bytes: &[u8]) {
    let Some((&api, body)) = bytes.split_first() else { return };
    let Some(&api) = Api::ALL.get(usize::from(api)) else { return };
    let read = read_body(api, body);
    assert_eq!(read_body(api, body), read, "a body is read in two ways");
    match read {
        Ok(asked) => told(api, body, &asked),
        // Two KiB of controls, each escaped, and what stands around them.
        Err(error) => assert!(error.to_string().len() < 16 << 10, "an error is no echo"),
    }
}

/// Every field of a good body is known, or asked for by its name.
fn told(api: Api, body: &[u8], asked: &[String]) {
    let fields = match serde_json::from_slice(body) {
        Ok(Value::Object(fields)) => Some(fields),
        _ => None,
    };
    assert!(fields.is_some(), "a body that is no object is taken");
    // What the short bodies do not know they refuse.
    let (Some(fields), Some(known)) = (fields, api.known_fields()) else { return };
    // Anthropic's hints are named up to a bound.
    let bounded = asked.iter().any(|name| name == "and others");
    let told = |key: &String| {
        // Of a long name the beginning is told.
        let is_it = |name: &String| name == key || name.len() >= 64 && key.starts_with(name.trim_end_matches('…'));
        known.contains(&key.as_str()) || bounded || asked.iter().any(is_it)
    };
    let silent = fields.iter().find(|(key, value)| !value.is_null() && !told(key));
    assert!(silent.is_none(), "a field is passed over in silence");
}
