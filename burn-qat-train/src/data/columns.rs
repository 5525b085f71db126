use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::foreign::listed;
use crate::error::QatError;

/// Names that columns have in a dataset, by those that they have here: `{"prompt": "question"}` reads the
/// column `question` as `prompt`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ColumnMap(pub BTreeMap<String, String>);

/// What a column can be read as.
const KNOWN: [&str; 17] = [
    "analysis",
    "answer",
    "completion",
    "conversations",
    "developer",
    "final",
    "input",
    "instruction",
    "messages",
    "output",
    "prompt",
    "reasoning_effort",
    "reasoning_language",
    "system",
    "text",
    "tools",
    "user",
];

impl ColumnMap {
    /// Whether all keys are known.
    ///
    /// # Errors
    /// [`QatError::Setting`] for the first that is not.
    pub fn check(&self) -> Result<(), QatError> {
        let unknown = self.0.keys().find(|key| !KNOWN.contains(&key.as_str()));
        match unknown {
            None => Ok(()),
            Some(key) => Err(QatError::Setting {
                key: "dataset.columns",
                expected: format!("keys among {}", KNOWN.join(", ")),
                found: format!("`{key}`"),
            }),
        }
    }

    /// Renames the columns of a row; one of the same name that was there goes.
    pub(super) fn apply(&self, row: &mut Map<String, Value>) -> Result<(), String> {
        let mut renamed = Vec::new();
        for (ours, theirs) in &self.0 {
            let value = row.get(theirs).cloned();
            let value = value.ok_or_else(|| {
                let keys = listed(row.keys());
                format!("there is no column `{theirs}` to read as `{ours}`, only {keys}")
            })?;
            renamed.push((ours, theirs, value));
        }
        for (_, theirs, _) in &renamed {
            row.shift_remove(*theirs);
        }
        for (ours, _, value) in renamed {
            row.insert(ours.clone(), value);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn map(pairs: &[(&str, &str)]) -> ColumnMap {
        let owned = |(a, b): &(&str, &str)| ((*a).to_owned(), (*b).to_owned());
        ColumnMap(pairs.iter().map(owned).collect())
    }

    #[test]
    fn columns_are_renamed_even_crosswise() {
        let mut row = json!({"question": "q", "prompt": "p", "other": 1});
        let row = row.as_object_mut().unwrap();
        let columns = map(&[("prompt", "question"), ("completion", "prompt")]);
        columns.apply(row).unwrap();
        let expected = json!({"prompt": "q", "completion": "p", "other": 1});
        assert_eq!(&Value::Object(row.clone()), &expected);
    }

    #[test]
    fn what_is_not_there_is_named() {
        let mut row = Map::new();
        row.insert("a".into(), json!(1));
        let error = map(&[("prompt", "question")]).apply(&mut row).unwrap_err();
        assert!(
            error.contains("`question`") && error.contains("`a`"),
            "{error}"
        );
        let error = map(&[("question_text", "a")])
            .check()
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("`question_text`") && error.contains("prompt"),
            "{error}"
        );
    }
}
