use std::path::PathBuf;

use serde_json::{Map, Value};

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// Nobody gave it.
    Default,
    /// A line of a file, from 1.
    Line(PathBuf, u64),
    /// A `key.path=value`, as it was written.
    Override(String),
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Default => f.write_str("recipe"),
            Self::Line(path, line) => write!(f, "{}:{line}", path.display()),
            Self::Override(text) => write!(f, "`{text}`"),
        }
    }
}

/// A value that knows where it comes from. Lists are values as a whole.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Node {
    pub origin: Origin,
    pub content: Content,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Content {
    Map(Vec<(String, Node)>),
    Value(Value),
}

impl Node {
    pub fn new(origin: Origin, content: Content) -> Self {
        Self { origin, content }
    }

    pub fn map(origin: Origin) -> Self {
        Self::new(origin, Content::Map(Vec::new()))
    }

    /// A value that comes from one place.
    pub fn of(value: Value, origin: &Origin) -> Self {
        let content = match value {
            Value::Object(map) => {
                let entries = map.into_iter();
                let entries = entries.map(|(key, value)| (key, Self::of(value, origin)));
                Content::Map(entries.collect())
            }
            value => Content::Value(value),
        };
        Self::new(origin.clone(), content)
    }

    /// What nobody gave.
    pub fn default_of(value: Value) -> Self {
        Self::of(value, &Origin::Default)
    }

    pub fn is_null(&self) -> bool {
        matches!(&self.content, Content::Value(Value::Null))
    }

    pub fn entries(&self) -> &[(String, Node)] {
        match &self.content {
            Content::Map(entries) => entries,
            Content::Value(_) => &[],
        }
    }

    pub fn get(&self, key: &str) -> Option<&Node> {
        let found = self.entries().iter().find(|(name, _)| name == key);
        found.map(|(_, node)| node)
    }

    pub fn entries_mut(&mut self) -> &mut [(String, Node)] {
        match &mut self.content {
            Content::Map(entries) => entries,
            Content::Value(_) => &mut [],
        }
    }

    pub fn get_mut(&mut self, key: &str) -> Option<&mut Node> {
        let mut entries = self.entries_mut().iter_mut();
        let found = entries.find(|(name, _)| name == key);
        found.map(|(_, node)| node)
    }

    /// Removes what is at a path, if it is there.
    pub fn remove(&mut self, path: &str) {
        match path.split_once('.') {
            Some((key, rest)) => {
                if let Some(node) = self.get_mut(key) {
                    node.remove(rest);
                }
            }
            None => drop(self.take(path)),
        }
    }

    /// Takes an entry out.
    pub fn take(&mut self, key: &str) -> Option<Node> {
        let Content::Map(entries) = &mut self.content else {
            return None;
        };
        let index = entries.iter().position(|(name, _)| name == key)?;
        Some(entries.remove(index).1)
    }

    /// The entry under a key, made with `new` if it is not there; what was no map becomes one.
    pub fn entry(&mut self, key: &str, new: impl FnOnce() -> Node) -> &mut Node {
        if let Content::Value(_) = self.content {
            self.content = Content::Map(Vec::new());
        }
        let Content::Map(entries) = &mut self.content else {
            unreachable!("it was made a map");
        };
        let index = match entries.iter().position(|(name, _)| name == key) {
            Some(index) => index,
            None => {
                entries.push((key.into(), new()));
                entries.len() - 1
            }
        };
        &mut entries[index].1
    }

    /// Lays another node over this one: maps key by key, everything else as a whole.
    pub fn overlay(&mut self, over: Node) {
        match over.content {
            Content::Map(entries) if matches!(self.content, Content::Map(_)) => {
                for (key, node) in entries {
                    let mut new = false;
                    let below = self.entry(&key, || {
                        new = true;
                        node.clone()
                    });
                    if !new {
                        below.overlay(node);
                    }
                }
                if over.origin != Origin::Default {
                    self.origin = over.origin;
                }
            }
            content => *self = Node::new(over.origin, content),
        }
    }

    /// The node at a path such as `stages.qat.steps`, or the last one on the way that is there.
    pub fn nearest(&self, path: &str) -> &Node {
        let mut node = self;
        for key in path.split('.') {
            match node.get(key) {
                Some(next) => node = next,
                None => break,
            }
        }
        node
    }

    pub fn to_value(&self) -> Value {
        match &self.content {
            Content::Value(value) => value.clone(),
            Content::Map(entries) => {
                let entries = entries.iter();
                let map: Map<_, _> = entries
                    .map(|(key, node)| (key.clone(), node.to_value()))
                    .collect();
                Value::Object(map)
            }
        }
    }
}
