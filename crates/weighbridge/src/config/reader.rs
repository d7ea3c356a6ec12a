//! Typed reading of TOML that goes on after a mistake: each is noted with its place, and the value counts as
//! absent. A table knows which keys were asked for, so that the others are unknown keys.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};
use weighbridge_backend::NanoUsd;

use super::mistake::{Mistake, Mistakes, nearest};

/// Reads one file and gathers its mistakes.
pub(super) struct Reader<'a> {
    file: PathBuf,
    text: &'a str,
    mistakes: RefCell<Vec<Mistake>>,
    broken: Cell<bool>,
}

/// A value and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Located<T> {
    pub(super) value: T,
    pub(super) place: Place,
}

/// Where something stands: for mistakes that show only later.
#[derive(Clone, Debug, Default)]
pub(super) struct Place {
    pub(super) key: String,
    span: Range<usize>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(file: &Path, text: &'a str) -> Self {
        Self { file: file.to_owned(), text, mistakes: RefCell::default(), broken: Cell::new(false) }
    }

    /// Parses the file and reads its root table.
    pub(super) fn root<T>(&self, read: impl FnOnce(&Table<'_, 'a>) -> T) -> T {
        let (root, errors) = DeTable::parse_recoverable(self.text);
        self.broken.set(!errors.is_empty());
        for error in errors {
            let place = Place { key: String::new(), span: error.span().unwrap_or_default() };
            self.mistake(&place, format!("not valid TOML: {}", error.message().trim()), None);
        }
        let table = Table { reader: self, place: Place::default(), table: root.get_ref(), asked: RefCell::default() };
        let value = read(&table);
        table.refuse_unknown_keys();
        value
    }

    /// Whether it is no TOML: then what seems to be missing may stand in what could not be read.
    pub(super) fn is_broken(&self) -> bool {
        self.broken.get()
    }

    pub(super) fn folder(&self) -> &Path {
        self.file.parent().unwrap_or(Path::new(""))
    }

    pub(super) fn mistake(&self, place: &Place, message: impl Into<String>, help: Option<String>) {
        let before = self.text.get(..place.span.start).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        let mistake = Mistake { line, column, key: place.key.clone(), message: message.into(), help };
        self.mistakes.borrow_mut().push(mistake);
    }

    pub(super) fn into_mistakes(self) -> Option<Mistakes> {
        let mut list = self.mistakes.into_inner();
        list.sort_by_key(|mistake| (mistake.line, mistake.column));
        (!list.is_empty()).then_some(Mistakes { file: self.file, list })
    }
}

/// A table of the file.
pub(super) struct Table<'r, 'a> {
    reader: &'r Reader<'a>,
    /// Where it stands.
    pub(super) place: Place,
    table: &'r DeTable<'a>,
    asked: RefCell<BTreeSet<&'static str>>,
}

impl<'r, 'a> Table<'r, 'a> {
    pub(super) fn text(&self, key: &'static str) -> Option<Located<String>> {
        self.typed(key, "a string", |value| value.as_str().map(str::to_owned))
    }

    pub(super) fn required_text(&self, key: &'static str) -> Option<Located<String>> {
        if !self.table.contains_key(key) {
            let message = format!("missing key \"{key}\": expected a string");
            self.reader.mistake(&self.place, message, None);
        }
        self.text(key)
    }

    pub(super) fn boolean(&self, key: &'static str) -> Option<bool> {
        self.typed(key, "true or false", DeValue::as_bool).map(|located| located.value)
    }

