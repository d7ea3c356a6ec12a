//! Methods of Python's `str`, `dict` and `list` that minijinja-contrib lacks or has otherwise.
//!
//! Methods that change a list or a dictionary are missing on purpose: transformers' sandbox forbids them.

use minijinja::value::{Kwargs, Tuple, Value, ValueKind, from_args};
use minijinja::{Error, ErrorKind, State};
use minijinja_contrib::pycompat;

use super::lazy;

/// Calls a method by its name.
///
/// # Errors
/// When there is no such method or its arguments are wrong.
pub(super) fn call(state: &mut State, value: &Value, method: &str, arguments: &[Value]) -> Result<Value, Error> {
    let called = match value.kind() {
        ValueKind::String => str_method(state, value.as_str().unwrap_or_default(), method, arguments)?,
        ValueKind::Map => dict_method(value, method, arguments)?,
        ValueKind::Seq | ValueKind::Iterable if !lazy::is_lazy(value) => list_method(value, method, arguments)?,
        _ => None,
    };
    match called {
        Some(result) => Ok(result),
        None => pycompat::unknown_method_callback(state, value, method, arguments),
    }
}

fn str_method(state: &State, text: &str, method: &str, arguments: &[Value]) -> Result<Option<Value>, Error> {
    Ok(Some(match method {
        "strip" => strip(text, arguments, true, true)?,
        "lstrip" => strip(text, arguments, true, false)?,
        "rstrip" => strip(text, arguments, false, true)?,
        "split" => split(text, arguments, false)?,
        "rsplit" => split(text, arguments, true)?,
        "splitlines" => split_lines(text, arguments)?,
        "partition" | "rpartition" => partition(text, arguments, method == "rpartition")?,
        "removeprefix" => {
            let (prefix,): (&str,) = from_args(arguments)?;
            text.strip_prefix(prefix).unwrap_or(text).into()
        }
        "removesuffix" => {
            let (suffix,): (&str,) = from_args(arguments)?;
            text.strip_suffix(suffix).unwrap_or(text).into()
        }
        "index" | "rindex" => index(text, arguments, method == "rindex")?,
        "title" => title(text).into(),
        "swapcase" => text.chars().flat_map(swap_case).collect::<String>().into(),
        "casefold" => text.to_lowercase().into(),
        "ljust" | "rjust" | "center" | "zfill" => pad(state, text, method, arguments)?,
        _ => return Ok(None),
    }))
}

fn dict_method(dict: &Value, method: &str, arguments: &[Value]) -> Result<Option<Value>, Error> {
    if !matches!(method, "keys" | "values" | "items" | "copy") {
        return Ok(None);
    }
    let () = from_args(arguments)?;
    let pairs = dict.as_object().into_iter().filter_map(|dict| dict.try_iter_pairs()).flatten();
    Ok(Some(match method {
        "keys" => lazy::view(pairs.map(|(key, _)| key))?,
        "values" => lazy::view(pairs.map(|(_, value)| value))?,
        "items" => lazy::view(pairs.map(|(key, value)| Value::from(Tuple::from([key, value]))))?,
        _ => Value::from_pairs(pairs),
    }))
}

fn list_method(list: &Value, method: &str, arguments: &[Value]) -> Result<Option<Value>, Error> {
    Ok(Some(match method {
        "copy" => {
            let () = from_args(arguments)?;
            list.try_iter()?.collect()
        }
        "index" => {
            let (wanted,): (&Value,) = from_args(arguments)?;
            list.try_iter()?.position(|item| item == *wanted).map(Value::from).ok_or_else(not_found)?
        }
        _ => return Ok(None),
    }))
}

/// What `str.isspace` holds to be white space: Unicode's, and the four ASCII separators.
fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

fn strip(text: &str, arguments: &[Value], left: bool, right: bool) -> Result<Value, Error> {
    let (chars,): (Option<&str>,) = from_args(arguments)?;
    let drops = |c: char| chars.map_or_else(|| is_space(c), |chars| chars.contains(c));
    let text = if left { text.trim_start_matches(drops) } else { text };
    Ok(if right { text.trim_end_matches(drops) } else { text }.into())
}

/// `split(sep=None, maxsplit=-1)`, from the left or from the right.
fn split(text: &str, arguments: &[Value], from_right: bool) -> Result<Value, Error> {
    let (separator, most, kwargs): (Option<Value>, Option<i64>, Kwargs) = from_args(arguments)?;
    let separator = separator.or(kwargs.get("sep")?).filter(|separator| !separator.is_none());
    let most = most.or(kwargs.get("maxsplit")?).and_then(|most| usize::try_from(most).ok()).unwrap_or(usize::MAX);
    kwargs.assert_all_used()?;
    let mut parts = match &separator {
        Some(separator) => split_at_text(text, non_empty(separator)?, most, from_right),
        None => split_at_spaces(text, most, from_right),
    };
    if from_right {
        parts.reverse();
    }
    Ok(parts.into_iter().collect())
}

fn split_at_text<'a>(text: &'a str, separator: &str, most: usize, from_right: bool) -> Vec<&'a str> {
    let pieces = most.saturating_add(1);
    if from_right { text.rsplitn(pieces, separator).collect() } else { text.splitn(pieces, separator).collect() }
}

