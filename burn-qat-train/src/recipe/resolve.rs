//! What is left out is filled in, and everything is checked.

use serde_json::Value;

use super::adapted::check_adapted;
use super::keys::{Known, error, nearest, wrong};
use super::node::{Content, Node, Origin};
use super::{Method, Recipe, Stage};
use crate::adapt::LoraConfig;
use crate::error::QatError;
use crate::train::Masters;

/// The recipe that a tree describes.
pub(super) fn resolve(mut root: Node) -> Result<Recipe, QatError> {
    let (recipe, stage) = (value_of(&Recipe::default())?, value_of(&Stage::default())?);
    Known::recipe(&recipe, &stage).check(&root, "")?;
    // A key with nothing behind it, as when all below it is a comment, says nothing.
    for section in ["train", "quantize", "dataset", "evaluation", "stages"] {
        if root.get(section).is_some_and(Node::is_null) {
            root.remove(section);
        }
    }
    let shared = [root.take("train"), quantize(&mut root)];
    let stages = root.take("stages");
    let mut tree = Node::default_of(recipe);
    let lora = root.take("lora").filter(|lora| !lora.is_null());
    tree.overlay(root);
    if let Some(lora) = lora {
        let mut filled = Node::default_of(value_of(&LoraConfig::default())?);
        if let Some(seed) = tree.get("seed") {
            filled.overlay_entry("seed", seed.clone());
        }
        filled.overlay(lora);
        tree.overlay_entry("lora", filled);
    }
    let stages = stages.unwrap_or_else(|| Node::map(Origin::Default));
    tree.overlay_entry("stages", filled_stages(&stages, &stage, &shared)?);
    let recipe = typed(&tree)?;
    check(&recipe, &tree)?;
    Ok(recipe)
}

fn value_of(settings: &impl serde::Serialize) -> Result<Value, QatError> {
    serde_json::to_value(settings).map_err(|failure| error(&Origin::Default, failure.to_string()))
}

/// The policy that all stages share, as a key of a stage.
fn quantize(root: &mut Node) -> Option<Node> {
    let policy = root.take("quantize")?;
    let mut shared = Node::map(policy.origin.clone());
    shared.overlay_entry("quantize", policy);
    Some(shared)
}

/// Every stage with what all share below what it says itself.
fn filled_stages(
    stages: &Node,
    defaults: &Value,
    shared: &[Option<Node>],
) -> Result<Node, QatError> {
    let mut filled = Node::map(stages.origin.clone());
    for (name, said) in stages.entries() {
        if name.is_empty()
            || !name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        {
            let message = format!(
                "the stage `{name}` is a directory, too: letters, digits and `_` make its name"
            );
            return Err(error(&said.origin, message));
        }
        // An override leaves out what a file has; a name in a file with nothing behind it has the defaults.
        if said.is_null() && matches!(said.origin, Origin::Override(_)) {
            continue;
        }
        let mut stage = Node::default_of(defaults.clone());
        // The method is what the name says, or has to be given.
        let method = Node::new(said.origin.clone(), Content::Value(name.as_str().into()));
        stage.overlay_entry("method", method);
        for shared in shared.iter().flatten() {
            stage.overlay(shared.clone());
        }
        if !said.is_null() {
            stage.overlay(said.clone());
        }
        stage.origin = said.origin.clone();
        filled.overlay_entry(name, stage);
    }
    Ok(filled)
}

impl Node {
    /// Lays a node over one entry.
    fn overlay_entry(&mut self, key: &str, over: Node) {
        let below = self.entry(key, || over.clone());
        below.overlay(over);
    }
}

fn typed(tree: &Node) -> Result<Recipe, QatError> {
    serde_path_to_error::deserialize(tree.to_value()).map_err(|failure| {
        let path = failure.path().to_string();
        // A list is a value as a whole.
        let of_value = path.split('[').next().unwrap_or(&path);
        let node = tree.nearest(of_value);
        let message = failure.inner().to_string();
        match message.split_once("expected ") {
            Some((_, expected)) if of_value == path && !message.starts_with("unknown field") => {
                let found = node.to_value();
                let expected = words(expected, &found);
                wrong(&node.origin, &path, &found, &expected)
            }
            _ => error(&node.origin, format!("`{path}`: {message}")),
        }
    })
}

/// What serde expected, in words of people.
fn words(expected: &str, found: &Value) -> String {
    let kind = match expected {
        "f64" | "f32" => "a number",
        "usize" | "u64" => "a whole number, 0 or more",
        "a nonzero usize" => "a whole number, 1 or more",
        "a boolean" => "true or false",
        "a string" | "path string" => "text",
        "a sequence" => "a list",
        other => other,
    };
    let quoted: Vec<&str> = kind.split('`').skip(1).step_by(2).collect();
    let near = found.as_str().and_then(|found| nearest(found, &quoted));
    match near {
        Some(near) => format!("{kind}; did you mean `{near}`?"),
        None => kind.to_owned(),
    }
}