    /// A whole number within `range`.
    pub(super) fn integer(&self, key: &'static str, range: Range<u64>) -> Option<u64> {
        let (low, high) = (range.start, range.end.saturating_sub(1));
        let expected = format!("a whole number from {low} to {high}");
        let read = |value: &DeValue<'a>| {
            let integer = value.as_integer()?;
            let number = u64::from_str_radix(integer.as_str(), integer.radix()).ok()?;
            range.contains(&number).then_some(number)
        };
        self.typed(key, &expected, read).map(|located| located.value)
    }

    pub(super) fn size(&self, key: &'static str, range: Range<u64>) -> Option<usize> {
        self.integer(key, range).and_then(|number| usize::try_from(number).ok())
    }

    /// A time in milliseconds; up to a day.
    pub(super) fn milliseconds(&self, key: &'static str) -> Option<Duration> {
        self.integer(key, 1..86_400_001).map(Duration::from_millis)
    }

    /// A number from 0 to 1.
    pub(super) fn share(&self, key: &'static str) -> Option<f64> {
        let read = |value: &DeValue<'a>| number(value).filter(|number| (0.0..=1.0).contains(number));
        self.typed(key, "a number from 0 to 1", read).map(|located| located.value)
    }

    /// A price in US dollars.
    pub(super) fn dollars(&self, key: &'static str) -> Option<NanoUsd> {
        let read = |value: &DeValue<'a>| number(value).filter(|usd| *usd <= 1e6).and_then(NanoUsd::from_usd);
        self.typed(key, "a price in US dollars, from 0", read).map(|located| located.value)
    }

    /// One of the words that `parse` knows; `expected` names them all.
    pub(super) fn word<T>(
        &self,
        key: &'static str,
        words: &[&'static str],
        parse: impl Fn(&str) -> Option<T>,
    ) -> Option<T> {
        let quoted: Vec<String> = words.iter().map(|word| format!("\"{word}\"")).collect();
        let expected = format!("one of {}", quoted.join(", "));
        let text = self.typed(key, &expected, |value| value.as_str().map(str::to_owned))?;
        let parsed = parse(&text.value);
        if parsed.is_none() {
            let message = format!("expected {expected}, found \"{}\"", text.value);
            self.reader.mistake(&text.place, message, nearest(&text.value, words.iter().copied()));
        }
        parsed
    }

    /// A list of strings; one string alone stands for a list of it.
    pub(super) fn texts(&self, key: &'static str) -> Option<Vec<Located<String>>> {
        let value = self.value(key)?;
        let place = self.place_of(key, value);
        match value.get_ref() {
            DeValue::String(text) => Some(vec![Located { value: text.to_string(), place }]),
            DeValue::Array(items) => {
                let mut texts = Vec::with_capacity(items.len());
                for (i, item) in items.iter().enumerate() {
                    let place = Place { key: format!("{}[{i}]", place.key), span: item.span() };
                    match item.get_ref().as_str() {
                        Some(text) => texts.push(Located { value: text.to_owned(), place }),
                        None => self.wrong_type(&place, "a string", item.get_ref()),
                    }
                }
                Some(texts)
            }
            other => {
                self.wrong_type(&place, "a list of strings", other);
                None
            }
        }
    }

    /// A list of strings that may not be missing or empty.
    pub(super) fn required_texts(&self, key: &'static str) -> Vec<Located<String>> {
        let texts = self.texts(key);
        if texts.as_ref().is_none_or(Vec::is_empty) && self.table.get(key).is_none_or(|it| it.get_ref().is_array()) {
            let message = format!("missing key \"{key}\": expected a list of strings");
            self.reader.mistake(&self.place, message, None);
        }
        texts.unwrap_or_default()
    }

    /// A table of strings, whatever its keys.
    pub(super) fn pairs(&self, key: &'static str) -> Vec<(Located<String>, String)> {
        let Some(value) = self.value(key) else { return Vec::new() };
        let place = self.place_of(key, value);
        let DeValue::Table(table) = value.get_ref() else {
            self.wrong_type(&place, "a table of strings", value.get_ref());
            return Vec::new();
        };
        let mut pairs = Vec::with_capacity(table.len());
        for (name, value) in table.iter() {
            let place = Place { key: format!("{}.{}", place.key, name.get_ref()), span: name.span() };
            match value.get_ref().as_str() {
                Some(text) => pairs.push((Located { value: name.get_ref().to_string(), place }, text.to_owned())),
                None => self.wrong_type(&place, "a string", value.get_ref()),
            }
        }
        pairs
    }

    /// A table within this one.
    pub(super) fn table<T>(&self, key: &'static str, read: impl FnOnce(&Table<'_, 'a>) -> T) -> Option<T> {
        let value = self.value(key)?;
        self.within(value, self.place_of(key, value), read)
    }

    /// A list of tables.
    pub(super) fn tables<T>(&self, key: &'static str, mut read: impl FnMut(&Table<'_, 'a>) -> T) -> Vec<T> {
        let Some(value) = self.value(key) else { return Vec::new() };
        let place = self.place_of(key, value);
        let DeValue::Array(items) = value.get_ref() else {
            let found = value.get_ref().type_str();
            let help = Some(format!("write [[{key}]], with two brackets, for each"));
            self.reader.mistake(&place, format!("expected a list of tables, found {found}"), help);
            return Vec::new();
        };
        let each = |(i, item): (usize, &Spanned<DeValue<'a>>)| {
            let place = Place { key: format!("{}[{i}]", place.key), span: item.span() };
            self.within(item, place, &mut read)
        };
        items.iter().enumerate().filter_map(each).collect()
    }

    fn within<T>(
        &self,
        value: &Spanned<DeValue<'a>>,
        place: Place,
        read: impl FnOnce(&Table<'_, 'a>) -> T,
    ) -> Option<T> {
        let DeValue::Table(table) = value.get_ref() else {
            self.wrong_type(&place, "a table", value.get_ref());
            return None;
        };
        let table = Table { reader: self.reader, place, table, asked: RefCell::default() };
        let read = read(&table);
        table.refuse_unknown_keys();
        Some(read)
    }

    fn typed<T>(
        &self,
        key: &'static str,
        expected: &str,
        read: impl Fn(&DeValue<'a>) -> Option<T>,
    ) -> Option<Located<T>> {
        let value = self.value(key)?;
        let place = self.place_of(key, value);
        match read(value.get_ref()) {
            Some(value) => Some(Located { value, place }),
            None => {
                self.wrong_type(&place, expected, value.get_ref());
                None
            }
        }
    }

    fn value(&self, key: &'static str) -> Option<&'r Spanned<DeValue<'a>>> {
        self.asked.borrow_mut().insert(key);
        self.table.get(key)
    }

    fn place_of(&self, key: &str, value: &Spanned<DeValue<'a>>) -> Place {
        Place { key: join(&self.place.key, key), span: value.span() }
    }

    fn wrong_type(&self, place: &Place, expected: &str, found: &DeValue<'_>) {
        let found = match found {
            DeValue::String(text) => format!("the string \"{text}\""),
            DeValue::Integer(number) => number.to_string(),
            DeValue::Float(number) => number.to_string(),
            DeValue::Boolean(boolean) => boolean.to_string(),
            other => format!("a {}", other.type_str()),
        };
        self.reader.mistake(place, format!("expected {expected}, found {found}"), None);
    }

    fn refuse_unknown_keys(&self) {
        let asked = self.asked.borrow();
        for (key, _) in self.table.iter().filter(|(key, _)| !asked.contains(&**key.get_ref())) {
            let place = Place { key: join(&self.place.key, key.get_ref()), span: key.span() };
            let known: Vec<&str> = asked.iter().copied().collect();
            let help = nearest(key.get_ref(), known.iter().copied())
                .or_else(|| Some(format!("the keys here are {}", known.join(", "))));
            self.reader.mistake(&place, "unknown key", help);
        }
    }
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

fn number(value: &DeValue<'_>) -> Option<f64> {
    match value {
        DeValue::Float(number) => number.as_str().parse().ok(),
        DeValue::Integer(number) if number.radix() == 10 => number.as_str().parse().ok(),
        _ => None,
    }
}
