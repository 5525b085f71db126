//! `key.path=value`.

use serde_json::Value;

use super::keys::error;
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
    let mut keys = path.split('.');
    if let (Some("stages"), Some(stage), Some(_)) = (keys.next(), keys.next(), keys.next()) {
        check_stage(recipe, stage, &origin)?;
    }
    let content = match PATHS.contains(&path) && value != "null" {
        true => Content::Value(Value::String(value.into())),
        false => yaml::value(value, &origin)?,
    };
    put(recipe, path, Node::new(origin, content));
    Ok(())
}

/// A stage that is not there would be a new one by mistake.
fn check_stage(recipe: &Node, name: &str, origin: &Origin) -> Result<(), QatError> {
    let stages = recipe.get("stages").map_or(&[][..], Node::entries);
    let names: Vec<&str> = stages.iter().map(|(name, _)| name.as_str()).collect();
    match names.contains(&name) {
        true => Ok(()),
        false => Err(error(
            origin,
            format!(
                "`{name}` names no stage of the recipe, which has {}",
                names.join(", ")
            ),
        )),
    }
}

/// Puts a node at a path, with maps on the way.
pub(super) fn put(recipe: &mut Node, path: &str, node: Node) {
    let mut at = recipe;
    for key in path.split('.') {
        let origin = node.origin.clone();
        at = at.entry(key, || Node::map(origin));
    }
    *at = node;
}
