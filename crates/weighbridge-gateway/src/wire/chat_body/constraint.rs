//! What the text of the answer must be: OpenAI's `response_format`, and the names that vLLM has for more.

use serde_json::Value;
use weighbridge_backend::{Asked, Capability, Constraint, Json};

use super::{Fields, WireError, need};

/// The longest text of a constraint, bytes. A body's own bound is far above what can be compiled in useful time.
const MAX_BYTES: usize = 1 << 20;
const MAX_CHOICES: usize = 4_096;

/// The one constraint that a body holds.
pub(in crate::wire) fn constraint(
    fields: &Fields<'_>,
    asked: &mut Vec<Asked>,
) -> Result<Option<Constraint>, WireError> {
    let mut found: Option<(String, Constraint)> = None;
    let mut take = |parameter: String, constraint: Constraint| match &found {
        Some((first, _)) => Err(WireError::invalid(
            &parameter,
            format!("'{first}' says already what the answer must be; send one of them"),
        )),
        None => {
            found = Some((parameter, constraint));
            Ok(())
        }
    };
    if let Some(constraint) = response_format(fields)? {
        take("response_format".into(), constraint)?;
    }
    for (key, field) in
        [("guided_json", "json"), ("guided_regex", "regex"), ("guided_choice", "choice"), ("guided_grammar", "grammar")]
    {
        if let Some(value) = fields.get(key) {
            take(key.into(), of_kind(field, value, key)?)?;
        }
    }
    if let Some(outputs) = fields.object("structured_outputs")? {
        for key in outputs.keys() {
            let (path, value) = (outputs.path(key), outputs.required(key)?);
            match key {
                "json" | "regex" | "choice" | "grammar" => take(path.clone(), of_kind(key, value, &path)?)?,
                "json_object" if outputs.boolean(key)? == Some(true) => take(path, Constraint::JsonObject)?,
                "json_object" => {}
                _ => {
                    let message =
                        format!("Unknown parameter: '{path}'. There are json, json_object, regex, choice and grammar.");
                    return Err(WireError::at(&path, "unknown_parameter", message));
                }
            }
        }
    }
    let Some((parameter, constraint)) = found else { return Ok(None) };
    let capability = match constraint {
        Constraint::JsonObject | Constraint::JsonSchema(_) => Capability::ResponseFormat,
        _ => Capability::StructuredOutputs,
    };
    // What only vLLM calls so, a backend of OpenAI's own dialect does not know.
    let capability = if parameter == "response_format" { capability } else { Capability::StructuredOutputs };
    asked.push(need(&parameter, capability));
    Ok(Some(constraint))
}

fn response_format(fields: &Fields<'_>) -> Result<Option<Constraint>, WireError> {
    let Some(format) = fields.object("response_format")? else { return Ok(None) };
    match format.required_string("type")? {
        "text" => Ok(None),
        // llama.cpp's, Together's and Fireworks' way to send a schema.
        "json_object" => match format.get("schema") {
            Some(schema) => schema_of(schema, &format.path("schema")).map(Some),
            None => Ok(Some(Constraint::JsonObject)),
        },
        "json_schema" => {
            let inner = format.object("json_schema")?.ok_or_else(|| WireError::missing(&format.path("json_schema")))?;
            name(&inner)?;
            inner.boolean("strict")?;
            inner.string("description")?;
            let schema = inner.required("schema")?;
            schema_of(schema, &inner.path("schema")).map(Some)
        }
        _ => Err(WireError::invalid("response_format.type", "expected text, json_object or json_schema")),
    }
}

/// OpenAI wants one, of at most 64 letters, digits, dashes and underscores.
pub(in crate::wire) fn name(schema: &Fields<'_>) -> Result<(), WireError> {
    let name = schema.required_string("name")?;
    let fits = |character: char| character.is_ascii_alphanumeric() || matches!(character, '_' | '-');
    if name.is_empty() || name.len() > 64 || !name.chars().all(fits) {
        let why = "expected 1 to 64 letters, digits, underscores and dashes";
        return Err(WireError::invalid(&schema.path("name"), why));
    }
    Ok(())
}

fn of_kind(kind: &str, value: &Value, path: &str) -> Result<Constraint, WireError> {
    let text = || match value {
        Value::String(text) if text.is_empty() => Err(WireError::invalid(path, "it is empty")),
        Value::String(text) => bounded(text, path).map(str::to_owned),
        other => Err(WireError::wrong_type(path, "a string", other)),
    };
    match kind {
        "json" => match value {
            // vLLM takes the schema also as a text.
            Value::String(text) => {
                let schema: Value = serde_json::from_str(bounded(text, path)?)
                    .map_err(|error| WireError::invalid(path, format!("it is no JSON: {error}")))?;
                schema_of(&schema, path)
            }
            schema => schema_of(schema, path),
        },
        "regex" => text().map(Constraint::Regex),
        "grammar" => text().map(Constraint::Lark),
        _ => choices(value, path).map(Constraint::Choice),
    }
}

pub(in crate::wire) fn schema_of(schema: &Value, path: &str) -> Result<Constraint, WireError> {
    if !schema.is_object() && !schema.is_boolean() {
        return Err(WireError::wrong_type(path, "an object", schema));
    }
    let text = schema.to_string();
    bounded(&text, path)?;
    Ok(Constraint::JsonSchema(Json(text.into())))
}

fn choices(value: &Value, path: &str) -> Result<Vec<String>, WireError> {
    let Value::Array(values) = value else { return Err(WireError::wrong_type(path, "an array of strings", value)) };
    if values.is_empty() {
        return Err(WireError::at(path, "empty_array", format!("Invalid '{path}': empty array.")));
    }
    if values.len() > MAX_CHOICES {
        let message = format!("Invalid '{path}': array too long. Expected at most {MAX_CHOICES} choices.");
        return Err(WireError::at(path, "array_above_max_length", message));
    }
    let read = |(i, value): (usize, &Value)| match value {
        Value::String(text) if text.is_empty() => Err(WireError::invalid(&format!("{path}[{i}]"), "it is empty")),
        Value::String(text) => Ok(bounded(text, path)?.to_owned()),
        other => Err(WireError::wrong_type(&format!("{path}[{i}]"), "a string", other)),
    };
    values.iter().enumerate().map(read).collect()
}

fn bounded<'t>(text: &'t str, path: &str) -> Result<&'t str, WireError> {
    if text.len() > MAX_BYTES {
        let message =
            format!("Invalid '{path}': too long. Expected at most {MAX_BYTES} bytes, but got {}.", text.len());
        return Err(WireError::at(path, "string_above_max_length", message));
    }
    Ok(text)
}
