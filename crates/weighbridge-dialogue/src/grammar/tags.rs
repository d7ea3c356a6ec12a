//! Arguments in tags: strings as they stand, everything else as JSON.
//!
//! A value is whatever stands before the tag that ends it, so that no string has that tag. Where a parameter takes
//! strings and other values and nothing tells them apart, its reader takes for a string what is no value of another
//! type that may stand there ([`json_of`](crate::tools::schemas)), and strings that look like one are not written.

use serde_json::{Map, Value, json};
use weighbridge_backend::Tool;

use super::object::{BOUNDS, Member, Members, members, not_held, type_names};
use super::options::{combined, options};
use super::parts::{Parts, having};
use super::schema::{self, Place};
use super::strings::bare;
use super::{GrammarError, lark};
use crate::ToolSchemas;
use crate::tools::types::Types;

/// Bytes of schemas that refer to others and are written out with these, for all parameters of a tool.
const MOST_BYTES: usize = 4 << 20;

/// What stands around keys and values.
#[derive(Clone, Copy)]
pub(super) struct Tags {
    pub(super) before_key: &'static str,
    /// After the key of a string.
    pub(super) after_text_key: &'static str,
    /// After the key of any other value.
    pub(super) after_key: &'static str,
    pub(super) after_value: &'static str,
}

/// The arguments that a checked schema of a tool allows, as a sequence.
///
/// # Errors
/// Where they cannot be held to the schema: with the keyword and its place.
pub(super) fn arguments(
    tool: &Tool,
    schema: &Value,
    tags: Tags,
    parts: &mut Parts<'_>,
) -> Result<String, GrammarError> {
    let place = Place::root();
    let Members { named, others } = members(object(schema, &place)?, &place)?;
    let schemas = ToolSchemas::new(std::slice::from_ref(tool));
    let mut writer = Writer { tags, root: schema, written: 0, parts };
    let mut sequence = Vec::new();
    let above = place.key("properties");
    for Member { name, schema, required } in &named {
        let place = above.key(name);
        if !is_key(name) {
            return Err(place.error("has a name that this model's way of writing calls cannot hold"));
        }
        let value = writer.value(schema, schemas.types(&tool.name, name), &place)?;
        let argument = writer.argument(name, &value);
        sequence.push(if *required { argument } else { format!("({argument})?") });
    }
    if let Some(schema) = others {
        let value = writer.value(schema, Types::ALL, &place.key("additionalProperties"))?;
        sequence.push(writer.others(&named, &value));
    }
    Ok(if sequence.is_empty() { lark::text("") } else { sequence.join(" ") })
}

/// The keywords of a schema of arguments, where it is no combination of others.
pub(super) fn object<'s>(root: &'s Value, place: &Place<'_>) -> Result<&'s Map<String, Value>, GrammarError> {
    let mut schema = root;
    for _ in 0..8 {
        let Value::Object(keys) = schema else { break };
        match combined(schema, keys, root, place)?.as_deref() {
            None => return Ok(keys),
            Some([target]) => schema = target,
            Some(_) => return Err(place.error("has alternatives for all arguments together, which are not held")),
        }
    }
    Err(place.error("is no schema of an object"))
}

fn is_key(name: &str) -> bool {
    (1..=256).contains(&name.len()) && name.trim() == name && !name.contains(['<', '>', '"', '\n'])
}

/// A value up to the end of its tag: as a string, and as anything else.
struct Alternatives {
    text: Option<String>,
    other: Option<String>,
}

struct Writer<'a, 'p, 'm> {
    tags: Tags,
    root: &'a Value,
    /// Bytes of schemas written out.
    written: usize,
    parts: &'p mut Parts<'m>,
}

