//! The alternatives that a schema comes to, where each is written in another way.

use serde_json::{Map, Value};

use super::GrammarError;
use super::object::{not_held, only};
use super::schema::Place;
use crate::tools::types::{Types, referred};

/// The most that a schema may come to.
const MOST: usize = 64;

/// The schemas of which a value must hold to one, none of them combined of others. References are followed from `root`.
///
/// # Errors
/// Where alternatives are combined in a way that is not held: with the place.
pub(super) fn options(
    schema: &Value,
    root: &Value,
    place: &Place<'_>,
) -> Result<Vec<Map<String, Value>>, GrammarError> {
    let mut found = Vec::new();
    let mut waiting = vec![schema];
    for _ in 0..MOST {
        let Some(schema) = waiting.pop() else { break };
        match schema {
            Value::Bool(true) => found.push(Map::new()),
            Value::Object(keys) => match combined(schema, keys, root, place)? {
                Some(schemas) => waiting.extend(schemas.into_iter().rev()),
                None => found.push(keys.clone()),
            },
            _ => {}
        }
    }
    match waiting.is_empty() {
        true if found.is_empty() => Err(place.error("allows nothing")),
        true => Ok(found),
        false => Err(place.error(&format!("has more than {MOST} alternatives; simplify it"))),
    }
}

/// What a schema is combined of; `None` where it is not.
pub(super) fn combined<'s>(
    schema: &'s Value,
    keys: &'s Map<String, Value>,
    root: &'s Value,
    place: &Place<'_>,
) -> Result<Option<Vec<&'s Value>>, GrammarError> {
    let list = |keyword: &str| keys.get(keyword).and_then(Value::as_array);
    if let Some(reference) = keys.get("$ref") {
        only(keys, &[], place)?;
        let target = referred(schema, root).filter(|target| target.get("$ref") != Some(reference));
        let target = target.ok_or_else(|| place.key("$ref").error("refers to nothing that is there"))?;
        return Ok(Some(vec![target]));
    }
    if let Some(schemas) = list("anyOf") {
        only(keys, &["anyOf"], place)?;
        return Ok(Some(schemas.iter().collect()));
    }
    if let Some(schemas) = list("oneOf") {
        only(keys, &["oneOf"], place)?;
        return match exclude_each_other(schemas, root) {
            true => Ok(Some(schemas.iter().collect())),
            false => {
                Err(place.key("oneOf").error("has options that are not seen to exclude each other by their types"))
            }
        };
    }
    match list("allOf").map(Vec::as_slice) {
        None => Ok(None),
        // Patterns beside a pattern are held together.
        Some(schemas) if schemas.iter().all(is_pattern) => Ok(None),
        Some([schema]) if only(keys, &["allOf"], place).is_ok() => Ok(Some(vec![schema])),
        Some(_) => Err(not_held("allOf", place)),
    }
}

fn is_pattern(schema: &Value) -> bool {
    schema.as_object().is_some_and(|keys| keys.len() == 1 && keys.contains_key("pattern"))
}

/// Whether no value holds to two of the schemas: they are of different types, or name different values.
fn exclude_each_other(schemas: &[Value], root: &Value) -> bool {
    let named = |schema: &Value| match (schema.get("const"), schema.get("enum")) {
        (Some(value), _) => Some(vec![value.clone()]),
        (None, Some(Value::Array(values))) => Some(values.clone()),
        _ => None,
    };
    let exclude = |one: &Value, other: &Value| match (named(one), named(other)) {
        (Some(one), Some(other)) => one.iter().all(|value| !other.contains(value)),
        _ => !Types::of(one, root).has(Types::of(other, root)),
    };
    schemas.len() <= MOST
        && schemas.iter().enumerate().all(|(at, one)| schemas[at + 1..].iter().all(|other| exclude(one, other)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(schema: &Value, expected: Result<Value, &str>) {
        let root = json!({"$defs": {"word": {"type": "string"}, "both": {"anyOf": [{"$ref": "#/$defs/word"}, true]},
                                    "loop": {"anyOf": [{"$ref": "#/$defs/loop"}]}, "self": {"$ref": "#/$defs/self"}}});
        let found = options(schema, &root, &Place::root()).map(Value::from_iter);
        match expected {
            Ok(expected) => assert_eq!(found, Ok(expected), "{schema}"),
            Err(expected) => {
                let error = found.err().map(|error| error.to_string()).unwrap_or_default();
                assert!(error.contains(expected), "{schema}: {error}");
            }
        }
    }

    #[test]
    fn alternatives_are_found_through_references() {
        check(&json!(true), Ok(json!([{}])));
        check(&json!({"type": "null", "title": "x"}), Ok(json!([{"type": "null", "title": "x"}])));
        check(&json!({"$ref": "#/$defs/both", "title": "x"}), Ok(json!([{"type": "string"}, {}])));
        check(&json!({"allOf": [{"$ref": "#/$defs/word"}]}), Ok(json!([{"type": "string"}])));
        check(
            &json!({"oneOf": [{"type": "null"}, {"const": 1}, {"enum": [2, 3]}]}),
            Ok(json!([{"type": "null"}, {"const": 1}, {"enum": [2, 3]}])),
        );
        let patterns = json!({"pattern": "a", "allOf": [{"pattern": "b"}]});
        check(&patterns, Ok(json!([patterns])));
    }

    #[test]
    fn what_is_combined_otherwise_is_refused() {
        check(&json!(false), Err("allows nothing"));
        check(&json!({"$ref": "#/$defs/word", "maxLength": 1}), Err("#/maxLength"));
        check(&json!({"$ref": "#/$defs/missing"}), Err("#/$ref"));
        check(&json!({"$ref": "#/$defs/self"}), Err("#/$ref"));
        check(&json!({"$ref": "#/$defs/loop"}), Err("alternatives"));
        check(&json!({"type": "string", "anyOf": [{}]}), Err("#/type"));
        check(&json!({"oneOf": [{"type": "string"}, {"minLength": 3}]}), Err("#/oneOf"));
        check(&json!({"oneOf": [{"const": 1}, {"enum": [1, 2]}]}), Err("#/oneOf"));
        check(&json!({"allOf": [{"type": "string"}, {"maxLength": 3}]}), Err("#/allOf"));
    }
}
