//! YAML with the lines of its values.

use std::fmt;
use std::path::Path;

use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::{Number, Value};
use serde_saphyr::Spanned;

use super::keys::error;
use super::node::{Content, Node, Origin};
use crate::error::QatError;

/// A document.
pub(super) fn parse(text: &str, path: &Path) -> Result<Node, QatError> {
    let at = |line| Origin::Line(path.to_path_buf(), line);
    let tree: Option<Tree> = serde_saphyr::from_str(text).map_err(|failure| {
        let line = failure.location().map_or(1, |location| location.line());
        error(&at(line), one_line(&failure.to_string()))
    })?;
    let root = match tree {
        Some(tree) => tree.node(1, &at),
        None => Node::map(at(1)),
    };
    match root.content {
        Content::Map(_) => Ok(root),
        Content::Value(value) => Err(error(
            &at(1),
            format!("a recipe is a map of keys such as `model` and `stages`, found {value}"),
        )),
    }
}

/// The value of an override.
pub(super) fn value(text: &str, origin: &Origin) -> Result<Content, QatError> {
    let tree: Result<Option<Tree>, _> = serde_saphyr::from_str(text);
    let tree = tree.map_err(|failure| error(origin, one_line(&failure.to_string())))?;
    let node = tree.map(|tree| tree.node(1, &|_| origin.clone()));
    Ok(node.map_or(Content::Value(Value::Null), |node| node.content))
}

/// The parser draws the place below its message.
fn one_line(message: &str) -> String {
    let line = message.lines().next().unwrap_or_default();
    let line = line.strip_prefix("error: ").unwrap_or(line);
    line.trim().to_owned()
}

enum Tree {
    Value(Value),
    List(Vec<Tree>),
    /// Keys with their lines: values may begin on the next one.
    Map(Vec<(Spanned<String>, Tree)>),
}

impl Tree {
    fn node(self, line: u64, at: &impl Fn(u64) -> Origin) -> Node {
        let content = match self {
            Self::Map(entries) => {
                let entries = entries.into_iter().map(|(key, tree)| {
                    let line = key.referenced.line();
                    (key.value, tree.node(line, at))
                });
                Content::Map(entries.collect())
            }
            other => Content::Value(other.value()),
        };
        Node::new(at(line), content)
    }

    fn value(self) -> Value {
        match self {
            Self::Value(value) => value,
            Self::List(items) => items.into_iter().map(Self::value).collect(),
            Self::Map(entries) => {
                let entries = entries.into_iter();
                entries
                    .map(|(key, tree)| (key.value, tree.value()))
                    .collect()
            }
        }
    }
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TreeVisitor)
    }
}

struct TreeVisitor;

impl<'de> Visitor<'de> for TreeVisitor {
    type Value = Tree;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value, a list or a map")
    }

    fn visit_unit<E>(self) -> Result<Tree, E> {
        Ok(Tree::Value(Value::Null))
    }

    fn visit_none<E>(self) -> Result<Tree, E> {
        Ok(Tree::Value(Value::Null))
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Tree, D::Error> {
        deserializer.deserialize_any(Self)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Tree, E> {
        Ok(Tree::Value(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Tree, E> {
        Ok(Tree::Value(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Tree, E> {
        Ok(Tree::Value(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Tree, E> {
        // Numbers of JSON are finite; the text of others is an error where a number is expected.
        let number = Number::from_f64(value).map(Value::Number);
        Ok(Tree::Value(
            number.unwrap_or_else(|| value.to_string().into()),
        ))
    }

    fn visit_str<E>(self, value: &str) -> Result<Tree, E> {
        Ok(Tree::Value(value.into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Tree, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = list.next_element()? {
            items.push(item);
        }
        Ok(Tree::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Tree, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Tree::Map(entries))
    }
}
