//! Arguments in the language of a program: `a=1, b=["x", True]` of Python, and `a:1,b:[<|"|>x<|"|>,true]` of Gemma.
//!
//! Numbers, and the strings of Python, are left to llguidance as values of JSON: what it writes of them is written the
//! same in either. Everything else becomes rules, one for each schema that is referred to.

mod written;

use std::collections::HashMap;

use serde_json::{Map, Value};

use self::written::{is_word, key, literal};
use super::object::{BOUNDS, Member, Members, members, not_held, only, type_names};
use super::options::combined;
use super::parts::{Parts, having};
use super::schema::{self, Place};
use super::strings::bare;
use super::tags::object;
use super::{GrammarError, lark};
pub(super) use crate::tools::literal::Dialect;
use crate::tools::literal::QUOTE;
use crate::tools::types::Types;

/// Rules and terminals of one grammar.
const MOST_RULES: usize = 4096;

/// Items that a list may be asked to have.
const MOST_ITEMS: u64 = 4096;

/// Items of a list with schemas of their own.
const MOST_FIRST: usize = 256;

/// The arguments that a checked schema of a tool allows, between the brackets around them, as a sequence.
///
/// # Errors
/// Where they cannot be held to the schema: with the keyword and its place.
pub(super) fn arguments(schema: &Value, dialect: Dialect, parts: &mut Parts<'_>) -> Result<String, GrammarError> {
    let place = Place::root();
    let mut writer = Writer { dialect, root: schema, referred: HashMap::new(), waiting: Vec::new(), any: None, parts };
    let arguments = writer.members(&members(object(schema, &place)?, &place)?, Of::Call, &place)?;
    writer.write_referred()?;
    Ok(arguments)
}

/// What members belong to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Of {
    Call,
    Map,
}

struct Writer<'a, 'p, 'm> {
    dialect: Dialect,
    root: &'a Value,
    /// The rules of what is referred to, by reference.
    referred: HashMap<&'a str, String>,
    /// Those that are not written yet.
    waiting: Vec<(&'a str, &'a Value, String)>,
    /// The rule of any value.
    any: Option<String>,
    parts: &'p mut Parts<'m>,
}

impl<'a> Writer<'a, '_, '_> {
    fn write_referred(&mut self) -> Result<(), GrammarError> {
        while let Some((reference, schema, name)) = self.waiting.pop() {
            let root = Place::root();
            let body = self.value(schema, &root.key(reference))?;
            self.parts.define(&name, &body);
        }
        Ok(())
    }

    /// The values that a schema allows.
    fn value(&mut self, schema: &'a Value, place: &Place<'_>) -> Result<String, GrammarError> {
        if self.parts.size() > MOST_RULES {
            return Err(place.error("has too many parts to be held in this model's way of writing calls"));
        }
        let keys = match schema {
            Value::Bool(true) => return self.any(),
            Value::Object(keys) => keys,
            _ => return Err(place.error("allows nothing")),
        };
        if let Some(reference) = keys.get("$ref").and_then(Value::as_str) {
            return self.reference(reference, schema, keys, place);
        }
        if let Some(schemas) = combined(schema, keys, self.root, place)? {
            let options: Result<Vec<_>, _> = schemas.into_iter().map(|schema| self.value(schema, place)).collect();
            return self.one_rule(&options?, place);
        }
        if let Some(values) = named(keys) {
            return self.named(&values, keys, place);
        }
        if only(keys, &[], place).is_ok() {
            return self.any();
        }
        let names = type_names(keys);
        let options: Result<Vec<_>, _> = names.iter().map(|name| self.of_type(name, keys, place)).collect();
        self.one_rule(&options?, place)
    }

    /// One of these, as a rule of its own: brackets within brackets are only taken so deep.
    fn one_rule(&mut self, options: &[String], place: &Place<'_>) -> Result<String, GrammarError> {
        match options {
            [] => Err(place.error("allows nothing")),
            [only] => Ok(only.clone()),
            options => Ok(self.parts.rule(&options.join(" | "))),
        }
    }