impl Writer<'_, '_, '_> {
    /// An argument of this name.
    fn argument(&self, name: &str, value: &Alternatives) -> String {
        let Tags { before_key, after_text_key, after_key, .. } = self.tags;
        let key = |after: &str| self.parts.written(&format!("{before_key}{name}{after}"));
        match (&value.text, &value.other) {
            (Some(text), Some(other)) if self.tells_strings() => {
                format!("({} {text} | {} {other})", key(after_text_key), key(after_key))
            }
            (Some(text), Some(other)) => format!("{} ({text} | {other})", key(after_key)),
            (Some(text), None) => format!("{} {text}", key(after_text_key)),
            (None, other) => format!("{} {}", key(after_key), other.as_deref().unwrap_or("\"\"")),
        }
    }

    /// Arguments of other names than these.
    fn others(&mut self, named: &[Member<'_>], value: &Alternatives) -> String {
        let Tags { before_key, after_text_key, after_key, .. } = self.tags;
        let mut name = "/[A-Za-z_][A-Za-z0-9_.-]{0,63}/".to_owned();
        if !named.is_empty() {
            name += &format!(" & ~/{}/", lark::choice(named.iter().map(|member| member.name)));
        }
        let mut of_kind = |value: &Option<String>, after: &str| {
            let value = value.as_ref()?;
            Some(format!("{} {value}", self.parts.around(before_key, &name, after)))
        };
        let all = [of_kind(&value.text, after_text_key), of_kind(&value.other, after_key)];
        format!("({})*", all.into_iter().flatten().collect::<Vec<_>>().join(" | "))
    }

    /// Whether the tags tell strings from other values.
    fn tells_strings(&self) -> bool {
        self.tags.after_text_key != self.tags.after_key
    }

    /// What a parameter's schema allows. `types` are those that its reader takes it to have.
    fn value(&mut self, schema: &Value, types: Types, place: &Place<'_>) -> Result<Alternatives, GrammarError> {
        if !Types::of(schema, self.root).has(Types::TEXT) {
            return Ok(Alternatives { text: None, other: Some(self.json(schema, place)?) });
        }
        let options = options(schema, self.root, place)?;
        let none = self.no_strings(types);
        let mut bodies = Vec::new();
        let mut others = Vec::new();
        for keys in &options {
            let of_option = Types::of(&Value::from(keys.clone()), self.root);
            if of_option.has(Types::TEXT) {
                bodies.push(bare(keys, &none, place)?.body());
            }
            if of_option.has(Types::OTHER) {
                others.push(without_strings(keys));
            }
        }
        if !self.tells_strings() {
            others = self.scalars_apart(others, &mut bodies, place)?;
        }
        let other = match others.is_empty() {
            true => None,
            false => Some(self.json(&json!({"anyOf": others}), place)?),
        };
        let body = bodies.iter().map(|body| format!("({body})")).collect::<Vec<_>>().join(" | ");
        let text = (!bodies.is_empty()).then(|| self.parts.ended(&body, self.tags.after_value));
        Ok(Alternatives { text, other })
    }

    /// A value as JSON.
    fn json(&mut self, schema: &Value, place: &Place<'_>) -> Result<String, GrammarError> {
        let schema = schema::ready(schema::part(schema, self.root));
        self.written += schema.to_string().len();
        if self.written > MOST_BYTES {
            return Err(place.error("refers to definitions that are too large to be held for each parameter"));
        }
        super::compiles(&schema)?;
        let value = self.parts.schema(schema);
        Ok(format!("{value} {}", self.parts.written(self.tags.after_value)))
    }

    /// Expressions of what is not written as a string: what ends it, and what would be read as a value of another type.
    fn no_strings(&self, types: Types) -> Vec<String> {
        let mut none = vec![having(&[self.tags.after_value.trim()])];
        if self.tells_strings() {
            return none;
        }
        for (of_type, expression) in [
            (Types::NULL, "null|None"),
            (Types::BOOLEAN, "true|false|True|False"),
            (Types::NUMBER, NUMBER),
            (Types::OBJECT.or(Types::LIST), r"[{\[](?s:.*)"),
        ] {
            if types.and(Types::OTHER).has(of_type) && types.has(Types::TEXT) {
                none.push(format!(r"\s*(?:{expression})\s*"));
            }
        }
        none
    }

    /// Moves values that are neither objects nor lists from schemas to expressions, for they stand where strings do,
    /// and the lexer tells no two lexemes apart that begin alike. The schemas of objects and lists that are left.
    fn scalars_apart(
        &self,
        others: Vec<Map<String, Value>>,
        bodies: &mut Vec<String>,
        place: &Place<'_>,
    ) -> Result<Vec<Map<String, Value>>, GrammarError> {
        let mut left = Vec::new();
        for mut keys in others {
            if let Some(Value::Array(values)) = keys.get("enum") {
                let texts: Vec<_> = values.iter().map(Value::to_string).collect();
                if texts.iter().any(|text| text.contains(self.tags.after_value.trim())) {
                    return Err(place.key("enum").error("has a value with the tag that ends it"));
                }
                bodies.push(format!("/{}/", lark::choice(texts.iter().map(String::as_str))));
                continue;
            }
            let mut kept = Vec::new();
            for name in type_names(&keys) {
                let expression = match name {
                    "null" => "null",
                    "boolean" => "true|false",
                    "integer" | "number" => {
                        if let Some(keyword) = BOUNDS.iter().find(|keyword| keys.contains_key(**keyword)) {
                            return Err(not_held(keyword, place));
                        }
                        if name == "integer" { INTEGER } else { NUMBER }
                    }
                    _ => {
                        kept.push(Value::from(name));
                        continue;
                    }
                };
                bodies.push(format!("/{expression}/"));
            }
            if !kept.is_empty() {
                keys.insert("type".into(), kept.into());
                left.push(keys);
            }
        }
        Ok(left)
    }
}

const INTEGER: &str = "-?(?:0|[1-9][0-9]*)";
const NUMBER: &str = r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?";

/// A schema's keywords for all of its values that are no strings. Those that it names become an `enum`.
fn without_strings(keys: &Map<String, Value>) -> Map<String, Value> {
    let mut keys = keys.clone();
    let names: Vec<&str> = type_names(&keys).into_iter().filter(|name| *name != "string").collect();
    let is_of_type = |value: &Value| names.iter().any(|name| Types::of_name(name) == Types::of_value(value));
    let named = keys.get("const").map(std::slice::from_ref);
    let named = named.or_else(|| keys.get("enum").and_then(Value::as_array).map(Vec::as_slice));
    let (keyword, values) = match named {
        Some(values) => ("enum", values.iter().filter(|value| is_of_type(value)).cloned().collect()),
        None => ("type", Value::from(names)),
    };
    keys.shift_remove("const");
    keys.insert(keyword.into(), values);
    keys
}
