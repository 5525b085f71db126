//! TOML with the lines of its values.

use std::path::Path;

use serde_json::{Number, Value};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::keys::error;
use super::node::{Content, Node, Origin};
use crate::error::QatError;

/// A document.
pub(super) fn parse(text: &str, path: &Path) -> Result<Node, QatError> {
    let at = |start: usize| {
        let before = text.as_bytes().iter().take(start);
        let lines = before.filter(|byte| **byte == b'\n').count();
        Origin::Line(path.to_path_buf(), 1 + lines as u64)
    };
    let table = DeTable::parse(text).map_err(|failure| {
        let start = failure.span().map_or(0, |span| span.start);
        error(&at(start), failure.message().to_owned())
    })?;
    let entries = entries(table.into_inner(), &at)?;
    Ok(Node::new(at(0), Content::Map(entries)))
}

fn entries(
    table: DeTable<'_>,
    at: &impl Fn(usize) -> Origin,
) -> Result<Vec<(String, Node)>, QatError> {
    // Of the text's order: stages run in it.
    let mut entries: Vec<_> = table.into_iter().collect();
    entries.sort_by_key(|(key, _)| key.span().start);
    let node = |(key, value): (Spanned<_>, Spanned<DeValue<'_>>)| {
        let origin = at(key.span().start);
        let content = match value.into_inner() {
            DeValue::Table(table) => Content::Map(self::entries(table, at)?),
            value => Content::Value(json(value, &origin)?),
        };
        let key: std::borrow::Cow<'_, str> = key.into_inner();
        Ok((key.into_owned(), Node::new(origin, content)))
    };
    entries.into_iter().map(node).collect()
}

fn json(value: DeValue<'_>, origin: &Origin) -> Result<Value, QatError> {
    let refuse = |found: &str| {
        let message = format!("`{found}` is no number that a recipe can hold");
        error(origin, message)
    };
    Ok(match value {
        DeValue::String(text) => text.into_owned().into(),
        DeValue::Integer(number) => {
            let parsed = i64::from_str_radix(number.as_str(), number.radix());
            parsed.map_err(|_| refuse(number.as_str()))?.into()
        }
        DeValue::Float(number) => {
            let parsed = number.as_str().parse().ok().and_then(Number::from_f64);
            Value::Number(parsed.ok_or_else(|| refuse(number.as_str()))?)
        }
        DeValue::Boolean(value) => value.into(),
        DeValue::Datetime(date) => date.to_string().into(),
        DeValue::Array(items) => {
            let items = items
                .into_iter()
                .map(|item| json(item.into_inner(), origin));
            Value::Array(items.collect::<Result<_, _>>()?)
        }
        DeValue::Table(table) => {
            let entries = table.into_iter().map(|(key, value)| {
                let key: std::borrow::Cow<'_, str> = key.into_inner();
                Ok((key.into_owned(), json(value.into_inner(), origin)?))
            });
            Value::Object(entries.collect::<Result<_, QatError>>()?)
        }
    })
}
