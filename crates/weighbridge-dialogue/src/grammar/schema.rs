//! JSON Schemas, made ready for llguidance: what it would leave out is refused, and by name and place.
//!
//! llguidance refuses what it knows of and cannot enforce; what it does not know it takes for an annotation. Here every
//! keyword of every draft that restricts an answer and that it cannot hold is refused first, with the place. A few
//! things are put into words that it enforces exactly: patterns of dates, and the references below a `oneOf`, without
//! which it cannot see that the options exclude each other.

mod places;

use serde_json::{Map, Value, json};

pub(super) use self::places::Place;
use self::places::{Subschemas, subschemas};
use super::{GrammarError, MAX_BYTES, formats};

/// Levels of the deepest schema taken.
const MAX_DEPTH: usize = 48;

/// What restricts an answer, in one draft or another, and cannot be enforced.
const REFUSED: [&str; 17] = [
    "not",
    "if",
    "then",
    "else",
    "contains",
    "minContains",
    "maxContains",
    "propertyNames",
    "dependencies",
    "dependentRequired",
    "dependentSchemas",
    "unevaluatedItems",
    "unevaluatedProperties",
    "$recursiveRef",
    "$dynamicRef",
    "$vocabulary",
    "extends",
];

/// White space between the parts of JSON: none, a space, or a line break and what indents the next line. More would let
/// a model write nothing else until its tokens end.
const SPACE: &str = r" |\n(?: {0,24}|\t{1,8})";

/// A schema for llguidance, from its text.
///
/// # Errors
/// Where it is no JSON, too large or too deep, and where it holds what cannot be enforced.
pub(super) fn prepare(text: &str) -> Result<Value, GrammarError> {
    if text.len() > MAX_BYTES {
        return Err(GrammarError::new(format!("the schema is longer than {MAX_BYTES} bytes; shorten it")));
    }
    let schema =
        serde_json::from_str(text).map_err(|error| GrammarError::new(format!("the schema is no JSON: {error}")));
    prepare_value(schema?)
}

/// The same of a schema that has been read.
pub(super) fn prepare_value(schema: Value) -> Result<Value, GrammarError> {
    Ok(ready(checked(schema)?))
}

/// A schema in which nothing is left that cannot be enforced, always an object.
pub(super) fn checked(mut schema: Value) -> Result<Value, GrammarError> {
    if let Value::Bool(allows) = schema {
        schema = if allows { json!({}) } else { json!({"not": {}}) };
    }
    let root = schema.clone();
    rewrite(&mut schema, &root, &Place::root())?;
    if schema.is_object() { Ok(schema) } else { Err(GrammarError::new("the schema is neither object nor boolean")) }
}

/// A checked schema with what llguidance has to know beside it.
pub(super) fn ready(mut schema: Value) -> Value {
    schema["x-guidance"] = json!({"whitespace_flexible": false, "whitespace_pattern": SPACE});
    schema
}

/// A schema within another as one of its own: what it refers to comes along.
pub(super) fn part(schema: &Value, root: &Value) -> Value {
    const WHOLE: &str = "whole";
    let mut part = if schema.is_object() { schema.clone() } else { json!({}) };
    if refer_to(&mut part, WHOLE) {
        let mut whole = root.clone();
        refer_to(&mut whole, WHOLE);
        if let Value::Object(keys) = &mut whole {
            ["$schema", "$id", "id"].iter().for_each(|keyword| _ = keys.shift_remove(*keyword));
        }
        part["$defs"] = json!({WHOLE: whole});
    }
    part
}

/// Has every reference begin at the definition of this name. Whether there was one.
fn refer_to(schema: &mut Value, name: &str) -> bool {
    let Value::Object(keys) = schema else { return false };
    let mut found = false;
    for (keyword, below) in keys.iter_mut() {
        if let ("$ref", Value::String(reference)) = (keyword.as_str(), &mut *below)
            && let Some(pointer) = reference.strip_prefix('#')
        {
            *reference = format!("#/$defs/{name}{pointer}");
            found = true;
            continue;
        }
        match subschemas(keyword, below) {
            Subschemas::None => {}
            Subschemas::One(schema) => found |= refer_to(schema, name),
            Subschemas::List(schemas) => schemas.iter_mut().for_each(|schema| found |= refer_to(schema, name)),
            Subschemas::Named(schemas) => schemas.values_mut().for_each(|schema| found |= refer_to(schema, name)),
        }
    }
    found
}

