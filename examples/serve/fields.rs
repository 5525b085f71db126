//! Fields of a request with their types; null means absent, and unknown fields are nobody's concern.

use std::ops::RangeInclusive;

use serde_json::{Map, Value};

use crate::error::ApiError;

/// An object of a request, and where it is.
#[derive(Clone)]
pub struct Fields<'a> {
    map: &'a Map<String, Value>,
    path: String,
}

impl<'a> Fields<'a> {
    /// The request itself.
    pub fn of(value: &'a Value) -> Result<Self, ApiError> {
        Self::at(value, "")
    }

    pub fn at(value: &'a Value, path: &str) -> Result<Self, ApiError> {
        match value {
            Value::Object(map) => Ok(Self {
                map,
                path: path.to_owned(),
            }),
            other => Err(wrong_type(
                if path.is_empty() { "body" } else { path },
                "an object",
                other,
            )),
        }
    }

    pub fn path(&self, key: &str) -> String {
        match self.path.is_empty() {
            true => key.to_owned(),
            false => format!("{}.{key}", self.path),
        }
    }

    pub fn get(&self, key: &str) -> Option<&'a Value> {
        self.map.get(key).filter(|value| !value.is_null())
    }

    pub fn required(&self, key: &str) -> Result<&'a Value, ApiError> {
        self.get(key).ok_or_else(|| {
            let path = self.path(key);
            let message = format!("Missing required parameter: '{path}'.");
            ApiError::bad_request("missing_required_parameter", path, message)
        })
    }

    pub fn text(&self, key: &str) -> Result<Option<&'a str>, ApiError> {
        self.typed(key, "a string", Value::as_str)
    }

    pub fn required_text(&self, key: &str) -> Result<&'a str, ApiError> {
        self.required(key)?;
        Ok(self.text(key)?.unwrap_or_default())
    }

    pub fn flag(&self, key: &str) -> Result<Option<bool>, ApiError> {
        self.typed(key, "a boolean", Value::as_bool)
    }

    pub fn list(&self, key: &str) -> Result<Option<&'a Vec<Value>>, ApiError> {
        self.typed(key, "an array", Value::as_array)
    }

    pub fn object(&self, key: &str) -> Result<Option<Fields<'a>>, ApiError> {
        let path = self.path(key);
        self.get(key)
            .map(|value| Self::at(value, &path))
            .transpose()
    }

    pub fn integer(&self, key: &str, range: RangeInclusive<i64>) -> Result<Option<i64>, ApiError> {
        let Some(number) = self.typed(key, "an integer", Value::as_i64)? else {
            return Ok(None);
        };
        let code = match number < *range.start() {
            true => "integer_below_min_value",
            false => "integer_above_max_value",
        };
        self.within(
            key,
            range.contains(&number),
            code,
            (range.start(), range.end()),
            number,
        )?;
        Ok(Some(number))
    }

    pub fn number(&self, key: &str, range: RangeInclusive<f64>) -> Result<Option<f64>, ApiError> {
        let Some(number) = self.typed(key, "a number", Value::as_f64)? else {
            return Ok(None);
        };
        let code = match number < *range.start() {
            true => "decimal_below_min_value",
            false => "decimal_above_max_value",
        };
        self.within(
            key,
            range.contains(&number),
            code,
            (range.start(), range.end()),
            number,
        )?;
        Ok(Some(number))
    }

    fn within<T: std::fmt::Display>(
        &self,
        key: &str,
        fits: bool,
        code: &'static str,
        (low, high): (T, T),
        found: impl std::fmt::Display,
    ) -> Result<(), ApiError> {
        if fits {
            return Ok(());
        }
        let path = self.path(key);
        let message = format!("Invalid '{path}': {found}. Expected a value from {low} to {high}.");
        Err(ApiError::bad_request(code, path, message))
    }

    fn typed<T>(
        &self,
        key: &str,
        expected: &str,
        read: impl Fn(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, ApiError> {
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        match read(value) {
            Some(value) => Ok(Some(value)),
            None => Err(wrong_type(&self.path(key), expected, value)),
        }
    }
}

pub fn wrong_type(path: &str, expected: &str, found: &Value) -> ApiError {
    let found = match found {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    };
    let message =
        format!("Invalid type for '{path}': expected {expected}, but got {found} instead.");
    ApiError::bad_request("invalid_type", path, message)
}
