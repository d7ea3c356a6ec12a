//! Python's lazy values: generators, which are read once, have no length and are always true, and the
//! views of a dictionary. Neither can be written as JSON, which is how some templates fail.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use minijinja::value::{Enumerator, Object, ObjectRepr, Value};
use minijinja::{Error, ErrorKind, State, filters};

use super::held;

/// Whether the value is a generator or a view.
pub(crate) fn is_lazy(value: &Value) -> bool {
    value.downcast_object_ref::<Generator>().is_some() || value.downcast_object_ref::<View>().is_some()
}

/// Returns how many levels a generator or a view has below it; `None` for other values.
pub(super) fn depth(value: &Value) -> Option<usize> {
    let of_generator = value.downcast_object_ref::<Generator>().map(|generator| generator.depth);
    of_generator.or_else(|| value.downcast_object_ref::<View>().map(|view| view.depth))
}

/// Returns a generator of the items of `values`.
///
/// # Errors
/// When `values` cannot be iterated over, or is nested too deeply.
pub(super) fn generator(values: Value) -> Result<Value, Error> {
    let depth = held::depth(&values, &mut 0, 0)?;
    Ok(Value::from_object(Generator { left: Mutex::new(values.try_iter()?.collect()), depth }))
}

/// Returns a view of a dictionary: its keys, values or items.
///
/// # Errors
/// When they are nested too deeply.
pub(super) fn view(values: impl Iterator<Item = Value>) -> Result<Value, Error> {
    let values: Value = values.collect();
    let depth = held::depth(&values, &mut 0, 0)?;
    Ok(Value::from_object(View { values: values.try_iter()?.collect(), depth }))
}

/// The filter `length`, which fails for generators as Python's `len` does.
///
/// # Errors
/// When the value has no length.
pub(super) fn length(state: &State, value: &Value) -> Result<usize, Error> {
    if value.downcast_object_ref::<Generator>().is_some() {
        return Err(Error::new(ErrorKind::InvalidOperation, "a generator has no length"));
    }
    if let Some(text) = value.as_str() {
        state.consume_fuel(text.len() as u64 / 64)?;
    }
    filters::length(value)
}

#[derive(Debug)]
struct Generator {
    left: Mutex<VecDeque<Value>>,
    depth: usize,
}

impl Object for Generator {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Iterable
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Iter(Box::new(Reading(Arc::clone(self))))
    }

    fn enumerator_len(self: &Arc<Self>) -> Option<usize> {
        None
    }

    fn is_true(self: &Arc<Self>) -> bool {
        true
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<generator object>")
    }
}

struct Reading(Arc<Generator>);

impl Reading {
    fn items(&self) -> std::sync::MutexGuard<'_, VecDeque<Value>> {
        self.0.left.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Iterator for Reading {
    type Item = Value;

    fn next(&mut self) -> Option<Value> {
        self.items().pop_front()
    }

    // Exact, so that `loop.length` and `loop.last` are known, as they are in Jinja.
    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.items().len();
        (left, Some(left))
    }
}

#[derive(Debug)]
struct View {
    values: Vec<Value>,
    depth: usize,
}

impl Object for View {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Iterable
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        let view = Arc::clone(self);
        Enumerator::Iter(Box::new((0..view.values.len()).map(move |index| view.values[index].clone())))
    }
}
