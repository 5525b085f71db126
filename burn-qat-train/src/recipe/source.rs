use std::path::Path;

use serde_json::Value;

use super::node::{Node, Origin};
use super::{Recipe, overrides, resolve, toml, yaml};
use crate::error::QatError;

/// A recipe as it was written: what a file leaves out is not decided yet.
#[derive(Clone, Debug)]
pub struct RecipeSource {
    root: Node,
}

impl RecipeSource {
    /// Reads a file: TOML if its name ends with `.toml`, else YAML, of which JSON is a part.
    ///
    /// # Errors
    /// [`QatError::Io`], and [`QatError::Recipe`] with the line of text that cannot be understood.
    pub fn read(path: &Path) -> Result<Self, QatError> {
        let text = std::fs::read_to_string(path).map_err(QatError::io(path, "read"))?;
        Self::parse(&text, path)
    }

    /// Parses the text of a file; `path` is what messages call it.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn parse(text: &str, path: &Path) -> Result<Self, QatError> {
        let is_toml = path
            .extension()
            .is_some_and(|extension| extension == "toml");
        let root = match is_toml {
            true => toml::parse(text, path)?,
            false => yaml::parse(text, path)?,
        };
        Ok(Self { root })
    }

    /// Lays `key.path=value` over it. The value is YAML, but for the paths `model`, `data` and `output`.
    ///
    /// # Errors
    /// [`QatError::Recipe`] for text of another form. Keys are looked at by [`resolve`](Self::resolve).
    pub fn set(&mut self, text: &str) -> Result<(), QatError> {
        overrides::set(&mut self.root, text)
    }

    /// Lays a value over it, which messages call `name`: an option of a command line.
    pub fn set_value(&mut self, key_path: &str, value: Value, name: &str) {
        let node = Node::of(value, &Origin::Override(name.into()));
        overrides::put(&mut self.root, key_path, node);
    }

    /// Whether a key such as `lora` or `stages.sft.steps` is given.
    pub fn says(&self, key_path: &str) -> bool {
        let mut at = Some(&self.root);
        for key in key_path.split('.') {
            at = at.and_then(|node| node.get(key));
        }
        at.is_some_and(|node| !node.is_null())
    }

    /// Names of the stages, in order; `true` for SFT that starts from the model.
    pub fn stages(&self) -> Vec<(String, bool)> {
        let stages = self.root.get("stages").map_or(&[][..], Node::entries);
        let is_first = |name: &str, stage: &Node| {
            let text = |key: &str| stage.get(key).map(Node::to_value);
            let method = text("method").unwrap_or_else(|| name.into());
            let from = text("from").is_some_and(|from| !from.is_null());
            method == "sft" && !from
        };
        let names = stages.iter();
        names
            .map(|(name, stage)| (name.clone(), is_first(name, stage)))
            .collect()
    }

    /// Decides every value and checks all of them.
    ///
    /// # Errors
    /// [`QatError::Recipe`] with the line or the override, the key, what was expected and the nearest spelling.
    pub fn resolve(&self) -> Result<Recipe, QatError> {
        resolve::resolve(self.root.clone())
    }
}