    /// What is referred to, as a rule of its own.
    fn reference(
        &mut self,
        reference: &'a str,
        schema: &'a Value,
        keys: &'a Map<String, Value>,
        place: &Place<'_>,
    ) -> Result<String, GrammarError> {
        if let Some(name) = self.referred.get(reference) {
            return Ok(name.clone());
        }
        let targets = combined(schema, keys, self.root, place)?.unwrap_or_default();
        let &[target] = targets.as_slice() else {
            return Err(place.key("$ref").error("refers to nothing that is there"));
        };
        let name = self.parts.name();
        self.referred.insert(reference, name.clone());
        self.waiting.push((reference, target, name.clone()));
        Ok(name)
    }

    fn of_type(&mut self, name: &str, keys: &'a Map<String, Value>, place: &Place<'_>) -> Result<String, GrammarError> {
        let body = match name {
            "array" => self.list(keys, place)?,
            "object" => {
                let members = self.members(&members(keys, place)?, Of::Map, place)?;
                format!("\"{{\" {members} \"}}\"")
            }
            name => return self.scalar(name, keys, place),
        };
        Ok(self.parts.rule(&body))
    }

    fn scalar(&mut self, name: &str, keys: &Map<String, Value>, place: &Place<'_>) -> Result<String, GrammarError> {
        let python = self.dialect == Dialect::Python;
        Ok(match name {
            "null" if python => lark::text("None"),
            "null" => lark::text("null"),
            "boolean" if python => "/True|False/".to_owned(),
            "boolean" => "/true|false/".to_owned(),
            "integer" | "number" => self.json(name, keys, &BOUNDS)?,
            "string" if python => self.json(name, keys, &["minLength", "maxLength", "pattern", "format", "allOf"])?,
            "string" => {
                let body = bare(keys, &[having(&[QUOTE])], place)?.body();
                format!("{} {}", self.parts.written(QUOTE), self.parts.ended(&body, QUOTE))
            }
            _ => return Err(place.key("type").error("names no type")),
        })
    }

    /// A value as JSON writes it, by the keywords of its type.
    fn json(&mut self, name: &str, keys: &Map<String, Value>, keywords: &[&str]) -> Result<String, GrammarError> {
        let of_type = keywords.iter().filter_map(|keyword| Some(((*keyword).to_owned(), keys.get(*keyword)?.clone())));
        let mut schema = Value::from(Map::from_iter(of_type));
        schema["type"] = name.into();
        let mut schema = schema::ready(schema);
        // The escapes that Python has too.
        schema["x-guidance"]["json_allowed_escapes"] = "nrbtf\\\"".into();
        super::compiles(&schema)?;
        Ok(self.parts.schema(schema))
    }

    /// One of these values.
    fn named(
        &mut self,
        values: &[&Value],
        keys: &Map<String, Value>,
        place: &Place<'_>,
    ) -> Result<String, GrammarError> {
        only(keys, &["type", "enum", "const"], place)?;
        let names = type_names(keys);
        let is_of_type = |value: &Value| names.iter().any(|name| Types::of_name(name) == Types::of_value(value));
        let texts = values.iter().filter(|value| is_of_type(value)).map(|value| literal(value, self.dialect));
        let texts: Option<Vec<_>> = texts.collect();
        match texts {
            None => Err(place.key("enum").error("has a value that this model's way of writing calls cannot hold")),
            Some(texts) if texts.is_empty() => Err(place.error("allows nothing")),
            Some(texts) => Ok(self.one_of(&texts)),
        }
    }

