//! Calls of tools under a grammar.

use serde_json::{Value, json};
use weighbridge_backend::{TextForm, Tool, ToolChoice, ToolKind};

use super::form::{Calls, Parts, escaped, slashes};
use super::{GrammarError, schema};
use crate::tools::{CallShape, ToolShape};
use crate::{ToolFormat, custom};

/// How a model writes calls: `open begin NAME between ARGUMENTS end (separator begin …)* close`, where the arguments are
/// a JSON object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallForm {
    /// Before the first call.
    pub open: String,
    /// Before the name of each.
    pub begin: String,
    /// Between its name and its arguments.
    pub between: String,
    /// After its arguments.
    pub end: String,
    /// Between two calls; `None` where there can be but one.
    pub separator: Option<String>,
    /// After the last call.
    pub close: String,
    /// What calls begin with and free text never has: the beginning of `open` and `begin`.
    pub trigger: String,
    /// Words of these texts that may be tokens by themselves and no text.
    pub markers: Vec<String>,
}

impl CallForm {
    /// That of a format; `None` where its calls cannot be held: its arguments are no JSON, its calls are numbered or
    /// are messages of their own, or nothing tells the beginning of one from a text.
    pub fn of(format: ToolFormat) -> Option<Self> {
        let ToolShape { begin: open, call, between: separator, end: close, several } = format.shape();
        let CallShape::Json { begin, join, end, numbered: false } = call else { return None };
        let markers = format.markers();
        let beginning = format!("{open}{begin}");
        let trigger =
            markers.iter().filter(|marker| beginning.starts_with(**marker)).max_by_key(|marker| marker.len())?;
        let own = |text: &str| text.to_owned();
        (format != ToolFormat::Harmony).then(|| Self {
            open: own(open),
            begin: own(begin),
            between: own(join),
            end: own(end),
            separator: several.then(|| own(separator)),
            close: own(close),
            trigger: own(trigger),
            markers: markers.iter().map(|marker| own(marker)).collect(),
        })
    }
}

/// An answer with calls, or beside these a text, which `constraint` says what it must be.
pub(super) fn answer(
    calls: Calls<'_>,
    constraint: Option<String>,
    parts: &mut Parts<'_>,
) -> Result<String, GrammarError> {
    let (names, required) = match calls.choice {
        ToolChoice::Auto | ToolChoice::None => (None, false),
        ToolChoice::Required => (None, true),
        ToolChoice::Named(name) => (Some(std::slice::from_ref(name)), true),
        ToolChoice::Allowed { names, required } => (Some(names.as_slice()), *required),
    };
    let may_be_called = |tool: &&Tool| names.is_none_or(|names| names.contains(&tool.name));
    let tools: Vec<&Tool> = calls.tools.iter().filter(may_be_called).collect();
    if tools.is_empty() {
        return Err(GrammarError::new("none of the tools that may be called is announced"));
    }
    let several = calls.several && !matches!(calls.choice, ToolChoice::Named(_));
    let CallForm { open, begin, trigger, markers, .. } = calls.shape;
    call_rules(calls.shape, &tools, several, parts)?;
    let first = format!("{open}{begin}");
    let whole = format!("{} calls", parts.written(&first, markers));
    if required {
        return Ok(whole);
    }
    if let Some(constraint) = constraint {
        return Ok(format!("({whole}) | ({constraint})"));
    }
    let rest = first.strip_prefix(trigger.as_str()).unwrap_or_default();
    let lead = parts.up_to("lead", trigger);
    let tail = if rest.is_empty() { String::new() } else { parts.written(rest, markers) };
    let plain = match (parts.marker)(trigger) {
        Some(_) => "ANY_TEXT?".to_owned(),
        None => {
            let trigger = slashes(&escaped(trigger));
            parts.rules.push(format!("PLAIN: /(?s:.+)/ & ~/(?s:.*){trigger}(?s:.*)/"));
            "PLAIN?".to_owned()
        }
    };
    Ok(format!("({lead} {tail} calls) | {plain}"))
}

