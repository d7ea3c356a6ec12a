//! Where in a schema other schemas are, and how a place in it is named.

use std::fmt::Write;

use serde_json::{Map, Value};

use super::super::GrammarError;

/// The schemas that a keyword holds.
pub(super) enum Subschemas<'a> {
    None,
    One(&'a mut Value),
    List(&'a mut Vec<Value>),
    Named(&'a mut Map<String, Value>),
}

/// The schemas of a keyword; what is written elsewhere (`enum`, `default`, …) is data.
pub(super) fn subschemas<'a>(keyword: &str, value: &'a mut Value) -> Subschemas<'a> {
    match (keyword, value) {
        ("items", Value::Array(schemas)) => Subschemas::List(schemas),
        ("items" | "additionalItems" | "additionalProperties", schema) => Subschemas::One(schema),
        ("allOf" | "anyOf" | "oneOf" | "prefixItems", Value::Array(schemas)) => Subschemas::List(schemas),
        ("properties" | "patternProperties" | "$defs" | "definitions", Value::Object(schemas)) => {
            Subschemas::Named(schemas)
        }
        // Not of the type that it has to be: a schema that is none, which is told with its place.
        ("allOf" | "anyOf" | "oneOf" | "prefixItems" | "properties" | "patternProperties", other) => {
            Subschemas::One(other)
        }
        _ => Subschemas::None,
    }
}

/// A place in a schema, as a JSON Pointer.
pub(in crate::grammar) struct Place<'a> {
    above: Option<&'a Place<'a>>,
    step: String,
    depth: usize,
}

impl<'a> Place<'a> {
    pub(in crate::grammar) fn root() -> Self {
        Self { above: None, step: String::new(), depth: 0 }
    }

    pub(in crate::grammar) fn key(&'a self, key: &str) -> Self {
        Self { above: Some(self), step: key.replace('~', "~0").replace('/', "~1"), depth: self.depth + 1 }
    }

    pub(in crate::grammar) fn index(&'a self, index: usize) -> Self {
        Self { above: Some(self), step: index.to_string(), depth: self.depth + 1 }
    }

    pub(in crate::grammar) fn depth(&self) -> usize {
        self.depth
    }

    pub(in crate::grammar) fn is_root(&self) -> bool {
        self.above.is_none()
    }

    /// An error that tells the place and what is wrong there.
    pub(in crate::grammar) fn error(&self, problem: &str) -> GrammarError {
        let mut pointer = String::from("#");
        self.write(&mut pointer);
        let shown: String = pointer.chars().take(200).collect();
        GrammarError::new(format!("the schema's {shown} {problem}"))
    }

    fn write(&self, pointer: &mut String) {
        if let Some(above) = self.above {
            above.write(pointer);
            // Writing to a string does not fail.
            _ = write!(pointer, "/{}", self.step);
        }
    }
}
