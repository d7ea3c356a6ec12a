//! What a format's shape says of a call, written and read back.

use proptest::prelude::*;
use serde_json::{Map, Value, json};
use weighbridge_dialogue::{CallShape, ToolFormat, ToolShape};

use crate::{parser, read};

/// The calls as the shape says.
pub(crate) fn write(format: ToolFormat, calls: &[(&str, Map<String, Value>)]) -> String {
    let ToolShape { begin, call, between, end, .. } = format.shape();
    let calls: Vec<_> = calls.iter().zip(0..).map(|((name, arguments), at)| one(call, at, name, arguments)).collect();
    format!("{begin}{}{end}", calls.join(between))
}

fn one(shape: CallShape, at: usize, name: &str, arguments: &Map<String, Value>) -> String {
    match shape {
        CallShape::Json { begin, join, end, numbered } => {
            let number = if numbered { format!(":{at}") } else { String::new() };
            format!("{begin}{name}{number}{join}{}{end}", Value::from(arguments.clone()))
        }
        CallShape::Tags { begin, after_name, before_key, after_text_key, after_key, after_value, end } => {
            let argument = |(key, value): (&String, &Value)| match value.as_str() {
                Some(text) => format!("{before_key}{key}{after_text_key}{text}{after_value}"),
                None => format!("{before_key}{key}{after_key}{value}{after_value}"),
            };
            format!("{begin}{name}{after_name}{}{end}", arguments.iter().map(argument).collect::<String>())
        }
        CallShape::Python => {
            let arguments: Vec<_> = arguments.iter().map(|(key, value)| format!("{key}={}", python(value))).collect();
            format!("{name}({})", arguments.join(", "))
        }
        CallShape::Gemma => format!("call:{name}{}", gemma(&Value::from(arguments.clone()))),
    }
}

fn python(value: &Value) -> String {
    match value {
        Value::Null => "None".into(),
        Value::Bool(true) => "True".into(),
        Value::Bool(false) => "False".into(),
        Value::Array(items) => format!("[{}]", items.iter().map(python).collect::<Vec<_>>().join(", ")),
        Value::Object(items) => {
            let items = items.iter().map(|(key, value)| format!("{}: {}", python(&json!(key)), python(value)));
            format!("{{{}}}", items.collect::<Vec<_>>().join(", "))
        }
        other => other.to_string(),
    }
}

fn gemma(value: &Value) -> String {
    match value {
        Value::String(text) => format!("<|\"|>{text}<|\"|>"),
        Value::Array(items) => format!("[{}]", items.iter().map(gemma).collect::<Vec<_>>().join(",")),
        Value::Object(items) => {
            let items = items.iter().map(|(key, value)| format!("{key}:{}", gemma(value)));
            format!("{{{}}}", items.collect::<Vec<_>>().join(","))
        }
        other => other.to_string(),
    }
}

/// Any JSON, keys plain as formats without quotes need them. Of texts, those that every format can write.
fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        (-1000_i32..1000).prop_map(|number| Value::from(f64::from(number) / 8.0)),
        "[a-zü\"'{}\\[\\], :=]{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(2, 8, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::vec(("[a-z_]{1,4}", inner), 0..3).prop_map(|pairs| pairs.into_iter().collect()),
        ]
    })
}

prop_compose! {
    pub(crate) fn arguments()(
        query in prop::option::of("[ -~ü\n]{0,12}"),
        limit in prop::option::of(any::<i32>()),
        tags in prop::option::of(prop::collection::vec(value(), 0..3)),
    ) -> Map<String, Value> {
        let query = query.map(|query| ("query".to_owned(), Value::from(query)));
        let limit = limit.map(|limit| ("limit".to_owned(), Value::from(limit)));
        let tags = tags.map(|tags| ("tags".to_owned(), Value::from(tags)));
        [query, limit, tags].into_iter().flatten().collect()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn calls_come_back_equal(
        format in prop::sample::select(ToolFormat::ALL),
        calls in prop::collection::vec(arguments(), 1..3),
    ) {
        let calls = if format.shape().several { calls } else { calls[..1].to_vec() };
        let named: Vec<_> = calls.iter().map(|arguments| ("search", arguments.clone())).collect();
        let answer = write(format, &named);
        let read = read(parser(Some(format), None), [answer.as_str()]);
        prop_assert_eq!(&read.text, "", "{}", answer);
        let back: Vec<Value> = read.calls.iter().filter_map(|(_, text)| serde_json::from_str(text).ok()).collect();
        prop_assert_eq!(back, calls.into_iter().map(Value::from).collect::<Vec<_>>(), "{}: {}", format, answer);
        prop_assert!(read.calls.iter().all(|(name, _)| name == "search"));
    }
}