/// Ranges, and stages that name each other.
fn check(recipe: &Recipe, tree: &Node) -> Result<(), QatError> {
    let place = |prefix: &str, failure: QatError| match failure {
        QatError::Setting {
            key,
            expected,
            found,
        } => {
            // What belongs to a map of its own says so.
            let key = match key {
                "temperature" | "kl_weight" => format!("distill.{key}"),
                key => key.to_owned(),
            };
            let path = match prefix {
                "" => key,
                prefix => format!("{prefix}.{key}"),
            };
            let message = format!("`{path}` is {found}, expected {expected}");
            error(&tree.nearest(&path).origin, message)
        }
        other => error(
            &tree.nearest(&format!("{prefix}.quantize")).origin,
            other.to_string(),
        ),
    };
    recipe.check().map_err(|failure| place("", failure))?;
    if recipe.stages.is_empty() {
        let message = "`stages` names no stage: a run needs one at least, as `sft` or `qat`";
        return Err(error(&tree.nearest("stages").origin, message.into()));
    }
    if let Some(lora) = &recipe.lora {
        // The number of layers is the model's.
        lora.check(usize::MAX)
            .map_err(|failure| place("lora", failure))?;
        check_adapted(&recipe.stages, lora)
            .map_err(|(key, message)| error(&tree.nearest(&key).origin, message))?;
    }
    for (index, (name, stage)) in recipe.stages.iter().enumerate() {
        let prefix = format!("stages.{name}");
        stage.check().map_err(|failure| place(&prefix, failure))?;
        let before = &recipe.stages[..index];
        check_names((name, stage), before)
            .and_then(|()| check_from((name, stage), before))
            .and_then(|()| check_teacher((name, stage), before))
            .map_err(|(key, message)| {
                error(&tree.nearest(&format!("{prefix}.{key}")).origin, message)
            })?;
    }
    Ok(())
}

/// The key that is wrong, and why.
type Wrong = (&'static str, String);

/// Names are directories, and titles are rows of a table: both are there once.
fn check_names((name, stage): (&str, &Stage), before: &[(String, Stage)]) -> Result<(), Wrong> {
    let mut taken = vec!["original".to_owned(), "logs".to_owned()];
    taken.extend(before.iter().flat_map(|(name, _)| Stage::directories(name)));
    let directories = Stage::directories(name);
    if let Some(taken) = directories.iter().find(|name| taken.contains(name)) {
        let message =
            format!("the stage `{name}` would write to `{taken}`, which is taken; rename it");
        return Err(("method", message));
    }
    let mut rows = vec!["Original".to_owned()];
    rows.extend(before.iter().flat_map(|(name, stage)| stage.rows(name)));
    let mut own = stage.rows(name).into_iter();
    match own.find(|row| rows.contains(row)) {
        Some(row) => {
            let message =
                format!("`stages.{name}.title` makes a row `{row}`, which is there already");
            Err(("title", message))
        }
        None => Ok(()),
    }
}

/// A stage goes on from an earlier one, whose weights it can train.
fn check_from((name, stage): (&str, &Stage), before: &[(String, Stage)]) -> Result<(), Wrong> {
    let Some(from) = &stage.from else {
        return Ok(());
    };
    let Some((_, earlier)) = before.iter().find(|(name, _)| name == from) else {
        let names: Vec<_> = before.iter().map(|(name, _)| name.as_str()).collect();
        let known = match names.as_slice() {
            [] => "; there is none".to_owned(),
            names => format!(": {}", names.join(", ")),
        };
        return Err((
            "from",
            format!("`stages.{name}.from` is `{from}`, expected an earlier stage{known}"),
        ));
    };
    let is_narrow = |stage: &Stage| stage.layer_wise && stage.masters != Masters::F32;
    if is_narrow(earlier) && !stage.layer_wise {
        let message = format!(
            "`stages.{name}` trains the model as a whole, in float32, and goes on from `{from}`, whose matrices have 16 bits; \
             give it `layer_wise: true`, or `{from}` the masters `f32`"
        );
        return Err(("from", message));
    }
    match (earlier.method.is_rounded(), stage.method.is_rounded()) {
        (true, false) => {
            let message = format!(
                "`stages.{name}` is SFT and goes on from `{from}`, whose weights are rounded; give it `method: qat`"
            );
            Err(("from", message))
        }
        (true, true) if earlier.quantize != stage.quantize => {
            let message = format!(
                "`stages.{name}.quantize` differs from that of `{from}`, whose weights it goes on with"
            );
            Err(("quantize", message))
        }
        (true, true) if earlier.quantizer_options() != stage.quantizer_options() => {
            let message = format!(
                "`gradient`, `learned_scales` and `global_refresh` of `stages.{name}` have to be those of `{from}`, whose \
                 quantizers it goes on with"
            );
            Err(("from", message))
        }
        _ => Ok(()),
    }
}

/// A teacher is an earlier stage, and teaches stages that learn from one.
fn check_teacher((name, stage): (&str, &Stage), before: &[(String, Stage)]) -> Result<(), Wrong> {
    let Some(teacher) = &stage.teacher else {
        return Ok(());
    };
    if stage.method != Method::Qad {
        let message = format!(
            "`stages.{name}.teacher` is given, and nobody learns from it; give it `method: qad`"
        );
        return Err(("teacher", message));
    }
    match before.iter().any(|(name, _)| name == teacher) {
        true => Ok(()),
        false => {
            let message =
                format!("`stages.{name}.teacher` is `{teacher}`, expected an earlier stage");
            Err(("teacher", message))
        }
    }
}