/// Checks a schema and all below it, and rewrites what has to be.
fn rewrite(schema: &mut Value, root: &Value, place: &Place<'_>) -> Result<(), GrammarError> {
    if place.depth() > MAX_DEPTH {
        return Err(GrammarError::new(format!(
            "the schema is nested more than {MAX_DEPTH} levels deep; make it flatter"
        )));
    }
    let keys = match schema {
        Value::Bool(_) => return Ok(()),
        Value::Object(keys) => keys,
        _ => return Err(place.error("is neither an object nor a boolean")),
    };
    check(keys, place)?;
    inline_options(keys, root);
    for (keyword, below) in keys.iter_mut() {
        match subschemas(keyword, below) {
            Subschemas::None => {}
            Subschemas::One(schema) => rewrite(schema, root, &place.key(keyword))?,
            Subschemas::List(schemas) => {
                for (index, schema) in schemas.iter_mut().enumerate() {
                    rewrite(schema, root, &place.key(keyword).index(index))?;
                }
            }
            Subschemas::Named(schemas) => {
                for (name, schema) in schemas.iter_mut() {
                    rewrite(schema, root, &place.key(keyword).key(name))?;
                }
            }
        }
    }
    spell_out_format(keys);
    Ok(())
}

/// Refuses what cannot be enforced of these keywords themselves.
fn check(keys: &mut Map<String, Value>, place: &Place<'_>) -> Result<(), GrammarError> {
    if let Some(keyword) = REFUSED.iter().find(|keyword| keys.contains_key(**keyword)) {
        return Err(place.key(keyword).error("is a keyword that cannot be enforced; leave it out"));
    }
    match keys.get("uniqueItems") {
        None | Some(Value::Bool(false)) => _ = keys.shift_remove("uniqueItems"),
        Some(_) => return Err(place.key("uniqueItems").error("is a keyword that cannot be enforced; leave it out")),
    }
    let inner_id = !place.is_root() && (keys.contains_key("$id") || keys.contains_key("id") && keys["id"].is_string());
    if inner_id {
        return Err(place.error("has an id of its own, which makes references relative; refer to #/… instead"));
    }
    if let Some(reference) = keys.get("$ref").and_then(Value::as_str)
        && !reference.starts_with('#')
    {
        return Err(place.key("$ref").error("refers to another document; only references to #/… are followed"));
    }
    check_properties(keys, place)?;
    for keyword in ["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "const", "enum"] {
        if keys.get(keyword).is_some_and(|value| !is_exact(value)) {
            return Err(place.key(keyword).error("holds an integer beyond 2^53, which is not kept exactly"));
        }
    }
    Ok(())
}

/// Properties that no name of the schema stands for may come twice, and would count as two: so there may have to be one
/// of them at most.
fn check_properties(keys: &Map<String, Value>, place: &Place<'_>) -> Result<(), GrammarError> {
    let Some(least) = keys.get("minProperties").and_then(Value::as_u64) else { return Ok(()) };
    let required = keys.get("required").and_then(Value::as_array).map_or(0, Vec::len) as u64;
    if least <= required + 1 {
        return Ok(());
    }
    Err(place
        .key("minProperties")
        .error("asks for more than one property beside those required, which cannot be enforced"))
}

/// Whether every integer in it is one that a double holds.
fn is_exact(value: &Value) -> bool {
    const LARGEST: u64 = 1 << 53;
    match value {
        Value::Number(number) => {
            let size = number.as_u64().or(number.as_i64().map(i64::unsigned_abs));
            size.is_none_or(|size| size <= LARGEST)
        }
        Value::Array(values) => values.iter().all(is_exact),
        Value::Object(values) => values.values().all(is_exact),
        Value::Null | Value::Bool(_) | Value::String(_) => true,
    }
}