/// The rule `calls`: from the name of the first call to the end of the last.
fn call_rules(shape: &CallForm, tools: &[&Tool], several: bool, parts: &mut Parts<'_>) -> Result<(), GrammarError> {
    let mut options = Vec::with_capacity(tools.len());
    for (index, tool) in tools.iter().enumerate() {
        let schema = arguments(tool)?;
        let arguments = parts.schema(&format!("arguments_{index}"), schema);
        let name = Value::from(tool.name.as_str()).to_string();
        let before = parts.written(&format!("{}{}", name.trim_matches('"'), shape.between), &shape.markers);
        options.push(format!("{before} {arguments}"));
    }
    let end = parts.written(&shape.end, &shape.markers);
    parts.rules.push(format!("call: ({}) {end}", options.join(" | ")));
    let close = if shape.close.is_empty() { String::new() } else { parts.written(&shape.close, &shape.markers) };
    let more = shape.separator.as_ref().filter(|_| several).map_or_else(String::new, |separator| {
        let again = format!("{separator}{}", shape.begin);
        format!("({} call)*", parts.written(&again, &shape.markers))
    });
    parts.rules.push(format!("calls: call {more} {close}"));
    Ok(())
}

/// What the arguments of a call of a tool must be. Where the tool is not strict, a schema that cannot be enforced leaves
/// any object.
fn arguments(tool: &Tool) -> Result<Value, GrammarError> {
    if let ToolKind::Custom(form) = &tool.kind {
        return text_argument(form).map_err(|error| GrammarError::new(format!("the tool {:?}: {error}", tool.name)));
    }
    let schema = parameters(tool).and_then(|schema| {
        let enforced = schema::prepare_value(schema)?;
        super::compiles(&enforced)?;
        Ok(enforced)
    });
    match schema {
        Ok(schema) => Ok(schema),
        Err(error) if tool.strict => Err(GrammarError::new(format!("the tool {:?}: {error}", tool.name))),
        Err(_) => schema::prepare_value(json!({"type": "object"})),
    }
}

/// What the arguments of a call of a custom tool must be: an object with its text.
fn text_argument(form: &TextForm) -> Result<Value, GrammarError> {
    let mut text = json!({"type": "string"});
    match form {
        TextForm::Free => {}
        TextForm::Regex(expression) => text["pattern"] = format!("^(?:{expression})$").into(),
        TextForm::Lark(_) => {
            let problem = "this model writes the text of a custom tool as a JSON string, which no Lark grammar holds; use a regex";
            return Err(GrammarError::new(problem));
        }
    }
    let schema = json!({
        "type": "object",
        "properties": {custom::INPUT: text},
        "required": [custom::INPUT],
        "additionalProperties": false
    });
    let schema = schema::prepare_value(schema)?;
    super::compiles(&schema)?;
    Ok(schema)
}

/// The schema of a function's arguments, an object: without one it takes none.
fn parameters(tool: &Tool) -> Result<Value, GrammarError> {
    let definition: Value =
        serde_json::from_str(&tool.definition.0).map_err(|_| GrammarError::new("its definition is no JSON"))?;
    let schema = definition.get("function").and_then(|function| function.get("parameters"));
    match schema {
        None | Some(Value::Null) => Ok(json!({"type": "object", "properties": {}, "additionalProperties": false})),
        Some(Value::Object(keys)) => {
            let mut keys = keys.clone();
            match keys.get("type").and_then(Value::as_str) {
                Some("object") => {}
                None if !keys.contains_key("type") => _ = keys.insert("type".into(), "object".into()),
                _ => return Err(GrammarError::new("its parameters are not of the type object")),
            }
            Ok(Value::Object(keys))
        }
        Some(_) => Err(GrammarError::new("its parameters are no JSON Schema")),
    }
}
