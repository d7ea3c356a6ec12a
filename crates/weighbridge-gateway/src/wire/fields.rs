//! Typed reading of one JSON object, with OpenAI's errors. `null` counts as absent everywhere.

use serde_json::{Map, Value};

use super::WireError;

/// A body as JSON.
///
/// # Errors
/// When it is no JSON, or no object.
pub(crate) fn body_object(body: &[u8]) -> Result<Value, WireError> {
    let value: Value = serde_json::from_slice(body).map_err(|error| WireError {
        message: format!("We could not parse the JSON body of your request: {error}."),
        param: None,
        code: "invalid_json",
    })?;
    if value.is_object() {
        return Ok(value);
    }
    Err(WireError { message: "The body must be a JSON object.".into(), param: None, code: "invalid_type" })
}

/// The fields of an object that stands at `path` in the body (empty for the body itself).
pub(super) struct Fields<'a> {
    object: &'a Map<String, Value>,
    path: String,
}

impl<'a> Fields<'a> {
    pub(super) fn of(value: &'a Value, path: &str) -> Result<Self, WireError> {
        match value {
            Value::Object(object) => Ok(Self { object, path: path.to_owned() }),
            other => Err(WireError::wrong_type(path, "an object", other)),
        }
    }

    /// The object as JSON text.
    pub(super) fn to_json(&self) -> String {
        // Keys are strings and values JSON already.
        serde_json::to_string(self.object).unwrap_or_default()
    }

    pub(super) fn path(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// The keys that are present and not null.
    pub(super) fn keys(&self) -> impl Iterator<Item = &'a str> {
        self.object.iter().filter(|(_, value)| !value.is_null()).map(|(key, _)| key.as_str())
    }

    pub(super) fn get(&self, key: &str) -> Option<&'a Value> {
        self.object.get(key).filter(|value| !value.is_null())
    }

    pub(super) fn required(&self, key: &str) -> Result<&'a Value, WireError> {
        self.get(key).ok_or_else(|| WireError::missing(&self.path(key)))
    }

    pub(super) fn string(&self, key: &str) -> Result<Option<&'a str>, WireError> {
        self.typed(key, "a string", Value::as_str)
    }

    pub(super) fn required_string(&self, key: &str) -> Result<&'a str, WireError> {
        self.required(key)?;
        self.string(key)?.ok_or_else(|| WireError::missing(&self.path(key)))
    }

    pub(super) fn boolean(&self, key: &str) -> Result<Option<bool>, WireError> {
        self.typed(key, "a boolean", Value::as_bool)
    }

    pub(super) fn array(&self, key: &str) -> Result<Option<&'a [Value]>, WireError> {
        self.typed(key, "an array", |value| value.as_array().map(Vec::as_slice))
    }

    pub(super) fn object(&self, key: &str) -> Result<Option<Fields<'a>>, WireError> {
        self.get(key).map(|value| Fields::of(value, &self.path(key))).transpose()
    }

    /// A number from `low` to `high`.
    pub(super) fn decimal(&self, key: &str, low: f64, high: f64) -> Result<Option<f32>, WireError> {
        let Some(number) = self.typed(key, "a decimal", Value::as_f64)? else { return Ok(None) };
        self.within(key, "decimal", number, low, high)?;
        Ok(Some(number as f32))
    }

    /// A whole number from `low` to `high`.
    pub(super) fn integer(&self, key: &str, low: i64, high: i64) -> Result<Option<i64>, WireError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let Some(number) = value.as_i64() else {
            // A whole number too large for 64 bits is out of range, not of a wrong type.
            if let Some(number) = value.as_f64().filter(|number| number.fract() == 0.0) {
                self.within(key, "integer", number, low as f64, high as f64)?;
            }
            return Err(WireError::wrong_type(&self.path(key), "an integer", value));
        };
        self.within(key, "integer", number as f64, low as f64, high as f64)?;
        Ok(Some(number))
    }

    fn typed<T>(
        &self,
        key: &str,
        expected: &str,
        read: impl Fn(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, WireError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        read(value).map(Some).ok_or_else(|| WireError::wrong_type(&self.path(key), expected, value))
    }

    fn within(&self, key: &str, kind: &str, number: f64, low: f64, high: f64) -> Result<(), WireError> {
        let path = self.path(key);
        let (side, sign, bound) = match number {
            n if n > high => ("above maximum", "<=", high),
            n if n < low => ("below minimum", ">=", low),
            _ => return Ok(()),
        };
        let code = match (kind, side) {
            ("decimal", "above maximum") => "decimal_above_max_value",
            ("decimal", _) => "decimal_below_min_value",
            (_, "above maximum") => "integer_above_max_value",
            _ => "integer_below_min_value",
        };
        let message = format!(
            "Invalid '{path}': {kind} {side} value. Expected a value {sign} {bound}, but got {number} instead."
        );
        Err(WireError::at(&path, code, message))
    }
}
