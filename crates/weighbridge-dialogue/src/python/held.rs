//! What loops and variables of a template may hold.
//!
//! minijinja walks and drops nested values by recursion, and keeps slices as references to what they
//! were cut from; a template that nests a value in itself once a turn would overflow the stack. Only
//! what a `set` keeps can grow like that, so everything it keeps passes here. [`crate::source`] sees to it.

use minijinja::value::{Value, ValueKind};
use minijinja::{Error, ErrorKind, State};

use super::lazy;

/// Deepest nesting of a value: a request's JSON may have 128 levels, which stand under a message.
pub(super) const MAX_DEPTH: usize = 200;

/// Longest text of a variable, the same as of a prompt.
const MAX_TEXT_BYTES: usize = 64 << 20;

/// Items walked over for one unit of fuel.
const ITEMS_PER_FUEL: usize = 4;

/// The filter for what a loop goes through: anything that Python would, so not `None`.
///
/// # Errors
/// For `None`.
pub(super) fn iterated(value: Value) -> Result<Value, Error> {
    if value.is_none() {
        return Err(Error::new(ErrorKind::InvalidOperation, "none is not iterable"));
    }
    Ok(value)
}

/// The filter for what a variable keeps. A slice becomes a list of its own, as in Python.
///
/// # Errors
/// When the value is too deep or too long.
pub(super) fn stored(state: &State, value: Value) -> Result<Value, Error> {
    let is = |name| is_engine_object(&value, name);
    if is("Loop") {
        return Ok(value);
    }
    if is("Namespace") {
        let parts = value.try_iter()?.map(|key| value.get_item(&key)).collect::<Result<Vec<_>, _>>()?;
        for part in parts {
            stored_in_namespace(state, part)?;
        }
        return Ok(value);
    }
    stored_in_namespace(state, value)
}

/// The filter for what an attribute of a namespace keeps, which outlives a loop's turn: plain data.
///
/// # Errors
/// When the value is too deep or too long, or holds a namespace or a loop, which could hold it in turn.
pub(super) fn stored_in_namespace(state: &State, value: Value) -> Result<Value, Error> {
    if value.as_str().is_some_and(|text| text.len() > MAX_TEXT_BYTES) {
        return Err(refuse("too long"));
    }
    let value = match value.kind() {
        ValueKind::Iterable if !lazy::is_lazy(&value) => value.try_iter()?.collect(),
        _ => value,
    };
    let mut items = 0;
    depth(&value, &mut items, 0)?;
    state.consume_fuel((items / ITEMS_PER_FUEL) as u64)?;
    Ok(value)
}

/// Returns how many levels a value has below it, and adds what it holds to `items`. `above` levels are
/// above it.
///
/// # Errors
/// When that makes more than [`MAX_DEPTH`], or a namespace or a loop is among what it holds.
pub(super) fn depth(value: &Value, items: &mut usize, above: usize) -> Result<usize, Error> {
    if above > MAX_DEPTH {
        return Err(refuse("nested too deeply"));
    }
    *items += 1;
    if let Some(below) = lazy::depth(value) {
        return if above + below > MAX_DEPTH { Err(refuse("nested too deeply")) } else { Ok(below) };
    }
    if is_engine_object(value, "Namespace") || is_engine_object(value, "Loop") {
        return Err(refuse("kept where it could hold itself"));
    }
    let mut deepest = 0;
    match value.kind() {
        ValueKind::Seq | ValueKind::Iterable => {
            for item in value.try_iter()? {
                deepest = deepest.max(1 + depth(&item, items, above + 1)?);
            }
        }
        ValueKind::Map => {
            for (_, item) in value.as_object().into_iter().filter_map(|map| map.try_iter_pairs()).flatten() {
                deepest = deepest.max(1 + depth(&item, items, above + 1)?);
            }
        }
        _ => {}
    }
    Ok(deepest)
}

/// Whether it is an object of minijinja's own, by the name of its type, which is private.
fn is_engine_object(value: &Value, name: &str) -> bool {
    value.as_object().is_some_and(|object| object.type_name().rsplit("::").next() == Some(name))
}

fn refuse(what: &str) -> Error {
    Error::new(ErrorKind::InvalidOperation, format!("a value of the template is {what}"))
}
