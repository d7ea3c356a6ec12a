//! The types of JSON that a schema allows, as far as it is plain to see.

use serde_json::Value;

/// A set of types. An integer is a number here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Types(u8);

/// Schemas that are looked at to find the types of one: what refers to more may be anything.
const MOST_SCHEMAS: u32 = 256;

impl Types {
    const NONE: Self = Self(0);
    pub(crate) const TEXT: Self = Self(1);
    pub(crate) const NULL: Self = Self(2);
    pub(crate) const BOOLEAN: Self = Self(4);
    pub(crate) const NUMBER: Self = Self(8);
    pub(crate) const OBJECT: Self = Self(16);
    pub(crate) const LIST: Self = Self(32);
    pub(crate) const ALL: Self = Self(63);
    /// All but strings.
    pub(crate) const OTHER: Self = Self(62);

    /// Whether one of these is among them.
    pub(crate) fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    pub(crate) fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(crate) fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// That of a value.
    pub(crate) fn of_value(value: &Value) -> Self {
        match value {
            Value::Null => Self::NULL,
            Value::Bool(_) => Self::BOOLEAN,
            Value::Number(_) => Self::NUMBER,
            Value::String(_) => Self::TEXT,
            Value::Array(_) => Self::LIST,
            Value::Object(_) => Self::OBJECT,
        }
    }

    /// That of a JSON text.
    pub(crate) fn of_json(text: &str) -> Self {
        match text.trim_start().chars().next() {
            Some('"') => Self::TEXT,
            Some('{') => Self::OBJECT,
            Some('[') => Self::LIST,
            Some('t' | 'f') => Self::BOOLEAN,
            Some('n') => Self::NULL,
            _ => Self::NUMBER,
        }
    }

    /// What `type` calls so; a word that it does not know is none for a string.
    pub(crate) fn of_name(name: &str) -> Self {
        match name {
            "string" => Self::TEXT,
            "null" => Self::NULL,
            "boolean" => Self::BOOLEAN,
            "number" | "integer" => Self::NUMBER,
            "object" => Self::OBJECT,
            "array" => Self::LIST,
            _ => Self::OTHER,
        }
    }

    /// What a schema allows, all where it does not say. It may allow less, never more. References are followed from
    /// `root`.
    pub(crate) fn of(schema: &Value, root: &Value) -> Self {
        let mut left = MOST_SCHEMAS;
        match read(schema, root, &mut left) {
            Self::NONE => Self::ALL,
            types => types,
        }
    }
}

fn read(schema: &Value, root: &Value, left: &mut u32) -> Types {
    let Some(keys) = schema.as_object().filter(|_| *left > 0) else { return Types::ALL };
    *left -= 1;
    let mut types = match keys.get("type") {
        Some(Value::String(name)) => Types::of_name(name),
        Some(Value::Array(names)) => any(names.iter().filter_map(Value::as_str).map(Types::of_name)),
        _ => Types::ALL,
    };
    if let Some(Value::Array(values)) = keys.get("enum") {
        types = types.and(any(values.iter().map(Types::of_value)));
    }
    if let Some(value) = keys.get("const") {
        types = types.and(Types::of_value(value));
    }
    for keyword in ["anyOf", "oneOf"] {
        if let Some(Value::Array(options)) = keys.get(keyword) {
            types = types.and(any(options.iter().map(|option| read(option, root, left))));
        }
    }
    if let Some(Value::Array(schemas)) = keys.get("allOf") {
        types = schemas.iter().fold(types, |types, schema| types.and(read(schema, root, left)));
    }
    match referred(schema, root) {
        Some(target) => types.and(read(target, root, left)),
        None => types,
    }
}

/// All types that one of these is; all there are where there is none of these.
fn any(types: impl Iterator<Item = Types>) -> Types {
    types.reduce(Types::or).unwrap_or(Types::ALL)
}

/// What a schema refers to, within the document.
pub(crate) fn referred<'a>(schema: &Value, root: &'a Value) -> Option<&'a Value> {
    let reference = schema.get("$ref")?.as_str()?;
    root.pointer(reference.strip_prefix('#')?)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_schema_says_what_it_allows() {
        let root = json!({"$defs": {"word": {"type": "string"}, "loop": {"$ref": "#/$defs/loop"}}});
        for (schema, expected) in [
            (json!({"type": "string"}), Types::TEXT),
            (json!({"type": "integer"}), Types::NUMBER),
            (json!({"type": ["string", "null"]}), Types::TEXT.or(Types::NULL)),
            (json!({"enum": ["a", "b"]}), Types::TEXT),
            (json!({"enum": ["a", 1]}), Types::TEXT.or(Types::NUMBER)),
            (json!({"type": "string", "enum": ["a", 1]}), Types::TEXT),
            (json!({"const": [1]}), Types::LIST),
            (json!({"anyOf": [{"type": "object"}, {"type": "array"}]}), Types::OBJECT.or(Types::LIST)),
            (json!({"allOf": [{"type": ["string", "null"]}, {"enum": ["a"]}]}), Types::TEXT),
            (json!({"$ref": "#/$defs/word"}), Types::TEXT),
            (json!({"$ref": "#/$defs/loop"}), Types::ALL),
            (json!({"$ref": "#/$defs/missing"}), Types::ALL),
            (json!({"type": "string", "const": 1}), Types::ALL),
            (json!(true), Types::ALL),
        ] {
            assert_eq!(Types::of(&schema, &root), expected, "{schema}");
        }
    }
}