/// Runs of white space separate, and none stands at either end of what is returned, but at the far end
/// of the last piece where `most` cuts it short.
fn split_at_spaces(text: &str, most: usize, from_right: bool) -> Vec<&str> {
    let trim = |text: &'_ str| {
        if from_right { text.trim_end_matches(is_space).len() } else { text.trim_start_matches(is_space).len() }
    };
    let mut parts = Vec::new();
    let mut rest = text;
    loop {
        let kept = trim(rest);
        rest = if from_right { &rest[..kept] } else { &rest[rest.len() - kept..] };
        if rest.is_empty() {
            return parts;
        }
        if parts.len() == most {
            parts.push(rest);
            return parts;
        }
        let cut = if from_right {
            rest.char_indices().rev().find(|(_, c)| is_space(*c)).map_or(0, |(at, c)| at + c.len_utf8())
        } else {
            rest.find(is_space).unwrap_or(rest.len())
        };
        let (left, right) = rest.split_at(cut);
        parts.push(if from_right { right } else { left });
        rest = if from_right { left } else { right };
    }
}

fn non_empty(separator: &Value) -> Result<&str, Error> {
    match separator.as_str() {
        Some(text) if !text.is_empty() => Ok(text),
        _ => Err(Error::new(ErrorKind::InvalidOperation, "a separator is a string that is not empty")),
    }
}

/// Lines as `str.splitlines` counts them, at every line boundary of Unicode.
fn split_lines(text: &str, arguments: &[Value]) -> Result<Value, Error> {
    let (keep_ends, kwargs): (Option<bool>, Kwargs) = from_args(arguments)?;
    let keep_ends = keep_ends.or(kwargs.get("keepends")?).unwrap_or(false);
    kwargs.assert_all_used()?;
    let ends = |c: char| {
        matches!(c, '\n' | '\r' | '\u{b}' | '\u{c}' | '\u{1c}'..='\u{1e}' | '\u{85}' | '\u{2028}' | '\u{2029}')
    };
    let mut lines = Vec::new();
    let mut rest = text;
    while let Some((at, end)) = rest.char_indices().find(|(_, c)| ends(*c)) {
        let next = if rest[at..].starts_with("\r\n") { at + 2 } else { at + end.len_utf8() };
        lines.push(Value::from(&rest[..if keep_ends { next } else { at }]));
        rest = &rest[next..];
    }
    if !rest.is_empty() {
        lines.push(rest.into());
    }
    Ok(lines.into())
}

fn partition(text: &str, arguments: &[Value], from_right: bool) -> Result<Value, Error> {
    let (separator,): (&Value,) = from_args(arguments)?;
    let separator = non_empty(separator)?;
    let parts = match if from_right { text.rsplit_once(separator) } else { text.split_once(separator) } {
        Some((before, after)) => [before, separator, after],
        None if from_right => ["", "", text],
        None => [text, "", ""],
    };
    Ok(Tuple::from(parts.map(Value::from)).into())
}

fn index(text: &str, arguments: &[Value], from_right: bool) -> Result<Value, Error> {
    let (wanted,): (&str,) = from_args(arguments)?;
    let at = if from_right { text.rfind(wanted) } else { text.find(wanted) }.ok_or_else(not_found)?;
    Ok(text[..at].chars().count().into())
}

fn not_found() -> Error {
    Error::new(ErrorKind::InvalidOperation, "index did not find what it was asked for")
}

/// Every letter that follows no letter is a capital: `they're` becomes `They'Re`.
fn title(text: &str) -> String {
    let mut titled = String::with_capacity(text.len());
    let mut inside = false;
    for c in text.chars() {
        if inside {
            titled.extend(c.to_lowercase())
        } else {
            titled.extend(c.to_uppercase())
        }
        inside = c.is_alphabetic();
    }
    titled
}

fn swap_case(c: char) -> Vec<char> {
    if c.is_uppercase() { c.to_lowercase().collect() } else { c.to_uppercase().collect() }
}

fn pad(state: &State, text: &str, method: &str, arguments: &[Value]) -> Result<Value, Error> {
    let (width, fill): (usize, Option<char>) = from_args(arguments)?;
    let missing = width.saturating_sub(text.chars().count());
    state.consume_fuel(missing as u64)?;
    let fill = fill.unwrap_or(if method == "zfill" { '0' } else { ' ' });
    let fills = |count: usize| fill.to_string().repeat(count);
    Ok(match method {
        "ljust" => format!("{text}{}", fills(missing)),
        "rjust" => format!("{}{text}", fills(missing)),
        "zfill" => {
            let digits = text.trim_start_matches(['+', '-']);
            let sign = &text[..(text.len() - digits.len()).min(1)];
            format!("{sign}{}{}", fills(missing), &text[sign.len()..])
        }
        _ => {
            // CPython puts the odd space to the left where the width is odd.
            let left = missing / 2 + (missing & width & 1);
            format!("{}{text}{}", fills(left), fills(missing - left))
        }
    }
    .into())
}