    /// One of these texts, of which some may have Gemma's quotes.
    fn one_of(&mut self, texts: &[String]) -> String {
        let (quoted, plain): (Vec<&str>, Vec<&str>) =
            texts.iter().map(String::as_str).partition(|text| text.contains(QUOTE));
        let mut options: Vec<_> = quoted.iter().map(|text| self.parts.written(text)).collect();
        if !plain.is_empty() {
            options.push(format!("/{}/", lark::choice(plain)));
        }
        format!("({})", options.join(" | "))
    }

    fn list(&mut self, keys: &'a Map<String, Value>, place: &Place<'_>) -> Result<String, GrammarError> {
        if keys.contains_key("additionalItems") {
            return Err(not_held("additionalItems", place));
        }
        let count = |keyword: &str| match keys.get(keyword).map(Value::as_u64) {
            None => Ok(None),
            Some(Some(count)) if count <= MOST_ITEMS => Ok(Some(count)),
            Some(_) => Err(place.key(keyword).error(&format!("is no count up to {MOST_ITEMS}"))),
        };
        let (least, most) = (count("minItems")?.unwrap_or(0), count("maxItems")?);
        let first = keys.get("prefixItems").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let first = &first[..first.len().min(most.map_or(usize::MAX, |most| most as usize))];
        if first.len() > MOST_FIRST {
            return Err(place.key("prefixItems").error(&format!("has more than {MOST_FIRST} schemas")));
        }
        let above = place.key("prefixItems");
        let items = first.iter().enumerate().map(|(at, schema)| self.value(schema, &above.index(at)));
        let items = items.collect::<Result<Vec<_>, _>>()?;
        let first = items.len() as u64;
        let rest = match keys.get("items") {
            _ if most == Some(first) => None,
            None => Some(self.any()?),
            Some(Value::Bool(false)) => None,
            Some(Value::Array(_)) => return Err(place.key("items").error("is a list; use prefixItems for it")),
            Some(schema) => Some(self.value(schema, &place.key("items"))?),
        };
        if most.is_some_and(|most| most < least) || rest.is_none() && least > first {
            return Err(place.key("minItems").error("asks for more items than there may be"));
        }
        let comma = self.comma();
        let rest = rest.map(|item| self.parts.rule(&item));
        let mut text = rest.map_or_else(String::new, |item| {
            repeated(&item, &comma, first == 0, least.saturating_sub(first), most.map(|most| most - first))
        });
        for (at, item) in items.iter().enumerate().rev() {
            let comma = if at == 0 { "\"\"" } else { &comma };
            text = format!("{comma} {item} {text}");
            let rest = self.parts.rule(&text);
            text = if least <= at as u64 { format!("{rest}?") } else { rest };
        }
        Ok(format!("\"[\" {text} \"]\""))
    }

    fn comma(&self) -> String {
        lark::text(if self.dialect == Dialect::Python { ", " } else { "," })
    }

    /// Members in their order, those that are not required left out at will.
    fn members(&mut self, members: &Members<'a>, of: Of, place: &Place<'_>) -> Result<String, GrammarError> {
        let Members { named, others } = members;
        let above = place.key("properties");
        let mut all = Vec::with_capacity(named.len() + 1);
        for Member { name, schema, required } in named {
            let place = above.key(name);
            let key = self.key(name, of);
            let key =
                key.ok_or_else(|| place.error("has a name that this model's way of writing calls cannot hold"))?;
            let value = self.value(schema, &place)?;
            all.push((format!("{} {value}", self.parts.written(&key)), *required));
        }
        if let Some(schema) = others {
            let value = self.value(schema, &place.key("additionalProperties"))?;
            let key = self.other_key(named, of);
            let member = self.parts.rule(&format!("{key} {value}"));
            all.push((repeated(&member, &self.comma(), true, 1, None), false));
        }
        if all.is_empty() {
            return Ok(lark::text(""));
        }
        let sequence = self.sequence(&all);
        Ok(if all.iter().any(|(_, required)| *required) { sequence } else { format!("({sequence})?") })
    }

