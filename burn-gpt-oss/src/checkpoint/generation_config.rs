//! `generation_config.json`: the tokens that end an answer.

use std::path::Path;

use serde_json::{Map, Value};

use super::CheckpointReader;
use crate::error::GptOssError;
use crate::json_file::{parse, read_text};

impl CheckpointReader {
    /// The tokens at which a generation ends: `eos_token_id` of `generation_config.json`, a number or a
    /// list, or where there is none, of `config.json`; as transformers takes them.
    ///
    /// # Errors
    /// A malformed file, and an id that is no token of the model.
    pub fn eos_token_ids(&self) -> Result<Vec<u32>, GptOssError> {
        let path = self.dir().join("generation_config.json");
        let document: Map<String, Value> = match path.exists() {
            true => parse(&read_text(&path)?, &path)?,
            false => Map::new(),
        };
        let given = document
            .get("eos_token_id")
            .filter(|value| !value.is_null());
        let (path, value) = match given {
            Some(value) => (path, Some(value)),
            None => {
                let config = self.config().document.get("eos_token_id");
                (self.dir().join("config.json"), config)
            }
        };
        token_ids(value, self.config().vocab_size, &path)
    }
}

fn token_ids(
    value: Option<&Value>,
    vocab_size: usize,
    path: &Path,
) -> Result<Vec<u32>, GptOssError> {
    let values = match value {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::Array(values)) => values.as_slice(),
        Some(value) => std::slice::from_ref(value),
    };
    let id = |value: &Value| {
        let id = value.as_u64().and_then(|id| u32::try_from(id).ok());
        id.filter(|id| (*id as usize) < vocab_size)
            .ok_or_else(|| GptOssError::Json {
                path: path.to_path_buf(),
                key: "eos_token_id".into(),
                message: format!("{value} is no token id below `vocab_size` = {vocab_size}"),
            })
    };
    values.iter().map(id).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn ids_are_a_number_or_a_list() {
        let ids = |value: Value| token_ids(Some(&value), 10, Path::new("generation_config.json"));
        assert_eq!(ids(json!(3)).expect("a number"), [3]);
        assert_eq!(ids(json!([3, 9])).expect("a list"), [3, 9]);
        assert!(ids(json!(null)).expect("nothing").is_empty());
        for value in [json!(10), json!(-1), json!("3"), json!([3, 1.5])] {
            let error = ids(value).expect_err("no id").to_string();
            assert!(error.contains("generation_config.json") && error.contains("eos_token_id"));
        }
    }
}
