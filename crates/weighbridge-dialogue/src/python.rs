//! Python's ways, where minijinja has its own: what numbers look like, which filters are lazy, what is a
//! sequence. Methods of Python's types are in [`methods`], its lazy values in [`lazy`], what variables
//! may hold in [`held`].

mod held;
mod lazy;
mod methods;

use minijinja::value::{Rest, Value, ValueKind, ValueOrKwargs};
use minijinja::{Environment, Error, Output, State, escape_formatter, filters};

use crate::{json, source};

pub(crate) use lazy::is_lazy;

/// Teaches an environment Python's ways.
pub(crate) fn install(environment: &mut Environment<'static>) {
    environment.set_formatter(print);
    environment.set_unknown_method_callback(methods::call);
    environment.add_test("sequence", is_sequence);
    environment.add_test("iterable", |value: &Value| !value.is_none() && value.try_iter().is_ok());
    environment.add_test("callable", |value: &Value| value.kind() == ValueKind::Plain);
    environment.add_filter("tojson", json::tojson);
    environment.add_filter("string", string);
    environment.add_filter("escape", escape);
    environment.add_filter("e", escape);
    environment.add_filter("length", lazy::length);
    environment.add_filter("count", lazy::length);
    environment.add_filter(source::MARKED, |value: &Value| match value.kind() {
        ValueKind::String => escape(value),
        // No sum of anything else has a safe string in it, as minijinja will say.
        _ => value.clone(),
    });
    environment.add_filter(source::ITERATED, held::iterated);
    environment.add_filter(source::STORED, held::stored);
    environment.add_filter(source::STORED_IN_NAMESPACE, held::stored_in_namespace);
    install_strict(environment);
    install_numbers(environment);
    install_generators(environment);
}

/// Filters that refuse `None`, where minijinja takes it for an empty list.
fn install_strict(environment: &mut Environment<'static>) {
    for (name, filter) in [("list", Value::from_function(filters::list)), ("join", Value::from_function(filters::join))]
    {
        environment.add_filter(name, move |state: &mut State, value: Value, arguments: Rest<ValueOrKwargs>| {
            let mut all = vec![held::iterated(value)?];
            all.extend(arguments.into_values());
            filter.call(state, &all)
        });
    }
}

/// Filters that make a number of anything, if only of their default, which is zero.
fn install_numbers(environment: &mut Environment<'static>) {
    let numbers = [
        ("int", Value::from_function(filters::int), Value::from(0)),
        ("float", Value::from_function(filters::float), Value::from(0.0)),
    ];
    for (name, filter, zero) in numbers {
        environment.add_filter(name, move |state: &mut State, arguments: Rest<ValueOrKwargs>| {
            let mut all = arguments.into_values();
            if all.len() == 1 {
                all.push(zero.clone());
            }
            filter.call(state, &all)
        });
    }
}

/// Filters that are generators in Jinja.
fn install_generators(environment: &mut Environment<'static>) {
    let generators = [
        ("map", Value::from_function(filters::map)),
        ("select", Value::from_function(filters::select)),
        ("reject", Value::from_function(filters::reject)),
        ("selectattr", Value::from_function(filters::selectattr)),
        ("rejectattr", Value::from_function(filters::rejectattr)),
        ("batch", Value::from_function(filters::batch)),
        ("slice", Value::from_function(filters::slice)),
        ("unique", Value::from_function(filters::unique)),
        ("items", Value::from_function(filters::items)),
        ("reverse", Value::from_function(filters::reverse)),
    ];
    for (name, filter) in generators {
        environment.add_filter(name, move |state: &mut State, arguments: Rest<ValueOrKwargs>| {
            let result = filter.call(state, &arguments.into_values())?;
            // A reversed string is a string.
            if result.kind() == ValueKind::String { Ok(result) } else { lazy::generator(result) }
        });
    }
}

/// A float as Python's `repr` writes it: the shortest digits that read back, in scientific notation
/// below 1e-4 and from 1e16.
pub(crate) fn float(number: f64) -> String {
    if number.is_nan() {
        return "nan".into();
    }
    if number.is_infinite() {
        return if number > 0.0 { "inf".into() } else { "-inf".into() };
    }
    let scientific = format!("{number:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    match exponent.parse::<i32>() {
        Ok(exponent) if !(-4..16).contains(&exponent) => {
            let sign = if exponent < 0 { '-' } else { '+' };
            format!("{digits}e{sign}{:02}", exponent.unsigned_abs())
        }
        _ => format!("{number:?}"),
    }
}

fn print(out: &mut Output, state: &mut State, value: &Value) -> Result<(), Error> {
    match as_float(value) {
        Some(number) => Ok(out.write_str(&float(number))?),
        None => escape_formatter(out, state, value),
    }
}

fn string(value: &Value) -> Value {
    match as_float(value) {
        Some(number) => float(number).into(),
        None if value.kind() == ValueKind::String => value.clone(),
        None => value.to_string().into(),
    }
}

/// Escapes as `markupsafe.escape` does, unless it was done before.
fn escape(value: &Value) -> Value {
    if value.is_safe() {
        return value.clone();
    }
    let text = string(value).to_string();
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '\'' => escaped.push_str("&#39;"),
            '"' => escaped.push_str("&#34;"),
            c => escaped.push(c),
        }
    }
    Value::from_safe_string(escaped)
}

fn as_float(value: &Value) -> Option<f64> {
    (value.kind() == ValueKind::Number && !value.is_integer()).then(|| f64::try_from(value.clone()).ok()).flatten()
}

/// Whether Python could index it and take its length.
fn is_sequence(value: &Value) -> bool {
    match value.kind() {
        ValueKind::Undefined | ValueKind::String | ValueKind::Seq | ValueKind::Map => true,
        ValueKind::Iterable => !is_lazy(value),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_are_written_as_python_writes_them() {
        let floats = [
            (1.0, "1.0"),
            (-0.0, "-0.0"),
            (0.1, "0.1"),
            (0.0001, "0.0001"),
            (0.00001, "1e-05"),
            (1.5e-7, "1.5e-07"),
            (123_456_789.125, "123456789.125"),
            (1e15, "1000000000000000.0"),
            (1e16, "1e+16"),
            (-2.5e100, "-2.5e+100"),
            (f64::INFINITY, "inf"),
            (f64::NAN, "nan"),
        ];
        for (number, text) in floats {
            assert_eq!(float(number), text);
        }
    }
}
