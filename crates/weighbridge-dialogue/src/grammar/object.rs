//! What a schema says of an object's members, where they are written one by one.

use std::collections::HashSet;

use serde_json::{Map, Value};

use super::GrammarError;
use super::schema::Place;

/// What restricts a value and may stand beside other keywords that do.
const RESTRICTING: [&str; 26] = [
    "type",
    "enum",
    "const",
    "anyOf",
    "oneOf",
    "allOf",
    "properties",
    "required",
    "additionalProperties",
    "patternProperties",
    "minProperties",
    "maxProperties",
    "items",
    "prefixItems",
    "additionalItems",
    "minItems",
    "maxItems",
    "minLength",
    "maxLength",
    "pattern",
    "format",
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
];

/// What bounds a number.
pub(super) const BOUNDS: [&str; 5] = ["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"];

/// Refuses keywords that restrict a value beside these.
pub(super) fn only(keys: &Map<String, Value>, known: &[&str], place: &Place<'_>) -> Result<(), GrammarError> {
    let restricts = |keyword: &&String| RESTRICTING.contains(&keyword.as_str()) && !known.contains(&keyword.as_str());
    keys.keys().find(restricts).map_or(Ok(()), |keyword| Err(not_held(keyword, place)))
}

/// The words of `type`: all there are where there is none.
pub(super) fn type_names(keys: &Map<String, Value>) -> Vec<&str> {
    match keys.get("type") {
        Some(Value::String(name)) => vec![name],
        Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).collect(),
        _ => vec!["string", "null", "boolean", "number", "array", "object"],
    }
}

/// The members of an object, in the order of the schema.
pub(super) struct Members<'s> {
    /// Those with a name.
    pub(super) named: Vec<Member<'s>>,
    /// What any others must be; `None` where there may be none.
    pub(super) others: Option<&'s Value>,
}

/// A member with a name.
pub(super) struct Member<'s> {
    pub(super) name: &'s str,
    pub(super) schema: &'s Value,
    pub(super) required: bool,
}

static ANY: Value = Value::Bool(true);

/// The members that a schema of an object allows.
///
/// A schema that has `properties` and does not speak of others has none but these, though JSON Schema would allow
/// more: what a model adds to arguments that are all described is a mistake.
///
/// # Errors
/// Where a keyword cannot be held so: with its place.
pub(super) fn members<'s>(keys: &'s Map<String, Value>, place: &Place<'_>) -> Result<Members<'s>, GrammarError> {
    let required = keys.get("required").and_then(Value::as_array);
    let required: Vec<&str> = required.into_iter().flatten().filter_map(Value::as_str).collect();
    let asked: HashSet<&str> = required.iter().copied().collect();
    let properties = keys.get("properties").and_then(Value::as_object);
    let others = match keys.get("additionalProperties") {
        Some(Value::Bool(false)) => None,
        None if properties.is_some_and(|properties| !properties.is_empty()) => None,
        None => Some(&ANY),
        Some(schema) => Some(schema),
    };
    let mut named = Vec::new();
    for (name, schema) in properties.into_iter().flatten() {
        let required = asked.contains(name.as_str());
        match schema {
            Value::Bool(false) if required => {
                return Err(place.key("required").error("asks for a property that nothing is allowed for"));
            }
            Value::Bool(false) => {}
            schema => named.push(Member { name, schema, required }),
        }
    }
    let mut seen = HashSet::new();
    for &name in required.iter().filter(|name| properties.is_none_or(|known| !known.contains_key(**name))) {
        if keys.get("additionalProperties") == Some(&Value::Bool(false)) {
            return Err(place.key("required").error("asks for a property that additionalProperties forbids"));
        }
        if seen.insert(name) {
            named.push(Member { name, schema: others.unwrap_or(&ANY), required: true });
        }
    }
    let members = Members { named, others };
    check(keys, &members, place)?;
    Ok(members)
}

/// Refuses what members one by one are not held to.
fn check(keys: &Map<String, Value>, members: &Members<'_>, place: &Place<'_>) -> Result<(), GrammarError> {
    let count = |keyword: &str| keys.get(keyword).and_then(Value::as_u64);
    let required = members.named.iter().filter(|member| member.required).count() as u64;
    let most = if members.others.is_some() { u64::MAX } else { members.named.len() as u64 };
    if keys.get("patternProperties").is_some_and(|patterns| patterns.as_object().is_none_or(|all| !all.is_empty())) {
        return Err(not_held("patternProperties", place));
    }
    if count("minProperties").is_some_and(|least| least > required) {
        return Err(not_held("minProperties", place));
    }
    if count("maxProperties").is_some_and(|bound| bound < most) {
        return Err(not_held("maxProperties", place));
    }
    Ok(())
}

/// The error for a keyword that arguments are not held to where they are no JSON.
pub(super) fn not_held(keyword: &str, place: &Place<'_>) -> GrammarError {
    place.key(keyword).error("is a keyword that this model's way of writing calls cannot be held to; leave it out")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn told(schema: &Value) -> String {
        let keys = schema.as_object().cloned().unwrap_or_default();
        match members(&keys, &Place::root()) {
            Ok(Members { named, others }) => {
                let named = named.iter().map(|it| format!("{}{}", it.name, if it.required { "!" } else { "" }));
                let others = others.map_or_else(String::new, |schema| format!(" {schema}"));
                named.collect::<Vec<_>>().join(",") + &others
            }
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn members_follow_the_schema() {
        for (schema, expected) in [
            (json!({}), " true"),
            (json!({"properties": {}}), " true"),
            (json!({"additionalProperties": false}), ""),
            (json!({"properties": {"b": {}, "a": true, "c": false}, "required": ["a"]}), "b,a!"),
            (json!({"properties": {"b": {}}, "additionalProperties": {"type": "null"}}), "b {\"type\":\"null\"}"),
            (json!({"properties": {"b": {}}, "required": ["x", "x"], "minProperties": 1}), "b,x!"),
        ] {
            assert_eq!(told(&schema), expected, "{schema}");
        }
    }

    #[test]
    fn what_members_cannot_be_held_to_is_named() {
        for (schema, expected) in [
            (json!({"patternProperties": {"^x": {}}}), "#/patternProperties"),
            (json!({"properties": {"a": {}}, "minProperties": 1}), "#/minProperties"),
            (json!({"maxProperties": 3}), "#/maxProperties"),
            (json!({"required": ["a"], "additionalProperties": false}), "#/required"),
            (json!({"properties": {"a": false}, "required": ["a"]}), "#/required"),
        ] {
            assert!(told(&schema).contains(expected), "{schema}: {}", told(&schema));
        }
    }
}
