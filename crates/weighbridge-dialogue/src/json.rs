//! `tojson` as Hugging Face defines it for templates: Python's `json.dumps` with `ensure_ascii=False`.
//!
//! Jinja's own filter escapes `<`, `>`, `&` and `'` for HTML; this one must not.
//! `def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False)` stands in
//! transformers' `utils/chat_template_utils.py`.

use std::fmt::Write;

use minijinja::value::{Kwargs, ValueKind};
use minijinja::{Error, ErrorKind, State, Value};

use crate::python;

/// Deepest nesting that is written: Python's own limit is its recursion limit of 1,000, ours the stack
/// of a worker thread.
const MAX_DEPTH: usize = 200;

/// Longest text that is written; with `indent`, it can be far longer than the value.
const MAX_BYTES: usize = 64 << 20;

/// Bytes of output that cost one unit of fuel, as minijinja charges for what it serialises itself.
const BYTES_PER_FUEL: u64 = 4;

/// The filter.
///
/// # Errors
/// When Python could not serialise the value (it is undefined, or a generator), or the arguments are wrong.
pub(crate) fn tojson(state: &State, value: &Value, ascii: Option<bool>, kwargs: Kwargs) -> Result<Value, Error> {
    let mut writer = Writer::new(ascii, &kwargs)?;
    kwargs.assert_all_used()?;
    writer.value(value, 0)?;
    state.consume_fuel(writer.out.len() as u64 / BYTES_PER_FUEL)?;
    Ok(writer.out.into())
}

struct Writer {
    out: String,
    indent: Option<String>,
    item_separator: String,
    key_separator: String,
    ensure_ascii: bool,
    sort_keys: bool,
}

impl Writer {
    fn new(ascii: Option<bool>, kwargs: &Kwargs) -> Result<Self, Error> {
        let indent = indent(kwargs.get("indent")?)?;
        let separators: Option<Vec<String>> = kwargs.get("separators")?;
        let (item_separator, key_separator) = match separators.as_deref() {
            None if indent.is_some() => (",".into(), ": ".into()),
            None => (", ".into(), ": ".into()),
            Some([item, key]) => (item.clone(), key.clone()),
            Some(_) => {
                return Err(Error::new(ErrorKind::InvalidOperation, "separators of tojson are a pair of strings"));
            }
        };
        Ok(Self {
            out: String::new(),
            indent,
            item_separator,
            key_separator,
            ensure_ascii: ascii.or(kwargs.get("ensure_ascii")?).unwrap_or(false),
            sort_keys: kwargs.get::<Option<bool>>("sort_keys")?.unwrap_or(false),
        })
    }

    fn value(&mut self, value: &Value, depth: usize) -> Result<(), Error> {
        if depth > MAX_DEPTH {
            return Err(Error::new(ErrorKind::BadSerialization, "the value is nested too deeply"));
        }
        if self.out.len() > MAX_BYTES {
            return Err(Error::new(ErrorKind::BadSerialization, "the value is too long"));
        }
        match value.kind() {
            ValueKind::None => self.out.push_str("null"),
            ValueKind::Bool => self.out.push_str(if value.is_true() { "true" } else { "false" }),
            ValueKind::Number => self.number(value),
            ValueKind::String => self.string(value.as_str().unwrap_or_default()),
            ValueKind::Seq => self.list(value, depth)?,
            // A slice or a sum of lists, which are lists to Python.
            ValueKind::Iterable if !python::is_lazy(value) => self.list(value, depth)?,
            ValueKind::Map => self.dict(value, depth)?,
            kind => return Err(not_serializable(kind)),
        }
        Ok(())
    }

    fn number(&mut self, value: &Value) {
        if value.is_integer() {
            self.out.push_str(&value.to_string());
            return;
        }
        let number = f64::try_from(value.clone()).unwrap_or(f64::NAN);
        match number {
            _ if number.is_nan() => self.out.push_str("NaN"),
            f64::INFINITY => self.out.push_str("Infinity"),
            f64::NEG_INFINITY => self.out.push_str("-Infinity"),
            _ => self.out.push_str(&python::float(number)),
        }
    }

    fn list(&mut self, list: &Value, depth: usize) -> Result<(), Error> {
        self.out.push('[');
        let mut empty = true;
        for item in list.try_iter()? {
            self.begin_item(&mut empty, depth + 1);
            self.value(&item, depth + 1)?;
        }
        self.end(']', empty, depth);
        Ok(())
    }

    fn dict(&mut self, dict: &Value, depth: usize) -> Result<(), Error> {
        self.out.push('{');
        let mut keys: Vec<Value> = dict.try_iter()?.collect();
        if self.sort_keys {
            keys.sort();
        }
        let mut empty = true;
        for key in keys {
            self.begin_item(&mut empty, depth + 1);
            self.key(&key)?;
            let separator = std::mem::take(&mut self.key_separator);
            self.out.push_str(&separator);
            self.key_separator = separator;
            self.value(&dict.get_item(&key)?, depth + 1)?;
        }
        self.end('}', empty, depth);
        Ok(())
    }

    /// Python writes keys that are no strings as their JSON text, quoted.
    fn key(&mut self, key: &Value) -> Result<(), Error> {
        match key.kind() {
            ValueKind::String => self.string(key.as_str().unwrap_or_default()),
            ValueKind::None | ValueKind::Bool | ValueKind::Number => {
                self.out.push('"');
                self.value(key, 0)?;
                self.out.push('"');
            }
            kind => return Err(not_serializable(kind)),
        }
        Ok(())
    }

    fn begin_item(&mut self, empty: &mut bool, depth: usize) {
        if !std::mem::replace(empty, false) {
            self.out.push_str(&self.item_separator);
        }
        self.line(depth);
    }

    fn end(&mut self, bracket: char, empty: bool, depth: usize) {
        if !empty {
            self.line(depth);
        }
        self.out.push(bracket);
    }

    fn line(&mut self, depth: usize) {
        if let Some(indent) = &self.indent {
            self.out.push('\n');
            self.out.extend(std::iter::repeat_n(indent.as_str(), depth));
        }
    }

    fn string(&mut self, text: &str) {
        self.out.push('"');
        for c in text.chars() {
            match c {
                '"' => self.out.push_str("\\\""),
                '\\' => self.out.push_str("\\\\"),
                '\n' => self.out.push_str("\\n"),
                '\r' => self.out.push_str("\\r"),
                '\t' => self.out.push_str("\\t"),
                '\u{8}' => self.out.push_str("\\b"),
                '\u{c}' => self.out.push_str("\\f"),
                c if c < ' ' || (self.ensure_ascii && !c.is_ascii()) => self.escape(c),
                c => self.out.push(c),
            }
        }
        self.out.push('"');
    }

    fn escape(&mut self, c: char) {
        for unit in c.encode_utf16(&mut [0; 2]) {
            // Writing to a string cannot fail.
            let _ = write!(self.out, "\\u{unit:04x}");
        }
    }
}

/// The text of one level: a number of spaces, or the string itself.
fn indent(indent: Option<Value>) -> Result<Option<String>, Error> {
    let Some(indent) = indent.filter(|indent| !indent.is_none()) else { return Ok(None) };
    if let Some(text) = indent.as_str() {
        return Ok(Some(text.into()));
    }
    let spaces = i64::try_from(indent)?.clamp(0, 64);
    Ok(Some(" ".repeat(usize::try_from(spaces).unwrap_or_default())))
}

fn not_serializable(kind: ValueKind) -> Error {
    Error::new(ErrorKind::BadSerialization, format!("a value of type {kind} is not JSON serializable"))
}
