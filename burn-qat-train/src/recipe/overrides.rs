//! `key.path=value`.

use serde_json::Value;

use super::keys::{error, nearest};
use super::node::{Content, Node, Origin};
use super::yaml;
use crate::error::QatError;

/// Keys whose values are text whatever they look like.
const PATHS: [&str; 3] = ["model", "data", "output"];

/// Lays `key.path=value` over a recipe; the value is YAML, so that lists and `null` can be given.
///
/// # Errors
/// Text without `=`, an empty key, and a value that is no YAML.
pub(super) fn set(recipe: &mut Node, text: &str) -> Result<(), QatError> {
    let origin = Origin::Override(text.into());
    let Some((path, value)) = text.split_once('=') else {
        let message = "expected KEY=VALUE, as train.learning_rate=1e-5".into();
        return Err(error(&origin, message));
    };
    let path = path.trim();
    if path.split('.').any(str::is_empty) {
        let message = "expected a key such as train.learning_rate before the `=`".into();
        return Err(error(&origin, message));
    }
    if let Some(stage) = named_stage(path, value) {
        check_stage(recipe, stage, &origin)?;
    }
    let content = match PATHS.contains(&path) && value != "null" {
        true => Content::Value(Value::String(value.into())),
        false => yaml::value(value, &origin)?,
    };
    put(recipe, path, Node::new(origin, content));
    Ok(())
}

/// The stage that a path is about, unless it makes a new one.
fn named_stage<'a>(path: &'a str, value: &str) -> Option<&'a str> {
    let (name, key) = match path.strip_prefix("stages.")?.split_once('.') {
        Some((name, key)) => (name, Some(key)),
        None => (path.strip_prefix("stages.")?, None),
    };
    (key.is_some() || value.trim() == "null").then_some(name)
}

/// A stage that is not there would be a new one by mistake.
fn check_stage(recipe: &Node, name: &str, origin: &Origin) -> Result<(), QatError> {
    let stages = recipe.get("stages").map_or(&[][..], Node::entries);
    let names: Vec<&str> = stages.iter().map(|(name, _)| name.as_str()).collect();
    match names.contains(&name) {
        true => Ok(()),
        false => {
            let advice = match nearest(name, &names) {
                Some(name) => format!("; did you mean `{name}`?"),
                None => format!(", which has {}", names.join(", ")),
            };
            Err(error(
                origin,
                format!("`{name}` names no stage of the recipe{advice}"),
            ))
        }
    }
}

/// Puts a node at a path, with maps on the way. What all stages share wins over what each of them says: it is asked for
/// now.
pub(super) fn put(recipe: &mut Node, path: &str, node: Node) {
    let shared = match path {
        "quantize" => Some(path),
        path => path.strip_prefix("train."),
    };
    if let (Some(key), Some(stages)) = (shared, recipe.get_mut("stages")) {
        for (_, stage) in stages.entries_mut() {
            stage.remove(key);
        }
    }
    let mut at = recipe;
    for key in path.split('.') {
        let origin = node.origin.clone();
        at = at.entry(key, || Node::map(origin));
    }
    *at = node;
}