    /// At least one of some members, with commas between them. Halves of halves: rules that led from each member to the
    /// next would be as deep as there are members.
    fn sequence(&mut self, members: &[(String, bool)]) -> String {
        if let [(member, _)] = members {
            return member.clone();
        }
        let required = |members: &[(String, bool)]| members.iter().any(|(_, required)| *required);
        let (left, right) = members.split_at(members.len() / 2);
        let (needs_left, needs_right) = (required(left), required(right));
        let (left, right) = (self.sequence(left), self.sequence(right));
        let (left, right, comma) = (self.parts.rule(&left), self.parts.rule(&right), self.comma());
        match (needs_left, needs_right) {
            (true, true) => format!("{left} {comma} {right}"),
            (true, false) => format!("{left} ({comma} {right})?"),
            (false, true) => format!("({left} {comma})? {right}"),
            (false, false) => format!("({left} ({comma} {right})? | {right})"),
        }
    }

    /// A key and what stands between it and its value; `None` where it cannot be written.
    fn key(&self, name: &str, of: Of) -> Option<String> {
        match (self.dialect, of) {
            (Dialect::Python, Of::Call) => is_word(name).then(|| format!("{name}=")),
            (Dialect::Python, Of::Map) => key(name, self.dialect).map(|key| format!("{key}: ")),
            (Dialect::Gemma, _) => key(name, self.dialect).map(|key| format!("{key}:")),
        }
    }

    /// Any key but these.
    fn other_key(&mut self, named: &[Member<'_>], of: Of) -> String {
        let mut body = "/[A-Za-z_][A-Za-z0-9_]{0,63}/".to_owned();
        if !named.is_empty() {
            body += &format!(" & ~/{}/", lark::choice(named.iter().map(|member| member.name)));
        }
        match (self.dialect, of) {
            (Dialect::Python, Of::Call) => self.parts.ended(&body, "="),
            (Dialect::Python, Of::Map) => self.parts.around("\"", &body, "\": "),
            (Dialect::Gemma, _) => self.parts.ended(&body, ":"),
        }
    }

    /// Any value, as a rule.
    fn any(&mut self) -> Result<String, GrammarError> {
        if let Some(name) = &self.any {
            return Ok(name.clone());
        }
        let any = self.parts.name();
        self.any = Some(any.clone());
        let (nothing, place) = (Map::new(), Place::root());
        let mut options = Vec::new();
        for name in ["null", "boolean", "number", "string"] {
            options.push(self.scalar(name, &nothing, &place)?);
        }
        let comma = self.comma();
        options.push(format!("\"[\" {} \"]\"", repeated(&any, &comma, true, 0, None)));
        let key = self.other_key(&[], Of::Map);
        let member = self.parts.rule(&format!("{key} {any}"));
        options.push(format!("\"{{\" {} \"}}\"", repeated(&member, &comma, true, 0, None)));
        self.parts.define(&any, &options.join(" | "));
        Ok(any)
    }
}

/// So many of an item, with commas between them, and before them where they are not the first.
fn repeated(item: &str, comma: &str, first: bool, least: u64, most: Option<u64>) -> String {
    let more = |least: u64, most: Option<u64>| {
        if most == Some(0) {
            return lark::text("");
        }
        let most = most.map(|most| most.to_string()).unwrap_or_default();
        format!("({comma} {item}){{{least},{most}}}")
    };
    if !first {
        return more(least, most);
    }
    let all = format!("{item} {}", more(least.saturating_sub(1), most.map(|most| most.saturating_sub(1))));
    if least == 0 { format!("({all})?") } else { all }
}

/// The values that `const` or `enum` names, where one of them is there.
fn named(keys: &Map<String, Value>) -> Option<Vec<&Value>> {
    if let Some(value) = keys.get("const") {
        return Some(vec![value]);
    }
    Some(keys.get("enum")?.as_array()?.iter().collect())
}
