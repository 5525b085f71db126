//! Keys that exist, and the nearest spelling of those that do not.

use serde_json::Value;

use super::node::{Content, Node, Origin};
use crate::adapt::LoraConfig;
use crate::error::QatError;

/// What a key may be.
pub(super) enum Known {
    /// Keys with what they hold.
    Keys(Vec<(String, Known)>),
    /// Any key, each with the same.
    Names(Box<Known>),
    Value,
}

impl Known {
    /// The keys of what is written as `value`.
    fn of(value: &Value) -> Self {
        match value {
            Value::Object(map) => {
                let keys = map.iter();
                Self::Keys(
                    keys.map(|(key, value)| (key.clone(), Self::of(value)))
                        .collect(),
                )
            }
            _ => Self::Value,
        }
    }

    /// The keys of a recipe, from its own defaults and those of a stage.
    pub fn recipe(recipe: &Value, stage: &Value) -> Self {
        let lora = serde_json::to_value(LoraConfig::default()).unwrap_or_default();
        let Self::Keys(mut keys) = Self::of(recipe) else {
            return Self::Value;
        };
        for (key, known) in &mut keys {
            match key.as_str() {
                "lora" => *known = Self::of(&lora),
                "dataset" => known.set_key("columns", Self::Names(Box::new(Self::Value))),
                "stages" => *known = Self::Names(Box::new(Self::of(stage))),
                _ => {}
            }
        }
        keys.push(("train".into(), Self::of(stage)));
        keys.push(("quantize".into(), Self::Value));
        Self::Keys(keys)
    }

    /// Says what one of the keys holds, where its default does not.
    fn set_key(&mut self, name: &str, value: Self) {
        if let Self::Keys(keys) = self {
            keys.retain(|(key, _)| key != name);
            keys.push((name.to_owned(), value));
        }
    }

    /// Fails for the first key that does not exist.
    pub fn check(&self, node: &Node, path: &str) -> Result<(), QatError> {
        match (self, &node.content) {
            (Self::Keys(keys), Content::Map(entries)) => {
                for (key, node) in entries {
                    let path = join(path, key);
                    let known = keys.iter().find(|(name, _)| name == key);
                    let Some((_, known)) = known else {
                        return Err(unknown(&node.origin, &path, key, keys));
                    };
                    known.check(node, &path)?;
                }
                Ok(())
            }
            (Self::Names(each), Content::Map(entries)) => {
                let mut entries = entries.iter();
                entries.try_for_each(|(key, node)| each.check(node, &join(path, key)))
            }
            (Self::Keys(_) | Self::Names(_), Content::Value(Value::Null)) => Ok(()),
            (Self::Keys(keys), Content::Value(value)) => {
                let names: Vec<_> = keys.iter().map(|(name, _)| name.as_str()).collect();
                let expected = format!("a map with some of the keys {}", names.join(", "));
                Err(wrong(&node.origin, path, value, &expected))
            }
            (Self::Names(_), Content::Value(value)) => {
                let expected = "a map of names, each with the settings of a stage";
                Err(wrong(&node.origin, path, value, expected))
            }
            (Self::Value, Content::Map(entries)) => {
                let inner = entries.first().map_or("nothing", |(key, _)| key);
                let message = format!("`{path}` is one value, and has the key `{inner}` here");
                Err(error(&node.origin, message))
            }
            (Self::Value, Content::Value(_)) => Ok(()),
        }
    }
}

fn join(path: &str, key: &str) -> String {
    match path {
        "" => key.to_owned(),
        path => format!("{path}.{key}"),
    }
}

fn unknown(origin: &Origin, path: &str, key: &str, keys: &[(String, Known)]) -> QatError {
    let names: Vec<&str> = keys.iter().map(|(name, _)| name.as_str()).collect();
    let advice = match nearest(key, &names) {
        Some(name) => format!("did you mean `{name}`?"),
        None => format!("expected one of {}", names.join(", ")),
    };
    error(origin, format!("the key `{path}` is unknown; {advice}"))
}

pub(super) fn wrong(origin: &Origin, path: &str, found: &Value, expected: &str) -> QatError {
    error(origin, format!("`{path}` is {found}, expected {expected}"))
}

pub(super) fn error(origin: &Origin, message: String) -> QatError {
    QatError::Recipe {
        place: origin.to_string(),
        message,
    }
}

/// The name that is most like a word, if one is.
pub(super) fn nearest<'a>(word: &str, names: &[&'a str]) -> Option<&'a str> {
    let like = |name: &str| {
        // `lr` is meant by many, and looks like nothing.
        let known_as = OTHER_NAMES.iter().find(|(other, _)| *other == word);
        match known_as {
            Some((_, ours)) if *ours == name => 1.0,
            _ => {
                let word = word.to_lowercase();
                // Short words differ by little, long ones begin alike.
                let letters = strsim::normalized_damerau_levenshtein(&word, name);
                letters.max(strsim::jaro_winkler(&word, name) - 0.2)
            }
        }
    };
    let best = names.iter().max_by(|a, b| like(a).total_cmp(&like(b)))?;
    (like(best) >= 0.6).then_some(*best)
}

/// Names of other tools, and ours.
const OTHER_NAMES: [(&str, &str); 17] = [
    ("lr", "learning_rate"),
    ("num_train_epochs", "epochs"),
    ("num_epochs", "epochs"),
    ("max_steps", "steps"),
    ("per_device_train_batch_size", "micro_batch_size"),
    ("max_seq_length", "max_length"),
    ("adam_beta1", "beta_1"),
    ("adam_beta2", "beta_2"),
    ("adam_epsilon", "epsilon"),
    ("min_lr_rate", "min_lr_ratio"),
    ("lr_scheduler_type", "lr_scheduler"),
    ("early_stopping_patience", "early_stopping"),
    ("warmup", "warmup_ratio"),
    ("output_dir", "output"),
    ("model_name_or_path", "model"),
    ("dataset_name", "data"),
    ("r", "rank"),
];