/// Puts what the options of a `oneOf` refer to in their place, one level deep.
fn inline_options(keys: &mut Map<String, Value>, root: &Value) {
    let Some(options) = keys.get_mut("oneOf").and_then(Value::as_array_mut) else { return };
    for option in options {
        // A reference to a reference is followed as far as there are definitions.
        for _ in 0..8 {
            let Some(reference) = option.get("$ref").and_then(Value::as_str) else { break };
            let Some(target) = reference.strip_prefix('#').and_then(|pointer| root.pointer(pointer)) else { break };
            let annotations = ["$ref", "title", "description", "default", "examples", "$comment"];
            let alone =
                option.as_object().is_some_and(|keys| keys.keys().all(|key| annotations.contains(&key.as_str())));
            if !alone || target.get("$ref").and_then(Value::as_str) == Some(reference) {
                break;
            }
            *option = target.clone();
        }
    }
}

/// Puts the pattern of a format in its place, beside a pattern that may be there already.
fn spell_out_format(keys: &mut Map<String, Value>) {
    let Some(pattern) = keys.get("format").and_then(Value::as_str).and_then(formats::pattern) else { return };
    keys.shift_remove("format");
    if !keys.contains_key("pattern") {
        keys.insert("pattern".into(), pattern.into());
        return;
    }
    let all = keys.entry("allOf").or_insert_with(|| json!([]));
    if let Some(all) = all.as_array_mut() {
        all.push(json!({"pattern": pattern}));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(schema: Value, expected: &str) {
        let error = prepare(&schema.to_string()).err().map(|error| error.to_string()).unwrap_or_default();
        assert!(error.contains(expected), "{schema}: {error}");
    }

    #[test]
    fn what_cannot_be_enforced_is_refused_by_keyword_and_place() {
        refused(json!({"not": {}}), "#/not");
        refused(json!(false), "#/not");
        refused(json!({"properties": {"a": {"uniqueItems": true}}}), "#/properties/a/uniqueItems");
        refused(json!({"items": [{}, {"if": {}}]}), "#/items/1/if");
        refused(json!({"$defs": {"x": {"anyOf": [{"propertyNames": {}}]}}}), "#/$defs/x/anyOf/0/propertyNames");
        refused(json!({"minProperties": 2}), "#/minProperties");
        refused(json!({"items": {"$id": "x"}}), "#/items");
        refused(json!({"$ref": "other.json"}), "#/$ref");
        refused(json!({"const": 9007199254740993_u64}), "#/const");
        refused(json!({"properties": []}), "#/properties");
        refused(json!(["type"]), "neither");
    }

    #[test]
    fn what_only_looks_like_a_keyword_is_left_alone() {
        for schema in [
            json!({"properties": {"not": {"type": "string"}, "if": {}}, "required": ["not"]}),
            json!({"enum": [{"not": 1}], "default": {"if": 1}, "examples": [{"then": 1}]}),
            json!({"uniqueItems": false, "minProperties": 1, "x-vendor": {"not": 1}, "discriminator": {}}),
        ] {
            assert!(prepare(&schema.to_string()).is_ok(), "{schema}");
        }
    }

    #[test]
    fn a_part_takes_along_what_it_refers_to() {
        let root = json!({
            "$id": "x",
            "properties": {"a": {"items": {"$ref": "#/$defs/b"}}, "$ref": {"const": {"$ref": "#"}}},
            "$defs": {"b": {"$ref": "#"}}
        });
        let mut whole = root.clone();
        whole.as_object_mut().map(|keys| keys.shift_remove("$id"));
        whole["properties"]["a"]["items"]["$ref"] = "#/$defs/whole/$defs/b".into();
        whole["$defs"]["b"]["$ref"] = "#/$defs/whole".into();
        let expected = json!({"items": {"$ref": "#/$defs/whole/$defs/b"}, "$defs": {"whole": whole}});
        assert_eq!(part(&root["properties"]["a"], &root), expected);
        assert_eq!(part(&root["properties"]["$ref"], &root), root["properties"]["$ref"]);
    }

    #[test]
    fn the_depth_is_bounded() {
        let deep = |levels: usize| (0..levels).fold(json!({}), |schema, _| json!({"items": schema}));
        assert!(prepare(&deep(40).to_string()).is_ok());
        refused(deep(60), "levels deep");
    }

    #[test]
    fn a_schema_cannot_choose_how_it_is_compiled() {
        let schema = prepare(r#"{"x-guidance": {"lenient": true, "coerce_one_of": true}}"#).unwrap_or_default();
        assert_eq!(schema["x-guidance"].get("lenient"), None);
        assert_eq!(schema["x-guidance"].get("coerce_one_of"), None);
    }
}
